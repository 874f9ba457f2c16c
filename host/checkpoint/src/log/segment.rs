//! Segments: the files that the log is made of.
//!
//! Every start of the query and every roll begins a new one, so a segment that exists is never
//! appended to again. Its header is durable before its first frame is written, and says how long
//! the segment before it was: so a segment that lost its end is noticed.

use std::path::{Path, PathBuf};

use super::frame::{self, FrameReader, Place, Salt};
use crate::CheckpointError;
use crate::disk::{Disk, DiskFile};
use crate::names::Layout;

pub(crate) const MAGIC: [u8; 8] = *b"TIDELOG\0";

/// Version of all files of a checkpoint alike.
pub const FORMAT_VERSION: u32 = 2;

/// Magic, version, fencing number, segment number, first batch, checksum: so every version of the
/// format begins, and so each program can name a version that it does not know.
const COMMON_BYTES: usize = 8 + 4 + 8 + 8 + 8 + 4;

/// Salt, length of the segment before, checksum of all.
pub(crate) const HEADER_BYTES: usize = COMMON_BYTES + 8 + 8 + 4;

/// Bytes of frames that are collected before they are handed to the system. A commit with little
/// state goes out in one write.
const BUFFER_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// Larger for every start of the query.
    pub(crate) fencing: u64,
    /// 1, 2, 3, …; also the file's name.
    pub(crate) number: u64,
    /// The first batch that the segment may hold records of.
    pub(crate) first_batch: u64,
    /// What ties the segment's frames to it.
    pub(crate) salt: Salt,
    /// Length of the segment before it in bytes; 0: there was none.
    pub(crate) previous_len: u64,
}

impl Header {
    fn encode(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend(self.fencing.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.first_batch.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend(self.salt.0.to_le_bytes());
        bytes.extend(self.previous_len.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// `None`: the header was never completely written.
    fn decode(bytes: &[u8], path: &Path) -> Result<Option<Header>, CheckpointError> {
        let Some(common) = checked(bytes, COMMON_BYTES) else {
            return Ok(None);
        };
        if common[..8] != MAGIC {
            return Err(CheckpointError::damaged(path, 0, "it is not a segment of a log"));
        }
        let version = u32::from_le_bytes(std::array::from_fn(|i| common[8 + i]));
        if version != FORMAT_VERSION {
            let (file, known) = (path.to_owned(), FORMAT_VERSION);
            return Err(CheckpointError::Version { file, found: version, known });
        }
        let Some(checked) = checked(bytes, HEADER_BYTES) else {
            return Ok(None);
        };
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| checked[at + i]));
        Ok(Some(Header {
            fencing: u64_at(12),
            number: u64_at(20),
            first_batch: u64_at(28),
            salt: Salt(u64_at(COMMON_BYTES)),
            previous_len: u64_at(COMMON_BYTES + 8),
        }))
    }
}

/// The first `len` bytes, without the checksum that ends them, if it is right.
fn checked(bytes: &[u8], len: usize) -> Option<&[u8]> {
    let (checked, crc) = bytes.get(..len)?.split_at(len - 4);
    (crc == crc32fast::hash(checked).to_le_bytes()).then_some(checked)
}

/// Opens a segment. `None` in place of the header: it was never completely written, so nothing
/// follows it either.
pub(crate) fn open(
    disk: &dyn Disk,
    path: &Path,
) -> Result<(Option<Header>, FrameReader), CheckpointError> {
    let (reader, bytes) = FrameReader::open(disk, path, HEADER_BYTES)?;
    let header = Header::decode(&bytes, path)?;
    let salt = header.map_or(Salt(0), |header| header.salt);
    Ok((header, reader.salted(salt)))
}

/// The segment that is being written.
pub(crate) struct SegmentWriter {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    salt: Salt,
    buffer: Vec<u8>,
    /// Bytes handed to the system.
    written: u64,
    /// Whether the next frame is the first since a sync.
    is_synced: bool,
    /// A write or a sync failed: what the file holds is unknown.
    has_failed: bool,
    syncs: u64,
}

impl SegmentWriter {
    /// Makes the segment, with its header, durable.
    pub(crate) fn create(
        disk: &dyn Disk,
        layout: &Layout,
        header: Header,
    ) -> Result<SegmentWriter, CheckpointError> {
        let path = layout.segment(header.number);
        let mut file = disk.create(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => CheckpointError::Fenced { path: path.clone() },
            _ => CheckpointError::Io { action: "create", path: path.clone(), source },
        })?;
        let bytes = header.encode();
        file.append(&bytes).map_err(CheckpointError::io("write", &path))?;
        let sync_failed = |source| CheckpointError::SyncFailed { path: path.clone(), source };
        file.sync_data().map_err(sync_failed)?;
        disk.sync_dir(&layout.log()).map_err(sync_failed)?;
        Ok(SegmentWriter {
            path,
            file,
            salt: header.salt,
            buffer: Vec::new(),
            written: bytes.len() as u64,
            is_synced: true,
            has_failed: false,
            syncs: 0,
        })
    }

    /// Appends a frame; durable after the next [`SegmentWriter::sync`].
    pub(crate) fn append(
        &mut self,
        kind: u8,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), CheckpointError> {
        self.check()?;
        let synced_before = if self.is_synced { frame::SYNCED_BEFORE } else { 0 };
        let place = Place { salt: self.salt, offset: self.len() };
        frame::encode(&mut self.buffer, place, kind | synced_before, write)?;
        self.is_synced = false;
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    /// Makes all frames durable. False: they were.
    pub(crate) fn sync(&mut self) -> Result<bool, CheckpointError> {
        self.check()?;
        if self.is_synced {
            return Ok(false);
        }
        self.flush()?;
        // Left behind as failed, should the sync not return.
        self.has_failed = true;
        self.file
            .sync_data()
            .map_err(|source| CheckpointError::SyncFailed { path: self.path.clone(), source })?;
        self.has_failed = false;
        self.is_synced = true;
        self.syncs += 1;
        Ok(true)
    }

    /// Takes nothing more: the caller could not finish what it began to append.
    pub(crate) fn give_up(&mut self) {
        self.has_failed = true;
    }

    pub(crate) fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub(crate) fn salt(&self) -> Salt {
        self.salt
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    fn flush(&mut self) -> Result<(), CheckpointError> {
        self.has_failed = true;
        self.file.append(&self.buffer).map_err(CheckpointError::io("write", &self.path))?;
        self.has_failed = false;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn check(&self) -> Result<(), CheckpointError> {
        if self.has_failed {
            return Err(CheckpointError::Ended { path: self.path.clone() });
        }
        Ok(())
    }
}
