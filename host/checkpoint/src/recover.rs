//! Where a query goes on: what the newest snapshot and the log after it say.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use serde_json::Value;
use tidemill_core::{
    Attempt, AttemptSpec, BatchId, BatchSpec, Delivered, QueryId, SourceRange, Watermark,
};

use crate::disk::Disk;
use crate::head::{Head, Tail};
use crate::log::record::Planned;
use crate::log::segment::{self, HEADER_BYTES};
use crate::log::{Chain, Ending, Follower, LogSummary};
use crate::names::{Layout, segment_number, snapshot_number};
use crate::snapshot::EntriesReader;
use crate::{Change, CheckpointError, LogGap};

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
    /// Options that were fixed when the checkpoint was made, as far as no batch has changed them.
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

    /// [`Recovered::ranges_since`] without those of the batch in [`Recovered::next`].
    #[must_use]
    pub fn ranges_before_next(&self) -> &[BTreeMap<String, SourceRange>] {
        let next = match &self.next {
            Resume::Replay { spec, .. } | Resume::Retry { spec, .. } => &spec.ranges,
            Resume::Start(_) => return &self.ranges_since,
        };
        match self.ranges_since.split_last() {
            Some((last, before)) if last == next => before,
            // It reads nothing, and so it is not among them.
            _ => &self.ranges_since,
        }
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
    /// The segments that were read.
    pub(crate) chain: Chain,
    /// The last segment that stays; 0: there is none.
    pub(crate) last_segment: u64,
    pub(crate) leftover: Option<Leftover>,
}

/// What a crash left at the end of the log, to be cleared before anything new is written.
pub(crate) enum Leftover {
    /// What does not count: a torn write, or state changes without their commit. It begins at
    /// this byte.
    Torn(PathBuf, u64),
    /// A segment that was never completely begun.
    Unbegun(PathBuf),
}

/// Makes durable what a process that was killed may have left in memory: a later one reads it,
/// goes on from it, and must not outlive it.
pub(crate) fn settle(
    disk: &dyn Disk,
    layout: &Layout,
    head: Option<&Head>,
    tail: Option<&Tail>,
) -> Result<(), CheckpointError> {
    if head.is_none() {
        // Directories that the killed process made may not be durable either.
        for dir in layout.root.ancestors().skip(1) {
            match disk.sync_dir(dir) {
                Err(error) if is_of_others(error.kind()) => {}
                synced => synced.map_err(CheckpointError::io("sync", dir))?,
            }
        }
    }
    if let Some(&last) = numbers(disk, layout.log(), segment_number)?.last() {
        let path = layout.segment(last);
        let is_known = |tail: &&Tail| tail.segment == last;
        let from = tail.filter(is_known).map_or(0, |tail| tail.len);
        disk.rewrite(&path, from).map_err(CheckpointError::io("make durable", &path))?;
    }
    // The root as well: a head that was found may have its name in memory alone, and a segment
    // made after it would be left without one.
    for dir in layout.directories().into_iter().chain([layout.root.clone()]) {
        disk.sync_dir(&dir).map_err(CheckpointError::io("sync", &dir))?;
    }
    Ok(())
}

/// A directory that cannot be opened or synced is none that a checkpoint was just made in.
fn is_of_others(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(kind, InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported)
}

/// Times that a checkpoint is read anew because files went while it was read. Only a snapshot
/// makes files go, and to make one takes longer than to read what it is made of.
const LOOKS_MAX: u32 = 8;

/// What the log says, without its state. Another process may be writing to it meanwhile, and
/// removing what it no longer needs. `None`: there is none.
pub(crate) fn look(
    disk: &dyn Disk,
    layout: &Layout,
) -> Result<Option<LogSummary>, CheckpointError> {
    look_for(disk, layout, |head, tail| {
        let loaded = load(disk, layout, head, tail, None)?;
        Ok(head.map(|_| loaded.summary))
    })
}

