//! Rows beside those that a query gives for each of them, where the query reads the row.
//!
//! Each row around gets a number, and meets the rows that the query reads, at least one: where there
//! is none, the column [`MET`] is null. What is above them in the query then goes by number, so that
//! it sees the rows of one at a time: aggregates group by it, conditions unmark rows instead of
//! removing the last one, LIMIT counts for each number.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, TableReference};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprFunctionExt, FetchType, Limit, LogicalPlan, LogicalPlanBuilder,
    Operator, SkipType, SortExpr, Window, lit, when,
};
use tidemill_functions::{cast_to, first_value};

use super::Resolver;
use super::operators::joined;
use super::peeled::{MET, Places, holds_query, placed, renamed};
use crate::error::{Result, refuse};
use crate::generate::Generate;

/// Rows around, each with the rows of a query that it has.
pub(super) struct Dependent {
    pub(super) plan: LogicalPlan,
    /// What the query's columns are in the plan.
    pub(super) places: Places,
    /// True in rows of the query; null in others, which stand for rows around that have none.
    pub(super) met: Expr,
    /// The columns of the rows around, of which the last is the number.
    around: Vec<Column>,
    /// By which the query's rows are ordered.
    order: Vec<SortExpr>,
    /// Whether a row around may have several rows that are not of the query.
    has_unmet: bool,
}

