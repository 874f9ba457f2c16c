//! One generation of a plugin.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use tidemill_core::{
    AggregateInstance, BatchContext, BatchHost, BatchId, BoxFuture, Digest, FrameHandle,
    FunctionInstance, FunctionKind, FunctionSignature, PluginError, PluginFailure, PluginModule,
    PluginUsage, Shape, StatefulInstance,
};

use crate::guest::Prepared;
use crate::instance::Instance;
use crate::kinds::{self, Kind, aggregate, handler, stateful};
use crate::limits::Limits;
use crate::load::Import;
use crate::pool::{Opened, Place, Pool};
use crate::text::shortened_failure;

/// A plugin's bytes, checked, compiled and linked. Made by [`PluginHost::load`](crate::PluginHost::load).
pub struct Module {
    pub(crate) inner: Arc<Inner>,
    /// Instances between two batches, where the job wants them kept. They hold what is inside: it must
    /// not be there.
    pub(crate) pool: Option<Arc<Pool>>,
}

pub(crate) struct Inner {
    pub(crate) name: Arc<str>,
    pub(crate) digest: Digest,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) functions: Vec<FunctionSignature>,
    pub(crate) imports: Vec<Import>,
    pub(crate) config_json: String,
    pub(crate) limits: Limits,
    pub(crate) targets: Arc<BTreeSet<String>>,
    pub(crate) prepared: Prepared,
    /// Whether its code was not kept from an earlier start.
    pub(crate) was_compiled: bool,
    /// In the order of `functions`.
    pub(crate) usage: Vec<UsageCounters>,
}

impl Module {
    /// The bytes that it was made of, for a checkpoint to keep.
    #[must_use]
    pub fn bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.inner.bytes)
    }

    /// What it can call in the host.
    #[must_use]
    pub fn imports(&self) -> &[Import] {
        &self.inner.imports
    }
}

impl Inner {
    pub(crate) fn count_call(&self, function: &str, rows: u64, time: Duration) {
        let place = self.functions.iter().position(|known| known.name == function);
        if let Some(counters) = place.and_then(|place| self.usage.get(place)) {
            counters.add(rows, time);
        }
    }

