//! A query that reads the one around it, taken apart: rows that read nothing around them, conditions
//! on which these meet the rows around, and what the query gives for each pair.

use std::collections::HashMap;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit};

use super::Resolver;
use crate::error::{Error, Result};

/// The column that is there where a row met one.
pub(super) const MET: &str = "met";

/// What the columns of a plan are in another one.
pub(super) type Places = HashMap<Column, Expr>;

/// A query that is taken apart.
pub(super) struct Peeled {
    /// The rows that read nothing around them, and a column [`MET`] that is true.
    pub(super) rows: LogicalPlan,
    /// That column.
    pub(super) met: Expr,
    /// When a row meets one of those around.
    pub(super) conditions: Vec<Expr>,
    /// What the query's columns are.
    pub(super) places: Places,
}

impl Resolver<'_> {
    /// Takes a query apart, if it has nothing but conditions and values that read the one around it.
    pub(super) fn peeled(&mut self, plan: &LogicalPlan) -> Result<Option<Peeled>> {
        if !reads_around(plan) {
            return self.of_rows(plan.clone()).map(Some);
        }
        match plan {
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(mut peeled) = self.peeled(&alias.input)? else { return Ok(None) };
                peeled.places = renamed(&peeled.places, alias.input.schema(), &alias.schema)?;
                Ok(Some(peeled))
            }
            LogicalPlan::Projection(projection) if is_simple(&projection.expr) => {
                let Some(mut peeled) = self.peeled(&projection.input)? else { return Ok(None) };
                let columns = projection.schema.columns().into_iter();
                let values = projection.expr.iter().map(|value| placed(value, &peeled.places));
                let values = values.collect::<Result<Vec<Expr>>>()?;
                peeled.places = columns.zip(values).collect();
                Ok(Some(peeled))
            }
            LogicalPlan::Filter(filter) => {
                let all = split_conjunction_owned(filter.predicate.clone());
                let (around, own): (Vec<Expr>, Vec<Expr>) = match reads_around(&filter.input) {
                    true => (all, Vec::new()),
                    false => all.into_iter().partition(Expr::contains_outer),
                };
                let input = match conjunction(own) {
                    Some(own) => LogicalPlanBuilder::from(filter.input.as_ref().clone())
                        .filter(own)?
                        .build()?,
                    None => filter.input.as_ref().clone(),
                };
                if !is_simple(&around) {
                    return Ok(None);
                }
                let Some(mut peeled) = self.peeled(&input)? else { return Ok(None) };
                for condition in &around {
                    let condition = placed(condition, &peeled.places)?;
                    peeled.conditions.push(condition);
                }
                Ok(Some(peeled))
            }
            LogicalPlan::Join(join)
                if join.join_type == JoinType::Inner
                    && !reads_around(&join.left)
                    && !reads_around(&join.right) =>
            {
                let pairs = LogicalPlanBuilder::from(join.left.as_ref().clone())
                    .cross_join(join.right.as_ref().clone())?
                    .build()?;
                let equal = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
                let conditions: Vec<Expr> = equal.chain(join.filter.clone()).collect();
                if !is_simple(&conditions) {
                    return Ok(None);
                }
                let mut peeled = self.of_rows(pairs)?;
                for condition in &conditions {
                    let condition = placed(condition, &peeled.places)?;
                    peeled.conditions.push(condition);
                }
                Ok(Some(peeled))
            }
            _ => Ok(None),
        }
    }

    fn of_rows(&mut self, plan: LogicalPlan) -> Result<Peeled> {
        let columns = plan.schema().columns();
        let names = (0..columns.len()).map(|place| format!("c{place}"));
        let values = columns.iter().cloned().map(Expr::Column).zip(names.clone());
        let mut values: Vec<Expr> = values.map(|(value, name)| value.alias(name)).collect();
        values.push(lit(true).alias(MET));
        let qualifier = self.qualifier();
        let rows =
            LogicalPlanBuilder::from(plan).project(values)?.alias(qualifier.clone())?.build()?;
        let of = |name: String| Expr::Column(Column::new(Some(qualifier.clone()), name));
        let places = columns.into_iter().zip(names.map(of)).collect();
        Ok(Peeled { rows, met: of(MET.to_owned()), conditions: Vec::new(), places })
    }
}

