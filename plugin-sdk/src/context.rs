//! What a call knows of the batch that it is made for.

use std::cell::RefCell;

use crate::bindings::tidemill::plugin::types;
use crate::{Result, Timestamp, host};

/// Fixed for one attempt at one micro-batch: the same values on every replay of it.
///
/// Whatever has to differ from batch to batch should come from here, and not from a counter of the
/// plugin's own: each batch gets a fresh instance, which remembers nothing, unless the job says `reuse`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BatchContext {
    /// Name of the query.
    pub query: String,
    /// Identity of the query, constant over restarts.
    pub query_id: String,
    /// Number of the micro-batch, from 0 on without gaps.
    pub batch_id: u64,
    /// The try at it: 0 for the first.
    pub attempt: u32,
    /// Source partition or state shard that the rows belong to; 0 in a `foreach_batch`.
    pub partition: u32,
    /// What `current_timestamp()` is in this batch.
    pub batch_time: Timestamp,
    /// The query's watermark, if it has one.
    pub watermark: Option<Timestamp>,
    refused: RefCell<Vec<types::RowError>>,
}

/// Of no batch: for the author's own tests.
impl Default for BatchContext {
    fn default() -> BatchContext {
        // There is no host that starts it, and what the function logs should be seen.
        #[cfg(not(target_arch = "wasm32"))]
        crate::logging::start();
        BatchContext {
            query: String::new(),
            query_id: String::new(),
            batch_id: 0,
            attempt: 0,
            partition: 0,
            batch_time: Timestamp(0),
            watermark: None,
            refused: RefCell::default(),
        }
    }
}

impl BatchContext {
    /// Whether this query has marked this batch under `name`, in this run or before a crash.
    ///
    /// Together with [`mark_processed`](Self::mark_processed) it makes a handler skip work that it
    /// has already done. Only in a `foreach_batch`.
    pub fn is_processed(&self, name: &str) -> Result<bool> {
        host::is_processed(name)
    }

    /// Marks this batch under `name`. The mark is durable when the call returns. Only in a
    /// `foreach_batch`.
    pub fn mark_processed(&self, name: &str) -> Result<()> {
        host::mark_processed(name)
    }

    /// Refuses row number `row` of the input, with the reason. Only in a `transform`, which should
    /// leave the row out of what it gives back. It goes to the job's dead
    /// letters; where the job has no place for them, the batch fails and says the reason.
    pub fn refuse(&self, row: usize, reason: impl std::fmt::Display) {
        // A record batch has fewer than 2^32 rows: it came through 32-bit memory.
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        self.refused.borrow_mut().push(types::RowError { row, reason: reason.to_string() });
    }

    pub(crate) fn from_host(context: types::BatchContext) -> BatchContext {
        BatchContext {
            query: context.query,
            query_id: context.query_id,
            batch_id: context.batch_id,
            attempt: context.attempt,
            partition: context.partition,
            batch_time: Timestamp(context.batch_time),
            watermark: context.watermark.map(Timestamp),
            refused: RefCell::default(),
        }
    }

    pub(crate) fn take_refused(&self) -> Vec<types::RowError> {
        self.refused.take()
    }
}
