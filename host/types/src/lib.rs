//! Spark's types, once: what they are called, how a schema is written, which type is wide
//! enough for several, and which day a date is.
//!
//! A type of Spark is held as the Arrow type of its columns; this package knows what Spark calls
//! it. It stands below all others, on both sides of the plugin boundary, and depends on Arrow's
//! schemas alone.

#![warn(missing_docs)]

pub mod civil;
mod coercion;
mod ddl;
mod interval;
mod names;

pub use coercion::{
    BIGINT_DIGITS, DECIMAL_DIGITS_MAX, DECIMAL_SCALE_KEPT, INT_DIGITS, adjusted_decimal,
    decimal_of_whole, wider, wider_of,
};
pub use ddl::{
    DdlError, parse_columns, parse_plan_columns, parse_plan_type, parse_schema,
    parse_schema_or_type, parse_type, parse_type_with_fields,
};
pub use interval::{
    FieldRange, Interval, IntervalError, IntervalField, IntervalFields, Unread, WrittenInterval,
};
pub use names::{
    UTC, column_name, format_column_type, format_schema, format_type, format_type_with, sql_name,
};
