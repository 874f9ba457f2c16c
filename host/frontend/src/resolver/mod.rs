//! From an unresolved plan to DataFusion's logical plan.
//!
//! Each relation gives a plan and a [`Scope`], the columns that names above it can mean. A relation
//! that is read gets a qualifier of its own in the plan, so that two columns of one
//! name never meet there; what a name means is found in the scope alone. Expressions are resolved
//! from the inside out, so that the types of arguments are known when a call is built.
//!
//! A SELECT with its GROUP BY, HAVING, DISTINCT and ORDER BY is one [`select::Select`], which is
//! planned when all of them are known.

mod aggregates;
mod attached;
mod attributes;
mod calls;
mod clause;
mod coercion;
mod dependent;
mod expressions;
mod generators;
mod grouping;
mod intervals;
mod items;
mod joins;
mod lambdas;
mod laterals;
mod literals;
mod naming;
mod operators;
mod peeled;
mod pivots;
mod projection;
mod qualify;
mod scope;
mod select;
mod set_operations;
mod subqueries;
mod table_functions;
#[cfg(test)]
mod tests;
mod windows;

use std::sync::Arc;

use datafusion::common::{DFSchema, TableReference};
use datafusion::logical_expr::{
    EmptyRelation, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, SubqueryAlias,
};

use crate::catalog::Catalog;
use crate::error::{Error, Result, refuse};
use crate::generate::Generate;
use crate::qualifier::qualifier;
use crate::spec::{Expression, LateralView, Literal, Position, Relation, With};
use clause::Clause;
use expressions::Context;
use lambdas::Variables;
use scope::{Scope, Visible, same, twice};
use select::Select;

pub use peeled::{holds_query, query_of};

/// Resolves a query.
///
/// # Errors
/// A name means nothing or several things, a type does not fit, or something has no meaning where
/// it stands.
pub fn resolve(relation: &Relation, catalog: &dyn Catalog) -> Result<LogicalPlan> {
    let mut resolver = Resolver::new(catalog);
    let resolved = resolver.relation(relation)?;
    match catalog.is_batch() {
        true => resolver.named_again(resolved),
        false => resolver.named(resolved),
    }
}

/// A relation with its names found.
struct Resolved {
    plan: LogicalPlan,
    scope: Scope,
}

struct Resolver<'c> {
    catalog: &'c dyn Catalog,
    /// Qualifiers that were given away.
    qualifiers: usize,
    /// The tables of WITHs in sight, the innermost last.
    with: Vec<(String, Arc<Resolved>)>,
    /// The columns of queries around the one that is looked at, the outermost first.
    outer: Vec<(Scope, Arc<DFSchema>)>,
    /// What names of columns tell that the text does not.
    learnt: naming::Learnt,
    /// Queries that were made joins of.
    joined_queries: usize,
    /// The variables of lambdas around the expression that is looked at.
    variables: Variables,
    /// Whether there are intervals of other fields than all.
    has_interval_fields: bool,
}