/// Reads with `read`, and anew where files went meanwhile.
pub(crate) fn look_for<T>(
    disk: &dyn Disk,
    layout: &Layout,
    read: impl Fn(Option<&Head>, Option<&Tail>) -> Result<T, CheckpointError>,
) -> Result<T, CheckpointError> {
    let mut looks = 1;
    loop {
        let before = files(disk, layout)?;
        let tail = Tail::read(disk, layout)?;
        match read(before.0.as_ref(), tail.as_ref()) {
            Err(_) if looks < LOOKS_MAX && files(disk, layout)? != before => looks += 1,
            outcome => return outcome,
        }
    }
}

type Files = (Option<Head>, Vec<u64>, Vec<u64>);

fn files(disk: &dyn Disk, layout: &Layout) -> Result<Files, CheckpointError> {
    let head = Head::read(disk, layout)?;
    let snapshots = numbers(disk, layout.snapshots(), snapshot_number)?;
    Ok((head, snapshots, numbers(disk, layout.log(), segment_number)?))
}

/// Reads the newest snapshot and the log after it. Changes nothing. `follower` is told of them, if
/// there is one; without it the state is not read.
pub(crate) fn load(
    disk: &dyn Disk,
    layout: &Layout,
    head: Option<&Head>,
    tail: Option<&Tail>,
    follower: Option<&mut dyn Follower>,
) -> Result<Loaded, CheckpointError> {
    let base = numbers(disk, layout.snapshots(), snapshot_number)?.last().copied().unwrap_or(0);
    load_from(disk, layout, head, tail, base, follower)
}

/// As [`load`], from the snapshot of segment `base` on; 0: from the log's beginning.
pub(crate) fn load_from(
    disk: &dyn Disk,
    layout: &Layout,
    head: Option<&Head>,
    tail: Option<&Tail>,
    base: u64,
    follower: Option<&mut dyn Follower>,
) -> Result<Loaded, CheckpointError> {
    let Some(head) = head else {
        return Ok(Loaded { leftover: unbegun(disk, layout)?, ..Loaded::default() });
    };
    let mut loaded = Loaded::default();
    let mut nothing = |_: Change<'_>| Ok(());
    let wants_state = follower.as_ref().is_some_and(|follower| follower.wants_state());
    let follower: &mut dyn Follower = follower.unwrap_or(&mut nothing);
    if base > 0 {
        let (summary, entries) = EntriesReader::snapshot(disk, &layout.snapshot(base))?;
        if wants_state {
            entries.visit_all(&mut |entry| follower.change(entry))?;
        }
        follower.snapshot(&summary);
        loaded.summary = summary;
        loaded.last_segment = base;
    }
    let segments = numbers(disk, layout.log(), segment_number)?;
    let known = tail.map_or(0, |tail| tail.segment).max(head.segment);
    let last = segments.last().copied().unwrap_or(0);
    if last < known {
        return Err(missing(layout, layout.segment(last.max(base) + 1), base, &segments));
    }
    for number in segments.iter().copied().filter(|number| *number > base) {
        if number != loaded.last_segment + 1 {
            let wanted = layout.segment(loaded.last_segment + 1);
            return Err(missing(layout, wanted, base, &segments));
        }
        let ending = if number == last {
            Ending::Open { durable: durable(number, head, tail) }
        } else {
            Ending::Closed
        };
        load_segment(disk, layout, number, ending, tail, &mut loaded, follower)?;
    }
    check_head(layout, head, &loaded)?;
    Ok(loaded)
}

/// Bytes of a segment that are known to have been durable.
fn durable(number: u64, head: &Head, tail: Option<&Tail>) -> u64 {
    let begun = if number <= head.segment { HEADER_BYTES as u64 } else { 0 };
    let tail = tail.filter(|tail| tail.segment == number);
    tail.map_or(0, |tail| tail.len).max(begun)
}

