//! Aggregation over the life of a query.
//!
//! DataFusion aggregates the batch's own rows, each partition by itself, vectorised
//! (`AggregateExec` in its partial mode). What is ours comes after: the partial groups are merged
//! with the state of the same groups, late groups are dropped, and what the output mode asks for
//! is emitted. Work per batch grows with the groups touched and evicted, never with those held
//! (but for complete mode, whose result is everything).
//!
//! Order is fixed: state first, then partials by (partition, block), so that sums of doubles
//! repeat; rows leave in (shard, bucket, key) order.

mod conversion;
mod groups;
mod merge;
mod noted_input;
mod sessions;

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{exec_datafusion_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream, replace_children_if_necessary,
};
use futures::{StreamExt, TryStreamExt};
use tidemill_core::{OutputMode, Reservation, TRACE_TARGET};
use tracing::{Instrument, debug_span};

use self::groups::GroupLayout;
use self::merge::Merge;
use self::noted_input::{NotedInputExec, has_grand_total};
use self::sessions::Sessions;
use super::forms::TakesOver;
use super::held::grow;
use super::late_rows::LateRowsExec;
use super::properties::{debug_as_shown, one_input, only, plain};
use super::stateful::{Placement, Stateful, StatefulOperator, placement};
use crate::RunningBatch;
use crate::memory::block_bytes;

/// Merges partial groups with state.
struct StatefulAggregateExec {
    input: Arc<dyn ExecutionPlan>,
    layout: Arc<GroupLayout>,
    placement: Placement,
    /// Whether partial groups count only where there were rows.
    is_noted: bool,
    properties: Arc<PlanProperties>,
}

impl StatefulAggregateExec {
    /// `last` is the half that DataFusion would run above `input`, which is the partial one.
    fn try_new(
        last: &AggregateExec,
        input: Arc<dyn ExecutionPlan>,
        placement: Placement,
    ) -> Result<StatefulAggregateExec> {
        let Some(partial) = input.downcast_ref::<AggregateExec>() else {
            return plan_err!("an aggregation without a partial half");
        };
        let layout = Arc::new(GroupLayout::try_new(partial, last)?);
        let properties = plain(last.schema(), 1, EmissionType::Final);
        let is_noted = has_grand_total(partial);
        let mut below = Arc::clone(partial.input());
        if is_noted {
            below = Arc::new(NotedInputExec::new(below, placement.operator));
        }
        if let Some(by) = layout.late_by(partial)
            && placement.keeps_late
            && is_followed(&layout, placement.mode)
        {
            below = Arc::new(LateRowsExec::new(below, by, placement));
        }
        let input = replace_children_if_necessary(input, vec![below])?;
        Ok(StatefulAggregateExec { properties, layout, placement, input, is_noted })
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> StatefulAggregateExec {
        StatefulAggregateExec {
            input,
            layout: Arc::clone(&self.layout),
            placement: self.placement,
            is_noted: self.is_noted,
            properties: Arc::clone(&self.properties),
        }
    }

    fn describe(&self) -> StatefulOperator {
        StatefulOperator {
            id: self.placement.operator,
            name: self.layout.operator_name().to_owned(),
            details: self.layout.describe_eviction(),
            key: Arc::clone(&self.layout.keys),
            value: Arc::clone(&self.layout.states),
            follows: self.placement.lag.filter(|_| self.placement.mode != OutputMode::Complete),
            timers: None,
            takes_over: TakesOver::Groups(self.layout.group_columns()),
        }
    }
}

/// Late rows and eviction go by the event time among the keys; in complete mode all stays, and only
/// sessions can be late (Spark's SessionWindowStateStoreRestoreExec).
fn is_followed(layout: &GroupLayout, mode: OutputMode) -> bool {
    layout.event_time.is_some() && (mode != OutputMode::Complete || layout.session.is_some())
}

/// The half of DataFusion's aggregation that would give results: ours takes its place.
impl Stateful for AggregateExec {
    fn placed(
        &self,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        placement: Placement,
    ) -> Result<(Arc<dyn ExecutionPlan>, StatefulOperator)> {
        let stateful = StatefulAggregateExec::try_new(self, only(inputs)?, placement)?;
        let description = stateful.describe();
        Ok((Arc::new(stateful), description))
    }
}

/// All blocks of a stream, and their memory.
async fn collect(
    mut stream: SendableRecordBatchStream,
    mut held: Reservation,
) -> Result<(Vec<RecordBatch>, Reservation)> {
    let mut blocks = Vec::new();
    while let Some(block) = stream.next().await.transpose()? {
        grow(&mut held, block_bytes(&block))?;
        blocks.push(block);
    }
    Ok((blocks, held))
}

debug_as_shown!(StatefulAggregateExec);

impl DisplayAs for StatefulAggregateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> =
            self.layout.keys.fields().iter().map(|field| field.name().as_str()).collect();
        write!(
            f,
            "StatefulAggregate: mode={}, shards={}, keys=[{}]",
            self.placement.mode,
            self.placement.shards,
            keys.join(", ")
        )
    }
}

impl ExecutionPlan for StatefulAggregateExec {
    one_input!("StatefulAggregate");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let whole = placement(Some(self.placement), partition)?;
        let batch = RunningBatch::of(&context)?;
        let number = batch.spec().batch.0;
        let mut partials = Vec::new();
        for partition in 0..self.input.output_partitioning().partition_count() {
            let stream = self.input.execute(partition, Arc::clone(&context))?;
            let span = debug_span!(target: TRACE_TARGET, "partial", batch = number, partition);
            let held = batch.memory().reserve("partial groups of an aggregation");
            partials.push(SpawnedTask::spawn(collect(stream, held).instrument(span)));
        }
        let layout = Arc::clone(&self.layout);
        let placement = match is_followed(&layout, whole.mode) {
            true => whole,
            false => whole.without_watermark(),
        };
        let is_noted = self.is_noted;
        let schema = self.schema();
        let output = Arc::clone(&schema);
        let rows = async move {
            let memory = batch.memory().reserve("an aggregation");
            if let Some(conversion) = batch.migration().of(whole.operator) {
                conversion::convert(&layout, &conversion, &whole.open(&batch), &batch, &memory)?;
            }
            let (mut blocks, mut held): (Vec<RecordBatch>, Vec<Reservation>) = Default::default();
            for (partition, partial) in partials.into_iter().enumerate() {
                let (groups, of_groups) =
                    partial.join_unwind().await.map_err(|e| exec_datafusion_err!("{e}"))??;
                held.push(of_groups);
                if !is_noted || batch.had_input(whole.operator.0, partition) {
                    blocks.extend(groups);
                }
            }
            let span = debug_span!(target: TRACE_TARGET, "merge_state", batch = number);
            let rows = span.in_scope(|| match layout.session {
                None => {
                    let merge = Merge::new(layout, placement, &batch);
                    merge.run(&batch, &blocks, &output, &memory)
                }
                Some(bounds) => {
                    let sessions = Sessions::new(layout, bounds, placement, &batch);
                    sessions.run(&batch, &blocks, &output, &memory)
                }
            })?;
            Ok::<_, DataFusionError>(futures::stream::iter(rows))
        };
        let stream = futures::stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