impl<'c> Resolver<'c> {
    fn new(catalog: &'c dyn Catalog) -> Resolver<'c> {
        Resolver {
            catalog,
            qualifiers: 0,
            with: Vec::new(),
            outer: Vec::new(),
            learnt: naming::Learnt::default(),
            joined_queries: 0,
            variables: Variables::default(),
            has_interval_fields: false,
        }
    }

    /// A qualifier that no other relation has.
    fn qualifier(&mut self) -> TableReference {
        self.qualifiers += 1;
        qualifier(self.qualifiers)
    }

    fn relation(&mut self, relation: &Relation) -> Result<Resolved> {
        match relation {
            Relation::Read { name, at } => self.read(name).map_err(|error| error.or_at(*at)),
            Relation::OneRow => {
                let schema = Arc::new(DFSchema::empty());
                let plan =
                    LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema });
                Ok(Resolved { plan, scope: Scope::default() })
            }
            Relation::Values(rows) => self.values(rows),
            Relation::Filter { input, condition } => self.filter(input, condition),
            Relation::TableFunction { call, at } => {
                self.table_function(call).map_err(|error| error.or_at(*at))
            }
            Relation::Pivot(pivot) => self.pivot(pivot),
            Relation::Unpivot(unpivot) => self.unpivot(unpivot),
            Relation::WithColumn { input, name, value } => self.with_column(input, name, value),
            Relation::Project { .. }
            | Relation::Qualify { .. }
            | Relation::RepartitionByExpression { .. }
            | Relation::Aggregate { .. }
            | Relation::Having { .. }
            | Relation::Distinct(_)
            | Relation::Sort { .. } => {
                let select = self.select(relation)?;
                self.planned(select)
            }
            Relation::Limit { input, count } => match input.as_ref() {
                Relation::Offset { input, count: skipped } => {
                    self.limit(input, Some(skipped), Some(count))
                }
                _ => self.limit(input, None, Some(count)),
            },
            Relation::Offset { input, count } => self.limit(input, Some(count), None),
            Relation::Join(join) => self.join(join),
            Relation::SetOperation(operation) => self.set_operation(operation),
            Relation::SubqueryAlias { input, name, columns, at } => {
                let resolved = self.relation(input)?;
                let aliased = self.aliased(resolved, name, columns);
                let aliased = match input.as_ref() {
                    Relation::TableFunction { .. } => aliased.map_err(|error| {
                        error.reclassified(
                            "ASSIGNMENT_ARITY_MISMATCH",
                            "NUM_TABLE_VALUE_ALIASES_MISMATCH",
                        )
                    }),
                    _ => aliased,
                };
                aliased.map_err(|error| error.or_at(*at))
            }
            Relation::With(with) => self.with_tables(with),
            Relation::LateralView(view) => self.lateral_view(view),
            Relation::WithWatermark(watermark) => {
                let input = self.relation(&watermark.input)?;
                let plan = self.named(input)?;
                let plan = self.catalog.with_watermark(plan, watermark)?;
                Ok(Resolved { scope: Scope::of(&plan), plan })
            }
            Relation::Deduplicate(deduplicate) => {
                let input = self.relation(&deduplicate.input)?;
                let plan = self.named(input)?;
                let plan = self.catalog.deduplicate(plan, deduplicate)?;
                Ok(Resolved { scope: Scope::of(&plan), plan })
            }
            Relation::PluginTransform { input, plugin, function } => {
                let input = self.relation(input)?;
                let plan = self.named(input)?;
                let plan = self.catalog.transform(plan, plugin, function)?;
                Ok(Resolved { scope: Scope::of(&plan), plan })
            }
            Relation::PluginStateful(stateful) => {
                let input = self.relation(&stateful.input)?;
                let plan = self.named(input)?;
                let initial = stateful.initial_state.as_ref();
                let initial = initial.map(|rows| {
                    let rows = self.relation(rows)?;
                    self.named(rows)
                });
                let plan = self.catalog.stateful(plan, initial.transpose()?, stateful)?;
                Ok(Resolved { scope: Scope::of(&plan), plan })
            }
        }
    }

    fn read(&mut self, name: &str) -> Result<Resolved> {
        let of_with = self.with.iter().rev().find(|(known, _)| same(known, name));
        if let Some((known, table)) = of_with {
            let (known, table) = (known.clone(), Arc::clone(table));
            let resolved = Resolved { plan: table.plan.clone(), scope: table.scope.clone() };
            return self.aliased(resolved, &known, &[]);
        }
        let Some((known, plan)) = self.catalog.table(name) else {
            let with = self.with.iter().map(|(name, _)| name.clone());
            let names: Vec<String> = with.chain(self.catalog.tables()).collect();
            let there_are = match names.is_empty() {
                true => "there are none".to_owned(),
                false => format!("there are `{}`", names.join("`, `")),
            };
            refuse!(
                "[TABLE_OR_VIEW_NOT_FOUND] The table or view `{name}` cannot be found: there is no table \"{name}\"; {there_are}"
            );
        };
        self.notice_intervals(&plan);
        let scope = Scope::of(&plan);
        self.aliased(Resolved { plan, scope }, &known, &[])
    }

    /// A relation under a name, with other names for its columns.
    fn aliased(&mut self, resolved: Resolved, name: &str, columns: &[String]) -> Result<Resolved> {
        let qualified = self.qualified(resolved)?;
        let Resolved { plan, scope } = qualified;
        if !columns.is_empty() && columns.len() != scope.columns.len() {
            refuse!(
                "[ASSIGNMENT_ARITY_MISMATCH] `{name}` has {} columns, and {} names are given to them",
                scope.columns.len(),
                columns.len()
            );
        }
        let named = scope.columns.into_iter().enumerate().map(|(place, column)| Visible {
            relation: Some(name.to_owned()),
            name: columns.get(place).cloned().unwrap_or(column.name),
            ..column
        });
        Ok(Resolved { plan, scope: Scope { columns: named.collect() } })
    }

    /// A relation whose columns have a qualifier that no others have.
    fn qualified(&mut self, resolved: Resolved) -> Result<Resolved> {
        let Resolved { plan, scope } = self.shown(resolved)?;
        let alias = self.qualifier();
        let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(plan), alias)?);
        let values = Scope::of(&plan).columns.into_iter().map(|column| column.value);
        let columns = scope.columns.into_iter().zip(values);
        let columns = columns.map(|(column, value)| Visible { value, ..column }).collect();
        Ok(Resolved { plan, scope: Scope { columns } })
    }

    /// A relation of the columns that `*` stands for, each of which is one of the plan.
    fn shown(&mut self, resolved: Resolved) -> Result<Resolved> {
        let Resolved { plan, scope } = resolved;
        let values: Vec<&Expr> = scope.shown().map(|column| &column.value).collect();
        let own: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        if own.iter().eq(values.iter().copied()) {
            let columns = scope.columns.into_iter().filter(|column| !column.is_hidden).collect();
            return Ok(Resolved { plan, scope: Scope { columns } });
        }
        let mut select = Select::over(Resolved { plan, scope });
        select.take_all();
        self.planned(select)
    }

    /// The plan whose columns have the names that the query gives them.
    ///
    /// # Errors
    /// Two have the same.
    fn named(&mut self, resolved: Resolved) -> Result<LogicalPlan> {
        let Resolved { plan, scope } = self.shown(resolved)?;
        let names: Vec<String> = scope.columns.iter().map(|column| column.name.clone()).collect();
        if let Some(name) = twice(&names) {
            refuse!(
                "[COLUMN_ALREADY_EXISTS] The column `{name}` already exists: two columns have that name, whatever its case. Give one of them another by AS"
            );
        }
        renamed(plan, names)
    }

    /// The plan whose columns have the names that the query gives them, several the same, too.
    fn named_again(&mut self, resolved: Resolved) -> Result<LogicalPlan> {
        let names: Vec<String> = resolved.scope.shown().map(|column| column.name.clone()).collect();
        let mut seen = std::collections::HashSet::new();
        if names.iter().all(|name| seen.insert(name)) {
            let Resolved { plan, .. } = self.shown(resolved)?;
            return renamed(plan, names);
        }
        let Resolved { plan, .. } = self.shown(resolved)?;
        let columns = plan.schema().columns().into_iter().map(Expr::Column).zip(names);
        // Of one name, each has another qualifier.
        let columns = columns.map(|(column, name)| {
            let qualifier = self.qualifier();
            column.alias_qualified(Some(qualifier), name)
        });
        let columns: Vec<Expr> = columns.collect();
        Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
    }

    fn values(&mut self, rows: &[Vec<Expression>]) -> Result<Resolved> {
        let scope = Scope::default();
        let mut context = Context::new(&scope, Arc::new(DFSchema::empty()), Clause::Values);
        let mut resolved = Vec::with_capacity(rows.len());
        let count = rows.first().map_or(0, Vec::len);
        for row in rows {
            if row.len() != count {
                refuse!(
                    "[INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH] VALUES: a row has {} values, and the first one {count}",
                    row.len()
                );
            }
            let values = row.iter().map(|value| self.expression(value, &mut context));
            resolved.push(values.collect::<Result<Vec<Expr>>>()?);
        }
        let plan = coercion::listed(resolved)?;
        let mut scope = Scope::of(&plan);
        for (place, column) in scope.columns.iter_mut().enumerate() {
            column.name = format!("col{}", place + 1);
        }
        Ok(Resolved { plan, scope })
    }

    fn filter(&mut self, input: &Relation, condition: &Expression) -> Result<Resolved> {
        let Resolved { plan, scope } = self.relation(input)?;
        let mut context = Context::new(&scope, Arc::clone(plan.schema()), Clause::Where);
        let condition = self.condition(condition, &mut context)?;
        let plan = self.filtered(plan, condition)?;
        Ok(Resolved { plan, scope })
    }

    /// An expression that rows are chosen by.
    fn condition(&mut self, condition: &Expression, context: &mut Context<'_>) -> Result<Expr> {
        context.is_conjunct = true;
        let resolved = self.expression(condition, context)?;
        let kind = resolved.get_type(&context.schema)?;
        let is_null = matches!(condition, Expression::Literal(Literal::Null));
        match tidemill_functions::as_condition(resolved, &kind).filter(|_| !is_null) {
            Some(condition) => Ok(condition),
            None if context.clause == Clause::On => refuse!(
                "[JOIN_CONDITION_IS_NOT_BOOLEAN_TYPE] The join condition \"{}\" has the invalid type \"{}\", expected \"BOOLEAN\".",
                naming::text(condition),
                coercion::spelled(&kind)
            ),
            None => refuse!(
                "[DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN] Cannot resolve \"{}\": {} needs a condition, and it has the type \"{}\"; write a comparison",
                naming::text(condition),
                context.clause,
                coercion::spelled(&kind)
            ),
        }
    }

    fn limit(
        &mut self,
        input: &Relation,
        skipped: Option<&Expression>,
        count: Option<&Expression>,
    ) -> Result<Resolved> {
        let Resolved { plan, scope } = self.relation(input)?;
        let skipped = skipped.map(|count| self.count(count, Clause::Offset)).transpose()?;
        let count = count.map(|count| self.count(count, Clause::Limit)).transpose()?;
        let plan = LogicalPlanBuilder::from(plan).limit(skipped.unwrap_or(0), count)?.build()?;
        Ok(Resolved { plan, scope })
    }

    /// How many rows a LIMIT or OFFSET says.
    fn count(&mut self, count: &Expression, clause: Clause) -> Result<usize> {
        let wrong = |class: &str, said: String| {
            Error::new(
                format!(
                    "[INVALID_LIMIT_LIKE_EXPRESSION.{class}] {clause} needs a whole number that is not negative, found {said}"
                ),
                None,
            )
        };
        let spelled = naming::text(count);
        match count {
            Expression::Literal(Literal::Number(digits)) => {
                digits.parse().map_err(|_| wrong("DATA_TYPE", spelled))
            }
            other => {
                let scope = Scope::default();
                let mut context = Context::new(&scope, Arc::new(DFSchema::empty()), clause);
                let resolved = self.expression(other, &mut context)?;
                let value = literals::constant(&resolved)?
                    .filter(|value| value.data_type().is_integer())
                    .ok_or_else(|| wrong("DATA_TYPE", spelled.clone()))?;
                let number = value.cast_to(&arrow::datatypes::DataType::Int64);
                match number {
                    Ok(datafusion::common::ScalarValue::Int64(Some(number))) => {
                        usize::try_from(number).map_err(|_| wrong("IS_NEGATIVE", spelled))
                    }
                    _ => Err(wrong("DATA_TYPE", spelled)),
                }
            }
        }
    }

    fn with_tables(&mut self, with: &With) -> Result<Resolved> {
        let before = self.with.len();
        let resolved = self.with_tables_in_sight(with);
        self.with.truncate(before);
        resolved
    }

    fn with_tables_in_sight(&mut self, with: &With) -> Result<Resolved> {
        if let Some(name) = twice(with.tables.iter().map(|table| &table.name)) {
            refuse!("[DUPLICATED_CTE_NAMES] CTE definition can't have duplicate names: `{name}`.");
        }
        for table in &with.tables {
            let resolved = self.relation(&table.query)?;
            let resolved = match table.columns.is_empty() {
                true => self.shown(resolved)?,
                false => self.aliased(resolved, &table.name, &table.columns)?,
            };
            self.with.push((table.name.clone(), Arc::new(resolved)));
        }
        self.relation(&with.input)
    }

    fn lateral_view(&mut self, view: &LateralView) -> Result<Resolved> {
        let Resolved { plan, mut scope } = self.relation(&view.input)?;
        let generated = self.lateral_generator(view, &plan, &scope)?;
        let named = self.generated_columns(&generated, &view.columns, plan.schema())?;
        let own: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let node = Generate::over(
            plan,
            generated.values.clone(),
            generated.is_outer,
            generated.has_position,
        )?;
        let qualifier = self.qualifier();
        let mut items = own;
        for (place, (value, name)) in named.into_iter().enumerate() {
            let column = format!("{}_{place}", generated.name);
            items.push(value.alias_qualified(Some(qualifier.clone()), column.clone()));
            let value = datafusion::common::Column::new(Some(qualifier.clone()), column);
            scope.columns.push(Visible {
                relation: Some(view.name.clone()),
                name,
                value: Expr::Column(value),
                is_hidden: false,
            });
        }
        let plan = LogicalPlanBuilder::from(node).project(items)?.build()?;
        Ok(Resolved { plan, scope })
    }
}

/// A plan with other names for its columns.
fn renamed(plan: LogicalPlan, names: Vec<String>) -> Result<LogicalPlan> {
    if plan.schema().fields().iter().map(|field| field.name()).eq(names.iter()) {
        return Ok(plan);
    }
    let columns = plan.schema().columns().into_iter().map(Expr::Column).zip(names);
    let columns: Vec<Expr> = columns.map(|(column, name)| column.alias(name)).collect();
    Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
}

/// Where an expression stands in the text, as far as that is known.
fn position(expression: &Expression) -> Option<Position> {
    match expression {
        Expression::Attribute { at, .. }
        | Expression::Star { at, .. }
        | Expression::Cast { at, .. }
        | Expression::Subquery { at, .. } => *at,
        Expression::Call(call) => call.at,
        Expression::Over { call, .. } => call.at,
        Expression::Alias { value, .. } | Expression::Extract { value, .. } => position(value),
        _ => None,
    }
}
