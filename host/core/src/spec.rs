//! What is fixed for a micro-batch before it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

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

/// A [`BatchSpec`] as the log and the marks of places write it: JSON, with its digest.
///
/// Two texts may say the same (a later version may write a member more), so what counts for
/// [`EncodedSpec::is_same`] is what they say; equal digests only make the answer cheap. Clones
/// share the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedSpec {
    text: Arc<str>,
    digest: Digest,
}

impl EncodedSpec {
    /// Encodes a spec.
    #[must_use]
    pub fn of(spec: &BatchSpec) -> EncodedSpec {
        let text =
            serde_json::to_string(spec).expect("plain data with text keys always has a JSON form");
        EncodedSpec::from_text(text)
    }

    /// A text that a place kept. What it says shows in [`EncodedSpec::decode`].
    #[must_use]
    pub fn from_text(text: impl Into<Arc<str>>) -> EncodedSpec {
        let text = text.into();
        EncodedSpec { digest: Digest::of(text.as_bytes()), text }
    }

    /// The JSON.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The spec. `Err` says why the text is none.
    pub fn decode(&self) -> Result<BatchSpec, String> {
        serde_json::from_str(&self.text).map_err(|error| error.to_string())
    }

    /// Whether both say the same.
    #[must_use]
    pub fn is_same(&self, other: &EncodedSpec) -> bool {
        self.digest == other.digest || self.decode().is_ok_and(|spec| Ok(spec) == other.decode())
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
