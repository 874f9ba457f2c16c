//! Frames: the unit in which bytes are written, checked and believed.
//!
//! ```text
//! [length u32][crc32 u32][kind u8][payload]      length counts kind and payload
//! ```
//!
//! The first frame that is written after a sync carries the bit [`SYNCED_BEFORE`] in its kind: it
//! says that everything before it is durable. That is how a reader tells a write that a crash
//! tore (nothing after it claims to have been synced later) from bytes that went bad.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::CheckpointError;
use crate::disk::Disk;

/// Bytes before a frame's kind.
pub(crate) const FRAME_HEADER: usize = 8;

/// Largest length that a frame may have. Far beyond any honest record (state comes in chunks of a
/// MiB, and a spec that names a million files takes about 200 MiB), so that a damaged length is
/// not believed.
pub(crate) const FRAME_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Bit of a kind: everything before this frame was durable when the frame was written.
pub(crate) const SYNCED_BEFORE: u8 = 0x80;

/// Bytes that a reader asks of the disk at once.
const READ_BYTES: usize = 256 * 1024;

/// Appends a frame to `buffer`, whose payload `write` adds.
pub(crate) fn encode(
    buffer: &mut Vec<u8>,
    kind: u8,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), CheckpointError> {
    let start = buffer.len();
    buffer.extend([0; FRAME_HEADER]);
    buffer.push(kind);
    write(buffer);
    let body = &buffer[start + FRAME_HEADER..];
    let len = body.len() as u64;
    if len > FRAME_BYTES_MAX {
        buffer.truncate(start);
        return Err(CheckpointError::RecordTooLarge { bytes: len, limit: FRAME_BYTES_MAX });
    }
    let crc = crc32fast::hash(body);
    buffer[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
    buffer[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// A frame as it was read.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Where it begins in its file.
    pub(crate) offset: u64,
    /// Without [`SYNCED_BEFORE`].
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

/// What comes next in a file.
#[derive(Debug)]
pub(crate) enum Next {
    Frame(Frame),
    /// The file ends here.
    End,
    /// No whole frame begins at `offset`.
    Bad {
        offset: u64,
        /// A later frame says that these bytes were durable: they are damaged, not torn.
        was_durable: bool,
    },
}

/// Reads the frames of a file, one after the other.
pub(crate) struct FrameReader {
    path: PathBuf,
    input: io::BufReader<Box<dyn Read + Send>>,
    offset: u64,
}

impl FrameReader {
    /// Reads the first `header` bytes (fewer, if the file is shorter), and stands after them.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        header: usize,
    ) -> Result<(FrameReader, Vec<u8>), CheckpointError> {
        let input = disk.read(path).map_err(CheckpointError::io("read", path))?;
        let input = io::BufReader::with_capacity(READ_BYTES, input);
        let mut reader = FrameReader { path: path.to_owned(), input, offset: 0 };
        let bytes = reader.take(header as u64)?;
        reader.offset = bytes.len() as u64;
        Ok((reader, bytes))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn next(&mut self) -> Result<Next, CheckpointError> {
        let mut bytes = self.take(FRAME_HEADER as u64)?;
        if bytes.is_empty() {
            return Ok(Next::End);
        }
        let len = bytes.get(..4).map_or(0, |len| u64::from(u32_at(len)));
        if bytes.len() == FRAME_HEADER && (1..=FRAME_BYTES_MAX).contains(&len) {
            bytes.extend(self.take(len)?);
        }
        if !is_whole(&bytes) {
            bytes.extend(self.take(u64::MAX)?);
            let was_durable = (1..bytes.len()).any(|at| begins_after_a_sync(&bytes[at..]));
            return Ok(Next::Bad { offset: self.offset, was_durable });
        }
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        let kind = bytes[FRAME_HEADER] & !SYNCED_BEFORE;
        bytes.drain(..=FRAME_HEADER);
        Ok(Next::Frame(Frame { offset, kind, payload: bytes }))
    }

    /// The next frame of a file in which every frame must be good.
    pub(crate) fn next_good(&mut self) -> Result<Option<Frame>, CheckpointError> {
        match self.next()? {
            Next::Frame(frame) => Ok(Some(frame)),
            Next::End => Ok(None),
            Next::Bad { offset, .. } => {
                Err(CheckpointError::damaged(&self.path, offset, "no whole record begins there"))
            }
        }
    }

    /// Up to `count` bytes; fewer at the end of the file. Memory grows with what is really there.
    fn take(&mut self, count: u64) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(count).read_to_end(&mut bytes);
        read.map_err(CheckpointError::io("read", &self.path))?;
        Ok(bytes)
    }
}

/// Whether `bytes` begin with a frame that nothing has changed.
fn is_whole(bytes: &[u8]) -> bool {
    if bytes.len() <= FRAME_HEADER {
        return false;
    }
    let len = u64::from(u32_at(bytes));
    let body = &bytes[FRAME_HEADER..];
    if len == 0 || len > FRAME_BYTES_MAX || len > body.len() as u64 {
        return false;
    }
    crc32fast::hash(&body[..len as usize]) == u32_at(&bytes[4..])
}

fn begins_after_a_sync(bytes: &[u8]) -> bool {
    bytes.get(FRAME_HEADER).is_some_and(|kind| kind & SYNCED_BEFORE != 0) && is_whole(bytes)
}

fn u32_at(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
