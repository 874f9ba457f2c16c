//! Aggregation over the life of a query.
//!
//! DataFusion aggregates the batch's own rows, each partition by itself, vectorised
//! (`AggregateExec` in its partial mode). What is ours comes after: the partial groups are merged
//! with the state of the same groups, late groups are dropped, and what the output mode asks for
//! is emitted. Work per batch grows with the groups touched and evicted, never with those held
//! (but for complete mode, whose result is everything).
//!
//! Order is fixed: state first, then partials by (partition, block), so that sums of doubles
//! repeat; rows leave in (shard, key) order.

mod groups;
mod merge;

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{exec_datafusion_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream, common,
};
use futures::TryStreamExt;
use tidemill_core::{OperatorId, OutputMode, TRACE_TARGET};
use tracing::{Instrument, debug_span};

use self::groups::GroupLayout;
use self::merge::Merge;
use super::properties::{one_input, plain};
use crate::RunningBatch;
use crate::logical::{is_event_time, window_size_micros};

/// A stateful operator of a plan, as the checkpoint and the progress records know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatefulOperator {
    /// Its number, from the sink's side.
    pub id: OperatorId,
    /// Spark's name for it.
    pub name: String,
    /// Schema of its keys.
    pub key: SchemaRef,
    /// Schema of its values.
    pub value: SchemaRef,
    /// Whether the watermark evicts from it, or lets it emit: only then can a batch without rows
    /// have an effect.
    pub follows_watermark: bool,
}

/// What all stateful operators of a plan share.
#[derive(Clone, Copy)]
pub(crate) struct StatefulSettings {
    pub(crate) mode: OutputMode,
    pub(crate) shards: u32,
}

/// Replaces the final half of each aggregation by one that keeps state.
pub(crate) fn make_stateful(
    plan: Arc<dyn ExecutionPlan>,
    settings: StatefulSettings,
) -> Result<(Arc<dyn ExecutionPlan>, Vec<StatefulOperator>)> {
    let mut operators = Vec::new();
    let plan = plan.transform_down(|node| {
        let Some(last) = node.downcast_ref::<AggregateExec>() else {
            return Ok(Transformed::no(node));
        };
        if !matches!(last.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned) {
            return Ok(Transformed::no(node));
        }
        let id = OperatorId(operators.len() as u32);
        let stateful = StatefulAggregateExec::try_new(last, settings, id)?;
        operators.push(stateful.describe());
        Ok(Transformed::yes(Arc::new(stateful) as Arc<dyn ExecutionPlan>))
    })?;
    Ok((plan.data, operators))
}

/// Merges partial groups with state.
pub(crate) struct StatefulAggregateExec {
    input: Arc<dyn ExecutionPlan>,
    layout: Arc<GroupLayout>,
    operator: OperatorId,
    settings: StatefulSettings,
    properties: Arc<PlanProperties>,
}

impl StatefulAggregateExec {
    fn try_new(
        last: &AggregateExec,
        settings: StatefulSettings,
        operator: OperatorId,
    ) -> Result<StatefulAggregateExec> {
        let Some(partial) = last.input().downcast_ref::<AggregateExec>() else {
            return plan_err!("an aggregation without a partial half");
        };
        if partial.group_expr().has_grouping_set() {
            return plan_err!("GROUPING SETS, CUBE and ROLLUP are not supported yet");
        }
        let layout = GroupLayout::try_new(partial, last)?;
        if settings.mode == OutputMode::Append && layout.event_time.is_none() {
            return plan_err!(
                "Invalid streaming output mode: append. This output mode is not supported for streaming aggregations without watermark on streaming DataFrames/DataSets. Set a watermark on the source and group by window(…) over that column or by the column itself, or use output_mode = \"update\""
            );
        }
        Ok(StatefulAggregateExec {
            input: Arc::clone(last.input()),
            properties: plain(last.schema(), 1, EmissionType::Final),
            layout: Arc::new(layout),
            operator,
            settings,
        })
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> StatefulAggregateExec {
        StatefulAggregateExec {
            input,
            layout: Arc::clone(&self.layout),
            operator: self.operator,
            settings: self.settings,
            properties: Arc::clone(&self.properties),
        }
    }

    fn describe(&self) -> StatefulOperator {
        let follows_watermark = self.settings.mode != OutputMode::Complete
            && (self.layout.event_time.is_some() || self.layout.keys.fields().is_empty());
        StatefulOperator {
            id: self.operator,
            name: merge::OPERATOR_NAME.to_owned(),
            key: Arc::clone(&self.layout.keys),
            value: Arc::clone(&self.layout.states),
            follows_watermark,
        }
    }
}

/// Where a group's event time is: the number of its key column, and what to add to it (a window's
/// size; 0 for a time itself).
fn event_time_of(keys: &Schema) -> Result<Option<(usize, i64)>> {
    let mut marked = keys.fields().iter().enumerate().filter(|(_, field)| is_event_time(field));
    let Some((column, field)) = marked.next() else {
        return Ok(None);
    };
    if !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
        return Err(exec_datafusion_err!("event times have to be microseconds"));
    }
    Ok(Some((column, window_size_micros(field).unwrap_or(0))))
}

impl fmt::Debug for StatefulAggregateExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl DisplayAs for StatefulAggregateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> =
            self.layout.keys.fields().iter().map(|field| field.name().as_str()).collect();
        write!(
            f,
            "StatefulAggregate: mode={}, shards={}, keys=[{}]",
            self.settings.mode,
            self.settings.shards,
            keys.join(", ")
        )
    }
}

impl ExecutionPlan for StatefulAggregateExec {
    one_input!("StatefulAggregate");

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch = RunningBatch::of(&context)?;
        let number = batch.spec().batch.0;
        let mut partials = Vec::new();
        for partition in 0..self.input.output_partitioning().partition_count() {
            let stream = self.input.execute(partition, Arc::clone(&context))?;
            let span = debug_span!(target: TRACE_TARGET, "partial", batch = number, partition);
            partials.push(SpawnedTask::spawn(common::collect(stream).instrument(span)));
        }
        let merge = Merge::new(Arc::clone(&self.layout), self.operator, self.settings);
        let schema = self.schema();
        let output = Arc::clone(&schema);
        let rows = async move {
            let mut blocks: Vec<RecordBatch> = Vec::new();
            for partial in partials {
                blocks
                    .extend(partial.join_unwind().await.map_err(|e| exec_datafusion_err!("{e}"))??);
            }
            let span = debug_span!(target: TRACE_TARGET, "merge_state", batch = number);
            let rows = span.in_scope(|| merge.run(&batch, &blocks, &output))?;
            Ok::<_, DataFusionError>(futures::stream::iter(rows.into_iter().map(Ok)))
        };
        let stream = futures::stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
