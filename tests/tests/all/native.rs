//! A handler that is compiled in: its work is a closure of the test.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_core::{
    BatchContext, BatchHost, BoxFuture, Digest, FrameHandle, FunctionKind, FunctionSignature,
    PluginError, PluginFailure, PluginModule, Shape,
};

/// The name of the plugin in a job.
const PLUGIN: &str = "p";

/// What a handler does with its batch.
pub(crate) type Work = dyn Fn(Arc<dyn BatchHost>, FrameHandle) -> BoxFuture<'static, Result<(), PluginFailure>>
    + Send
    + Sync;

/// The plugin `p`, whose one function is the handler `handle`.
pub(crate) struct NativeHandler {
    functions: [FunctionSignature; 1],
    work: Box<Work>,
}

impl NativeHandler {
    /// A plugin that does this with each batch.
    pub(crate) fn new(work: Box<Work>) -> Arc<NativeHandler> {
        let function = FunctionSignature::new("handle", FunctionKind::ForeachBatch);
        Arc::new(NativeHandler { functions: [function], work })
    }
}

impl PluginModule for NativeHandler {
    fn name(&self) -> &str {
        PLUGIN
    }

    fn digest(&self) -> Digest {
        Digest::of(PLUGIN.as_bytes())
    }

    fn functions(&self) -> &[FunctionSignature] {
        &self.functions
    }

    fn shape(&self, _: &str, input: SchemaRef) -> Result<Shape, PluginError> {
        Ok(Shape::of_all(&input, Arc::clone(&input)))
    }

    fn foreach_batch<'a>(
        &'a self,
        function: &'a str,
        _: &'a BatchContext,
        host: Arc<dyn BatchHost>,
        batch: FrameHandle,
    ) -> BoxFuture<'a, Result<(), PluginError>> {
        let work = (self.work)(host, batch);
        Box::pin(async move {
            work.await.map_err(|failure| PluginError {
                plugin: PLUGIN.to_owned(),
                function: function.to_owned(),
                batch: None,
                failure,
            })
        })
    }
}
