//! A disk in memory that can lose power at any operation.
//!
//! It keeps two images: what the process sees (*live*), and what would still be there after a
//! power cut (*durable*). A sync copies from the one to the other what was written since.
//! [`MemoryDisk::crash_at`] lets the disk fail from a given operation on, and
//! [`MemoryDisk::after`] gives the disk that the next process finds: after a kill both images as
//! they are, so that a power cut may still follow.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, FileEntry, Locked, Slot};

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
    /// The power went, and the disk had written by itself whatever it liked: of the names that
    /// were not synced any, of the bytes that were not synced any sectors, in any order.
    Scattered {
        /// Which.
        seed: u64,
    },
    /// The process was killed, and the machine goes on. The next process sees everything, and
    /// what was not synced is still not durable.
    Kill,
}

/// Bytes that reach the disk together, or not. Smaller than a real sector, so that the small
/// records of a test are torn as well.
const SECTOR: usize = 16;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    shared: Arc<Mutex<Images>>,
}

type Names = BTreeMap<PathBuf, Entry>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Directory,
    /// Its place in [`Images::files`].
    File(usize),
}

#[derive(Default)]
struct Images {
    files: Vec<FileImages>,
    live: Names,
    durable: Names,
    /// Changes of names that are not durable, in order.
    pending: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    syncs: u64,
    crash_at: Option<u64>,
    full_at: Option<u64>,
    failing_sync: Option<u64>,
}

/// One change of the names in a directory: it is on the disk as a whole, or not at all.
#[derive(Clone)]
enum NameChange {
    Put(PathBuf, Entry),
    Rename { from: PathBuf, to: PathBuf, entry: Entry },
    Remove(PathBuf),
}

#[derive(Clone, Default)]
struct FileImages {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors of `live` that a sync has to write.
    dirty: BTreeSet<usize>,
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
        self.images().operations
    }

    /// Syncs of files and directories so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.images().syncs
    }

    /// The operation with this number (the first is 0) and all after it fail.
    pub fn crash_at(&self, operation: u64) {
        self.images().crash_at = Some(operation);
    }

    /// From this operation on there is no room: what needs some fails, and of what is appended
    /// half is written.
    pub fn full_at(&self, operation: u64) {
        self.images().full_at = Some(operation);
    }

    /// The sync with this number fails, and what it should have written is lost, although the
    /// process still sees it: later syncs take it for written. (So Linux does.)
    pub fn fail_sync(&self, sync: u64) {
        self.images().failing_sync = Some(sync);
    }

    /// The disk that a process finds after this one crashed as it is now.
    #[must_use]
    pub fn after(&self, crash: Crash) -> MemoryDisk {
        let images = self.images();
        let next = match crash {
            Crash::Kill => Images {
                files: images.files.clone(),
                live: images.live.clone(),
                durable: images.durable.clone(),
                pending: images.pending.clone(),
                ..Images::default()
            },
            Crash::PowerCut => {
                images.settled(images.durable.clone(), &mut |file| file.durable.clone())
            }
            Crash::TornWrite { numerator } => {
                let quarters = usize::from(numerator.min(4));
                images.settled(images.live.clone(), &mut |file| file.torn(quarters))
            }
            Crash::Scattered { seed } => images.scattered(seed),
        };
        MemoryDisk { shared: Arc::new(Mutex::new(next)) }
    }

    /// The bytes of a file, for a test that wants to damage them.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let mut images = self.images();
        let file = images.file(path).ok()?;
        Some(images.files[file].live.clone())
    }

    /// Puts a file there, durably, and the directories above it.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut images = self.images();
        let file = Entry::File(images.files.len());
        images.files.push(FileImages::of(bytes.to_vec()));
        for above in path.ancestors().skip(1).filter(|above| above.parent().is_some()) {
            images.live.entry(above.to_owned()).or_insert(Entry::Directory);
            images.durable.entry(above.to_owned()).or_insert(Entry::Directory);
        }
        images.live.insert(path.to_owned(), file);
        images.durable.insert(path.to_owned(), file);
    }

    /// All files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let images = self.images();
        let files = images.live.iter().filter(|(_, entry)| **entry != Entry::Directory);
        files.map(|(path, _)| path.clone()).collect()
    }

    fn images(&self) -> MutexGuard<'_, Images> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, run: impl FnOnce(&mut Images) -> io::Result<T>) -> io::Result<T> {
        let mut images = self.images();
        if images.step() { run(&mut images) } else { Err(power_is_off()) }
    }
}

