//! The `_spark_metadata` log of a file sink, in Spark's layout of version 1.
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

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tidemill_core::ConnectorError;

use super::parts::FilePart;

/// Folder of the log in the sink's directory.
pub(crate) const METADATA_DIR: &str = "_spark_metadata";

/// Batches from one `.compact` to the next; Spark's default.
const COMPACT_INTERVAL: u64 = 10;

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
    size: u64,
    is_dir: bool,
    modification_time: i64,
    block_replication: i32,
    block_size: i64,
    action: String,
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
            action: "add".to_owned(),
        }
    }

    /// The file in `directory`. A path that is no more (the directory was moved) is looked for
    /// beside the log.
    fn part(&self, directory: &Path) -> FilePart {
        let path = self.path.strip_prefix("file:").unwrap_or(&self.path);
        let path = if path.starts_with("///") { &path[2..] } else { path };
        let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let beside = directory.join(self.name());
        let moved = !Path::new(&path).exists() && beside.exists();
        let path = if moved { beside.to_string_lossy().into_owned() } else { path };
        FilePart { path, size: self.size, modified_ms: self.modification_time }
    }

    /// The file's name without its folder.
    pub(crate) fn name(&self) -> String {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        percent_decode_str(name).decode_utf8_lossy().into_owned()
    }
}

/// The log of one directory.
pub(crate) struct MetadataLog {
    directory: PathBuf,
    folder: PathBuf,
}

impl MetadataLog {
    pub(crate) fn new(directory: &Path) -> MetadataLog {
        MetadataLog { directory: directory.to_owned(), folder: directory.join(METADATA_DIR) }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The newest batch that is in the log.
    pub(crate) fn latest(&self) -> Result<Option<u64>, ConnectorError> {
        Ok(self.ids()?.into_iter().map(|(id, _)| id).max())
    }

    /// All committed files, in the order in which they were committed.
    pub(crate) fn files(&self) -> Result<Vec<FilePart>, ConnectorError> {
        /// A writer folds the log once in ten batches, so a second look finds it whole.
        const LOOKS_MAX: usize = 3;
        let mut looks = 0;
        loop {
            looks += 1;
            match self.entries() {
                // Folded and removed while it was read.
                Err(error) if error.is_retryable() && looks < LOOKS_MAX => continue,
                Err(error) => return Err(error),
                Ok(entries) => {
                    return Ok(entries.iter().map(|file| file.part(&self.directory)).collect());
                }
            }
        }
    }

    /// The lines of the newest batch; where it is folded, those of earlier ones too.
    pub(crate) fn newest(&self) -> Result<Option<(u64, Vec<SinkFile>)>, ConnectorError> {
        let Some((batch, folded)) = self.ids()?.into_iter().max() else {
            return Ok(None);
        };
        Ok(Some((batch, self.read(&self.folder.join(entry_name(batch, folded)))?)))
    }

    /// All lines up to the newest batch, deleted files left out.
    fn entries(&self) -> Result<Vec<SinkFile>, ConnectorError> {
        let mut ids = self.ids()?;
        let folded = ids.iter().filter(|(_, folded)| *folded).map(|(id, _)| *id).max();
        ids.retain(|&id| folded.is_none_or(|folded| id >= (folded, true)));
        ids.sort_unstable();
        let mut entries: Vec<SinkFile> = Vec::new();
        for (id, is_folded) in ids {
            entries.extend(self.read(&self.folder.join(entry_name(id, is_folded)))?);
        }
        let deleted: std::collections::HashSet<String> = entries
            .iter()
            .filter(|file| file.action == "delete")
            .map(|file| file.path.clone())
            .collect();
        entries.retain(|file| !deleted.contains(&file.path));
        Ok(entries)
    }

    /// Adds `files` to the entry of `batch`, durably, in one step. No batch after it may be there.
    pub(crate) fn add(&self, batch: u64, files: &[SinkFile]) -> Result<(), ConnectorError> {
        self.fill_gap(batch)?;
        let mut all = if is_folding(batch) {
            self.entries()?
        } else if self.latest()? == Some(batch) {
            self.read(&self.folder.join(entry_name(batch, false)))?
        } else {
            Vec::new()
        };
        all.extend_from_slice(files);
        self.write(batch, &all)?;
        if is_folding(batch) { self.remove_folded(batch) } else { Ok(()) }
    }

    /// Spark's readers want every id since the last folded one; a handler may pass over batches.
    fn fill_gap(&self, batch: u64) -> Result<(), ConnectorError> {
        let next = self.latest()?.map_or(0, |latest| latest + 1);
        // Nothing before the last fold is read.
        let fold = (batch / COMPACT_INTERVAL * COMPACT_INTERVAL).saturating_sub(1);
        for missing in next.max(fold)..batch {
            let files = if is_folding(missing) { self.entries()? } else { Vec::new() };
            self.write(missing, &files)?;
        }
        Ok(())
    }

    /// Removes what two folds cover, so that a reader that listed the folder before this one
    /// still finds what it saw.
    fn remove_folded(&self, batch: u64) -> Result<(), ConnectorError> {
        let Some(keep_from) = batch.checked_sub(COMPACT_INTERVAL) else {
            return Ok(());
        };
        for (id, folded) in self.ids()?.into_iter().filter(|(id, _)| *id < keep_from) {
            let path = self.folder.join(entry_name(id, folded));
            std::fs::remove_file(&path).map_err(|error| {
                ConnectorError::retryable(format!("could not remove {}", path.display()))
                    .caused_by(error)
            })?;
        }
        Ok(())
    }

    /// Ids in the folder, and whether each is folded. Other files are no part of the log.
    fn ids(&self) -> Result<Vec<(u64, bool)>, ConnectorError> {
        let failed = |error: io::Error| {
            ConnectorError::retryable(format!("could not list {}", self.folder.display()))
                .caused_by(error)
        };
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str() else { continue };
            let number = name.strip_suffix(".compact");
            if let Ok(id) = number.unwrap_or(name).parse() {
                ids.push((id, number.is_some()));
            }
        }
        Ok(ids)
    }

    fn read(&self, path: &Path) -> Result<Vec<SinkFile>, ConnectorError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConnectorError::retryable(format!("could not read {}", path.display())).caused_by(error)
        })?;
        let mut lines = text.lines();
        match lines.next() {
            Some("v1") => {}
            found => {
                return Err(ConnectorError::fatal(format!(
                    "{} begins with {:?} and should begin with v1; it is no file sink's log",
                    path.display(),
                    found.unwrap_or_default()
                )));
            }
        }
        lines
            .map(|line| {
                serde_json::from_str(line).map_err(|error| {
                    ConnectorError::fatal(format!("{} has the line {line}", path.display()))
                        .caused_by(error)
                })
            })
            .collect()
    }

    fn write(&self, batch: u64, files: &[SinkFile]) -> Result<(), ConnectorError> {
        let mut text = "v1".to_owned();
        for file in files {
            text.push('\n');
            text.push_str(&serde_json::to_string(file).map_err(|error| {
                ConnectorError::fatal(format!("could not write {file:?} as JSON")).caused_by(error)
            })?);
        }
        write_durably(&self.folder, &entry_name(batch, is_folding(batch)), text.as_bytes())
    }
}

fn entry_name(batch: u64, folded: bool) -> String {
    if folded { format!("{batch}.compact") } else { batch.to_string() }
}

fn is_folding(batch: u64) -> bool {
    (batch + 1) % COMPACT_INTERVAL == 0
}

/// Writes a file that is there wholly or not at all, whatever happens in between.
pub(crate) fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ConnectorError> {
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
