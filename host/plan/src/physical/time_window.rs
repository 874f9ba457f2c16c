//! Adds the starts of the windows that rows fall into.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr,
    PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt};

use super::properties::{debug_as_shown, one_input, plain};
use super::stateful::{OUTPUT_ROWS, in_blocks};
use crate::logical::WindowShape;

/// A row a window: rows without a time vanish, rows in several windows multiply.
pub(super) struct TimeWindowExec {
    input: Arc<dyn ExecutionPlan>,
    time: Arc<dyn PhysicalExpr>,
    shape: WindowShape,
    properties: Arc<PlanProperties>,
}

impl TimeWindowExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        time: Arc<dyn PhysicalExpr>,
        shape: WindowShape,
    ) -> TimeWindowExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(schema, partitions, EmissionType::Incremental);
        TimeWindowExec { input, time, shape, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> TimeWindowExec {
        TimeWindowExec::new(input, self.schema(), Arc::clone(&self.time), self.shape)
    }
}

debug_as_shown!(TimeWindowExec);

impl DisplayAs for TimeWindowExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeWindow: {}, {:?}", self.time, self.shape)
    }
}

impl ExecutionPlan for TimeWindowExec {
    one_input!("TimeWindow");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (time, shape, schema) = (Arc::clone(&self.time), self.shape, self.schema());
        let output = Arc::clone(&schema);
        let rows_at_once = (OUTPUT_ROWS / shape.windows_a_time()).max(1);
        let stream = self.input.execute(partition, context)?.map_ok(move |rows| {
            let (time, output) = (Arc::clone(&time), Arc::clone(&output));
            // A row becomes many where windows overlap: some at a time.
            futures::stream::iter(in_blocks(&rows, rows_at_once)).map(move |rows| {
                let times = time.evaluate(&rows)?.into_array(rows.num_rows())?;
                expand(&rows, &times, shape, &output)
            })
        });
        let stream = stream.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

fn expand(
    rows: &RecordBatch,
    times: &ArrayRef,
    shape: WindowShape,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let times = times
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| exec_datafusion_err!("window(): times have to be microseconds"))?;
    if shape.slide == shape.size && times.null_count() == 0 {
        // Every row is in exactly one window: nothing moves.
        let starts: TimestampMicrosecondArray =
            times.try_unary(|time| last_start(time, shape).ok_or_else(|| overflow(time)))?;
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(starts.with_data_type(times.data_type().clone())));
        return Ok(RecordBatch::try_new(Arc::clone(schema), columns)?);
    }
    let capacity = times.len().saturating_mul(shape.windows_a_time()).min(OUTPUT_ROWS);
    let mut origins = Vec::with_capacity(capacity);
    let mut starts = Vec::with_capacity(capacity);
    for (row, time) in times.iter().enumerate() {
        let Some(time) = time else { continue };
        let mut next = Some(last_start(time, shape).ok_or_else(|| overflow(time))?);
        while let Some(start) = next.filter(|start| start.saturating_add(shape.size) > time) {
            origins.push(row as u32);
            starts.push(start);
            next = start.checked_sub(shape.slide);
        }
    }
    let mut columns = take_arrays(rows.columns(), &UInt32Array::from(origins), None)?;
    let starts = TimestampMicrosecondArray::from(starts);
    columns.push(Arc::new(starts.with_data_type(times.data_type().clone())));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Start of the last window that contains `time` (ResolveTimeWindows: `time - (time - start) mod
/// slide`, where mod is never negative). `None`: there are no microseconds for its start or its end.
fn last_start(time: i64, shape: WindowShape) -> Option<i64> {
    let start = time.checked_sub(time.checked_sub(shape.start)?.rem_euclid(shape.slide))?;
    start.checked_add(shape.size).map(|_| start)
}

fn overflow(time: i64) -> DataFusionError {
    exec_datafusion_err!(
        "[ARITHMETIC_OVERFLOW] the window of the time {time} microseconds from 1970 begins or ends beyond what a TIMESTAMP can hold; leave such times out with WHERE"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_to_1970_also_before_it() {
        let shape = WindowShape { size: 10, slide: 10, start: 0 };
        assert_eq!(last_start(25, shape), Some(20));
        assert_eq!(last_start(-1, shape), Some(-10));
        assert_eq!(last_start(-10, shape), Some(-10));
    }

    #[test]
    fn the_start_offset_moves_the_grid() {
        let shape = WindowShape { size: 10, slide: 10, start: 3 };
        assert_eq!(last_start(25, shape), Some(23));
        assert_eq!(last_start(22, shape), Some(13));
        let shape = WindowShape { size: 10, slide: 10, start: -2 };
        assert_eq!(last_start(25, shape), Some(18));
    }

    #[test]
    fn a_time_whose_window_cannot_be_told_has_none() {
        let shape = WindowShape { size: 20, slide: 10, start: 3 };
        assert_eq!(last_start(i64::MIN, shape), None);
        assert_eq!(last_start(i64::MIN + 2, shape), None);
        assert_eq!(last_start(i64::MIN + 5, shape), Some(i64::MIN + 1));
        assert_eq!(last_start(i64::MAX, shape), None);
        assert_eq!(last_start(i64::MAX - 25, shape).map(|start| start % 10), Some(3));
    }
}
