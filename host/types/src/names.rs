//! What Spark calls the types of columns.

use std::fmt::Write as _;

use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema};

use crate::IntervalFields;

/// The time zone of Spark's TIMESTAMP, which is an instant and shown in UTC.
pub const UTC: &str = "UTC";

/// The type as it is written in SQL and in error messages: `ARRAY<STRING>`, `DECIMAL(10,2)`. A type
/// that Spark lacks is shown by Arrow's name for it.
#[must_use]
pub fn sql_name(data_type: &DataType) -> String {
    use DataType as T;
    match data_type {
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            format!("ARRAY<{}>", sql_name(item.data_type()))
        }
        T::Struct(fields) => {
            let member = |field: &arrow_schema::FieldRef| {
                format!("{}: {}", column_name(field.name()), sql_name(field.data_type()))
            };
            format!("STRUCT<{}>", fields.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(pair) if pair.len() == 2 => {
                format!("MAP<{}, {}>", sql_name(pair[0].data_type()), sql_name(pair[1].data_type()))
            }
            _ => data_type.to_string(),
        },
        T::Dictionary(_, value) => sql_name(value),
        plain => match format_type(plain) {
            name if name == plain.to_string() => name,
            name => name.to_ascii_uppercase(),
        },
    }
}

/// The schema as Spark prints it: `id string, y struct<z:int>`.
#[must_use]
pub fn format_schema(schema: &Schema) -> String {
    let columns = schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", column_name(field.name()), format_column_type(field)));
    columns.collect::<Vec<_>>().join(", ")
}

/// The type as Spark prints it: `array<struct<id:string,n:int>>`. A type that Spark lacks is
/// shown by Arrow's name for it. Intervals have all fields.
#[must_use]
pub fn format_type(data_type: &DataType) -> String {
    format_type_with(data_type, IntervalFields::default())
}

/// The type of a column, whose intervals have the fields that it says: `interval day to hour`.
#[must_use]
pub fn format_column_type(column: &Field) -> String {
    format_type_with(column.data_type(), IntervalFields::of_column(column))
}

/// The type as Spark prints it, with the fields of its intervals.
#[must_use]
pub fn format_type_with(data_type: &DataType, intervals: IntervalFields) -> String {
    use DataType as T;
    let name = match data_type {
        T::Null => "void",
        T::Boolean => "boolean",
        T::Int8 => "tinyint",
        T::Int16 | T::UInt8 => "smallint",
        T::Int32 | T::UInt16 => "int",
        T::Int64 | T::UInt32 => "bigint",
        T::Float32 => "float",
        T::Float64 => "double",
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "string",
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "binary",
        T::Date32 | T::Date64 => "date",
        T::Timestamp(_, Some(_)) => "timestamp",
        T::Timestamp(_, None) => "timestamp_ntz",
        T::Duration(_) => {
            return format!("interval {}", intervals.of_micros()).to_ascii_lowercase();
        }
        T::Interval(IntervalUnit::YearMonth) => {
            return format!("interval {}", intervals.of_months()).to_ascii_lowercase();
        }
        T::Interval(_) => "interval",
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
            return format!("decimal({p},{s})");
        }
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            return format!("array<{}>", format_type_with(item.data_type(), intervals));
        }
        T::Struct(fields) => return format!("struct<{}>", format_members(fields, intervals)),
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(pair) if pair.len() == 2 => {
                let (key, value) = (pair[0].data_type(), pair[1].data_type());
                let (key, value) =
                    (format_type_with(key, intervals), format_type_with(value, intervals));
                return format!("map<{key},{value}>");
            }
            _ => return data_type.to_string(),
        },
        T::Dictionary(_, value) => return format_type_with(value, intervals),
        _ => return data_type.to_string(),
    };
    name.to_owned()
}

fn format_members(fields: &Fields, intervals: IntervalFields) -> String {
    let mut text = String::new();
    for field in fields {
        let comma = if text.is_empty() { "" } else { "," };
        let (name, of) =
            (column_name(field.name()), format_type_with(field.data_type(), intervals));
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{name}:{of}");
    }
    text
}

/// The name of a column in DDL: between backticks where it needs them.
#[must_use]
pub fn column_name(name: &str) -> String {
    if !name.is_empty() && name.chars().all(is_name_char) {
        name.to_owned()
    } else {
        format!("`{}`", name.replace('`', "``"))
    }
}

pub(crate) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
