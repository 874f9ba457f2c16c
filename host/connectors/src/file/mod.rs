//! Files as a source and as a sink: JSON lines, CSV, Parquet and text.
//!
//! The source follows Spark's: files in order of modification time, seen once each, whole. The
//! sink follows Spark's too, down to the `_spark_metadata` log.

mod csv;
mod json;
mod lines;
mod listing;
mod log;
mod parquet;
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
