//! Columns of lists and of bytes, as states and results.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_err};

/// The type of a list of these.
pub(super) fn list_of(item: &DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item.clone(), true)))
}

/// Lists of these lengths, of values that follow each other.
pub(super) fn lists(lengths: impl Iterator<Item = usize>, values: ArrayRef) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
}

/// A column of bytes.
///
/// # Errors
/// They are more than a column can have.
pub(super) fn binaries(values: &[impl AsRef<[u8]>]) -> Result<ArrayRef> {
    let bytes: usize = values.iter().map(|value| value.as_ref().len()).sum();
    if i32::try_from(bytes).is_err() {
        return exec_err!(
            "the results of all groups take {bytes} bytes, and a column has at most {}; group by less at once",
            i32::MAX
        );
    }
    Ok(Arc::new(BinaryArray::from_iter_values(values)))
}

/// The values of a column of lists, and where those of a row are. A null list is empty.
pub(super) fn of_lists(column: &ArrayRef) -> (&ArrayRef, impl Fn(usize) -> std::ops::Range<usize>) {
    let lists = column.as_list::<i32>();
    let range = move |row: usize| {
        if lists.is_null(row) {
            return 0..0;
        }
        let offsets = lists.value_offsets();
        offsets[row] as usize..offsets[row + 1] as usize
    };
    (lists.values(), range)
}
