//! EXCEPT of a stream and a table that does not change.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::logical_expr::{Distinct, Join, LogicalPlan};

/// Takes rows once after they passed, as Spark does (ReplaceExceptWithAntiJoin), and not before: what
/// does not pass is not kept.
pub(crate) fn distinct_last(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up(|node| {
        let LogicalPlan::Join(join) = &node else {
            return Ok(Transformed::no(node));
        };
        let is_except = join.join_type == JoinType::LeftAnti
            && join.null_equality == NullEquality::NullEqualsNull;
        let LogicalPlan::Distinct(Distinct::All(rows)) = join.left.as_ref() else {
            return Ok(Transformed::no(node));
        };
        if !is_except {
            return Ok(Transformed::no(node));
        }
        let join = Join { left: Arc::clone(rows), ..join.clone() };
        let rows = Arc::new(LogicalPlan::Join(join));
        Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(rows))))
    });
    rewritten.map(|rewritten| rewritten.data)
}
