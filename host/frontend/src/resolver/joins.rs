//! Joins. A key of USING is one column above the join: that of the left side, of the right side in
//! a right outer join, and whichever is there in a full outer one. `*` has the keys first.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, SubqueryAlias,
};
use tidemill_functions::find;

use super::attributes::beside;
use super::expressions::Context;
use super::operators::joined;
use super::scope::{Scope, Visible, quoted, same, twice};
use super::{Resolved, Resolver, coercion};
use crate::error::{Error, Result, refuse};
use crate::spec::{Join, JoinKind};

impl Resolver<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Resolved> {
        let left = self.side(&join.left, None)?;
        let right = match join.is_lateral {
            true => self.side(&join.right, Some(&left))?,
            false => self.side(&join.right, None)?,
        };
        let keys = match join.is_natural {
            true => common(&left.scope, &right.scope),
            false => join.using.clone(),
        };
        if let Some(key) = twice(&keys) {
            refuse!(
                "[COLUMN_ALREADY_EXISTS] The column `{key}` already exists: USING names it twice"
            );
        }
        let schema = beside(left.plan.schema(), right.plan.schema())?;
        let mut both = left.scope.clone();
        both.columns.extend(right.scope.columns.iter().cloned());
        let mut conditions = Vec::new();
        let mut merged = Vec::new();
        for key in &keys {
            let (of_left, of_right) = (key_of(&left, key, "left")?, key_of(&right, key, "right")?);
            let (mut one, mut other) = (of_left.clone(), of_right.clone());
            coercion::meet(&mut [&mut one, &mut other], &schema)?;
            let context = Context::new(&both, Arc::clone(&schema), "USING");
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
            let mut context = Context::new(&both, Arc::clone(&schema), "ON");
            conditions.push(self.condition(condition, &mut context)?);
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
        let plan = match (conditions.is_empty(), kind) {
            (true, JoinType::Inner) => builder.cross_join(right.plan)?,
            (true, _) => {
                let always = datafusion::logical_expr::lit(true);
                builder.join_on(right.plan, kind, [always])?
            }
            (false, _) => builder.join_on(right.plan, kind, [joined(conditions, Operator::And)])?,
        };
        let scope = match kind {
            JoinType::LeftSemi | JoinType::LeftAnti => shown(left.scope, &keys, merged),
            _ => shown(both, &keys, merged),
        };
        Ok(Resolved { plan: plan.build()?, scope })
    }

    /// A side of a join. Its columns have qualifiers, so that they never meet the other side's.
    fn side(
        &mut self,
        relation: &crate::spec::Relation,
        left: Option<&Resolved>,
    ) -> Result<Resolved> {
        let resolved = match left {
            None => self.relation(relation)?,
            Some(left) => {
                self.outer.push((left.scope.clone(), Arc::clone(left.plan.schema())));
                let resolved = self.relation(relation);
                self.outer.pop();
                let Resolved { plan, scope } = resolved?;
                let outer_ref_columns = plan.all_out_ref_exprs();
                let plan = match outer_ref_columns.is_empty() {
                    true => plan,
                    false => lateral(plan, outer_ref_columns)?,
                };
                let columns = plan.schema().columns();
                if columns.len() != scope.columns.len() {
                    return Err(Error::new(
                        "a lateral query with a join of its own by USING is not supported yet",
                        None,
                    ));
                }
                Resolved { plan, scope }
            }
        };
        let is_qualified = resolved.plan.schema().iter().all(|(table, _)| table.is_some());
        if is_qualified {
            return Ok(resolved);
        }
        self.qualified(resolved)
    }
}

/// A query that reads columns of the side before it, as DataFusion knows it: the name is around it.
fn lateral(plan: LogicalPlan, outer_ref_columns: Vec<Expr>) -> Result<LogicalPlan> {
    let computes = plan.exists(|node| match node {
        LogicalPlan::Projection(projection) => Ok(projection.expr.iter().any(Expr::contains_outer)),
        _ => Ok(false),
    })?;
    if computes {
        refuse!(
            "a LATERAL query reads columns of the tables before it in its SELECT, which is not supported yet; it may in its WHERE"
        );
    }
    let of = |plan: Arc<LogicalPlan>| {
        let spans = Default::default();
        LogicalPlan::Subquery(Subquery { subquery: plan, outer_ref_columns, spans })
    };
    Ok(match plan {
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
            LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(of(input)), alias)?)
        }
        other => of(Arc::new(other)),
    })
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
    let Some(coalesce) = find("coalesce") else {
        refuse!("coalesce() is not there");
    };
    let arguments = vec![context.typed(left)?, context.typed(right)?];
    Ok(tidemill_functions::build(coalesce, arguments)?)
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
