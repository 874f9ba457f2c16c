//! Where a query goes on: what the newest snapshot and the log after it say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use tidemill_core::{
    Attempt, AttemptSpec, BatchId, BatchSpec, Delivered, QueryId, SourceRange, Watermark,
};

use crate::disk::Disk;
use crate::log::record::Planned;
use crate::log::{LogSummary, fold_segment};
use crate::names::{Layout, segment_number, snapshot_number};
use crate::snapshot::SnapshotReader;
use crate::state::{Change, decode_changes};
use crate::{CheckpointError, LogGap};

/// What a checkpoint says of its query.
#[derive(Clone, PartialEq, Debug)]
pub struct Recovered {
    /// Made when the checkpoint was.
    pub query_id: QueryId,
    /// The checkpoint was made just now: no batch was ever planned.
    pub is_new: bool,
    /// What to run first.
    pub next: Resume,
    /// The watermark after the last committed batch.
    pub watermark: Watermark,
    /// The watermark *of* the last committed batch: the late filter of the next one goes by it.
    pub late_watermark: Watermark,
    /// Full positions of the sources, by name, as of the last time that they were logged. Nothing
    /// for a source that never had one.
    pub positions: BTreeMap<String, Value>,
    /// Ranges of the batches that were planned since, in order, the batch in [`Recovered::next`]
    /// among them. A source that is restored to its position and advanced over its ranges stands
    /// where its next new range begins.
    pub ranges_since: Vec<BTreeMap<String, SourceRange>>,
    /// Options that were fixed when the checkpoint was made.
    pub pinned: BTreeMap<String, String>,
    /// The last delivery to each sink and target that keeps marks, by its name.
    pub delivered: BTreeMap<String, Delivered>,
    /// Names under which a handler called the batch in [`Recovered::next`] processed.
    pub marks: BTreeSet<String>,
}

/// What a query runs first.
#[derive(Clone, PartialEq, Debug)]
pub enum Resume {
    /// Construct this batch anew.
    Start(BatchId),
    /// Run this attempt again: nobody knows how far it came.
    Replay {
        /// The batch.
        spec: BatchSpec,
        /// The attempt.
        attempt: AttemptSpec,
    },
    /// The last attempt at this batch failed. Another may follow, with the present plugins and
    /// job; it is planned first.
    Retry {
        /// The batch.
        spec: BatchSpec,
        /// The attempt that failed.
        last_attempt: Attempt,
    },
}

/// Decides where to go on, from the last attempt that was planned, whether it failed, and the last
/// batch that was committed.
///
/// Plans may lead commits by one batch. Any other difference means that records were lost, and to
/// guess would be to lose rows or to repeat them.
pub fn resume(
    planned: Option<(&BatchSpec, &AttemptSpec)>,
    has_failed: bool,
    committed: Option<BatchId>,
) -> Result<Resume, LogGap> {
    let next = committed.map_or(BatchId::FIRST, BatchId::next);
    match planned {
        None if committed.is_none() => Ok(Resume::Start(next)),
        Some((spec, _)) if Some(spec.batch) == committed && !has_failed => Ok(Resume::Start(next)),
        Some((spec, attempt)) if spec.batch == next && has_failed => {
            Ok(Resume::Retry { spec: spec.clone(), last_attempt: attempt.attempt })
        }
        Some((spec, attempt)) if spec.batch == next => {
            Ok(Resume::Replay { spec: spec.clone(), attempt: attempt.clone() })
        }
        _ => Err(LogGap {
            record: format!("batch {next}"),
            planned: planned.map(|(spec, attempt)| (spec.batch, attempt.attempt)),
            committed,
        }),
    }
}

impl Recovered {
    /// `None` if the log has no first record.
    pub(crate) fn of(summary: &LogSummary, is_new: bool) -> Result<Option<Recovered>, LogGap> {
        let Some(query_id) = summary.query_id.clone() else {
            return Ok(None);
        };
        let planned = summary.planned.as_ref();
        let planned = planned.map(|Planned { spec, attempt, .. }| (spec, attempt));
        Ok(Some(Recovered {
            query_id,
            is_new,
            next: resume(planned, summary.has_failed, summary.committed)?,
            watermark: summary.watermark,
            late_watermark: summary.late_watermark,
            positions: summary.positions.clone(),
            ranges_since: summary.ranges_since.clone(),
            pinned: summary.pinned.clone(),
            delivered: summary.delivered.clone(),
            marks: summary.marks.clone(),
        }))
    }

    /// [`Recovered::ranges_since`] without those of the batch in [`Recovered::next`]. `None`: the
    /// log was written by a version that kept the positions after it alone.
    #[must_use]
    pub fn ranges_before_next(&self) -> Option<&[BTreeMap<String, SourceRange>]> {
        let ranges = match &self.next {
            Resume::Replay { spec, .. } | Resume::Retry { spec, .. } => &spec.ranges,
            Resume::Start(_) => return Some(&self.ranges_since),
        };
        if ranges.is_empty() {
            return Some(&self.ranges_since);
        }
        self.ranges_since.split_last().filter(|(last, _)| *last == ranges).map(|(_, before)| before)
    }

