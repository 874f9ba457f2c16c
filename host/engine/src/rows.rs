//! Rows that are read more than once: in memory as long as there is room, beyond it in a temporary
//! file.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use tempfile::TempPath;
use tidemill_core::Reservation;
use tidemill_plan::{CallMemory, FrameRows, block_bytes};

use crate::EngineError;

/// Bytes of one set of rows that stay in memory. A windowed result is far below it; a raw batch of
/// a foreach_batch handler may be above.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// How errors about memory name these rows.
const HOLDER: &str = "tables of a handler";

/// Rows of one schema, written once.
pub(crate) struct StoredRows {
    schema: SchemaRef,
    memory: Vec<RecordBatch>,
    _held: Reservation,
    /// The blocks after those in memory.
    spilled: Option<Spilled>,
    rows: u64,
}

/// Blocks in a file, which goes with the value. Each is an Arrow IPC stream of its own, so that
/// reading can begin at any of them.
struct Spilled {
    path: TempPath,
    /// Where each begins.
    blocks: Vec<u64>,
}

/// Collects rows.
pub(crate) struct RowsBuilder {
    schema: SchemaRef,
    memory: Vec<RecordBatch>,
    held: Reservation,
    call: Arc<CallMemory>,
    spill: Option<(BufWriter<File>, Spilled)>,
    rows: u64,
}

impl RowsBuilder {
    pub(crate) fn new(schema: SchemaRef, call: &Arc<CallMemory>) -> RowsBuilder {
        let (held, call) = (call.budget().reserve(HOLDER), Arc::clone(call));
        RowsBuilder { schema, memory: Vec::new(), held, call, spill: None, rows: 0 }
    }

    /// Keeps a block. From the first one on for which there is no room, blocks go to the file.
    pub(crate) fn push(&mut self, rows: RecordBatch) -> Result<(), EngineError> {
        self.rows += rows.num_rows() as u64;
        if self.spill.is_none() {
            let bytes = block_bytes(&rows);
            let fits = self.held.bytes() + bytes <= MEMORY_BYTES;
            if fits && self.held.try_grow_ahead(bytes) {
                self.memory.push(rows);
                return Ok(());
            }
            let file = self.call.spill().file().map_err(|e| EngineError::Spill(e.to_string()))?;
            let (file, path) = file.into_parts();
            self.spill = Some((BufWriter::new(file), Spilled { path, blocks: Vec::new() }));
        }
        match &mut self.spill {
            Some((file, spilled)) => spilled.write(file, &rows).map_err(EngineError::spill),
            None => Ok(()),
        }
    }

    pub(crate) fn finish(self) -> Result<StoredRows, EngineError> {
        let spilled = match self.spill {
            None => None,
            Some((mut file, spilled)) => {
                file.flush().map_err(|error| EngineError::spill(error.into()))?;
                Some(spilled)
            }
        };
        let RowsBuilder { schema, memory, held, rows, .. } = self;
        Ok(StoredRows { schema, memory, _held: held, spilled, rows })
    }
}

impl Spilled {
    fn write(&mut self, file: &mut BufWriter<File>, rows: &RecordBatch) -> Result<(), ArrowError> {
        self.blocks.push(file.stream_position()?);
        let mut writer = StreamWriter::try_new(file, &rows.schema())?;
        writer.write(rows)?;
        writer.finish()
    }

    /// The blocks from one on. Each reader has a position of its own.
    fn read(
        &self,
        first: usize,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + use<>, ArrowError>
    {
        let mut file = BufReader::new(File::open(&self.path)?);
        let blocks = self.blocks.get(first..).unwrap_or_default().to_vec();
        Ok(blocks.into_iter().map(move |begin| {
            file.seek(SeekFrom::Start(begin))?;
            let block = StreamReader::try_new(&mut file, None)?.next();
            block.unwrap_or_else(|| {
                let reason = "a block of spilled rows ended early";
                Err(ArrowError::IpcError(reason.to_owned()))
            })
        }))
    }
}

impl StoredRows {
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub(crate) fn count(&self) -> u64 {
        self.rows
    }

