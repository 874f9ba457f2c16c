//! Functions of plugins in one partition of one batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use tidemill_core::{
    BatchId, FunctionInstance, Given, PluginError, PluginFailure, PluginModule, PluginRows,
    RefusedRow, Shape, TRACE_TARGET,
};
use tracing::{Span, debug_span};

use crate::RunningBatch;

/// An opened function, and what it takes to say which one failed.
pub(crate) struct Opened {
    instance: Box<dyn FunctionInstance>,
    module: Arc<dyn PluginModule>,
    function: String,
    batch: Arc<RunningBatch>,
    calls: Span,
}

impl Opened {
    pub(crate) fn open(
        module: &Arc<dyn PluginModule>,
        function: &str,
        input: SchemaRef,
        shape: &Shape,
        partition: usize,
        context: &TaskContext,
    ) -> Result<Opened> {
        let batch = RunningBatch::of(context)?;
        let plugin = module.name();
        let number = batch.spec().batch.0;
        let opening =
            debug_span!(target: TRACE_TARGET, "plugin_open", batch = number, plugin, function);
        let instance = opening
            .in_scope(|| module.open(function, &batch.context(partition as u32), input, shape))
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let calls =
            debug_span!(target: TRACE_TARGET, "plugin_call", batch = number, plugin, function);
        let (module, function) = (Arc::clone(module), function.to_owned());
        Ok(Opened { instance, module, function, batch, calls })
    }

    /// Calls the function. A refused row ends the batch: there is no place for it yet.
    pub(crate) fn call(&mut self, rows: &RecordBatch) -> Result<Vec<Given>> {
        let external = |error: PluginError| DataFusionError::External(Box::new(error));
        let PluginRows { given, refused } =
            self.calls.in_scope(|| self.instance.call(rows)).map_err(external)?;
        refuse_none(refused, &self.module, &self.function, self.batch.spec().batch)?;
        Ok(given)
    }
}

/// Which function an error is of.
#[derive(Clone)]
pub(super) struct Who {
    module: Arc<dyn PluginModule>,
    function: String,
    batch: BatchId,
}

impl Who {
    /// What it gave cannot be used.
    pub(super) fn unusable(&self, reason: &str) -> DataFusionError {
        DataFusionError::External(Box::new(PluginError {
            plugin: self.module.name().to_owned(),
            function: self.function.clone(),
            batch: Some(self.batch),
            failure: PluginFailure::BadOutput(reason.to_owned()),
        }))
    }
}

impl Opened {
    pub(super) fn who(&self) -> Who {
        let (module, function) = (Arc::clone(&self.module), self.function.clone());
        Who { module, function, batch: self.batch.spec().batch }
    }
}

/// A refused row ends the batch: there is no place for it yet.
pub(super) fn refuse_none(
    refused: Vec<RefusedRow>,
    module: &Arc<dyn PluginModule>,
    function: &str,
    batch: BatchId,
) -> Result<()> {
    let Some(RefusedRow { row, reason }) = refused.into_iter().next() else { return Ok(()) };
    Err(DataFusionError::External(Box::new(PluginError {
        plugin: module.name().to_owned(),
        function: function.to_owned(),
        batch: Some(batch),
        failure: PluginFailure::Refused { row, reason },
    })))
}
