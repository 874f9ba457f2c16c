//! Makes dead letters of rows that the operator above leaves out because they are late. They pass all the same:
//! what is late is that operator's business, and its figures count them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use chrono::{DateTime, SecondsFormat};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr,
    PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;
use tidemill_core::RefusedRow;

use super::properties::{debug_as_shown, one_input, plain};
use super::stateful::{Lateness, Placement};
use crate::RunningBatch;
use crate::letters::Refusals;
use crate::logical::EventTimeColumn;

/// By which time a row may be late.
#[derive(Clone)]
pub(super) enum LateBy {
    /// A column.
    Column(EventTimeColumn),
    /// What groups are made by; the column of the groups says how it is read.
    Group(Arc<dyn PhysicalExpr>, EventTimeColumn),
}

impl LateBy {
    fn times(&self, rows: &RecordBatch) -> Result<Vec<Option<i64>>> {
        match self {
            LateBy::Column(time) => time.times(rows.columns()),
            LateBy::Group(expression, time) => {
                let values: ArrayRef = expression.evaluate(rows)?.into_array(rows.num_rows())?;
                EventTimeColumn { column: 0, ..*time }.times(&[values])
            }
        }
    }
}

/// Lets rows pass.
pub(super) struct LateRowsExec {
    input: Arc<dyn ExecutionPlan>,
    by: LateBy,
    placement: Placement,
    properties: Arc<PlanProperties>,
}

impl LateRowsExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        by: LateBy,
        placement: Placement,
    ) -> LateRowsExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(input.schema(), partitions, EmissionType::Incremental);
        LateRowsExec { input, by, placement, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> LateRowsExec {
        LateRowsExec::new(input, self.by.clone(), self.placement)
    }
}

debug_as_shown!(LateRowsExec);

impl DisplayAs for LateRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LateRows: operator={}", self.placement.operator.0)
    }
}

impl ExecutionPlan for LateRowsExec {
    one_input!("LateRows");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch = RunningBatch::of(&context)?;
        let input = self.input.execute(partition, context)?;
        if batch.letters().is_none() {
            return Ok(input);
        }
        let (by, lateness) = (self.by.clone(), self.placement.lateness(batch.spec()));
        let mut refusals = Refusals::of_late_rows(&batch, partition);
        let rows = input.map(move |rows| {
            let rows = rows?;
            let late = late(&by.times(&rows)?, lateness);
            refusals.take(&rows, late)?;
            Ok(rows)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

fn late(times: &[Option<i64>], lateness: Lateness) -> Vec<RefusedRow> {
    let late = times.iter().zip(0..).filter_map(|(time, row)| {
        let time = time.filter(|time| lateness.is_late(*time))?;
        let reason = format!(
            "late: {} is not after {}, which the watermark of the operator has passed",
            shown(time),
            lateness.until().map_or_else(String::new, shown)
        );
        Some(RefusedRow { row, reason })
    });
    late.collect()
}

fn shown(micros: i64) -> String {
    let time = DateTime::from_timestamp_micros(micros);
    time.map_or_else(
        || format!("{micros} µs"),
        |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}
