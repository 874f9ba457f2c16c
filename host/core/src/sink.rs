//! Where rows go, and what a place remembers of them.

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::{Attempt, BatchId, ConnectorError, Digest, EncodedSpec};

/// Which rows are being delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The micro-batch.
    pub batch: BatchId,
    /// What is fixed for it. A place that keeps marks keeps this too.
    pub spec: EncodedSpec,
    /// The try at it.
    pub attempt: Attempt,
    /// 1 for the query's sink; for a target, the number of this `write` within the handler's call.
    pub call: u32,
}

/// Whether the rows of a delivery are still wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// Write them.
    Wanted,
    /// The place holds them already, from a run that ended before its commit was logged.
    /// Nothing more is called for this delivery.
    Landed,
}

/// What a place remembers of the last delivery that it holds. It becomes visible in the same step
/// as the rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The batch. The place holds all earlier ones that were delivered to it.
    pub batch: BatchId,
    /// Calls of `batch` that landed, at least 1; they land in order.
    pub calls: u32,
    /// The spec that the batch ran with: with it the batch can be run again by a checkpoint that
    /// does not know of it.
    pub spec: EncodedSpec,
}

impl Mark {
    /// The mark of a delivery that lands.
    #[must_use]
    pub fn of(delivery: &Delivery) -> Mark {
        Mark { batch: delivery.batch, calls: delivery.call, spec: delivery.spec.clone() }
    }

    /// Whether the marked batch ran with this spec.
    #[must_use]
    pub fn is_of(&self, spec: &EncodedSpec) -> bool {
        self.spec.is_same(spec)
    }

    /// Whether the log noted this mark's spec under that digest: the place may keep another text
    /// of the same spec, from another version.
    #[must_use]
    pub fn is_noted_as(&self, digest: Digest) -> bool {
        self.spec.digest() == digest
            || self.spec.decode().is_ok_and(|spec| EncodedSpec::of(&spec).digest() == digest)
    }

    /// What [`Sink::begin`] answers in a place with this mark. Refuses a delivery of the marked
    /// batch with another spec: its rows are not those that the place holds.
    pub fn begin(mark: Option<&Mark>, delivery: &Delivery) -> Result<Begin, ConnectorError> {
        let Some(mark) = mark else {
            return Ok(Begin::Wanted);
        };
        if mark.batch == delivery.batch && !mark.is_of(&delivery.spec) {
            return Err(ConnectorError::fatal(mark.other_spec(&delivery.spec)));
        }
        let has_landed = (mark.batch, mark.calls) >= (delivery.batch, delivery.call);
        Ok(if has_landed { Begin::Landed } else { Begin::Wanted })
    }

    /// Says that the marked batch is another one than the log's.
    #[must_use]
    pub fn other_spec(&self, logged: &EncodedSpec) -> String {
        format!(
            "the place holds batch {} with other ranges or another time (digest {}) than the checkpoint has for it ({}): place and checkpoint do not belong together; put back the checkpoint that wrote it, or start with a new checkpoint and a new place",
            self.batch,
            self.spec.digest().short(),
            logged.digest().short()
        )
    }
}

/// What the log notes of a place that keeps marks, with the commit of a batch that was delivered
/// to it. The place has to hold as much when the query is next started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivered {
    /// The place, by [`Sink::description`].
    pub place: String,
    /// The same without the folders that place and checkpoint share: both may be moved together.
    /// `None`: they share none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// The last batch that was delivered there.
    pub batch: BatchId,
    /// Calls of the batch that landed.
    pub calls: u32,
    /// Digest of the batch's spec.
    pub digest: Digest,
}

impl Delivered {
    /// What is noted of a delivery that landed.
    #[must_use]
    pub fn of(place: String, delivery: &Delivery) -> Delivered {
        let (batch, calls) = (delivery.batch, delivery.call);
        Delivered { place, beside: None, batch, calls, digest: delivery.spec.digest() }
    }
}

/// What a place says of the deliveries that it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// It keeps no marks, or forgets them with the process: nobody knows.
    Unknown,
    /// No delivery of this query and name.
    Nothing,
    /// All deliveries up to this one.
    UpTo(Mark),
    /// It has this mark, and what the sink writes to is not there: another table that the job names
    /// now, or one that lost its rows.
    MarkAlone(Mark),
}

impl Held {
    /// The mark, if there is one.
    #[must_use]
    pub fn mark(&self) -> Option<&Mark> {
        match self {
            Held::UpTo(mark) | Held::MarkAlone(mark) => Some(mark),
            Held::Unknown | Held::Nothing => None,
        }
    }
}

impl From<Option<Mark>> for Held {
    /// Of a place that keeps marks.
    fn from(mark: Option<Mark>) -> Held {
        mark.map_or(Held::Nothing, Held::UpTo)
    }
}

