//! A disk in memory that can lose power at any operation.
//!
//! It keeps two images: what the process sees (*live*), and what would still be there after a
//! power cut (*durable*). A sync copies from the one to the other. [`MemoryDisk::crash_at`] lets
//! the disk fail from a given operation on, and [`MemoryDisk::after`] gives the disk that the
//! next process finds.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Disk, DiskFile, FileEntry, Locked};

/// How much of what was not synced is there after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// Nothing: the power went, and the disk had written only what it was told to.
    PowerCut,
    /// The power went in the middle of writing: of what was written to a file since its last
    /// sync, the first `numerator / 4` are there, and noise after it.
    TornWrite {
        /// 0 to 4.
        numerator: u8,
    },
    /// Everything: the process was killed, the machine goes on.
    Kill,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    shared: Arc<Mutex<Images>>,
}

#[derive(Default)]
struct Images {
    files: Vec<FileImages>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    locks: BTreeMap<PathBuf, ()>,
    operations: u64,
    syncs: u64,
    crash_at: Option<u64>,
}

#[derive(Clone, Default)]
struct FileImages {
    live: Vec<u8>,
    durable: Vec<u8>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// Changes made so far, syncs among them.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.with(|images| images.operations)
    }

    /// Syncs of files and directories so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.with(|images| images.syncs)
    }

    /// The operation with this number (the first is 0) and all after it fail.
    pub fn crash_at(&self, operation: u64) {
        self.with(|images| images.crash_at = Some(operation));
    }

    /// The disk that a process finds after this one crashed as it is now.
    #[must_use]
    pub fn after(&self, crash: Crash) -> MemoryDisk {
        self.with(|images| {
            let names = match crash {
                Crash::PowerCut => images.durable.clone(),
                // Directories are written by themselves sooner or later.
                Crash::TornWrite { .. } | Crash::Kill => images.live.clone(),
            };
            let files = images.files.iter().map(|file| file.after(crash)).collect();
            let next = Images { files, durable: names.clone(), live: names, ..Images::default() };
            MemoryDisk { shared: Arc::new(Mutex::new(next)) }
        })
    }

    /// The bytes of a file, for a test that wants to damage them.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        self.with(|images| images.live.get(path).map(|&file| images.files[file].live.clone()))
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        self.with(|images| {
            let file = images.files.len();
            images.files.push(FileImages { live: bytes.to_vec(), durable: bytes.to_vec() });
            images.live.insert(path.to_owned(), file);
            images.durable.insert(path.to_owned(), file);
        });
    }

    /// All files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.with(|images| images.live.keys().cloned().collect())
    }

    fn with<T>(&self, run: impl FnOnce(&mut Images) -> T) -> T {
        run(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, run: impl FnOnce(&mut Images) -> io::Result<T>) -> io::Result<T> {
        self.with(|images| if images.step() { run(images) } else { Err(power_is_off()) })
    }
}

impl Images {
    /// Counts a change; false when the disk no longer takes it.
    fn step(&mut self) -> bool {
        let alive = self.crash_at.is_none_or(|at| self.operations < at);
        self.operations += u64::from(alive);
        alive
    }

    fn file(&mut self, path: &Path) -> io::Result<usize> {
        self.live.get(path).copied().ok_or_else(|| not_found(path))
    }
}

impl FileImages {
    fn after(&self, crash: Crash) -> FileImages {
        let bytes = match crash {
            Crash::PowerCut => self.durable.clone(),
            Crash::Kill => self.live.clone(),
            Crash::TornWrite { numerator } => self.torn(usize::from(numerator.min(4))),
        };
        FileImages { live: bytes.clone(), durable: bytes }
    }

    fn torn(&self, quarters: usize) -> Vec<u8> {
        let Some(unsynced) = self.live.get(self.durable.len()..) else {
            return self.durable.clone();
        };
        let kept = unsynced.len() * quarters / 4;
        let mut bytes = self.durable.clone();
        bytes.extend(&unsynced[..kept]);
        // Blocks that were allotted but not written hold what was there before.
        bytes.extend(unsynced[kept..].iter().take(7).map(|byte| byte ^ 0x5a));
        bytes
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.change(|_| Ok(()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
        self.with(|images| {
            let inside = images.live.iter().filter(|(path, _)| path.parent() == Some(dir));
            let entry = |(path, &file): (&PathBuf, &usize)| FileEntry {
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                len: images.files[file].live.len() as u64,
            };
            Ok(inside.map(entry).collect())
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.change(|images| {
            if images.live.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = images.files.len();
            images.files.push(FileImages::default());
            images.live.insert(path.to_owned(), file);
            Ok(file)
        })?;
        Ok(Box::new(MemoryFile { disk: self.clone(), file }))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.bytes(path).ok_or_else(|| not_found(path))?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.change(|images| {
            let file = images.file(path)?;
            let file = &mut images.files[file];
            file.live.truncate(len as usize);
            file.durable.clone_from(&file.live);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|images| {
            let file = images.live.remove(from).ok_or_else(|| not_found(from))?;
            images.live.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|images| images.live.remove(path).map(drop).ok_or_else(|| not_found(path)))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|images| {
            images.syncs += 1;
            images.durable.retain(|path, _| path.parent() != Some(dir));
            let inside = images.live.iter().filter(|(path, _)| path.parent() == Some(dir));
            images.durable.extend(inside.map(|(path, &file)| (path.clone(), file)));
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Locked> {
        self.with(|images| {
            if images.locks.insert(path.to_owned(), ()).is_some() {
                return Ok(Locked::Others(None));
            }
            Ok(Locked::Ours(Box::new(MemoryLock { disk: self.clone(), path: path.to_owned() })))
        })
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.with(|images| {
            let alive = images.step();
            // The write that the crash interrupts gets to the file's end all the same: how much of
            // it survives is for `Crash` to say.
            if alive || images.crash_at == Some(images.operations) {
                images.files[self.file].live.extend(bytes);
            }
            if !alive {
                images.crash_at = Some(0);
                return Err(power_is_off());
            }
            Ok(())
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.change(|images| {
            images.syncs += 1;
            let file = &mut images.files[self.file];
            file.durable.clone_from(&file.live);
            Ok(())
        })
    }
}

struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.with(|images| images.locks.remove(&self.path));
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {}", path.display()))
}

fn power_is_off() -> io::Error {
    io::Error::other("the disk has lost power")
}
