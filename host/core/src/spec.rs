//! What is fixed for a micro-batch before it runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Attempt, BatchId, Digest, SourceRange, Watermark};

/// The source ranges, watermarks and time of one micro-batch. The same for all attempts at it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BatchSpec {
    /// Which batch.
    pub batch: BatchId,
    /// `current_timestamp()` in this batch: milliseconds since 1970-01-01 UTC.
    pub batch_time_ms: i64,
    /// Eviction and `BatchContext.watermark` go by this one.
    pub watermark: Watermark,
    /// The watermark of the batch before: lateness goes by this one (Spark's WatermarkPropagator:
    /// the late filter lags one batch, so that a row is never late by what its own batch evicts).
    pub late_watermark: Watermark,
    /// By source name. A source without an entry has nothing in this batch.
    pub ranges: BTreeMap<String, SourceRange>,
}

impl BatchSpec {
    /// Whether the batch runs only because the watermark moved.
    #[must_use]
    pub fn is_no_data(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// What one attempt at a batch uses beside its spec and the state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AttemptSpec {
    /// Which try.
    pub attempt: Attempt,
    /// Digest of each plugin, by the job's name for it.
    pub plugins: BTreeMap<String, Digest>,
    /// Digest of the job's text.
    pub job: Digest,
    /// What each static table that the job names was read from, as a digest (empty while it names
    /// none).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub statics: BTreeMap<String, Digest>,
}
