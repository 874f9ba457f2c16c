//! Rows that are read more than once: in memory up to a bound, beyond it in a temporary file.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use tempfile::{NamedTempFile, TempPath};
use tidemill_plan::FrameRows;

use crate::EngineError;

/// Bytes of one set of rows that stay in memory. A windowed result is far below it; a raw batch of
/// a foreach_batch handler may be above.
const MEMORY_BYTES: usize = 64 * 1024 * 1024;

/// Rows of one schema, written once.
pub(crate) struct StoredRows {
    schema: SchemaRef,
    memory: Vec<RecordBatch>,
    /// Arrow IPC, after the rows in memory. The file goes with the value.
    spilled: Option<TempPath>,
    rows: u64,
}

/// Collects rows.
pub(crate) struct RowsBuilder {
    schema: SchemaRef,
    memory: Vec<RecordBatch>,
    bytes: usize,
    spill: Option<(StreamWriter<BufWriter<File>>, TempPath)>,
    rows: u64,
}

impl RowsBuilder {
    pub(crate) fn new(schema: SchemaRef) -> RowsBuilder {
        RowsBuilder { schema, memory: Vec::new(), bytes: 0, spill: None, rows: 0 }
    }

    pub(crate) fn push(&mut self, rows: RecordBatch) -> Result<(), EngineError> {
        let spill_error = |error: ArrowError| EngineError::Spill(error.to_string());
        self.rows += rows.num_rows() as u64;
        self.bytes += rows.get_array_memory_size();
        if self.spill.is_none() && self.bytes > MEMORY_BYTES {
            let file = NamedTempFile::new().map_err(|e| EngineError::Spill(e.to_string()))?;
            let (file, path) = file.into_parts();
            let writer = StreamWriter::try_new_buffered(file, &self.schema).map_err(spill_error)?;
            self.spill = Some((writer, path));
        }
        match &mut self.spill {
            Some((spill, _)) => spill.write(&rows).map_err(spill_error),
            None => {
                self.memory.push(rows);
                Ok(())
            }
        }
    }

    pub(crate) fn finish(self) -> Result<StoredRows, EngineError> {
        let spilled = match self.spill {
            None => None,
            Some((mut writer, path)) => {
                writer.finish().map_err(|error| EngineError::Spill(error.to_string()))?;
                Some(path)
            }
        };
        Ok(StoredRows { schema: self.schema, memory: self.memory, spilled, rows: self.rows })
    }
}

impl StoredRows {
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub(crate) fn count(&self) -> u64 {
        self.rows
    }
}

impl FrameRows for StoredRows {
    fn read(&self) -> Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send> {
        let memory = self.memory.clone().into_iter().map(Ok);
        let Some(spilled) = &self.spilled else {
            return Box::new(memory);
        };
        match reopen(spilled) {
            Ok(reader) => Box::new(memory.chain(reader)),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }
}

/// Each reader has a position of its own.
fn reopen(path: &Path) -> Result<StreamReader<BufReader<File>>, ArrowError> {
    StreamReader::try_new_buffered(File::open(path)?, None)
}