/// A place that takes micro-batches, each exactly once where the place allows it.
///
/// ```text
/// begin -> write* -> prepare -> commit
///    \________\_________\-----> abort
/// ```
///
/// 1. `begin` compares the delivery with the place's mark ([`Mark::begin`]). A delivery at or
///    before the mark has landed; one of the marked batch with another spec is an error.
/// 2. `write` takes rows, in the query's order. Nothing is visible to readers yet.
/// 3. `prepare` makes the rows durable as far as the place can without showing them.
/// 4. `commit` shows rows and mark at once. A crash before it leaves the old batch, after it the
///    new one; a crash within is finished or undone when the place is next opened. Whoever does
///    not know how a commit ended asks `begin` of the same delivery.
/// 5. `abort` drops what was written since `begin`. The next call is `begin`, maybe of the same
///    batch. After an `abort` that failed nothing is called any more: the place is opened anew,
///    which undoes what is left.
///
/// A mark holds the batch, the number of calls, and the spec with its digest. The engine compares
/// it with its log at the start ([`Sink::held`]): a mark one batch ahead of the log is adopted as
/// the plan of that batch; a mark further ahead, or one behind what was delivered, is refused.
///
/// One delivery at a time. Implementations may block; the engine calls them on a thread that may.
pub trait Sink: Send {
    /// How the sink is named in progress records. Two sinks of the same name are the same place:
    /// the log notes with each commit what the place of this name holds.
    fn description(&self) -> String;

    /// What the place holds of this query. Not asked between `begin` and `commit` or `abort`.
    fn held(&mut self) -> Result<Held, ConnectorError>;

    /// Starts a delivery.
    fn begin(&mut self, delivery: Delivery) -> Result<Begin, ConnectorError>;

    /// Takes rows of the delivery in progress.
    fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError>;

    /// Makes everything ready, so that `commit` can hardly fail.
    fn prepare(&mut self) -> Result<(), ConnectorError>;

    /// Makes the delivery visible, once.
    fn commit(&mut self) -> Result<(), ConnectorError>;

    /// Drops the delivery in progress.
    fn abort(&mut self) -> Result<(), ConnectorError>;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{BatchSpec, Watermark};

    fn delivery(batch: u64, batch_time_ms: i64, call: u32) -> Delivery {
        let spec = BatchSpec {
            batch: BatchId(batch),
            batch_time_ms,
            watermark: Watermark::default(),
            late_watermark: Watermark::default(),
            ranges: BTreeMap::new(),
        };
        let spec = EncodedSpec::of(&spec);
        Delivery { batch: BatchId(batch), spec, attempt: Attempt::FIRST, call }
    }

    #[track_caller]
    fn answers(mark: &Mark, delivery: &Delivery, expected: Begin) {
        assert_eq!(Mark::begin(Some(mark), delivery).expect("an answer"), expected);
    }

    #[test]
    fn a_mark_answers_for_its_batch_and_all_before() {
        let mark = Mark::of(&delivery(7, 70, 2));
        answers(&mark, &delivery(6, 60, 5), Begin::Landed);
        answers(&mark, &delivery(7, 70, 2), Begin::Landed);
        answers(&mark, &delivery(7, 70, 3), Begin::Wanted);
        answers(&mark, &delivery(8, 80, 1), Begin::Wanted);
        assert_eq!(Mark::begin(None, &delivery(0, 0, 1)).expect("an answer"), Begin::Wanted);
    }

    #[test]
    fn the_same_batch_with_another_spec_is_refused_by_both_digests() {
        let mark = Mark::of(&delivery(7, 70, 2));
        for call in [1, 2, 3] {
            let other = delivery(7, 71, call);
            let error = Mark::begin(Some(&mark), &other).expect_err("another batch 7").to_string();
            assert!(error.contains("batch 7"), "{error}");
            assert!(error.contains(&other.spec.digest().short()), "{error}");
            assert!(error.contains(&delivery(7, 70, 1).spec.digest().short()), "{error}");
        }
    }

    #[test]
    fn a_spec_that_is_written_otherwise_and_says_the_same_is_the_same() {
        let delivery = delivery(7, 70, 1);
        let longer = delivery.spec.text().replacen('{', "{\"later\": null, ", 1);
        let longer = EncodedSpec::from_text(longer);
        assert_ne!(longer.digest(), delivery.spec.digest());
        assert!(longer.is_same(&delivery.spec));
        let mark = Mark { spec: longer, ..Mark::of(&delivery) };
        answers(&mark, &delivery, Begin::Landed);
        assert!(mark.is_noted_as(delivery.spec.digest()) && mark.is_noted_as(mark.spec.digest()));
        assert!(!mark.is_noted_as(Digest::of(b"another")));
    }

    #[test]
    fn a_spec_survives_its_text() {
        let spec = delivery(3, 12, 1).spec;
        let again = EncodedSpec::from_text(spec.text());
        assert_eq!((again.digest(), again.decode()), (spec.digest(), spec.decode()));
        assert_eq!(spec.decode().map(|spec| spec.batch), Ok(BatchId(3)));
        assert!(EncodedSpec::from_text("{}").decode().is_err());
    }
}
