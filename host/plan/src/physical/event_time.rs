//! Notes the event times that pass.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream,
};
use futures::StreamExt;

use super::properties::{debug_as_shown, one_input, plain};
use crate::logical::times_of;
use crate::{EventTimes, RunningBatch};

/// Lets rows pass and reports the event times of each partition to the batch.
pub(super) struct EventTimeWatermarkExec {
    input: Arc<dyn ExecutionPlan>,
    column: usize,
    number: usize,
    properties: Arc<PlanProperties>,
}

impl EventTimeWatermarkExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        column: usize,
        number: usize,
    ) -> EventTimeWatermarkExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(schema, partitions, EmissionType::Incremental);
        EventTimeWatermarkExec { input, column, number, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> EventTimeWatermarkExec {
        EventTimeWatermarkExec::new(input, self.schema(), self.column, self.number)
    }
}

fn event_times(rows: &RecordBatch, column: usize) -> Result<Option<EventTimes>> {
    let times = times_of(rows.column(column))?;
    let (Some(min), Some(max)) = (min(&times), max(&times)) else {
        return Ok(None);
    };
    let count = (times.len() - times.null_count()) as u64;
    let sum_ms = if times.null_count() == 0 {
        times.values().iter().fold(0_i64, |sum, time| sum.wrapping_add(time / 1_000))
    } else {
        times.iter().flatten().fold(0_i64, |sum, time| sum.wrapping_add(time / 1_000))
    };
    Ok(Some(EventTimes { count, min, max, sum_ms }))
}

debug_as_shown!(EventTimeWatermarkExec);

impl DisplayAs for EventTimeWatermarkExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventTimeWatermark: column={}", self.schema().field(self.column).name())
    }
}

impl ExecutionPlan for EventTimeWatermarkExec {
    one_input!("EventTimeWatermark");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch = RunningBatch::of(&context)?;
        let (column, number, schema) = (self.column, self.number, self.schema());
        let input = self.input.execute(partition, context)?;
        let tagged = Arc::clone(&schema);
        let stream = input.map(move |rows| {
            let rows = rows?;
            if let Some(seen) = event_times(&rows, column)? {
                batch.observe_event_times(number, seen);
            }
            Ok(RecordBatch::try_new(Arc::clone(&tagged), rows.columns().to_vec())?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
