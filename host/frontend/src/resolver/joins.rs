//! Joins. A key of USING is one column above the join: that of the left side, of the right side in
//! a right outer join, and whichever is there in a full outer one. `*` has the keys first.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator};
use tidemill_functions::COALESCE;

use super::attached::Which;
use super::attributes::of_both;
use super::clause::Clause;
use super::expressions::Context;
use super::operators::joined;
use super::peeled::{holds_query, is_by_equality, query_of, reads_around};
use super::scope::{Scope, Visible, quoted, same, twice};
use super::{Resolved, Resolver, coercion};
use crate::error::{Result, refuse};
use crate::spec::{Join, JoinKind};

impl Resolver<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Resolved> {
        let mut left = self.side(&join.left)?;
        if join.is_lateral {
            return self.lateral(join, left);
        }
        let mut right = self.side(&join.right)?;
        let keys = match join.is_natural {
            true => common(&left.scope, &right.scope),
            false => join.using.clone(),
        };
        if let Some(key) = twice(&keys) {
            refuse!(
                "[COLUMN_ALREADY_EXISTS] The column `{key}` already exists: USING names it twice"
            );
        }
        let schema = of_both(left.plan.schema(), right.plan.schema())?;
        let mut both = left.scope.clone();
        both.columns.extend(right.scope.columns.iter().cloned());
        let mut conditions = Vec::new();
        let mut merged = Vec::new();
        for key in &keys {
            let (of_left, of_right) = (key_of(&left, key, "left")?, key_of(&right, key, "right")?);
            let (mut one, mut other) = (of_left.clone(), of_right.clone());
            coercion::meet(&mut [&mut one, &mut other], &schema)?;
            let context = Context::new(&both, Arc::clone(&schema), Clause::Using);
            conditions.push(datafusion::logical_expr::binary_expr(one, Operator::Eq, other));
            let value = match join.kind {
                JoinKind::RightOuter => of_right,
                JoinKind::FullOuter => either(of_left, of_right, &context)?,
                _ => of_left,
            };
            // It is called as on the left side.
            let own = left.scope.shown().find(|column| same(&column.name, key));
            let name = own.map_or(key, |column| &column.name).clone();
            merged.push(Visible { relation: None, name, value, is_hidden: false });
        }
        if let Some(condition) = &join.condition {
            let mut context = Context::new(&both, Arc::clone(&schema), Clause::On);
            let condition = self.condition(condition, &mut context)?;
            let sides = (&mut left.plan, &mut right.plan);
            conditions.push(self.asked_by_side(condition, join.kind, sides)?);
        }
        let kind = match join.kind {
            JoinKind::Inner => JoinType::Inner,
            JoinKind::LeftOuter => JoinType::Left,
            JoinKind::RightOuter => JoinType::Right,
            JoinKind::FullOuter => JoinType::Full,
            JoinKind::LeftSemi => JoinType::LeftSemi,
            JoinKind::LeftAnti => JoinType::LeftAnti,
        };
        let builder = LogicalPlanBuilder::from(left.plan);
        let plan = match conditions.is_empty() && kind == JoinType::Inner {
            true => builder.cross_join(right.plan)?,
            false => builder.join_on(right.plan, kind, [joined(conditions, Operator::And)])?,
        };
        let scope = match kind {
            JoinType::LeftSemi | JoinType::LeftAnti => shown(left.scope, &keys, merged),
            _ => shown(both, &keys, merged),
        };
        Ok(Resolved { plan: plan.build()?, scope })
    }

    /// A condition whose queries are columns of the side that they read, but where DataFusion knows what
    /// a condition of pairs asks of them.
    fn asked_by_side(
        &mut self,
        condition: Expr,
        kind: JoinKind,
        (left, right): (&mut LogicalPlan, &mut LogicalPlan),
    ) -> Result<Expr> {
        // What a condition of one side filters before the join.
        let (left_first, right_first) = match kind {
            JoinKind::Inner | JoinKind::LeftSemi => (true, true),
            JoinKind::LeftOuter | JoinKind::LeftAnti => (false, true),
            JoinKind::RightOuter => (true, false),
            JoinKind::FullOuter => (false, false),
        };
        let mut conjuncts = split_conjunction_owned(condition);
        for conjunct in conjuncts.iter_mut().filter(|conjunct| holds_query(conjunct)) {
            if kind == JoinKind::Inner && !is_asked_apart(conjunct)? {
                continue;
            }
            let mut reads: Vec<Column> = conjunct.column_refs().into_iter().cloned().collect();
            reads.extend(outer_reads(conjunct)?);
            for (side, is_first) in [(&mut *left, left_first), (&mut *right, right_first)] {
                let is_in = |column| side.schema().maybe_index_of_column(column).is_some();
                if !reads.iter().all(is_in) {
                    continue;
                }
                if !is_first && holds_denied(conjunct)? {
                    refuse!(
                        "NOT IN or NOT EXISTS of a query stands in the ON of an outer join, of the side whose rows all stay, which is not supported yet; compute it in a query in FROM"
                    );
                }
                let plan = std::mem::take(side);
                *side = self.attached(plan, [conjunct], Which::All)?;
                break;
            }
        }
        Ok(joined(conjuncts, Operator::And))
    }

    /// A side of a join. Its columns have qualifiers, so that they never meet the other side's.
    fn side(&mut self, relation: &crate::spec::Relation) -> Result<Resolved> {
        let resolved = self.relation(relation)?;
        let is_qualified = resolved.plan.schema().iter().all(|(table, _)| table.is_some());
        if is_qualified {
            return Ok(resolved);
        }
        self.qualified(resolved)
    }
}

