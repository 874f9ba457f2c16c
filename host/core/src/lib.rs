//! The model of Tidemill, and the traits that stand between its packages.
//!
//! A query runs in *micro-batches*. For each the engine fixes a [`BatchSpec`]: which ranges of
//! its [`Source`]s it reads, at which watermark and at which time. Everything after that is a
//! function of the spec, the state before it and the plugins' bytes.
//!
//! **Invariant:** this package reads no clock and no file, starts no thread and knows no async
//! runtime. Time, state and bytes come in as arguments.

#![warn(missing_docs)]

mod abandoned;
mod bytes;
mod failure;
mod ids;
mod memory;
mod nearest;
mod output_mode;
mod plugin;
mod printable;
mod progress;
mod secret;
mod sink;
mod source;
mod spec;
mod state;
mod trace;
mod trigger;
mod watermark;

pub use abandoned::{AbandonOnDrop, Abandoned};
pub use bytes::parse_bytes;
pub use failure::ConnectorError;
pub use ids::{Attempt, BatchId, Digest, ParseDigestError, QueryId};
pub use memory::{MemoryBudget, MemoryScope, OutOfMemory, Reservation, bytes_text};
pub use nearest::nearest;
pub use output_mode::OutputMode;
pub use plugin::{
    AggregateInstance, Assembly, BatchContext, BatchHost, BoxFuture, CallFailure, Change,
    FrameHandle, FunctionInstance, FunctionKind, FunctionSignature, Given, KeyedState, Origin,
    PluginError, PluginFailure, PluginModule, PluginRows, PluginUsage, RefusedRow, Selection,
    Shape, StatefulInstance, Variable, VariableShape, variable_columns,
};
pub use printable::printable;
pub use progress::{
    EventTimeProgress, FunctionProgress, Measured, PluginProgress, Progress, SinkProgress,
    SourceProgress, StateProgress, format_millis,
};
pub use secret::{Secret, Secrets};
pub use sink::{Begin, Delivered, Delivery, Held, Mark, Sink};
pub use source::{
    AskAgain, CountMalformed, PayloadDecoder, RangeReader, ReadLimit, RowStream, Slice, Source,
    SourceRange, TableReader, Wake, beside, read_then_decode,
};
pub use spec::{AttemptSpec, BatchSpec, EncodedSpec};
pub use state::{
    Bucket, MemberVisitor, OperatorId, ShardId, ShardState, StateError, StateStore, StateUsage,
    StateVisitor, member_key, member_of, split_member,
};
pub use trace::TRACE_TARGET;
pub use trigger::Trigger;
pub use watermark::{Watermark, WatermarkNode, WatermarkPolicy, WatermarkTracker};
