//! Columns put together again.

use std::vec::IntoIter;

use arrow::array::{
    Array, ArrayData, ArrayDataBuilder, ArrayRef, AsArray, BufferSpec, layout, make_array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Decimal128Type, DecimalType};

use crate::{BlockError, Column, Node};

/// How much the columns of one call may be together. What is read is taken away from it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Values over all arrays. Nulls and empty structures have no bytes that would bound them.
    pub values: u64,
    /// Arrays. Each takes some two hundred bytes, however few were sent for it.
    pub arrays: u64,
}

impl Default for Bounds {
    /// What one column of 2³² values may have.
    fn default() -> Bounds {
        Bounds { values: u64::MAX, arrays: u64::MAX }
    }
}

/// The array of these parts, which may be anything: lengths, offsets, texts, digits of a DECIMAL and
/// keys of a MAP are checked. The bytes are not copied, unless they are not aligned.
///
/// # Errors
/// They are no array of this type, or they are more than `bounds` lets in.
pub fn put_together(
    data_type: &DataType,
    column: Column,
    bounds: &mut Bounds,
) -> Result<ArrayRef, BlockError> {
    let array = make_array(Parts::of(column).all(data_type, &mut Checked(bounds))?);
    check_values(&array)?;
    Ok(array)
}

/// The array of these parts, which are taken on trust.
///
/// # Errors
/// There are too few or too many of them.
///
/// # Safety
/// They are those that [`take_apart`](crate::take_apart) gives for an array of this type.
#[allow(unsafe_code, reason = "what the host sends to a plugin is not checked once more there")]
pub unsafe fn put_together_trusted(
    data_type: &DataType,
    column: Column,
) -> Result<ArrayRef, BlockError> {
    /// Made in this function alone, whose caller vouches for the parts.
    struct Trusted;
    impl Building for Trusted {
        fn build(&mut self, array: ArrayDataBuilder) -> Result<ArrayData, BlockError> {
            // SAFETY: the caller's promise.
            Ok(unsafe { array.skip_validation(true) }.build()?)
        }
    }
    Ok(make_array(Parts::of(column).all(data_type, &mut Trusted)?))
}

trait Building {
    /// Before an array of so many values is made.
    fn count(&mut self, _values: u32) -> Result<(), BlockError> {
        Ok(())
    }

    fn build(&mut self, array: ArrayDataBuilder) -> Result<ArrayData, BlockError>;
}

struct Checked<'a>(&'a mut Bounds);

impl Building for Checked<'_> {
    fn count(&mut self, values: u32) -> Result<(), BlockError> {
        let left = self.0.values.checked_sub(u64::from(values));
        self.0.values =
            left.ok_or_else(|| BlockError::new("more values than one call may give"))?;
        let left = self.0.arrays.checked_sub(1);
        self.0.arrays =
            left.ok_or_else(|| BlockError::new("more columns than one call may give"))?;
        Ok(())
    }

    fn build(&mut self, array: ArrayDataBuilder) -> Result<ArrayData, BlockError> {
        Ok(array.build()?)
    }
}

impl From<arrow::error::ArrowError> for BlockError {
    fn from(error: arrow::error::ArrowError) -> BlockError {
        BlockError::new(error.to_string())
    }
}

struct Parts {
    nodes: IntoIter<Node>,
    buffers: IntoIter<Buffer>,
}

impl Parts {
    fn of(column: Column) -> Parts {
        Parts { nodes: column.nodes.into_iter(), buffers: column.buffers.into_iter() }
    }

    fn all(
        mut self,
        data_type: &DataType,
        building: &mut impl Building,
    ) -> Result<ArrayData, BlockError> {
        let array = self.array(data_type, building)?;
        match (self.nodes.len(), self.buffers.len()) {
            (0, 0) => Ok(array),
            (nodes, buffers) => Err(BlockError(format!(
                "{nodes} nodes and {buffers} buffers beyond those of {}",
                tidemill_types::sql_name(data_type)
            ))),
        }
    }

