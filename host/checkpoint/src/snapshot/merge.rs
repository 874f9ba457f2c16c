//! The changes of closed segments, sorted in bounded memory, and merged with the last snapshot.
//!
//! The newest changes are in a sorted map. When it is full, it becomes a *run*: a sorted file
//! beside the snapshots. Sixteen runs of a kind become a longer one, so that few are open at a
//! time:
//!
//! ```text
//! last snapshot │ runs of runs … │ runs … │ map          old ──▶ new; the newest entry counts
//! ```

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::PathBuf;

use tidemill_core::{Bucket, OperatorId, ShardId};

use super::file::{EntriesReader, EntriesWriter};
use crate::CheckpointError;
use crate::disk::Disk;
use crate::names::Layout;
use crate::state::Change;

/// Memory of a change beside its key and value: its place in the map, and what the allocator adds.
const CHANGE_BYTES: u64 = 128;

/// Runs of a kind that become one. Each that is open takes memory for a chunk (1 MiB) and for
/// what is read ahead (256 KiB), so even a thousand runs are merged within 60 MiB.
const RUNS_MERGED: usize = 16;

pub(crate) type Key = (OperatorId, ShardId, Bucket, Vec<u8>);

/// A key, and its value; `None`: it is gone.
pub(crate) type Entry = (Key, Option<Vec<u8>>);

/// Takes changes in the order in which they were made.
pub(crate) struct Sorter<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    /// The last segment; names the runs.
    through: u64,
    /// Bytes of changes held in memory, about. One change more may be.
    bytes_max: u64,
    changes: BTreeMap<Key, Option<Vec<u8>>>,
    bytes: u64,
    largest: u64,
    /// From old to new.
    runs: Vec<Run<'a>>,
    made: u64,
}

impl<'a> Sorter<'a> {
    pub(crate) fn new(
        disk: &'a dyn Disk,
        layout: &'a Layout,
        through: u64,
        bytes_max: u64,
    ) -> Sorter<'a> {
        Sorter {
            disk,
            layout,
            through,
            bytes_max,
            changes: BTreeMap::new(),
            bytes: 0,
            largest: 0,
            runs: Vec::new(),
            made: 0,
        }
    }

    pub(crate) fn add(&mut self, change: &Change<'_>) -> Result<(), CheckpointError> {
        let key = key_of(change);
        let key_bytes = CHANGE_BYTES + key.3.len() as u64;
        let value = change.value.map(<[u8]>::to_vec);
        self.bytes += len(&value);
        match self.changes.insert(key, value) {
            Some(replaced) => self.bytes -= len(&replaced),
            None => self.bytes += key_bytes,
        }
        self.largest = self.largest.max(self.bytes);
        if self.bytes < self.bytes_max { Ok(()) } else { self.spill() }
    }

    /// The most bytes of changes that were held in memory at a time.
    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    /// Runs that were written.
    pub(crate) fn runs(&self) -> u64 {
        self.made
    }

    /// All changes, merged with the entries of `base`, which are older. What is gone is left out.
    pub(crate) fn merged_with(
        self,
        base: Option<EntriesReader>,
    ) -> Result<Merge<'a>, CheckpointError> {
        let mut sources: Vec<Source<'a>> = Vec::new();
        sources.extend(base.map(|base| Box::new(base) as Source<'a>));
        for run in &self.runs {
            sources.push(Box::new(EntriesReader::run(self.disk, &run.path)?));
        }
        sources.push(Box::new(self.changes.into_iter().map(Ok)));
        let mut merge = Merge::of(sources)?;
        // They are removed with the merge.
        merge.runs = self.runs;
        Ok(merge)
    }

    fn spill(&mut self) -> Result<(), CheckpointError> {
        let changes = std::mem::take(&mut self.changes);
        self.bytes = 0;
        let run = self.write_run(0, changes.into_iter().map(Ok))?;
        self.runs.push(run);
        while let Some(first) = self.runs.len().checked_sub(RUNS_MERGED)
            && self.runs[first].kind == self.runs[self.runs.len() - 1].kind
        {
            self.merge_runs(first)?;
        }
        Ok(())
    }

    /// Makes one run of the runs from `first` on.
    fn merge_runs(&mut self, first: usize) -> Result<(), CheckpointError> {
        let merged = self.runs.split_off(first);
        let kind = merged[0].kind + 1;
        let open =
            |run: &Run<'a>| Ok(Box::new(EntriesReader::run(self.disk, &run.path)?) as Source<'a>);
        let sources = merged.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let run = self.write_run(kind, Merge::of(sources)?)?;
        self.runs.push(run);
        Ok(())
    }

    fn write_run(
        &mut self,
        kind: u32,
        entries: impl Iterator<Item = Result<Entry, CheckpointError>>,
    ) -> Result<Run<'a>, CheckpointError> {
        self.made += 1;
        let path = self.layout.run(self.through, self.made);
        let mut writer = EntriesWriter::run(self.disk, path.clone())?;
        for entry in entries {
            let (key, value) = entry?;
            writer.entry(change_of(&key, value.as_deref()))?;
        }
        writer.leave()?;
        Ok(Run { disk: self.disk, path, kind })
    }
}

