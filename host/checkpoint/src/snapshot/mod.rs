//! Snapshots: made of the last one and the segments that were closed since, from files alone, so
//! that the query goes on meanwhile.

mod file;
mod retention;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_core::{BatchId, Bucket, OperatorId, ShardId};

use crate::CheckpointError;
use crate::disk::Disk;
use crate::log::{LogSummary, fold_segment};
use crate::names::{Layout, segment_number, snapshot_number};
use crate::plugins::Plugins;
use crate::state::{Change, decode_changes};

pub(crate) use file::{SnapshotReader, SnapshotWriter, read_summary};
pub use retention::Keep;
pub(crate) use retention::{Base, oldest_to_keep};

/// Makes a snapshot and removes what is no longer needed. Run it on a thread of its own.
///
/// An error leaves the checkpoint as good as it was: the log is still whole, and a later task
/// tries again.
pub struct SnapshotTask {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) layout: Layout,
    pub(crate) plugins: Plugins,
    pub(crate) keep: Keep,
    /// The snapshot to start from; 0: there is none.
    pub(crate) base: u64,
    /// The last closed segment.
    pub(crate) through: u64,
    pub(crate) running: RunningFlag,
}

/// Set while a task exists: two at a time would write the same file.
pub(crate) struct RunningFlag(Arc<AtomicBool>);

impl RunningFlag {
    pub(crate) fn raise(flag: &Arc<AtomicBool>) -> Option<RunningFlag> {
        (!flag.swap(true, Ordering::AcqRel)).then(|| RunningFlag(Arc::clone(flag)))
    }
}

impl Drop for RunningFlag {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What a snapshot came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotReport {
    /// The last batch in it.
    pub committed: Option<BatchId>,
    /// Entries of state in it.
    pub entries: u64,
    /// Segments and snapshots that were removed.
    pub removed: u64,
}

type Key = (OperatorId, ShardId, Bucket, Vec<u8>);

/// What the closed segments changed. Takes memory in proportion to these segments, not to the
/// state.
type Changes = BTreeMap<Key, Option<Vec<u8>>>;

impl SnapshotTask {
    /// Makes the snapshot.
    pub fn run(self) -> Result<SnapshotReport, CheckpointError> {
        let (mut summary, old) = self.read_base()?;
        let changes = self.read_segments(&mut summary)?;
        summary.plugins.retain(|digest, _| self.plugins.holds(digest));
        let entries = self.write(&summary, old, changes)?;
        let removed = self.remove_old(&summary)?;
        drop(self.running);
        Ok(SnapshotReport { committed: summary.committed, entries, removed })
    }

    fn read_base(&self) -> Result<(LogSummary, Option<SnapshotReader>), CheckpointError> {
        if self.base == 0 {
            return Ok((LogSummary::default(), None));
        }
        let path = self.layout.snapshot(self.base);
        let (summary, reader) = SnapshotReader::open(&*self.disk, &path)?;
        Ok((summary, Some(reader)))
    }

    fn read_segments(&self, summary: &mut LogSummary) -> Result<Changes, CheckpointError> {
        let mut changes = Changes::new();
        for number in self.base + 1..=self.through {
            let path = self.layout.segment(number);
            fold_segment(&*self.disk, &path, false, summary, &mut |change| {
                changes.insert(key_of(&change), change.value.map(<[u8]>::to_vec));
            })?;
        }
        Ok(changes)
    }

    /// Merges the old entries with the changes; both are sorted alike.
    fn write(
        &self,
        summary: &LogSummary,
        old: Option<SnapshotReader>,
        changes: Changes,
    ) -> Result<u64, CheckpointError> {
        let mut writer = SnapshotWriter::create(&*self.disk, &self.layout, self.through, summary)?;
        let mut changes = changes.into_iter().peekable();
        let mut entries = 0;
        let mut write = |key: &Key, value: Option<&[u8]>| match value {
            Some(_) => {
                entries += 1;
                writer.entry(change_of(key, value))
            }
            None => Ok(()),
        };
        if let Some(mut old) = old {
            while let Some(chunk) = old.chunk()? {
                for entry in decode_changes(&chunk).flatten() {
                    let key = key_of(&entry);
                    while let Some((earlier, value)) = changes.next_if(|(at, _)| *at < key) {
                        write(&earlier, value.as_deref())?;
                    }
                    match changes.next_if(|(at, _)| *at == key) {
                        Some((_, value)) => write(&key, value.as_deref())?,
                        None => write(&key, entry.value)?,
                    }
                }
            }
        }
        for (key, value) in changes {
            write(&key, value.as_deref())?;
        }
        writer.finish()?;
        Ok(entries)
    }

    fn remove_old(&self, summary: &LogSummary) -> Result<u64, CheckpointError> {
        let bases = self.bases()?;
        let Some(oldest) = oldest_to_keep(&bases, &self.keep) else {
            return Ok(0);
        };
        let mut unwanted = Vec::new();
        for (number, _) in self.list_snapshots()? {
            if number < oldest.through {
                unwanted.push(self.layout.snapshot(number));
            }
        }
        for (number, _) in self.list_segments()? {
            if number <= oldest.through {
                unwanted.push(self.layout.segment(number));
            }
        }
        for path in &unwanted {
            self.disk.remove(path).map_err(CheckpointError::io("remove", path))?;
        }
        // `batches` is also the number of the first batch that can be replayed.
        let is_named = |last: &BatchId| last.0 >= oldest.batches;
        self.plugins.retain(|digest| summary.plugins.get(digest).is_some_and(is_named))?;
        Ok(unwanted.len() as u64)
    }

    /// Where replays can begin, from old to new.
    fn bases(&self) -> Result<Vec<Base>, CheckpointError> {
        let snapshots = self.list_snapshots()?;
        let segments = self.list_segments()?;
        let bytes_from = |through: u64| {
            let kept = snapshots.iter().filter(|(number, _)| *number >= through);
            let segments = segments.iter().filter(|(number, _)| *number > through);
            kept.chain(segments).map(|(_, len)| len).sum()
        };
        let mut bases = Vec::new();
        if segments.first().is_some_and(|(number, _)| *number == 1) {
            bases.push(Base { through: 0, batches: 0, time_ms: i64::MIN, bytes: bytes_from(0) });
        }
        for (through, _) in &snapshots {
            let summary = read_summary(&*self.disk, &self.layout.snapshot(*through))?;
            let batches = summary.next_batch().0;
            let (time_ms, bytes) = (summary.committed_time_ms, bytes_from(*through));
            bases.push(Base { through: *through, batches, time_ms, bytes });
        }
        Ok(bases)
    }

    fn list_snapshots(&self) -> Result<Vec<(u64, u64)>, CheckpointError> {
        let dir = self.layout.snapshots();
        let files = self.disk.list(&dir).map_err(CheckpointError::io("list", &dir))?;
        Ok(files.iter().filter_map(|file| Some((snapshot_number(&file.name)?, file.len))).collect())
    }

    fn list_segments(&self) -> Result<Vec<(u64, u64)>, CheckpointError> {
        let dir = self.layout.log();
        let files = self.disk.list(&dir).map_err(CheckpointError::io("list", &dir))?;
        Ok(files.iter().filter_map(|file| Some((segment_number(&file.name)?, file.len))).collect())
    }
}

fn key_of(change: &Change<'_>) -> Key {
    (change.operator, change.shard, change.bucket, change.key.to_vec())
}

fn change_of<'a>(key: &'a Key, value: Option<&'a [u8]>) -> Change<'a> {
    Change { operator: key.0, shard: key.1, bucket: key.2, key: &key.3, value }
}
