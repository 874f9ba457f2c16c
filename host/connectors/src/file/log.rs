//! The `_spark_metadata` log of a file sink, in Spark's layout of version 1: its entries.
//!
//! ```text
//! <directory>/_spark_metadata/7           files of batch 7
//! <directory>/_spark_metadata/9.compact   files of all batches up to 9
//! ```
//!
//! Each is a text file: `v1`, then one line a file, an object with `path` (a URI), `size`,
//! `isDir`, `modificationTime`, `blockReplication`, `blockSize` and `action`. Every tenth batch
//! folds all before it, so that a reader opens at most ten. Ids have no gaps from the newest
//! `.compact` on: Spark's readers insist on it.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidemill_core::ConnectorError;

use super::parts::FilePart;

/// Folder of the log in the sink's directory.
pub(crate) const METADATA_DIR: &str = "_spark_metadata";

/// Batches from one `.compact` to the next; Spark's default.
pub(super) const COMPACT_INTERVAL: u64 = 10;

/// The first line of an entry.
const VERSION: &str = "v1";

/// What a URI may not have in its path as it is.
const URI_RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'%')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'\\');

/// One line of an entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SinkFile {
    path: String,
    pub(super) size: u64,
    is_dir: bool,
    pub(super) modification_time: i64,
    block_replication: i32,
    block_size: i64,
    action: Action,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Add,
    Delete,
}

impl SinkFile {
    pub(crate) fn added(part: &FilePart) -> SinkFile {
        SinkFile {
            path: format!("file://{}", utf8_percent_encode(&part.path, URI_RESERVED)),
            size: part.size,
            is_dir: false,
            modification_time: part.modified_ms,
            block_replication: 1,
            // What Spark writes for a local file system.
            block_size: 33_554_432,
            action: Action::Add,
        }
    }

    /// The line that takes this file back.
    pub(super) fn taken_back(self) -> SinkFile {
        SinkFile { action: Action::Delete, ..self }
    }

    /// Whether the line takes a file back.
    pub(super) fn is_taken_back(&self) -> bool {
        self.action == Action::Delete
    }

    /// The file's path on this machine; `None` where it was written to another file system.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let path = self.path.strip_prefix("file:").unwrap_or(&self.path);
        let path = if path.starts_with("///") { &path[2..] } else { path };
        path.starts_with('/').then(|| decoded(path).into())
    }

    /// The path as the log has it, for messages.
    pub(super) fn uri(&self) -> &str {
        &self.path
    }

    /// The file's name without its folder.
    pub(crate) fn name(&self) -> String {
        decoded(self.path.rsplit('/').next().unwrap_or(&self.path))
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// What is left of some lines when those that take a file back are carried out.
pub(super) fn without_deleted(mut files: Vec<SinkFile>) -> Vec<SinkFile> {
    let deleted = files.iter().filter(|file| file.is_taken_back());
    let deleted: std::collections::HashSet<String> =
        deleted.map(|file| file.path.clone()).collect();
    if !deleted.is_empty() {
        files.retain(|file| !deleted.contains(&file.path));
    }
    files
}

/// Names an entry; in the order in which entries are read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct EntryId {
    pub(super) batch: u64,
    pub(super) is_folded: bool,
}

impl EntryId {
    /// The entry that this sink writes for a batch.
    pub(super) fn of(batch: u64) -> EntryId {
        EntryId { batch, is_folded: (batch + 1).is_multiple_of(COMPACT_INTERVAL) }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.batch, if self.is_folded { ".compact" } else { "" })
    }
}

/// The name is no entry's.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is no name of an entry, like 7 or 9.compact")]
pub(super) struct NoEntry(String);

impl FromStr for EntryId {
    type Err = NoEntry;

    fn from_str(name: &str) -> Result<EntryId, NoEntry> {
        let number = name.strip_suffix(".compact");
        let entry = number.unwrap_or(name).parse();
        let entry = entry.map(|batch| EntryId { batch, is_folded: number.is_some() });
        // "+7" and "07" are no names that anybody would look for.
        entry.ok().filter(|entry| entry.to_string() == name).ok_or_else(|| NoEntry(name.to_owned()))
    }
}

