//! Batches that are over: which plugins ran them, and all that one needs to run again.
//!
//! Read from the snapshots and segments that are kept for it, without the lock: the query may run
//! meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_core::{AttemptSpec, BatchId, BatchSpec, Digest, QueryId, Reservation};

use crate::choices::{self, Choice};
use crate::disk::Disk;
use crate::log::record::{Planned, Record};
use crate::log::{Follower, LogSummary};
use crate::names::{Layout, plugin_digest, segment_number, snapshot_number};
use crate::plugins::kept_bytes;
use crate::recover::{load_from, look_for, numbers};
use crate::snapshot::read_summary;
use crate::state::{Change, Loading, MemoryStateStore};
use crate::{Checkpoint, CheckpointError};

/// Runs of batches that are told of a generation: the first one and the last ones. Somebody who goes to and
/// fro between two at each batch makes one a batch.
const RUNS_MAX: usize = 8;

/// Batches that came one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The first of them.
    pub first: BatchId,
    /// The last of them.
    pub last: BatchId,
}

/// The bytes of a plugin that some batches ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generation {
    /// The job's name for the plugin.
    pub plugin: String,
    /// Of the bytes.
    pub digest: Digest,
    /// The first batch that ran it, of those that the log still has.
    pub first: BatchId,
    /// Whether batches that the log no longer has may have run it as well.
    pub may_be_older: bool,
    /// The last batch that ran it.
    pub last: BatchId,
    /// The runs of batches that ran it, in their order.
    pub runs: Vec<Run>,
    /// How many there were between the first one and the second that are not among them: these are too many.
    pub runs_left_out: u64,
    /// How many bytes it has; `None`: they are no longer kept.
    pub bytes: Option<u64>,
}

/// A batch, and what it needs to run again.
pub struct Rewound {
    /// Its query.
    pub query_id: QueryId,
    /// What was fixed for it.
    pub spec: BatchSpec,
    /// The last attempt at it.
    pub attempt: AttemptSpec,
    /// Whether it was committed; otherwise it failed, or is pending.
    pub is_committed: bool,
    /// What the query had fixed before it.
    pub pinned: BTreeMap<String, String>,
    /// The state before it.
    pub state: Arc<MemoryStateStore>,
    /// What the state takes of the budget.
    pub state_memory: Reservation,
}

