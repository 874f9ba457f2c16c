//! `job.toml`: what the file says ([`raw`]), and what the program may rely on ([`Job`]).
//!
//! The file is checked once, here. Unknown keys are errors with line, column and the nearest known
//! key; what is part of the format and not built yet is refused as such, and nothing is ignored.

mod environment;
mod error;
pub mod names;
mod raw;
mod read;
mod resolve;
mod schema;

pub use error::{JobError, Location};
pub use read::Override;
pub(crate) use resolve::MEMORY_MIN;
pub use resolve::{Job, JobDeadLetters, JobOptions, JobPlugin, JobSink, JobSource, JobTarget};
pub use schema::json_schema;
