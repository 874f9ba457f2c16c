//! Notes whether an aggregation had rows.
//!
//! Of grouping sets, the one without columns gives its row even if the input has none: that is
//! right for a query that runs once. In Spark's batches it does so only where there is no GROUP BY.

use std::fmt;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream,
};
use futures::StreamExt;
use tidemill_core::OperatorId;

use super::super::properties::{debug_as_shown, one_input, plain};
use crate::RunningBatch;

/// Whether an aggregation has a grouping set without columns, beside others.
pub(super) fn has_grand_total(partial: &AggregateExec) -> bool {
    let sets = partial.group_expr().groups();
    sets.len() > 1 && sets.iter().any(|set| set.iter().all(|is_null| *is_null))
}

/// Lets rows pass, and notes that there were some.
pub(super) struct NotedInputExec {
    input: Arc<dyn ExecutionPlan>,
    operator: OperatorId,
    properties: Arc<PlanProperties>,
}

impl NotedInputExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, operator: OperatorId) -> NotedInputExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(input.schema(), partitions, EmissionType::Incremental);
        NotedInputExec { input, operator, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> NotedInputExec {
        NotedInputExec::new(input, self.operator)
    }
}

debug_as_shown!(NotedInputExec);

impl DisplayAs for NotedInputExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NotedInput")
    }
}

impl ExecutionPlan for NotedInputExec {
    one_input!("NotedInput");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (batch, operator) = (RunningBatch::of(&context)?, self.operator);
        let rows = self.input.execute(partition, context)?.inspect(move |rows| {
            if rows.as_ref().is_ok_and(|rows| rows.num_rows() > 0) {
                batch.note_input(operator.0, partition);
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
