//! Functions of plugins in one partition of one batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use tidemill_core::{
    FunctionInstance, FunctionKind, PluginError, PluginFailure, PluginModule, PluginRows,
    RefusedRow, Shape, TRACE_TARGET,
};
use tracing::{Span, debug_span};

use super::isolate;
use crate::RunningBatch;
use crate::letters::Refusals;

/// An opened function, and what becomes of the rows that it refuses.
pub(crate) struct Opened {
    opening: Opening,
    instance: Box<dyn FunctionInstance>,
    refusals: Refusals,
    calls: Span,
}

/// How instances of it are made.
struct Opening {
    module: Arc<dyn PluginModule>,
    function: String,
    batch: Arc<RunningBatch>,
    partition: usize,
    input: SchemaRef,
    shape: Shape,
    /// Whether rows with which it traps are looked for.
    isolates: bool,
}

impl Opening {
    fn instance(&self) -> Result<Box<dyn FunctionInstance>> {
        let Opening { module, function, batch, partition, input, shape, .. } = self;
        let (plugin, number) = (module.name(), batch.spec().batch.0);
        let opening =
            debug_span!(target: TRACE_TARGET, "plugin_open", batch = number, plugin, function);
        opening
            .in_scope(|| {
                let context = batch.context(*partition as u32);
                module.open(function, &context, Arc::clone(input), shape)
            })
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }

    /// Whether it gives a value a row.
    fn is_scalar(&self) -> bool {
        let functions = self.module.functions().iter();
        functions
            .filter(|listed| listed.name == self.function)
            .any(|listed| listed.kind == FunctionKind::Scalar)
    }
}

/// Whether the function may be well with other rows.
fn is_trap(error: &PluginError) -> bool {
    matches!(error.failure, PluginFailure::Panic { .. } | PluginFailure::Trap(_))
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
        let (plugin, number) = (module.name(), batch.spec().batch.0);
        let opening = Opening {
            module: Arc::clone(module),
            function: function.to_owned(),
            partition,
            input,
            shape: shape.clone(),
            isolates: batch.letters().is_some_and(|letters| letters.rules().isolates_traps),
            batch: Arc::clone(&batch),
        };
        let instance = opening.instance()?;
        let calls =
            debug_span!(target: TRACE_TARGET, "plugin_call", batch = number, plugin, function);
        let refusals = Refusals::new(&batch, partition, step, module.as_ref(), function);
        Ok(Opened { opening, instance, refusals, calls })
    }

    /// Calls the function. What it refused is to be handed to [`Opened::refuse`].
    pub(crate) fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows> {
        let external = |error: PluginError| DataFusionError::External(Box::new(error));
        match self.call_once(rows) {
            Err(error) if self.opening.isolates && is_trap(&error) && rows.num_rows() > 0 => {
                let mut halves = isolate::Halves::new(rows.num_rows());
                self.isolate(rows, 0, &error, &mut halves)?;
                halves.joined(self.opening.is_scalar().then_some(&self.opening.shape.output))
            }
            outcome => outcome.map_err(external),
        }
    }

    fn call_once(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginError> {
        self.calls.in_scope(|| self.instance.call(rows))
    }

    /// Finds the rows with which the function traps among `rows`, with which it did: the first of them is
    /// number `from` of the call. An instance that trapped is of no use any more.
    fn isolate(
        &mut self,
        rows: &RecordBatch,
        from: usize,
        error: &PluginError,
        halves: &mut isolate::Halves,
    ) -> Result<()> {
        self.instance = self.opening.instance()?;
        if rows.num_rows() == 1 {
            halves.refuse(from, &error.failure);
            return self.refusals.check(halves.refused());
        }
        let middle = rows.num_rows() / 2;
        for (begin, count) in [(0, middle), (middle, rows.num_rows() - middle)] {
            let half = rows.slice(begin, count);
            match self.call_once(&half) {
                Ok(given) => halves.add(from + begin, count, given),
                Err(error) if is_trap(&error) => {
                    self.isolate(&half, from + begin, &error, halves)?;
                }
                Err(error) => return Err(DataFusionError::External(Box::new(error))),
            }
        }
        Ok(())
    }

    /// Makes dead letters of rows that it refused: `rows` is all that is there of those that it was
    /// called with.
    pub(crate) fn refuse(&mut self, rows: &RecordBatch, refused: Vec<RefusedRow>) -> Result<()> {
        self.refusals.take(rows, refused)
    }
}
