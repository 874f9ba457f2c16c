//! Rows of the next batch that are read while the last one is delivered.
//!
//! ```text
//!  batch n      read, compute ──▶ deliver, commit
//!  batch n + 1                    read ───────────▶ compute (reads on) ──▶ deliver, commit
//! ```
//!
//! Reading depends on a range alone, not on watermark, time or state: so it may begin before the
//! batch does, once its range is fixed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use datafusion::error::Result;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use tidemill_core::{BatchId, SourceRange, TRACE_TARGET};
use tracing::debug_span;

use super::scan::StreamScanExec;

/// Record batches that one partition of a source is read ahead: 8 blocks of 8,192 rows.
const AHEAD_BLOCKS: usize = 8;

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
    /// Begins to read one partition. A thread that may block does it, for a source may have to
    /// wait for rows.
    pub(crate) fn begin(
        &self,
        scan: &StreamScanExec,
        batch: BatchId,
        range: &SourceRange,
        partition: usize,
    ) -> Result<()> {
        let mut blocks = scan.read(range, partition)?;
        let source = scan.source().to_owned();
        let span = debug_span!(
            target: TRACE_TARGET, "read_ahead", batch = batch.0, source, partition
        );
        let mut stream = RecordBatchReceiverStreamBuilder::new(scan.schema(), AHEAD_BLOCKS);
        let sender = stream.tx();
        stream.spawn_blocking(move || {
            // Who does not want the rows any more hangs up.
            while let Some(block) = span.in_scope(|| blocks.next()) {
                if sender.blocking_send(block).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let part = Part { range: range.clone(), rows: stream.build() };
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
        let fits = part.range == *range && part.rows.schema() == scan.schema();
        fits.then_some(part.rows)
    }
}