/// Whether a condition of an inner join asks a query that DataFusion does not know there.
fn is_asked_apart(condition: &Expr) -> Result<bool> {
    Ok(condition.exists(|e| Ok(query_of(e).is_some_and(|query| is_apart(&query.subquery))))?)
}

fn is_apart(query: &LogicalPlan) -> bool {
    reads_around(query) && !is_by_equality(query)
}

/// Whether an expression asks what a query has not.
fn holds_denied(condition: &Expr) -> Result<bool> {
    Ok(condition.exists(|e| {
        Ok(match e {
            Expr::Exists(exists) => exists.negated,
            Expr::InSubquery(within) => within.negated,
            _ => false,
        })
    })?)
}

/// The columns around them that the queries in an expression read.
fn outer_reads(value: &Expr) -> Result<Vec<Column>> {
    let mut reads = Vec::new();
    value.apply(|e| {
        for read in query_of(e).map_or(&[][..], |query| &query.outer_ref_columns) {
            if let Expr::OuterReferenceColumn(_, column) = read {
                reads.push(column.clone());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(reads)
}

/// The names that both sides have, in the left one's order.
fn common(left: &Scope, right: &Scope) -> Vec<String> {
    let is_in_right = |name: &str| right.shown().any(|column| same(&column.name, name));
    left.shown().map(|column| column.name.clone()).filter(|name| is_in_right(name)).collect()
}

fn key_of(side: &Resolved, key: &str, which: &str) -> Result<Expr> {
    let name = [key.to_owned()];
    match side.scope.find(&name)? {
        Some(found) => Ok(found.value),
        None => refuse!(
            "[UNRESOLVED_USING_COLUMN_FOR_JOIN] USING column {} cannot be resolved on the {which} side of the join. The {which}-side columns: [{}].",
            quoted(&name),
            side.scope.like(&name).join(", ")
        ),
    }
}

/// The key of whichever side is there.
fn either(left: Expr, right: Expr, context: &Context<'_>) -> Result<Expr> {
    let arguments = vec![context.typed(left)?, context.typed(right)?];
    Ok(tidemill_functions::build(&COALESCE, arguments)?)
}

/// The keys first, then all other columns; the sides' own keys are found by the table's name.
fn shown(mut scope: Scope, keys: &[String], merged: Vec<Visible>) -> Scope {
    for column in &mut scope.columns {
        column.is_hidden |= keys.iter().any(|key| same(key, &column.name));
    }
    let mut columns = merged;
    columns.append(&mut scope.columns);
    Scope { columns }
}
