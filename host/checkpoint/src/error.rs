//! What can go wrong with a checkpoint.

use std::io;
use std::path::{Path, PathBuf};

use tidemill_core::{Attempt, BatchId, Digest, OutOfMemory};

/// A checkpoint could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody knows what of the log is on the disk now. **The process must end**; the next start
    /// reads what is there. A sync is never repeated: a second one may succeed without having
    /// written what the first one lost.
    #[error(
        "could not make {} durable; the query has to end, and its next start goes on from what the disk holds",
        path.display()
    )]
    SyncFailed {
        /// The log's segment.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The checkpoint was used after it failed.
    #[error("{} failed before and takes nothing more; start the query again", path.display())]
    Ended {
        /// The log's segment.
        path: PathBuf,
    },
    /// Another process runs the query.
    #[error(
        "{} is in use by {}; stop that one first, or give this job another checkpoint",
        path.display(), holder(.pid)
    )]
    Locked {
        /// The checkpoint.
        path: PathBuf,
        /// The other process, if it said so.
        pid: Option<u32>,
    },
    /// Another process wrote to the log although this one holds the lock (a file system without
    /// locks, or a checkpoint that two machines share).
    #[error(
        "{} was made by another process while this one ran; make sure that only one process uses the checkpoint, and start the query again",
        path.display()
    )]
    Fenced {
        /// The file that should not be there.
        path: PathBuf,
    },
    /// A file is not what was written.
    #[error(
        "{} is damaged at byte {offset}: {found}; put back a copy of the checkpoint that is no older than what the query's places hold (an older one is refused, as rows would be lost), or start with a new checkpoint and new places: all rows come again",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the bad part begins.
        offset: u64,
        /// What is wrong.
        found: String,
    },
    /// The file that says which generations of plugins were chosen is not what was written. Nothing else
    /// depends on it.
    #[error(
        "{} is damaged: {found}. Remove it: then the plugins' own files are used, until `tidemill plugins JOB pin` or `rollback` chooses others again",
        file.display()
    )]
    Choices {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// A segment of the log lost its end.
    #[error(
        "{} ends at byte {len}, and was durable up to byte {durable}: the records of batches that may have been delivered are gone; put the whole file back, or start with a new checkpoint and a new place for the output",
        path.display()
    )]
    Shortened {
        /// The segment.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// Bytes of it that were durable.
        durable: u64,
    },
    /// The state does not fit into the memory that there is for it.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// What is there is not what the caller saw.
    #[error(
        "the checkpoint {} was made or replaced by another process since it was looked at; start the query again",
        path.display()
    )]
    Changed {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A file that must be there is not.
    #[error(
        "{} is missing: there are {found}; put back a copy of the checkpoint that is no older than what the query's places hold (an older one is refused, as rows would be lost), or start with a new checkpoint and new places: all rows come again",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// Written by another Tidemill.
    #[error(
        "{} has format version {found}, and this program knows version {known}; use the program that wrote it, or start with a new checkpoint",
        file.display()
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A record does not follow from those before it. To go on would be to guess.
    #[error(transparent)]
    Gap(#[from] LogGap),
    /// A record is larger than any reader would believe.
    #[error(
        "a log record of {bytes} bytes is larger than the {limit} that the log takes; lower the source's read limit (maxFilesPerTrigger, maxOffsetsPerTrigger)"
    )]
    RecordTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// What is needed to run a batch once more is not there.
    #[error(
        "batch {batch} cannot be run again: {} has what is needed for {}{}",
        path.display(), range(.first, .next), gone(.batch, .first)
    )]
    NoBatch {
        /// The batch.
        batch: BatchId,
        /// The checkpoint.
        path: PathBuf,
        /// The first batch that can be run again.
        first: BatchId,
        /// The batch after the last one.
        next: BatchId,
    },
    /// The bytes of a plugin are not in the checkpoint.
    #[error(
        "the bytes of plugin {digest} are not in the checkpoint ({} is missing)", path.display()
    )]
    NoPlugin {
        /// The plugin.
        digest: Digest,
        /// Where they should be.
        path: PathBuf,
    },
    /// Bytes and digest of a plugin differ.
    #[error("the bytes of plugin {wanted} in {} have the digest {found}", path.display())]
    WrongPlugin {
        /// The digest asked for.
        wanted: Digest,
        /// That of the bytes.
        found: Digest,
        /// Where they are.
        path: PathBuf,
    },
}

impl CheckpointError {
    /// Whether the place is at fault, and not what is in it or who asks: the same start may
    /// succeed later. The match is exhaustive on purpose.
    #[must_use]
    pub fn is_of_the_place(&self) -> bool {
        match self {
            CheckpointError::Io { source, .. } => !names_no_place(source.kind()),
            CheckpointError::SyncFailed { .. }
            | CheckpointError::Ended { .. }
            | CheckpointError::Fenced { .. }
            | CheckpointError::Changed { .. } => true,
            CheckpointError::Locked { .. }
            | CheckpointError::Damaged { .. }
            | CheckpointError::Choices { .. }
            | CheckpointError::Missing { .. }
            | CheckpointError::Shortened { .. }
            | CheckpointError::Version { .. }
            | CheckpointError::Gap(_)
            | CheckpointError::Memory(_)
            | CheckpointError::RecordTooLarge { .. }
            | CheckpointError::NoBatch { .. }
            | CheckpointError::NoPlugin { .. }
            | CheckpointError::WrongPlugin { .. } => false,
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> CheckpointError {
        let path = path.to_owned();
        move |source| CheckpointError::Io { action, path, source }
    }

    pub(crate) fn damaged(file: &Path, offset: u64, found: impl Into<String>) -> CheckpointError {
        CheckpointError::Damaged { file: file.to_owned(), offset, found: found.into() }
    }
}

/// A record does not follow from what the log holds: records were lost, or the caller broke the
/// order `Planned -> (Mark | Failed -> Planned)* -> Committed` of a batch.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{record} does not follow: the log is {}, {}",
    planned_to(.planned), committed_to(.committed)
)]
pub struct LogGap {
    /// The record that does not fit.
    pub record: String,
    /// The last batch and attempt that was planned.
    pub planned: Option<(BatchId, Attempt)>,
    /// The last batch that was committed.
    pub committed: Option<BatchId>,
}

fn range(first: &BatchId, next: &BatchId) -> String {
    match next.0.checked_sub(1) {
        Some(last) if last > first.0 => format!("batches {first} to {last}"),
        Some(last) if last == first.0 => format!("batch {first}"),
        _ => "no batch yet".to_owned(),
    }
}

fn gone(batch: &BatchId, first: &BatchId) -> &'static str {
    if batch < first {
        "; what is needed for older ones goes after 100 batches and an hour, or with 1 GiB"
    } else {
        ""
    }
}

/// What only another path would mend.
fn names_no_place(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput)
}

fn planned_to(planned: &Option<(BatchId, Attempt)>) -> String {
    planned.map_or("never planned".to_owned(), |(batch, attempt)| {
        format!("planned to batch {batch}, attempt {attempt}")
    })
}

fn committed_to(committed: &Option<BatchId>) -> String {
    committed.map_or("never committed".to_owned(), |batch| format!("committed to batch {batch}"))
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
}
