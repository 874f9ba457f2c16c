//! Physical operators of streams. Each is inert: what runs is the stream that `execute` gives.

mod aggregate;
mod decode;
mod evaluate;
mod event_time;
mod extension;
mod properties;
mod read_ahead;
mod scan;
mod time_window;
mod transform;

pub use aggregate::StatefulOperator;
pub(crate) use aggregate::{StatefulSettings, make_stateful};
pub(crate) use extension::Extensions;
pub(crate) use properties::{leaf, plain};
pub use read_ahead::ReadAhead;
pub(crate) use scan::{StreamScanExec, StreamTable};
