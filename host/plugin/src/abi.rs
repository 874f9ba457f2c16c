//! The types of the contract (`schemas/wit/plugin.wit`) as wasmtime carries them over.
//!
//! wasmtime compares them with the component's own when a module is linked, so a drift between
//! the two is an error at load and never a misread byte.

use arrow::buffer::Buffer;
use tidemill_core::{
    BatchContext, CallFailure, FunctionKind, PluginFailure, RefusedRow, Watermark,
};
use wasmtime::component::{ComponentType, Lift, Lower};

/// Of the contract.
pub(crate) const VERSION: &str = "0.2.0";

pub(crate) const LOG: &str = "tidemill:plugin/log@0.2.0";
pub(crate) const ROWS: &str = "tidemill:plugin/rows@0.2.0";
pub(crate) const STATE: &str = "tidemill:plugin/state@0.2.0";
pub(crate) const DATAFRAME: &str = "tidemill:plugin/dataframe@0.2.0";
pub(crate) const TARGET: &str = "tidemill:plugin/target@0.2.0";
pub(crate) const LEDGER: &str = "tidemill:plugin/ledger@0.2.0";
pub(crate) const TYPES: &str = "tidemill:plugin/types@0.2.0";
pub(crate) const FUNCTIONS: &str = "tidemill:plugin/functions@0.2.0";

#[derive(ComponentType, Lower, Clone, Default, Debug)]
#[component(record)]
pub(crate) struct Context {
    query: String,
    #[component(name = "query-id")]
    query_id: String,
    #[component(name = "batch-id")]
    batch_id: u64,
    attempt: u32,
    partition: u32,
    #[component(name = "batch-time")]
    batch_time: i64,
    watermark: Option<i64>,
}

impl From<&BatchContext> for Context {
    fn from(context: &BatchContext) -> Context {
        Context {
            query: context.query.clone(),
            query_id: context.query_id.0.clone(),
            batch_id: context.batch.0,
            attempt: context.attempt.0,
            partition: context.partition,
            // The model counts milliseconds, the contract microseconds.
            batch_time: context.batch_time_ms.saturating_mul(1_000),
            watermark: context.watermark.map(Watermark::micros),
        }
    }
}

#[derive(ComponentType, Lift, Clone, Copy, PartialEq, Debug)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made from the number that the guest gives")]
pub(crate) enum Kind {
    #[component(name = "scalar")]
    Scalar,
    #[component(name = "transform")]
    Transform,
    #[component(name = "aggregate")]
    Aggregate,
    #[component(name = "stateful")]
    Stateful,
    #[component(name = "foreach-batch")]
    ForeachBatch,
}

impl From<Kind> for FunctionKind {
    fn from(kind: Kind) -> FunctionKind {
        match kind {
            Kind::Scalar => FunctionKind::Scalar,
            Kind::Transform => FunctionKind::Transform,
            Kind::Aggregate => FunctionKind::Aggregate,
            Kind::Stateful => FunctionKind::Stateful,
            Kind::ForeachBatch => FunctionKind::ForeachBatch,
        }
    }
}

#[derive(ComponentType, Lift, Clone, Copy, PartialEq, Debug)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made from the number that the guest gives")]
pub(crate) enum VariableShape {
    #[component(name = "value")]
    Value,
    #[component(name = "items")]
    Items,
    #[component(name = "entries")]
    Entries,
}

impl From<VariableShape> for tidemill_core::VariableShape {
    fn from(shape: VariableShape) -> tidemill_core::VariableShape {
        match shape {
            VariableShape::Value => tidemill_core::VariableShape::Value,
            VariableShape::Items => tidemill_core::VariableShape::Items,
            VariableShape::Entries => tidemill_core::VariableShape::Entries,
        }
    }
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) shape: VariableShape,
    pub(crate) schema: String,
    pub(crate) ttl: Option<u64>,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) input: Option<String>,
    pub(crate) output: Option<String>,
    #[component(name = "passes-others")]
    pub(crate) passes_others: bool,
    pub(crate) state: Vec<Variable>,
    pub(crate) deterministic: bool,
    pub(crate) documentation: String,
    pub(crate) properties: Vec<(String, String)>,
}

