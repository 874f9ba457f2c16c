//! Adds the bounds of each row's own session.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{cast, take_arrays};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr,
    PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;
use tidemill_types::Interval;

use super::properties::{debug_as_shown, one_input, plain};

/// Rows without a session vanish.
pub(super) struct SessionWindowExec {
    input: Arc<dyn ExecutionPlan>,
    time: Arc<dyn PhysicalExpr>,
    gap: Arc<dyn PhysicalExpr>,
    properties: Arc<PlanProperties>,
}

impl SessionWindowExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        time: Arc<dyn PhysicalExpr>,
        gap: Arc<dyn PhysicalExpr>,
    ) -> SessionWindowExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(schema, partitions, EmissionType::Incremental);
        SessionWindowExec { input, time, gap, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> SessionWindowExec {
        let (time, gap) = (Arc::clone(&self.time), Arc::clone(&self.gap));
        SessionWindowExec::new(input, self.schema(), time, gap)
    }
}

debug_as_shown!(SessionWindowExec);

impl DisplayAs for SessionWindowExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionWindow: {}, gap={}", self.time, self.gap)
    }
}

impl ExecutionPlan for SessionWindowExec {
    one_input!("SessionWindow");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (time, gap, schema) = (Arc::clone(&self.time), Arc::clone(&self.gap), self.schema());
        let output = Arc::clone(&schema);
        let stream = self.input.execute(partition, context)?.map(move |rows| {
            let rows = rows?;
            let times = time.evaluate(&rows)?.into_array(rows.num_rows())?;
            let gaps = micros(&gap.evaluate(&rows)?.into_array(rows.num_rows())?)?;
            with_sessions(&rows, &times, &gaps, &output)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// Gaps in microseconds.
fn micros(gaps: &ArrayRef) -> Result<Vec<Option<i64>>> {
    if let Some(gaps) = gaps.as_primitive_opt::<Int64Type>() {
        return Ok(gaps.iter().collect());
    }
    let texts = cast(gaps, &DataType::Utf8)?;
    let mut known: HashMap<&str, Option<i64>> = HashMap::new();
    Ok(texts
        .as_string::<i32>()
        .iter()
        .map(|text| {
            let text = text?;
            if let Some(gap) = known.get(text) {
                return *gap;
            }
            // What is no interval is no gap, as in Spark, whose cast gives null there.
            let gap = text.parse::<Interval>().ok().map(|gap| gap.micros);
            known.insert(text, gap);
            gap
        })
        .collect())
}

fn with_sessions(
    rows: &RecordBatch,
    times: &ArrayRef,
    gaps: &[Option<i64>],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let times = times
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| exec_datafusion_err!("session_window(): times have to be microseconds"))?;
    let (mut kept, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for (row, (time, gap)) in times.iter().zip(gaps).enumerate() {
        if let (Some(time), Some(gap)) = (time, *gap)
            && gap > 0
        {
            kept.push(row as u32);
            starts.push(time);
            ends.push(time.saturating_add(gap));
        }
    }
    let mut columns = if kept.len() == rows.num_rows() {
        rows.columns().to_vec()
    } else {
        take_arrays(rows.columns(), &UInt32Array::from(kept), None)?
    };
    let bounds = schema.fields().iter().skip(columns.len());
    for (bound, field) in [starts, ends].into_iter().zip(bounds) {
        let times = TimestampMicrosecondArray::from(bound);
        columns.push(Arc::new(times.with_data_type(field.data_type().clone())));
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