fn load_segment(
    disk: &dyn Disk,
    layout: &Layout,
    number: u64,
    ending: Ending,
    tail: Option<&Tail>,
    loaded: &mut Loaded,
    follower: &mut dyn Follower,
) -> Result<(), CheckpointError> {
    let path = layout.segment(number);
    let summary = &mut loaded.summary;
    let folded = loaded.chain.fold(disk, layout, number, ending, summary, follower)?;
    let Some(header) = folded.header else {
        loaded.leftover = Some(Leftover::Unbegun(path));
        return Ok(());
    };
    if tail.is_some_and(|tail| tail.segment == number && tail.salt != header.salt) {
        let found = "it is not the segment that was written last (so the tail says)";
        return Err(CheckpointError::damaged(&path, 0, found));
    }
    loaded.last_segment = number;
    loaded.leftover = folded.torn_at.map(|at| Leftover::Torn(path, at));
    Ok(())
}

/// The log's first record, or the snapshot, says the same as the head.
fn check_head(layout: &Layout, head: &Head, loaded: &Loaded) -> Result<(), CheckpointError> {
    let summary = &loaded.summary;
    let is_same = head.renews || summary.pinned == head.pinned;
    if summary.query_id.as_ref() == Some(&head.query_id) && is_same {
        return Ok(());
    }
    let log = summary.query_id.as_ref().map_or("of none", |id| id.0.as_str());
    let found = format!("it is of query {}, and the log is {log}", head.query_id.0);
    Err(CheckpointError::damaged(&layout.head(), 0, found))
}

/// A crash while the checkpoint was made leaves no head, and at most a first segment that names
/// the query. Nothing depends on it, so the checkpoint is made anew.
pub(crate) fn unbegun(
    disk: &dyn Disk,
    layout: &Layout,
) -> Result<Option<Leftover>, CheckpointError> {
    let snapshots = numbers(disk, layout.snapshots(), snapshot_number)?;
    let segments = numbers(disk, layout.log(), segment_number)?;
    // An older format had no head, and is refused by its name.
    if let Some(number) = snapshots.first() {
        EntriesReader::snapshot(disk, &layout.snapshot(*number))?;
    }
    let no_head = || {
        let base = snapshots.last().copied().unwrap_or(0);
        Err(missing(layout, layout.head(), base, &segments))
    };
    let Some(&first) = segments.first() else {
        return if snapshots.is_empty() { Ok(None) } else { no_head() };
    };
    segment::open(disk, &layout.segment(first))?;
    if first > 1 || segments.len() > 1 || !snapshots.is_empty() {
        return no_head();
    }
    let mut summary = LogSummary::default();
    let ending = Ending::Open { durable: 0 };
    Chain::default().fold(
        disk,
        layout,
        first,
        ending,
        &mut summary,
        &mut |_: Change<'_>| Ok(()),
    )?;
    if summary.planned.is_some() {
        return no_head();
    }
    Ok(Some(Leftover::Unbegun(layout.segment(first))))
}

fn missing(layout: &Layout, path: PathBuf, base: u64, segments: &[u64]) -> CheckpointError {
    let segments = match (segments.first(), segments.last()) {
        (Some(first), Some(last)) => format!("segments {first} to {last}"),
        _ => "no segments".to_owned(),
    };
    let snapshot = if base > 0 { format!("snapshot {base}") } else { "no snapshot".to_owned() };
    let (log, snapshots) = (layout.log(), layout.snapshots());
    let found = format!("{segments} ({}), and {snapshot} ({})", log.display(), snapshots.display());
    CheckpointError::Missing { path, found }
}

pub(crate) fn numbers(
    disk: &dyn Disk,
    dir: PathBuf,
    number: fn(&str) -> Option<u64>,
) -> Result<Vec<u64>, CheckpointError> {
    let files = disk.list(&dir).map_err(CheckpointError::io("list", &dir))?;
    Ok(files.iter().filter_map(|file| number(&file.name)).collect())
}
