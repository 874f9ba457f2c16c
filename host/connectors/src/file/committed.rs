//! The files of a directory by its `_spark_metadata` log: a reader's side of it.
//!
//! The log may be Spark's or a Tidemill's, and its writer may be at work. What a reader finds has
//! to be whole: no entry missing, no line that names no file, and, where there is an `_owner`,
//! every entry as it was written. Somebody else may have written the log, so a file that it names
//! has to lie in the directory, unless the job says otherwise.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tidemill_core::{ConnectorError, Digest};

use super::log::{EntryId, LogFolder, SinkFile, parse, without_deleted};
use super::owner::{Fault, OWNER_FILE, Owner, faulty};
use super::parts::FilePart;

/// The option that lets a log name files anywhere.
pub(super) const OUTSIDE_OPTION: &str = "filesOutsidePath";

/// How often a log is read anew that changed while it was read: a writer needs two folds, twenty
/// batches, within one look to make it fail.
const LOOKS_MAX: usize = 10;

/// Reads logs, and remembers what they said.
#[derive(Clone, Debug, Default)]
pub(super) struct CommittedLogs {
    /// Whether files may lie elsewhere.
    takes_outside: bool,
    /// By directory. Holds what the listing of a source holds.
    seen: Arc<Mutex<HashMap<PathBuf, Seen>>>,
}

/// What a log said, and how its folder looked.
#[derive(Debug)]
struct Seen {
    look: Look,
    files: Vec<FilePart>,
}

/// A folder as far as the log goes: a file that is replaced is another one.
type Look = BTreeMap<OsString, (u64, u64, i64, i64)>;

impl CommittedLogs {
    pub(super) fn new(takes_outside: bool) -> CommittedLogs {
        CommittedLogs { takes_outside, ..CommittedLogs::default() }
    }

    /// Whether files may lie elsewhere than in the directory of their log.
    pub(super) fn takes_outside(&self) -> bool {
        self.takes_outside
    }

    /// All committed files of a directory, in the order in which they were committed.
    pub(super) fn files(&self, directory: &Path) -> Result<Vec<FilePart>, ConnectorError> {
        let folder = LogFolder::of(directory);
        let mut seen = self.seen.lock();
        let mut failed: Option<Look> = None;
        let mut looks = 0;
        loop {
            looks += 1;
            let look = look_at(&folder)?;
            if let Some(seen) = seen.get(directory)
                && seen.look == look
            {
                return Ok(seen.files.clone());
            }
            let known = seen.get(directory).map(|seen| seen.files.as_slice()).unwrap_or_default();
            match self.read(directory, &folder, known) {
                Ok(files) => {
                    seen.insert(directory.to_owned(), Seen { look, files: files.clone() });
                    return Ok(files);
                }
                // It was not the writer: the folder is as it was when it failed before.
                Err(error) if looks == LOOKS_MAX || failed.as_ref() == Some(&look) => {
                    return Err(error);
                }
                Err(_) => failed = Some(look),
            }
        }
    }

    fn read(
        &self,
        directory: &Path,
        folder: &LogFolder,
        known: &[FilePart],
    ) -> Result<Vec<FilePart>, ConnectorError> {
        // Entries that were written before this have to be seen, and those that are seen were
        // written before the one below.
        let before = Owner::read(folder)?;
        let entries = folder.entries()?;
        let from = first_read(folder, &entries)?;
        let mut found = BTreeMap::new();
        let mut lines: Vec<SinkFile> = Vec::new();
        for entry in entries.into_iter().filter(|entry| *entry >= from) {
            let bytes = folder.bytes(entry)?;
            let bytes = bytes.ok_or_else(|| faulty(folder, entry, Fault::Missing))?;
            found.insert(entry, Digest::of(&bytes));
            lines.extend(parse(&folder.file(entry), &bytes)?);
        }
        if let Some(owner) = before {
            owner.check_complete(folder, from.batch, &found)?;
            let after = Owner::read(folder)?.ok_or_else(|| gone(folder))?;
            after.check_digests(folder, &found)?;
        }
        let known: HashSet<&str> = known.iter().map(|part| part.path.as_str()).collect();
        let whole = std::fs::canonicalize(directory).map_err(|error| folder.not_listed(error))?;
        let place = Place { directory, whole, folder, takes_outside: self.takes_outside, known };
        let locate = |file: &SinkFile| {
            let part = place.part(file)?;
            if !place.known.contains(part.path.as_str()) {
                place.check(&part)?;
            }
            Ok::<FilePart, ConnectorError>(part)
        };
        without_deleted(lines).iter().map(locate).collect()
    }
}

