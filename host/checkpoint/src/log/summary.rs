//! What a log says so far: the fold of its records.
//!
//! The same fold runs in three places: when a query writes a record, when a checkpoint is opened,
//! and when a snapshot is made. A record that does not follow from those before it is refused in
//! all three.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_core::{Attempt, BatchId, Delivered, Digest, QueryId, SourceRange, Watermark};

use super::record::{Planned, Record};
use crate::LogGap;

/// The fold of a log's records. A snapshot keeps it as JSON.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LogSummary {
    /// `None` before the log's first record.
    pub(crate) query_id: Option<QueryId>,
    pub(crate) pinned: BTreeMap<String, String>,
    /// The last attempt that was planned, of a committed batch or of the one after it.
    pub(crate) planned: Option<Planned>,
    /// Whether that attempt has failed.
    pub(crate) has_failed: bool,
    /// Names under which the planned batch was marked. A mark names one batch, so a commit
    /// forgets them.
    pub(crate) marks: BTreeSet<String>,
    pub(crate) committed: Option<BatchId>,
    /// Time of the committed batch.
    pub(crate) committed_time_ms: i64,
    pub(crate) watermark: Watermark,
    pub(crate) late_watermark: Watermark,
    /// Entries of state by operator, after the committed batch.
    pub(crate) state_rows: BTreeMap<u32, u64>,
    /// The last full positions of the sources, by name.
    pub(crate) positions: BTreeMap<String, Value>,
    /// Ranges of the batches that were planned after `positions`.
    pub(crate) ranges_since: Vec<BTreeMap<String, SourceRange>>,
    /// Every plugin, with the last batch that used it.
    pub(crate) plugins: BTreeMap<Digest, BatchId>,
    /// The last delivery to each sink and target that keeps marks, by its name.
    #[serde(default)]
    pub(crate) delivered: BTreeMap<String, Delivered>,
}

impl LogSummary {
    /// Takes a record in, or refuses one that does not follow and stays as it is.
    pub(crate) fn fold(&mut self, record: Record) -> Result<(), LogGap> {
        self.check(&record)?;
        match record {
            Record::Created(created) => {
                self.query_id = Some(created.query_id);
                self.pinned = created.pinned;
            }
            Record::Planned(planned) => self.plan(planned),
            Record::Failed(_) => self.has_failed = true,
            Record::Mark(mark) => {
                self.marks.insert(mark.name);
            }
            Record::Committed(committed) => {
                if let Some(planned) = &self.planned {
                    self.late_watermark = planned.spec.watermark;
                    self.committed_time_ms = planned.spec.batch_time_ms;
                }
                self.committed = Some(committed.batch);
                self.watermark = committed.next_watermark;
                self.state_rows = committed.state_rows;
                self.delivered.extend(committed.delivered);
                self.pinned.extend(committed.pinned);
                self.marks.clear();
            }
            Record::Positions(positions) => {
                // Those of the batch that is planned and not committed.
                let open = self.open_batch().map(|open| open.spec.ranges.clone());
                self.ranges_since = open.into_iter().filter(|ranges| !ranges.is_empty()).collect();
                self.positions = positions.positions;
            }
        }
        Ok(())
    }

    /// The batch that was planned and is not committed.
    pub(crate) fn open_batch(&self) -> Option<&Planned> {
        self.planned.as_ref().filter(|planned| Some(planned.spec.batch) != self.committed)
    }

    pub(crate) fn next_batch(&self) -> BatchId {
        self.committed.map_or(BatchId::FIRST, BatchId::next)
    }

    /// Whether a record follows from those before it.
    pub(crate) fn check(&self, record: &Record) -> Result<(), LogGap> {
        if self.is_followed_by(record) {
            return Ok(());
        }
        let planned = self.planned.as_ref();
        let planned = planned.map(|planned| (planned.spec.batch, planned.attempt.attempt));
        Err(LogGap { record: record.describe(), planned, committed: self.committed })
    }

    fn plan(&mut self, planned: Planned) {
        let batch = planned.spec.batch;
        if planned.replanned {
            self.forget_open_ranges();
        }
        let is_new_spec = planned.replanned || planned.attempt.attempt == Attempt::FIRST;
        if is_new_spec && !planned.spec.ranges.is_empty() {
            self.ranges_since.push(planned.spec.ranges.clone());
        }
        self.plugins.extend(planned.attempt.plugins.values().map(|&digest| (digest, batch)));
        self.has_failed = false;
        self.planned = Some(planned);
    }

    /// The open batch is planned anew: it reads other ranges.
    fn forget_open_ranges(&mut self) {
        let open = self.open_batch().map(|open| &open.spec.ranges);
        if self.ranges_since.last() == open {
            self.ranges_since.pop();
        }
    }

    fn is_followed_by(&self, record: &Record) -> bool {
        let is_running = |batch: BatchId| {
            !self.has_failed && self.open_batch().is_some_and(|open| open.spec.batch == batch)
        };
        match record {
            Record::Created(_) => self.query_id.is_none(),
            _ if self.query_id.is_none() => false,
            Record::Planned(planned) => match self.open_batch() {
                None => {
                    planned.spec.batch == self.next_batch()
                        && planned.attempt.attempt == Attempt::FIRST
                        && !planned.replanned
                }
                // All attempts at a batch have the same spec, unless it is planned anew.
                Some(last) => {
                    self.has_failed
                        && planned.attempt.attempt == last.attempt.attempt.next()
                        && planned.spec.batch == last.spec.batch
                        && (planned.replanned || planned.spec == last.spec)
                }
            },
            Record::Failed(failed) => {
                is_running(failed.batch)
                    && self.open_batch().is_some_and(|open| open.attempt.attempt == failed.attempt)
            }
            Record::Mark(mark) => is_running(mark.batch),
            Record::Committed(committed) => is_running(committed.batch),
            Record::Positions(positions) => positions.after == self.committed,
        }
    }
}
