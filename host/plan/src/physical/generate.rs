//! Several rows for one.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, RecordBatch, UInt32Array};
use arrow::compute::{take, take_arrays};
use arrow::datatypes::SchemaRef;
use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr,
    PlanProperties, SendableRecordBatchStream,
};
use futures::stream::{self, StreamExt, TryStreamExt};

use tidemill_frontend::VALUES;
use tidemill_functions::value_bytes;

use super::properties::{debug_as_shown, one_input, plain};

/// Rows of a block that is given: as many as sources give.
const BLOCK_ROWS: usize = 8_192;

/// Bytes of the columns that are repeated in a block, about.
const BLOCK_BYTES: u64 = 32 << 20;

/// Gives a row for each value of an array. A block with long arrays becomes many blocks, one at a
/// time.
pub(super) struct GenerateExec {
    input: Arc<dyn ExecutionPlan>,
    values: Arc<dyn PhysicalExpr>,
    is_outer: bool,
    has_position: bool,
    properties: Arc<PlanProperties>,
}

impl GenerateExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        values: Arc<dyn PhysicalExpr>,
        is_outer: bool,
        has_position: bool,
    ) -> GenerateExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(schema, partitions, EmissionType::Incremental);
        GenerateExec { input, values, is_outer, has_position, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> GenerateExec {
        let (schema, values) = (self.schema(), Arc::clone(&self.values));
        GenerateExec::new(input, schema, values, self.is_outer, self.has_position)
    }
}

/// The blocks that come of one.
struct Blocks {
    rows: RecordBatch,
    values: ListArray,
    schema: SchemaRef,
    is_outer: bool,
    has_position: bool,
    /// The row that is next, and its value.
    next: (usize, usize),
}

impl Iterator for Blocks {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let (mut of_rows, mut sources, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        let offsets = self.values.value_offsets();
        let (mut row, mut place) = self.next;
        let mut bytes = 0_u64;
        while row < self.values.len() && of_rows.len() < BLOCK_ROWS && bytes < BLOCK_BYTES {
            let repeated: u64 =
                self.rows.columns().iter().map(|column| value_bytes(column, row)).sum();
            let room = (BLOCK_BYTES.saturating_sub(bytes) / repeated.max(1)).max(1);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let is_null = self.values.is_null(row);
            let length = if is_null { 0 } else { self.values.value_length(row) as usize };
            if length == 0 && self.is_outer {
                of_rows.push(row as u32);
                sources.push(None);
                positions.push(None);
            }
            let taken = (length - place).min(BLOCK_ROWS - of_rows.len()).min(room);
            bytes = bytes.saturating_add(repeated.saturating_mul(taken as u64));
            for value in place..place + taken {
                of_rows.push(row as u32);
                sources.push(Some(offsets[row] as u32 + value as u32));
                positions.push(Some(value as i32));
            }
            place += taken;
            if place >= length {
                (row, place) = (row + 1, 0);
            }
        }
        self.next = (row, place);
        if of_rows.is_empty() {
            return None;
        }
        Some(self.block(of_rows, sources, positions))
    }
}

impl Blocks {
    fn block(
        &self,
        of_rows: Vec<u32>,
        sources: Vec<Option<u32>>,
        positions: Vec<Option<i32>>,
    ) -> Result<RecordBatch> {
        let of_rows = UInt32Array::from(of_rows);
        let mut columns = take_arrays(self.rows.columns(), &of_rows, None)?;
        if self.has_position {
            columns.push(Arc::new(Int32Array::from(positions)) as ArrayRef);
        }
        columns.push(take(self.values.values(), &UInt32Array::from(sources), None)?);
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(of_rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

debug_as_shown!(GenerateExec);

impl DisplayAs for GenerateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generate: {}{}", self.values, if self.is_outer { ", outer" } else { "" })
    }
}

impl ExecutionPlan for GenerateExec {
    one_input!("Generate");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (schema, values) = (self.schema(), Arc::clone(&self.values));
        let (is_outer, has_position) = (self.is_outer, self.has_position);
        let input = self.input.execute(partition, context)?;
        let given = Arc::clone(&schema);
        let fields = self.input.schema();
        let kept: Vec<usize> = (0..fields.fields().len())
            .filter(|place| fields.field(*place).name() != VALUES)
            .collect();
        let generated = input.map(move |rows| {
            let rows = rows?;
            let values = values.evaluate(&rows)?.into_array(rows.num_rows())?;
            let rows = rows.project(&kept)?;
            let values = values
                .as_list_opt::<i32>()
                .cloned()
                .ok_or_else(|| exec_datafusion_err!("a generator takes an array"))?;
            let schema = Arc::clone(&given);
            let blocks = Blocks { rows, values, schema, is_outer, has_position, next: (0, 0) };
            Ok::<_, DataFusionError>(stream::iter(blocks))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, generated.try_flatten())))
    }
}
