//! From a job's words to sources and sinks that could be opened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_core::{Abandoned, BatchId, ConnectorError, Held, QueryId, Sink, Source, SourceRange};

use crate::console::{ConsoleOutput, ConsolePlan};
use crate::file::{FileFormat, FilePlan, FileSinkPlan, FileSource};
use crate::kafka::{self, KafkaPlan, KafkaSinkPlan};
use crate::memory::{MemoryPlan, MemoryTables};
use crate::noop::NoopPlan;
use crate::options::suggestion;
use crate::rate::{RateMicroBatchPlan, RatePlan};
use crate::sqlite::{self, SqlitePlan};
use crate::{Clock, ConfigError, FoundColumns, OptionText, SinkConfig, SourceConfig, secrets_of};

const SOURCES: [&str; 7] = ["kafka", "json", "csv", "parquet", "text", "rate", "rate-micro-batch"];
const SOURCES_LATER: [&str; 7] =
    ["socket", "orc", "xml", "avro", "delta", "statestore", "state-metadata"];
const SINKS: [&str; 7] = ["console", "kafka", "json", "parquet", "sqlite", "memory", "noop"];
const SINKS_LATER: [&str; 11] = [
    "postgres",
    "elasticsearch",
    "redis",
    "csv",
    "text",
    "orc",
    "xml",
    "avro",
    "delta",
    "jdbc",
    "foreach",
];

/// What names of options have in common, whatever the format, whose values are secret.
const SECRETS: [&str; 9] = [
    "password",
    "passwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "api_key",
    "api.key",
    "private",
];

/// Whether the value of an option must not be shown: by its name, or as its format declares it.
#[must_use]
pub fn is_secret_option(format: &str, option: &str) -> bool {
    let declared: &[&str] = match format.to_lowercase().as_str() {
        "kafka" => &kafka::SECRETS,
        "sqlite" => &sqlite::SECRETS,
        _ => &[],
    };
    let option = option.to_lowercase();
    SECRETS.iter().chain(declared).any(|word| option.contains(word))
}

fn hide_secrets(format: &str, options: &mut BTreeMap<String, OptionText>) {
    for (name, value) in options {
        if is_secret_option(format, name) {
            *value = std::mem::replace(value, OptionText::Plain(String::new())).hidden();
        }
    }
}

/// A source whose configuration was checked. Nothing runs yet.
pub struct PlannedSource {
    name: String,
    kind: SourceKind,
}

enum SourceKind {
    File(Arc<FilePlan>),
    Kafka(Arc<KafkaPlan>),
    Rate(RatePlan),
    RateMicroBatch(RateMicroBatchPlan),
}

/// Checks a source of a job.
pub fn plan_source(mut config: SourceConfig) -> Result<PlannedSource, ConfigError> {
    hide_secrets(&config.format, &mut config.options);
    let secrets = secrets_of(&config.options);
    source_of(config).map_err(|error| error.concealed(&secrets))
}

fn source_of(config: SourceConfig) -> Result<PlannedSource, ConfigError> {
    let place = format!("source \"{}\"", config.name);
    let file = |format| FilePlan::new(format, &config, &place).map(Arc::new).map(SourceKind::File);
    let kind = match config.format.to_lowercase().as_str() {
        "json" => file(FileFormat::Json)?,
        "csv" => file(FileFormat::Csv)?,
        "parquet" => file(FileFormat::Parquet)?,
        "text" => file(FileFormat::Text)?,
        "kafka" => SourceKind::Kafka(Arc::new(KafkaPlan::new(&config, &place)?)),
        "rate" => SourceKind::Rate(RatePlan::new(&config, &place)?),
        "rate-micro-batch" => SourceKind::RateMicroBatch(RateMicroBatchPlan::new(&config, &place)?),
        other => return Err(no_format(place, other, &SOURCES, &SOURCES_LATER)),
    };
    Ok(PlannedSource { name: config.name, kind })
}

/// A file that is none of a source's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StrangeFile {
    /// The file.
    pub read: PathBuf,
    /// Where the source reads.
    pub reads: PathBuf,
}

