//! Snapshots: made of the last one and the segments that were closed since, from files alone, so
//! that the query goes on meanwhile.

mod file;
mod merge;
mod retention;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_core::{BatchId, Digest};

use crate::CheckpointError;
use crate::choices;
use crate::disk::Disk;
use crate::log::{Chain, Ending, LogSummary};
use crate::names::{Layout, segment_number, snapshot_number};
use crate::plugins::Plugins;

use file::EntriesWriter;
use merge::{Merge, Sorter, change_of};

pub(crate) use file::{EntriesReader, read_summary};
pub use retention::Keep;
use retention::{Base, oldest_to_keep};

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
    /// Bytes of changes held in memory at a time.
    pub(crate) bytes_max: u64,
    pub(crate) running: RunningFlag,
    /// Held for as long as files are written and removed: nobody else opens the checkpoint
    /// meanwhile.
    pub(crate) _lock: Arc<dyn Any + Send + Sync>,
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
    /// The most bytes of changes that were held in memory at a time.
    pub held_bytes_max: u64,
    /// Sorted files that were written meanwhile, because memory was full.
    pub runs: u64,
}

impl SnapshotTask {
    /// Makes the snapshot. Takes memory for `OpenOptions::fold_bytes` of changes, and for what is
    /// read of each file that is merged, however much there is to fold.
    pub fn run(self) -> Result<SnapshotReport, CheckpointError> {
        let (mut summary, base) = self.read_base()?;
        let mut sorter = Sorter::new(&*self.disk, &self.layout, self.through, self.bytes_max);
        self.read_segments(&mut summary, &mut sorter)?;
        let (held_bytes_max, runs) = (sorter.largest(), sorter.runs());
        summary.plugins.retain(|digest, _| self.plugins.holds(digest));
        let entries = self.write(&summary, sorter.merged_with(base)?)?;
        let removed = self.remove_old(&summary)?;
        drop(self.running);
        Ok(SnapshotReport { committed: summary.committed, entries, removed, held_bytes_max, runs })
    }

    fn read_base(&self) -> Result<(LogSummary, Option<EntriesReader>), CheckpointError> {
        if self.base == 0 {
            return Ok((LogSummary::default(), None));
        }
        let path = self.layout.snapshot(self.base);
        let (summary, reader) = EntriesReader::snapshot(&*self.disk, &path)?;
        Ok((summary, Some(reader)))
    }

    fn read_segments(
        &self,
        summary: &mut LogSummary,
        sorter: &mut Sorter<'_>,
    ) -> Result<(), CheckpointError> {
        let mut chain = Chain::default();
        let follower = &mut |change: crate::Change<'_>| sorter.add(&change);
        for number in self.base + 1..=self.through {
            chain.fold(&*self.disk, &self.layout, number, Ending::Closed, summary, follower)?;
        }
        chain.check_last(&*self.disk, &self.layout, self.through + 1)
    }

    /// What the snapshot replaces goes, so it has to be whole: as many entries as the last commit
    /// says.
    fn write(&self, summary: &LogSummary, merge: Merge<'_>) -> Result<u64, CheckpointError> {
        let path = self.layout.snapshot(self.through);
        let mut writer = EntriesWriter::snapshot(&*self.disk, &self.layout, self.through, summary)?;
        for entry in merge {
            let (key, value) = entry?;
            if value.is_some() {
                writer.entry(change_of(&key, value.as_deref()))?;
            }
        }
        let wanted: u64 = summary.state_rows.values().sum();
        if writer.entries() != wanted {
            let found = format!(
                "the state up to its end has {} entries, and the last commit says {wanted}",
                writer.entries()
            );
            let segment = self.layout.segment(self.through);
            return Err(CheckpointError::damaged(&segment, 0, found));
        }
        writer.finish(&path)?;
        Ok(wanted)
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
        for dir in [self.layout.snapshots(), self.layout.log()] {
            self.disk.sync_dir(&dir).map_err(CheckpointError::io("sync", &dir))?;
        }
        // `batches` is also the number of the first batch that can be replayed.
        let is_named = |last: &BatchId| last.0 >= oldest.batches;
        let choices = choices::read(&*self.disk, &self.layout)?;
        let is_chosen = |digest: &Digest| choices.values().any(|choice| choice.digest == *digest);
        self.plugins.retain(|digest| {
            summary.plugins.get(digest).is_some_and(is_named) || is_chosen(digest)
        })?;
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
        // A removal that a crash interrupted may leave gaps.
        let has_all_after = |through: u64| {
            let after = segments.iter().filter(|(number, _)| *number > through);
            segments.last().is_some_and(|(last, _)| after.count() as u64 == last - through)
        };
        let mut bases = Vec::new();
        if has_all_after(0) {
            bases.push(Base { through: 0, batches: 0, time_ms: i64::MIN, bytes: bytes_from(0) });
        }
        for (through, _) in snapshots.iter().filter(|(through, _)| has_all_after(*through)) {
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