    /// The last batch that was committed; `None` before the first.
    #[must_use]
    pub fn committed(&self) -> Option<BatchId> {
        let next = match &self.next {
            Resume::Start(batch) => *batch,
            Resume::Replay { spec, .. } | Resume::Retry { spec, .. } => spec.batch,
        };
        next.0.checked_sub(1).map(BatchId)
    }
}

/// A log as it was read.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) summary: LogSummary,
    /// The largest fencing number so far.
    pub(crate) fencing: u64,
    /// The last segment that stays; 0: there is none.
    pub(crate) last_segment: u64,
    pub(crate) leftover: Option<Leftover>,
}

/// What a crash left at the end of the log, to be cleared before anything new is written.
pub(crate) enum Leftover {
    /// A torn write that begins at this byte.
    Torn(PathBuf, u64),
    /// A segment that was never completely begun.
    Unbegun(PathBuf),
}

/// Reads the newest snapshot and the log after it. Changes nothing.
pub(crate) fn load(
    disk: &dyn Disk,
    layout: &Layout,
    apply: &mut dyn FnMut(Change<'_>),
) -> Result<Loaded, CheckpointError> {
    let mut loaded = Loaded::default();
    let base = numbers(disk, layout.snapshots(), snapshot_number)?.last().copied().unwrap_or(0);
    if base > 0 {
        loaded.summary = load_snapshot(disk, layout, base, apply)?;
        loaded.last_segment = base;
    }
    let segments = numbers(disk, layout.log(), segment_number)?;
    let last = segments.last().copied();
    if base > 0 && last.is_none_or(|last| last <= base) {
        // A segment is only folded into a snapshot once the next one is durable.
        return Err(missing(layout, base + 1, &segments));
    }
    for number in segments.iter().copied().filter(|number| *number > base) {
        if number != loaded.last_segment + 1 {
            return Err(missing(layout, loaded.last_segment + 1, &segments));
        }
        load_segment(disk, layout, number, Some(number) == last, &mut loaded, apply)?;
    }
    forget_unbegun_log(layout, &mut loaded);
    Ok(loaded)
}

fn load_snapshot(
    disk: &dyn Disk,
    layout: &Layout,
    number: u64,
    apply: &mut dyn FnMut(Change<'_>),
) -> Result<LogSummary, CheckpointError> {
    let (summary, mut reader) = SnapshotReader::open(disk, &layout.snapshot(number))?;
    while let Some(chunk) = reader.chunk()? {
        decode_changes(&chunk).flatten().for_each(&mut *apply);
    }
    Ok(summary)
}

fn load_segment(
    disk: &dyn Disk,
    layout: &Layout,
    number: u64,
    is_last: bool,
    loaded: &mut Loaded,
    apply: &mut dyn FnMut(Change<'_>),
) -> Result<(), CheckpointError> {
    let path = layout.segment(number);
    let folded = fold_segment(disk, &path, is_last, &mut loaded.summary, apply)?;
    let Some(header) = folded.header else {
        loaded.leftover = Some(Leftover::Unbegun(path));
        return Ok(());
    };
    if header.number != number || header.fencing < loaded.fencing {
        let found = format!(
            "it is segment {} of start {}, and follows start {}",
            header.number, header.fencing, loaded.fencing
        );
        return Err(CheckpointError::damaged(&path, 0, found));
    }
    loaded.fencing = header.fencing;
    loaded.last_segment = number;
    loaded.leftover = folded.torn_at.map(|at| Leftover::Torn(path, at));
    Ok(())
}

/// A crash while the checkpoint was made leaves a first segment without the record that names the
/// query. Nothing depends on it, so the checkpoint is made anew.
fn forget_unbegun_log(layout: &Layout, loaded: &mut Loaded) {
    if loaded.summary.query_id.is_none() && loaded.last_segment == 1 {
        loaded.leftover = Some(Leftover::Unbegun(layout.segment(1)));
        loaded.last_segment = 0;
    }
}

fn missing(layout: &Layout, wanted: u64, segments: &[u64]) -> CheckpointError {
    let found = match (segments.first(), segments.last()) {
        (Some(first), Some(last)) => format!("segments {first} to {last}"),
        _ => "no segments".to_owned(),
    };
    CheckpointError::Missing { path: layout.segment(wanted), found }
}

fn numbers(
    disk: &dyn Disk,
    dir: PathBuf,
    number: fn(&str) -> Option<u64>,
) -> Result<Vec<u64>, CheckpointError> {
    let files = disk.list(&dir).map_err(CheckpointError::io("list", &dir))?;
    Ok(files.iter().filter_map(|file| number(&file.name)).collect())
}