impl Images {
    /// Counts a change; false when the disk no longer takes it.
    fn step(&mut self) -> bool {
        let alive = self.crash_at.is_none_or(|at| self.operations < at);
        self.operations += u64::from(alive);
        alive
    }

    fn need_room(&self) -> io::Result<()> {
        match self.full_at {
            Some(at) if self.operations > at => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn file(&mut self, path: &Path) -> io::Result<usize> {
        match self.live.get(path) {
            Some(Entry::File(file)) => Ok(*file),
            _ => Err(not_found(path)),
        }
    }

    fn new_file(&mut self, path: &Path) -> io::Result<usize> {
        self.need_room()?;
        if !is_there(&self.live, path.parent()) {
            return Err(not_found(path));
        }
        let file = self.files.len();
        self.files.push(FileImages::default());
        self.rename(NameChange::Put(path.to_owned(), Entry::File(file)));
        Ok(file)
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    fn sync_names(&mut self, dir: &Path) {
        self.syncs += 1;
        let is_inside = |change: &NameChange| change.path().parent() == Some(dir);
        let (inside, others) =
            std::mem::take(&mut self.pending).into_iter().partition::<Vec<_>, _>(is_inside);
        inside.iter().for_each(|change| change.apply(&mut self.durable));
        self.pending = others;
    }

    fn sync_file(&mut self, file: usize) -> io::Result<()> {
        let is_failing = self.failing_sync == Some(self.syncs);
        self.syncs += 1;
        let file = &mut self.files[file];
        if is_failing {
            file.dirty.clear();
            return Err(io::Error::other("the disk could not write"));
        }
        file.sync();
        Ok(())
    }

    /// What is there after the machine was off: these names, as far as their directories are
    /// there, and these bytes.
    fn settled(&self, mut names: Names, bytes: &mut dyn FnMut(&FileImages) -> Vec<u8>) -> Images {
        // A directory comes before what is in it.
        for path in names.keys().cloned().collect::<Vec<_>>() {
            if !is_there(&names, path.parent()) {
                names.remove(&path);
            }
        }
        let files = self.files.iter().map(|file| FileImages::of(bytes(file))).collect();
        Images { files, durable: names.clone(), live: names, ..Images::default() }
    }

    fn scattered(&self, seed: u64) -> Images {
        let mut dice = Dice(seed);
        let mut names = self.durable.clone();
        for change in &self.pending {
            if dice.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        self.settled(names, &mut |file| file.scattered(&mut dice))
    }
}

impl NameChange {
    fn path(&self) -> &Path {
        match self {
            NameChange::Put(path, _)
            | NameChange::Rename { to: path, .. }
            | NameChange::Remove(path) => path,
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Put(path, entry) => {
                names.insert(path.clone(), *entry);
            }
            NameChange::Rename { from, to, entry } => {
                names.remove(from);
                names.insert(to.clone(), *entry);
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl FileImages {
    fn of(bytes: Vec<u8>) -> FileImages {
        FileImages { live: bytes.clone(), durable: bytes, dirty: BTreeSet::new() }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.live.resize(self.live.len().max(end), 0);
        self.live[at..end].copy_from_slice(bytes);
        self.soil(at, end);
    }

    fn soil(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            copy_sector(sector, &self.live, &mut self.durable);
        }
    }

    fn truncate(&mut self, len: usize) {
        self.live.truncate(len);
        self.durable.truncate(len);
        self.sync();
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

    fn scattered(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let more = self.live.len().saturating_sub(bytes.len());
        bytes.resize(bytes.len() + dice.below(more + 1), if dice.below(2) == 0 { 0 } else { 0x5a });
        for sector in &self.dirty {
            if dice.below(3) > 0 {
                copy_sector(*sector, &self.live, &mut bytes);
            }
        }
        bytes
    }
}

/// Copies as much of a sector as both have.
fn copy_sector(sector: usize, from: &[u8], to: &mut [u8]) {
    let begin = sector * SECTOR;
    let end = (begin + SECTOR).min(from.len()).min(to.len());
    if begin < end {
        to[begin..end].copy_from_slice(&from[begin..end]);
    }
}

/// Whether a directory is there. The one at the top always is.
fn is_there(names: &Names, dir: Option<&Path>) -> bool {
    dir.is_none_or(|dir| dir.parent().is_none() || names.get(dir) == Some(&Entry::Directory))
}

/// Numbers that look random, and are the same for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % count as u64) as usize
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if self.images().live.contains_key(path) {
            return Ok(());
        }
        self.create_dir(parent)?;
        self.change(|images| {
            images.need_room()?;
            images.rename(NameChange::Put(path.to_owned(), Entry::Directory));
            Ok(())
        })?;
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
        let images = self.images();
        let inside = images.live.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, entry): (&PathBuf, &Entry)| match entry {
            Entry::Directory => None,
            Entry::File(file) => Some(FileEntry {
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                len: images.files[*file].live.len() as u64,
            }),
        };
        Ok(inside.filter_map(entry).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.change(|images| {
            if images.live.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            images.new_file(path)
        })?;
        Ok(Box::new(MemoryFile { disk: self.clone(), file }))
    }

    fn slot(&self, path: &Path) -> io::Result<Box<dyn Slot>> {
        let there = self.images().file(path);
        let file = there.or_else(|_| self.change(|images| images.new_file(path)))?;
        Ok(Box::new(MemoryFile { disk: self.clone(), file }))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.bytes(path).ok_or_else(|| not_found(path))?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn rewrite(&self, path: &Path, from: u64) -> io::Result<()> {
        self.change(|images| {
            let file = images.file(path)?;
            let end = images.files[file].live.len();
            images.files[file].soil((from as usize).min(end), end);
            images.sync_file(file)
        })
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.change(|images| {
            let file = images.file(path)?;
            images.files[file].truncate(len as usize);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|images| {
            let entry = Entry::File(images.file(from)?);
            images.rename(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), entry });
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|images| {
            images.file(path)?;
            images.rename(NameChange::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|images| {
            images.sync_names(dir);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Locked> {
        let is_ours = self.images().locks.insert(path.to_owned());
        Ok(if is_ours {
            Locked::Ours(Box::new(MemoryLock { disk: self.clone(), path: path.to_owned() }))
        } else {
            Locked::Others(None)
        })
    }

    fn lock_after(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        loop {
            match self.lock(path)? {
                Locked::Ours(lock) => return Ok(lock),
                // Another thread of the test, which is about to be done.
                Locked::Others(_) => std::thread::yield_now(),
            }
        }
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl MemoryFile {
    fn write_at(&mut self, at: Option<usize>, bytes: &[u8]) -> io::Result<()> {
        let mut images = self.disk.images();
        let alive = images.step();
        // The write that the crash interrupts gets to the file all the same: how much of it
        // survives is for `Crash` to say.
        let is_interrupted = images.crash_at == Some(images.operations) && !alive;
        let room = images.need_room();
        let written = if room.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        if alive || is_interrupted {
            let file = &mut images.files[self.file];
            file.write(at.unwrap_or(file.live.len()), written);
        }
        if !alive {
            images.crash_at = Some(0);
            return Err(power_is_off());
        }
        room
    }
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_at(None, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let file = self.file;
        self.disk.change(|images| images.sync_file(file))
    }
}

impl Slot for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_at(Some(0), bytes)
    }
}

struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.images().locks.remove(&self.path);
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {}", path.display()))
}

fn power_is_off() -> io::Error {
    io::Error::other("the disk has lost power")
}
