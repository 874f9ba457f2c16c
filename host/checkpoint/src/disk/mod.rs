//! The only way to the disk.
//!
//! Everything durable goes through [`Disk`], so that a test can put a disk underneath that loses
//! what was not synced, and stops at any operation that it likes.

#[cfg(any(test, feature = "test-util"))]
mod memory;
mod real;

use std::any::Any;
use std::io;
use std::path::Path;

use crate::CheckpointError;

#[cfg(any(test, feature = "test-util"))]
pub use memory::{Crash, MemoryDisk};
pub use real::RealDisk;

/// What a checkpoint needs of a file system. Paths are whole paths.
///
/// Nothing is durable before the sync that names it: a file's bytes by [`DiskFile::sync_data`],
/// that the file is there, gone or renamed by [`Disk::sync_dir`] of its directory.
pub trait Disk: Send + Sync {
    /// Makes a directory and those above it, durably. Fine if it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The files of a directory, in the order of their names; none if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>>;

    /// Makes a new, empty file to append to. Refuses if there is one (`AlreadyExists`).
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Reads a file from its beginning.
    fn read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>>;

    /// Cuts a file down to `len` bytes, durably.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Gives a file another name, in place of what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a file (made if need be) for this process, without waiting.
    fn lock(&self, path: &Path) -> io::Result<Locked>;
}

/// A file being written.
pub trait DiskFile: Send {
    /// Writes all of `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written so far durable. After a failure nobody knows what is on the disk:
    /// it must not be called again, and the process has to end.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// Makes a file that gets its real name when it is finished. One that an earlier try left goes.
pub(crate) fn create_unfinished(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Box<dyn DiskFile>, CheckpointError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(CheckpointError::io("remove", path)(error));
        }
        _ => {}
    }
    disk.create(path).map_err(CheckpointError::io("create", path))
}

/// One file of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEntry {
    /// Name within the directory.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
}

/// What came of [`Disk::lock`].
pub enum Locked {
    /// It is ours until the value is dropped.
    Ours(Box<dyn Any + Send + Sync>),
    /// Another holds it; with its process id, if it said so.
    Others(Option<u32>),
}
