//! Functions of plugins in one partition of one batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use tidemill_core::{FunctionInstance, PluginModule, PluginRows, RefusedRow, Shape, TRACE_TARGET};
use tracing::{Span, debug_span};

use crate::RunningBatch;
use crate::letters::Refusals;

/// An opened function, and what becomes of the rows that it refuses.
pub(crate) struct Opened {
    instance: Box<dyn FunctionInstance>,
    refusals: Refusals,
    calls: Span,
}

impl Opened {
    /// `step` is the one that calls it.
    pub(crate) fn open(
        module: &Arc<dyn PluginModule>,
        step: &str,
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
        let refusals = Refusals::new(&batch, partition, step, module.as_ref(), function);
        Ok(Opened { instance, refusals, calls })
    }

    /// Calls the function. What it refused is to be handed to [`Opened::refuse`].
    pub(crate) fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows> {
        self.calls
            .in_scope(|| self.instance.call(rows))
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }

    /// Makes dead letters of rows that it refused: `rows` is all that is there of those that it was
    /// called with.
    pub(crate) fn refuse(&mut self, rows: &RecordBatch, refused: Vec<RefusedRow>) -> Result<()> {
        self.refusals.take(rows, refused)
    }
}
