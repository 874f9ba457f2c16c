//! What a job says of a source or a sink, and what can be wrong with it.
//!
//! A configuration is planned first and opened later. Planning creates nothing outside, and reads
//! only files whose columns are to be inferred, so that a wrong job ends before anything was started.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_core::{OutputMode, Secret, Secrets};
use tidemill_time::Zone;

/// Tells the time, in milliseconds since 1970-01-01 UTC. Handed in, so that connectors read no
/// clock of their own.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The value of an option: a text, which messages show unless it is a secret.
///
/// Secret is what came from the environment (`${…}`), and what the option's name says to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OptionText {
    /// Anybody may see it.
    Plain(String),
    /// Nobody may.
    Secret(Secret<String>),
}

impl OptionText {
    /// A text that must not be shown.
    pub fn secret(text: impl Into<String>) -> OptionText {
        OptionText::Secret(Secret::new(text.into()))
    }

    /// The same text, as a secret.
    #[must_use]
    pub fn hidden(self) -> OptionText {
        match self {
            OptionText::Plain(text) => OptionText::secret(text),
            secret => secret,
        }
    }

    /// The text, to be used and not to be shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        match self {
            OptionText::Plain(text) => text,
            OptionText::Secret(text) => text.reveal(),
        }
    }

    /// The text as a message may have it.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            OptionText::Plain(text) => text.clone(),
            OptionText::Secret(text) => format!("{text:?}"),
        }
    }
}

impl From<&str> for OptionText {
    fn from(text: &str) -> OptionText {
        OptionText::Plain(text.to_owned())
    }
}

impl From<String> for OptionText {
    fn from(text: String) -> OptionText {
        OptionText::Plain(text)
    }
}

/// The secrets among options, and those within their texts: passwords in URLs and in Kafka's
/// `sasl.jaas.config`, which clients take out and complain of by themselves.
#[must_use]
pub fn secrets_of(options: &BTreeMap<String, OptionText>) -> Secrets {
    let mut secrets = Secrets::default();
    for option in options.values() {
        if let OptionText::Secret(text) = option {
            let text = text.reveal();
            secrets.add(text, None);
            password_of_url(text).into_iter().for_each(|password| secrets.add(password, None));
            for (_, rest) in
                text.match_indices("password=").map(|(at, word)| text.split_at(at + word.len()))
            {
                let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''));
                let password = quote.and_then(|quote| rest[1..].split(quote).next());
                password.into_iter().for_each(|password| secrets.add(password, None));
            }
        }
    }
    secrets
}

/// `pass` of `scheme://user:pass@host`.
fn password_of_url(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

/// What the files of a source show of its columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundColumns {
    /// Those that the job does not say: all of them, where it says none.
    pub columns: SchemaRef,
    /// Names of those that are partitions, whoever says them.
    pub partitions: Vec<String>,
}

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
    /// Whether files in JSON and CSV are read for the columns that they have, where no schema says
    /// them.
    pub infers: bool,
    /// What its files showed when the query started first; none at that start.
    pub found: Option<FoundColumns>,
    /// The session's: of times in texts without a zone.
    pub time_zone: Zone,
    /// Spark's options, by Spark's names.
    pub options: BTreeMap<String, OptionText>,
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
    pub options: BTreeMap<String, OptionText>,
    /// Columns of the rows to come; `None` for a target, which learns them at its first write.
    pub schema: Option<SchemaRef>,
    /// The session's: of times that are written as texts.
    pub time_zone: Zone,
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
        /// The value as given; `…` if it is a secret.
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

    /// The same error without the secrets that a parser or a client may have quoted.
    pub(crate) fn concealed(mut self, secrets: &Secrets) -> ConfigError {
        let conceal = |text: &mut String| *text = secrets.conceal(text).into_owned();
        match &mut self {
            ConfigError::BadValue { value, wanted, .. } => {
                conceal(value);
                conceal(wanted);
            }
            ConfigError::Schema { reason, .. } => conceal(reason),
            ConfigError::UnknownFormat { .. }
            | ConfigError::FormatNotSupportedYet { .. }
            | ConfigError::UnknownOption { .. }
            | ConfigError::OptionNotSupportedYet { .. }
            | ConfigError::Missing { .. }
            | ConfigError::OutputMode { .. } => {}
        }
        self
    }
}
