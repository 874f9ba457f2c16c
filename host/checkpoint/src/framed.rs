//! Files of a magic, a version, a salt and frames: all but the segments of the log. They are
//! written once, under another name until they are whole.

use std::path::{Path, PathBuf};

use crate::CheckpointError;
use crate::disk::{Disk, Unfinished};
use crate::log::frame::{self, FrameReader, Place, Salt};
use crate::log::segment::FORMAT_VERSION;

/// Magic, version, salt.
const HEADER_BYTES: usize = 8 + 4 + 8;

/// Such a file while it is being written.
pub(crate) struct FramedWriter<'a> {
    file: Unfinished<'a>,
    place: Place,
}

impl<'a> FramedWriter<'a> {
    /// `unfinished` is the path that it has meanwhile.
    pub(crate) fn create(
        disk: &'a dyn Disk,
        unfinished: PathBuf,
        magic: [u8; 8],
    ) -> Result<FramedWriter<'a>, CheckpointError> {
        let file = Unfinished::create(disk, unfinished)?;
        let place = Place { salt: Salt::new(), offset: 0 };
        let mut writer = FramedWriter { file, place };
        let mut header = magic.to_vec();
        header.extend(FORMAT_VERSION.to_le_bytes());
        header.extend(place.salt.0.to_le_bytes());
        writer.append(&header)?;
        Ok(writer)
    }

    pub(crate) fn frame(
        &mut self,
        kind: u8,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), CheckpointError> {
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, self.place, kind, write)?;
        self.append(&bytes)
    }

    /// Makes the file durable under its own name.
    pub(crate) fn finish(self, path: &Path) -> Result<(), CheckpointError> {
        self.file.finish(path)
    }

    /// Leaves the file where it is, not durable.
    pub(crate) fn leave(self) {
        self.file.leave();
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.place.offset += bytes.len() as u64;
        self.file.append(bytes)
    }
}

/// Opens such a file; `what` it is says an error.
pub(crate) fn open(
    disk: &dyn Disk,
    path: &Path,
    magic: [u8; 8],
    what: &str,
) -> Result<FrameReader, CheckpointError> {
    let (frames, header) = FrameReader::open(disk, path, HEADER_BYTES)?;
    // An older version had no salt, so the version comes first.
    if header.len() >= 12 && header[..8] == magic {
        let version = u32::from_le_bytes(std::array::from_fn(|i| header[8 + i]));
        if version != FORMAT_VERSION {
            let (file, known) = (path.to_owned(), FORMAT_VERSION);
            return Err(CheckpointError::Version { file, found: version, known });
        }
    }
    if header.len() < HEADER_BYTES || header[..8] != magic {
        return Err(CheckpointError::damaged(path, 0, format!("it is not {what}")));
    }
    Ok(frames.salted(Salt(u64::from_le_bytes(std::array::from_fn(|i| header[12 + i])))))
}
