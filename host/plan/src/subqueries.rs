//! Puts predicates with a subquery below watermarks.
//!
//! For Spark `k IN (SELECT …)` is a filter, until late in its optimiser: it goes below a watermark
//! whose column it does not read, and rows that it removes do not move it. DataFusion makes a join
//! of it first, which stays where the predicate was.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, Extension, Filter, LogicalPlan, LogicalPlanBuilder, SubqueryAlias,
};

use crate::logical::EventTimeWatermark;

/// Moves the predicates of a plan that has not been optimised.
pub(crate) fn sink_subqueries(plan: LogicalPlan) -> Result<LogicalPlan> {
    let sunk = plan.transform_down(|node| {
        let LogicalPlan::Filter(filter) = node else {
            return Ok(Transformed::no(node));
        };
        let mut input = filter.input.as_ref().clone();
        let (mut stay, mut has_moved) = (Vec::new(), false);
        for predicate in split_conjunction_owned(filter.predicate.clone()) {
            match sink(&predicate, &input)? {
                Some(sunk) => (input, has_moved) = (sunk, true),
                None => stay.push(predicate),
            }
        }
        if !has_moved {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let Some(rest) = conjunction(stay) else {
            return Ok(Transformed::yes(input));
        };
        Ok(Transformed::yes(LogicalPlanBuilder::from(input).filter(rest)?.build()?))
    });
    sunk.map(|sunk| sunk.data)
}

/// The plan with a predicate right below its watermark, if the predicate has a subquery and there is
/// nothing in between but other names.
fn sink(predicate: &Expr, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    if !has_plain_subquery(predicate)? {
        return Ok(None);
    }
    match plan {
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(below) = renamed(predicate, &alias.schema, alias.input.schema())? else {
                return Ok(None);
            };
            let Some(input) = sink(&below, &alias.input)? else { return Ok(None) };
            let alias = SubqueryAlias::try_new(input.into(), alias.alias.clone())?;
            Ok(Some(LogicalPlan::SubqueryAlias(alias)))
        }
        LogicalPlan::Filter(filter) => {
            let Some(input) = sink(predicate, &filter.input)? else { return Ok(None) };
            let filter = Filter::try_new(filter.predicate.clone(), input.into())?;
            Ok(Some(LogicalPlan::Filter(filter)))
        }
        LogicalPlan::Extension(Extension { node }) => {
            let Some(watermark) = node.as_any().downcast_ref::<EventTimeWatermark>() else {
                return Ok(None);
            };
            if predicate.column_refs().iter().any(|column| column.name == watermark.column) {
                return Ok(None);
            }
            let input = LogicalPlanBuilder::from(watermark.input.clone())
                .filter(predicate.clone())?
                .build()?;
            Ok(Some(plan.with_new_exprs(plan.expressions(), vec![input])?))
        }
        _ => Ok(None),
    }
}

/// Whether there is a subquery in it, and none that reads the rows that it filters.
fn has_plain_subquery(predicate: &Expr) -> Result<bool> {
    let (mut found, mut is_plain) = (false, true);
    predicate.apply(|expression| {
        let subquery = match expression {
            Expr::InSubquery(subquery) => Some(&subquery.subquery),
            Expr::ScalarSubquery(subquery) => Some(subquery),
            Expr::Exists(exists) => Some(&exists.subquery),
            _ => None,
        };
        if let Some(subquery) = subquery {
            found = true;
            is_plain &= subquery.outer_ref_columns.is_empty();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found && is_plain)
}

/// An expression over the columns of `from`, over those of `to`, which are the same under other
/// names.
fn renamed(expression: &Expr, from: &DFSchema, to: &DFSchema) -> Result<Option<Expr>> {
    let mut is_known = true;
    let renamed = expression.clone().transform(|expression| {
        let Expr::Column(column) = &expression else {
            return Ok(Transformed::no(expression));
        };
        let Some(place) = from.maybe_index_of_column(column) else {
            is_known = false;
            return Ok(Transformed::no(expression));
        };
        Ok(Transformed::yes(Expr::Column(Column::from(to.qualified_field(place)))))
    })?;
    Ok(is_known.then_some(renamed.data))
}