impl Checkpoint {
    /// The generations of a query's plugins, as far as the log says, in the order in which they were
    /// used last; `None`: there is no checkpoint.
    pub fn generations(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<Option<Vec<Generation>>, CheckpointError> {
        let layout = Layout::new(path);
        look_for(disk, &layout, |head, tail| {
            if head.is_none() {
                return Ok(None);
            }
            let base = bases(disk, &layout)?.last().map_or(0, |(base, _)| *base);
            let mut ran = Ran::default();
            load_from(disk, &layout, head, tail, base, Some(&mut ran))?;
            let dir = layout.plugins();
            let files = disk.list(&dir).map_err(CheckpointError::io("list", &dir))?;
            let sizes =
                files.iter().filter_map(|file| Some((plugin_digest(&file.name)?, file.len)));
            let sizes: BTreeMap<Digest, u64> = sizes.collect();
            for generation in &mut ran.generations {
                generation.bytes = sizes.get(&generation.digest).copied();
            }
            Ok(Some(ran.generations))
        })
    }

    /// What `batch` needs to run again. Its state, whose batches may change `overlay_bytes_max`
    /// bytes, is counted in what `memory` gives.
    ///
    /// # Errors
    /// There is no such batch, or what it needs is no longer kept.
    pub fn rewind(
        disk: &dyn Disk,
        path: &Path,
        batch: BatchId,
        overlay_bytes_max: u64,
        memory: &dyn Fn() -> Reservation,
    ) -> Result<Rewound, CheckpointError> {
        let layout = Layout::new(path);
        look_for(disk, &layout, |head, tail| {
            let bases = bases(disk, &layout)?;
            let first = bases.last().map_or(BatchId::FIRST, |(_, summary)| summary.next_batch());
            let no_batch =
                |next| CheckpointError::NoBatch { batch, path: path.to_owned(), first, next };
            let is_before = |(_, summary): &&(u64, LogSummary)| summary.next_batch() <= batch;
            let Some((base, _)) = bases.iter().find(is_before) else {
                let all = load_from(disk, &layout, head, tail, newest(&bases), None)?;
                return Err(no_batch(after_last(&all.summary)));
            };
            let mut rewinding = Rewinding {
                batch,
                planned: None,
                is_committed: false,
                pinned: BTreeMap::new(),
                loading: Loading::new(overlay_bytes_max, memory()),
                state_rows: BTreeMap::new(),
            };
            let loaded = load_from(disk, &layout, head, tail, *base, Some(&mut rewinding))?;
            match (rewinding.planned.take(), &loaded.summary.query_id) {
                (Some(planned), Some(query_id)) => rewinding.finish(&layout, query_id, planned),
                _ => Err(no_batch(after_last(&loaded.summary))),
            }
        })
    }

    /// The bytes of a plugin that the checkpoint at `path` keeps.
    pub fn kept_plugin(
        disk: &dyn Disk,
        path: &Path,
        digest: Digest,
    ) -> Result<Vec<u8>, CheckpointError> {
        kept_bytes(disk, &Layout::new(path), digest)
    }

    /// What somebody chose to use in place of plugins' files, by the job's names for them.
    pub fn choices(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<BTreeMap<String, Choice>, CheckpointError> {
        choices::read(disk, &Layout::new(path))
    }

    /// The file that has them. It may not be there.
    #[must_use]
    pub fn choices_file(path: &Path) -> PathBuf {
        Layout::new(path).choices()
    }

    /// Chooses what the next start uses of a plugin, durably; `None`: its file. The bytes have to be
    /// kept; from then on they stay.
    pub fn choose(
        disk: &dyn Disk,
        path: &Path,
        plugin: &str,
        choice: Option<Choice>,
    ) -> Result<(), CheckpointError> {
        let layout = Layout::new(path);
        let is_kept =
            || choice.map_or(Ok(()), |choice| kept_bytes(disk, &layout, choice.digest).map(drop));
        is_kept()?;
        // Somebody else may choose for another plugin meanwhile, and one file has the choices for all.
        let lock = layout.choices_lock();
        let _ours = disk.lock_after(&lock).map_err(CheckpointError::io("lock", &lock))?;
        let before = choices::read(disk, &layout)?;
        let mut choices = before.clone();
        match choice {
            Some(choice) => choices.insert(plugin.to_owned(), choice),
            None => choices.remove(plugin),
        };
        choices::write(disk, &layout, &choices)?;
        // A snapshot that was made meanwhile may have removed them.
        is_kept().or_else(|gone| choices::write(disk, &layout, &before).and(Err(gone)))
    }
}

/// Where reading may begin, from new to old: snapshots with all segments after them, and at last the
/// log's beginning, if it is there. With what the log says up to each.
fn bases(disk: &dyn Disk, layout: &Layout) -> Result<Vec<(u64, LogSummary)>, CheckpointError> {
    let segments = numbers(disk, layout.log(), segment_number)?;
    let last = segments.last().copied().unwrap_or(0);
    let has_all_after = |base: u64| {
        let after = segments.iter().filter(|number| **number > base).count() as u64;
        last.checked_sub(base) == Some(after)
    };
    let mut bases = Vec::new();
    for base in numbers(disk, layout.snapshots(), snapshot_number)?.into_iter().rev() {
        if has_all_after(base) {
            bases.push((base, read_summary(disk, &layout.snapshot(base))?));
        }
    }
    if has_all_after(0) {
        bases.push((0, LogSummary::default()));
    }
    Ok(bases)
}

fn newest(bases: &[(u64, LogSummary)]) -> u64 {
    bases.first().map_or(0, |(base, _)| *base)
}

/// The batch after the last one that was planned.
fn after_last(summary: &LogSummary) -> BatchId {
    summary.open_batch().map_or_else(|| summary.next_batch(), |open| open.spec.batch.next())
}

/// Notes which plugins batches ran.
#[derive(Default)]
struct Ran {
    /// Batches before it are not read.
    begins: u64,
    generations: Vec<Generation>,
}

impl Generation {
    /// Another batch ran it, or another attempt at its last one.
    fn add(&mut self, batch: BatchId) {
        self.last = batch;
        match self.runs.last_mut() {
            Some(run) if batch <= run.last.next() => run.last = batch,
            _ => self.runs.push(Run { first: batch, last: batch }),
        }
        if self.runs.len() > RUNS_MAX {
            self.runs.remove(1);
            self.runs_left_out += 1;
        }
    }
}

impl Ran {
    fn add(&mut self, planned: &Planned) {
        let batch = planned.spec.batch;
        for (plugin, &digest) in &planned.attempt.plugins {
            let known = |known: &Generation| known.plugin == *plugin && known.digest == digest;
            let mut generation = match self.generations.iter().position(known) {
                Some(place) => self.generations.remove(place),
                None => Generation {
                    plugin: plugin.clone(),
                    digest,
                    first: batch,
                    may_be_older: batch.0 == self.begins && batch > BatchId::FIRST,
                    last: batch,
                    runs: Vec::new(),
                    runs_left_out: 0,
                    bytes: None,
                },
            };
            generation.add(batch);
            self.generations.push(generation);
        }
    }
}

impl Follower for Ran {
    fn change(&mut self, _: Change<'_>) -> Result<(), CheckpointError> {
        Ok(())
    }

    fn wants_state(&self) -> bool {
        false
    }

    fn snapshot(&mut self, summary: &LogSummary) {
        self.begins = summary.next_batch().0;
        summary.open_batch().into_iter().for_each(|planned| self.add(planned));
    }

    fn record(&mut self, record: &Record) {
        if let Record::Planned(planned) = record {
            self.add(planned);
        }
    }
}

/// Loads the state up to a batch.
struct Rewinding {
    batch: BatchId,
    /// The last attempt at it, from the first one on.
    planned: Option<Planned>,
    is_committed: bool,
    /// What the query had fixed before it.
    pinned: BTreeMap<String, String>,
    loading: Loading,
    /// Entries that the state has to have, by operator.
    state_rows: BTreeMap<u32, u64>,
}

impl Rewinding {
    fn plan(&mut self, planned: Option<&Planned>) {
        let planned = planned.filter(|planned| planned.spec.batch == self.batch);
        self.planned = planned.cloned().or_else(|| self.planned.take());
    }

    fn finish(
        self,
        layout: &Layout,
        query_id: &QueryId,
        planned: Planned,
    ) -> Result<Rewound, CheckpointError> {
        let log = layout.log();
        let damaged = |found: String| {
            let found = format!("before batch {}, {found}", self.batch);
            CheckpointError::damaged(&log, 0, found)
        };
        let (state, state_memory) = self.loading.finish(&self.state_rows, damaged)?;
        Ok(Rewound {
            query_id: query_id.clone(),
            spec: planned.spec,
            attempt: planned.attempt,
            is_committed: self.is_committed,
            pinned: self.pinned,
            state,
            state_memory,
        })
    }
}

impl Follower for Rewinding {
    fn change(&mut self, change: Change<'_>) -> Result<(), CheckpointError> {
        // From its plan on, changes are its own and of those after it.
        if self.planned.is_some() {
            return Ok(());
        }
        self.loading.add(change)
    }

    fn snapshot(&mut self, summary: &LogSummary) {
        self.state_rows.clone_from(&summary.state_rows);
        self.pinned.clone_from(&summary.pinned);
        self.plan(summary.open_batch());
    }

    fn record(&mut self, record: &Record) {
        match record {
            Record::Created(created) => self.pinned.clone_from(&created.pinned),
            Record::Planned(planned) => self.plan(Some(planned)),
            Record::Committed(committed) if committed.batch == self.batch => {
                self.is_committed = true;
            }
            Record::Committed(committed) if self.planned.is_none() => {
                self.state_rows.clone_from(&committed.state_rows);
                let renewed = committed.pinned.iter();
                self.pinned.extend(renewed.map(|(name, text)| (name.clone(), text.clone())));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(batches: &[u64]) -> Generation {
        let mut generation = Generation {
            plugin: "p".to_owned(),
            digest: Digest::of(b"p"),
            first: BatchId(batches[0]),
            may_be_older: false,
            last: BatchId(batches[0]),
            runs: Vec::new(),
            runs_left_out: 0,
            bytes: None,
        };
        batches.iter().for_each(|batch| generation.add(BatchId(*batch)));
        generation
    }

    fn runs(generation: &Generation) -> Vec<(u64, u64)> {
        generation.runs.iter().map(|run| (run.first.0, run.last.0)).collect()
    }

    #[test]
    fn a_run_ends_where_a_batch_ran_other_bytes() {
        // The third batch was tried twice.
        assert_eq!(runs(&ran(&[0, 1, 2, 2, 3, 7, 9, 10])), [(0, 3), (7, 7), (9, 10)]);
    }

    #[test]
    fn of_many_runs_the_first_and_the_last_are_told() {
        let batches: Vec<u64> = (0..20).map(|number| number * 2).collect();
        let generation = ran(&batches);
        let runs = runs(&generation);
        assert_eq!((runs.len(), runs[0], runs[1]), (RUNS_MAX, (0, 0), (26, 26)));
        assert_eq!((generation.runs_left_out, generation.last), (12, BatchId(38)));
    }
}
