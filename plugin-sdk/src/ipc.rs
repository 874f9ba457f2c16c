//! Rows as they cross the boundary: Arrow IPC, the schema once, then bare record-batch messages.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use arrow::ipc::reader::FileDecoder;
use arrow::ipc::writer::StreamWriter;
use arrow::ipc::{Block, MetadataVersion};

use crate::{Error, Result};

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
    pub(crate) fn new(schema: &Schema) -> Result<Encoder> {
        let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
        // The writer begins with the schema; what follows are the bare messages.
        let schema_message = std::mem::take(writer.get_mut());
        Ok(Encoder { writer, schema_message })
    }

    pub(crate) fn schema_message(&self) -> Vec<u8> {
        self.schema_message.clone()
    }

    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.writer.get_mut().reserve(encoded_size(batch)?);
        self.writer.write(batch)?;
        Ok(std::mem::take(self.writer.get_mut()))
    }
}

/// About the bytes of a message: columns may be parts of larger buffers, which do not count.
fn encoded_size(batch: &RecordBatch) -> Result<usize> {
    let mut bytes = MESSAGE_BYTES;
    for column in batch.columns() {
        bytes += column.to_data().get_slice_memory_size()? + BUFFER_PADDING;
    }
    Ok(bytes)
}

/// A schema as the message that announces it.
pub(crate) fn encode_schema(schema: &Schema) -> Result<Vec<u8>> {
    Ok(Encoder::new(schema)?.schema_message)
}

pub(crate) fn decode_schema(message: &[u8]) -> Result<SchemaRef> {
    Ok(Arc::new(try_schema_from_ipc_buffer(message)?))
}

/// Rows of a message, without copying them.
pub(crate) fn decode(schema: &SchemaRef, message: Vec<u8>) -> Result<RecordBatch> {
    let short = || Error::bad_input("the host sent a message that is not Arrow IPC");
    let length = message.get(4..8).and_then(|length| length.try_into().ok()).ok_or_else(short)?;
    let metadata = i32::from_le_bytes(length).checked_add(8).ok_or_else(short)?;
    let body = message.len().checked_sub(metadata as usize).ok_or_else(short)?;
    let block = Block::new(0, metadata, body as i64);
    decoder(Arc::clone(schema))
        .read_record_batch(&block, &Buffer::from_vec(message))?
        .ok_or_else(short)
}

/// A plugin takes what the host sends on trust: it is laid out as Arrow says, every text is UTF-8, and
/// every offset is within its buffer.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "the host's messages are not checked again; see the argument below")]
fn decoder(schema: SchemaRef) -> FileDecoder {
    let decoder = FileDecoder::new(schema, MetadataVersion::V5);
    // SAFETY: the host encodes columns that it holds as Arrow's arrays, which are checked where they
    // come from, and nothing but the host calls this code. A host that lies breaks the plugin's own
    // memory, which it can read and write as it likes anyway.
    unsafe { decoder.with_skip_validation(true) }
}

/// In the author's own tests there is no host, and everything is checked.
#[cfg(not(target_arch = "wasm32"))]
fn decoder(schema: SchemaRef) -> FileDecoder {
    FileDecoder::new(schema, MetadataVersion::V5)
}
