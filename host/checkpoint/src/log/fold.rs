//! Reads segments into what the log says so far.

use std::path::{Path, PathBuf};

use super::frame::{Frame, FrameReader, Next};
use super::record::{Record, kind};
use super::segment::{self, Header};
use super::summary::LogSummary;
use crate::disk::Disk;
use crate::names::Layout;
use crate::state::{Change, decode_changes};
use crate::{CheckpointError, LogGap};

/// Is told what a log says while it is read.
pub(crate) trait Follower {
    /// A change of the state by a batch that is committed, be it a record later.
    fn change(&mut self, change: Change<'_>) -> Result<(), CheckpointError>;

    /// Whether it wants the state of the snapshot that is read first, too.
    fn wants_state(&self) -> bool {
        true
    }

    /// The snapshot that is read first was told, and says this.
    fn snapshot(&mut self, summary: &LogSummary) {
        let _ = summary;
    }

    /// A record that follows from those before it.
    fn record(&mut self, record: &Record) {
        let _ = record;
    }
}

/// Wants the state alone.
impl<F: FnMut(Change<'_>) -> Result<(), CheckpointError>> Follower for F {
    fn change(&mut self, change: Change<'_>) -> Result<(), CheckpointError> {
        self(change)
    }
}

/// How a segment may end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// As its writer left it: another segment follows it.
    Closed,
    /// With what a crash left. Everything before byte `durable` is known to have been durable.
    Open { durable: u64 },
}

/// What a segment was like.
pub(crate) struct Folded {
    /// `None`: it was never completely begun, and holds nothing.
    pub(crate) header: Option<Header>,
    /// Where begins what does not count: a write that a crash tore, or state changes without
    /// their commit.
    pub(crate) torn_at: Option<u64>,
}

/// The segments of a log, read one after the other, each held against the one before it.
#[derive(Default)]
pub(crate) struct Chain {
    /// The largest fencing number so far.
    pub(crate) fencing: u64,
    /// Length of the last segment that was read.
    len: Option<u64>,
}

impl Chain {
    /// Folds all records of a segment into `summary`, and tells `follower` of them and of the state
    /// changes of the batches that it commits.
    pub(crate) fn fold(
        &mut self,
        disk: &dyn Disk,
        layout: &Layout,
        number: u64,
        ending: Ending,
        summary: &mut LogSummary,
        follower: &mut dyn Follower,
    ) -> Result<Folded, CheckpointError> {
        let path = layout.segment(number);
        let (header, mut frames) = segment::open(disk, &path)?;
        let Some(header) = header else {
            // The header is durable before anything follows it.
            let is_unbegun =
                ending == Ending::Open { durable: 0 } && matches!(frames.next()?, Next::End);
            let unbegun = Folded { header: None, torn_at: Some(0) };
            let damaged = || CheckpointError::damaged(&path, 0, "its header is not whole");
            return if is_unbegun { Ok(unbegun) } else { Err(damaged()) };
        };
        self.link(layout, number, header)?;
        let mut fold = SegmentFold { path, summary, follower, ending, pending: Pending::default() };
        let torn_at = fold.run(&mut frames)?;
        self.fencing = header.fencing;
        self.len = Some(torn_at.unwrap_or(frames.offset()));
        Ok(Folded { header: Some(header), torn_at })
    }

    /// Whether the last segment that was read is as long as the segment after it says. That one
    /// may be the one that is being written: its header is all that is read of it.
    pub(crate) fn check_last(
        &self,
        disk: &dyn Disk,
        layout: &Layout,
        next: u64,
    ) -> Result<(), CheckpointError> {
        let path = layout.segment(next);
        match segment::open(disk, &path)?.0 {
            Some(header) => self.link(layout, next, header),
            None => Err(CheckpointError::damaged(&path, 0, "its header is not whole")),
        }
    }

    /// Length of the last segment that was read, as far as it counts; 0: none was.
    pub(crate) fn len(&self) -> u64 {
        self.len.unwrap_or(0)
    }

