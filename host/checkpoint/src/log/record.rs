//! What the log says. A record is the payload of one frame, as JSON, without its kind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tidemill_core::{Attempt, AttemptSpec, BatchId, BatchSpec, Delivered, QueryId, Watermark};

/// Kinds of frames. Numbers are part of the format; none is used twice.
pub(crate) mod kind {
    pub(crate) const CREATED: u8 = 1;
    pub(crate) const PLANNED: u8 = 2;
    pub(crate) const FAILED: u8 = 3;
    pub(crate) const MARK: u8 = 4;
    /// Binary, see [`crate::state::changes`].
    pub(crate) const STATE_CHANGES: u8 = 5;
    pub(crate) const COMMITTED: u8 = 6;
    pub(crate) const POSITIONS: u8 = 7;
    /// The following are of snapshots.
    pub(crate) const SUMMARY: u8 = 16;
    pub(crate) const ENTRIES: u8 = 17;
    pub(crate) const END: u8 = 18;
    /// Of the head alone.
    pub(crate) const HEAD: u8 = 24;
    /// Of the choices alone.
    pub(crate) const CHOICES: u8 = 25;
}

/// A record of the log, changes of state apart.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Record {
    Created(Created),
    Planned(Planned),
    Failed(Failed),
    Mark(Mark),
    Committed(Committed),
    Positions(Positions),
}

/// The first record of every log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Created {
    pub(crate) query_id: QueryId,
    pub(crate) pinned: BTreeMap<String, String>,
}

/// An attempt at a batch begins. Durable before anybody outside sees anything of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) spec: BatchSpec,
    pub(crate) attempt: AttemptSpec,
    /// The batch was planned anew, by the user's wish: earlier attempts had another spec, and the
    /// sources stand where they stood before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) replanned: bool,
}

/// An attempt has failed; another may follow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) batch: BatchId,
    pub(crate) attempt: Attempt,
    pub(crate) reason: String,
}

/// A handler calls a batch processed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) batch: BatchId,
    pub(crate) name: String,
}

/// A batch has ended. Counts only together with all of its chunks of state changes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) batch: BatchId,
    pub(crate) next_watermark: Watermark,
    /// Frames with state changes, right before this one.
    pub(crate) chunks: u64,
    /// Entries of state after the batch, by operator.
    pub(crate) state_rows: BTreeMap<u32, u64>,
    /// What the batch was delivered to, by the name of sink or target: places that keep marks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) delivered: BTreeMap<String, Delivered>,
    /// What the query fixes from here on in place of what it fixed before, by name: the batch has brought
    /// its state into another form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) pinned: BTreeMap<String, String>,
}

/// Where the sources stand after the ranges of batch `after`, the last that was committed. Ends a
/// segment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Positions {
    pub(crate) after: Option<BatchId>,
    pub(crate) positions: BTreeMap<String, Value>,
}

impl Record {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Record::Created(_) => kind::CREATED,
            Record::Planned(_) => kind::PLANNED,
            Record::Failed(_) => kind::FAILED,
            Record::Mark(_) => kind::MARK,
            Record::Committed(_) => kind::COMMITTED,
            Record::Positions(_) => kind::POSITIONS,
        }
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        match self {
            Record::Created(record) => json(record),
            Record::Planned(record) => json(record),
            Record::Failed(record) => json(record),
            Record::Mark(record) => json(record),
            Record::Committed(record) => json(record),
            Record::Positions(record) => json(record),
        }
    }

    /// `Err` says what is wrong.
    pub(crate) fn decode(kind: u8, payload: &[u8]) -> Result<Record, String> {
        Ok(match kind {
            kind::CREATED => Record::Created(from_json(payload)?),
            kind::PLANNED => Record::Planned(from_json(payload)?),
            kind::FAILED => Record::Failed(from_json(payload)?),
            kind::MARK => Record::Mark(from_json(payload)?),
            kind::COMMITTED => Record::Committed(from_json(payload)?),
            kind::POSITIONS => Record::Positions(from_json(payload)?),
            _ => return Err(format!("there is no record of kind {kind}")),
        })
    }

    /// In an error message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Record::Created(_) => "the creation of a query".to_owned(),
            Record::Planned(Planned { spec, attempt, .. }) => {
                format!("the plan of batch {}, attempt {}", spec.batch, attempt.attempt)
            }
            Record::Failed(Failed { batch, attempt, .. }) => {
                format!("the failure of batch {batch}, attempt {attempt}")
            }
            Record::Mark(Mark { batch, name }) => format!("the mark \"{name}\" of batch {batch}"),
            Record::Committed(Committed { batch, .. }) => format!("the commit of batch {batch}"),
            Record::Positions(Positions { after, .. }) => match after {
                Some(batch) => format!("a record of the positions after batch {batch}"),
                None => "a record of the positions before the first batch".to_owned(),
            },
        }
    }
}

pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data with text keys always has a JSON form")
}

pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("a record cannot be read: {error}"))
}
