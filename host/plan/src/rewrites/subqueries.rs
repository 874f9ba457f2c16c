//! Puts predicates with a subquery as far down as filters go.
//!
//! For Spark `k IN (SELECT …)` is a filter, until late in its optimiser: it goes below a watermark
//! whose column it does not read, and rows that it removes do not move it. DataFusion makes a join
//! of it first, which stays where the predicate was.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Distinct, Expr, Extension, Join, LogicalPlan, LogicalPlanBuilder, Subquery, Union,
};
use tidemill_frontend::{holds_query, query_of};

use super::constraints::{has_grouping_sets, inferred};
use crate::logical::{EventTimeWatermark, SessionWindow, TimeWindow};

/// Moves the predicates of a plan that has not been optimised, and adds those that follow from them
/// for the other sides of joins.
pub(crate) fn sink_subqueries(plan: LogicalPlan) -> Result<LogicalPlan> {
    let sunk = plan.transform_up(|node| {
        let LogicalPlan::Filter(filter) = node else {
            return Ok(Transformed::no(node));
        };
        let conjuncts = split_conjunction_owned(filter.predicate.clone());
        let (sink, stay): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(holds_query);
        if sink.is_empty() {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let input = sink_all(sink, Arc::unwrap_or_clone(filter.input))?;
        match conjunction(stay) {
            Some(rest) => filtered(input, rest).map(Transformed::yes),
            None => Ok(Transformed::yes(input)),
        }
    })?;
    if !sunk.transformed {
        return Ok(sunk.data);
    }
    let inferred = sunk.data.transform_up(|node| {
        let LogicalPlan::Join(join) = node else {
            return Ok(Transformed::no(node));
        };
        let (mut left, mut right) = inferred(&join)?;
        left.retain(holds_query);
        right.retain(holds_query);
        let left = sink_all(left, Arc::unwrap_or_clone(join.left))?.into();
        let right = sink_all(right, Arc::unwrap_or_clone(join.right))?.into();
        Ok(Transformed::yes(LogicalPlan::Join(Join { left, right, ..join })))
    });
    inferred.map(|inferred| inferred.data)
}

fn sink_all(predicates: Vec<Expr>, plan: LogicalPlan) -> Result<LogicalPlan> {
    predicates.into_iter().try_fold(plan, |plan, predicate| sink(predicate, plan))
}

/// The plan with a predicate as far down in it as it may go.
fn sink(predicate: Expr, plan: LogicalPlan) -> Result<LogicalPlan> {
    let below = below(&predicate, &plan)?;
    if below.iter().all(Option::is_none) {
        return filtered(plan, predicate);
    }
    let inputs = plan.inputs().into_iter().cloned().zip(below);
    let inputs = inputs.map(|(input, below)| match below {
        Some(predicate) => sink(predicate, input),
        None => Ok(input),
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    plan.with_new_exprs(plan.expressions(), inputs)
}

fn filtered(plan: LogicalPlan, predicate: Expr) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan).filter(predicate)?.build()
}

/// What a predicate above a plan is above each of its inputs. None where it must not be there.
fn below(predicate: &Expr, plan: &LogicalPlan) -> Result<Vec<Option<Expr>>> {
    let over = |values: &[Expr], input: &LogicalPlan| {
        replaced(predicate, plan.schema(), values, input.schema())
    };
    let over_columns = |input: &LogicalPlan| {
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        over(&columns.collect::<Vec<_>>(), input)
    };
    Ok(match plan {
        LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => {
            plan.inputs().into_iter().map(over_columns).collect::<Result<_>>()?
        }
        LogicalPlan::Union(union) if has_same_types(union) => {
            plan.inputs().into_iter().map(over_columns).collect::<Result<_>>()?
        }
        LogicalPlan::Projection(projection) if !projection.expr.iter().any(Expr::is_volatile) => {
            vec![over(&projection.expr, &projection.input)?]
        }
        LogicalPlan::Aggregate(aggregate)
            if !has_grouping_sets(aggregate) && !columns_of(predicate).is_empty() =>
        {
            vec![over(&aggregate.group_expr, &aggregate.input)?]
        }
        LogicalPlan::Join(join) => {
            let reads = columns_of(predicate);
            let takes = |side: &LogicalPlan| {
                reads.iter().all(|column| side.schema().maybe_index_of_column(column).is_some())
            };
            let (left_may, right_may) = passes(join.join_type);
            let left = left_may && takes(&join.left);
            let right = right_may && !left && takes(&join.right);
            [left, right].into_iter().map(|may| may.then(|| predicate.clone())).collect()
        }
        LogicalPlan::Extension(Extension { node }) => {
            let node = node.as_any();
            let reads = columns_of(predicate);
            let is_below = match node.downcast_ref::<EventTimeWatermark>() {
                Some(watermark) => reads.iter().all(|column| column.name != watermark.column),
                None => node.is::<TimeWindow>() || node.is::<SessionWindow>(),
            };
            match (is_below, plan.inputs().as_slice()) {
                (true, [input]) => vec![over_columns(input)?],
                _ => vec![],
            }
        }
        _ => vec![],
    })
}

/// Whether the columns of a union's inputs have its types already. Others are cast later.
fn has_same_types(union: &Union) -> bool {
    let types = |schema: &DFSchema| -> Vec<DataType> {
        schema.fields().iter().map(|field| field.data_type().clone()).collect()
    };
    let own = types(&union.schema);
    union.inputs.iter().all(|input| types(input.schema()) == own)
}

/// The sides of a join that take a filter from above it.
fn passes(kind: JoinType) -> (bool, bool) {
    match kind {
        JoinType::Inner => (true, true),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            (true, false)
        }
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            (false, true)
        }
        JoinType::Full => (false, false),
    }
}