/// The entry that reading begins with: the newest fold, or the first. All after it have to be
/// there.
fn first_read(folder: &LogFolder, entries: &[EntryId]) -> Result<EntryId, ConnectorError> {
    let first = EntryId { batch: 0, is_folded: false };
    let from = entries.iter().rev().find(|entry| entry.is_folded).copied().unwrap_or(first);
    let rest = entries.iter().filter(|entry| **entry >= from);
    for (expected, entry) in (from.batch..).zip(rest) {
        if entry.batch != expected {
            let missing = EntryId::of(expected);
            return Err(ConnectorError::fatal(format!(
                "the entry {} is gone, and later ones are there; put it back from a backup: without it nobody can tell which files of the directory count",
                folder.file(missing).display()
            )));
        }
    }
    Ok(from)
}

fn look_at(folder: &LogFolder) -> Result<Look, ConnectorError> {
    let mut look = Look::new();
    for entry in std::fs::read_dir(folder.path()).map_err(|error| folder.not_listed(error))? {
        let entry = entry.map_err(|error| folder.not_listed(error))?;
        let name = entry.file_name();
        let counts =
            name.to_str().is_some_and(|name| name == OWNER_FILE || name.parse::<EntryId>().is_ok());
        if !counts {
            continue;
        }
        // Gone again: the next look shows it.
        if let Ok(about) = entry.metadata() {
            look.insert(name, (about.ino(), about.len(), about.mtime(), about.mtime_nsec()));
        }
    }
    Ok(look)
}

fn gone(folder: &LogFolder) -> ConnectorError {
    let file = folder.path().join(OWNER_FILE);
    ConnectorError::fatal(format!("the file {} was there and is gone", file.display()))
}

/// Where a log's files lie.
struct Place<'a> {
    directory: &'a Path,
    /// The directory, without links on the way to it.
    whole: PathBuf,
    folder: &'a LogFolder,
    takes_outside: bool,
    /// Files of the last look, which are not looked at again.
    known: HashSet<&'a str>,
}

impl Place<'_> {
    /// The file of a line. One that was written elsewhere is looked for beside the log, whose
    /// directory may have been moved or copied.
    fn part(&self, file: &SinkFile) -> Result<FilePart, ConnectorError> {
        let beside = self.directory.join(file.name());
        let is_known = beside.to_str().is_some_and(|beside| self.known.contains(beside));
        let path = match file.path() {
            _ if is_known => beside,
            Some(path) if is_below(&path, self.directory) => path,
            Some(path) if self.takes_outside && path.exists() => path,
            Some(path) if !beside.exists() && path.exists() => {
                return Err(self.outside(file.uri()));
            }
            _ => beside,
        };
        let Some(path) = path.to_str() else {
            return Err(self.outside(file.uri()));
        };
        let takes_outside = self.takes_outside;
        let modified_ms = file.modification_time;
        Ok(FilePart { path: path.to_owned(), size: file.size, modified_ms, takes_outside })
    }

    /// Sees that a file does not lie elsewhere by way of a link, and has the size that was
    /// committed. One that is gone is named when it is read: it may have been read already.
    fn check(&self, part: &FilePart) -> Result<(), ConnectorError> {
        let path = Path::new(&part.path);
        let failed = |error: io::Error| {
            let what = format!("could not look at the file {}", part.path);
            ConnectorError::retryable(what).caused_by(error)
        };
        let about = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            about => about.map_err(failed)?,
        };
        let mut size = about.len();
        if about.is_symlink() || path.parent() != Some(self.directory) {
            let whole = match std::fs::canonicalize(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                whole => whole.map_err(failed)?,
            };
            if !self.takes_outside && !whole.starts_with(&self.whole) {
                return Err(self.outside(&part.path));
            }
            size = std::fs::metadata(&whole).map_err(failed)?.len();
        }
        if size == part.size {
            return Ok(());
        }
        Err(ConnectorError::fatal(format!(
            "the file {} has {size} bytes, and the log in {} has {} for it; one of the two is damaged",
            part.path,
            self.folder.path().display(),
            part.size
        )))
    }

    fn outside(&self, path: &str) -> ConnectorError {
        ConnectorError::fatal(format!(
            "the log in {} names the file {path}, which does not lie in {}; if that is meant, set {OUTSIDE_OPTION} = true, which lets whoever may write the log choose what is read",
            self.folder.path().display(),
            self.directory.display()
        ))
    }
}

fn is_below(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory) && !path.components().any(|part| part == Component::ParentDir)
}
