//! The head and the tail: how far the log was, said outside of the log.
//!
//! A log cannot tell that its end is gone. So a small file, the *head*, says which segment the
//! log came to, durably, before that segment holds a record; and another, the *tail*, says up to
//! which byte that segment was durable. The tail is written over in place after each sync of the
//! log and is not synced itself, so it costs next to nothing: after a power cut it may say less
//! than was durable, and never more.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidemill_core::QueryId;

use crate::CheckpointError;
use crate::disk::{Disk, Slot};
use crate::framed::{self, FramedWriter};
use crate::log::frame::Salt;
use crate::log::record::{self, kind};
use crate::names::{Layout, temporary};

const MAGIC: [u8; 8] = *b"TIDEHEAD";

/// Segment, salt, length, checksum.
const TAIL_BYTES: usize = 8 + 8 + 8 + 4;

/// What the head says. A checkpoint without one was never completely made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Of the log's first record, so that they can be read alone.
    pub(crate) query_id: QueryId,
    pub(crate) pinned: BTreeMap<String, String>,
    /// A segment that was durably begun. The log goes at least so far.
    pub(crate) segment: u64,
    /// Batches of the segment may have changed what the query fixes: the log says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) renews: bool,
}

impl Head {
    pub(crate) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Head>, CheckpointError> {
        let path = layout.head();
        let mut frames = match framed::open(disk, &path, MAGIC, "the head of a checkpoint") {
            Err(CheckpointError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            frames => frames?,
        };
        let offset = frames.offset();
        match (frames.next_good()?, frames.next_good()?) {
            (Some(frame), None) if frame.kind == kind::HEAD => {
                let head = record::from_json(&frame.payload);
                head.map(Some).map_err(|found| CheckpointError::damaged(&path, offset, found))
            }
            _ => Err(CheckpointError::damaged(&path, offset, "it holds no head alone")),
        }
    }

    /// In place of the one that is there, durably.
    pub(crate) fn write(&self, disk: &dyn Disk, layout: &Layout) -> Result<(), CheckpointError> {
        let path = layout.head();
        let mut file = FramedWriter::create(disk, temporary(&path), MAGIC)?;
        file.frame(kind::HEAD, |bytes| bytes.extend(record::json(self)))?;
        file.finish(&path)
    }
}

/// What the tail says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tail {
    pub(crate) segment: u64,
    /// Of that segment.
    pub(crate) salt: Salt,
    /// Bytes of it that are durable.
    pub(crate) len: u64,
}

impl Tail {
    /// `None` for what was never written, or not as a whole.
    pub(crate) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Tail>, CheckpointError> {
        let path = layout.tail();
        let file = match disk.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(CheckpointError::io("read", &path))?,
        };
        let mut bytes = Vec::new();
        let read = file.take(TAIL_BYTES as u64).read_to_end(&mut bytes);
        read.map_err(CheckpointError::io("read", &path))?;
        Ok(Tail::decode(&bytes))
    }

    fn encode(self) -> [u8; TAIL_BYTES] {
        let mut bytes = [0; TAIL_BYTES];
        bytes[..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.salt.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Tail> {
        let bytes: &[u8; TAIL_BYTES] = bytes.try_into().ok()?;
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let tail = Tail { segment: u64_at(0), salt: Salt(u64_at(8)), len: u64_at(16) };
        (tail.encode() == *bytes).then_some(tail)
    }
}

/// The tail of a checkpoint that is open.
pub(crate) struct TailWriter {
    path: PathBuf,
    slot: Box<dyn Slot>,
}

impl TailWriter {
    pub(crate) fn open(disk: &dyn Disk, layout: &Layout) -> Result<TailWriter, CheckpointError> {
        let path = layout.tail();
        let slot = disk.slot(&path).map_err(CheckpointError::io("open", &path))?;
        Ok(TailWriter { path, slot })
    }

    /// To be called when the sync has returned.
    pub(crate) fn write(&mut self, tail: Tail) -> Result<(), CheckpointError> {
        self.slot.write(&tail.encode()).map_err(CheckpointError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vector of FORMAT.md.
    #[test]
    fn a_tail_has_the_bytes_that_the_format_says() {
        let tail = Tail { segment: 3, salt: Salt(0x0123_4567_89ab_cdef), len: 95 };
        let text: String = tail.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, VECTOR);
        assert_eq!(Tail::decode(&tail.encode()), Some(tail));
    }

    const VECTOR: &str = "0300000000000000efcdab89674523015f000000000000007363e98a";
}
