//! Record batches: how many rows they have, and columns in the types that are wanted.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use tidemill_core::ConnectorError;
use tidemill_types::UTC;

/// Rows of a record batch: enough to make vectorised work pay, few enough to stay in cache. Also
/// DataFusion's default.
pub(crate) const BATCH_ROWS: usize = 8_192;

/// Texts or payloads that go into one record batch: large rows make short record batches.
pub(crate) const BATCH_BYTES_MAX: usize = 4 << 20;

/// A record batch that keeps its rows even where no column is asked for (`count(*)`).
pub(crate) fn record_batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ConnectorError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|error| {
        ConnectorError::fatal("the columns that were read do not fit the schema").caused_by(error)
    })
}

/// A column as another type; what is no value of it is null, or an error where `exact` is set.
pub(crate) fn cast_column(
    column: &dyn Array,
    wanted: &DataType,
    exact: bool,
) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions { safe: !exact, ..CastOptions::default() };
    match wanted {
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == UTC => {
            // Arrow knows zones by their offset alone here.
            let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
            let cast = cast_with_options(column, &instant, &options)?;
            let micros = cast.as_primitive::<TimestampMicrosecondType>().clone();
            Ok(Arc::new(micros.with_timezone(UTC)))
        }
        _ => cast_with_options(column, wanted, &options),
    }
}
