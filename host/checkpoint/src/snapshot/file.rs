//! Snapshots as files: what a log says up to the end of a segment, and all state by then. And the
//! sorted runs of changes that a snapshot is merged of, which live while it is made.

use std::path::{Path, PathBuf};

use super::merge::{Entry, key_of};
use crate::CheckpointError;
use crate::disk::Disk;
use crate::framed::{self, FramedWriter};
use crate::log::LogSummary;
use crate::log::frame::FrameReader;
use crate::log::record::{self, kind};
use crate::names::{Layout, temporary};
use crate::state::{CHUNK_BYTES, Change, decode_first};

const SNAPSHOT: [u8; 8] = *b"TIDESNAP";
const RUN: [u8; 8] = *b"TIDERUN\0";

/// A snapshot, or a run, that is being written.
pub(crate) struct EntriesWriter<'a> {
    file: FramedWriter<'a>,
    chunk: Vec<u8>,
    entries: u64,
}

impl<'a> EntriesWriter<'a> {
    pub(crate) fn snapshot(
        disk: &'a dyn Disk,
        layout: &Layout,
        through: u64,
        summary: &LogSummary,
    ) -> Result<EntriesWriter<'a>, CheckpointError> {
        let mut file = FramedWriter::create(disk, temporary(&layout.snapshot(through)), SNAPSHOT)?;
        file.frame(kind::SUMMARY, |bytes| bytes.extend(record::json(summary)))?;
        Ok(EntriesWriter::new(file))
    }

    pub(crate) fn run(
        disk: &'a dyn Disk,
        path: PathBuf,
    ) -> Result<EntriesWriter<'a>, CheckpointError> {
        Ok(EntriesWriter::new(FramedWriter::create(disk, path, RUN)?))
    }

    fn new(file: FramedWriter<'a>) -> EntriesWriter<'a> {
        EntriesWriter { file, chunk: Vec::with_capacity(CHUNK_BYTES), entries: 0 }
    }

    /// Entries come in (operator, shard, bucket, key) order.
    pub(crate) fn entry(&mut self, entry: Change<'_>) -> Result<(), CheckpointError> {
        entry.encode(&mut self.chunk);
        self.entries += 1;
        if self.chunk.len() < CHUNK_BYTES { Ok(()) } else { self.close_chunk() }
    }

    /// Entries so far.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Makes the snapshot durable, under its own name.
    pub(crate) fn finish(mut self, path: &Path) -> Result<(), CheckpointError> {
        self.end()?;
        self.file.finish(path)
    }

    /// Leaves the run as it is: it is read and forgotten.
    pub(crate) fn leave(mut self) -> Result<(), CheckpointError> {
        self.end()?;
        self.file.leave();
        Ok(())
    }

    fn end(&mut self) -> Result<(), CheckpointError> {
        if !self.chunk.is_empty() {
            self.close_chunk()?;
        }
        let entries = self.entries;
        self.file.frame(kind::END, |bytes| bytes.extend(entries.to_le_bytes()))
    }

    fn close_chunk(&mut self) -> Result<(), CheckpointError> {
        let chunk = std::mem::take(&mut self.chunk);
        self.file.frame(kind::ENTRIES, |bytes| bytes.extend(&chunk))?;
        self.chunk = chunk;
        self.chunk.clear();
        Ok(())
    }
}

/// A snapshot, or a run, that is being read: entry by entry, a chunk of them in memory.
pub(crate) struct EntriesReader {
    frames: FrameReader,
    /// A run says what was removed, too.
    is_run: bool,
    chunk: Vec<u8>,
    /// Where the next entry begins in the chunk.
    at: usize,
    /// Where the chunk begins in the file.
    offset: u64,
    entries: u64,
    has_ended: bool,
}

impl EntriesReader {
    pub(crate) fn snapshot(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<(LogSummary, EntriesReader), CheckpointError> {
        let mut frames = framed::open(disk, path, SNAPSHOT, "a snapshot")?;
        let offset = frames.offset();
        let damaged = |found: String| CheckpointError::damaged(path, offset, found);
        let summary = match frames.next_good()? {
            Some(frame) if frame.kind == kind::SUMMARY => {
                record::from_json(&frame.payload).map_err(damaged)?
            }
            _ => return Err(damaged("its first record is no summary".to_owned())),
        };
        Ok((summary, EntriesReader::new(frames, false)))
    }

    pub(crate) fn run(disk: &dyn Disk, path: &Path) -> Result<EntriesReader, CheckpointError> {
        Ok(EntriesReader::new(framed::open(disk, path, RUN, "a run")?, true))
    }

    fn new(frames: FrameReader, is_run: bool) -> EntriesReader {
        let (chunk, at, offset, entries) = (Vec::new(), 0, 0, 0);
        EntriesReader { frames, is_run, chunk, at, offset, entries, has_ended: false }
    }

    /// Gives all entries to `visit`.
    pub(crate) fn visit_all(
        mut self,
        visit: &mut dyn FnMut(Change<'_>) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        while let Some(entry) = self.entry()? {
            visit(entry)?;
        }
        Ok(())
    }

    /// The next entry; `None` at the end.
    fn entry(&mut self) -> Result<Option<Change<'_>>, CheckpointError> {
        while self.at == self.chunk.len() && !self.has_ended {
            self.next_chunk()?;
        }
        if self.has_ended {
            return Ok(None);
        }
        self.entries += 1;
        let mut rest = &self.chunk[self.at..];
        match decode_first(&mut rest) {
            Some(entry) if self.is_run || entry.value.is_some() => {
                self.at = self.chunk.len() - rest.len();
                Ok(Some(entry))
            }
            _ => {
                let (path, found) = (self.frames.path(), "its entries do not add up");
                Err(CheckpointError::damaged(path, self.offset, found))
            }
        }
    }

    fn next_chunk(&mut self) -> Result<(), CheckpointError> {
        let Some(frame) = self.frames.next_good()? else {
            return Err(self.damaged("it has no end"));
        };
        self.offset = frame.offset;
        match frame.kind {
            kind::ENTRIES => {
                self.chunk = frame.payload;
                self.at = 0;
                Ok(())
            }
            kind::END if frame.payload == self.entries.to_le_bytes() => {
                self.has_ended = true;
                match self.frames.next_good()? {
                    None => Ok(()),
                    Some(_) => Err(self.damaged("more follows its end")),
                }
            }
            kind::END => Err(self.damaged("it has not as many entries as its end says")),
            other => Err(self.damaged(&format!("it may have no records of kind {other}"))),
        }
    }

    fn damaged(&self, found: &str) -> CheckpointError {
        CheckpointError::damaged(self.frames.path(), self.offset, found)
    }
}

impl Iterator for EntriesReader {
    type Item = Result<Entry, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entry().transpose()?;
        Some(entry.map(|entry| (key_of(&entry), entry.value.map(<[u8]>::to_vec))))
    }
}

/// A snapshot's summary, without its entries.
pub(crate) fn read_summary(disk: &dyn Disk, path: &Path) -> Result<LogSummary, CheckpointError> {
    Ok(EntriesReader::snapshot(disk, path)?.0)
}
