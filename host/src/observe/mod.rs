//! What outsiders see of the queries of this process: metrics, their status, a trace.
//!
//! ```text
//! query --QueryEvent--> Entry --> Metrics (counters)  --/metrics--> Server
//!                            \--> status of each query --/status--/
//! engine, plan --tracing spans--> TraceLayer --> TraceFile
//! ```
//!
//! **Invariant:** nothing here is done for a row. Spans are of batches, phases, partitions and calls; figures come from the record that a query gives after a batch, and from counters that are kept anyway.

mod address;
mod board;
mod hosts;
mod metrics;
mod process;
mod server;
mod trace;
mod trace_file;

pub use address::{Address, AddressError};
pub use board::{Board, Entry};
pub use server::Server;
pub use trace::{Trace, TraceFilter, TraceLayer};
