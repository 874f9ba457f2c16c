//! Values of a file as the schema wants them.
//!
//! Columns and fields of structs go by name, in any case, at every depth; what the file lacks is
//! null. A value keeps its meaning or is refused: what may be read as what is Spark's table
//! (`ParquetVectorUpdaterFactory`), without the entries that would wrap a number around or give a
//! decimal's digits for its value.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, ListArray, MapArray, StringArray, StringBuilder,
    StructArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit, TimestampMicrosecondType};
use tidemill_core::ConnectorError;
use tidemill_types::{BIGINT_DIGITS, INT_DIGITS, format_type};

use super::super::parts::FilePart;
use crate::malformed::{Place, Tally};
use crate::rows::cast_column;

/// The zone of a timestamp that is an INT96 in the file. Arrow has no type that would say so.
pub(super) const INT96_ZONE: &str = "INT96";

/// Where a column with this name is.
///
/// # Errors
/// It is there twice, in other cases: which one is meant nobody can know.
pub(super) fn find(
    fields: &Fields,
    name: &str,
    part: &FilePart,
) -> Result<Option<usize>, ConnectorError> {
    let lower = name.to_lowercase();
    let is_it = |field: &Field| field.name().to_lowercase() == lower;
    let mut found = fields.iter().enumerate().filter(|(_, field)| is_it(field));
    let first = found.next();
    match (first, found.next()) {
        (Some((_, first)), Some((_, second))) => Err(ConnectorError::fatal(format!(
            "the file {} has the columns \"{}\" and \"{}\", and \"{name}\" may be either, since names count in any case; rename one of them",
            part.path,
            first.name(),
            second.name()
        ))),
        (first, _) => Ok(first.map(|(index, _)| index)),
    }
}

/// Fits the columns of one record batch.
pub(super) struct Fit<'a> {
    part: &'a FilePart,
    /// Names from the root to the value at hand.
    path: Vec<String>,
    /// Texts that were no UTF-8.
    replaced: u64,
}

impl Fit<'_> {
    pub(super) fn new(part: &FilePart) -> Fit<'_> {
        Fit { part, path: Vec::new(), replaced: 0 }
    }

    pub(super) fn tell(&self, tally: &Tally) {
        tally.add(self.replaced, || Place::File(self.part.path.clone()));
    }

    /// The fields that are wanted of some columns beside one another.
    pub(super) fn children(
        &mut self,
        found: &Fields,
        columns: &[ArrayRef],
        wanted: &Fields,
        rows: usize,
    ) -> Result<Vec<ArrayRef>, ConnectorError> {
        let child = |field: &Arc<Field>| {
            let Some(index) = find(found, field.name(), self.part)? else {
                return Ok(new_null_array(field.data_type(), rows));
            };
            self.path.push(field.name().clone());
            let column = self.column(&columns[index], field.data_type())?;
            self.path.pop();
            Ok(column)
        };
        wanted.iter().map(child).collect()
    }

    fn column(&mut self, column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ConnectorError> {
        let nulls = column.nulls().cloned();
        let made = match (column.data_type(), wanted) {
            (DataType::Struct(found), DataType::Struct(fields)) => {
                let rows = column.as_struct();
                let columns = self.children(found, rows.columns(), fields, rows.len())?;
                StructArray::try_new_with_length(fields.clone(), columns, nulls, rows.len())
                    .map(|rows| Arc::new(rows) as ArrayRef)
            }
            (DataType::List(_), DataType::List(item)) => {
                let lists = column.as_list::<i32>();
                let values = self.column(lists.values(), item.data_type())?;
                ListArray::try_new(Arc::clone(item), lists.offsets().clone(), values, nulls)
                    .map(|lists| Arc::new(lists) as ArrayRef)
            }
            (DataType::Map(..), DataType::Map(entries, sorted)) => {
                let maps = column.as_map();
                let DataType::Struct(pair) = entries.data_type() else {
                    return Err(self.refused(column.data_type(), wanted));
                };
                let key = self.column(maps.keys(), pair[0].data_type())?;
                let value = self.column(maps.values(), pair[1].data_type())?;
                let offsets = maps.offsets().clone();
                StructArray::try_new(pair.clone(), vec![key, value], None)
                    .and_then(|pairs| {
                        MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, *sorted)
                    })
                    .map(|maps| Arc::new(maps) as ArrayRef)
            }
            (found, wanted) if may_be_read(found, wanted) => self.leaf(column, wanted),
            (found, wanted) => return Err(self.refused(found, wanted)),
        };
        made.map_err(|error| {
            let found = spark_name(column.data_type());
            self.failed(format!(
                "has values of the type {found} that are none of the type {}",
                format_type(wanted)
            ))
            .caused_by(error)
        })
    }

    /// A value without parts, which may be read as this type.
    fn leaf(
        &mut self,
        column: &ArrayRef,
        wanted: &DataType,
    ) -> Result<ArrayRef, arrow::error::ArrowError> {
        match (column.data_type(), wanted) {
            (found, wanted) if found == wanted => Ok(Arc::clone(column)),
            (DataType::Null, wanted) => Ok(new_null_array(wanted, column.len())),
            (DataType::Binary, DataType::Utf8) => Ok(self.text(column.as_binary())),
            (DataType::Timestamp(TimeUnit::Microsecond, _), DataType::Timestamp(_, zone)) => {
                let micros = column.as_primitive::<TimestampMicrosecondType>().clone();
                Ok(Arc::new(micros.with_timezone_opt(zone.clone())))
            }
            (_, wanted) => cast_column(column, wanted, true),
        }
    }

    /// Bytes as text; those that are no UTF-8 are replaced, and counted.
    fn text(&mut self, bytes: &BinaryArray) -> ArrayRef {
        if let Ok(text) = StringArray::try_from_binary(bytes.clone()) {
            return Arc::new(text);
        }
        let mut text = StringBuilder::with_capacity(bytes.len(), bytes.value_data().len());
        for value in bytes {
            let value = value.map(String::from_utf8_lossy);
            self.replaced += u64::from(matches!(value, Some(std::borrow::Cow::Owned(_))));
            text.append_option(value);
        }
        Arc::new(text.finish())
    }

    fn refused(&self, found: &DataType, wanted: &DataType) -> ConnectorError {
        let (found, wanted) = (spark_name(found), format_type(wanted));
        self.failed(format!(
            "has the type {found} and cannot be read as {wanted}, which Spark refuses too (PARQUET_COLUMN_DATA_TYPE_MISMATCH); read it as {found}, and CAST it in a step"
        ))
    }

    fn failed(&self, what: String) -> ConnectorError {
        let (column, file) = (self.path.join("."), &self.part.path);
        ConnectorError::fatal(format!("column \"{column}\" of the file {file} {what}"))
    }
}

