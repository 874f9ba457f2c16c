//! A query as its front end hands it over: a job file today, a DataFrame API on the same terms.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_core::{Interval, OutputMode, PluginModule, RangeReader};

/// Everything that the plan depends on.
#[derive(Clone)]
pub struct QueryDefinition {
    /// Which rows of the result a batch gives.
    pub output_mode: OutputMode,
    /// Shards of each stateful operator.
    pub shuffle_partitions: u32,
    /// Slices into which each source's range is cut, read side by side.
    pub scan_partitions: usize,
    /// Tables at the leaves.
    pub sources: Vec<SourceTable>,
    /// Run in order; each names a table for the later ones. May be empty.
    pub steps: Vec<Step>,
    /// Table that the sink takes; `None`: the last step's, or the only source's.
    pub output: Option<String>,
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

/// Short for `from_json(value, schema)` and `data.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFormat {
    /// Columns of the JSON objects.
    pub schema: SchemaRef,
    /// Columns of the source that stay beside them.
    pub keep: Vec<String>,
    /// Spark's JSON options.
    pub options: BTreeMap<String, String>,
}

/// Spark's `withWatermark(column, delay)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkSpec {
    /// A TIMESTAMP column.
    pub column: String,
    /// How far behind the largest event time the watermark stays. Not negative.
    pub delay: Interval,
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
    /// The table as it is (a step that only sets a watermark).
    Same {
        /// The table.
        from: String,
    },
}
