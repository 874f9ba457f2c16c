//! A call of a foreach_batch handler: on a fibre, so that its calls of the host can wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::{BatchContext, BatchHost, FrameHandle, FunctionKind, PluginFailure};
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::abi::{Context, Failure, Opened};
use crate::ipc;
use crate::module::Inner;
use crate::schema::Input;
use crate::state::{Bridge, CallState, GuestLog, deadline, failure, start_failure, store};

/// Calls `function` with the table `batch` of `host`. The deadline counts all of it. Between its waits
/// the guest computes on the thread that drives this, and yields with every tick.
pub(crate) async fn run(
    module: &Arc<Inner>,
    function: &str,
    context: &BatchContext,
    host: Arc<dyn BatchHost>,
    batch: FrameHandle,
) -> Result<(), PluginFailure> {
    let started = Instant::now();
    module.function(function, &[FunctionKind::ForeachBatch])?;
    let call = Call {
        module: Arc::clone(module),
        function: function.to_owned(),
        context: Context::from(context),
        batch,
        rows: host.count(batch).await.map_err(|error| PluginFailure::from(Failure::from(error)))?,
        log: GuestLog::new(&module.name, function, Some(context.batch)),
        bridge: Bridge::new(host, &module.name, &module.targets, batch),
    };
    let rows = call.rows;
    let limit = remaining(module.limits.deadline, started);
    let result = tokio::time::timeout(limit, call.make()).await;
    module.count_call(function, rows, started.elapsed());
    result.unwrap_or_else(|_| Err(deadline(module.limits)))
}

fn remaining(limit: Duration, started: Instant) -> Duration {
    limit.saturating_sub(started.elapsed())
}

struct Call {
    module: Arc<Inner>,
    function: String,
    context: Context,
    batch: FrameHandle,
    rows: u64,
    log: GuestLog,
    bridge: Bridge,
}

impl Call {
    async fn make(self) -> Result<(), PluginFailure> {
        let schema = self.bridge.host.schema(self.batch).map_err(Failure::from)?;
        let input = Input::any(&schema).map_err(PluginFailure::Signature)?;
        let encoder = ipc::Encoder::new(&input.schema);
        let schema = encoder.map_err(|error| PluginFailure::Signature(error.to_string()))?;
        let schema = schema.schema_message();

        let prepared = &self.module.prepared;
        let state = CallState::new(self.module.limits, self.log, Some(self.bridge));
        let mut store = store(&prepared.engine, state);
        // The guest yields with every tick, so that the time-out around this call is noticed.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = match prepared.for_handlers.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => return Err(start_failure(&mut store, &error)),
        };
        let made = async {
            let opened =
                Self::open(&self.module, &mut store, instance, self.function, schema).await?;
            let opened = match opened {
                Ok(opened) => opened,
                Err(failure) => return Ok(Err(failure)),
            };
            let handle = instance.get_typed_func::<(u32, Context, u64), (Result<(), Failure>,)>(
                &mut store,
                &prepared.exports.foreach_batch,
            )?;
            let parameters = (opened.instance, self.context, self.batch);
            let (result,) = handle.call_async(&mut store, parameters).await?;
            wasmtime::Result::Ok(result)
        };
        match made.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(failure(&mut store, &error)),
        }
    }

    async fn open(
        module: &Inner,
        store: &mut Store<CallState>,
        instance: Instance,
        function: String,
        schema: Vec<u8>,
    ) -> wasmtime::Result<Result<Opened, Failure>> {
        type Open = (String, String, Vec<u8>);
        let exports = &module.prepared.exports;
        let open = instance
            .get_typed_func::<Open, (Result<Opened, Failure>,)>(&mut *store, &exports.open)?;
        let (opened,) =
            open.call_async(store, (function, module.config_json.clone(), schema)).await?;
        Ok(opened)
    }
}
