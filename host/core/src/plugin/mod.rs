//! The user's functions, as the plan and the engine see them.
//!
//! Nothing here says WebAssembly: a plugin is a module of named functions that are given record
//! batches and give record batches, and whose failures are values.

mod batch_host;
mod failure;
mod keyed;
mod rows;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

pub use batch_host::{BatchHost, CallFailure, FrameHandle};
pub use failure::{PluginError, PluginFailure};
pub use keyed::{Change, KeyedState, Variable, VariableShape, variable_columns};
pub use rows::{Assembly, Given, Origin, PluginRows, RefusedRow, Selection, Shape};

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
    /// All of them.
    pub const ALL: [FunctionKind; 5] = [
        FunctionKind::Scalar,
        FunctionKind::Transform,
        FunctionKind::Aggregate,
        FunctionKind::Stateful,
        FunctionKind::ForeachBatch,
    ];

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
    /// Columns that it wants, by name (scalar, aggregate: by position). `None`: takes any rows.
    pub input: Option<SchemaRef>,
    /// Columns that it gives. `None`: follows from the input, [`PluginModule::shape`] says.
    pub output: Option<SchemaRef>,
    /// Whether a transform lets the other columns of its input through. `input` is then what it needs
    /// of them, and `output` what it adds or replaces.
    pub passes_others: bool,
    /// What it keeps for a group (aggregate) or a key (stateful).
    pub state: Vec<Variable>,
    /// The columns of a stateful function's keys, by position.
    pub key: Option<SchemaRef>,
    /// The columns of its initial state, by name, where it takes one.
    pub initial: Option<SchemaRef>,
    /// The columns of each earlier form of its state that it takes over: the variables that are others now,
    /// or gone.
    pub migrations: Vec<SchemaRef>,
    /// Whether equal input gives equal output.
    pub deterministic: bool,
    /// The author's doc comment.
    pub documentation: String,
}

impl FunctionSignature {
    /// A deterministic function that takes any rows, and says no more of itself.
    #[must_use]
    pub fn new(name: &str, kind: FunctionKind) -> FunctionSignature {
        FunctionSignature {
            name: name.to_owned(),
            kind,
            input: None,
            output: None,
            passes_others: false,
            state: Vec::new(),
            key: None,
            initial: None,
            migrations: Vec::new(),
            deterministic: true,
            documentation: String::new(),
        }
    }
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

    /// What `function` reads of rows of `input`, and what it gives for them. Asks the plugin where the
    /// signature does not say, and refuses an input that does not match the signature.
    fn shape(&self, function: &str, input: SchemaRef) -> Result<Shape, PluginError>;

    /// An instance for the scalar or transform `function` over rows of `input`: a fresh one, or one with
    /// memory of earlier batches where somebody wanted that. `shape` is what [`shape`](Self::shape) said when the query was planned.
    /// Blocks for as long as its calls run: never call it on a thread that serves I/O. By itself the
    /// plugin has none.
    fn open(
        &self,
        function: &str,
        context: &BatchContext,
        input: SchemaRef,
        shape: &Shape,
    ) -> Result<Box<dyn FunctionInstance>, PluginError> {
        let _ = (input, shape);
        Err(none_of_its_kind(self.name(), function, context, "scalars or transforms"))
    }

    /// A fresh instance for the aggregate `function`. Blocks as [`open`](Self::open) does.
    fn open_aggregate(
        &self,
        function: &str,
        context: &BatchContext,
    ) -> Result<Box<dyn AggregateInstance>, PluginError> {
        Err(none_of_its_kind(self.name(), function, context, "aggregates"))
    }

    /// A fresh instance for the stateful `function` over rows of `input`, where `shape` is what
    /// [`shape`](Self::shape) said. Blocks as [`open`](Self::open) does.
    fn open_stateful(
        &self,
        function: &str,
        context: &BatchContext,
        input: SchemaRef,
        shape: &Shape,
    ) -> Result<Box<dyn StatefulInstance>, PluginError> {
        let _ = (input, shape);
        Err(none_of_its_kind(self.name(), function, context, "stateful functions"))
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

/// An opened scalar or transform, for one batch. Dropped after it, and after a failure.
pub trait FunctionInstance: Send {
    /// Calls the function once for a record batch of the columns that its [`Shape`] reads. A scalar gives
    /// one column for all rows.
    fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginError>;
}

/// An opened aggregate: groups of one partition of one batch, numbered from 0 on as they appear. Thrown
/// away after the batch, and after a failure. What lies between two batches is in columns.
pub trait AggregateInstance: Send + Sync {
    /// Adds row i of the arguments to group `groups[i]`; there are `total` groups now. Gives the rows
    /// that the function would not take.
    fn update(
        &mut self,
        groups: &[u32],
        total: u32,
        arguments: &RecordBatch,
    ) -> Result<Vec<RefusedRow>, PluginError>;

    /// Adds the state in row i to that of group `groups[i]`; there are `total` groups now.
    fn merge(&mut self, groups: &[u32], total: u32, states: &[ArrayRef])
    -> Result<(), PluginError>;

    /// The states of the first `count` groups, a column a variable. The group after them is number 0
    /// then.
    fn states(&mut self, count: u32) -> Result<Vec<ArrayRef>, PluginError>;

    /// The same with their results: one column.
    fn results(&mut self, count: u32) -> Result<ArrayRef, PluginError>;

    /// Takes the states of an earlier form, the columns of migration number `migration` of the signature,
    /// and gives them as they are now.
    fn migrate(
        &mut self,
        migration: u32,
        states: &[ArrayRef],
    ) -> Result<Vec<ArrayRef>, PluginError>;

    /// Bytes that it holds.
    fn memory(&self) -> u64;
}

/// An opened stateful function, for keys of one shard. Thrown away after the batch, and after a failure.
pub trait StatefulInstance: Send {
    /// Calls the function with rows of some keys: `keys` has a row a key, and of `rows` (the columns that its
    /// [`Shape`] reads) the first `counts[0]` are of the first key, and so on.
    fn rows(
        &mut self,
        keys: &[ArrayRef],
        counts: &[u32],
        rows: &RecordBatch,
        state: Box<dyn KeyedState>,
    ) -> Result<PluginRows, PluginError>;

    /// Calls it for timers that are due: timer i is of key `owners[i]`.
    fn timers(
        &mut self,
        keys: &[ArrayRef],
        owners: &[u32],
        times: &[i64],
        state: Box<dyn KeyedState>,
    ) -> Result<PluginRows, PluginError>;

    /// Calls it with the initial state, a row a key, of the columns that the signature names.
    fn initial(
        &mut self,
        keys: &[ArrayRef],
        rows: &RecordBatch,
        state: Box<dyn KeyedState>,
    ) -> Result<PluginRows, PluginError>;

    /// Calls it with what an earlier form of its state held, a row a key, of the columns of migration number
    /// `migration` of the signature.
    fn migrate(
        &mut self,
        migration: u32,
        keys: &[ArrayRef],
        kept: &RecordBatch,
        state: Box<dyn KeyedState>,
    ) -> Result<PluginRows, PluginError>;
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
