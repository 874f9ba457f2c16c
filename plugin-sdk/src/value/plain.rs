//! Types whose values are one after the other in a column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder, Date32Array, Date32Builder,
    Float32Array, Float32Builder, Float64Array, Float64Builder, Int8Array, Int8Builder, Int16Array,
    Int16Builder, Int32Array, Int32Builder, Int64Array, Int64Builder, StringArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, TimeUnit};

use crate::Result;
use crate::value::{FromColumn, IntoColumn, ScalarResult};

/// A point in time: microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Timestamp(pub i64);

/// A time on a calendar and a clock, wherever they are: microseconds since 1970-01-01 00:00.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct LocalTimestamp(pub i64);

/// A calendar day: days since 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Date(pub i32);

/// Both ways between a type and a column.
macro_rules! column_type {
    ($($({$($parameters:tt)*})? $rust:ty, $column:ty, $builder:ty, $data_type:expr,
        $new:expr, |$array:ident, $row:ident| $get:expr, |$value:ident| $put:expr
        $(, $all:ident)?;)*) => { $(
        impl<'a$(, $($parameters)*)?> FromColumn<'a> for $rust {
            type Column = $column;
            const NULLABLE: bool = false;

            fn data_type() -> DataType {
                $data_type
            }

            #[inline]
            fn get($array: &'a $column, $row: usize) -> Self {
                $get
            }
        }

        into_column_type!([$($($parameters)*)?] $rust, $builder, $data_type, $new, |$value| $put $(, $all $column)?);
    )* };
}

/// The way from values to a column, and the result of a scalar. `in_place` names the array of a type that
/// the values can be written into as they are.
macro_rules! into_column_type {
    ([$($parameters:tt)*] $rust:ty, $builder:ty, $data_type:expr, $new:expr,
        |$value:ident| $put:expr $(, in_place $column:ty)?) => {
        impl<$($parameters)*> IntoColumn for $rust {
            type Builder = $builder;

            fn data_type() -> DataType {
                $data_type
            }

            fn builder(rows: usize) -> $builder {
                let new: fn(usize) -> $builder = $new;
                new(rows)
            }

            #[inline]
            fn append(builder: &mut $builder, value: Option<&Self>) {
                builder.append_option(value.map(|$value| $put));
            }

            fn finish(mut builder: $builder) -> ArrayRef {
                Arc::new(builder.finish())
            }

            $(
                // Straight into the column's buffer, by a loop that the compiler can vectorise.
                fn column(rows: usize, mut value: impl FnMut(usize) -> Self) -> ArrayRef {
                    let values = (0..rows).map(|row| {
                        let $value = &value(row);
                        $put
                    });
                    let column = <$column>::from_iter_values(values);
                    Arc::new(column.with_data_type($data_type))
                }
            )?
        }

        impl<$($parameters)*> ScalarResult for $rust {
            type Value = $rust;

            #[inline]
            fn into_value(self) -> Result<Option<$rust>> {
                Ok(Some(self))
            }

            fn column(rows: usize, call: &mut impl FnMut(usize) -> Self) -> Option<ArrayRef> {
                Some(<$rust as IntoColumn>::column(rows, call))
            }
        }
    };
}

pub(super) use {column_type, into_column_type};

/// Bytes that a text takes on average, to size the buffers with. A guess: growing costs a copy.
const TEXT_BYTES: usize = 16;

column_type! {
    f64, Float64Array, Float64Builder, DataType::Float64,
        Float64Builder::with_capacity, |array, row| array.value(row), |value| *value, in_place;
    f32, Float32Array, Float32Builder, DataType::Float32,
        Float32Builder::with_capacity, |array, row| array.value(row), |value| *value, in_place;
    i64, Int64Array, Int64Builder, DataType::Int64,
        Int64Builder::with_capacity, |array, row| array.value(row), |value| *value, in_place;
    i32, Int32Array, Int32Builder, DataType::Int32,
        Int32Builder::with_capacity, |array, row| array.value(row), |value| *value, in_place;
    i16, Int16Array, Int16Builder, DataType::Int16,
        Int16Builder::with_capacity, |array, row| array.value(row), |value| *value, in_place;
    i8, Int8Array, Int8Builder, DataType::Int8,
        Int8Builder::with_capacity, |array, row| array.value(row), |value| *value, in_place;
    bool, BooleanArray, BooleanBuilder, DataType::Boolean,
        BooleanBuilder::with_capacity, |array, row| array.value(row), |value| *value;
    String, StringArray, StringBuilder, DataType::Utf8,
        |rows| StringBuilder::with_capacity(rows, rows * TEXT_BYTES),
        |array, row| array.value(row).to_owned(), |value| value;
    Vec<u8>, BinaryArray, BinaryBuilder, DataType::Binary,
        |rows| BinaryBuilder::with_capacity(rows, rows * TEXT_BYTES),
        |array, row| array.value(row).to_vec(), |value| value;
    Date, Date32Array, Date32Builder, DataType::Date32,
        Date32Builder::with_capacity, |array, row| Date(array.value(row)), |value| value.0, in_place;
    Timestamp, TimestampMicrosecondArray, TimestampMicrosecondBuilder, timestamp_type(),
        |rows| TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(timestamp_type()),
        |array, row| Timestamp(array.value(row)), |value| value.0, in_place;
    LocalTimestamp, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
        DataType::Timestamp(TimeUnit::Microsecond, None),
        TimestampMicrosecondBuilder::with_capacity,
        |array, row| LocalTimestamp(array.value(row)), |value| value.0, in_place;
}

into_column_type!(
    ['a] &'a str,
    StringBuilder,
    DataType::Utf8,
    |rows| StringBuilder::with_capacity(rows, rows * TEXT_BYTES),
    |value| *value
);
into_column_type!(
    ['a] &'a [u8],
    BinaryBuilder,
    DataType::Binary,
    |rows| BinaryBuilder::with_capacity(rows, rows * TEXT_BYTES),
    |value| *value
);

/// TIMESTAMP: microseconds, in UTC.
fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl<'a> FromColumn<'a> for &'a str {
    type Column = StringArray;
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        DataType::Utf8
    }

    #[inline]
    fn get(column: &'a StringArray, row: usize) -> &'a str {
        column.value(row)
    }
}

impl<'a> FromColumn<'a> for &'a [u8] {
    type Column = BinaryArray;
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        DataType::Binary
    }

    #[inline]
    fn get(column: &'a BinaryArray, row: usize) -> &'a [u8] {
        column.value(row)
    }
}
