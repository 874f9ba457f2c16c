//! Bytes of columns.

use arrow::array::{Array, ArrayRef};

/// Bytes of a column, without what it shares with others of the same array.
#[must_use]
pub fn column_bytes(column: &ArrayRef) -> u64 {
    let slice = column.to_data().get_slice_memory_size();
    slice.unwrap_or_else(|_| column.get_array_memory_size()) as u64
}