impl Resolver<'_> {
    /// The rows of a plan, each beside those that a query gives for it.
    ///
    /// # Errors
    /// The query has something between its rows and its result that is not supported there.
    pub(super) fn dependent(
        &mut self,
        around: LogicalPlan,
        query: &LogicalPlan,
    ) -> Result<Dependent> {
        // Projections and groups are around each join.
        self.count_joined(3)?;
        let qualifier = self.qualifier();
        let number = Column::new(Some(qualifier.clone()), "number");
        let mut values: Vec<Expr> =
            around.schema().columns().into_iter().map(Expr::Column).collect();
        let count = row_number();
        let counted = Expr::Column(Column::new_unqualified(count.schema_name().to_string()));
        values.push(counted.alias_qualified(Some(qualifier), "number"));
        let numbered =
            LogicalPlanBuilder::from(around).window([count])?.project(values)?.build()?;
        let dependent = self.dependent_below(numbered, query)?;
        debug_assert_eq!(dependent.around.last(), Some(&number));
        Ok(dependent)
    }

    fn dependent_below(&mut self, around: LogicalPlan, query: &LogicalPlan) -> Result<Dependent> {
        if let Some(peeled) = self.peeled(query)? {
            let columns = around.schema().columns();
            let on = joined(peeled.conditions, Operator::And);
            let plan = LogicalPlanBuilder::from(around);
            let plan = plan.join_on(peeled.rows, JoinType::Left, [on])?.build()?;
            let mut dependent = Dependent {
                plan,
                places: peeled.places,
                met: peeled.met,
                around: columns,
                order: Vec::new(),
                has_unmet: false,
            };
            self.compute(&mut dependent, query)?;
            return Ok(dependent);
        }
        match query {
            LogicalPlan::SubqueryAlias(alias) => {
                let mut below = self.dependent_below(around, &alias.input)?;
                below.places = renamed(&below.places, alias.input.schema(), &alias.schema)?;
                Ok(below)
            }
            LogicalPlan::Projection(projection) => {
                let mut below = self.dependent_below(around, &projection.input)?;
                let values = below.over(&projection.expr)?;
                below.places = projection.schema.columns().into_iter().zip(values).collect();
                self.compute(&mut below, query)?;
                Ok(below)
            }
            LogicalPlan::Filter(filter) => {
                let mut below = self.dependent_below(around, &filter.input)?;
                let condition = below.one_over(&filter.predicate)?;
                below.unmeet(condition)?;
                self.compute(&mut below, query)?;
                Ok(below)
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let mut below = self.dependent_below(around, &sort.input)?;
                below.order = below.order_over(&sort.expr)?;
                Ok(below)
            }
            LogicalPlan::Limit(limit) => self.limited_by_number(around, limit, query),
            LogicalPlan::Aggregate(aggregate) => self.grouped_by_number(around, aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => self.distinct_by_number(around, input),
            LogicalPlan::Window(window) => self.windows_by_number(around, window),
            LogicalPlan::Extension(extension) => {
                match extension.node.as_any().downcast_ref::<Generate>() {
                    Some(generate) => self.generated_beside(around, generate, query),
                    None => not_beside("a node of a stream"),
                }
            }
            LogicalPlan::Join(_) => not_beside("a join with such a query"),
            LogicalPlan::Union(_) => not_beside("UNION"),
            LogicalPlan::Subquery(_) => not_beside("a LATERAL query"),
            LogicalPlan::Values(_) => refuse!(
                "[INVALID_INLINE_TABLE.CANNOT_EVALUATE_EXPRESSION_IN_INLINE_TABLE] Invalid inline table. Cannot evaluate an expression in inline table definition: it reads a column of the tables before it"
            ),
            _ => not_beside("a set operation"),
        }
    }

    /// Makes columns of what is to be computed, in rows of the query alone: what others would come to
    /// may be an error.
    fn compute(&mut self, dependent: &mut Dependent, query: &LogicalPlan) -> Result<()> {
        let is_column = |value: &Expr| matches!(value, Expr::Column(_));
        if is_column(&dependent.met) && dependent.places.values().all(is_column) {
            return Ok(());
        }
        let qualifier = self.qualifier();
        let of = |name: &str| Expr::Column(Column::new(Some(qualifier.clone()), name));
        let mut kept: Vec<Expr> = dependent.around.iter().cloned().map(Expr::Column).collect();
        kept.push(dependent.met.clone().alias_qualified(Some(qualifier.clone()), MET));
        let mut order = std::mem::take(&mut dependent.order);
        for (place, by) in order.iter_mut().enumerate() {
            let name = format!("o{place}");
            let value = std::mem::replace(&mut by.expr, of(&name));
            kept.push(value.alias_qualified(Some(qualifier.clone()), name));
        }
        let mut places = Places::new();
        for (place, column) in query.schema().columns().into_iter().enumerate() {
            let name = format!("c{place}");
            let value = placed(&Expr::Column(column.clone()), &dependent.places)?;
            let value = guarded(value, &dependent.met)?;
            kept.push(value.alias_qualified(Some(qualifier.clone()), name.as_str()));
            places.insert(column, of(&name));
        }
        let below = std::mem::take(&mut dependent.plan);
        dependent.plan = LogicalPlanBuilder::from(below).project(kept)?.build()?;
        (dependent.met, dependent.places, dependent.order) = (of(MET), places, order);
        Ok(())
    }

    fn limited_by_number(
        &mut self,
        around: LogicalPlan,
        limit: &Limit,
        query: &LogicalPlan,
    ) -> Result<Dependent> {
        let mut below = self.dependent_below(around, &limit.input)?;
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return not_beside("a LIMIT of no number");
        };
        let mut order = vec![Sort::new(below.met.clone(), false, false)];
        order.append(&mut below.order);
        let number = row_number().partition_by(vec![below.number()]).order_by(order).build()?;
        let place = Expr::Column(Column::new_unqualified(number.schema_name().to_string()));
        let place = cast_to(place, &DataType::Int64);
        below.plan = LogicalPlanBuilder::from(below.plan).window([number])?.build()?;
        let bound = |rows: usize| lit(i64::try_from(rows).unwrap_or(i64::MAX));
        let mut is_in = place.clone().gt(bound(skip));
        if let Some(fetch) = fetch {
            is_in = is_in.and(place.lt_eq(bound(skip.saturating_add(fetch))));
        }
        below.unmeet(is_in)?;
        self.compute(&mut below, query)?;
        Ok(below)
    }

    fn grouped_by_number(
        &mut self,
        around: LogicalPlan,
        aggregate: &Aggregate,
    ) -> Result<Dependent> {
        let below = self.dependent_below(around, &aggregate.input)?;
        let all = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
        for value in all {
            if matches!(value, Expr::GroupingSet(_)) {
                refuse!(
                    "[UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.ACCESSING_OUTER_QUERY_COLUMN_IS_NOT_ALLOWED] Unsupported subquery expression: Accessing outer query column is not allowed in this location: below ROLLUP, CUBE and GROUPING SETS"
                );
            }
            if value.contains_outer() {
                refuse!(
                    "[UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.AGGREGATE_FUNCTION_MIXED_OUTER_LOCAL_REFERENCES] Unsupported subquery expression: Found an aggregate function in a correlated predicate that has both outer and local references, which is not supported: compute it in the query around"
                );
            }
        }
        let groups = below.over(&aggregate.group_expr)?;
        let aggregates = below.over(&aggregate.aggr_expr)?;
        let (mut grouped, places) = self.folded_by_number(below, groups, aggregates)?;
        grouped.places = aggregate.schema.columns().into_iter().zip(places).collect();
        Ok(grouped)
    }

    fn distinct_by_number(
        &mut self,
        around: LogicalPlan,
        input: &LogicalPlan,
    ) -> Result<Dependent> {
        let below = self.dependent_below(around, input)?;
        let columns = input.schema().columns();
        let groups: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
        let groups = below.over(&groups)?;
        let (mut grouped, places) = self.folded_by_number(below, groups, Vec::new())?;
        grouped.places = columns.into_iter().zip(places).collect();
        Ok(grouped)
    }

    /// Groups and aggregates for each row around, and what they are in the plan.
    fn folded_by_number(
        &mut self,
        below: Dependent,
        groups: Vec<Expr>,
        aggregates: Vec<Expr>,
    ) -> Result<(Dependent, Vec<Expr>)> {
        let qualifier = self.qualifier();
        let of = |name: String| Expr::Column(Column::new(Some(qualifier.clone()), name));
        let is_one_group = groups.is_empty();
        let mut by = vec![below.number()];
        if !is_one_group {
            by.push(below.met.clone().alias(MET));
        }
        let mut found: Vec<(Expr, String)> = Vec::new();
        for (place, group) in groups.into_iter().enumerate() {
            let name = format!("g{place}");
            by.push(guarded(group, &below.met)?.alias(&name));
            found.push((Expr::Column(Column::new_unqualified(&name)), name));
        }
        let mut folded = Vec::new();
        for (place, aggregate) in aggregates.into_iter().enumerate() {
            let name = format!("a{place}");
            folded.push(of_met(aggregate, &below.met)?.alias(&name));
            found.push((Expr::Column(Column::new_unqualified(&name)), name));
        }
        let mut kept: Vec<Expr> = Vec::new();
        for (place, column) in below.around.iter().enumerate() {
            if Expr::Column(column.clone()) == below.number() {
                kept.push(below.number());
                continue;
            }
            let name = format!("f{place}");
            folded.push(first_value().call(vec![Expr::Column(column.clone())]).alias(&name));
            let value = Expr::Column(Column::new_unqualified(&name));
            kept.push(value.alias_qualified(column.relation.clone(), &column.name));
        }
        let met = match is_one_group {
            true => lit(true),
            false => Expr::Column(Column::new_unqualified(MET)),
        };
        kept.push(met.alias_qualified(Some(qualifier.clone()), MET));
        let mut places = Vec::with_capacity(found.len());
        for (value, name) in found {
            kept.push(value.alias_qualified(Some(qualifier.clone()), name.as_str()));
            places.push(of(name));
        }
        let plan = LogicalPlanBuilder::from(below.plan).aggregate(by, folded)?.project(kept)?;
        let grouped = Dependent {
            plan: plan.build()?,
            places: Places::new(),
            met: of(MET.to_owned()),
            around: below.around,
            order: Vec::new(),
            has_unmet: below.has_unmet && !is_one_group,
        };
        Ok((grouped, places))
    }

    fn windows_by_number(&mut self, around: LogicalPlan, window: &Window) -> Result<Dependent> {
        let mut below = self.dependent_below(around, &window.input)?;
        let own = window.input.schema().columns().len();
        let mut over = below.over(&window.window_expr)?;
        let by = [below.number(), below.met.clone()];
        for value in &mut over {
            let with = value.clone().transform_down(|e| match e {
                Expr::WindowFunction(mut function) => {
                    let WindowFunction { params, .. } = function.as_mut();
                    params.partition_by.splice(0..0, by.iter().cloned());
                    for argument in &mut params.args {
                        if argument.any_column_refs() {
                            let value = std::mem::replace(argument, lit(0));
                            *argument = when(by[1].clone().is_not_null(), value).end()?;
                        }
                    }
                    Ok(Transformed::yes(Expr::WindowFunction(function)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            *value = with.data;
        }
        below.plan = LogicalPlanBuilder::window_plan(below.plan, over.clone())?;
        let columns = window.schema.columns().into_iter().skip(own);
        for (column, value) in columns.zip(over) {
            let place = Column::new_unqualified(value.schema_name().to_string());
            below.places.insert(column, Expr::Column(place));
        }
        Ok(below)
    }

    fn generated_beside(
        &mut self,
        around: LogicalPlan,
        generate: &Generate,
        query: &LogicalPlan,
    ) -> Result<Dependent> {
        let mut below = self.dependent_below(around, &generate.input)?;
        let values = guarded(below.one_over(&generate.values)?, &below.met)?;
        // A row that gives none stays, as one that is not of the query.
        below.plan = Generate::over(below.plan, values, true, true)?;
        let is_there = match generate.is_outer {
            true => lit(true),
            false => crate::generate::position_column().is_not_null(),
        };
        below.unmeet(is_there)?;
        let added = query.schema().columns().into_iter().filter(crate::generate::is_generated);
        for column in added {
            below.places.insert(column.clone(), Expr::Column(column));
        }
        self.compute(&mut below, query)?;
        Ok(below)
    }
}

impl Dependent {
    /// Expressions of the query over the plan, none of which has a query in it.
    fn over(&self, values: &[Expr]) -> Result<Vec<Expr>> {
        if values.iter().any(holds_query) {
            return not_beside("a query within an expression");
        }
        values.iter().map(|value| placed(value, &self.places)).collect()
    }

    fn one_over(&self, value: &Expr) -> Result<Expr> {
        Ok(joined(self.over(std::slice::from_ref(value))?, Operator::And))
    }

    fn order_over(&self, order: &[SortExpr]) -> Result<Vec<SortExpr>> {
        order.iter().map(|by| Ok(Sort { expr: self.one_over(&by.expr)?, ..by.clone() })).collect()
    }

    fn number(&self) -> Expr {
        self.around.last().cloned().map_or(lit(0), Expr::Column)
    }

    /// Leaves rows to the query that pass a condition.
    pub(super) fn unmeet(&mut self, condition: Expr) -> Result<()> {
        let is_met = when(self.met.clone().is_not_null(), condition).end()?;
        self.met = when(is_met, lit(true)).end()?;
        self.has_unmet = true;
        Ok(())
    }

    /// The rows of the query alone, or with them one for each row around that has none.
    pub(super) fn rows(mut self, is_outer: bool) -> Result<Dependent> {
        let met = self.met.clone().is_not_null();
        if !is_outer {
            self.plan = LogicalPlanBuilder::from(self.plan).filter(met)?.build()?;
        } else if self.has_unmet {
            let order = vec![Sort::new(self.met.clone(), false, false)];
            let number = row_number().partition_by(vec![self.number()]).order_by(order).build()?;
            let place = Expr::Column(Column::new_unqualified(number.schema_name().to_string()));
            let is_first = cast_to(place, &DataType::Int64).eq(lit(1_i64));
            let plan = LogicalPlanBuilder::from(self.plan).window([number])?;
            self.plan = plan.filter(met.or(is_first))?.build()?;
        }
        Ok(self)
    }

    /// The columns of the rows around, and what the query's columns are, under a qualifier.
    pub(super) fn shown(
        self,
        query: &LogicalPlan,
        qualifier: &TableReference,
    ) -> Result<LogicalPlan> {
        let count = self.around.len() - 1;
        let mut values: Vec<Expr> =
            self.around.iter().take(count).cloned().map(Expr::Column).collect();
        for (place, column) in query.schema().columns().into_iter().enumerate() {
            let value = placed(&Expr::Column(column), &self.places)?;
            let value = guarded(value, &self.met)?;
            values.push(value.alias_qualified(Some(qualifier.clone()), format!("c{place}")));
        }
        Ok(LogicalPlanBuilder::from(self.plan).project(values)?.build()?)
    }
}

/// A value in rows of the query, and null in others.
fn guarded(value: Expr, met: &Expr) -> Result<Expr> {
    Ok(when(met.clone().is_not_null(), value).end()?)
}

/// An aggregate over rows of the query alone.
fn of_met(aggregate: Expr, met: &Expr) -> Result<Expr> {
    let of_met = aggregate.transform_down(|e| match e {
        Expr::AggregateFunction(mut function) => {
            let params = &mut function.params;
            for argument in &mut params.args {
                if argument.any_column_refs() {
                    let value = std::mem::replace(argument, lit(0));
                    *argument = when(met.clone().is_not_null(), value).end()?;
                }
            }
            let filter = params.filter.take();
            let filter = match filter {
                None => met.clone().is_not_null(),
                Some(filter) => when(met.clone().is_not_null(), *filter).end()?,
            };
            params.filter = Some(Box::new(filter));
            let jump = datafusion::common::tree_node::TreeNodeRecursion::Jump;
            Ok(Transformed::new(Expr::AggregateFunction(function), true, jump))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(of_met.data)
}

fn not_beside<T>(what: &str) -> Result<T> {
    refuse!(
        "a query that reads columns of the one around it has {what} above what reads them, which is not supported yet; write a join"
    )
}
