//! The user's functions, as the plan and the engine see them.
//!
//! Nothing here says WebAssembly: a plugin is a module of named functions that are given record
//! batches and give record batches, and whose failures are values.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::{Attempt, BatchId, Digest, QueryId, Watermark};

/// A boxed future, so that core needs no async runtime.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The five kinds of function that a plugin exports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionKind {
    /// One column from columns of the same row. Called in SQL.
    Scalar,
    /// Rows from rows. A step of its own.
    Transform,
    /// One value from a group of rows. Called in SQL.
    Aggregate,
    /// Rows from rows and the state of their key. A step of its own.
    Stateful,
    /// Delivers a batch. The sink of a query.
    ForeachBatch,
}

impl FunctionKind {
    /// As the job and the messages write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FunctionKind::Scalar => "scalar",
            FunctionKind::Transform => "transform",
            FunctionKind::Aggregate => "aggregate",
            FunctionKind::Stateful => "stateful",
            FunctionKind::ForeachBatch => "foreach_batch",
        }
    }
}

/// What a plugin says of one of its functions.
#[derive(Clone, PartialEq, Debug)]
pub struct FunctionSignature {
    /// Name within the plugin; a scalar's name in SQL.
    pub name: String,
    /// What it can be used for.
    pub kind: FunctionKind,
    /// Columns that it wants, by name (scalar: by position). `None`: takes any rows.
    pub input: Option<SchemaRef>,
    /// Columns that it gives. `None`: follows from the input, [`PluginModule::output_schema`] says.
    pub output: Option<SchemaRef>,
    /// Whether equal input gives equal output.
    pub deterministic: bool,
    /// The author's doc comment.
    pub documentation: String,
}

/// Fixed for one attempt at one micro-batch, and handed to every call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchContext {
    /// Name of the query.
    pub query: String,
    /// Constant over restarts.
    pub query_id: QueryId,
    /// The micro-batch.
    pub batch: BatchId,
    /// The try at it.
    pub attempt: Attempt,
    /// Source partition or state shard that the rows belong to; 0 for foreach_batch.
    pub partition: u32,
    /// What `current_timestamp()` is in this batch: milliseconds since 1970-01-01 UTC.
    pub batch_time_ms: i64,
    /// The query's watermark, if it has one.
    pub watermark: Option<Watermark>,
}

/// One generation of a plugin: its bytes, checked and compiled.
pub trait PluginModule: Send + Sync {
    /// The job's name for the plugin.
    fn name(&self) -> &str;

    /// Digest of its bytes.
    fn digest(&self) -> Digest;

    /// All functions, in the plugin's order.
    fn functions(&self) -> &[FunctionSignature];

    /// Schema of what `function` gives for rows of `input`. Asks the plugin where the signature
    /// does not say, and refuses an input that does not match the signature.
    fn output_schema(&self, function: &str, input: SchemaRef) -> Result<SchemaRef, PluginError>;

    /// A fresh instance for the scalar or transform `function`, with no memory of earlier batches.
    /// Blocks for as long as its calls run: never call it on a thread that serves I/O. By itself the
    /// plugin has none.
    fn open(
        &self,
        function: &str,
        context: &BatchContext,
        input: SchemaRef,
    ) -> Result<Box<dyn FunctionInstance>, PluginError> {
        let _ = input;
        Err(none_of_its_kind(self.name(), function, context, "scalars or transforms"))
    }

    /// Calls a foreach_batch handler with `batch`, a frame of `host`. It computes between its waits:
    /// drive it on a thread that serves no I/O. By itself the plugin has none.
    fn foreach_batch<'a>(
        &'a self,
        function: &'a str,
        context: &'a BatchContext,
        host: Arc<dyn BatchHost>,
        batch: FrameHandle,
    ) -> BoxFuture<'a, Result<(), PluginError>> {
        let _ = (host, batch);
        let error = none_of_its_kind(self.name(), function, context, "handlers");
        Box::pin(async move { Err(error) })
    }

    /// Calls since the module was loaded. Nothing where the plugin does not count.
    fn usage(&self) -> PluginUsage {
        PluginUsage::default()
    }

    /// The same for each function that was called. Empty where the plugin does not tell.
    fn usage_by_function(&self) -> Vec<(String, PluginUsage)> {
        Vec::new()
    }
}

fn none_of_its_kind(
    plugin: &str,
    function: &str,
    context: &BatchContext,
    kind: &str,
) -> PluginError {
    PluginError {
        plugin: plugin.to_owned(),
        function: function.to_owned(),
        batch: Some(context.batch),
        failure: PluginFailure::Signature(format!("it has no {kind}")),
    }
}

/// An opened scalar or transform. Thrown away after the batch, and after a failure.
pub trait FunctionInstance: Send {
    /// Calls the function once for a record batch. A scalar gives one record batch of one column
    /// with as many rows as its input.
    fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginError>;
}

/// What a call gave back.
#[derive(Debug, Default)]
pub struct PluginRows {
    /// Rows of the function's output schema.
    pub batches: Vec<RecordBatch>,
    /// Input rows that the function would not take.
    pub refused: Vec<RefusedRow>,
}

/// An input row that could not be processed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedRow {
    /// Index into the call's rows.
    pub row: u32,
    /// The plugin's words.
    pub reason: String,
}

