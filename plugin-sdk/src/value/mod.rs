//! Rust types for the columns of a table.
//!
//! | Rust | SQL |
//! |---|---|
//! | `f64`, `f32` | DOUBLE, FLOAT |
//! | `i64`, `i32`, `i16`, `i8` | BIGINT, INT, SMALLINT, TINYINT |
//! | [`Decimal<P, S>`](Decimal) | DECIMAL(P, S) |
//! | `bool` | BOOLEAN |
//! | `&str`, `String` | STRING |
//! | `&[u8]`, `Vec<u8>` | BINARY |
//! | [`Date`] | DATE |
//! | [`Timestamp`], [`LocalTimestamp`] | TIMESTAMP, TIMESTAMP_NTZ |
//! | [`YearMonthInterval`], [`DayTimeInterval`] | INTERVAL YEAR TO MONTH, INTERVAL DAY TO SECOND |
//! | `Vec<T>`, and `&[f64]`, `&[f32]`, `&[i64]`, `&[i32]` for an argument | ARRAY |
//! | `BTreeMap<K, V>`, `HashMap<K, V>` | MAP |
//! | a struct with `#[derive(Row)]` | STRUCT |
//! | `Option<…>` of these | the same, with nulls |
//!
//! An array with nulls among its items is a `Vec<Option<T>>`; so it is with the values of a map, and the
//! fields of a struct.

mod decimal;
mod interval;
pub(crate) mod nested;
mod plain;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use crate::{Error, Result};

pub use decimal::Decimal;
pub use interval::{DayTimeInterval, YearMonthInterval};
pub use plain::{Date, LocalTimestamp, Timestamp};

/// A Rust type that a column's values can be read as.
#[diagnostic::on_unimplemented(
    message = "a column cannot be read as `{Self}`",
    label = "not a column's type",
    note = "use a type of the table in tidemill_plugin's `value`: f64, i64, bool, &str, String, Vec<u8>, \
            Timestamp, Date, Decimal<10, 2>, …, a Vec or BTreeMap of them, a struct with \
            #[derive(Row)], or an Option of one of these"
)]
pub trait FromColumn<'a>: Sized {
    /// The column itself.
    type Column: Array + 'static;

    /// Whether the type has a place for nulls.
    const NULLABLE: bool;

    /// The column's type.
    fn data_type() -> DataType;

    /// The value in `row`. A null is the caller's business unless [`NULLABLE`](Self::NULLABLE).
    fn get(column: &'a Self::Column, row: usize) -> Self;

    /// Whether there is a place for each null within the values, as in a list. Not for the values that
    /// are null themselves.
    fn takes(column: &'a Self::Column) -> bool {
        let _ = column;
        true
    }
}

/// A Rust type that a column can be made of.
#[diagnostic::on_unimplemented(
    message = "a column cannot be made of `{Self}`",
    label = "not a column's type",
    note = "use a type of the table in tidemill_plugin's `value`: f64, i64, bool, &str, String, Vec<u8>, \
            Timestamp, Date, Decimal<10, 2>, …, a Vec or BTreeMap of them, a struct with \
            #[derive(Row)], or an Option of one of these"
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

impl<'a, T> FromColumn<'a> for Option<T>
where
    T: FromColumn<'a>,
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

    fn takes(column: &'a T::Column) -> bool {
        T::takes(column)
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
