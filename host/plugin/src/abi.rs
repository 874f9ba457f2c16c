//! The types of the contract (`schemas/wit/plugin.wit`) as wasmtime carries them over.
//!
//! wasmtime compares them with the component's own when a module is linked, so a drift between
//! the two is an error at load and never a misread byte.

use tidemill_core::{
    BatchContext, CallFailure, FunctionKind, PluginFailure, RefusedRow, Watermark,
};
use wasmtime::component::{ComponentType, Lift, Lower};

pub(crate) const LOG: &str = "tidemill:plugin/log@0.1.0";
pub(crate) const DATAFRAME: &str = "tidemill:plugin/dataframe@0.1.0";
pub(crate) const TARGET: &str = "tidemill:plugin/target@0.1.0";
pub(crate) const LEDGER: &str = "tidemill:plugin/ledger@0.1.0";
pub(crate) const TYPES: &str = "tidemill:plugin/types@0.1.0";
pub(crate) const FUNCTIONS: &str = "tidemill:plugin/functions@0.1.0";

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

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) input: Option<Vec<u8>>,
    pub(crate) output: Option<Vec<u8>>,
    #[allow(dead_code, reason = "of functions that keep state, which are not called yet")]
    pub(crate) state: Option<Vec<u8>>,
    pub(crate) deterministic: bool,
    pub(crate) documentation: String,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct Opened {
    pub(crate) instance: u32,
    pub(crate) output: Vec<u8>,
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
pub(crate) struct Rows {
    pub(crate) batches: Vec<Vec<u8>>,
    pub(crate) refused: Vec<RowError>,
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