    fn link(&self, layout: &Layout, number: u64, header: Header) -> Result<(), CheckpointError> {
        let path = layout.segment(number);
        if header.number != number || header.fencing < self.fencing {
            let found = format!(
                "it is segment {} of start {}, and follows start {}",
                header.number, header.fencing, self.fencing
            );
            return Err(CheckpointError::damaged(&path, 0, found));
        }
        match self.len {
            Some(len) if len < header.previous_len => Err(CheckpointError::Shortened {
                path: layout.segment(number - 1),
                len,
                durable: header.previous_len,
            }),
            Some(len) if len > header.previous_len => {
                let found = format!("more follows than when segment {number} was begun");
                let path = layout.segment(number - 1);
                Err(CheckpointError::damaged(&path, header.previous_len, found))
            }
            _ => Ok(()),
        }
    }
}

struct SegmentFold<'a> {
    path: PathBuf,
    summary: &'a mut LogSummary,
    follower: &'a mut dyn Follower,
    ending: Ending,
    pending: Pending,
}

/// State changes whose commit was not read yet.
#[derive(Default)]
struct Pending {
    /// Where the first of them begins.
    begin: Option<u64>,
    chunks: u64,
    /// Kept back in an open segment alone: at its end there may be changes of a batch that a
    /// crash interrupted, as many as one batch may make. In a closed segment each has its commit.
    held: Vec<Frame>,
}

impl SegmentFold<'_> {
    /// Gives where begins what does not count.
    fn run(&mut self, frames: &mut FrameReader) -> Result<Option<u64>, CheckpointError> {
        loop {
            match frames.next()? {
                Next::End => return self.end(frames.offset(), None),
                Next::Bad { offset, was_durable } => return self.end(offset, Some(was_durable)),
                Next::Frame(frame) if frame.kind == kind::STATE_CHANGES => self.hold(frame)?,
                Next::Frame(frame) => self.take(&frame)?,
            }
        }
    }

    /// No more records come after byte `end`, be it the end of the file or a bad frame, after
    /// which there is one that was written after a sync or not.
    fn end(&self, end: u64, bad: Option<bool>) -> Result<Option<u64>, CheckpointError> {
        let damaged = |offset, found: &str| {
            Err(CheckpointError::damaged(&self.path, offset, found.to_owned()))
        };
        let Ending::Open { durable } = self.ending else {
            return match (bad, self.pending.begin) {
                (Some(_), _) => damaged(end, "no whole record begins there"),
                (None, Some(begin)) => damaged(begin, "state changes have no commit"),
                (None, None) => Ok(None),
            };
        };
        match bad {
            Some(was_durable) if was_durable || end < durable => {
                damaged(end, "no whole record begins there")
            }
            None if end < durable => {
                Err(CheckpointError::Shortened { path: self.path.clone(), len: end, durable })
            }
            _ => Ok(self.pending.begin.or(bad.map(|_| end))),
        }
    }

    fn hold(&mut self, frame: Frame) -> Result<(), CheckpointError> {
        self.pending.begin.get_or_insert(frame.offset);
        self.pending.chunks += 1;
        if self.ending == Ending::Closed {
            return self.apply(&frame);
        }
        self.pending.held.push(frame);
        Ok(())
    }

    fn take(&mut self, frame: &Frame) -> Result<(), CheckpointError> {
        let damaged = |found| CheckpointError::damaged(&self.path, frame.offset, found);
        let record = Record::decode(frame.kind, &frame.payload).map_err(damaged)?;
        let chunks = match &record {
            Record::Committed(committed) => committed.chunks,
            _ => 0,
        };
        let pending = std::mem::take(&mut self.pending);
        if chunks != pending.chunks {
            let found = format!(
                "{} follows {} chunks of state changes, and should follow {chunks}",
                record.describe(),
                pending.chunks
            );
            return Err(damaged(found));
        }
        let gap = |gap: LogGap| damaged(gap.to_string());
        self.summary.check(&record).map_err(gap)?;
        self.follower.record(&record);
        self.summary.fold(record).map_err(gap)?;
        pending.held.iter().try_for_each(|chunk| self.apply(chunk))
    }

    fn apply(&mut self, chunk: &Frame) -> Result<(), CheckpointError> {
        let path: &Path = &self.path;
        decode_changes(&chunk.payload).try_for_each(|change| match change {
            Some(change) => self.follower.change(change),
            None => {
                let found = "its state changes do not add up";
                Err(CheckpointError::damaged(path, chunk.offset, found))
            }
        })
    }
}
