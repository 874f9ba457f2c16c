//! Where rows come from.

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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

/// When an idle query asks a source again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskAgain {
    /// When the source calls its [`Wake`]; until then nothing can be new.
    WhenWoken,
    /// The source cannot tell, so the query looks now and then.
    NowAndThen,
    /// After so long; nothing can be new before.
    After(Duration),
    /// After so long: the place did not answer. Until it does, nobody knows whether the input is
    /// at its end.
    Unanswered(Duration),
}

/// Called by a source, from any thread, when rows may be there. More often than needed is fine.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

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

    /// The next rows to read, or `None` when there is nothing new. Does not wait for rows, but may
    /// wait for an answer of the place.
    fn next_range(&mut self, bound: ReadLimit) -> Result<Option<SourceRange>, ConnectorError>;

    /// Whether the next range, limited, would not be larger however long one waits for it: the
    /// limit is reached, or the input's end is fixed. Such a range may be read before its batch
    /// begins.
    fn is_next_settled(&self) -> bool {
        false
    }

    /// Fixes the end of the input as of now: ranges go no further from here on
    /// (trigger `available_now`). Every source has to be able to, so that no query has to fall back
    /// to a single batch, as Spark's do for a source that cannot.
    fn stop_at_present_end(&mut self) -> Result<(), ConnectorError>;

    /// Moves the position over a range from the log, which this run did not make.
    fn advance(&mut self, range: &SourceRange) -> Result<(), ConnectorError>;

    /// The position, for a snapshot. Enough for [`Source::restore`] in another process.
    fn position(&self) -> Value;

    /// Sets the position to one that [`Source::position`] gave.
    fn restore(&mut self, position: &Value) -> Result<(), ConnectorError>;

    /// What reads this source's ranges, from any thread.
    fn reader(&self) -> Arc<dyn RangeReader>;

    /// Gives the source what to call when rows may be there. Called once, before the first range.
    fn notify(&mut self, wake: Wake) {
        drop(wake);
    }

    /// Connects to the place, where there is one to connect to: what is wrong with it shows before
    /// a batch is made. Called once, before the first range.
    fn connect(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// When to ask again, after [`Source::next_range`] gave nothing.
    fn ask_again(&self) -> AskAgain {
        AskAgain::NowAndThen
    }

    /// Where the source's input ends as far as it knows, in the form of [`SourceRange::end`].
    /// `null` where it does not know more than what it gave out.
    fn latest(&self) -> Value {
        Value::Null
    }

    /// Further figures for the progress record of a batch that ended at `end`.
    fn metrics(&self, end: &Value) -> BTreeMap<String, String> {
        let _ = end;
        BTreeMap::new()
    }
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

/// Takes a column of texts or bytes apart while it is read, so that nobody has to keep it.
pub trait PayloadDecoder: Send {
    /// The columns that come out.
    fn schema(&self) -> SchemaRef;

    /// Takes the payload of the next row; `None` where it is null. Gives whether it is malformed.
    fn decode(&mut self, payload: Option<&[u8]>) -> Result<bool, ConnectorError>;

    /// The rows since the last call.
    fn finish(&mut self) -> RecordBatch;
}

/// Reads ranges. Shared by the threads of a plan.
pub trait RangeReader: Send + Sync {
    /// Whether reading may wait for others: a broker, or rows that are not there yet. What never
    /// does is read by the threads that compute.
    fn may_wait(&self) -> bool {
        true
    }

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

    /// As [`RangeReader::read`], with column number `payload` taken apart: the record batches
    /// have the decoder's columns, and after them those of `projection`.
    ///
    /// A source whose rows come one by one gives their bytes to the decoder without making an
    /// array of them.
    fn read_decoded(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
        payload: usize,
        decoder: Box<dyn PayloadDecoder>,
    ) -> Result<RowStream, ConnectorError> {
        read_then_decode(self, range, slice, projection, payload, decoder, Box::new(|_| {}))
    }
}

/// Called with the number of malformed payloads of a record batch.
pub type CountMalformed = Box<dyn Fn(u64) + Send>;

/// What [`RangeReader::read_decoded`] does where a source does not know better: reads a column and
/// takes it apart.
pub fn read_then_decode<R: RangeReader + ?Sized>(
    reader: &R,
    range: &SourceRange,
    slice: Slice,
    projection: &[usize],
    payload: usize,
    mut decoder: Box<dyn PayloadDecoder>,
    count_malformed: CountMalformed,
) -> Result<RowStream, ConnectorError> {
    let mut columns = projection.to_vec();
    columns.push(payload);
    columns.sort_unstable();
    columns.dedup();
    let place = |wanted: &usize| columns.iter().position(|column| column == wanted);
    let kept: Vec<usize> = projection.iter().filter_map(place).collect();
    let payload = place(&payload).unwrap_or_default();
    let rows = reader.read(range, slice, &columns)?;
    Ok(Box::new(rows.map(move |rows| {
        let rows = rows?;
        count_malformed(decode_array(rows.column(payload), decoder.as_mut())?);
        let kept = rows.project(&kept).map_err(misfit)?;
        beside(&decoder.finish(), &kept)
    })))
}

/// Reads a table that does not change while a query runs.
pub trait TableReader: Send + Sync {
    /// All rows, with these columns (indices into the table's schema, ascending).
    fn read(&self, projection: &[usize]) -> Result<RowStream, ConnectorError>;
}

/// The columns of both, which have the same rows.
pub fn beside(left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch, ConnectorError> {
    let (left_schema, right_schema) = (left.schema(), right.schema());
    let fields = left_schema.fields().iter().chain(right_schema.fields()).map(Arc::clone);
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let columns = left.columns().iter().chain(right.columns()).map(Arc::clone).collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(left.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &rows).map_err(misfit)
}

fn misfit(error: arrow::error::ArrowError) -> ConnectorError {
    ConnectorError::fatal("the rows that were read do not fit their columns").caused_by(error)
}

/// Gives how many payloads are malformed.
fn decode_array(
    payloads: &dyn Array,
    decoder: &mut dyn PayloadDecoder,
) -> Result<u64, ConnectorError> {
    let mut malformed = 0;
    let mut decode = |payload: Option<&[u8]>| {
        malformed += u64::from(decoder.decode(payload)?);
        Ok::<(), ConnectorError>(())
    };
    match payloads.data_type() {
        DataType::Utf8 => {
            payloads.as_string::<i32>().iter().try_for_each(|v| decode(v.map(str::as_bytes)))
        }
        DataType::LargeUtf8 => {
            payloads.as_string::<i64>().iter().try_for_each(|v| decode(v.map(str::as_bytes)))
        }
        DataType::Utf8View => {
            payloads.as_string_view().iter().try_for_each(|v| decode(v.map(str::as_bytes)))
        }
        DataType::Binary => payloads.as_binary::<i32>().iter().try_for_each(decode),
        DataType::LargeBinary => payloads.as_binary::<i64>().iter().try_for_each(decode),
        DataType::BinaryView => payloads.as_binary_view().iter().try_for_each(decode),
        other => Err(ConnectorError::fatal(format!(
            "a column of type {other} was to be decoded; it must hold strings or binaries"
        ))),
    }?;
    Ok(malformed)
}
