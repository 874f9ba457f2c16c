//! Files as a source and as a sink: JSON lines, CSV, Parquet and text.
//!
//! The source follows Spark's: files in order of modification time, seen once each, whole. The
//! sink follows Spark's too, down to the `_spark_metadata` log.
//!
//! ```text
//!  sink.rs     rows become hidden files          source.rs   which files a batch reads
//!     |                                             |
//!  ledger.rs   _owner, names, entries            listing.rs  which files there are
//!      \                                            |
//!       \____ owner.rs, log.rs _______________ committed.rs  by a log
//! ```

mod columns;
mod committed;
mod content;
mod csv;
mod decoded;
mod form;
mod infer;
mod json;
mod ledger;
mod lines;
mod listing;
mod log;
mod owner;
mod parquet;
mod partitions;
mod parts;
mod plan;
mod position;
mod sink;
mod source;
mod text;
mod writer;

pub(crate) use plan::{FileFormat, FilePlan};
pub(crate) use sink::FileSinkPlan;
pub(crate) use source::FileSource;
