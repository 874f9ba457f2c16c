//! Takes a JSON column apart while it is read: only the fields that the plan reads.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::plan_datafusion_err;
use datafusion::error::Result;
use tidemill_codec::{DecodeError, JsonDecoder, JsonOptions};
use tidemill_core::{ConnectorError, PayloadDecoder};
use tidemill_time::Zone;

use crate::definition::ValueFormat;

/// `from_json(value)`, and where the columns of the table come from.
pub(super) struct JsonValue {
    /// Column of the source that is decoded.
    pub(super) payload: usize,
    /// Columns of the source that are kept beside it, ascending.
    pub(super) kept: Vec<usize>,
    fields: SchemaRef,
    options: JsonOptions,
    /// For each column of the table: its place among the decoded and the kept ones.
    order: Vec<usize>,
}

impl JsonValue {
    /// `table` is the whole decoded table, `wanted` its columns that the plan reads.
    pub(super) fn try_new(
        source: &SchemaRef,
        value: &ValueFormat,
        (table, wanted): (&SchemaRef, &[usize]),
        session: Zone,
    ) -> Result<JsonValue> {
        let options = JsonOptions::parse(&value.options, session)
            .map_err(|error| plan_datafusion_err!("value: {error}"))?;
        let decoded = |column: &usize| value.schema.fields().get(*column);
        let fields: Vec<_> = wanted.iter().filter_map(decoded).map(Arc::clone).collect();
        let mut kept = Vec::new();
        for column in wanted.iter().filter(|column| decoded(column).is_none()) {
            kept.push(source.index_of(table.field(*column).name())?);
        }
        kept.sort_unstable();
        let mut order = Vec::new();
        let mut next_decoded = 0..;
        for column in wanted {
            order.extend(match decoded(column) {
                Some(_) => next_decoded.next(),
                None => {
                    let of_source = source.index_of(table.field(*column).name())?;
                    kept.iter().position(|kept| *kept == of_source).map(|i| fields.len() + i)
                }
            });
        }
        Ok(JsonValue {
            payload: source.index_of("value")?,
            kept,
            fields: Arc::new(Schema::new(fields)),
            options,
            order,
        })
    }

    pub(super) fn decoder(&self) -> Result<Box<dyn PayloadDecoder>, DecodeError> {
        let decoder = JsonDecoder::new(Arc::clone(&self.fields), self.options.clone())?;
        Ok(Box::new(JsonPayload(decoder)))
    }

    /// Rows as they were read, in the order of the table.
    pub(super) fn arrange(&self, schema: &SchemaRef, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.order.iter().map(|column| Arc::clone(rows.column(*column))).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}

impl fmt::Display for JsonValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&str> =
            self.fields.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "json[{}]", fields.join(", "))
    }
}

struct JsonPayload(JsonDecoder);

impl PayloadDecoder for JsonPayload {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema())
    }

    fn decode(&mut self, payload: Option<&[u8]>) -> Result<bool, ConnectorError> {
        self.0.decode_value(payload).map_err(|error| ConnectorError::fatal(error.to_string()))
    }

    fn finish(&mut self) -> RecordBatch {
        self.0.finish()
    }
}
