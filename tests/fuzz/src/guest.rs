//! Rows that a plugin gives the host.

use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use tidemill_block::{Bounds, Column, Node, put_together, read_schema};

/// Types of all layouts: the first byte says which.
const TYPES: [&str; 8] = [
    "n bigint",
    "s string",
    "b boolean",
    "d decimal(10,2)",
    "l array<string>",
    "o struct<s:string,n:int>",
    "m map<string,array<int>>",
    "v void",
];

/// Puts a column together, and looks at every value of what was let in. The bytes are: a type, how many
/// nodes, for each a length and how many nulls, and for each buffer its length and its bytes.
pub(crate) fn rows(bytes: &[u8]) {
    let mut rest = bytes.iter().copied();
    let Some((kind, column)) = read(&mut rest) else { return };
    let mut bounds = Bounds { values: 1 << 20, arrays: 1 << 10 };
    let Ok(array) = put_together(&kind, column, &mut bounds) else { return };
    array.to_data().validate_full().expect("what is let in is sound");
    // Values that make no text, as a date of the year 300,000, say so; that is no find.
    for row in 0..array.len().min(1_000) {
        let _ = arrow::util::display::array_value_to_string(&array, row);
    }
}

fn read(bytes: &mut impl Iterator<Item = u8>) -> Option<(DataType, Column)> {
    let text = TYPES[usize::from(bytes.next()?) % TYPES.len()];
    let kind = read_schema(text).ok()?.field(0).data_type().clone();
    let mut column = Column::default();
    for _ in 0..bytes.next()? % 8 {
        let (length, nulls) = (u32::from(bytes.next()?), u32::from(bytes.next()?));
        // A length that is far too large is asked for, too.
        let length = if length == 0xff { u32::MAX } else { length };
        column.nodes.push(Node { length, nulls });
    }
    while let Some(length) = bytes.next() {
        let buffer: Vec<u8> = bytes.take(usize::from(length)).collect();
        column.buffers.push(Buffer::from_vec(buffer));
    }
    Some((kind, column))
}
