//! The job as the file has it. Only [`super::Job`] leaves this module's neighbourhood.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::environment::{OptionValue, Text};

/// A streaming query.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tidemill job")]
pub(super) struct RawJob {
    /// Name of the query. Default: the file's stem.
    pub name: Option<Text>,
    /// Directory of the checkpoint, relative to the job file. Default: `.tidemill/<name>`.
    pub checkpoint: Option<Text>,
    /// Which rows of the result each batch gives. Default: `append`.
    pub output_mode: Option<RawOutputMode>,
    /// When a batch starts. Default: as soon as the last one has ended.
    pub trigger: Option<RawTrigger>,
    /// Options of the engine.
    #[serde(default)]
    pub options: RawOptions,
    /// Streaming tables, by name.
    #[serde(default)]
    pub source: BTreeMap<String, RawSource>,
    /// Tables that streams are joined with, by name. Read when the first batch needs them, and kept
    /// until the query ends.
    #[serde(default, rename = "static")]
    pub statics: BTreeMap<String, RawSource>,
    /// Plugins, by name.
    #[serde(default)]
    pub plugin: BTreeMap<String, RawPlugin>,
    /// Steps, run in order; each names a table for the later ones.
    #[serde(default)]
    pub step: Vec<RawStep>,
    /// Where the result goes.
    pub sink: RawSink,
    /// Named places that foreach_batch handlers may write to.
    #[serde(default)]
    pub target: BTreeMap<String, RawTarget>,
    /// Where rows go that plugins refuse. Default: nowhere; a refused row fails its batch.
    pub dead_letters: Option<RawDeadLetters>,
}

/// Spark's output modes.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawOutputMode {
    /// Rows that will never change again.
    Append,
    /// Rows that changed in the batch.
    Update,
    /// The whole result.
    Complete,
}

/// Exactly one of these.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrigger {
    /// A batch every so often: `"10 seconds"`.
    pub processing_time: Option<Text>,
    /// Everything that is there at the start, then end.
    pub available_now: Option<bool>,
    /// One batch, then end.
    pub once: Option<bool>,
    /// Row by row, with a checkpoint every so often. Not supported yet.
    pub continuous: Option<Text>,
}

/// Options of the engine.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOptions {
    /// Shards of state. Fixed in the checkpoint once chosen. Default: 4.
    #[schemars(range(min = 1, max = 1024))]
    pub shuffle_partitions: Option<u32>,
    /// Slices into which each source's range is cut, to be read side by side. Fixed in the
    /// checkpoint once chosen, as the last digits of sums depend on it. Default: the processors.
    #[schemars(range(min = 1, max = 256))]
    pub scan_partitions: Option<usize>,
    /// The session's time zone, as Spark's `spark.sql.session.timeZone`: `Europe/Berlin`, `+02:00`.
    /// Times in texts without a zone are of it, and times are written as its clocks show them. Fixed in
    /// the checkpoint once chosen. Default: `UTC`.
    pub time_zone: Option<Text>,
    /// Whether a batch may run without rows, to emit and evict by a watermark that moved.
    /// Default: true.
    pub no_data_batches: Option<bool>,
    /// Which of several watermarks counts: `min` (default) or `max`. Fixed in the checkpoint.
    pub multiple_watermark_policy: Option<RawWatermarkPolicy>,
    /// Memory for the changes of one batch to the state. Default: `"256 MiB"`, or a quarter of
    /// `memory` if that is less.
    pub state_overlay_memory: Option<Text>,
    /// Memory for all that grows with data, of all queries of the process: `"4 GiB"`. Default: 60 %
    /// of what the machine, or the control group of the process, has beside 64 MiB.
    pub memory: Option<Text>,
    /// Directory for rows of handlers that do not fit into memory, relative to the job file.
    /// Default: `spill` in the checkpoint.
    pub spill_directory: Option<Text>,
    /// How often a batch whose failure may pass is tried again. Default: 3.
    pub retries: Option<u32>,
}

/// Which of several watermarks counts.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawWatermarkPolicy {
    /// The slowest.
    Min,
    /// The fastest.
    Max,
}

/// A streaming table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    /// `json`, `csv`, `parquet`, `text`, `rate`, `rate-micro-batch`, `kafka`; later
    /// `socket`.
    pub format: Text,
    /// Directory, file or glob of a file source, relative to the job file.
    pub path: Option<Text>,
    /// Columns in Spark's DDL: `"id STRING, at TIMESTAMP"`; or `"infer"`: those that the files have
    /// which are there at the first start.
    pub schema: Option<Text>,
    /// Spark's options, by Spark's names.
    #[serde(default)]
    pub options: BTreeMap<String, OptionValue>,
    /// Takes the column `value` apart.
    pub value: Option<RawValue>,
    /// Event time.
    pub watermark: Option<RawWatermark>,
}

/// Short for `from_json(value, schema)` and `data.*`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawValue {
    /// `json`.
    pub format: Text,
    /// Columns in Spark's DDL.
    pub schema: Text,
    /// Columns of the source that stay beside them.
    #[serde(default)]
    pub keep: Vec<Text>,
    /// Spark's JSON options.
    #[serde(default)]
    pub options: BTreeMap<String, OptionValue>,
    /// What becomes of a row whose value cannot be read. Default: `null`, a row of nulls, as Spark has it.
    #[serde(default)]
    pub on_error: RawOnError,
}

