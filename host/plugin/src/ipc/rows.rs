//! Record batches from a guest: arrays that share the message's bytes.

use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, BufferSpec, RecordBatch, RecordBatchOptions, layout, make_array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::{self as fb, Message, MessageHeader};

use super::message::{framed, is_end};
use super::schema::schema_of;
use crate::limits::{ARRAYS_MAX, BLOCK_ROWS, VALUES_MAX};

/// Reads the messages that one call gives.
pub(crate) struct Decoder {
    schema: SchemaRef,
    values_left: u64,
    arrays_left: usize,
}

impl Decoder {
    pub(crate) fn new(schema: &SchemaRef) -> Decoder {
        Decoder { schema: Arc::clone(schema), values_left: VALUES_MAX, arrays_left: ARRAYS_MAX }
    }

    /// The rows of all messages of a call, in blocks of a size that the host reckons with: a guest's
    /// own may be as long as a call may give values. No row is copied.
    pub(crate) fn blocks(mut self, messages: Vec<Vec<u8>>) -> Result<Vec<RecordBatch>, String> {
        let mut blocks = Vec::with_capacity(messages.len());
        for message in messages {
            let rows = self.decode(message)?;
            let mut rest = rows.num_rows();
            while rest > BLOCK_ROWS {
                blocks.push(rows.slice(rows.num_rows() - rest, BLOCK_ROWS));
                rest -= BLOCK_ROWS;
            }
            blocks.push(rows.slice(rows.num_rows() - rest, rest));
        }
        Ok(blocks)
    }

    /// The rows of a message as they came, without copying them.
    pub(crate) fn decode(&mut self, message: Vec<u8>) -> Result<RecordBatch, String> {
        let bytes = Buffer::from_vec(message);
        let framed = framed(&bytes, 0)?;
        if framed.body.end != bytes.len() {
            let rest = bytes.len() - framed.body.end;
            return Err(format!("{rest} bytes that belong to no message"));
        }
        let body = bytes.slice_with_length(framed.body.start, framed.body.len());
        self.rows(&framed.message, &body)
    }

    fn rows(&mut self, message: &Message<'_>, body: &Buffer) -> Result<RecordBatch, String> {
        let kind = message.header_type();
        if kind != MessageHeader::RecordBatch {
            return Err(format!("a message of the kind {kind:?} where rows belong"));
        }
        let header = message.header_as_record_batch().ok_or("a message without its header")?;
        if header.compression().is_some() {
            return Err("compressed rows; send them uncompressed".to_owned());
        }
        let rows = u64::try_from(header.length()).ok().filter(|rows| *rows <= VALUES_MAX);
        let rows = rows.ok_or_else(|| {
            format!("a record batch of {} rows; the limit is {VALUES_MAX}", header.length())
        })?;
        // A message without columns is an entry in the host's lists, too, and its rows are cut.
        self.arrays_left = self.arrays_left.checked_sub(1).ok_or_else(too_many_arrays)?;
        if self.schema.fields().is_empty() {
            self.values_left = self.values_left.checked_sub(rows).ok_or_else(|| too_many(rows))?;
        }
        let mut columns = Columns {
            nodes: header.nodes().into_iter().flatten(),
            buffers: header.buffers().into_iter().flatten(),
            variadic: header.variadicBufferCounts().into_iter().flatten(),
            body,
            values_left: &mut self.values_left,
            arrays_left: &mut self.arrays_left,
        };
        let fields = self.schema.fields().iter();
        let arrays = fields.map(|field| {
            let array = columns.array(field.data_type()).map(make_array);
            array.map_err(|reason| format!("column \"{}\": {reason}", field.name()))
        });
        let arrays = arrays.collect::<Result<Vec<ArrayRef>, String>>()?;
        if columns.nodes.next().is_some() || columns.buffers.next().is_some() {
            return Err("more columns than its schema has".to_owned());
        }
        let options = RecordBatchOptions::new().with_row_count(usize::try_from(rows).ok());
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map_err(|error| error.to_string())
    }
}

/// One record batch with its schema, in one IPC stream.
pub(crate) fn decode_stream(stream: Vec<u8>) -> Result<RecordBatch, String> {
    let bytes = Buffer::from_vec(stream);
    let head = framed(&bytes, 0)?;
    let schema = schema_of(&head.message, head.body.end)?;
    let start = head.body.end;
    if is_end(&bytes[start..]) {
        return Err("a stream without rows".to_owned());
    }
    let framed = framed(&bytes, start)?;
    if !is_end(&bytes[framed.body.end..]) {
        return Err("more than one record batch in a stream; send one".to_owned());
    }
    let body = bytes.slice_with_length(framed.body.start, framed.body.len());
    Decoder::new(&schema).rows(&framed.message, &body)
}

