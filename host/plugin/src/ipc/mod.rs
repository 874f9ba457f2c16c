//! Rows as they cross the boundary: Arrow IPC, the schema once, then bare record-batch messages.
//!
//! What comes from a guest is checked as if it came from an enemy: the framing here, before Arrow
//! reads it, and the arrays by Arrow's own full validation.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use arrow::ipc::reader::{FileDecoder, StreamReader};
use arrow::ipc::writer::StreamWriter;
use arrow::ipc::{Block, Message, MessageHeader, MetadataVersion, root_as_message};

use crate::limits::OUTPUT_ROWS_MAX;

/// What stands before the columns of a message: some two hundred bytes and as many for ten columns.
const MESSAGE_BYTES: usize = 1 << 10;

/// Every buffer of a column is filled up to 64 bytes. A string has three.
const BUFFER_PADDING: usize = 3 * 64;

/// Turns record batches of one schema into messages.
pub(crate) struct Encoder {
    writer: StreamWriter<Vec<u8>>,
    schema_message: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(schema: &Schema) -> Result<Encoder, ArrowError> {
        let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
        // The writer begins with the schema; what follows are the bare messages.
        let schema_message = std::mem::take(writer.get_mut());
        Ok(Encoder { writer, schema_message })
    }

    pub(crate) fn schema_message(&self) -> Vec<u8> {
        self.schema_message.clone()
    }

    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        self.writer.get_mut().reserve(encoded_size(batch)?);
        self.writer.write(batch)?;
        Ok(std::mem::take(self.writer.get_mut()))
    }
}

/// About the bytes of a message: columns may be parts of larger buffers, which do not count.
fn encoded_size(batch: &RecordBatch) -> Result<usize, ArrowError> {
    let mut bytes = MESSAGE_BYTES;
    for column in batch.columns() {
        bytes += column.to_data().get_slice_memory_size()? + BUFFER_PADDING;
    }
    Ok(bytes)
}

/// A schema from a guest.
pub(crate) fn decode_schema(message: &[u8]) -> Result<SchemaRef, String> {
    let schema = guarded(|| try_schema_from_ipc_buffer(message))?;
    if let Some(field) =
        schema.flattened_fields().into_iter().find(|field| is_encoded(field.data_type()))
    {
        return Err(format!(
            "column \"{}\" is {}: only plain columns cross the boundary",
            field.name(),
            field.data_type()
        ));
    }
    Ok(Arc::new(schema))
}

/// Dictionaries travel in messages of their own, which the contract does not have.
pub(crate) fn is_encoded(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Dictionary(..) | DataType::RunEndEncoded(..))
}

/// Rows of a message from a guest, without copying them.
pub(crate) fn decode(schema: &SchemaRef, message: Vec<u8>) -> Result<RecordBatch, String> {
    let metadata = check(&message)?;
    let block = Block::new(0, metadata as i32, (message.len() - metadata) as i64);
    let message = Buffer::from_vec(message);
    let decoder = FileDecoder::new(Arc::clone(schema), MetadataVersion::V5);
    let rows = guarded(|| decoder.read_record_batch(&block, &message))?;
    rows.ok_or_else(|| "a message without rows".to_owned())
}

/// Rows with their schema, in one IPC stream.
pub(crate) fn decode_stream(stream: &[u8]) -> Result<RecordBatch, String> {
    guarded(|| {
        let mut reader = StreamReader::try_new(stream, None)?;
        let none = || ArrowError::IpcError("a stream without rows".to_owned());
        reader.next().ok_or_else(none)?
    })
}

/// Runs Arrow on bytes of a guest. Arrow checks them; should a check be missing and it panics, the
/// plugin is at fault and not the host.
fn guarded<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("bytes that are not Arrow IPC".to_owned()),
    }
}

/// Checks the framing, and gives the length of what stands before the body.
fn check(message: &[u8]) -> Result<usize, String> {
    const CONTINUATION: [u8; 4] = [0xff; 4];
    let no_message = || "bytes that are not an Arrow IPC message".to_owned();
    let (prefix, rest) = message.split_first_chunk::<8>().ok_or_else(no_message)?;
    let (marker, length) = prefix.split_first_chunk::<4>().ok_or_else(no_message)?;
    let length: [u8; 4] = length.try_into().map_err(|_| no_message())?;
    let length = usize::try_from(i32::from_le_bytes(length)).map_err(|_| no_message())?;
    if *marker != CONTINUATION || length > rest.len() || length > i32::MAX as usize - 8 {
        return Err(no_message());
    }
    let (metadata, body) = rest.split_at(length);
    check_metadata(&root_as_message(metadata).map_err(|error| error.to_string())?, body.len())?;
    Ok(8 + length)
}

fn check_metadata(message: &Message<'_>, body: usize) -> Result<(), String> {
    if message.header_type() != MessageHeader::RecordBatch {
        return Err(format!("a message of the kind {:?} where rows belong", message.header_type()));
    }
    let header = message.header_as_record_batch().ok_or("a message without its header")?;
    if header.compression().is_some() {
        return Err("compressed rows; send them uncompressed".to_owned());
    }
    if !(0..=OUTPUT_ROWS_MAX).contains(&header.length()) {
        return Err(format!(
            "a record batch of {} rows; the limit is {OUTPUT_ROWS_MAX}",
            header.length()
        ));
    }
    // Arrow multiplies these by the width of a value: no i32 can overflow there.
    let small = |n: i64| (0..=i64::from(i32::MAX)).contains(&n);
    for node in header.nodes().into_iter().flatten() {
        if !small(node.length()) || !small(node.null_count()) {
            return Err(format!("a column of {} rows", node.length()));
        }
    }
    for buffer in header.buffers().into_iter().flatten() {
        let end = buffer.offset().checked_add(buffer.length());
        let inside = end.is_some_and(|end| usize::try_from(end).is_ok_and(|end| end <= body));
        if buffer.offset() < 0 || buffer.length() < 0 || !inside {
            return Err("a column that reaches beyond its message".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};

    use super::*;

    fn rows() -> RecordBatch {
        let columns: [(&str, ArrayRef); 3] = [
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
            ("x", Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5]))),
            ("s", Arc::new(StringArray::from(vec![Some("a"), Some("ü"), None]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    #[test]
    fn rows_and_their_schema_survive() {
        let mut encoder = Encoder::new(&rows().schema()).unwrap();
        let schema = decode_schema(&encoder.schema_message()).unwrap();
        assert_eq!(schema, rows().schema());
        for part in [rows(), rows().slice(1, 2), rows().slice(0, 0)] {
            assert_eq!(decode(&schema, encoder.encode(&part).unwrap()).unwrap(), part);
        }
    }

    #[test]
    fn no_change_to_the_bytes_does_more_than_an_error() {
        let schema = rows().schema();
        let message = Encoder::new(&schema).unwrap().encode(&rows()).unwrap();
        for at in 0..message.len() {
            for change in [0x01, 0x40, 0x80, 0xff] {
                let mut changed = message.clone();
                changed[at] ^= change;
                if let Ok(rows) = decode(&schema, changed) {
                    // Whatever was accepted can be read to its end.
                    for column in rows.columns() {
                        column.to_data().validate_full().unwrap();
                    }
                }
            }
            // Only the padding at the end can be missing.
            let cut = decode(&schema, message[..at].to_vec());
            assert!(cut.is_err() || cut == Ok(rows()), "cut at {at}");
        }
    }
}