/// What becomes of a value that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawOnError {
    /// What the options say.
    #[default]
    Null,
    /// Its row is a dead letter.
    DeadLetter,
}

/// Spark's `withWatermark`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWatermark {
    /// A TIMESTAMP column.
    pub column: Text,
    /// How late rows may be: `"5 minutes"`.
    pub delay: Text,
    /// A source without rows for so long no longer holds the watermark back. Default: it always
    /// does.
    pub idle: Option<Text>,
}

/// A plugin.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPlugin {
    /// A core module with an embedded component type, or a component; relative to the job file.
    pub path: Text,
    /// Hot reload. Default: false under `tidemill run`, true with its `--watch`.
    pub watch: Option<bool>,
    /// Given to the plugin as JSON.
    #[serde(default)]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub config: toml::Table,
    /// What the plugin may use.
    #[serde(default)]
    pub limits: RawLimits,
    /// Targets that its foreach_batch handlers may reach. Default: none.
    #[serde(default)]
    pub targets: Vec<Text>,
    /// Keeps instances of its scalars and transforms over batches, with what they remember. Default: false.
    #[serde(default)]
    pub reuse: bool,
}

/// What a plugin may use.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    /// Memory of one instance. Default: `"256 MiB"`.
    pub memory: Option<Text>,
    /// Time of one call. Default: `"30 seconds"`.
    pub deadline: Option<Text>,
}

/// One table made of earlier ones: by `sql`, by a plugin's `function`, or by `drop_duplicates`; or
/// just a table with a `watermark`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    /// Name of the table that the step makes.
    pub name: Text,
    /// The table that a step without SQL reads. Default: the step before, or the only source.
    pub from: Option<Text>,
    /// Spark SQL over the earlier tables.
    pub sql: Option<Text>,
    /// Name of a plugin.
    pub plugin: Option<Text>,
    /// Name of the plugin's transform, or, with a `key`, of its stateful function.
    pub function: Option<Text>,
    /// Spark's dropDuplicates: the first row of each key passes.
    pub drop_duplicates: Option<RawDropDuplicates>,
    /// Event time of the result.
    pub watermark: Option<RawWatermark>,
    /// Of a stateful function: the columns whose values make a key.
    pub key: Option<Vec<Text>>,
    /// Of a stateful function: by which time its timers are due. Default: `none`.
    pub time_mode: Option<RawTimeMode>,
    /// Of a stateful function: the static table whose rows its state begins with.
    pub initial_state: Option<Text>,
}

/// Spark's time modes.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawTimeMode {
    /// No timers, and nothing is forgotten by itself.
    None,
    /// By the batch's time.
    ProcessingTime,
    /// By the watermark.
    EventTime,
}

/// Spark's dropDuplicates.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDropDuplicates {
    /// Columns that make rows equal. Default: all.
    #[serde(default)]
    pub columns: Vec<Text>,
    /// dropDuplicatesWithinWatermark.
    #[serde(default)]
    pub within_watermark: bool,
}

/// Where the result goes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSink {
    /// `console`, `kafka`, `json`, `parquet`, `sqlite`, `memory`, `noop`, `foreach_batch`; later
    /// `csv`, `postgres`, `elasticsearch`, `redis`.
    pub format: Text,
    /// The table. Default: the last step's.
    pub from: Option<Text>,
    /// Where a file sink writes, or a database file; relative to the job file.
    pub path: Option<Text>,
    /// Options of the format.
    #[serde(default)]
    pub options: BTreeMap<String, OptionValue>,
    /// Plugin of a `foreach_batch` sink.
    pub plugin: Option<Text>,
    /// Its handler.
    pub function: Option<Text>,
}

/// A named place.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTarget {
    /// As of a sink.
    pub format: Text,
    /// As of a sink.
    pub path: Option<Text>,
    /// Options of the format.
    #[serde(default)]
    pub options: BTreeMap<String, OptionValue>,
}

/// Where rows go that plugins refuse, and how many may.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDeadLetters {
    /// As of a sink. Default: `json`.
    pub format: Option<Text>,
    /// As of a sink: a directory of files, or a database file; relative to the job file.
    pub path: Option<Text>,
    /// Options of the format.
    #[serde(default)]
    pub options: BTreeMap<String, OptionValue>,
    /// So many in one batch; with more it fails. Default: 10000.
    #[schemars(range(min = 1))]
    pub max_rows: Option<u64>,
    /// Such a share of the rows that a batch reads, from 0 to 1; with more it fails. Default: any.
    #[schemars(range(min = 0, max = 1))]
    pub max_share: Option<f64>,
    /// What becomes of rows that are late by an operator's watermark. Default: `drop`.
    #[serde(default)]
    pub late_rows: RawLateRows,
    /// What becomes of a batch when a scalar or a transform panics or traps. Default: `fail`.
    #[serde(default)]
    pub on_trap: RawIsolates,
    /// What becomes of a batch when an expression of a step fails: a cast, an overflow, a division by zero.
    /// Default: `fail`.
    #[serde(default)]
    pub on_error: RawIsolates,
}

/// What becomes of late rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawLateRows {
    /// They are counted.
    #[default]
    Drop,
    /// They are dead letters.
    DeadLetter,
}

/// What becomes of a batch that some of its rows would end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawIsolates {
    /// It fails.
    #[default]
    Fail,
    /// The rows are looked for, and are dead letters.
    Isolate,
}
