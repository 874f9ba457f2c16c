//! Columns made row by row: null wherever an argument is.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanBuilder, PrimitiveBuilder,
};
use datafusion::common::Result;

use super::kernel::written;

/// Rows of a call; one where it has no arguments.
pub(crate) fn rows_of(columns: &[ArrayRef]) -> usize {
    columns.first().map_or(1, |column| column.len())
}

/// Whether no argument is null in a row.
pub(crate) fn are_present(columns: &[ArrayRef], row: usize) -> bool {
    columns.iter().all(|column| column.is_valid(row))
}

/// Numbers, dates or times.
pub(crate) fn numbers<T: ArrowPrimitiveType>(
    columns: &[ArrayRef],
    mut value: impl FnMut(usize) -> Result<Option<T::Native>>,
) -> Result<ArrayRef> {
    let rows = rows_of(columns);
    let mut builder = PrimitiveBuilder::<T>::with_capacity(rows);
    for row in 0..rows {
        builder.append_option(match are_present(columns, row) {
            true => value(row)?,
            false => None,
        });
    }
    Ok(Arc::new(builder.finish()))
}

/// True or false.
pub(crate) fn truths(
    columns: &[ArrayRef],
    mut value: impl FnMut(usize) -> Result<Option<bool>>,
) -> Result<ArrayRef> {
    let rows = rows_of(columns);
    let mut builder = BooleanBuilder::with_capacity(rows);
    for row in 0..rows {
        builder.append_option(match are_present(columns, row) {
            true => value(row)?,
            false => None,
        });
    }
    Ok(Arc::new(builder.finish()))
}

/// Texts; `write` says whether there is one.
pub(crate) fn strings(
    columns: &[ArrayRef],
    mut write: impl FnMut(usize, &mut String) -> Result<bool>,
) -> Result<ArrayRef> {
    written(rows_of(columns), |row, out| match are_present(columns, row) {
        true => write(row, out),
        false => Ok(false),
    })
}

/// Bytes; `write` says whether there are some.
pub(crate) fn binaries(
    columns: &[ArrayRef],
    mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<bool>,
) -> Result<ArrayRef> {
    let rows = rows_of(columns);
    let (mut builder, mut buffer) = (BinaryBuilder::with_capacity(rows, rows * 8), Vec::new());
    for row in 0..rows {
        buffer.clear();
        match are_present(columns, row) && write(row, &mut buffer)? {
            true => builder.append_value(&buffer),
            false => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}
