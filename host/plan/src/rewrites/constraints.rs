//! What is true of every row of a plan, and what a join makes of that.
//!
//! The rules are Spark's (QueryPlanConstraints, InferFiltersFromConstraints): rows that meet agree
//! in the columns that are compared, so that what is said of the one is true of the other.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprSchemable, Extension, Join, LogicalPlan, Operator,
};

use super::subqueries::is_correlated;
use crate::logical::{Deduplicate, EventTimeWatermark, SessionWindow, StreamLimit, TimeWindow};
use tidemill_functions::CAST;

/// What follows for the left and for the right side of a join from all that is known, and is not
/// said there. A side whose rows stay when they meet nothing has none.
pub(crate) fn inferred(join: &Join) -> Result<(Vec<Expr>, Vec<Expr>)> {
    let mut known = constraints(&join.left)?;
    known.extend(constraints(&join.right)?);
    known.extend(conditions(join));
    let type_of = |e: &Expr| {
        let of_left = e.get_type(join.left.schema());
        of_left.or_else(|_| e.get_type(join.right.schema())).ok()
    };
    let mut new = Vec::new();
    for equality in &known {
        // Other types are equal once they are cast, which a plan need not say before it is optimised.
        let pairs = substitutions(equality).into_iter();
        for (from, to) in pairs.filter(|(from, to)| type_of(from) == type_of(to)) {
            let others = known.iter().filter(|other| *other != equality);
            // Nulls are a matter of what is compared.
            for other in others.filter(|other| !matches!(other, Expr::IsNotNull(_))) {
                let constraint = substituted(other, from, to)?;
                if !known.contains(&constraint) && !new.contains(&constraint) {
                    new.push(constraint);
                }
            }
        }
    }
    let (left_may, right_may) = join.join_type.on_lr_is_preserved();
    let of_side = |side: &LogicalPlan, may: bool| {
        let is_of =
            |constraint: &&Expr| reads_columns(constraint) && reads_only(constraint, side.schema());
        new.iter().filter(|_| may).filter(is_of).cloned().collect()
    };
    Ok((of_side(&join.left, left_may), of_side(&join.right, right_may)))
}

/// The predicates that are true of all rows of a plan, as its filters say it.
fn constraints(plan: &LogicalPlan) -> Result<Vec<Expr>> {
    match plan {
        LogicalPlan::Filter(filter) => {
            let mut all = constraints(&filter.input)?;
            let conjuncts = split_conjunction(&filter.predicate).into_iter();
            all.extend(conjuncts.filter(|conjunct| is_lasting(conjunct)).cloned());
            Ok(all)
        }
        LogicalPlan::Projection(projection) => {
            shown(constraints(&projection.input)?, &projection.expr, &projection.schema)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let columns = alias.input.schema().columns().into_iter().map(Expr::Column);
            shown(constraints(&alias.input)?, &columns.collect::<Vec<_>>(), &alias.schema)
        }
        LogicalPlan::Aggregate(aggregate) if !has_grouping_sets(aggregate) => {
            shown(constraints(&aggregate.input)?, &aggregate.group_expr, &aggregate.schema)
        }
        LogicalPlan::Join(join) => of_join(join),
        LogicalPlan::Distinct(Distinct::All(input)) => constraints(input),
        LogicalPlan::Sort(sort) => constraints(&sort.input),
        LogicalPlan::Limit(limit) => constraints(&limit.input),
        LogicalPlan::Extension(Extension { node }) => {
            let node = node.as_any();
            // A row in several windows is copied by Spark's Expand, which knows nothing any more.
            let keeps = node.is::<EventTimeWatermark>()
                || node.is::<Deduplicate>()
                || node.is::<StreamLimit>()
                || node.is::<SessionWindow>()
                || node.downcast_ref().is_some_and(|w: &TimeWindow| w.shape.slide == w.shape.size);
            match (keeps, plan.inputs().as_slice()) {
                (true, [input]) => constraints(input),
                _ => Ok(vec![]),
            }
        }
        _ => Ok(vec![]),
    }
}