#[derive(ComponentType, Lift, Clone, Copy, PartialEq, Debug)]
#[component(variant)]
pub(crate) enum Origin {
    #[component(name = "made")]
    Made,
    #[component(name = "passed")]
    Passed(u32),
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct Opened {
    pub(crate) id: u32,
    pub(crate) output: String,
    pub(crate) reads: Vec<u32>,
    pub(crate) origins: Vec<Origin>,
}

#[derive(ComponentType, Lift, Lower, Clone, Copy, Debug)]
#[component(record)]
pub(crate) struct Node {
    length: u32,
    nulls: u32,
}

/// A column, whose buffers are where they lie (to a guest) or the host's own (from one).
#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub(crate) struct Column<B> {
    nodes: Vec<Node>,
    buffers: Vec<B>,
}

/// Rows, as [`Column`].
#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub(crate) struct Block<B> {
    pub(crate) rows: u32,
    pub(crate) columns: Vec<Column<B>>,
}

impl<'a> Column<&'a [u8]> {
    pub(crate) fn lent(column: &'a tidemill_block::Column) -> Self {
        Column {
            nodes: nodes(column),
            buffers: column.buffers.iter().map(|buffer| buffer.as_slice()).collect(),
        }
    }
}

impl Column<Vec<u8>> {
    /// A copy, for what a host call gives back.
    pub(crate) fn owned(column: &tidemill_block::Column) -> Self {
        Column {
            nodes: nodes(column),
            buffers: column.buffers.iter().map(|buffer| buffer.to_vec()).collect(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.buffers.iter().map(Vec::len).sum()
    }
}

fn nodes(column: &tidemill_block::Column) -> Vec<Node> {
    column.nodes.iter().map(|node| Node { length: node.length, nulls: node.nulls }).collect()
}

impl From<Column<Vec<u8>>> for tidemill_block::Column {
    fn from(column: Column<Vec<u8>>) -> Self {
        let node = |node: Node| tidemill_block::Node { length: node.length, nulls: node.nulls };
        tidemill_block::Column {
            nodes: column.nodes.into_iter().map(node).collect(),
            buffers: column.buffers.into_iter().map(Buffer::from_vec).collect(),
        }
    }
}

#[derive(ComponentType, Lift, Debug)]
#[component(variant)]
pub(crate) enum Selection {
    #[component(name = "fresh")]
    Fresh(u32),
    #[component(name = "all")]
    All,
    #[component(name = "kept")]
    Kept(Vec<u8>),
    #[component(name = "taken")]
    Taken(Vec<u32>),
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct RowError {
    row: u32,
    reason: String,
}

impl From<RowError> for RefusedRow {
    fn from(error: RowError) -> RefusedRow {
        RefusedRow { row: error.row, reason: error.reason }
    }
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct Parameters {
    pub(crate) schema: String,
    pub(crate) rows: Block<Vec<u8>>,
}

#[derive(ComponentType, Lift, Lower, Clone, PartialEq, Debug)]
#[component(variant)]
pub(crate) enum Failure {
    #[component(name = "bad-input")]
    BadInput(String),
    #[component(name = "retryable")]
    Retryable(String),
    #[component(name = "fatal")]
    Fatal(String),
}

impl From<Failure> for PluginFailure {
    fn from(failure: Failure) -> PluginFailure {
        match failure {
            Failure::BadInput(reason) => PluginFailure::BadInput(reason),
            Failure::Retryable(reason) => PluginFailure::Retryable(reason),
            Failure::Fatal(reason) => PluginFailure::Fatal(reason),
        }
    }
}

impl From<CallFailure> for Failure {
    fn from(failure: CallFailure) -> Failure {
        match failure {
            CallFailure::BadInput(reason) => Failure::BadInput(reason),
            CallFailure::Retryable(reason) => Failure::Retryable(reason),
            CallFailure::Fatal(reason) => Failure::Fatal(reason),
        }
    }
}

#[derive(ComponentType, Lift, Clone, Copy, PartialEq, Debug)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made from the number that the guest gives")]
pub(crate) enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

#[derive(ComponentType, Lower, Debug)]
#[component(record)]
pub(crate) struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}
