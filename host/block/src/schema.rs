//! Schemas as the contract writes them: Spark's DDL.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidemill_types::{
    column_name, format_column_type, format_type, parse_plan_columns, parse_plan_type,
};

use crate::BlockError;

/// Bytes of a schema: a hundred for each of ten thousand columns.
const BYTES_MAX: usize = 1 << 20;

/// The columns in Spark's DDL: `id string NOT NULL, since interval day to hour`.
///
/// # Errors
/// A column is of a type that Spark has no word for.
pub fn write_schema(schema: &Schema) -> Result<String, BlockError> {
    let mut text = String::new();
    for field in schema.fields() {
        plain_type(field.data_type()).map_err(|_| {
            let name = field.name();
            let found = field.data_type();
            BlockError::new(format!(
                "column \"{name}\" is {found}, which does not cross; cast it to one of Spark's types"
            ))
        })?;
        let comma = if text.is_empty() { "" } else { ", " };
        let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
        let name = column_name(field.name());
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{name} {}{not_null}", format_column_type(field));
    }
    Ok(text)
}

/// The columns that a text in Spark's DDL names. An empty text names none.
///
/// # Errors
/// The text is no such list, or it is too long.
pub fn read_schema(text: &str) -> Result<SchemaRef, BlockError> {
    if text.len() > BYTES_MAX {
        let bytes = text.len();
        return Err(BlockError(format!("a schema of {bytes} bytes; the limit is {BYTES_MAX}")));
    }
    if text.trim().is_empty() {
        return Ok(Arc::new(Schema::empty()));
    }
    let fields = parse_plan_columns(text).map_err(|error| BlockError::new(error.to_string()))?;
    Ok(Arc::new(Schema::new(fields)))
}

/// The layout in which values of this type cross: views become plain texts, large offsets become small
/// ones, names in nested types are those of the DDL.
///
/// # Errors
/// Spark has no such type.
pub fn plain_type(data_type: &DataType) -> Result<DataType, BlockError> {
    let unknown = |_| BlockError::new(format!("values of the type {data_type} do not cross"));
    parse_plan_type(&format_type(data_type)).map_err(unknown)
}

/// Whether columns of the two types have the same nodes and buffers: names in nested types and whether
/// values may be null are left out, and so is the name of a time zone.
#[must_use]
pub fn same_layout(left: &DataType, right: &DataType) -> bool {
    use DataType as T;
    match (left, right) {
        (T::Timestamp(a, _), T::Timestamp(b, _)) => a == b,
        (T::List(a), T::List(b)) | (T::Map(a, _), T::Map(b, _)) => {
            same_layout(a.data_type(), b.data_type())
        }
        (T::Struct(a), T::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| same_layout(a.data_type(), b.data_type()))
        }
        (a, b) => a == b,
    }
}

/// Whether a column of type `found` can be read, or taken, as one of type `wanted`: the names of items and
/// entries, the zone of a time, and what may be null are left out. Members of a struct go by name and
/// place.
#[must_use]
pub fn fits(wanted: &DataType, found: &DataType) -> bool {
    use DataType as T;
    match (wanted, found) {
        (T::Timestamp(wanted, zone), T::Timestamp(found, other)) => {
            wanted == found && zone.is_some() == other.is_some()
        }
        (T::List(wanted), T::List(found)) => fits(wanted.data_type(), found.data_type()),
        (T::Map(wanted, _), T::Map(found, _)) => match (wanted.data_type(), found.data_type()) {
            (T::Struct(wanted), T::Struct(found)) => {
                wanted.len() == found.len()
                    && wanted
                        .iter()
                        .zip(found)
                        .all(|(wanted, found)| fits(wanted.data_type(), found.data_type()))
            }
            _ => false,
        },
        (T::Struct(wanted), T::Struct(found)) => {
            wanted.len() == found.len()
                && wanted.iter().zip(found).all(|(wanted, found)| {
                    wanted.name().eq_ignore_ascii_case(found.name())
                        && fits(wanted.data_type(), found.data_type())
                })
        }
        (wanted, found) => wanted == found,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_type_of_spark_is_written_and_read_as_it_is() {
        let text = "a string NOT NULL, b binary, c boolean, d tinyint, e smallint, f int, g bigint, \
             h float, i double, j decimal(10,2), k date, l timestamp, m timestamp_ntz, \
             n interval year to month, o interval day to second, p interval hour, q interval, \
             r void, s array<map<string,struct<`x y`:int,z:array<void>>>>, `odd ``name` int";
        let schema = read_schema(text).unwrap();
        assert_eq!(write_schema(&schema).unwrap(), text);
        assert!(!schema.field(0).is_nullable() && schema.field(1).is_nullable());
        assert_eq!(read_schema(" ").unwrap().fields().len(), 0);
        assert_eq!(write_schema(&Schema::empty()).unwrap(), "");
    }

    #[test]
    fn what_the_plan_has_beside_these_is_made_plain() {
        let key = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let plain = [(DataType::Utf8View, DataType::Utf8), (key, DataType::Utf8)];
        for (given, crosses) in plain {
            assert_eq!(plain_type(&given).unwrap(), crosses);
        }
        let told = plain_type(&DataType::UInt64).unwrap_err().to_string();
        assert_eq!(told, "values of the type UInt64 do not cross");
    }

    #[test]
    fn what_a_function_wants_is_compared_by_what_values_mean() {
        let kind =
            |text: &str| read_schema(&format!("c {text}")).unwrap().field(0).data_type().clone();
        let fit = |wanted: &str, found: &str| fits(&kind(wanted), &kind(found));
        assert!(fit("struct<a:int,b:int>", "struct<A:int,b:int>"));
        assert!(!fit("struct<a:int,b:int>", "struct<b:int,a:int>"));
        assert!(!fit("array<timestamp>", "array<timestamp_ntz>"));
        assert!(!fit("map<string,struct<a:int>>", "map<string,struct<b:int>>"));
        assert!(fit("map<string,array<struct<a:int>>>", "map<string,array<struct<a:int>>>"));
        let zone =
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("+00:00".into()));
        assert!(fits(&kind("timestamp"), &zone));
        // The parts of both are the same, whatever their members are called.
        assert!(same_layout(&kind("struct<a:int,b:int>"), &kind("struct<b:int,a:int>")));
    }

    #[test]
    fn a_text_that_is_no_schema_is_told() {
        let told = read_schema("a text").unwrap_err().to_string();
        assert!(told.contains("at character 3 there is \"text\""), "{told}");
        let told = read_schema(&"x".repeat(BYTES_MAX + 1)).unwrap_err().to_string();
        assert!(told.contains("the limit is 1048576"), "{told}");
        let wide: Vec<String> = (0..10_001).map(|n| format!("c{n} int")).collect();
        assert!(read_schema(&wide.join(", ")).unwrap_err().to_string().contains("10000 fields"));
    }
}