/// The columns of a record batch, as they follow each other in its metadata.
struct Columns<'a, N, B, V> {
    nodes: N,
    buffers: B,
    /// For each column of views, how many buffers of bytes it has.
    variadic: V,
    body: &'a Buffer,
    values_left: &'a mut u64,
    arrays_left: &'a mut usize,
}

impl<'m, N, B, V> Columns<'_, N, B, V>
where
    N: Iterator<Item = &'m fb::FieldNode>,
    B: Iterator<Item = &'m fb::Buffer>,
    V: Iterator<Item = i64>,
{
    /// Calls itself for what is inside of a column: as deep as its type, which is bounded.
    fn array(&mut self, data_type: &DataType) -> Result<ArrayData, String> {
        *self.arrays_left = self.arrays_left.checked_sub(1).ok_or_else(too_many_arrays)?;
        let node = self.nodes.next().ok_or("it is missing in the message")?;
        let (length, nulls) = (node.length(), node.null_count());
        let left = u64::try_from(length).ok().and_then(|n| self.values_left.checked_sub(n));
        *self.values_left = left.ok_or_else(|| too_many(length))?;
        let length = usize::try_from(length).map_err(|_| "a length that does not fit")?;
        let mut array = ArrayData::builder(data_type.clone()).len(length).align_buffers(true);
        if *data_type != DataType::Null {
            array = array.null_bit_buffer(self.validity(length, nulls)?);
        }
        let array = match data_type {
            DataType::Null => array,
            DataType::Utf8View | DataType::BinaryView => array.buffers(self.views(data_type)?),
            DataType::List(child) | DataType::LargeList(child) | DataType::Map(child, _) => {
                let offsets = self.own_buffers(data_type)?;
                array.buffers(offsets).add_child_data(self.array(child.data_type())?)
            }
            DataType::FixedSizeList(child, _) => {
                array.add_child_data(self.array(child.data_type())?)
            }
            DataType::Struct(fields) => {
                let children = fields.iter().map(|field| self.array(field.data_type()));
                array.child_data(children.collect::<Result<Vec<_>, _>>()?)
            }
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::Boolean
            | DataType::FixedSizeBinary(_) => array.buffers(self.own_buffers(data_type)?),
            other if other.primitive_width().is_some() => array.buffers(self.own_buffers(other)?),
            other => return Err(format!("values of the type {other} do not cross the boundary")),
        };
        array.build().map_err(|error| error.to_string())
    }

    /// The buffers of a column of this type, but for the bytes that its views look at.
    ///
    /// Arrow's validation looks at a buffer of numbers as a list of them, and panics where it does
    /// not end with a whole one. Padding cannot make that: it is to eight bytes or more. Where the
    /// buffer begins does not matter, as `align_buffers` copies it if need be.
    fn own_buffers(&mut self, data_type: &DataType) -> Result<Vec<Buffer>, String> {
        let buffers = layout(data_type).buffers.into_iter().map(|spec| {
            let buffer = self.buffer()?;
            match spec {
                BufferSpec::FixedWidth { byte_width, alignment }
                    if alignment > 1 && !buffer.len().is_multiple_of(byte_width) =>
                {
                    let bytes = buffer.len();
                    Err(format!("{bytes} bytes for values or offsets of {byte_width} bytes each"))
                }
                _ => Ok(buffer),
            }
        });
        buffers.collect()
    }

    /// Which values are there; `None`: all of them.
    fn validity(&mut self, length: usize, nulls: i64) -> Result<Option<Buffer>, String> {
        let bits = self.buffer()?;
        match nulls {
            0 => Ok(None),
            _ if bits.len() >= length.div_ceil(8) => Ok(Some(bits)),
            _ => Err(format!("{nulls} nulls, and it does not say where")),
        }
    }

    fn views(&mut self, data_type: &DataType) -> Result<Vec<Buffer>, String> {
        let mut buffers = self.own_buffers(data_type)?;
        let count = self.variadic.next().ok_or("views that do not say what they look at")?;
        for _ in 0..count {
            // Each is there, or the message ends: the count itself reserves nothing.
            *self.arrays_left = self.arrays_left.checked_sub(1).ok_or_else(too_many_arrays)?;
            buffers.push(self.buffer()?);
        }
        Ok(buffers)
    }

    /// The next buffer: a part of the body.
    fn buffer(&mut self) -> Result<Buffer, String> {
        let buffer = self.buffers.next().ok_or("a part of it is missing in the message")?;
        let start = usize::try_from(buffer.offset()).ok();
        let length = usize::try_from(buffer.length()).ok();
        start
            .zip(length)
            .filter(|(start, length)| {
                start.checked_add(*length).is_some_and(|end| end <= self.body.len())
            })
            .map(|(start, length)| self.body.slice_with_length(start, length))
            .ok_or_else(|| "it reaches beyond its message".to_owned())
    }
}

