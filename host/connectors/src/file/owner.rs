//! `_owner`: whose directory it is, and what has landed there.
//!
//! ```text
//! <directory>/_spark_metadata/_owner
//! v1 <SHA-256 of the next line>
//! {"queryId":…,"target":…,"landed":{"batch":7,"calls":1,"digest":…,"spec":…,"settled":6,"entries":{…},"added":[…]}}
//! ```
//!
//! It is beside Spark's entries and no part of them: Spark's readers pass it over. It is replaced
//! as a whole, durably, before the files of a delivery get their names and before their entry is
//! written: from then on the delivery has landed, and whoever opens the directory next can do the
//! rest. So an entry never names a file that is not there, and a file that a reader with a glob
//! sees has landed. Beside that it holds the digest of every entry, so that damage shows.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidemill_core::{BatchId, ConnectorError, Digest, EncodedSpec, Mark};

use super::log::{COMPACT_INTERVAL, EntryId, LogFolder, SinkFile, read_if_there, write_durably};

/// The file's name in the folder of the log.
pub(super) const OWNER_FILE: &str = "_owner";

const VERSION: &str = "v1";

/// Whose directory it is, and what has landed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner {
    pub(super) query_id: String,
    pub(super) target: String,
    /// `None` before the first delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) landed: Option<Landed>,
}

/// The last delivery that landed, and the log with it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Landed {
    pub(super) batch: u64,
    /// Calls of `batch` that landed; they land in order.
    pub(super) calls: u32,
    /// Digest of the spec that the batch ran with, and the spec.
    pub(super) digest: Digest,
    pub(super) spec: String,
    /// The newest entry before this delivery; what is newer may not be written yet.
    pub(super) settled: Option<u64>,
    /// Digest of the entry of `batch` before this delivery, where an earlier call made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Digest>,
    /// Digests of all entries, as they are once this delivery is written down.
    pub(super) entries: BTreeMap<EntryId, Digest>,
    /// Lines that this delivery adds.
    pub(super) added: Vec<SinkFile>,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Damaged { found: Digest, wanted: Digest },
    Missing,
    Unknown,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Damaged { found, wanted } => write!(
                f,
                "is damaged: its digest is {}…, and {OWNER_FILE} has {}… for it",
                found.short(),
                wanted.short()
            ),
            Fault::Missing => write!(f, "is gone, and {OWNER_FILE} names it"),
            Fault::Unknown => write!(f, "was not written by the sink that {OWNER_FILE} names"),
        }
    }
}

impl Landed {
    /// Whether an entry may not be written down yet, or not be there in its last form.
    pub(super) fn is_pending(&self, entry: EntryId) -> bool {
        entry.batch == self.batch || self.settled.is_none_or(|settled| entry.batch > settled)
    }

    /// The oldest entry that is kept: of what two folds cover, nothing, so that a reader that
    /// listed the folder before the second one still finds what it saw.
    pub(super) fn kept_from(&self) -> u64 {
        let folds = self.entries.keys().filter(|entry| entry.is_folded);
        folds.map(|fold| fold.batch).max().unwrap_or(0).saturating_sub(COMPACT_INTERVAL)
    }

    /// Whether an entry that is not there has to be.
    fn is_missing(&self, entry: EntryId) -> bool {
        let may_come = self.is_pending(entry) && self.before.is_none();
        !may_come && entry.batch >= self.kept_from()
    }

    /// What is wrong with an entry of which `found` is the digest.
    fn fault(&self, entry: EntryId, found: Digest) -> Option<Fault> {
        match self.entries.get(&entry) {
            Some(wanted) if *wanted == found => None,
            _ if entry.batch == self.batch && self.before == Some(found) => None,
            Some(wanted) => Some(Fault::Damaged { found, wanted: *wanted }),
            None => Some(Fault::Unknown),
        }
    }
}

impl Owner {
    /// Whether the directory belongs to this sink.
    pub(super) fn is(&self, query_id: &str, target: &str) -> bool {
        self.query_id == query_id && self.target == target
    }

    /// The last delivery that landed.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.landed.as_ref().map(|landed| Mark {
            batch: BatchId(landed.batch),
            calls: landed.calls,
            spec: EncodedSpec::from_text(landed.spec.as_str()),
        })
    }

    /// What the folder's file says; `None` where there is none.
    pub(super) fn read(folder: &LogFolder) -> Result<Option<Owner>, ConnectorError> {
        let path = folder.path().join(OWNER_FILE);
        let Some(bytes) = read_if_there(&path)? else {
            return Ok(None);
        };
        parse(&bytes).map(Some).map_err(|why| damaged(&path, &why))
    }

    /// Replaces the folder's file, durably.
    pub(super) fn write(&self, folder: &LogFolder) -> Result<(), ConnectorError> {
        let body = serde_json::to_string(self).map_err(|error| {
            ConnectorError::fatal(format!("could not write {OWNER_FILE} as JSON")).caused_by(error)
        })?;
        let text = format!("{VERSION} {}\n{body}", Digest::of(body.as_bytes()));
        write_durably(folder.path(), OWNER_FILE, text.as_bytes())
    }

    /// Sees that no entry is missing from one batch on. `found` are those that are there.
    pub(super) fn check_complete(
        &self,
        folder: &LogFolder,
        from: u64,
        found: &BTreeMap<EntryId, Digest>,
    ) -> Result<(), ConnectorError> {
        let Some(landed) = &self.landed else { return Ok(()) };
        let mut named = landed.entries.keys().filter(|entry| entry.batch >= from);
        match named.find(|entry| !found.contains_key(*entry) && landed.is_missing(**entry)) {
            Some(entry) => Err(faulty(folder, *entry, Fault::Missing)),
            None => Ok(()),
        }
    }

    /// Holds the digests of entries against those that they were written with.
    pub(super) fn check_digests(
        &self,
        folder: &LogFolder,
        found: &BTreeMap<EntryId, Digest>,
    ) -> Result<(), ConnectorError> {
        for (entry, digest) in found {
            let fault = match &self.landed {
                Some(landed) => landed.fault(*entry, *digest),
                None => Some(Fault::Unknown),
            };
            if let Some(fault) = fault {
                return Err(faulty(folder, *entry, fault));
            }
        }
        Ok(())
    }
}

/// The error for an entry that is not as it was written.
pub(super) fn faulty(folder: &LogFolder, entry: EntryId, fault: Fault) -> ConnectorError {
    ConnectorError::fatal(format!(
        "the entry {} {fault}; put it back from a backup: without it nobody can tell which files of the directory count",
        folder.file(entry).display()
    ))
}

fn parse(bytes: &[u8]) -> Result<Owner, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let (head, body) = text.split_once('\n').ok_or("it has no second line")?;
    let (version, digest) = head.split_once(' ').unwrap_or((head, ""));
    if version != VERSION {
        return Err(format!("it is of version \"{version}\" and should be of {VERSION}"));
    }
    if digest != Digest::of(body.as_bytes()).to_string() {
        return Err("its digest is not that of its text".to_owned());
    }
    serde_json::from_str(body).map_err(|error| error.to_string())
}

fn damaged(path: &Path, why: &str) -> ConnectorError {
    ConnectorError::fatal(format!(
        "{} is damaged ({why}); put it back from a backup. It says whose directory it is and what has landed there",
        path.display()
    ))
}
