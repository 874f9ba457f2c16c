//! One generation of a plugin.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use tidemill_core::{
    BatchContext, BatchHost, BatchId, BoxFuture, Digest, FrameHandle, FunctionInstance,
    FunctionKind, FunctionSignature, PluginError, PluginFailure, PluginModule, PluginUsage,
};

use crate::guest::Prepared;
use crate::handler;
use crate::instance::Opened;
use crate::limits::Limits;
use crate::load::Import;
use crate::schema::Input;
use crate::text::shortened_failure;

/// A plugin's bytes, checked, compiled and linked. Made by [`PluginHost::load`](crate::PluginHost::load).
pub struct Module {
    pub(crate) inner: Arc<Inner>,
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

    /// The function, if it is there and of one of these kinds.
    pub(crate) fn function(
        &self,
        name: &str,
        kinds: &[FunctionKind],
    ) -> Result<&FunctionSignature, PluginFailure> {
        let function = self.functions.iter().find(|function| function.name == name);
        let function = function.ok_or_else(|| {
            let names: Vec<&str> = self.functions.iter().map(|f| f.name.as_str()).collect();
            PluginFailure::Signature(format!(
                "there is no such function; the module has {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ))
        })?;
        if kinds.contains(&function.kind) {
            return Ok(function);
        }
        let wanted: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
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

const FOR_ROWS: &[FunctionKind] = &[FunctionKind::Scalar, FunctionKind::Transform];

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

    fn output_schema(&self, function: &str, input: SchemaRef) -> Result<SchemaRef, PluginError> {
        let schema = || {
            let signature = self.inner.function(function, FOR_ROWS)?;
            let input = Input::new(signature, &input).map_err(PluginFailure::Signature)?;
            match &signature.output {
                Some(output) => Ok(Arc::clone(output)),
                None => Ok(Opened::open(&self.inner, signature, None, input)?.output()),
            }
        };
        schema().map_err(|failure| self.inner.error(function, None, failure))
    }

    fn open(
        &self,
        function: &str,
        context: &BatchContext,
        input: SchemaRef,
    ) -> Result<Box<dyn FunctionInstance>, PluginError> {
        let open = || {
            let signature = self.inner.function(function, FOR_ROWS)?;
            let input = Input::new(signature, &input).map_err(PluginFailure::Signature)?;
            Opened::open(&self.inner, signature, Some(context), input)
        };
        match open() {
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