/// Whether a subquery reads columns of the rows that the predicate filters.
pub(crate) fn is_correlated(predicate: &Expr) -> bool {
    !outer_columns(predicate).is_empty()
}

/// The columns that a predicate reads, its subqueries included.
fn columns_of(predicate: &Expr) -> Vec<Column> {
    let mut columns: Vec<Column> = predicate.column_refs().into_iter().cloned().collect();
    columns.extend(outer_columns(predicate));
    columns
}

/// Columns of the rows that a predicate filters, which its subqueries read.
fn outer_columns(predicate: &Expr) -> Vec<Column> {
    let mut columns = Vec::new();
    // The closure never fails.
    let _ = predicate.apply(|expression| {
        let outer = query_of(expression).map_or(&[][..], |s| &s.outer_ref_columns);
        columns.extend(outer.iter().filter_map(|column| match column {
            Expr::OuterReferenceColumn(_, column) => Some(column.clone()),
            _ => None,
        }));
        Ok(TreeNodeRecursion::Continue)
    });
    columns
}

/// A predicate over the columns of `schema`, the first of which hold `values`, over the columns of
/// `input`, which the values read. None where it reads another column, or a value with a subquery.
fn replaced(
    predicate: &Expr,
    schema: &DFSchema,
    values: &[Expr],
    input: &DFSchema,
) -> Result<Option<Expr>> {
    let value_of = |column: &Column| {
        let place = schema.maybe_index_of_column(column)?;
        values.get(place).map(|value| value.clone().unalias()).filter(|value| !holds_query(value))
    };
    if columns_of(predicate).iter().any(|column| value_of(column).is_none()) {
        return Ok(None);
    }
    let replaced = predicate.clone().transform_up(|expression| match expression {
        Expr::Column(column) => Ok(match value_of(&column) {
            Some(value) => Transformed::yes(value),
            None => Transformed::no(Expr::Column(column)),
        }),
        Expr::InSubquery(mut within) => {
            within.subquery = outer_replaced(within.subquery, &value_of, input)?;
            Ok(Transformed::yes(Expr::InSubquery(within)))
        }
        Expr::Exists(mut exists) => {
            exists.subquery = outer_replaced(exists.subquery, &value_of, input)?;
            Ok(Transformed::yes(Expr::Exists(exists)))
        }
        Expr::ScalarSubquery(scalar) => {
            let scalar = outer_replaced(scalar, &value_of, input)?;
            Ok(Transformed::yes(Expr::ScalarSubquery(scalar)))
        }
        expression => Ok(Transformed::no(expression)),
    });
    replaced.map(|replaced| Some(replaced.data))
}

/// A subquery whose references to the rows around it are the values of those columns.
fn outer_replaced(
    subquery: Subquery,
    value_of: &impl Fn(&Column) -> Option<Expr>,
    input: &DFSchema,
) -> Result<Subquery> {
    let as_outer = |expression: Expr| match expression {
        Expr::Column(column) => {
            let place = input.index_of_column(&column)?;
            let field = Arc::clone(input.field(place));
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        expression => Ok(Transformed::no(expression)),
    };
    let mut outer_ref_columns = Vec::new();
    let mut replace = |expression: Expr| {
        expression.transform_up(|expression| {
            let value = match &expression {
                Expr::OuterReferenceColumn(_, column) => value_of(column),
                _ => None,
            };
            let Some(value) = value else { return Ok(Transformed::no(expression)) };
            let value = value.transform_up(as_outer)?.data;
            value.apply(|part| {
                if matches!(part, Expr::OuterReferenceColumn(..))
                    && !outer_ref_columns.contains(part)
                {
                    outer_ref_columns.push(part.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
            Ok(Transformed::yes(value))
        })
    };
    let plan = Arc::unwrap_or_clone(subquery.subquery);
    let plan = plan.transform_down(|node| node.map_expressions(&mut replace))?.data;
    Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans })
}
