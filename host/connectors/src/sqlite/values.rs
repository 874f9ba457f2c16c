//! Columns as SQLite's values.

use arrow::array::{
    Array, AsArray, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use rusqlite::types::{ToSqlOutput, ValueRef};
use tidemill_codec::{EncodeOptions, to_json};
use tidemill_core::ConnectorError;
use tidemill_types::IntervalFields;

/// One column, in one of the types that SQLite has.
pub(super) enum Values {
    Integer(Int64Array),
    Real(Float64Array),
    Text(StringArray),
    /// JSON strings: what is between the quotes.
    Quoted(StringArray),
    Blob(BinaryArray),
    /// Nulls of no type, which take no room however many they are.
    Nulls,
}

impl Values {
    /// All columns of some rows.
    pub(super) fn of(rows: &RecordBatch) -> Result<Vec<Values>, ConnectorError> {
        rows.columns()
            .iter()
            .zip(rows.schema().fields())
            .map(|(column, field)| {
                Values::of_column(column, IntervalFields::of_column(field)).map_err(|error| {
                    ConnectorError::fatal(format!(
                        "column \"{}\" of type {} cannot be written to SQLite; cast it to STRING",
                        field.name(),
                        field.data_type()
                    ))
                    .caused_by(error)
                })
            })
            .collect()
    }

    fn of_column(
        column: &arrow::array::ArrayRef,
        intervals: IntervalFields,
    ) -> Result<Values, Box<dyn std::error::Error + Send + Sync>> {
        let keep_nulls = EncodeOptions { intervals, ..EncodeOptions::default() };
        Ok(match column.data_type() {
            DataType::Boolean => Values::integer(column)?,
            other if other.is_integer() => Values::integer(column)?,
            other if other.is_floating() => {
                let cast = cast(column, &DataType::Float64)?;
                Values::Real(cast.as_primitive::<Float64Type>().clone())
            }
            DataType::Null => Values::Nulls,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Values::Text(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => {
                Values::Blob(cast(column, &DataType::Binary)?.as_binary::<i32>().clone())
            }
            DataType::Date32
            | DataType::Date64
            | DataType::Timestamp(..)
            | DataType::Interval(_)
            | DataType::Duration(_) => Values::Quoted(to_json(column, &keep_nulls)?),
            DataType::Dictionary(_, value) => {
                return Values::of_column(&cast(column, value)?, intervals);
            }
            _ => Values::Text(to_json(column, &keep_nulls)?),
        })
    }

    fn integer(column: &arrow::array::ArrayRef) -> Result<Values, arrow::error::ArrowError> {
        Ok(Values::Integer(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone()))
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Values::Integer(values) => values.is_null(row),
            Values::Real(values) => values.is_null(row),
            Values::Text(values) | Values::Quoted(values) => values.is_null(row),
            Values::Blob(values) => values.is_null(row),
            Values::Nulls => true,
        }
    }

    pub(super) fn value(&self, row: usize) -> ToSqlOutput<'_> {
        let value = if self.is_null(row) {
            ValueRef::Null
        } else {
            match self {
                Values::Integer(values) => ValueRef::Integer(values.value(row)),
                Values::Real(values) if values.value(row).is_nan() => ValueRef::Text(b"NaN"),
                Values::Real(values) => ValueRef::Real(values.value(row)),
                Values::Text(values) => ValueRef::Text(values.value(row).as_bytes()),
                Values::Quoted(values) => {
                    ValueRef::Text(values.value(row).trim_matches('"').as_bytes())
                }
                Values::Blob(values) => ValueRef::Blob(values.value(row)),
                Values::Nulls => ValueRef::Null,
            }
        };
        ToSqlOutput::Borrowed(value)
    }
}
