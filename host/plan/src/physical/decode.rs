//! Takes a JSON column apart while it is read: only the fields that the plan reads, unless rows that cannot be
//! read are kept, as what is malformed must not depend on who reads what.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{plan_datafusion_err, plan_err};
use datafusion::error::Result;
use tidemill_codec::{DecodeError, JsonDecoder, JsonOptions, ParseMode};
use tidemill_core::{ConnectorError, PayloadDecoder, RefusedRow};
use tidemill_time::Zone;

use crate::definition::ValueFormat;
use crate::letters::Refusals;

/// `from_json(value)`, and where the columns of the table come from.
pub(super) struct JsonValue {
    /// Column of the source that is decoded.
    pub(super) payload: usize,
    /// Columns of the source that are kept beside it, ascending.
    pub(super) kept: Vec<usize>,
    fields: SchemaRef,
    options: JsonOptions,
    /// For each column of the table, and then of what a dead letter has: its place among the decoded and the
    /// kept ones.
    order: Vec<usize>,
    /// Whether rows whose value cannot be read become dead letters.
    keeps_malformed: bool,
}

/// The column of a value that cannot be read. No name of a user's is so.
const MALFORMED: &str = "\u{1}malformed";

/// Spark's option that names such a column.
const CORRUPT_COLUMN: &str = "columnNameOfCorruptRecord";

/// Columns of a source that say where a record is, of those that have them.
const POSITION: [&str; 3] = ["topic", "partition", "offset"];

impl JsonValue {
    /// `table` is the whole decoded table, `wanted` its columns that the plan reads.
    pub(super) fn try_new(
        source: &SchemaRef,
        value: &ValueFormat,
        (table, wanted): (&SchemaRef, &[usize]),
        session: Zone,
    ) -> Result<JsonValue> {
        let mut options = JsonOptions::parse(&value.options, session)
            .map_err(|error| plan_datafusion_err!("value: {error}"))?;
        let decoded = |column: &usize| value.schema.fields().get(*column);
        let mut fields: Vec<_> = match value.keeps_malformed {
            true => value.schema.fields().to_vec(),
            false => wanted.iter().filter_map(decoded).map(Arc::clone).collect(),
        };
        if value.keeps_malformed {
            let names_column = |key: &String| key.eq_ignore_ascii_case(CORRUPT_COLUMN);
            if value.options.keys().any(names_column) {
                return plan_err!(
                    "value: with `on_error = \"dead_letter\"` no row has a value for `{CORRUPT_COLUMN}`; leave one of \
                     them out"
                );
            }
            if options.mode != ParseMode::Permissive {
                return plan_err!(
                    "value: `on_error = \"dead_letter\"` and `mode` say two things of what cannot be read; \
                     leave one of them out"
                );
            }
            options.corrupt_column = MALFORMED.to_owned();
            fields.push(Arc::new(Field::new(MALFORMED, DataType::Utf8, true)));
        }
        let mut kept = Vec::new();
        for column in wanted.iter().filter(|column| decoded(column).is_none()) {
            kept.push(source.index_of(table.field(*column).name())?);
        }
        let position: Vec<usize> = match value.keeps_malformed {
            true => POSITION.iter().filter_map(|name| source.index_of(name).ok()).collect(),
            false => Vec::new(),
        };
        kept.extend(&position);
        kept.sort_unstable();
        kept.dedup();
        let place_of = |column: usize| {
            kept.iter().position(|kept| *kept == column).map(|place| fields.len() + place)
        };
        let mut order = Vec::new();
        let mut next_decoded = 0..;
        for column in wanted {
            order.extend(match decoded(column) {
                Some(_) if value.keeps_malformed => Some(*column),
                Some(_) => next_decoded.next(),
                None => place_of(source.index_of(table.field(*column).name())?),
            });
        }
        if value.keeps_malformed {
            order.push(fields.len() - 1);
            order.extend(position.into_iter().filter_map(place_of));
        }
        Ok(JsonValue {
            payload: source.index_of("value")?,
            kept,
            fields: Arc::new(Schema::new(fields)),
            options,
            order,
            keeps_malformed: value.keeps_malformed,
        })
    }

    /// The columns as they are read, where the plan reads those of `schema`: after them what a dead letter has.
    pub(super) fn read_schema(&self, source: &Schema, schema: &SchemaRef) -> Result<SchemaRef> {
        if !self.keeps_malformed {
            return Ok(Arc::clone(schema));
        }
        let mut fields = schema.fields().to_vec();
        fields.push(Arc::new(Field::new(MALFORMED, DataType::Utf8, true)));
        for name in POSITION {
            fields.extend(source.fields().find(name).map(|(_, field)| Arc::clone(field)));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    pub(super) fn keeps_malformed(&self) -> bool {
        self.keeps_malformed
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

/// Takes rows whose value cannot be read out of a block as it was read: gives the others, of the columns that
/// the plan reads. `refusals` takes those that leave, with where they were; `None`: another scan of the source
/// does.
pub(super) fn without_malformed(
    rows: &RecordBatch,
    schema: &SchemaRef,
    refusals: Option<&mut Refusals>,
) -> Result<RecordBatch> {
    let width = schema.fields().len();
    let wanted = rows.project(&(0..width).collect::<Vec<_>>())?;
    let malformed = rows.column(width);
    if malformed.null_count() == malformed.len() {
        return Ok(wanted);
    }
    let is_fine: BooleanArray =
        (0..malformed.len()).map(|row| Some(malformed.is_null(row))).collect();
    if let Some(refusals) = refusals {
        let places = (0..malformed.len()).filter(|row| malformed.is_valid(*row));
        let places = UInt32Array::from_iter_values(places.map(|row| row as u32));
        let left = take_record_batch(rows, &places)?;
        let fields = left.schema();
        let named = fields.fields().iter().skip(width).map(|field| match field.name().as_str() {
            MALFORMED => field.as_ref().clone().with_name("value"),
            _ => field.as_ref().clone(),
        });
        let named = Arc::new(Schema::new(named.collect::<Vec<_>>()));
        let left = RecordBatch::try_new(named, left.columns()[width..].to_vec())?;
        let reason = "its value is no JSON object with the columns of the schema";
        let refused = (0..left.num_rows() as u32)
            .map(|row| RefusedRow { row, reason: reason.to_owned() })
            .collect();
        refusals.take(&left, refused)?;
    }
    Ok(filter_record_batch(&wanted, &is_fine)?)
}

impl fmt::Display for JsonValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&str> =
            self.fields.fields().iter().map(|field| field.name().as_str()).collect();
        let fields: Vec<&str> = fields.into_iter().filter(|name| *name != MALFORMED).collect();
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
