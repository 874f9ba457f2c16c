//! PIVOT, which is a grouping by the columns that it does not name, and UNPIVOT, which gives a row for
//! each of its columns.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, Operator, binary_expr, lit, when};
use tidemill_functions::{Generated, STACK, cast_to};

use super::clause::Clause;
use super::expressions::Context;
use super::grouping::Groups;
use super::items::{Item, item_of};
use super::operators::joined;
use super::scope::{Scope, Visible, twice};
use super::select::COLUMNS_MAX;
use super::select::{Select, holds_aggregate};
use super::{Resolved, Resolver, coercion, literals, naming};
use crate::error::{Error, Result, refuse};
use crate::generate::Generate;
use crate::spec::{Expression, Pivot, PivotValue, Unpivot};

impl Resolver<'_> {
    pub(super) fn pivot(&mut self, pivot: &Pivot) -> Result<Resolved> {
        if !self.catalog.is_batch() {
            refuse!(
                "PIVOT is for handlers' SQL, and this is none; write aggregates with FILTER (WHERE …)"
            );
        }
        let input = self.relation(&pivot.input)?;
        let mut select = Select::over(input);
        let scope = select.scope.clone();
        let mut context = Context::new(&scope, Arc::clone(select.input.schema()), Clause::Pivot);
        let columns = self.expressions(&pivot.columns, &mut context)?;
        context.allows_aggregates = true;
        let mut aggregates = Vec::with_capacity(pivot.aggregates.len());
        for aggregate in &pivot.aggregates {
            let (value, name) = match aggregate {
                Expression::Alias { value, names } => (value.as_ref(), names.first().cloned()),
                other => (other, None),
            };
            let resolved = self.expression(value, &mut context)?;
            if !holds_aggregate(&resolved) {
                refuse!("PIVOT needs aggregates, and {} is none", naming::text(value));
            }
            let name = name.unwrap_or_else(|| naming::column(value, &scope, &[], &self.learnt));
            aggregates.push((resolved, name));
        }
        let is_used = |column: &Expr| {
            let reads = |value: &Expr| value.exists(|e| Ok(e == column)).unwrap_or(true);
            columns.iter().any(reads) || aggregates.iter().any(|(value, _)| reads(value))
        };
        let others: Vec<&Visible> =
            scope.shown().filter(|column| !is_used(&column.value)).collect();
        select.items.extend(others.iter().map(|column| item_of(column)));
        let by = others.into_iter().map(|column| column.value.clone()).collect();
        select.groups = Some(Groups::by(by));
        if pivot.values.len().saturating_mul(aggregates.len()) > COLUMNS_MAX {
            refuse!("PIVOT comes to more than {COLUMNS_MAX} columns");
        }
        for value in &pivot.values {
            let (met, text) = self.pivoted(value, &columns, &mut context)?;
            for (aggregate, name) in &aggregates {
                let name = match aggregates.len() {
                    1 => text.clone(),
                    _ => format!("{text}_{name}"),
                };
                let rows = of_rows(count(lit(1_i64)), &met)?;
                // Without a row of the value, there is no group of it to count.
                let value = when(rows.gt(lit(0_i64)), of_rows(aggregate.clone(), &met)?).end()?;
                let relation = None;
                select.items.push(Item { name, is_named: true, value, relation, level: 0 });
            }
        }
        self.planned(select)
    }

    /// When a row has a value, and what the value is called.
    fn pivoted(
        &mut self,
        value: &PivotValue,
        columns: &[Expr],
        context: &mut Context<'_>,
    ) -> Result<(Expr, String)> {
        let (mut equal, mut texts) = (Vec::new(), Vec::new());
        for (value, column) in value.values.iter().zip(columns) {
            let resolved = self.expression(value, context)?;
            let Some(known) = literals::constant(&resolved)? else {
                refuse!(
                    "[NON_LITERAL_PIVOT_VALUES] Literal expressions required for pivot values, found \"{}\".",
                    naming::text(value)
                );
            };
            let text =
                cast_to(Expr::Literal(known.clone(), None), &arrow::datatypes::DataType::Utf8);
            texts.push(match literals::constant(&text)? {
                Some(ScalarValue::Utf8(Some(text))) => text,
                _ => "null".to_owned(),
            });
            let kind = context.type_of(column)?;
            let known = cast_to(Expr::Literal(known, None), &kind);
            let Some(known) = literals::constant(&known)? else {
                refuse!(
                    "[CAST_INVALID_INPUT] The value {} of PIVOT cannot be cast to \"{}\", the type of its column",
                    naming::text(value),
                    coercion::spelled(&kind)
                );
            };
            let known = Expr::Literal(known, None);
            equal.push(binary_expr(column.clone(), Operator::IsNotDistinctFrom, known));
        }
        let text = match texts.as_slice() {
            [only] => only.clone(),
            several => format!("{{{}}}", several.join(", ")),
        };
        let name = value.name.clone().unwrap_or(text);
        Ok((joined(equal, Operator::And), name))
    }

    pub(super) fn unpivot(&mut self, unpivot: &Unpivot) -> Result<Resolved> {
        let Resolved { plan, scope } = self.relation(&unpivot.input)?;
        let mut context = Context::new(&scope, Arc::clone(plan.schema()), Clause::Unpivot);
        let mut rows: Vec<Vec<Expr>> = Vec::with_capacity(unpivot.rows.len());
        for row in &unpivot.rows {
            rows.push(self.expressions(&row.columns, &mut context)?);
        }
        let is_used = |column: &Expr| rows.iter().flatten().any(|used| used == column);
        let others: Vec<Visible> =
            scope.shown().filter(|column| !is_used(&column.value)).cloned().collect();
        let mut arguments = vec![lit(i32::try_from(rows.len()).unwrap_or(i32::MAX))];
        let name_of = |value: &Expr| {
            scope.columns.iter().find(|column| column.value == *value).map(|c| c.name.clone())
        };
        let mut names = Vec::with_capacity(rows.len());
        for (row, known) in rows.iter().zip(&unpivot.rows) {
            let own: Option<Vec<String>> = row.iter().map(name_of).collect();
            let Some(own) = own else {
                refuse!(
                    "[UNPIVOT_REQUIRES_ATTRIBUTES] UNPIVOT requires all given value expressions to be columns"
                );
            };
            names.push(known.name.clone().unwrap_or_else(|| own.join("_")));
        }
        self.same_types(&mut rows, &context)?;
        for (row, name) in rows.into_iter().zip(names) {
            arguments.push(lit(name));
            arguments.extend(row);
        }
        let typed = arguments.into_iter().map(|argument| context.typed(argument));
        let generated = tidemill_functions::generate(&STACK, typed.collect::<Result<_>>()?)?;
        let columns = self.generated_columns(&generated, &[], &context.schema)?;
        let Generated { values, is_outer, has_position, .. } = generated;
        let node = Generate::over(plan, values, is_outer, has_position)?;
        let qualifier = self.qualifier();
        let mut kept: Vec<Expr> = others.iter().map(|column| column.value.clone()).collect();
        let mut shown = others;
        let mut is_there = Vec::new();
        let named = std::iter::once(&unpivot.name).chain(&unpivot.values);
        for (place, ((value, _), name)) in columns.into_iter().zip(named).enumerate() {
            let column = format!("c{place}");
            kept.push(value.alias_qualified(Some(qualifier.clone()), column.clone()));
            let value = Expr::Column(Column::new(Some(qualifier.clone()), column));
            if place > 0 {
                is_there.push(value.clone().is_not_null());
            }
            let name = name.clone();
            shown.push(Visible { relation: None, name, value, is_hidden: false });
        }
        if let Some(name) = twice(shown.iter().map(|column| &column.name)) {
            refuse!(
                "[AMBIGUOUS_REFERENCE] Reference `{name}` is ambiguous: UNPIVOT gives two columns of that name"
            );
        }
        let mut plan = LogicalPlanBuilder::from(node).project(kept)?;
        if !unpivot.keeps_nulls {
            plan = plan.filter(joined(is_there, Operator::Or))?;
        }
        Ok(Resolved { plan: plan.build()?, scope: Scope { columns: shown } })
    }

    /// Casts the values of each place to one type.
    fn same_types(&self, rows: &mut [Vec<Expr>], context: &Context<'_>) -> Result<()> {
        let count = rows.first().map_or(0, Vec::len);
        for place in 0..count {
            let mut values: Vec<&mut Expr> =
                rows.iter_mut().filter_map(|row| row.get_mut(place)).collect();
            let kinds = values.iter().map(|value| context.type_of(value));
            let kinds = kinds.collect::<Result<Vec<_>>>()?;
            let is_text = |kind: &arrow::datatypes::DataType| kind.is_string();
            let are_texts = kinds.iter().any(is_text) && !kinds.iter().all(is_text);
            let met = coercion::meet(&mut values, &context.schema);
            if are_texts || met.is_err() {
                return Err(Error::new(
                    format!(
                        "[UNPIVOT_VALUE_DATA_TYPE_MISMATCH] Unpivot value columns must share a least common type, some types do not: [{}]",
                        kinds.iter().map(coercion::spelled).collect::<Vec<_>>().join(", ")
                    ),
                    None,
                ));
            }
        }
        Ok(())
    }
}

/// A value of groups whose aggregates read some of the rows alone.
fn of_rows(value: Expr, condition: &Expr) -> Result<Expr> {
    let of_rows = value.transform_down(|e| match e {
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            let filter = match params.filter.clone() {
                Some(own) => own.and(condition.clone()),
                None => condition.clone(),
            };
            let params = AggregateFunctionParams { filter: Some(Box::new(filter)), ..params };
            let call = Expr::AggregateFunction(AggregateFunction { func, params });
            Ok(Transformed::new(call, true, TreeNodeRecursion::Jump))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(of_rows.data)
}
