//! Reads a segment into what the log says so far.

use std::path::{Path, PathBuf};

use super::frame::{Frame, FrameReader, Next};
use super::record::{Record, kind};
use super::segment::{self, Header};
use super::summary::LogSummary;
use crate::CheckpointError;
use crate::disk::Disk;
use crate::state::{Change, decode_changes};

/// What a segment was like.
pub(crate) struct Folded {
    /// `None`: it was never completely begun, and holds nothing.
    pub(crate) header: Option<Header>,
    /// Where a write that a crash tore begins.
    pub(crate) torn_at: Option<u64>,
}

/// Folds all records of a segment into `summary`, and gives the state changes of the batches that
/// it commits to `apply`. Only the last segment of a log may end torn.
pub(crate) fn fold_segment(
    disk: &dyn Disk,
    path: &Path,
    is_last: bool,
    summary: &mut LogSummary,
    apply: &mut dyn FnMut(Change<'_>),
) -> Result<Folded, CheckpointError> {
    let (header, mut frames) = segment::open(disk, path)?;
    if header.is_none() {
        // The header is durable before anything follows it.
        let is_torn = is_last && matches!(frames.next()?, Next::End);
        let torn = Folded { header: None, torn_at: Some(0) };
        let damaged = || CheckpointError::damaged(path, 0, "its header is not whole");
        return if is_torn { Ok(torn) } else { Err(damaged()) };
    }
    let mut fold = SegmentFold { path: path.to_owned(), summary, apply, chunks: Vec::new() };
    let torn_at = fold.run(&mut frames, is_last)?;
    Ok(Folded { header, torn_at })
}

struct SegmentFold<'a> {
    path: PathBuf,
    summary: &'a mut LogSummary,
    apply: &'a mut dyn FnMut(Change<'_>),
    /// State changes whose commit was not read yet. Those at the end of a segment never get one:
    /// a batch's changes and its commit are in the same segment.
    chunks: Vec<Frame>,
}

impl SegmentFold<'_> {
    fn run(
        &mut self,
        frames: &mut FrameReader,
        is_last: bool,
    ) -> Result<Option<u64>, CheckpointError> {
        loop {
            match frames.next()? {
                Next::End => return Ok(None),
                Next::Bad { offset, was_durable } if !is_last || was_durable => {
                    let found = "no whole record begins there";
                    return Err(CheckpointError::damaged(&self.path, offset, found));
                }
                Next::Bad { offset, .. } => return Ok(Some(offset)),
                Next::Frame(frame) if frame.kind == kind::STATE_CHANGES => self.chunks.push(frame),
                Next::Frame(frame) => self.take(&frame)?,
            }
        }
    }

    fn take(&mut self, frame: &Frame) -> Result<(), CheckpointError> {
        let damaged = |found| CheckpointError::damaged(&self.path, frame.offset, found);
        let record = Record::decode(frame.kind, &frame.payload).map_err(damaged)?;
        let chunks = match &record {
            Record::Committed(committed) => committed.chunks,
            _ => 0,
        };
        if chunks != self.chunks.len() as u64 {
            let found = format!(
                "{} follows {} chunks of state changes, and should follow {chunks}",
                record.describe(),
                self.chunks.len()
            );
            return Err(damaged(found));
        }
        self.summary.fold(record).map_err(|gap| damaged(gap.to_string()))?;
        for chunk in std::mem::take(&mut self.chunks) {
            for change in decode_changes(&chunk.payload) {
                let bad = || {
                    CheckpointError::damaged(
                        &self.path,
                        chunk.offset,
                        "its state changes do not add up",
                    )
                };
                (self.apply)(change.ok_or_else(bad)?);
            }
        }
        Ok(())
    }
}