/// Whether a plan reads columns of the query around it.
pub(super) fn reads_around(plan: &LogicalPlan) -> bool {
    !plan.all_out_ref_exprs().is_empty()
}

/// Whether expressions have no query in them, nor what is computed of several rows.
fn is_simple(values: &[Expr]) -> bool {
    !values.iter().any(holds_query)
}

/// Whether a query is in an expression.
#[must_use]
pub fn holds_query(value: &Expr) -> bool {
    // The closure never fails.
    value.exists(|e| Ok(query_of(e).is_some())).unwrap_or(true)
}

/// The query that an expression asks.
#[must_use]
pub fn query_of(value: &Expr) -> Option<&Subquery> {
    match value {
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(within) => Some(&within.subquery),
        Expr::ScalarSubquery(scalar) => Some(scalar),
        _ => None,
    }
}

/// The places of a plan's columns under the names of another one that has the same.
pub(super) fn renamed(places: &Places, from: &DFSchema, to: &DFSchema) -> Result<Places> {
    let each = from.columns().into_iter().zip(to.columns());
    let each = each.map(|(from, to)| Ok((to, placed(&Expr::Column(from), places)?)));
    each.collect()
}

/// An expression over the places of the columns that it reads; columns around are columns there.
pub(super) fn placed(value: &Expr, places: &Places) -> Result<Expr> {
    let mut missing = None;
    let placed = value.clone().transform_down(|e| match &e {
        Expr::Column(column) => match places.get(column) {
            Some(place) => Ok(Transformed::new(place.clone(), true, TreeNodeRecursion::Jump)),
            None => {
                missing.get_or_insert_with(|| column.name.clone());
                Ok(Transformed::no(e))
            }
        },
        Expr::OuterReferenceColumn(_, column) => {
            let column = Expr::Column(column.clone());
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        }
        _ => Ok(Transformed::no(e)),
    })?;
    match missing {
        None => Ok(placed.data.unalias()),
        Some(column) => Err(Error::new(format!("the column {column} was lost"), None)),
    }
}

/// Whether a query reads the one around it by comparisons with `=` in its WHERE alone, with what
/// DataFusion makes joins of: nothing that counts or looks at rows is above them.
pub(super) fn is_by_equality(plan: &LogicalPlan) -> bool {
    let is_fit = match plan {
        LogicalPlan::Filter(filter) => {
            let conjuncts = split_conjunction_owned(filter.predicate.clone());
            conjuncts.iter().all(|one| !one.contains_outer() || is_equality(one))
        }
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Sort(_) => {
            let mut is_free = true;
            // The closure never fails.
            let _ = plan.apply_expressions(|e| {
                is_free &= !e.contains_outer();
                Ok(TreeNodeRecursion::Continue)
            });
            is_free
        }
        _ => return !reads_around(plan),
    };
    is_fit && plan.inputs().into_iter().all(is_by_equality)
}

/// Whether a query reads the one around it in conditions alone, with nothing above them but what it
/// shows: DataFusion filters by whether it has rows.
pub(super) fn is_by_conditions(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(filter) => is_by_conditions(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => is_by_conditions(&alias.input),
        LogicalPlan::Projection(projection) => {
            !projection.expr.iter().any(Expr::contains_outer) && is_by_conditions(&projection.input)
        }
        other => !reads_around(other),
    }
}

fn is_equality(condition: &Expr) -> bool {
    let Expr::BinaryExpr(binary) = condition else { return false };
    let is_one = |around: &Expr, own: &Expr| {
        around.column_refs().is_empty()
            && around.contains_outer()
            && !own.contains_outer()
            && !own.column_refs().is_empty()
    };
    binary.op == Operator::Eq
        && (is_one(&binary.left, &binary.right) || is_one(&binary.right, &binary.left))
}
