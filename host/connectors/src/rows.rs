//! How rows are cut into record batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use tidemill_core::ConnectorError;

/// Rows of a record batch: enough to make vectorised work pay, few enough to stay in cache. Also
/// DataFusion's default.
pub(crate) const BATCH_ROWS: usize = 8_192;

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
