//! A call of a foreach_batch handler: on a fibre, so that its calls of the host can wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_block::write_schema;
use tidemill_core::{BatchContext, BatchHost, FrameHandle, FunctionKind, PluginFailure};
use wasmtime::Store;
use wasmtime::component::Instance;

use super::Kind;
use crate::abi::{Context, Failure, Opened};
use crate::guest::unfit;
use crate::module::Inner;
use crate::schema::{Arguments, Input};
use crate::state::{Bridge, CallState, GuestLog, deadline, failure, start_failure, store};

pub(crate) static KIND: Kind = Kind {
    kind: FunctionKind::ForeachBatch,
    interface: "tidemill:plugin/handlers@0.2.0",
    exports: &["call"],
    arguments: Arguments::ByName,
    check: |_| Ok(()),
    for_rows: None,
};

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
    module.function_where(function, |kind| kind == FunctionKind::ForeachBatch)?;
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
        let schema = write_schema(&input.schema);
        let schema = schema.map_err(|error| PluginFailure::Signature(error.to_string()))?;

        let prepared = &self.module.prepared;
        let call = prepared.exports.of_kind(FunctionKind::ForeachBatch).and_then(<[_]>::first);
        let call = call.ok_or_else(|| PluginFailure::Host("it exports no handlers".to_owned()))?;
        let bridge = self.bridge;
        let state = CallState::new(self.module.limits, self.log);
        let mut store = store(&prepared.engine, state);
        // The guest yields with every tick, so that the time-out around this call is noticed.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = match prepared.for_handlers.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => return Err(start_failure(&mut store, &error)),
        };
        let handle = instance
            .get_typed_func::<(u32, u64), (Result<(), Failure>,)>(&mut store, call)
            .map_err(unfit)?;
        let made = async {
            let context = self.context;
            let opened =
                open(&self.module, &mut store, instance, self.function, schema, context).await?;
            let opened = match opened {
                Ok(opened) => opened,
                Err(failure) => return Ok(Err(failure)),
            };
            // The tables, targets and marks are there for the call alone: what runs before it is asked
            // what the function is, and has to answer the same at any time.
            store.data_mut().bridge = Some(bridge);
            let (result,) = handle.call_async(&mut store, (opened.id, self.batch)).await?;
            wasmtime::Result::Ok(result)
        };
        match made.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(failure(&mut store, &error)),
        }
    }
}

/// Opens the function and tells it of the batch.
async fn open(
    module: &Inner,
    store: &mut Store<CallState>,
    instance: Instance,
    function: String,
    schema: String,
    context: Context,
) -> wasmtime::Result<Result<Opened, Failure>> {
    type Open = (String, String, String);
    let exports = &module.prepared.exports;
    let open =
        instance.get_typed_func::<Open, (Result<Opened, Failure>,)>(&mut *store, &exports.open)?;
    let begin = instance.get_typed_func::<(Context,), ()>(&mut *store, &exports.begin)?;
    let config = module.config_json.clone();
    let (opened,) = open.call_async(&mut *store, (function, config, schema)).await?;
    if opened.is_ok() {
        begin.call_async(store, (context,)).await?;
    }
    Ok(opened)
}
