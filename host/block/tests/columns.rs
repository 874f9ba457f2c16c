//! Columns taken apart and put together, sound ones and others.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DurationMicrosecondArray,
    Float64Array, Int64Array, IntervalYearMonthArray, ListArray, MapBuilder, NullArray,
    StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int64Type};
use tidemill_block::{
    BlockError, Bounds, Column, Node, put_together, put_together_trusted, take_apart,
};

/// A column of each layout that crosses, of nine rows, so that a slice begins within a byte.
fn columns() -> Vec<ArrayRef> {
    let thrice = |array: ArrayRef| arrow::compute::concat(&[&*array, &*array, &*array]).unwrap();
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("z")]));
    let inner = (Arc::new(Field::new("s", DataType::Utf8, true)), inner);
    let decimal = Decimal128Array::from(vec![Some(12_345), None, Some(-1)]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("v");
    for there in [true, false, true] {
        map.append(there).unwrap();
    }
    let columns: [ArrayRef; 13] = [
        Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
        Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5])),
        Arc::new(StringArray::from(vec![Some("a"), Some("ü"), None])),
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"ab"), None, Some(b"")])),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(2)])),
        Arc::new(DurationMicrosecondArray::from(vec![Some(1), None, Some(2)])),
        Arc::new(IntervalYearMonthArray::from(vec![Some(1), None, Some(2)])),
        Arc::new(list),
        Arc::new(StructArray::from(vec![inner])),
        Arc::new(decimal.with_precision_and_scale(10, 2).unwrap()),
        Arc::new(map.finish()),
        Arc::new(NullArray::new(3)),
    ];
    columns.into_iter().map(thrice).collect()
}

fn again(data_type: &DataType, column: Column) -> Result<ArrayRef, BlockError> {
    put_together(data_type, column, &mut Bounds::default())
}

#[test]
fn columns_and_their_slices_survive() {
    for column in columns() {
        for (from, rows) in [(0, 9), (1, 7), (8, 1), (3, 0), (9, 0)] {
            let part = column.slice(from, rows);
            let apart = take_apart(&part).unwrap();
            assert_eq!(&again(part.data_type(), apart.clone()).unwrap(), &part);
            // SAFETY: they were just taken apart.
            #[allow(unsafe_code, reason = "what a plugin does with what the host sends")]
            let trusted = unsafe { put_together_trusted(part.data_type(), apart) }.unwrap();
            assert_eq!(&trusted, &part);
        }
    }
}

#[test]
fn parts_lie_where_they_are_and_have_no_more_bytes_than_they_need() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["one", "two", "three"]));
    let apart = take_apart(&texts).unwrap();
    let data = texts.to_data();
    assert_eq!(apart.buffers[1].as_ptr(), data.buffers()[0].as_ptr());
    assert_eq!(apart.buffers[2].as_ptr(), data.buffers()[1].as_ptr());
    let sizes = |array: &ArrayRef| {
        take_apart(array).unwrap().buffers.iter().map(Buffer::len).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&texts.slice(1, 1)), [0, 8, 3]);
    let bits: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true); 17]));
    assert_eq!(sizes(&bits.slice(1, 9)), [0, 2]);
    let nothing: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
    assert_eq!(sizes(&nothing), [0, 4, 0]);
}

/// A buffer that begins at no multiple of anything.
fn misaligned(buffer: &Buffer) -> Buffer {
    let mut bytes = vec![0; 1];
    bytes.extend_from_slice(buffer);
    Buffer::from_vec(bytes).slice(1)
}

#[test]
fn a_guest_may_have_its_buffers_anywhere() {
    for column in columns() {
        let mut apart = take_apart(&column).unwrap();
        apart.buffers.iter_mut().for_each(|buffer| *buffer = misaligned(buffer));
        assert_eq!(&again(column.data_type(), apart).unwrap(), &column);
    }
}

/// Whatever was accepted can be read to its end.
fn is_sound(column: &ArrayRef) {
    column.to_data().validate_full().unwrap();
    assert!(!format!("{column:?}").is_empty());
}

