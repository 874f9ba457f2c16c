//! Rows through a plugin's transform.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt};
use tidemill_core::{Assembly, PluginRows};

use super::Opened;
use super::transform::Called;
use crate::RunningBatch;
use crate::physical::{debug_as_shown, one_input, plain};

/// One instance of the plugin a partition and batch; one call a record batch.
pub(super) struct PluginTransformExec {
    input: Arc<dyn ExecutionPlan>,
    called: Arc<Called>,
    /// Where the columns are that the function reads.
    reads: Vec<usize>,
    assembly: Assembly,
    properties: Arc<PlanProperties>,
}

impl PluginTransformExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        called: Arc<Called>,
        reads: Vec<usize>,
        assembly: Assembly,
    ) -> PluginTransformExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(schema, partitions, EmissionType::Incremental);
        PluginTransformExec { input, called, reads, assembly, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> PluginTransformExec {
        let (called, reads) = (Arc::clone(&self.called), self.reads.clone());
        PluginTransformExec::new(input, self.schema(), called, reads, self.assembly.clone())
    }
}

debug_as_shown!(PluginTransformExec);

impl DisplayAs for PluginTransformExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PluginTransform: {}.{}", self.called.module.name(), self.called.function)
    }
}

impl ExecutionPlan for PluginTransformExec {
    one_input!("PluginTransform");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (called, reads) = (Arc::clone(&self.called), self.reads.clone());
        let assembly = self.assembly.clone();
        let batch = RunningBatch::of(&context)?.spec().batch;
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let mut opened: Option<Opened> = None;
        let stream = input
            .map(move |rows| {
                let rows = rows?;
                let opened = match &mut opened {
                    Some(opened) => opened,
                    None => opened.insert(Opened::open(
                        &called.module,
                        &called.step,
                        &called.function,
                        Arc::clone(&called.given),
                        &called.shape,
                        partition,
                        &context,
                    )?),
                };
                let PluginRows { given, refused } = opened.call(&rows.project(&reads)?)?;
                opened.refuse(&rows, refused)?;
                let (assembly, called) = (assembly.clone(), Arc::clone(&called));
                // One part after the other: together they may be many times the input.
                Ok::<_, DataFusionError>(futures::stream::iter(given).map(move |given| {
                    let rows = assembly.rows(&given, &rows);
                    rows.map_err(|error| called.unusable(batch, &error.to_string()))
                }))
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}