    /// The blocks from one on: what comes before it is not read.
    pub(crate) fn read_from(
        &self,
        first: usize,
    ) -> Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send> {
        let memory = self.memory.get(first..).unwrap_or_default().to_vec();
        let memory = memory.into_iter().map(Ok);
        let Some(spilled) = &self.spilled else {
            return Box::new(memory);
        };
        match spilled.read(first.saturating_sub(self.memory.len())) {
            Ok(blocks) => Box::new(memory.chain(blocks)),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }
}

impl FrameRows for StoredRows {
    fn read(&self) -> Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send> {
        self.read_from(0)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use tempfile::TempDir;
    use tidemill_core::MemoryBudget;
    use tidemill_plan::QueryMemory;

    use super::*;

    const BLOCKS: usize = 40;
    const ROWS: usize = 8_192;

    fn numbers(block: usize) -> RecordBatch {
        let numbers =
            Int64Array::from_iter_values((0..ROWS).map(|row| (block * ROWS + row) as i64));
        RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).unwrap()
    }

    /// Keeps blocks of 64 KiB in so much memory.
    fn stored(directory: &TempDir, memory: u64) -> (QueryMemory, StoredRows) {
        let query = QueryMemory::new(MemoryBudget::new(memory), &directory.path().join("spill"));
        let query = query.unwrap();
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
        let mut rows = RowsBuilder::new(Arc::new(schema), &Arc::new(query.call()));
        (0..BLOCKS).for_each(|block| rows.push(numbers(block)).unwrap());
        (query, rows.finish().unwrap())
    }

    fn first_number(rows: &RecordBatch) -> usize {
        rows.column(0).as_primitive::<Int64Type>().value(0) as usize
    }

    #[test]
    fn reading_begins_at_any_block_in_memory_or_not() {
        let directory = TempDir::new().unwrap();
        let (query, rows) = stored(&directory, 2 << 20);
        assert!((2..BLOCKS).contains(&rows.memory.len()), "{} in memory", rows.memory.len());
        assert!(query.budget().used() <= 1 << 18, "a quarter of the half that a call has");
        for first in 0..=BLOCKS {
            let blocks: Vec<RecordBatch> = rows.read_from(first).map(Result::unwrap).collect();
            let begins: Vec<usize> = blocks.iter().map(first_number).collect();
            let expected: Vec<usize> = (first..BLOCKS).map(|block| block * ROWS).collect();
            assert_eq!(begins, expected);
        }
        assert_eq!(rows.read_from(BLOCKS + 7).count(), 0);
    }

    #[test]
    fn a_page_costs_one_page_wherever_it_is() {
        let directory = TempDir::new().unwrap();
        let (_query, rows) = stored(&directory, 1 << 18);
        let spilled = rows.spilled.as_ref().unwrap();
        // What lies before a page is damaged: reading the page must not come by it.
        let last = *spilled.blocks.last().unwrap() as usize;
        let mut bytes = std::fs::read(&spilled.path).unwrap();
        bytes[..last].fill(0xff);
        std::fs::write(&spilled.path, bytes).unwrap();
        let page = rows.read_from(BLOCKS - 1).next().unwrap().unwrap();
        assert_eq!(first_number(&page), (BLOCKS - 1) * ROWS);
    }

    #[test]
    fn nothing_stays_in_memory_or_on_disk() {
        let directory = TempDir::new().unwrap();
        let (query, rows) = stored(&directory, 1 << 20);
        assert!(directory.path().join("spill").exists());
        drop(rows);
        assert_eq!(query.budget().used(), 0);
        drop(query);
        assert!(!directory.path().join("spill").exists());
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let directory = TempDir::new().unwrap();
        let left = directory.path().join("spill/left");
        std::fs::create_dir(left.parent().unwrap()).unwrap();
        std::fs::write(&left, "rows").unwrap();
        let (_query, _rows) = stored(&directory, 1 << 20);
        assert!(!left.exists());
    }
}