#[test]
fn no_change_to_a_part_does_more_than_an_error() {
    for column in columns() {
        let sound = take_apart(&column).unwrap();
        let tried = |changed: Column| again(column.data_type(), changed).iter().for_each(is_sound);
        for at in 0..sound.buffers.len() {
            for byte in 0..sound.buffers[at].len() {
                for change in [0x01, 0x40, 0x80, 0xff] {
                    let mut changed = sound.clone();
                    let mut bytes = changed.buffers[at].to_vec();
                    bytes[byte] ^= change;
                    changed.buffers[at] = Buffer::from_vec(bytes);
                    tried(changed);
                }
            }
            for length in 0..sound.buffers[at].len() {
                let mut changed = sound.clone();
                changed.buffers[at] = changed.buffers[at].slice_with_length(0, length);
                tried(changed);
            }
            let mut changed = sound.clone();
            changed.buffers.remove(at);
            assert!(again(column.data_type(), changed).is_err());
        }
        for at in 0..sound.nodes.len() {
            for (length, nulls) in [(0, 0), (1, 0), (8, 3), (9, 9), (10, 1), (u32::MAX, u32::MAX)] {
                let mut changed = sound.clone();
                changed.nodes[at] = Node { length, nulls };
                tried(changed);
            }
            let mut changed = sound.clone();
            changed.nodes.remove(at);
            assert!(again(column.data_type(), changed).is_err());
        }
    }
}

fn told(data_type: &DataType, column: Column) -> String {
    again(data_type, column).unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_is_told() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let sound = take_apart(&numbers).unwrap();
    let mut more = sound.clone();
    more.nodes.push(Node { length: 0, nulls: 0 });
    assert_eq!(told(&DataType::Int64, more), "1 nodes and 0 buffers beyond those of BIGINT");
    let mut few = sound.clone();
    few.buffers.pop();
    assert_eq!(told(&DataType::Int64, few), "a buffer of BIGINT is missing");
    let told_of = told(&DataType::Int32, sound);
    assert_eq!(told_of, "a buffer of 24 bytes for INT, where 12 belong");
    let wide = Decimal128Array::from(vec![123_456]).with_precision_and_scale(10, 2).unwrap();
    let told_of = told(&DataType::Decimal128(3, 2), take_apart(&wide).unwrap());
    assert!(told_of.contains("1234.56"), "{told_of}");
    let untold = take_apart(&arrow::array::UInt64Array::from(vec![1]).slice(0, 1));
    assert!(untold.is_ok(), "the type is refused with the schema");
}

#[test]
fn a_map_has_no_key_that_is_null() {
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("v");
    map.append(true).unwrap();
    let map = map.finish();
    let mut apart = take_apart(&map).unwrap();
    // Nodes: the map, its entries, their keys. Buffers: two of the map, one of the entries.
    apart.nodes[2] = Node { length: 1, nulls: 1 };
    apart.buffers[3] = Buffer::from_vec(vec![0_u8]);
    assert!(again(map.data_type(), apart).is_err());
}

#[test]
fn values_without_bytes_are_bounded() {
    let nulls = Column { nodes: vec![Node { length: 1 << 20, nulls: 1 << 20 }], buffers: vec![] };
    let mut bounds = Bounds { values: 3 << 19, arrays: 10 };
    put_together(&DataType::Null, nulls.clone(), &mut bounds).unwrap();
    let told = put_together(&DataType::Null, nulls.clone(), &mut bounds).unwrap_err();
    assert_eq!(told.to_string(), "more values than one call may give");
    let mut bounds = Bounds { values: u64::MAX, arrays: 1 };
    put_together(&DataType::Null, nulls.clone(), &mut bounds).unwrap();
    let told = put_together(&DataType::Null, nulls, &mut bounds).unwrap_err();
    assert_eq!(told.to_string(), "more columns than one call may give");
}
