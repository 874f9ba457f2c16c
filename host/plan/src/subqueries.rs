//! Puts predicates with a subquery below watermarks.
//!
//! For Spark `k IN (SELECT …)` is a filter, until late in its optimiser: it goes below a watermark
//! whose column it does not read, and rows that it removes do not move it. DataFusion makes a join
//! of it first, which stays where the predicate was.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, Extension, Filter, LogicalPlan, LogicalPlanBuilder, Subquery, SubqueryAlias,
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
    if !has_subquery(predicate)? {
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
            let outer = outer_columns(predicate)?;
            let mut read = predicate.column_refs().into_iter().chain(&outer);
            if read.any(|column| column.name == watermark.column) {
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

/// The subquery that an expression is about.
fn subquery_of(expression: &Expr) -> Option<&Subquery> {
    match expression {
        Expr::InSubquery(within) => Some(&within.subquery),
        Expr::ScalarSubquery(scalar) => Some(scalar),
        Expr::Exists(exists) => Some(&exists.subquery),
        _ => None,
    }
}

fn has_subquery(predicate: &Expr) -> Result<bool> {
    predicate.exists(|expression| Ok(subquery_of(expression).is_some()))
}

/// Columns of the rows that a predicate filters, which its subqueries read.
fn outer_columns(predicate: &Expr) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    predicate.apply(|expression| {
        let outer = subquery_of(expression).map_or(&[][..], |s| &s.outer_ref_columns);
        columns.extend(outer.iter().filter_map(|column| match column {
            Expr::OuterReferenceColumn(_, column) => Some(column.clone()),
            _ => None,
        }));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns)
}

/// An expression over the columns of `from`, over those of `to`, which are the same under other
/// names. None where a name is not known.
fn renamed(expression: &Expr, from: &DFSchema, to: &DFSchema) -> Result<Option<Expr>> {
    let mut is_known = true;
    let mut other = |column: &Column| match from.maybe_index_of_column(column) {
        Some(place) => Column::from(to.qualified_field(place)),
        None => {
            is_known = false;
            column.clone()
        }
    };
    let renamed = expression.clone().transform(|expression| match expression {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(other(&column)))),
        Expr::InSubquery(mut within) => {
            within.subquery = outer_renamed(within.subquery, &mut other)?;
            Ok(Transformed::yes(Expr::InSubquery(within)))
        }
        Expr::Exists(mut exists) => {
            exists.subquery = outer_renamed(exists.subquery, &mut other)?;
            Ok(Transformed::yes(Expr::Exists(exists)))
        }
        Expr::ScalarSubquery(scalar) => {
            Ok(Transformed::yes(Expr::ScalarSubquery(outer_renamed(scalar, &mut other)?)))
        }
        expression => Ok(Transformed::no(expression)),
    })?;
    Ok(is_known.then_some(renamed.data))
}

/// A subquery whose references to the rows around it have other names.
fn outer_renamed(
    subquery: Subquery,
    other: &mut impl FnMut(&Column) -> Column,
) -> Result<Subquery> {
    let mut rename = |expression: Expr| {
        expression.transform(|expression| match expression {
            Expr::OuterReferenceColumn(field, column) => {
                let column = other(&column);
                Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
            }
            expression => Ok(Transformed::no(expression)),
        })
    };
    let outer = subquery.outer_ref_columns.into_iter();
    let outer_ref_columns = outer.map(|c| Ok(rename(c)?.data)).collect::<Result<Vec<_>>>()?;
    let plan = Arc::unwrap_or_clone(subquery.subquery);
    let plan = plan.transform_down(|node| node.map_expressions(&mut rename))?.data;
    Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans })
}