fn of_join(join: &Join) -> Result<Vec<Expr>> {
    let (left, right, condition) = match join.join_type {
        JoinType::Inner => (true, true, true),
        JoinType::LeftSemi => (true, false, true),
        JoinType::RightSemi => (false, true, true),
        JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => (true, false, false),
        JoinType::Right | JoinType::RightAnti | JoinType::RightMark => (false, true, false),
        JoinType::Full => (false, false, false),
    };
    let mut all = Vec::new();
    if left {
        all.extend(constraints(&join.left)?);
    }
    if right {
        all.extend(constraints(&join.right)?);
    }
    if condition {
        all.extend(conditions(join));
    }
    all.retain(|constraint| reads_only(constraint, &join.schema));
    Ok(all)
}

/// What the condition of a join says of rows that meet.
fn conditions(join: &Join) -> Vec<Expr> {
    let mut all = Vec::new();
    if join.null_equality == NullEquality::NullEqualsNothing {
        all.extend(join.on.iter().map(|(left, right)| left.clone().eq(right.clone())));
    }
    all.extend(join.filter.iter().cloned().flat_map(split_conjunction_owned));
    all.retain(is_lasting);
    all
}

/// Whether a predicate says the same of a row wherever it is asked.
fn is_lasting(predicate: &Expr) -> bool {
    !predicate.is_volatile() && !is_correlated(predicate)
}

/// What may stand for what, if two sides are equal: a column for a column or for a cast of one.
fn substitutions(equality: &Expr) -> Vec<(&Expr, &Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = equality else {
        return vec![];
    };
    let pairs = [(left.as_ref(), right.as_ref()), (right.as_ref(), left.as_ref())];
    let may = |to: &Expr| match to {
        Expr::Column(_) => true,
        Expr::Cast(cast) => matches!(*cast.expr, Expr::Column(_)),
        Expr::ScalarFunction(call) => {
            call.func.name() == CAST && matches!(call.args.first(), Some(Expr::Column(_)))
        }
        _ => false,
    };
    let mut pairs = pairs.to_vec();
    pairs.retain(|(from, to)| matches!(from, Expr::Column(_)) && may(to));
    pairs
}

fn substituted(constraint: &Expr, from: &Expr, to: &Expr) -> Result<Expr> {
    let replaced = constraint.clone().transform_up(|e| match e == *from {
        true => Ok(Transformed::yes(to.clone())),
        false => Ok(Transformed::no(e)),
    });
    replaced.map(|replaced| replaced.data)
}

/// Constraints over the columns of `schema`, the first of which hold `values`. Those that read
/// something else are left out.
fn shown(constraints: Vec<Expr>, values: &[Expr], schema: &DFSchema) -> Result<Vec<Expr>> {
    let values = values.iter().map(|value| value.clone().unalias());
    let mut named: Vec<(Expr, Column)> = values.zip(schema.columns()).collect();
    // A literal in a constraint is not that column.
    named.retain(|(value, _)| reads_columns(value));
    let mut shown = Vec::new();
    for constraint in constraints {
        let mut is_shown = true;
        let constraint = constraint.transform_down(|e| {
            if let Some((_, column)) = named.iter().find(|(value, _)| *value == e) {
                let column = Expr::Column(column.clone());
                return Ok(Transformed::new(column, true, TreeNodeRecursion::Jump));
            }
            is_shown &= !matches!(e, Expr::Column(_));
            Ok(Transformed::no(e))
        })?;
        if is_shown {
            shown.push(constraint.data);
        }
    }
    Ok(shown)
}

pub(crate) fn has_grouping_sets(aggregate: &Aggregate) -> bool {
    matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)])
}

fn reads_columns(expression: &Expr) -> bool {
    !expression.column_refs().is_empty()
}

fn reads_only(expression: &Expr, schema: &DFSchema) -> bool {
    let reads = expression.column_refs();
    reads.into_iter().all(|column| schema.maybe_index_of_column(column).is_some())
}
