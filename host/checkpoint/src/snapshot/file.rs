//! Snapshots as files: what a log says up to the end of a segment, and all state by then.

use std::path::{Path, PathBuf};

use crate::CheckpointError;
use crate::disk::{Disk, DiskFile, create_unfinished};
use crate::log::LogSummary;
use crate::log::frame::{self, FrameReader};
use crate::log::record::{self, kind};
use crate::log::segment::FORMAT_VERSION;
use crate::names::{Layout, temporary};
use crate::state::{CHUNK_BYTES, Change, decode_changes};

const MAGIC: [u8; 8] = *b"TIDESNAP";
const HEADER_BYTES: usize = 8 + 4;

/// A snapshot that is being written. Counts only once it is finished.
pub(crate) struct SnapshotWriter<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    path: PathBuf,
    unfinished: PathBuf,
    file: Box<dyn DiskFile>,
    chunk: Vec<u8>,
    entries: u64,
}

impl<'a> SnapshotWriter<'a> {
    pub(crate) fn create(
        disk: &'a dyn Disk,
        layout: &'a Layout,
        through: u64,
        summary: &LogSummary,
    ) -> Result<SnapshotWriter<'a>, CheckpointError> {
        let path = layout.snapshot(through);
        let unfinished = temporary(&path);
        let file = create_unfinished(disk, &unfinished)?;
        let (chunk, entries) = (Vec::with_capacity(CHUNK_BYTES), 0);
        let mut writer = SnapshotWriter { disk, layout, path, unfinished, file, chunk, entries };
        let mut header = MAGIC.to_vec();
        header.extend(FORMAT_VERSION.to_le_bytes());
        frame::encode(&mut header, kind::SUMMARY, |bytes| bytes.extend(record::json(summary)))?;
        writer.append(&header)?;
        Ok(writer)
    }

    /// Entries come in (operator, shard, bucket, key) order.
    pub(crate) fn entry(&mut self, entry: Change<'_>) -> Result<(), CheckpointError> {
        entry.encode(&mut self.chunk);
        self.entries += 1;
        if self.chunk.len() < CHUNK_BYTES { Ok(()) } else { self.close_chunk() }
    }

    pub(crate) fn finish(mut self) -> Result<(), CheckpointError> {
        if !self.chunk.is_empty() {
            self.close_chunk()?;
        }
        let mut end = Vec::new();
        frame::encode(&mut end, kind::END, |bytes| bytes.extend(self.entries.to_le_bytes()))?;
        self.append(&end)?;
        self.file.sync_data().map_err(CheckpointError::io("sync", &self.unfinished))?;
        let renamed = self.disk.rename(&self.unfinished, &self.path);
        renamed.map_err(CheckpointError::io("rename", &self.unfinished))?;
        let dir = self.layout.snapshots();
        self.disk.sync_dir(&dir).map_err(CheckpointError::io("sync", &dir))
    }

    fn close_chunk(&mut self) -> Result<(), CheckpointError> {
        let mut bytes = Vec::with_capacity(self.chunk.len() + frame::FRAME_HEADER + 1);
        frame::encode(&mut bytes, kind::ENTRIES, |bytes| bytes.extend(&self.chunk))?;
        self.chunk.clear();
        self.append(&bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.file.append(bytes).map_err(CheckpointError::io("write", &self.unfinished))
    }
}

/// A snapshot that is being read: its summary first, then its entries chunk by chunk.
pub(crate) struct SnapshotReader {
    frames: FrameReader,
    entries: u64,
}

impl SnapshotReader {
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<(LogSummary, SnapshotReader), CheckpointError> {
        let (mut frames, header) = FrameReader::open(disk, path, HEADER_BYTES)?;
        if header.len() < HEADER_BYTES || header[..8] != MAGIC {
            return Err(CheckpointError::damaged(path, 0, "it is not a snapshot"));
        }
        let version = u32::from_le_bytes(std::array::from_fn(|i| header[8 + i]));
        if version != FORMAT_VERSION {
            let (file, known) = (path.to_owned(), FORMAT_VERSION);
            return Err(CheckpointError::Version { file, found: version, known });
        }
        let damaged = |found: String| CheckpointError::damaged(path, HEADER_BYTES as u64, found);
        let summary = match frames.next_good()? {
            Some(frame) if frame.kind == kind::SUMMARY => {
                record::from_json(&frame.payload).map_err(damaged)?
            }
            _ => return Err(damaged("its first record is no summary".to_owned())),
        };
        Ok((summary, SnapshotReader { frames, entries: 0 }))
    }

    /// The next chunk of entries, as [`decode_changes`] takes it; `None` at the end.
    pub(crate) fn chunk(&mut self) -> Result<Option<Vec<u8>>, CheckpointError> {
        let path = self.frames.path().to_owned();
        let Some(frame) = self.frames.next_good()? else {
            return Err(CheckpointError::damaged(&path, 0, "it has no end"));
        };
        let damaged = |found: &str| CheckpointError::damaged(&path, frame.offset, found);
        match frame.kind {
            kind::ENTRIES => {
                for change in decode_changes(&frame.payload) {
                    let is_entry = change.is_some_and(|change| change.value.is_some());
                    self.entries += 1;
                    if !is_entry {
                        return Err(damaged("its entries do not add up"));
                    }
                }
                Ok(Some(frame.payload))
            }
            kind::END if frame.payload == self.entries.to_le_bytes() => Ok(None),
            kind::END => Err(damaged("it has not as many entries as its end says")),
            other => Err(damaged(&format!("a snapshot has no records of kind {other}"))),
        }
    }
}

/// A snapshot's summary, without its entries.
pub(crate) fn read_summary(disk: &dyn Disk, path: &Path) -> Result<LogSummary, CheckpointError> {
    Ok(SnapshotReader::open(disk, path)?.0)
}
