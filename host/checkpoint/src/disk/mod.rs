//! The only way to the disk.
//!
//! Everything durable goes through [`Disk`], so that a test can put a disk underneath that loses
//! what was not synced, and stops at any operation that it likes.

#[cfg(any(test, feature = "test-util"))]
mod memory;
mod real;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

use crate::CheckpointError;

#[cfg(any(test, feature = "test-util"))]
pub use memory::{Crash, MemoryDisk};
pub use real::RealDisk;

/// What a checkpoint needs of a file system. Paths are whole paths.
///
/// Nothing is durable before the sync that names it: a file's bytes by [`DiskFile::sync_data`],
/// that the file is there, gone or renamed by [`Disk::sync_dir`] of its directory. What a process
/// reads need not be durable: an earlier one may have written it, and died before its sync.
pub trait Disk: Send + Sync {
    /// Makes a directory and those above it, each durably. One that is there stays as it is, and
    /// is as durable as it was.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The files of a directory, in the order of their names; none if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>>;

    /// Makes a new, empty file to append to. Refuses if there is one (`AlreadyExists`).
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is written over in place, and makes it if there is none.
    fn slot(&self, path: &Path) -> io::Result<Box<dyn Slot>>;

    /// Reads a file from its beginning.
    fn read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>>;

    /// Writes the bytes of a file from `from` on once more, where they are, and makes the whole
    /// file durable. A sync alone would not do: after one that failed, a system may hold bytes
    /// that never reached the disk, and believe that they did.
    fn rewrite(&self, path: &Path, from: u64) -> io::Result<()>;

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

    /// The same, but waits for whoever has it. For locks that nobody holds for long.
    fn lock_after(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
}

/// A file being written.
pub trait DiskFile: Send {
    /// Writes all of `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written so far durable. After a failure nobody knows what is on the disk:
    /// it must not be called again, and the process has to end.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// A small file that is written over in place, and never synced: it becomes durable sooner or
/// later, and until then an older content, or a mixture, may come back after a power cut.
pub trait Slot: Send {
    /// Writes `bytes` over the beginning of the file.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A file that gets its real name when it is finished. Dropped before that, it is removed: so a
/// disk that was too small for it is as it was.
pub(crate) struct Unfinished<'a> {
    disk: &'a dyn Disk,
    /// Where it is meanwhile.
    path: PathBuf,
    file: Box<dyn DiskFile>,
    is_finished: bool,
}

impl<'a> Unfinished<'a> {
    /// `path` is the one that it has meanwhile. A file that an earlier try left there goes.
    pub(crate) fn create(
        disk: &'a dyn Disk,
        path: PathBuf,
    ) -> Result<Unfinished<'a>, CheckpointError> {
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CheckpointError::io("remove", &path)(error));
            }
            _ => {}
        }
        let file = disk.create(&path).map_err(CheckpointError::io("create", &path))?;
        Ok(Unfinished { disk, path, file, is_finished: false })
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.file.append(bytes).map_err(CheckpointError::io("write", &self.path))
    }

    /// Makes the bytes durable, gives the file its name, and makes that durable.
    pub(crate) fn finish(mut self, path: &Path) -> Result<(), CheckpointError> {
        self.file.sync_data().map_err(CheckpointError::io("sync", &self.path))?;
        let renamed = self.disk.rename(&self.path, path);
        renamed.map_err(CheckpointError::io("rename", &self.path))?;
        self.is_finished = true;
        let dir = path.parent().unwrap_or(Path::new(""));
        self.disk.sync_dir(dir).map_err(CheckpointError::io("sync", dir))
    }

    /// Leaves the file under the name that it has, and not durable.
    pub(crate) fn leave(mut self) {
        self.is_finished = true;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            // The next start removes it otherwise.
            let _ = self.disk.remove(&self.path);
        }
    }
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