impl PlannedSource {
    /// Its name in the job.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All columns that it has.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        match &self.kind {
            SourceKind::File(plan) => Arc::clone(&plan.schema),
            SourceKind::Kafka(plan) => plan.schema(),
            SourceKind::Rate(_) | SourceKind::RateMicroBatch(_) => crate::rate::schema(),
        }
    }

    /// What its files showed of its columns, or had shown at an earlier start; none without files.
    #[must_use]
    pub fn found(&self) -> Option<FoundColumns> {
        match &self.kind {
            SourceKind::File(plan) => Some(plan.found.clone()),
            SourceKind::Kafka(_) | SourceKind::Rate(_) | SourceKind::RateMicroBatch(_) => None,
        }
    }

    /// A file of a range that was read elsewhere than this source does, if there is one.
    pub fn strange_to(&self, range: &SourceRange) -> Result<Option<StrangeFile>, ConnectorError> {
        match &self.kind {
            SourceKind::File(plan) => plan.strange_to(range),
            SourceKind::Kafka(_) | SourceKind::Rate(_) | SourceKind::RateMicroBatch(_) => Ok(None),
        }
    }

    /// Starts it, before its first row. `clock` tells `rate` the time, and `kafka` how
    /// long records have waited.
    pub fn open(&self, clock: Clock) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(match &self.kind {
            SourceKind::File(plan) => Box::new(FileSource::new(Arc::clone(plan))),
            SourceKind::Kafka(plan) => Box::new(plan.open(clock)),
            SourceKind::Rate(plan) => Box::new(plan.open(clock)),
            SourceKind::RateMicroBatch(plan) => Box::new(plan.open()),
        })
    }
}

/// What sinks share with the process around them.
#[derive(Clone)]
pub struct SinkContext {
    /// Names the query's marks in the places it writes to.
    pub query_id: QueryId,
    /// Where console sinks print.
    pub console: ConsoleOutput,
    /// Where memory sinks keep their tables.
    pub tables: MemoryTables,
}

impl SinkContext {
    /// Printing on standard output, with no memory tables yet.
    #[must_use]
    pub fn new(query_id: QueryId) -> SinkContext {
        SinkContext { query_id, console: ConsoleOutput::stdout(), tables: MemoryTables::default() }
    }
}

/// A sink or target whose configuration was checked. Nothing is created yet.
pub struct PlannedSink {
    name: String,
    kind: SinkKind,
}

enum SinkKind {
    Console(ConsolePlan),
    File(FileSinkPlan),
    Kafka(Arc<KafkaSinkPlan>),
    Sqlite(SqlitePlan),
    Memory(MemoryPlan),
    Noop(NoopPlan),
}

/// Checks a sink or a target of a job.
pub fn plan_sink(mut config: SinkConfig) -> Result<PlannedSink, ConfigError> {
    hide_secrets(&config.format, &mut config.options);
    let secrets = secrets_of(&config.options);
    sink_of(config).map_err(|error| error.concealed(&secrets))
}

fn sink_of(config: SinkConfig) -> Result<PlannedSink, ConfigError> {
    let place = format!("sink \"{}\"", config.name);
    let kind = match config.format.to_lowercase().as_str() {
        "console" => SinkKind::Console(ConsolePlan::new(&config, &place)?),
        "json" => SinkKind::File(FileSinkPlan::new(FileFormat::Json, &config, &place)?),
        "parquet" => SinkKind::File(FileSinkPlan::new(FileFormat::Parquet, &config, &place)?),
        "kafka" => SinkKind::Kafka(Arc::new(KafkaSinkPlan::new(&config, &place)?)),
        "sqlite" => SinkKind::Sqlite(SqlitePlan::new(&config, &place)?),
        "memory" => SinkKind::Memory(MemoryPlan::new(&config, &place)?),
        "noop" => SinkKind::Noop(NoopPlan::new(&config, &place)?),
        other => return Err(no_format(place, other, &SINKS, &SINKS_LATER)),
    };
    Ok(PlannedSink { name: config.name, kind })
}

