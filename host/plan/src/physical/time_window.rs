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
use super::stateful::OUTPUT_ROWS;
use crate::logical::WindowShape;
use crate::memory::block_bytes;

/// Bytes of a block of rows and their windows, about: a row of some megabytes may be in thousands of
/// windows.
const BLOCK_BYTES: u64 = 16 * 1024 * 1024;

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
        let stream = self.input.execute(partition, context)?.map(move |rows| {
            let rows = rows?;
            let times = time.evaluate(&rows)?.into_array(rows.num_rows())?;
            let blocks = Expansion::try_new(rows, &times, shape, Arc::clone(&output))?;
            Ok::<_, DataFusionError>(futures::stream::iter(blocks))
        });
        let stream = stream.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// The rows of a block, once for each of their windows. A row may be in many, so they are made a
/// block at a time.
struct Expansion {
    rows: RecordBatch,
    times: TimestampMicrosecondArray,
    shape: WindowShape,
    schema: SchemaRef,
    /// The row that comes next, and, in the middle of it, the start of its next window.
    row: usize,
    start: Option<i64>,
    /// Whether the sizes of rows count: few large ones could make a huge block.
    is_measured: bool,
}

impl Expansion {
    fn try_new(
        rows: RecordBatch,
        times: &ArrayRef,
        shape: WindowShape,
        schema: SchemaRef,
    ) -> Result<Expansion> {
        let times = times
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| exec_datafusion_err!("window(): times have to be microseconds"))?;
        let windows = shape.windows_a_time() as u64;
        let is_measured = block_bytes(&rows).saturating_mul(windows) > BLOCK_BYTES;
        let times = times.clone();
        Ok(Expansion { rows, times, shape, schema, row: 0, start: None, is_measured })
    }

    /// All rows, if every one is in exactly one window: nothing moves.
    fn unmoved(&mut self) -> Result<RecordBatch> {
        self.row = self.times.len();
        let shape = self.shape;
        let starts: TimestampMicrosecondArray =
            self.times.try_unary(|time| last_start(time, shape).ok_or_else(|| overflow(time)))?;
        let mut columns = self.rows.columns().to_vec();
        columns.push(Arc::new(starts.with_data_type(self.times.data_type().clone())));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// The next rows, as many as a block may have.
    fn block(&mut self) -> Result<Option<RecordBatch>> {
        let (mut origins, mut starts) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        while self.row < self.times.len() && starts.len() < OUTPUT_ROWS && bytes < BLOCK_BYTES {
            if self.times.is_null(self.row) {
                self.row += 1;
                continue;
            }
            let time = self.times.value(self.row);
            let row_bytes = match self.is_measured {
                true => block_bytes(&self.rows.slice(self.row, 1)),
                false => 0,
            };
            let mut next = match self.start.take() {
                Some(start) => Some(start),
                None => Some(last_start(time, self.shape).ok_or_else(|| overflow(time))?),
            };
            while let Some(start) = next.filter(|at| at.saturating_add(self.shape.size) > time) {
                if starts.len() == OUTPUT_ROWS || bytes >= BLOCK_BYTES {
                    break;
                }
                origins.push(self.row as u32);
                starts.push(start);
                bytes += row_bytes;
                next = start.checked_sub(self.shape.slide);
            }
            self.start = next.filter(|at| at.saturating_add(self.shape.size) > time);
            self.row += usize::from(self.start.is_none());
        }
        if starts.is_empty() {
            return Ok(None);
        }
        let mut columns = take_arrays(self.rows.columns(), &UInt32Array::from(origins), None)?;
        let starts = TimestampMicrosecondArray::from(starts);
        columns.push(Arc::new(starts.with_data_type(self.times.data_type().clone())));
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }
}

impl Iterator for Expansion {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.row >= self.times.len() {
            return None;
        }
        let block = match self.shape.slide == self.shape.size && self.times.null_count() == 0 {
            true => self.unmoved().map(Some),
            false => self.block(),
        };
        if block.is_err() {
            self.row = self.times.len();
        }
        block.transpose()
    }
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

    /// The sizes of the blocks into which rows of these texts at these times become, and how many
    /// rows there are in all.
    fn expanded(texts: &[&str], times: &[i64], shape: WindowShape) -> (Vec<usize>, usize) {
        let text: ArrayRef = Arc::new(arrow::array::StringArray::from(texts.to_vec()));
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.to_vec()));
        let rows = RecordBatch::try_from_iter([("text", text), ("at", Arc::clone(&times))]);
        let rows = rows.unwrap();
        let mut fields = rows.schema().fields().to_vec();
        fields.push(Arc::new(arrow::datatypes::Field::new(
            "start",
            times.data_type().clone(),
            false,
        )));
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let blocks = Expansion::try_new(rows, &times, shape, schema).unwrap();
        let sizes: Vec<usize> = blocks.map(|block| block.unwrap().num_rows()).collect();
        let sum = sizes.iter().sum();
        (sizes, sum)
    }

    #[test]
    fn a_row_in_many_windows_is_cut_into_blocks() {
        let shape = WindowShape { size: 100_000, slide: 1, start: 0 };
        let (sizes, rows) = expanded(&["a", "b"], &[5, 1_000_000], shape);
        assert_eq!(rows, 200_000);
        assert_eq!(sizes.len(), 200_000_usize.div_ceil(OUTPUT_ROWS));
        assert!(sizes[..sizes.len() - 1].iter().all(|size| *size == OUTPUT_ROWS));
    }

    #[test]
    fn a_block_of_large_rows_has_few_of_them() {
        let large = "x".repeat(1 << 20);
        let shape = WindowShape { size: 1_000, slide: 1, start: 0 };
        let (sizes, rows) = expanded(&["a", &large, "b"], &[5, 5, 5], shape);
        assert_eq!(rows, 3_000);
        let most = sizes[1..sizes.len() - 1].iter().max().unwrap();
        assert!((1..=17).contains(most), "{sizes:?}");
    }

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
