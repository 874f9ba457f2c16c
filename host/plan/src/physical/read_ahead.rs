//! Rows of a source, read by a thread that may block.
//!
//! ```text
//!  batch n      read, compute ──▶ deliver, commit
//!  batch n + 1                    read ───────────▶ compute (reads on) ──▶ deliver, commit
//! ```
//!
//! A source may have to wait for rows, for minutes where its place is slow. Such reading is not
//! done by the threads that compute: as many of them could wait as there are, and the query would
//! stand still. A reader that never waits is read where its rows are computed, [`read_here`]: a
//! block that does not cross to another thread is still in the processor's cache.
//!
//! Reading depends on a range alone, not on watermark, time or state: so it may begin before the
//! batch does, once its range is fixed.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::executor::block_on;
use futures::stream;
use tidemill_core::{BatchId, MemoryBudget, Reservation, SourceRange, TRACE_TARGET};
use tokio::sync::mpsc::{Sender, channel};
use tracing::{Span, debug_span};

use super::scan::StreamScanExec;
use crate::memory::block_bytes;
use crate::threads::spawn_blocking;

/// Record batches that one partition of a source is read ahead: 8 blocks of 8,192 rows.
const AHEAD_BLOCKS: usize = 8;

/// How errors about memory name rows that were read and not yet computed.
const HOLDER: &str = "rows read ahead";

/// The blocks of one partition, as they are read.
pub(super) type Blocks = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// A block on its way to who computes, and its memory. Where that could not be reserved, the block
/// is the only one on its way.
type Passed = (Result<RecordBatch>, Option<Reservation>);

/// The beginnings of ranges, by source, scan of it and partition. Dropped, it stops reading.
#[derive(Default)]
pub struct ReadAhead {
    parts: Mutex<BTreeMap<(String, usize, usize), Part>>,
}

/// One partition of a range, as it is read.
struct Part {
    range: SourceRange,
    rows: SendableRecordBatchStream,
}

impl ReadAhead {
    /// Begins to read one partition.
    pub(crate) fn begin(
        &self,
        scan: &StreamScanExec,
        batch: BatchId,
        range: &SourceRange,
        partition: usize,
        memory: &MemoryBudget,
    ) -> Result<()> {
        let source = scan.source().to_owned();
        let span = debug_span!(
            target: TRACE_TARGET, "read_ahead", batch = batch.0, source, partition
        );
        let rows = read_blocking(scan.read_schema(), scan.read(range, partition), span, memory)?;
        let part = Part { range: range.clone(), rows };
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert((scan.source().to_owned(), scan.number(), partition), part);
        Ok(())
    }

    /// The rows of a partition, if it was begun and has just this range.
    pub(crate) fn take(
        &self,
        scan: &StreamScanExec,
        range: &SourceRange,
        partition: usize,
    ) -> Option<SendableRecordBatchStream> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts.remove(&(scan.source().to_owned(), scan.number(), partition))?;
        let fits = part.range == *range && part.rows.schema() == scan.read_schema();
        fits.then_some(part.rows)
    }
}

/// Begins to read on a thread that may block. The stream has its rows; dropped, it stops reading
/// after the next block.
pub(super) fn read_blocking(
    schema: SchemaRef,
    open: impl FnOnce() -> Result<Blocks> + Send + 'static,
    span: Span,
    memory: &MemoryBudget,
) -> Result<SendableRecordBatchStream> {
    let (sender, receiver) = channel(AHEAD_BLOCKS);
    let ahead = Ahead { sender, memory: memory.reserve(HOLDER) };
    spawn_blocking(move || ahead.read(Reading::new(open, span)))
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    let rows = stream::unfold(receiver, |mut receiver| async move {
        let (block, _): Passed = receiver.recv().await?;
        Some((block, receiver))
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// Reads on the thread that asks for rows, from the first time it does.
pub(super) fn read_here(
    schema: SchemaRef,
    open: impl FnOnce() -> Result<Blocks> + Send + 'static,
    span: Span,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(Reading::new(open, span))))
}

/// The blocks of a partition, which is opened for the first one. It ends after an error, and a
/// panic is one.
struct Reading<O> {
    state: State<O>,
    span: Span,
}

enum State<O> {
    Unopened(O),
    Open(Blocks),
    Ended,
}

impl<O: FnOnce() -> Result<Blocks>> Reading<O> {
    fn new(open: O, span: Span) -> Reading<O> {
        Reading { state: State::Unopened(open), span }
    }
}

impl<O: FnOnce() -> Result<Blocks>> Iterator for Reading<O> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let read = || -> Result<Option<(RecordBatch, Blocks)>> {
            let mut blocks = match state {
                State::Unopened(open) => open()?,
                State::Open(blocks) => blocks,
                State::Ended => return Ok(None),
            };
            Ok(blocks.next().transpose()?.map(|block| (block, blocks)))
        };
        let read = catch_unwind(AssertUnwindSafe(|| self.span.in_scope(read)));
        match read.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
            Ok(Some((block, blocks))) => {
                self.state = State::Open(blocks);
                Some(Ok(block))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// The end of a queue at which a thread reads.
struct Ahead {
    sender: Sender<Passed>,
    memory: Reservation,
}

impl Ahead {
    fn read(&self, blocks: impl Iterator<Item = Result<RecordBatch>>) {
        for block in blocks {
            // Who does not want the rows any more hangs up.
            if !self.pass(block) {
                return;
            }
        }
    }

    /// Hands a block over. Whether anybody wants more.
    fn pass(&self, block: Result<RecordBatch>) -> bool {
        let held = match &block {
            Ok(rows) => {
                let mut part = self.memory.part();
                part.try_grow_ahead(block_bytes(rows)).then_some(part)
            }
            Err(_) => None,
        };
        // Without memory nothing is read ahead: all other blocks have to be taken first.
        if held.is_none() && block_on(self.sender.reserve_many(AHEAD_BLOCKS)).is_err() {
            return false;
        }
        self.sender.blocking_send((block, held)).is_ok()
    }
}

fn panicked(panic: &(dyn Any + Send)) -> DataFusionError {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    exec_datafusion_err!("reading ended early: {}", message.unwrap_or("it panicked"))
}
