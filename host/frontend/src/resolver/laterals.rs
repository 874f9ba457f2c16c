//! LATERAL: the right side of a join reads the rows of the left one.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, JoinType, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, when};

use super::attributes::of_both;
use super::clause::Clause;
use super::expressions::Context;
use super::operators::joined;
use super::peeled::{Peeled, Places, holds_query, placed};
use super::scope::Visible;
use super::subqueries::check_reads;
use super::{Resolved, Resolver};
use crate::error::{Result, refuse};
use crate::spec::{Join, JoinKind};

impl Resolver<'_> {
    /// The rows of a join whose right side is LATERAL.
    pub(super) fn lateral(&mut self, join: &Join, left: Resolved) -> Result<Resolved> {
        let is_outer = match join.kind {
            JoinKind::Inner => false,
            JoinKind::LeftOuter => true,
            _ => refuse!(
                "[INVALID_LATERAL_JOIN_TYPE] The join of a LATERAL query cannot be RIGHT, FULL, SEMI or ANTI: an OUTER subquery cannot correlate to its join partner. Use an INNER JOIN or a LEFT JOIN"
            ),
        };
        if join.is_natural || !join.using.is_empty() {
            refuse!(
                "[UNSUPPORTED_FEATURE.LATERAL_JOIN_USING] The feature is not supported: JOIN USING with LATERAL correlation; write ON"
            );
        }
        self.outer.push((left.scope.clone(), Arc::clone(left.plan.schema())));
        let right = self.relation(&join.right).and_then(|right| self.shown(right));
        self.outer.pop();
        let Resolved { plan: query, scope } = right?;
        check_reads(&query)?;
        let qualifier = self.qualifier();
        let own = left.plan.schema().columns();
        let schema = of_both(left.plan.schema(), &named(&query, &qualifier)?)?;
        let mut both = left.scope;
        let place = |place: usize| Column::new(Some(qualifier.clone()), format!("c{place}"));
        both.columns.extend(
            scope
                .columns
                .into_iter()
                .enumerate()
                .map(|(number, column)| Visible { value: Expr::Column(place(number)), ..column }),
        );
        let condition = match &join.condition {
            Some(condition) => {
                let mut context = Context::new(&both, schema, Clause::On);
                Some(self.condition(condition, &mut context)?)
            }
            None => None,
        };
        if condition.as_ref().is_some_and(holds_query) {
            refuse!("ON of a LATERAL query has a query in it, which is not supported yet");
        }
        // What the condition reads, over the plan in which the query's columns are somewhere else.
        let over = |condition: Expr, places: &Places| -> Result<Expr> {
            let mut all: Places =
                own.iter().map(|column| (column.clone(), Expr::Column(column.clone()))).collect();
            for (number, column) in query.schema().columns().into_iter().enumerate() {
                all.insert(place(number), placed(&Expr::Column(column), places)?);
            }
            placed(&condition, &all)
        };
        if let Some(mut peeled) = self.peeled(&query)? {
            if let Some(condition) = condition {
                let condition = over(condition, &peeled.places)?;
                peeled.conditions.push(condition);
            }
            let plan = beside_rows(left.plan, peeled, &query, &qualifier, is_outer)?;
            return Ok(Resolved { plan, scope: both });
        }
        let mut dependent = self.dependent(left.plan, &query)?;
        if let Some(condition) = condition {
            let condition = over(condition, &dependent.places)?;
            dependent.unmeet(condition)?;
        }
        let plan = dependent.rows(is_outer)?.shown(&query, &qualifier)?;
        Ok(Resolved { plan, scope: both })
    }
}

/// The schema of a query's columns under the names that they have above the join.
fn named(query: &LogicalPlan, qualifier: &TableReference) -> Result<Arc<DFSchema>> {
    let fields = query.schema().fields().iter().enumerate().map(|(place, field)| {
        let field = Field::new(format!("c{place}"), field.data_type().clone(), true);
        (Some(qualifier.clone()), Arc::new(field))
    });
    Ok(Arc::new(DFSchema::new_with_metadata(fields.collect(), HashMap::new())?))
}

/// A join with the rows of a query that has nothing above what reads the left side.
fn beside_rows(
    left: LogicalPlan,
    peeled: Peeled,
    query: &LogicalPlan,
    qualifier: &TableReference,
    is_outer: bool,
) -> Result<LogicalPlan> {
    let mut values: Vec<Expr> = left.schema().columns().into_iter().map(Expr::Column).collect();
    for (number, column) in query.schema().columns().into_iter().enumerate() {
        let mut value = placed(&Expr::Column(column), &peeled.places)?;
        if is_outer {
            value = when(peeled.met.clone().is_not_null(), value).end()?;
        }
        values.push(value.alias_qualified(Some(qualifier.clone()), format!("c{number}")));
    }
    let on = joined(peeled.conditions, Operator::And);
    let kind = if is_outer { JoinType::Left } else { JoinType::Inner };
    let plan = LogicalPlanBuilder::from(left).join_on(peeled.rows, kind, [on])?;
    Ok(plan.project(values)?.build()?)
}
