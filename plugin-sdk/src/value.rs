//! Rust types for the columns of a table.
//!
//! | Rust | SQL |
//! |---|---|
//! | `f64`, `f32` | DOUBLE, FLOAT |
//! | `i64`, `i32`, `i16`, `i8` | BIGINT, INT, SMALLINT, TINYINT |
//! | `bool` | BOOLEAN |
//! | `&str`, `String` | STRING |
//! | `&[u8]`, `Vec<u8>` | BINARY |
//! | [`Timestamp`] | TIMESTAMP |
//! | [`Date`] | DATE |
//! | `Option<…>` of these | the same, with nulls |

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder, Date32Array,
    Date32Builder, Float32Array, Float32Builder, Float64Array, Float64Builder, Int8Array,
    Int8Builder, Int16Array, Int16Builder, Int32Array, Int32Builder, Int64Array, Int64Builder,
    StringArray, StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, TimeUnit};

use crate::{Error, Result};

/// A point in time: microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Timestamp(pub i64);

/// A calendar day: days since 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Date(pub i32);

/// A Rust type that a column's values can be read as.
#[diagnostic::on_unimplemented(
    message = "a column cannot be read as `{Self}`",
    label = "not a column's type",
    note = "use f64, f32, i64, i32, i16, i8, bool, &str, String, &[u8], Vec<u8>, Timestamp, Date, \
            or an Option of one of these"
)]
pub trait FromColumn<'a>: Sized {
    /// The column itself.
    type Column: 'static;

    /// Whether the type has a place for nulls.
    const NULLABLE: bool;

    /// The column's type.
    fn data_type() -> DataType;

    /// The value in `row`. A null is the caller's business unless [`NULLABLE`](Self::NULLABLE).
    fn get(column: &'a Self::Column, row: usize) -> Self;
}

/// A Rust type that a column can be made of.
#[diagnostic::on_unimplemented(
    message = "a column cannot be made of `{Self}`",
    label = "not a column's type",
    note = "use f64, f32, i64, i32, i16, i8, bool, &str, String, &[u8], Vec<u8>, Timestamp, Date, \
            or an Option of one of these"
)]
pub trait IntoColumn: Sized {
    /// Collects the values.
    type Builder;

    /// Whether the type has a place for nulls.
    const NULLABLE: bool = false;

    /// The column's type.
    fn data_type() -> DataType;

    /// A builder for about `rows` values.
    fn builder(rows: usize) -> Self::Builder;

    /// Appends a value, or a null.
    fn append(builder: &mut Self::Builder, value: Option<&Self>);

    /// The finished column.
    fn finish(builder: Self::Builder) -> ArrayRef;

    /// A column of values that are all there.
    fn column(rows: usize, mut value: impl FnMut(usize) -> Self) -> ArrayRef {
        let mut builder = Self::builder(rows);
        for row in 0..rows {
            Self::append(&mut builder, Some(&value(row)));
        }
        Self::finish(builder)
    }
}

/// What a function written per row may return.
#[diagnostic::on_unimplemented(
    message = "a scalar function cannot return `{Self}`",
    label = "not a scalar's result",
    note = "return a column's type T (f64, i64, bool, String, …), Option<T>, Result<T> or Result<Option<T>>"
)]
pub trait ScalarResult {
    /// The type of the result column.
    type Value: IntoColumn;

    /// The value of one row.
    fn into_value(self) -> Result<Option<Self::Value>>;

    /// The column of results, where each call gives a value: nothing where it may give none.
    fn column(rows: usize, call: &mut impl FnMut(usize) -> Self) -> Option<ArrayRef>
    where
        Self: Sized,
    {
        let _ = (rows, call);
        None
    }
}

macro_rules! column_type {
    ($($rust:ty, $column:ty, $builder:ty, $data_type:expr,
        $new:expr, |$array:ident, $row:ident| $get:expr, |$value:ident| $put:expr
        $(, $all:ident)?;)*) => { $(
        impl<'a> FromColumn<'a> for $rust {
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

        into_column_type!([] $rust, $builder, $data_type, $new, |$value| $put $(, $all $column)?);
    )* };
}

macro_rules! into_column_type {
    ([$($life:lifetime)?] $rust:ty, $builder:ty, $data_type:expr, $new:expr,
        |$value:ident| $put:expr $(, in_place $column:ty)?) => {
        impl$(<$life>)? IntoColumn for $rust {
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

        impl$(<$life>)? ScalarResult for $rust {
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

impl<'a, T> FromColumn<'a> for Option<T>
where
    T: FromColumn<'a>,
    T::Column: Array,
{
    type Column = T::Column;
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        T::data_type()
    }

    #[inline]
    fn get(column: &'a T::Column, row: usize) -> Option<T> {
        if column.is_null(row) { None } else { Some(T::get(column, row)) }
    }
}

impl<T: IntoColumn> IntoColumn for Option<T> {
    type Builder = T::Builder;
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        T::data_type()
    }

    fn builder(rows: usize) -> T::Builder {
        T::builder(rows)
    }

    #[inline]
    fn append(builder: &mut T::Builder, value: Option<&Self>) {
        T::append(builder, value.and_then(Option::as_ref));
    }

    fn finish(builder: T::Builder) -> ArrayRef {
        T::finish(builder)
    }
}

impl<T: IntoColumn> ScalarResult for Option<T> {
    type Value = T;

    #[inline]
    fn into_value(self) -> Result<Option<T>> {
        Ok(self)
    }
}

impl<R: ScalarResult> ScalarResult for Result<R, Error> {
    type Value = R::Value;

    #[inline]
    fn into_value(self) -> Result<Option<R::Value>> {
        self.and_then(R::into_value)
    }
}
