//! Frames: the unit in which bytes are written, checked and believed.
//!
//! ```text
//! [length u32][kind u8][crc32 of the payload u32][crc32 of the header u32][payload]
//! ```
//!
//! The header's checksum covers the file's [`Salt`] and the frame's offset beside the header
//! itself. So a header is believed at one place of one file alone: neither bytes of a user that
//! look like a frame nor what an older file left on the disk are taken for one.
//!
//! The first frame that is written after a sync carries the bit [`SYNCED_BEFORE`] in its kind: it
//! says that everything before it is durable. That is how a reader tells a write that a crash
//! tore (nothing after it claims to have been synced later) from bytes that went bad.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::CheckpointError;
use crate::disk::Disk;

/// Bytes before a frame's payload.
pub(crate) const FRAME_HEADER: usize = 4 + 1 + 4 + 4;

/// Bytes of a header that its own checksum covers.
const CHECKED: usize = FRAME_HEADER - 4;

/// Largest payload that a frame may have. Far beyond any honest record (state comes in chunks of a
/// MiB, and a spec that names a million files takes about 200 MiB), so that memory stays bounded.
pub(crate) const FRAME_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Bit of a kind: everything before this frame was durable when the frame was written.
pub(crate) const SYNCED_BEFORE: u8 = 0x80;

/// Bytes that a reader asks of the disk at once.
const READ_BYTES: usize = 256 * 1024;

/// A number of a file that nobody could know before: it ties frames to their file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Salt(pub(crate) u64);

impl Salt {
    pub(crate) fn new() -> Salt {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Salt(high ^ low)
    }
}

/// Where a frame begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) salt: Salt,
    pub(crate) offset: u64,
}

impl Place {
    /// Of the bytes of a frame's header before its own checksum.
    fn crc(self, header: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.salt.0.to_le_bytes());
        crc.update(&self.offset.to_le_bytes());
        crc.update(header);
        crc.finalize()
    }
}