    /// The function, if it is there and of a kind that will do.
    pub(crate) fn function_where(
        &self,
        name: &str,
        is_wanted: impl Fn(FunctionKind) -> bool,
    ) -> Result<(&'static Kind, &FunctionSignature), PluginFailure> {
        let function = self.functions.iter().find(|function| function.name == name);
        let function = function.ok_or_else(|| {
            let names: Vec<&str> = self.functions.iter().map(|f| f.name.as_str()).collect();
            PluginFailure::Signature(format!(
                "there is no such function; the module has {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ))
        })?;
        if is_wanted(function.kind) {
            return Ok((kinds::of(function.kind), function));
        }
        let wanted = FunctionKind::ALL.into_iter().filter(|kind| is_wanted(*kind));
        let wanted: Vec<&str> = wanted.map(FunctionKind::name).collect();
        Err(PluginFailure::Signature(format!(
            "it is a {} and is used as a {}",
            function.kind.name(),
            wanted.join(" or ")
        )))
    }

    pub(crate) fn error(
        &self,
        function: &str,
        batch: Option<BatchId>,
        failure: PluginFailure,
    ) -> PluginError {
        let (plugin, function) = (self.name.to_string(), function.to_owned());
        PluginError { plugin, function, batch, failure: shortened_failure(failure) }
    }
}

/// Whether a kind is called with rows and gives rows.
fn is_for_rows(kind: FunctionKind) -> bool {
    kinds::of(kind).for_rows.is_some()
}

impl PluginModule for Module {
    fn name(&self) -> &str {
        &self.inner.name
    }

    fn digest(&self) -> Digest {
        self.inner.digest
    }

    fn functions(&self) -> &[FunctionSignature] {
        &self.inner.functions
    }

    fn shape(&self, function: &str, input: SchemaRef) -> Result<Shape, PluginError> {
        let shape = || {
            let named = self.inner.functions.iter().find(|known| known.name == function);
            let is_stateful = named.is_some_and(|known| known.kind == FunctionKind::Stateful);
            let is_wanted = |kind| is_for_rows(kind) || is_stateful;
            let (kind, signature) = self.inner.function_where(function, is_wanted)?;
            let opened = Instance::open(&self.inner, kind, signature, None, &input)?;
            Ok(opened.shape().clone())
        };
        shape().map_err(|failure| self.inner.error(function, None, failure))
    }

    fn open(
        &self,
        function: &str,
        context: &BatchContext,
        input: SchemaRef,
        shape: &Shape,
    ) -> Result<Box<dyn FunctionInstance>, PluginError> {
        let open = || {
            let (kind, signature) = self.inner.function_where(function, is_for_rows)?;
            let call = kind.for_rows;
            let call =
                call.ok_or_else(|| PluginFailure::Host("it is not called with rows".to_owned()))?;
            let place = Place::new(function, context.partition, &input);
            let kept = self.pool.as_ref().and_then(|pool| pool.take(&place));
            let instance = match kept {
                Some(mut kept) => {
                    kept.begin(context)?;
                    kept
                }
                None => Instance::open(&self.inner, kind, signature, Some(context), &input)?,
            };
            instance.check_shape(shape)?;
            let opened = Opened::new(instance, call, self.pool.as_ref(), place);
            Ok(Box::new(opened) as Box<dyn FunctionInstance>)
        };
        open().map_err(|failure| self.inner.error(function, Some(context.batch), failure))
    }

    fn open_aggregate(
        &self,
        function: &str,
        context: &BatchContext,
    ) -> Result<Box<dyn AggregateInstance>, PluginError> {
        match aggregate::open(&self.inner, function, context) {
            Ok(opened) => Ok(Box::new(opened)),
            Err(failure) => Err(self.inner.error(function, Some(context.batch), failure)),
        }
    }

    fn open_stateful(
        &self,
        function: &str,
        context: &BatchContext,
        input: SchemaRef,
        shape: &Shape,
    ) -> Result<Box<dyn StatefulInstance>, PluginError> {
        match stateful::open(&self.inner, function, context, &input, shape) {
            Ok(opened) => Ok(Box::new(opened)),
            Err(failure) => Err(self.inner.error(function, Some(context.batch), failure)),
        }
    }

    fn foreach_batch<'a>(
        &'a self,
        function: &'a str,
        context: &'a BatchContext,
        host: Arc<dyn BatchHost>,
        batch: FrameHandle,
    ) -> BoxFuture<'a, Result<(), PluginError>> {
        Box::pin(async move {
            let result = handler::run(&self.inner, function, context, host, batch).await;
            result.map_err(|failure| self.inner.error(function, Some(context.batch), failure))
        })
    }

    fn usage(&self) -> PluginUsage {
        let functions = self.inner.usage.iter().map(UsageCounters::read);
        functions.fold(PluginUsage::default(), |sum, usage| PluginUsage {
            calls: sum.calls + usage.calls,
            rows: sum.rows + usage.rows,
            nanos: sum.nanos + usage.nanos,
        })
    }

    fn usage_by_function(&self) -> Vec<(String, PluginUsage)> {
        let names = self.inner.functions.iter().map(|function| function.name.clone());
        let usage = self.inner.usage.iter().map(UsageCounters::read);
        names.zip(usage).filter(|(_, usage)| usage.calls > 0).collect()
    }
}

/// Calls of a function since the module was loaded.
#[derive(Default)]
pub(crate) struct UsageCounters {
    calls: AtomicU64,
    rows: AtomicU64,
    nanos: AtomicU64,
}

impl UsageCounters {
    fn add(&self, rows: u64, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn read(&self) -> PluginUsage {
        PluginUsage {
            calls: self.calls.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            nanos: self.nanos.load(Ordering::Relaxed),
        }
    }
}