    fn array(
        &mut self,
        data_type: &DataType,
        building: &mut impl Building,
    ) -> Result<ArrayData, BlockError> {
        let node = self.nodes.next().ok_or_else(|| missing("node", data_type))?;
        building.count(node.length)?;
        let length = node.length as usize;
        // Its buffers need not be where the type's values may be: a list of bytes is anywhere.
        let array = ArrayDataBuilder::new(data_type.clone()).len(length).align_buffers(true);
        if data_type == &DataType::Null {
            return building.build(array);
        }
        let array = array.null_bit_buffer(self.validity(node, data_type)?);
        let array = match data_type {
            DataType::List(child) | DataType::Map(child, _) => {
                let array = array.add_buffer(self.values(data_type, length)?);
                array.add_child_data(self.array(child.data_type(), building)?)
            }
            DataType::Struct(fields) => {
                let members = fields.iter().map(|field| {
                    let member = self.array(field.data_type(), building)?;
                    match member.len() == length {
                        true => Ok(member),
                        false => Err(BlockError(format!(
                            "{} values of the member \"{}\" for {length} structs",
                            member.len(),
                            field.name()
                        ))),
                    }
                });
                array.child_data(members.collect::<Result<_, BlockError>>()?)
            }
            DataType::Utf8 | DataType::Binary => {
                let offsets = self.values(data_type, length)?;
                array.add_buffer(offsets).add_buffer(self.buffer(data_type)?)
            }
            plain if *plain == DataType::Boolean || plain.primitive_width().is_some() => {
                array.add_buffer(self.values(data_type, length)?)
            }
            other => {
                return Err(BlockError(format!("values of the type {other} do not cross")));
            }
        };
        building.build(array)
    }

    /// Which values are there; none: all of them.
    fn validity(&mut self, node: Node, data_type: &DataType) -> Result<Option<Buffer>, BlockError> {
        let bits = self.buffer(data_type)?;
        if node.nulls == 0 {
            exact(&bits, 0, data_type)?;
            return Ok(None);
        }
        let length = node.length as usize;
        exact(&bits, length.div_ceil(8), data_type)?;
        let found = length - bits.count_set_bits_offset(0, length);
        match found == node.nulls as usize {
            true => Ok(Some(bits)),
            false => Err(BlockError(format!(
                "{} nulls of {}, and {found} are marked",
                node.nulls,
                tidemill_types::sql_name(data_type)
            ))),
        }
    }

    /// The first buffer of its values: of one size for its length. Arrow's own check looks at a buffer of
    /// numbers as a list of them, and panics where it does not end with a whole one.
    fn values(&mut self, data_type: &DataType, length: usize) -> Result<Buffer, BlockError> {
        let buffer = self.buffer(data_type)?;
        let bytes = match layout(data_type).buffers.first() {
            Some(BufferSpec::BitMap) => length.div_ceil(8),
            Some(BufferSpec::FixedWidth { byte_width, .. }) => {
                let is_offsets = data_type.primitive_width().is_none();
                (length + usize::from(is_offsets)).saturating_mul(*byte_width)
            }
            _ => return Ok(buffer),
        };
        exact(&buffer, bytes, data_type)?;
        Ok(buffer)
    }

    fn buffer(&mut self, data_type: &DataType) -> Result<Buffer, BlockError> {
        self.buffers.next().ok_or_else(|| missing("buffer", data_type))
    }
}

fn exact(buffer: &Buffer, bytes: usize, data_type: &DataType) -> Result<(), BlockError> {
    if buffer.len() == bytes {
        return Ok(());
    }
    Err(BlockError(format!(
        "a buffer of {} bytes for {}, where {bytes} belong",
        buffer.len(),
        tidemill_types::sql_name(data_type)
    )))
}

fn missing(what: &str, data_type: &DataType) -> BlockError {
    BlockError(format!("a {what} of {} is missing", tidemill_types::sql_name(data_type)))
}

/// What Arrow's own check leaves out: digits beyond a DECIMAL's precision, and keys that are null.
fn check_values(array: &ArrayRef) -> Result<(), BlockError> {
    match array.data_type() {
        DataType::Decimal128(precision, scale) => {
            let values = array.as_primitive::<Decimal128Type>();
            for value in values.iter().flatten() {
                Decimal128Type::validate_decimal_precision(value, *precision, *scale)?;
            }
            Ok(())
        }
        DataType::List(_) => check_values(array.as_list::<i32>().values()),
        DataType::Struct(_) => array.as_struct().columns().iter().try_for_each(check_values),
        DataType::Map(_, _) => {
            let maps = array.as_map();
            if maps.entries().null_count() > 0 || maps.keys().null_count() > 0 {
                return Err(BlockError::new("a MAP with a key that is null"));
            }
            check_values(maps.keys())?;
            check_values(maps.values())
        }
        _ => Ok(()),
    }
}