impl PlannedSink {
    /// Its name in the job.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the place could be written, without writing or creating anything.
    pub fn check(&self) -> Result<(), ConnectorError> {
        match &self.kind {
            SinkKind::File(plan) => plan.check(),
            SinkKind::Sqlite(plan) => plan.check(),
            SinkKind::Console(_) | SinkKind::Kafka(_) | SinkKind::Memory(_) | SinkKind::Noop(_) => {
                Ok(())
            }
        }
    }

    /// How the sink is named once it is open ([`Sink::description`]).
    #[must_use]
    pub fn description(&self) -> String {
        match &self.kind {
            SinkKind::File(plan) => plan.description(),
            SinkKind::Sqlite(plan) => plan.description(),
            SinkKind::Kafka(plan) => plan.description(),
            SinkKind::Memory(_) => MemoryPlan::DESCRIPTION.to_owned(),
            SinkKind::Console(_) => ConsolePlan::DESCRIPTION.to_owned(),
            SinkKind::Noop(_) => NoopPlan::DESCRIPTION.to_owned(),
        }
    }

    /// What the place holds of the query, without creating anything. The same as
    /// [`Sink::held`] says once it is open.
    pub fn held(&self, context: &SinkContext) -> Result<Held, ConnectorError> {
        match &self.kind {
            SinkKind::File(plan) => plan.held(&context.query_id),
            SinkKind::Sqlite(plan) => plan.held(&context.query_id),
            SinkKind::Memory(plan) => plan.open(&context.query_id, &context.tables).held(),
            SinkKind::Console(_) | SinkKind::Kafka(_) | SinkKind::Noop(_) => Ok(Held::Unknown),
        }
    }

    /// Opens the place, and finishes or undoes what a crash left there.
    pub fn open(&self, context: &SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(match &self.kind {
            SinkKind::Console(plan) => Box::new(plan.open(context.console.clone())),
            SinkKind::File(plan) => Box::new(plan.open(&context.query_id)?),
            SinkKind::Kafka(plan) => Box::new(plan.open()?),
            SinkKind::Sqlite(plan) => Box::new(plan.open(&context.query_id)?),
            SinkKind::Memory(plan) => Box::new(plan.open(&context.query_id, &context.tables)),
            SinkKind::Noop(plan) => Box::new(plan.open()),
        })
    }

    /// Takes batches back that have landed, and gives the number of files that went; `None` where the
    /// place is no directory of files. The query must not run.
    pub fn take_back(
        &self,
        query_id: &QueryId,
        is_wanted: &dyn Fn(BatchId) -> bool,
    ) -> Option<Result<usize, ConnectorError>> {
        match &self.kind {
            SinkKind::File(plan) => Some(plan.take_back(query_id, is_wanted)),
            _ => None,
        }
    }

    /// Opens the place for a handler's own statements; `None` where it takes none.
    pub fn open_sql(&self) -> Option<Result<Box<dyn SqlTarget>, ConnectorError>> {
        match &self.kind {
            SinkKind::Sqlite(plan) => {
                Some(plan.open_sql().map(|target| Box::new(target) as Box<dyn SqlTarget>))
            }
            _ => None,
        }
    }
}

/// A place that takes SQL statements. What they do has no guarantee beyond the place's own: a
/// batch that runs again runs them again.
pub trait SqlTarget: Send {
    /// Runs a statement once, or once for each row of `parameters` (then all or none), whose
    /// columns are bound by position. Gives the number of rows that it changed. Where it is
    /// abandoned, it ends within some milliseconds and has changed nothing.
    fn execute(
        &mut self,
        statement: &str,
        parameters: Option<&RecordBatch>,
        abandoned: &Abandoned,
    ) -> Result<u64, ConnectorError>;
}

fn no_format(place: String, format: &str, built: &[&str], later: &[&str]) -> ConfigError {
    let formats = format!("supported are {}", built.join(", "));
    if later.contains(&format) {
        return ConfigError::FormatNotSupportedYet {
            place,
            format: format.to_owned(),
            built: formats,
        };
    }
    let nearest = suggestion(format, built.iter().copied(), "formats");
    let nearest = if nearest.starts_with("did") { format!("{nearest} ") } else { String::new() };
    ConfigError::UnknownFormat { place, format: format.to_owned(), nearest, built: formats }
}