/// The type as a schema would name it.
fn spark_name(found: &DataType) -> String {
    match found {
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == INT96_ZONE => {
            "timestamp".to_owned()
        }
        // Texts and bytes are one to the reader, and text is what nearly all of them are.
        DataType::Binary => "string or binary".to_owned(),
        found => format_type(&super::spark_type(found)),
    }
}

fn may_be_read(found: &DataType, wanted: &DataType) -> bool {
    use DataType::{
        Binary, Date32, Decimal128, FixedSizeBinary, Float16, Float32, Float64, Int8, Int16, Int32,
        Int64, Null, Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8,
    };
    let whole_digits = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    match (found, wanted) {
        (Null, _) => !wanted.is_nested(),
        (Timestamp(_, zone), Int64) => zone.as_deref() != Some(INT96_ZONE),
        (Timestamp(..), Timestamp(..)) | (Binary, Utf8) | (FixedSizeBinary(_), Binary) => true,
        (Int8 | Int16 | Int32 | UInt8 | UInt16, Int8 | Int16 | Int32 | Int64 | Float64) => true,
        (Int32, Date32) | (Date32, Int32 | Int64 | Timestamp(_, None)) => true,
        (UInt32, Int64 | Float64) | (Float16 | Float32, Float32 | Float64) => true,
        (UInt64, Decimal128(20, 0)) => true,
        (Int8 | Int16 | Int32, Decimal128(precision, scale)) => {
            whole_digits(*precision, *scale) >= i16::from(INT_DIGITS)
        }
        (Int64, Decimal128(precision, scale)) => {
            whole_digits(*precision, *scale) >= i16::from(BIGINT_DIGITS)
        }
        (Decimal128(of_file, its_scale), Decimal128(precision, scale)) => {
            let more_scale = i16::from(*scale) - i16::from(*its_scale);
            let more_digits = i16::from(*precision) - i16::from(*of_file);
            more_scale >= 0 && more_digits >= more_scale
        }
        (found, wanted) => found == wanted && !found.is_nested(),
    }
}
