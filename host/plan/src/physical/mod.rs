//! Physical operators of streams. Each is inert: what runs is the stream that `execute` gives.

mod aggregate;
mod decode;
mod deduplicate;
mod encoding;
mod evaluate;
mod event_time;
mod extension;
mod gather;
mod generate;
mod held;
mod inputs;
mod join_keys;
mod keyed;
mod limit;
mod measured;
mod output;
mod properties;
mod read_ahead;
mod scan;
mod session_window;
mod stateful;
mod static_join;
mod static_table;
mod stream_join;
mod time_window;

pub(crate) use extension::Extensions;
pub(crate) use gather::gather_partitions;
pub(crate) use keyed::{KeyedExec, KeyedFunction};
pub(crate) use measured::measured;
pub(crate) use properties::{debug_as_shown, leaf, one_input, only, plain};
pub use read_ahead::ReadAhead;
pub(crate) use scan::{StreamScanExec, StreamTable};
pub use stateful::StatefulOperator;
pub(crate) use stateful::{StatefulSettings, make_stateful};
pub(crate) use static_table::StaticRows;
