//! Rows through a plugin's transform.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
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
use tidemill_core::{
    FunctionInstance, PluginError, PluginFailure, PluginModule, PluginRows, TRACE_TARGET,
};
use tracing::{Span, debug_span};

use super::properties::{debug_as_shown, one_input, plain};
use crate::RunningBatch;

/// One instance of the plugin a partition and batch; one call a record batch.
pub(super) struct PluginTransformExec {
    input: Arc<dyn ExecutionPlan>,
    module: Arc<dyn PluginModule>,
    function: String,
    properties: Arc<PlanProperties>,
}

impl PluginTransformExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        module: Arc<dyn PluginModule>,
        function: &str,
    ) -> PluginTransformExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(schema, partitions, EmissionType::Incremental);
        PluginTransformExec { input, module, function: function.to_owned(), properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> PluginTransformExec {
        PluginTransformExec::new(input, self.schema(), Arc::clone(&self.module), &self.function)
    }
}

/// An opened function, and what it takes to say which one failed.
pub(super) struct Opened {
    instance: Box<dyn FunctionInstance>,
    module: Arc<dyn PluginModule>,
    function: String,
    batch: Arc<RunningBatch>,
    calls: Span,
}

impl Opened {
    pub(super) fn open(
        module: &Arc<dyn PluginModule>,
        function: &str,
        input: SchemaRef,
        partition: usize,
        context: &TaskContext,
    ) -> Result<Opened> {
        let batch = RunningBatch::of(context)?;
        let plugin = module.name();
        let number = batch.spec().batch.0;
        let opening =
            debug_span!(target: TRACE_TARGET, "plugin_open", batch = number, plugin, function);
        let instance = opening
            .in_scope(|| module.open(function, &batch.context(partition as u32), input))
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let calls =
            debug_span!(target: TRACE_TARGET, "plugin_call", batch = number, plugin, function);
        let (module, function) = (Arc::clone(module), function.to_owned());
        Ok(Opened { instance, module, function, batch, calls })
    }

    /// Calls the function. A refused row ends the batch: there is no place for it yet.
    pub(super) fn call(&mut self, rows: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let external = |error: PluginError| DataFusionError::External(Box::new(error));
        let PluginRows { batches, refused } =
            self.calls.in_scope(|| self.instance.call(rows)).map_err(external)?;
        match refused.into_iter().next() {
            None => Ok(batches),
            Some(first) => Err(external(PluginError {
                plugin: self.module.name().to_owned(),
                function: self.function.clone(),
                batch: Some(self.batch.spec().batch),
                failure: PluginFailure::Refused { row: first.row, reason: first.reason },
            })),
        }
    }
}

debug_as_shown!(PluginTransformExec);

impl DisplayAs for PluginTransformExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PluginTransform: {}.{}", self.module.name(), self.function)
    }
}

impl ExecutionPlan for PluginTransformExec {
    one_input!("PluginTransform");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let (module, function) = (Arc::clone(&self.module), self.function.clone());
        let given = self.input.schema();
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let tagged = Arc::clone(&schema);
        let mut opened: Option<Opened> = None;
        let stream = input
            .map(move |rows| {
                let rows = rows?;
                if opened.is_none() {
                    let input = Arc::clone(&given);
                    opened = Some(Opened::open(&module, &function, input, partition, &context)?);
                }
                let outputs = match &mut opened {
                    Some(opened) => opened.call(&rows)?,
                    None => Vec::new(),
                };
                let tagged = Arc::clone(&tagged);
                Ok::<_, DataFusionError>(futures::stream::iter(outputs).map(move |rows| {
                    Ok(RecordBatch::try_new(Arc::clone(&tagged), rows.columns().to_vec())?)
                }))
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
