//! So many rows over the life of a query (Spark's StreamingGlobalLimitExec).

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use tidemill_core::{Bucket, ShardId};

use super::forms::TakesOver;
use super::inputs::Inputs;
use super::output::Output;
use super::properties::{debug_as_shown, one_input, only, plain};
use super::stateful::{Placement, StateCounts, Stateful, StatefulOperator, placement};
use crate::RunningBatch;

/// Spark's name for the operator.
const NAME: &str = "globalLimit";
/// The one entry: how many rows have passed.
const PASSED: &[u8] = b"";
const SHARD: ShardId = ShardId(0);

/// Passes the first rows of the query's life.
pub(super) struct StreamLimitExec {
    input: Arc<dyn ExecutionPlan>,
    rows: u64,
    placement: Option<Placement>,
    properties: Arc<PlanProperties>,
}

impl StreamLimitExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, rows: u64) -> StreamLimitExec {
        let properties = plain(input.schema(), 1, EmissionType::Incremental);
        StreamLimitExec { input, rows, placement: None, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> StreamLimitExec {
        let properties = Arc::clone(&self.properties);
        StreamLimitExec { input, rows: self.rows, placement: self.placement, properties }
    }
}

impl Stateful for StreamLimitExec {
    fn placed(
        &self,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        placement: Placement,
    ) -> Result<(Arc<dyn ExecutionPlan>, StatefulOperator)> {
        let description = StatefulOperator {
            id: placement.operator,
            name: NAME.to_owned(),
            details: String::new(),
            key: Arc::new(Schema::empty()),
            value: Arc::new(Schema::new(vec![Field::new("passed", DataType::Int64, false)])),
            follows: None,
            timers: None,
            takes_over: TakesOver::Nothing,
        };
        let placed = StreamLimitExec { placement: Some(placement), ..self.over(only(inputs)?) };
        Ok((Arc::new(placed), description))
    }
}

fn read_count(bytes: &[u8]) -> Result<u64> {
    let bytes = bytes.try_into();
    let bytes = bytes.map_err(|_| exec_datafusion_err!("the state of a limit is damaged"))?;
    Ok(u64::from_le_bytes(bytes))
}

debug_as_shown!(StreamLimitExec);

impl DisplayAs for StreamLimitExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamLimit: rows={}", self.rows)
    }
}

impl ExecutionPlan for StreamLimitExec {
    one_input!("StreamLimit");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch = RunningBatch::of(&context)?;
        let (state, limit) = (placement(self.placement, partition)?.open(&batch), self.rows);
        let before = state
            .shard(SHARD, |state| Ok(state.get(Bucket::FOREVER, PASSED).map(read_count)))?
            .transpose()?
            .unwrap_or(0);
        let mut input = Inputs::start(&self.input, &context)?;
        Ok(Output::of(self.schema(), async move |output| {
            let mut passed = before;
            // The input is read to its end all the same: what is below it keeps state, too.
            while let Some(block) = input.next().await? {
                let left = usize::try_from(limit.saturating_sub(passed)).unwrap_or(usize::MAX);
                let taken = left.min(block.num_rows());
                passed += taken as u64;
                output.send(&block.slice(0, taken)).await?;
            }
            let has_changed = passed != before;
            if has_changed {
                state.shard(SHARD, |state| {
                    state.put(Bucket::FOREVER, PASSED, &passed.to_le_bytes())
                })?;
            }
            let updated = u64::from(has_changed);
            state.report(&batch, NAME, StateCounts { updated, ..StateCounts::default() })
        }))
    }
}
