//! Columns taken apart.

use arrow::array::{Array, AsArray, OffsetSizeTrait};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer};
use arrow::datatypes::DataType;

use crate::{BlockError, Column, Node};

/// The nodes and buffers of an array. Nothing is copied but bitmaps that begin within a byte and
/// offsets that do not begin at 0.
///
/// # Errors
/// The array is of a layout that does not cross, or it has 2³² values or more.
pub fn take_apart(array: &dyn Array) -> Result<Column, BlockError> {
    let mut column = Column::default();
    column.add(array)?;
    Ok(column)
}

impl Column {
    fn add(&mut self, array: &dyn Array) -> Result<(), BlockError> {
        let length = u32::try_from(array.len());
        let length = length.map_err(|_| BlockError::new("more values than 32 bits can count"))?;
        if array.data_type() == &DataType::Null {
            self.nodes.push(Node { length, nulls: length });
            return Ok(());
        }
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        self.nodes.push(Node { length, nulls: nulls.map_or(0, |n| n.null_count() as u32) });
        self.buffers.push(nulls.map_or_else(empty, |nulls| bits(nulls.inner())));
        match array.data_type() {
            DataType::Boolean => self.buffers.push(bits(array.as_boolean().values())),
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                self.add_bytes(texts.offsets(), texts.values());
            }
            DataType::Binary => {
                let texts = array.as_binary::<i32>();
                self.add_bytes(texts.offsets(), texts.values());
            }
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                let (first, length) = self.add_offsets(lists.offsets());
                self.add(&*lists.values().slice(first, length))?;
            }
            DataType::Map(_, _) => {
                let maps = array.as_map();
                let (first, length) = self.add_offsets(maps.offsets());
                self.add(&maps.entries().slice(first, length))?;
            }
            DataType::Struct(_) => {
                for member in array.as_struct().columns() {
                    self.add(member)?;
                }
            }
            plain => {
                let width = plain.primitive_width().ok_or_else(|| {
                    BlockError::new(format!("values of the type {plain} do not cross"))
                })?;
                let data = array.to_data();
                let values = data.buffers().first().cloned().unwrap_or_else(empty);
                self.buffers
                    .push(values.slice_with_length(data.offset() * width, array.len() * width));
            }
        }
        Ok(())
    }

    fn add_bytes(&mut self, offsets: &OffsetBuffer<i32>, values: &Buffer) {
        let (first, length) = self.add_offsets(offsets);
        self.buffers.push(values.slice_with_length(first, length));
    }

    /// Adds the offsets from 0 on, and gives which part of the values they are of.
    fn add_offsets<O: OffsetSizeTrait>(&mut self, offsets: &OffsetBuffer<O>) -> (usize, usize) {
        let first = offsets[0];
        self.buffers.push(if first == O::zero() {
            offsets.inner().inner().clone()
        } else {
            offsets.iter().map(|offset| *offset - first).collect::<Vec<O>>().into()
        });
        let (first, end) = (first.as_usize(), offsets[offsets.len() - 1].as_usize());
        (first, end - first)
    }
}

/// The bits from the first one on, in as few bytes as hold them.
fn bits(bits: &BooleanBuffer) -> Buffer {
    bits.sliced().slice_with_length(0, bits.len().div_ceil(8))
}

fn empty() -> Buffer {
    Buffer::from_vec(Vec::<u8>::new())
}
