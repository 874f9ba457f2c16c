//! Finds the files of a source: a directory, one file or a glob.
//!
//! A directory that a file sink wrote has a `_spark_metadata` log; its files are taken from there
//! and never from the directory, so that a batch is seen once it is committed and not before.

use std::path::{Path, PathBuf};

use glob::Pattern;
use tidemill_core::ConnectorError;

use super::committed::{CommittedLogs, OUTSIDE_OPTION};
use super::content::is_unread;
use super::log::METADATA_DIR;
use super::parts::{FilePart, modified_ms};
use crate::ConfigError;
use crate::options::Options;

/// Where a source looks for files.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    path: PathBuf,
    is_glob: bool,
    name_filter: Option<Pattern>,
    /// Whether compression shows in the file's name (it is inside of a parquet file).
    refuses_compressed: bool,
    committed: CommittedLogs,
}

impl Listing {
    pub(crate) fn plan(
        path: &Path,
        options: &Options,
        refuses_compressed: bool,
    ) -> Result<Listing, ConfigError> {
        let bad_path = |wanted: String| ConfigError::BadValue {
            place: options.place().to_owned(),
            option: "path".to_owned(),
            value: path.display().to_string(),
            wanted,
        };
        let absolute = std::path::absolute(path)
            .map_err(|error| bad_path(format!("it has to be a path ({error})")))?;
        let Some(text) = absolute.to_str() else {
            return Err(bad_path("it has to be UTF-8".to_owned()));
        };
        let is_glob = text.contains(['*', '?', '[', '{']);
        if is_glob {
            pattern(text).map_err(bad_path)?;
        } else if !absolute.exists() {
            let meant = absolute.display();
            return Err(bad_path(format!("{meant} does not exist; create the directory first")));
        }
        let name_filter = match options.text("pathGlobFilter") {
            None => None,
            Some(filter) => {
                Some(pattern(filter).map_err(|why| options.bad("pathGlobFilter", &why))?)
            }
        };
        let committed = CommittedLogs::new(options.bool(OUTSIDE_OPTION, false)?);
        Ok(Listing { path: absolute, is_glob, name_filter, refuses_compressed, committed })
    }

    /// Files that the query's log recorded, as this source may read them.
    pub(crate) fn admit(&self, mut parts: Vec<FilePart>) -> Vec<FilePart> {
        let takes_outside = self.committed.takes_outside();
        parts.iter_mut().for_each(|part| part.takes_outside = takes_outside);
        parts
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All files that are there, in no order.
    pub(crate) fn files(&self) -> Result<Vec<FilePart>, ConnectorError> {
        let mut files = Vec::new();
        if !self.is_glob {
            self.add(&self.path, &mut files)?;
            return Ok(files);
        }
        let pattern = self.path.to_string_lossy();
        let matches = glob::glob(&pattern).map_err(|error| self.failed(&self.path, error))?;
        for path in matches {
            let path = path.map_err(|error| self.failed(&self.path, error))?;
            if !is_hidden(&path) {
                self.add(&path, &mut files)?;
            }
        }
        Ok(files)
    }

    fn add(&self, path: &Path, files: &mut Vec<FilePart>) -> Result<(), ConnectorError> {
        let about = std::fs::metadata(path).map_err(|error| self.failed(path, error))?;
        if !about.is_dir() {
            return self.add_file(path, files);
        }
        if path.join(METADATA_DIR).is_dir() {
            let committed = self.committed.files(path)?.into_iter();
            files.extend(committed.filter(|part| self.is_wanted(Path::new(&part.path))));
            return Ok(());
        }
        for entry in std::fs::read_dir(path).map_err(|error| self.failed(path, error))? {
            let entry = entry.map_err(|error| self.failed(path, error))?;
            let path = entry.path();
            if is_hidden(&path) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => refuse_partitions(&path)?,
                _ => self.add_file(&path, files)?,
            }
        }
        Ok(())
    }

    fn add_file(&self, path: &Path, files: &mut Vec<FilePart>) -> Result<(), ConnectorError> {
        if !self.is_wanted(path) {
            return Ok(());
        }
        // Gone again since the directory was listed.
        let Ok(about) = std::fs::metadata(path) else {
            return Ok(());
        };
        if about.is_dir() {
            return Ok(());
        }
        if self.refuses_compressed && is_unread(path) {
            return Err(ConnectorError::fatal(format!(
                "the file {} is compressed in a way that is not read; pack it with gzip, bzip2 or zstd, or leave it out with the option pathGlobFilter",
                path.display()
            )));
        }
        let Some(name) = path.to_str() else {
            return Err(ConnectorError::fatal(format!(
                "the name of the file {} is not UTF-8; rename it",
                path.display()
            )));
        };
        let modified_ms = modified_ms(&about);
        let takes_outside = self.committed.takes_outside();
        let (path, size) = (name.to_owned(), about.len());
        files.push(FilePart { path, size, modified_ms, takes_outside });
        Ok(())
    }

    fn is_wanted(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.name_filter.as_ref().is_none_or(|filter| filter.matches(name))
    }

    fn failed(
        &self,
        path: &Path,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> ConnectorError {
        let message = format!("could not list the files of {}", path.display());
        if self.path.exists() || self.is_glob {
            ConnectorError::retryable(message).caused_by(error)
        } else {
            ConnectorError::fatal(message).caused_by(error)
        }
    }
}

/// Names that Spark's readers do not see.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.starts_with('.')
        || (name.starts_with('_') && !name.contains('='))
        || name.ends_with("._COPYING_")
}

/// Spark would read `day=1/` as a partition column. To pass it over would lose rows in silence;
/// other directories Spark passes over too.
pub(super) fn refuse_partitions(path: &Path) -> Result<(), ConnectorError> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    if name.contains('=') {
        return Err(ConnectorError::fatal(format!(
            "{} is a partition directory, which is not supported yet; name one partition, or a glob such as {}/*, as the path",
            path.display(),
            path.display()
        )));
    }
    Ok(())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    if text.contains('{') {
        return Err("alternatives in braces are not supported yet".to_owned());
    }
    Pattern::new(text).map_err(|error| format!("it has to be a glob ({error})"))
}