/// A sorted file, removed when it is dropped.
struct Run<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    /// How often its entries were merged.
    kind: u32,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // The next start removes it otherwise.
        let _ = self.disk.remove(&self.path);
    }
}

type Source<'a> = Box<dyn Iterator<Item = Result<Entry, CheckpointError>> + 'a>;

/// The next entry of a source: by key, then the newest first.
type Front = (Key, Reverse<usize>, Option<Vec<u8>>);

/// Several sorted sources as one. Of entries with the same key the newest is given.
pub(crate) struct Merge<'a> {
    /// From old to new.
    sources: Vec<Source<'a>>,
    fronts: BinaryHeap<Reverse<Front>>,
    runs: Vec<Run<'a>>,
}

impl<'a> Merge<'a> {
    fn of(sources: Vec<Source<'a>>) -> Result<Merge<'a>, CheckpointError> {
        let mut merge = Merge { sources, fronts: BinaryHeap::new(), runs: Vec::new() };
        for source in 0..merge.sources.len() {
            let next = merge.sources[source].next().transpose()?;
            merge.fronts.extend(next.map(|(key, value)| Reverse((key, Reverse(source), value))));
        }
        Ok(merge)
    }

    /// Takes the first entry, and its source's next one in its place.
    fn take(&mut self) -> Option<Result<Entry, CheckpointError>> {
        let mut front = self.fronts.peek_mut()?;
        let source = front.0.1;
        match self.sources[source.0].next() {
            Some(Ok((key, value))) => {
                let Reverse((key, _, value)) =
                    std::mem::replace(&mut *front, Reverse((key, source, value)));
                Some(Ok((key, value)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => {
                let Reverse((key, _, value)) = PeekMut::pop(front);
                Some(Ok((key, value)))
            }
        }
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Entry, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        let newest = match self.take()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        while self.fronts.peek().is_some_and(|Reverse((key, ..))| *key == newest.0) {
            if let Err(error) = self.take()? {
                return Some(Err(error));
            }
        }
        Some(Ok(newest))
    }
}

fn len(value: &Option<Vec<u8>>) -> u64 {
    value.as_ref().map_or(0, |value| value.len() as u64)
}

pub(crate) fn key_of(change: &Change<'_>) -> Key {
    (change.operator, change.shard, change.bucket, change.key.to_vec())
}

pub(crate) fn change_of<'a>(key: &'a Key, value: Option<&'a [u8]>) -> Change<'a> {
    Change { operator: key.0, shard: key.1, bucket: key.2, key: &key.3, value }
}