/// Appends a frame to `buffer`, whose payload `write` adds.
pub(crate) fn encode(
    buffer: &mut Vec<u8>,
    place: Place,
    kind: u8,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), CheckpointError> {
    let start = buffer.len();
    buffer.extend([0; FRAME_HEADER]);
    write(buffer);
    let payload = &buffer[start + FRAME_HEADER..];
    let len = payload.len() as u64;
    if len > FRAME_BYTES_MAX {
        buffer.truncate(start);
        return Err(CheckpointError::RecordTooLarge { bytes: len, limit: FRAME_BYTES_MAX });
    }
    let crc = crc32fast::hash(payload);
    let header = &mut buffer[start..start + FRAME_HEADER];
    header[..4].copy_from_slice(&(len as u32).to_le_bytes());
    header[4] = kind;
    header[5..CHECKED].copy_from_slice(&crc.to_le_bytes());
    let crc = place.crc(&header[..CHECKED]);
    header[CHECKED..].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// A header that belongs to its place.
struct FrameHeader {
    len: u64,
    kind: u8,
    crc: u32,
}

impl FrameHeader {
    fn decode(bytes: &[u8], place: Place) -> Option<FrameHeader> {
        let (checked, crc) = bytes.get(..FRAME_HEADER)?.split_at(CHECKED);
        let len = u64::from(u32_at(checked));
        if len > FRAME_BYTES_MAX || u32_at(crc) != place.crc(checked) {
            return None;
        }
        Some(FrameHeader { len, kind: checked[4], crc: u32_at(&checked[5..]) })
    }
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
    salt: Salt,
    offset: u64,
}

impl FrameReader {
    /// Reads the first `header` bytes (fewer, if the file is shorter), and stands after them.
    /// They say by what salt the frames are checked: [`FrameReader::salted`].
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        header: usize,
    ) -> Result<(FrameReader, Vec<u8>), CheckpointError> {
        let input = disk.read(path).map_err(CheckpointError::io("read", path))?;
        let input = io::BufReader::with_capacity(READ_BYTES, input);
        let mut reader = FrameReader { path: path.to_owned(), input, salt: Salt(0), offset: 0 };
        let bytes = reader.take(header as u64)?;
        reader.offset = bytes.len() as u64;
        Ok((reader, bytes))
    }

    pub(crate) fn salted(self, salt: Salt) -> FrameReader {
        FrameReader { salt, ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next frame begins; at the end, the length of the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn next(&mut self) -> Result<Next, CheckpointError> {
        let bytes = self.take(FRAME_HEADER as u64)?;
        if bytes.is_empty() {
            return Ok(Next::End);
        }
        let Some(header) = FrameHeader::decode(&bytes, self.place(0)) else {
            return self.bad(bytes);
        };
        let payload = self.take(header.len)?;
        if payload.len() as u64 != header.len || crc32fast::hash(&payload) != header.crc {
            return self.bad([bytes, payload].concat());
        }
        let offset = self.offset;
        self.offset += FRAME_HEADER as u64 + header.len;
        Ok(Next::Frame(Frame { offset, kind: header.kind & !SYNCED_BEFORE, payload }))
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

    /// Looks in the rest of the file for a header that was written after a sync. `bytes` were
    /// read already, and the first of them is bad.
    ///
    /// A header is enough: it is believed nowhere else, and was not written before everything
    /// before it was durable, whatever became of the payload. So one pass over the rest of the
    /// file does, with little memory, and the payloads of what only looks like frames are not
    /// read.
    fn bad(&mut self, mut bytes: Vec<u8>) -> Result<Next, CheckpointError> {
        let mut from = 0;
        let was_durable = loop {
            let last = bytes.len().saturating_sub(FRAME_HEADER - 1);
            let begins_after_a_sync =
                |at: usize| bytes[at + 4] & SYNCED_BEFORE != 0 && self.is_header(&bytes, from, at);
            // The bad frame itself is at 0.
            if (usize::from(from == 0)..last).any(begins_after_a_sync) {
                break true;
            }
            bytes.drain(..last);
            from += last as u64;
            let more = self.take(READ_BYTES as u64)?;
            if more.is_empty() {
                break false;
            }
            bytes.extend(more);
        };
        Ok(Next::Bad { offset: self.offset, was_durable })
    }

    /// Whether a header begins at `at` of bytes that begin `from` after the present frame.
    fn is_header(&self, bytes: &[u8], from: u64, at: usize) -> bool {
        FrameHeader::decode(&bytes[at..], self.place(from + at as u64)).is_some()
    }

    /// So many bytes after the beginning of the present frame.
    fn place(&self, after: u64) -> Place {
        Place { salt: self.salt, offset: self.offset + after }
    }

    /// Up to `count` bytes; fewer at the end of the file. Memory grows with what is really there.
    fn take(&mut self, count: u64) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(count).read_to_end(&mut bytes);
        read.map_err(CheckpointError::io("read", &self.path))?;
        Ok(bytes)
    }
}

fn u32_at(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::disk::MemoryDisk;

    const SALT: Salt = Salt(0x0123_4567_89ab_cdef);

    /// The test vectors of FORMAT.md.
    #[test]
    fn a_frame_has_the_bytes_that_the_format_says() {
        let mut bytes = Vec::new();
        let mut frame = |offset, kind, payload: &[u8]| {
            bytes.clear();
            let place = Place { salt: SALT, offset };
            encode(&mut bytes, place, kind, |bytes| bytes.extend(payload)).unwrap();
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(frame(60, 0x84, br#"{"batch":7,"name":"x"}"#), VECTOR_MARK);
        assert_eq!(frame(61, 0x84, br#"{"batch":7,"name":"x"}"#), VECTOR_ELSEWHERE);
        assert_eq!(frame(95, 18, &[0; 8]), VECTOR_END);
    }

    const VECTOR_MARK: &str =
        "16000000846b186ecf6a2780257b226261746368223a372c226e616d65223a2278227d";
    const VECTOR_ELSEWHERE: &str =
        "16000000846b186ecf29ec26a27b226261746368223a372c226e616d65223a2278227d";
    const VECTOR_END: &str = "080000001269df226502629d6b0000000000000000";

    fn next(bytes: &[u8]) -> Next {
        let (disk, path) = (MemoryDisk::new(), Path::new("/file"));
        disk.put(path, bytes);
        FrameReader::open(&disk, path, 0).unwrap().0.salted(SALT).next().unwrap()
    }

    fn is_durable(bytes: &[u8]) -> bool {
        match next(bytes) {
            Next::Bad { offset: 0, was_durable } => was_durable,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_later_frame_that_was_written_after_a_sync_is_found_wherever_it_begins() {
        for at in [1, 12, 13, 14, READ_BYTES - 1, READ_BYTES, READ_BYTES + 5, 2 * READ_BYTES + 9] {
            let mut bytes = vec![0xff; at];
            let place = Place { salt: SALT, offset: at as u64 };
            encode(&mut bytes, place, 2 | SYNCED_BEFORE, |bytes| bytes.extend(b"plan")).unwrap();
            assert!(is_durable(&bytes), "at {at}");
            bytes.truncate(bytes.len() - 1);
            assert!(is_durable(&bytes), "at {at}: what follows the header does not count");
            bytes[at] ^= 1;
            assert!(!is_durable(&bytes), "at {at}");
        }
    }

    #[test]
    fn what_only_looks_like_frames_takes_one_pass() {
        // At every fourth byte begins what says to be 8 MB long, and to be written after a sync:
        // to read it all there would be to read 64 TB.
        let bytes = [0x80, 0x80, 0x80, 0x00].repeat(8 << 20);
        assert!(!is_durable(&bytes));
    }
}
