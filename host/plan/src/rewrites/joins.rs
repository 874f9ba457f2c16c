//! Gives the joins of an optimised plan the nodes that run them: two streams keep state, a stream
//! and a table that does not change do not.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Extension, Join, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;

use crate::analysis::Streams;
use crate::logical::{Evaluate, StaticInput, StaticJoin, StreamJoin};
use crate::plugins::uses_of;
use crate::{PlanError, counters, setup};

/// Replaces DataFusion's joins wherever a stream takes part.
pub(crate) async fn plan_joins(
    plan: LogicalPlan,
    streams: &Streams,
    time_zone: &str,
) -> Result<LogicalPlan, PlanError> {
    let mut tables: HashMap<LogicalPlan, Arc<dyn ExecutionPlan>> = HashMap::new();
    for table in tables_of(&plan, streams) {
        let physical = static_plan(&table, time_zone).await?;
        tables.insert(table, physical);
    }
    let placed = plan.transform_up(|node| {
        let LogicalPlan::Join(join) = node else {
            return Ok(Transformed::no(node));
        };
        let is_stream = (streams.reach(&join.left), streams.reach(&join.right));
        let node: LogicalPlan = match is_stream {
            (false, false) => return Ok(Transformed::no(LogicalPlan::Join(join))),
            (true, true) => {
                LogicalPlan::Extension(Extension { node: Arc::new(StreamJoin::try_new(join)?) })
            }
            (stream_is_left, _) => {
                let side = if stream_is_left { &join.right } else { &join.left };
                let plan = tables.get(side.as_ref()).cloned().ok_or_else(|| {
                    DataFusionError::Internal("a static table was not planned".to_owned())
                })?;
                let table = StaticInput { plan, schema: Arc::clone(side.schema()) };
                let node = StaticJoin::try_new(join, table, stream_is_left)?;
                LogicalPlan::Extension(Extension { node: Arc::new(node) })
            }
        };
        Ok(Transformed::yes(node))
    });
    placed.map(|placed| placed.data).map_err(PlanError::refused_by)
}

/// The tables that streams are joined with.
fn tables_of(plan: &LogicalPlan, streams: &Streams) -> Vec<LogicalPlan> {
    let mut tables = Vec::new();
    // The closure never fails.
    let _ = plan.apply(|node| {
        if let LogicalPlan::Join(Join { left, right, .. }) = node {
            match (streams.reach(left), streams.reach(right)) {
                (true, false) => tables.push(right.as_ref().clone()),
                (false, true) => tables.push(left.as_ref().clone()),
                _ => {}
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    tables
}

/// Plans what gives a static table. No batch is known there, so nothing in it may ask for one.
async fn static_plan(
    table: &LogicalPlan,
    time_zone: &str,
) -> Result<Arc<dyn ExecutionPlan>, PlanError> {
    let asks = table.exists(|node| {
        let LogicalPlan::Extension(Extension { node: extension }) = node else {
            return Ok(!uses_of(node).is_empty());
        };
        Ok(extension.as_any().is::<Evaluate>() || !uses_of(node).is_empty())
    });
    if asks? {
        return Err(PlanError::NotYet(
            "a plugin's function or the batch's time over a static table alone".to_owned(),
        ));
    }
    counters::count_optimised();
    counters::count_planned();
    Ok(setup::batch_sql(time_zone).state().create_physical_plan(table).await?)
}