/// How often a plugin was called.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PluginUsage {
    /// Calls of any function.
    pub calls: u64,
    /// Rows that went in.
    pub rows: u64,
    /// Time spent in them, the boundary included, in nanoseconds.
    pub nanos: u64,
}

/// A call of a plugin failed. The process and the query's state are unharmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin \"{plugin}\", function \"{function}\"{}: {failure}", in_batch(.batch))]
pub struct PluginError {
    /// The job's name for the plugin.
    pub plugin: String,
    /// The function that was called.
    pub function: String,
    /// The batch that it was called for, if it was for one.
    pub batch: Option<BatchId>,
    /// What happened.
    pub failure: PluginFailure,
}

fn in_batch(batch: &Option<BatchId>) -> String {
    batch.map_or(String::new(), |batch| format!(", batch {batch}"))
}

/// How a call of a plugin can fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginFailure {
    /// It ran too long.
    #[error("ran past its deadline of {limit_ms} ms; raise limits.deadline or do less a call")]
    Deadline {
        /// The deadline.
        limit_ms: u64,
    },
    /// It wanted too much memory.
    #[error("wanted more than its {limit} bytes of memory; raise limits.memory or keep less")]
    Memory {
        /// The limit.
        limit: u64,
    },
    /// It panicked.
    #[error("panicked at {place}: {message}")]
    Panic {
        /// The panic's message.
        message: String,
        /// File, line and column in the plugin's source.
        place: String,
    },
    /// It executed something that Wasm forbids.
    #[error("trapped: {0}")]
    Trap(String),
    /// What it gave back is not what it declared.
    #[error("gave back something unusable: {0}")]
    BadOutput(String),
    /// It refused rows, and the query has no place for them.
    #[error("refused row {row}: {reason}")]
    Refused {
        /// Index of the first refused row.
        row: u32,
        /// The plugin's words.
        reason: String,
    },
    /// It returned an error: the input as a whole cannot be processed.
    #[error("could not process its input: {0}")]
    BadInput(String),
    /// It returned an error that may pass.
    #[error("failed for now: {0}")]
    Retryable(String),
    /// It returned an error that will not pass.
    #[error("failed: {0}")]
    Fatal(String),
    /// It has no such function, or not of this kind, or not for these columns.
    #[error("{0}")]
    Signature(String),
    /// The host could not run it.
    #[error("could not be run: {0}")]
    Host(String),
}

impl PluginFailure {
    /// Whether the same call may succeed later. The match is exhaustive on purpose.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            PluginFailure::Retryable(_) => true,
            PluginFailure::Deadline { .. }
            | PluginFailure::Memory { .. }
            | PluginFailure::Panic { .. }
            | PluginFailure::Trap(_)
            | PluginFailure::BadOutput(_)
            | PluginFailure::Refused { .. }
            | PluginFailure::BadInput(_)
            | PluginFailure::Fatal(_)
            | PluginFailure::Signature(_)
            | PluginFailure::Host(_) => false,
        }
    }
}

/// A table that the host holds while a foreach_batch handler runs.
pub type FrameHandle = u64;

/// A host call of a handler failed. The handler is told and may go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The request makes no sense: wrong SQL, an unknown handle, a target that is not granted.
    #[error("{0}")]
    BadInput(String),
    /// The same call may succeed later.
    #[error("{0}")]
    Retryable(String),
    /// It will not.
    #[error("{0}")]
    Fatal(String),
}

/// What the host does for a foreach_batch handler during one call. Frames die with it.
pub trait BatchHost: Send + Sync {
    /// Schema of a frame.
    fn schema(&self, of: FrameHandle) -> Result<SchemaRef, CallFailure>;

    /// Rows of a frame.
    fn count(&self, of: FrameHandle) -> BoxFuture<'_, Result<u64, CallFailure>>;

    /// Batch SQL over the named frames, and nothing else.
    fn sql(
        &self,
        query: String,
        tables: Vec<(String, FrameHandle)>,
    ) -> BoxFuture<'_, Result<FrameHandle, CallFailure>>;

    /// A frame of the handler's own rows.
    fn add_frame(
        &self,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<FrameHandle, CallFailure>;

    /// The record batches from number `first` on, as many as fit `max_bytes` (at least one);
    /// empty at the end.
    fn collect(
        &self,
        of: FrameHandle,
        first: u32,
        max_bytes: u64,
    ) -> BoxFuture<'_, Result<Vec<RecordBatch>, CallFailure>>;

    /// Writes all rows to a granted target, once per batch and call. Gives the rows written, 0 if
    /// they were there already.
    fn write(&self, of: FrameHandle, target: String) -> BoxFuture<'_, Result<u64, CallFailure>>;

    /// Forgets a frame.
    fn release(&self, of: FrameHandle);

    /// Runs a statement on a granted SQL target, once for each row of `parameters`. No guarantee
    /// beyond what the target gives.
    fn execute(
        &self,
        target: String,
        statement: String,
        parameters: Option<RecordBatch>,
    ) -> BoxFuture<'_, Result<u64, CallFailure>>;

    /// Whether this batch was marked under `name`.
    fn is_processed(&self, name: &str) -> Result<bool, CallFailure>;

    /// Marks this batch under `name`. Durable when it returns.
    fn mark_processed(&self, name: String) -> BoxFuture<'_, Result<(), CallFailure>>;
}
