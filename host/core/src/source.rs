//! Where rows come from.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

use crate::ConnectorError;

/// What one micro-batch reads of one source: everything from `start` up to `end`.
///
/// The values belong to the source; the engine only keeps them in the log and shows them in
/// progress records. Together with `parts` they must be enough to read the very same rows again
/// after a crash.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SourceRange {
    /// Position before the range, as Spark shows it. `null` before the first.
    pub start: Value,
    /// Position after the range; the next one begins here.
    pub end: Value,
    /// What exactly is read, where `start` and `end` do not say it (a file source: its files).
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub parts: Value,
}

/// How a range is bounded when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadLimit {
    /// Up to the source's own limits (`maxFilesPerTrigger` and the like).
    Limited,
    /// Everything that is there; limits are ignored (trigger `once`, batch).
    Unlimited,
}

/// A replayable input. Reading the same range again gives the same rows in the same order.
///
/// ```text
///  restored position            next_range()             next_range()
///        |------------------------------|-----------------------|---> rows to come
///                   range N                  range N + 1
/// ```
///
/// The source keeps the position where the last range ended. [`Source::next_range`] gives a
/// range and moves it on; [`Source::advance`] moves it over a range that the log holds already.
pub trait Source: Send {
    /// How the source is named in progress records, like Spark's `FileStreamSource[…]`.
    fn description(&self) -> String;

    /// Schema of all columns that the source has; a reader gives a projection of them.
    fn schema(&self) -> SchemaRef;

    /// The next rows to read, or `None` when there is nothing new. Does not wait for rows.
    fn next_range(&mut self, bound: ReadLimit) -> Result<Option<SourceRange>, ConnectorError>;

    /// Fixes the end of the input as of now: ranges go no further from here on
    /// (trigger `available_now`).
    fn stop_at_present_end(&mut self) -> Result<(), ConnectorError>;

    /// Moves the position over a range from the log, which this run did not make.
    fn advance(&mut self, range: &SourceRange) -> Result<(), ConnectorError>;

    /// The position, for a snapshot. Enough for [`Source::restore`] in another process.
    fn position(&self) -> Value;

    /// Sets the position to one that [`Source::position`] gave.
    fn restore(&mut self, position: &Value) -> Result<(), ConnectorError>;

    /// What reads this source's ranges, from any thread.
    fn reader(&self) -> Arc<dyn RangeReader>;
}

/// One of `count` slices into which a range is cut to be read by several threads.
///
/// How rows are dealt to slices depends on the range and `count` alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    /// `0..count`.
    pub index: usize,
    /// At least 1. Fixed when the query is planned.
    pub count: usize,
}

/// Record batches of one slice, in a fixed order.
pub type RowStream = Box<dyn Iterator<Item = Result<RecordBatch, ConnectorError>> + Send>;

/// Reads ranges. Shared by the threads of a plan.
pub trait RangeReader: Send + Sync {
    /// The rows of one slice of `range`, in record batches of about 8,192 rows.
    ///
    /// `projection` holds indices into the source's schema, ascending; the record batches have
    /// just these columns. Only these have to be decoded.
    fn read(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
    ) -> Result<RowStream, ConnectorError>;
}
