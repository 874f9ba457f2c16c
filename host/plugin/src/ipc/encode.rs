//! Rows for a guest.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

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