impl Serialize for EntryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EntryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EntryId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The folder of a log.
#[derive(Clone, Debug)]
pub(super) struct LogFolder(PathBuf);

impl LogFolder {
    /// Of a sink's directory.
    pub(super) fn of(directory: &Path) -> LogFolder {
        LogFolder(directory.join(METADATA_DIR))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, entry: EntryId) -> PathBuf {
        self.0.join(entry.to_string())
    }

    /// The entries that there are, in order. Other files are no part of the log.
    pub(super) fn entries(&self) -> Result<Vec<EntryId>, ConnectorError> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(|error| self.not_listed(error))? {
            let name = entry.map_err(|error| self.not_listed(error))?.file_name();
            entries.extend(name.to_str().and_then(|name| name.parse::<EntryId>().ok()));
        }
        entries.sort_unstable();
        Ok(entries)
    }

    pub(super) fn not_listed(&self, error: io::Error) -> ConnectorError {
        let what = format!("could not list {}", self.0.display());
        ConnectorError::retryable(what).caused_by(error)
    }

    /// The bytes of an entry; `None` where it is not there.
    pub(super) fn bytes(&self, entry: EntryId) -> Result<Option<Vec<u8>>, ConnectorError> {
        read_if_there(&self.file(entry))
    }

    /// Writes an entry, durably.
    pub(super) fn write(&self, entry: EntryId, text: &str) -> Result<(), ConnectorError> {
        write_durably(&self.0, &entry.to_string(), text.as_bytes())
    }

    pub(super) fn remove(&self, entry: EntryId) -> Result<(), ConnectorError> {
        let path = self.file(entry);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let what = format!("could not remove {}", path.display());
                Err(ConnectorError::retryable(what).caused_by(error))
            }
            _ => Ok(()),
        }
    }
}

/// The lines of an entry. `path` is for messages.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<SinkFile>, ConnectorError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let what = format!("{} is damaged: it is not UTF-8", path.display());
        ConnectorError::fatal(what).caused_by(error)
    })?;
    let mut lines = text.lines();
    match lines.next() {
        Some(VERSION) => {}
        found => {
            return Err(ConnectorError::fatal(format!(
                "{} begins with {:?} and should begin with {VERSION}: it is damaged, or no file sink's log",
                path.display(),
                found.unwrap_or_default()
            )));
        }
    }
    let line = |line: &str| {
        let broken = |why: String| {
            ConnectorError::fatal(format!(
                "{} is damaged: it has the line {line}, which names no file ({why})",
                path.display()
            ))
        };
        let file: SinkFile =
            serde_json::from_str(line).map_err(|error| broken(error.to_string()))?;
        if file.is_dir { Err(broken("it names a directory".to_owned())) } else { Ok(file) }
    };
    lines.map(line).collect()
}

/// The text of an entry.
pub(super) fn text_of(files: &[SinkFile]) -> Result<String, ConnectorError> {
    let mut text = VERSION.to_owned();
    for file in files {
        text.push('\n');
        text.push_str(&serde_json::to_string(file).map_err(|error| {
            ConnectorError::fatal(format!("could not write {file:?} as JSON")).caused_by(error)
        })?);
    }
    Ok(text)
}

/// The bytes of a file; `None` where it is not there.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ConnectorError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let what = format!("could not read {}", path.display());
            Err(ConnectorError::retryable(what).caused_by(error))
        }
    }
}

/// Writes a file that is there wholly or not at all, whatever happens in between.
pub(super) fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ConnectorError> {
    let hidden = folder.join(format!(".{name}.tmp"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&hidden)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&hidden, folder.join(name))?;
        sync_folder(folder)
    };
    write().map_err(|error| {
        ConnectorError::retryable(format!("could not write {}", folder.join(name).display()))
            .caused_by(error)
    })
}

/// Makes names that were created, renamed or removed in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