fn too_many(values: impl std::fmt::Display) -> String {
    format!("{values} values; one call may give {VALUES_MAX} over all columns of all its rows")
}

fn too_many_arrays() -> String {
    format!("more columns and record batches than one call may give, which is {ARRAYS_MAX}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{
        BinaryViewArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray,
        MapBuilder, NullArray, StringArray, StringBuilder, StringViewArray, StructArray,
    };
    use arrow::datatypes::{Field, Int64Type, Schema};
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

    use super::super::{Encoder, decode_schema};
    use super::*;

    /// A column of each layout that crosses.
    fn rows() -> RecordBatch {
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
        let long = "a text that does not fit into a view";
        let columns: [(&str, ArrayRef); 10] = [
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
            ("x", Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5]))),
            ("s", Arc::new(StringArray::from(vec![Some("a"), Some("ü"), None]))),
            ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
            ("l", Arc::new(list)),
            ("o", Arc::new(StructArray::from(vec![inner]))),
            ("d", Arc::new(decimal.with_precision_and_scale(10, 2).unwrap())),
            ("m", Arc::new(map.finish())),
            ("v", Arc::new(StringViewArray::from(vec![Some(long), None, Some("short")]))),
            ("w", Arc::new(BinaryViewArray::from(vec![Some(long.as_bytes()), None, None]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    fn decode(schema: &SchemaRef, message: Vec<u8>) -> Result<RecordBatch, String> {
        Decoder::new(schema).decode(message)
    }

    fn stream(rows: &[RecordBatch]) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(Vec::new(), &rows[0].schema()).unwrap();
        rows.iter().for_each(|rows| writer.write(rows).unwrap());
        writer.into_inner().unwrap()
    }

    #[test]
    fn rows_and_their_schema_survive() {
        let mut encoder = Encoder::new(&rows().schema()).unwrap();
        let schema = decode_schema(&encoder.schema_message()).unwrap();
        assert_eq!(schema, rows().schema());
        for part in [rows(), rows().slice(1, 2), rows().slice(0, 0)] {
            assert_eq!(decode(&schema, encoder.encode(&part).unwrap()).unwrap(), part);
            assert_eq!(decode_stream(stream(std::slice::from_ref(&part))).unwrap(), part);
        }
    }

    /// Whatever was accepted can be read to its end.
    fn is_sound(rows: &RecordBatch) {
        for column in rows.columns() {
            column.to_data().validate_full().unwrap();
        }
    }

    #[test]
    fn no_change_to_the_bytes_does_more_than_an_error() {
        let schema = rows().schema();
        let message = Encoder::new(&schema).unwrap().encode(&rows()).unwrap();
        let whole = stream(&[rows()]);
        for at in 0..whole.len() {
            for change in [0x01, 0x40, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                // No panic is caught here: the decoder has none.
                decode_stream(changed).iter().for_each(is_sound);
                if let Some(byte) = message.get(at) {
                    let mut changed = message.clone();
                    changed[at] = byte ^ change;
                    decode(&schema, changed).iter().for_each(is_sound);
                }
            }
            decode_stream(whole[..at].to_vec()).iter().for_each(is_sound);
            if at < message.len() {
                assert!(decode(&schema, message[..at].to_vec()).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn several_changes_at_once_do_no_more() {
        let whole = stream(&[rows()]);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random >> 8).unwrap() % below
        };
        for _ in 0..30_000 {
            let mut changed = whole.clone();
            for _ in 0..=next(4) {
                let (at, bit) = (next(changed.len()), next(8));
                changed[at] ^= 1 << bit;
            }
            decode_stream(changed).iter().for_each(is_sound);
        }
    }

    /// Replaces a number wherever the metadata has it.
    fn with_number(mut bytes: Vec<u8>, old: i64, new: i64) -> Vec<u8> {
        let (old, new) = (old.to_le_bytes(), new.to_le_bytes());
        let mut places = Vec::new();
        for at in 0..bytes.len() - 8 {
            if bytes[at..].starts_with(&old) {
                places.push(at);
            }
        }
        assert!(!places.is_empty());
        places.iter().for_each(|at| bytes[*at..at + 8].copy_from_slice(&new));
        bytes
    }

    #[test]
    fn a_length_is_held_against_the_bytes_that_are_there() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(1000..1037));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let whole = stream(&[rows]);
        for exponent in [20, 26, 31, 36, 40, 46, 62] {
            let told = decode_stream(with_number(whole.clone(), 37, 1 << exponent)).unwrap_err();
            assert!(told.contains("limit") || told.contains("bytes"), "{told}");
            // The body: 37 numbers and a bitmap.
            let body = decode_stream(with_number(whole.clone(), 37 * 8, 1 << exponent));
            body.unwrap_err();
        }
    }

    #[test]
    fn nulls_without_bytes_are_bounded_over_all_columns() {
        let nulls = |rows: usize, columns: usize| {
            let nulls: ArrayRef = Arc::new(NullArray::new(rows));
            let columns = (0..columns).map(|n| (n.to_string(), Arc::clone(&nulls)));
            stream(&[RecordBatch::try_from_iter(columns).unwrap()])
        };
        assert_eq!(decode_stream(nulls(1 << 26, 1)).unwrap().num_rows(), 1 << 26);
        let told = decode_stream(nulls((1 << 26) + 1, 1)).unwrap_err();
        assert_eq!(told, "a record batch of 67108865 rows; the limit is 67108864");
        let told = decode_stream(nulls(1 << 24, 5)).unwrap_err();
        assert!(told.contains("67108864 over all columns"), "{told}");
    }

    /// A schema message and one with so many rows of a column that has no bytes.
    fn nulls(rows: usize) -> (SchemaRef, Vec<u8>) {
        let nulls: ArrayRef = Arc::new(NullArray::new(rows));
        let rows = RecordBatch::try_from_iter([("n", nulls)]).unwrap();
        let message = Encoder::new(&rows.schema()).unwrap().encode(&rows).unwrap();
        (rows.schema(), message)
    }

    #[test]
    fn values_are_counted_over_all_messages_of_a_call() {
        let (schema, message) = nulls(1 << 24);
        let blocks = Decoder::new(&schema).blocks(vec![message.clone(); 4]).unwrap();
        assert_eq!(blocks.iter().map(RecordBatch::num_rows).sum::<usize>(), 1 << 26);
        let told = Decoder::new(&schema).blocks(vec![message; 5]).unwrap_err();
        assert!(told.contains("67108864 over all columns"), "{told}");
        let bare = |rows: usize| {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let schema = Arc::new(Schema::empty());
            let rows = RecordBatch::try_new_with_options(schema, vec![], &options).unwrap();
            Encoder::new(&rows.schema()).unwrap().encode(&rows).unwrap()
        };
        let told = Decoder::new(&Arc::new(Schema::empty())).blocks(vec![bare(1 << 25); 3]);
        assert!(told.unwrap_err().contains("67108864 over all columns"));
    }

    #[test]
    fn rows_come_in_blocks_whatever_the_guest_made_of_them() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20_000));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let mut encoder = Encoder::new(&rows.schema()).unwrap();
        let mut message = |from, count| encoder.encode(&rows.slice(from, count)).unwrap();
        let messages =
            vec![message(0, 3), message(3, 0), message(3, 16_384), message(16_387, 3_613)];
        let blocks = Decoder::new(&rows.schema()).blocks(messages).unwrap();
        let counts: Vec<usize> = blocks.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(counts, [3, 0, 8_192, 8_192, 3_613]);
        assert_eq!(arrow::compute::concat_batches(&rows.schema(), &blocks).unwrap(), rows);
    }

    #[test]
    fn what_is_no_single_plain_record_batch_is_told() {
        let compressed = IpcWriteOptions::default();
        let told = compressed.try_with_compression(Some(CompressionType::LZ4_FRAME));
        if let Ok(options) = told {
            let schema = rows().schema();
            let mut writer =
                StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
            if writer.write(&rows()).is_ok() {
                let told = decode_stream(writer.into_inner().unwrap()).unwrap_err();
                assert_eq!(told, "compressed rows; send them uncompressed");
            }
        }
        let told = decode_stream(stream(&[rows(), rows()])).unwrap_err();
        assert_eq!(told, "more than one record batch in a stream; send one");
        let empty = StreamWriter::try_new(Vec::new(), &Schema::empty()).unwrap();
        let told = decode_stream(empty.into_inner().unwrap()).unwrap_err();
        assert_eq!(told, "a stream without rows");
    }

    #[test]
    fn empty_messages_are_counted() {
        let schema = Arc::new(Schema::empty());
        let options = RecordBatchOptions::new().with_row_count(Some(0));
        let empty = RecordBatch::try_new_with_options(Arc::clone(&schema), vec![], &options);
        let message = Encoder::new(&schema).unwrap().encode(&empty.unwrap()).unwrap();
        let mut decoder = Decoder::new(&schema);
        decoder.arrays_left = 2;
        decoder.decode(message.clone()).unwrap();
        decoder.decode(message.clone()).unwrap();
        assert_eq!(decoder.decode(message).unwrap_err(), too_many_arrays());
    }
}
