//! A query as its front end hands it over: a job file today, a DataFrame API on the same terms.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_core::{OutputMode, PluginModule, RangeReader, TableReader, WatermarkPolicy};
use tidemill_frontend::spec::TimeMode;
use tidemill_types::Interval;

/// Everything that the plan depends on.
#[derive(Clone)]
pub struct QueryDefinition {
    /// Which rows of the result a batch gives.
    pub output_mode: OutputMode,
    /// How several watermarks make the query's.
    pub watermark_policy: WatermarkPolicy,
    /// Shards of each stateful operator.
    pub shuffle_partitions: u32,
    /// Slices into which each source's range is cut, read side by side.
    pub scan_partitions: usize,
    /// The session's time zone, as Spark's `spark.sql.session.timeZone` names it.
    pub time_zone: String,
    /// Streaming tables at the leaves.
    pub sources: Vec<SourceTable>,
    /// Tables that stay as they are while the query runs.
    pub statics: Vec<StaticTable>,
    /// Run in order; each names a table for the later ones. May be empty.
    pub steps: Vec<Step>,
    /// Table that the sink takes; `None`: the last step's, or the only source's.
    pub output: Option<String>,
    /// Whether rows that are late become dead letters.
    pub keeps_late: bool,
    /// Whether rows with which an expression fails become dead letters.
    pub keeps_failing: bool,
    /// The plugins' present generations.
    pub plugins: Vec<Arc<dyn PluginModule>>,
}

/// A source as a table.
#[derive(Clone)]
pub struct SourceTable {
    /// Name in SQL, and in `BatchSpec::ranges`.
    pub name: String,
    /// What the source gives.
    pub schema: SchemaRef,
    /// Reads it.
    pub reader: Arc<dyn RangeReader>,
    /// How the column `value` is taken apart, if it is.
    pub value: Option<ValueFormat>,
    /// Event time.
    pub watermark: Option<WatermarkSpec>,
}

/// A table that a query joins with its streams. It is read when the first batch needs it, and kept for as long as the plan is.
#[derive(Clone)]
pub struct StaticTable {
    /// Name in SQL.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Reads it.
    pub reader: Arc<dyn TableReader>,
}

/// Short for `from_json(value, schema)` and `data.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFormat {
    /// Columns of the JSON objects.
    pub schema: SchemaRef,
    /// Columns of the source that stay beside them.
    pub keep: Vec<String>,
    /// Spark's JSON options.
    pub options: BTreeMap<String, String>,
    /// Whether a value that cannot be read makes a dead letter of its row.
    pub keeps_malformed: bool,
}

/// Spark's `withWatermark(column, delay)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkSpec {
    /// A TIMESTAMP column.
    pub column: String,
    /// How far behind the largest event time the watermark stays. Not negative.
    pub delay: Interval,
    /// How long its input may have no rows before it no longer holds the query's watermark back;
    /// `None`: it always does (as in Spark).
    pub idle: Option<Interval>,
}

/// One table made of earlier ones.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name of the table that it makes.
    pub name: String,
    /// What it does.
    pub kind: StepKind,
    /// Event time of the result.
    pub watermark: Option<WatermarkSpec>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// Spark SQL over the earlier tables.
    Sql(String),
    /// A plugin's transform over one table.
    Transform {
        /// The table.
        from: String,
        /// Name of the plugin.
        plugin: String,
        /// Name of the function.
        function: String,
    },
    /// A plugin's stateful function over one table (Spark's `transformWithState`).
    Stateful {
        /// The table.
        from: String,
        /// Name of the plugin.
        plugin: String,
        /// Name of the function.
        function: String,
        /// Columns whose values make a key.
        key: Vec<String>,
        /// By which time its timers are due.
        time_mode: TimeMode,
        /// A static table that its state begins with.
        initial_state: Option<String>,
    },
    /// Spark's `dropDuplicates`, or `dropDuplicatesWithinWatermark`.
    DropDuplicates {
        /// The table.
        from: String,
        /// Columns that make rows equal; empty: all.
        columns: Vec<String>,
        /// Whether a row is forgotten once the watermark has passed its event time by the delay.
        within_watermark: bool,
    },
    /// The table as it is (a step that only sets a watermark).
    Same {
        /// The table.
        from: String,
    },
}
