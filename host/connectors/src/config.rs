//! What a job says of a source or a sink, and what can be wrong with it.
//!
//! A configuration is planned first and opened later. Planning reads and creates nothing outside
//! (a parquet source without a schema reads one footer), so that a wrong job ends before anything
//! was started.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_core::OutputMode;

/// Tells the time, in milliseconds since 1970-01-01 UTC. Handed in, so that connectors read no
/// clock of their own.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A `[source.NAME]` or `[static.NAME]` of a job.
#[derive(Clone, Debug, Default)]
pub struct SourceConfig {
    /// Its name, which is also the table's.
    pub name: String,
    /// `json`, `csv`, `rate`, …
    pub format: String,
    /// Where a file source reads: a directory, a file or a glob. Absolute or relative to the
    /// process's directory.
    pub path: Option<PathBuf>,
    /// Columns, where the format does not know them itself.
    pub schema: Option<SchemaRef>,
    /// Spark's options, by Spark's names.
    pub options: BTreeMap<String, String>,
}

/// A `[sink]` or `[target.NAME]` of a job.
#[derive(Clone, Debug, Default)]
pub struct SinkConfig {
    /// The target's name; for the query's sink any name that is constant over restarts. With the
    /// query id it names the mark that the place keeps.
    pub name: String,
    /// `console`, `parquet`, `sqlite`, …
    pub format: String,
    /// Where a file sink writes, or a database file.
    pub path: Option<PathBuf>,
    /// Spark's options, by Spark's names, and ours.
    pub options: BTreeMap<String, String>,
    /// Columns of the rows to come; `None` for a target, which learns them at its first write.
    pub schema: Option<SchemaRef>,
    /// Which rows of the result come.
    pub output_mode: OutputMode,
    /// The query's grouping columns: the key in update mode where the options name none.
    pub key: Vec<String>,
    /// Name of the query; a memory sink's table has it.
    pub query_name: String,
}

/// A source or sink of a job is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such format.
    #[error("{place} has the format \"{format}\", which does not exist; {nearest}{built}")]
    UnknownFormat {
        /// Which source or sink.
        place: String,
        /// The format as given.
        format: String,
        /// `did you mean "…"? ` or nothing.
        nearest: String,
        /// The formats that there are.
        built: String,
    },
    /// The format is Spark's, but not built.
    #[error("{place} has the format \"{format}\", which is not supported yet; {built}")]
    FormatNotSupportedYet {
        /// Which source or sink.
        place: String,
        /// The format.
        format: String,
        /// The formats that there are.
        built: String,
    },
    /// No such option.
    #[error("{place} has the option \"{option}\", which the format does not know; {nearest}")]
    UnknownOption {
        /// Which source or sink.
        place: String,
        /// The option as given.
        option: String,
        /// `did you mean "…"?`, or the options that there are.
        nearest: String,
    },
    /// The option is Spark's, but not built.
    #[error("{place} has the option \"{option}\", which is not supported yet{hint}")]
    OptionNotSupportedYet {
        /// Which source or sink.
        place: String,
        /// The option as given.
        option: String,
        /// What to do instead, or nothing.
        hint: String,
    },
    /// The option's value is unusable.
    #[error("{place} has {option} = \"{value}\"; {wanted}")]
    BadValue {
        /// Which source or sink.
        place: String,
        /// The option.
        option: String,
        /// The value as given.
        value: String,
        /// What it has to be.
        wanted: String,
    },
    /// Something is missing.
    #[error("{place} has no {what}; {hint}")]
    Missing {
        /// Which source or sink.
        place: String,
        /// What it lacks.
        what: String,
        /// What to write.
        hint: String,
    },
    /// The sink cannot take this output mode.
    #[error("{place} (format \"{format}\") does not take output mode {mode}; {hint}")]
    OutputMode {
        /// Which sink.
        place: String,
        /// Its format.
        format: String,
        /// The query's mode.
        mode: OutputMode,
        /// Which modes it takes, and what to do.
        hint: String,
    },
    /// The columns do not fit the format.
    #[error("{place}: {reason}")]
    Schema {
        /// Which source or sink.
        place: String,
        /// What does not fit.
        reason: String,
    },
}

impl ConfigError {
    /// The option that is wrong, as the job wrote it, so that a caller can point at its line.
    #[must_use]
    pub fn option(&self) -> Option<&str> {
        match self {
            ConfigError::UnknownOption { option, .. }
            | ConfigError::OptionNotSupportedYet { option, .. }
            | ConfigError::BadValue { option, .. } => Some(option),
            ConfigError::UnknownFormat { .. }
            | ConfigError::FormatNotSupportedYet { .. }
            | ConfigError::Missing { .. }
            | ConfigError::OutputMode { .. }
            | ConfigError::Schema { .. } => None,
        }
    }
}
