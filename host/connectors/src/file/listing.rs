//! Finds the files of a source: a directory, one file or a glob.
//!
//! A directory that a file sink wrote has a `_spark_metadata` log; its files are taken from there
//! and never from the directory, so that a batch is seen once it is committed and not before.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use tidemill_core::ConnectorError;
use tidemill_time::{Zone, parse_timestamp};

use super::committed::{CommittedLogs, OUTSIDE_OPTION};
use super::content::is_unread;
use super::log::METADATA_DIR;
use super::partitions::{Partitions, check_alike};
use super::parts::{FilePart, modified_ms};
use crate::ConfigError;
use crate::options::Options;

/// How a path is held against a glob: as the files that it matches are found.
const GLOBBING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Where a source looks for files.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    path: PathBuf,
    /// The path, where it is a glob.
    glob: Option<Pattern>,
    name_filter: Option<Pattern>,
    /// Files are modified after and before these times, in milliseconds since 1970.
    modified: (Option<i64>, Option<i64>),
    /// Whether compression shows in the file's name (it is inside of a parquet file).
    refuses_compressed: bool,
    /// `recursiveFileLookup`: files of all directories, which are no partitions then.
    takes_all: bool,
    /// `basePath`: partitions are the directories below.
    base: Option<PathBuf>,
    committed: CommittedLogs,
}

/// The files that are there.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In no order.
    pub(super) files: Vec<FilePart>,
    /// Of each file.
    pub(super) partitions: Vec<Partitions>,
}

/// Files as they are come upon.
#[derive(Default)]
struct Walk {
    /// In the directories that the path names.
    direct: Vec<FilePart>,
    /// In directories below.
    deeper: Vec<FilePart>,
}

impl Listing {
    pub(crate) fn plan(
        path: &Path,
        options: &Options,
        refuses_compressed: bool,
        zone: Zone,
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
        let glob = is_glob.then(|| pattern(text)).transpose().map_err(&bad_path)?;
        if glob.is_none() && !absolute.exists() {
            let meant = absolute.display();
            return Err(bad_path(format!("{meant} does not exist; create the directory first")));
        }
        let name_filter = match options.text("pathGlobFilter") {
            None => None,
            Some(filter) => {
                Some(pattern(filter).map_err(|why| options.bad("pathGlobFilter", &why))?)
            }
        };
        let time = |name: &str| match options.text(name) {
            None => Ok(None),
            Some(text) => match parse_timestamp(text, zone) {
                Some(micros) => Ok(Some(micros.div_euclid(1_000))),
                None => Err(options.bad(name, "it has to be a time like 2024-12-31T23:59:59")),
            },
        };
        let modified = (time("modifiedAfter")?, time("modifiedBefore")?);
        let takes_all = options.bool("recursiveFileLookup", false)?;
        let base = options.text("basePath").map(|base| std::path::absolute(base));
        let base = base.transpose().ok().flatten().filter(|base| {
            let above = absolute.ancestors().any(|above| above == base);
            above && base.is_dir()
        });
        if base.is_none() && options.text("basePath").is_some() {
            return Err(options.bad("basePath", "it has to be a directory above the path"));
        }
        let committed = CommittedLogs::new(options.bool(OUTSIDE_OPTION, false)?);
        let path = absolute;
        Ok(Listing {
            path,
            glob,
            name_filter,
            modified,
            refuses_compressed,
            takes_all,
            base,
            committed,
        })
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

    /// All files that are there, and the partitions that they lie in.
    ///
    /// # Errors
    /// They cannot be listed, or have other partitions than one another.
    pub(super) fn find(&self) -> Result<Found, ConnectorError> {
        let mut walk = Walk::default();
        match &self.glob {
            None => self.add(&self.path, &mut walk)?,
            Some(pattern) => {
                let matches = glob::glob(pattern.as_str());
                let matches = matches.map_err(|error| self.failed(&self.path, error))?;
                for path in matches {
                    let path = path.map_err(|error| self.failed(&self.path, error))?;
                    if !is_hidden(&path) {
                        self.add(&path, &mut walk)?;
                    }
                }
            }
        }
        let Walk { mut direct, mut deeper } = walk;
        let direct_files = direct.len();
        direct.append(&mut deeper);
        let mut files = direct;
        // A glob can match both a directory and what is in it.
        if self.glob.is_some() {
            let mut seen = HashSet::new();
            files.retain(|file| seen.insert(file.path.clone()));
        }
        let partitions = files.iter().map(|file| self.partitions_of(&file.path));
        let mut partitions = partitions.collect::<Result<Vec<_>, _>>()?;
        if !self.takes_all && partitions.iter().all(|found| found.values.is_empty()) {
            // Directories that are no partitions are passed over, as in Spark.
            files.truncate(direct_files);
            partitions.truncate(direct_files);
        }
        check_alike(&files, &partitions)?;
        Ok(Found { files, partitions })
    }

    /// The partitions that a file lies in.
    ///
    /// # Errors
    /// One of them has no name or no value.
    pub(super) fn partitions_of(&self, path: &str) -> Result<Partitions, ConnectorError> {
        if self.takes_all || !path.contains('=') {
            return Ok(Partitions::default());
        }
        let file = Path::new(path);
        let parent = file.parent().unwrap_or(file);
        let base = match (&self.base, &self.glob) {
            (Some(base), _) => base,
            (None, None) if file == self.path => parent,
            (None, None) => &self.path,
            (None, Some(glob)) => {
                let is_match = |path: &&Path| glob.matches_path_with(path, GLOBBING);
                let matched = file.ancestors().find(is_match);
                matched.filter(|matched| *matched != file).unwrap_or(parent)
            }
        };
        Partitions::of(path, base)
    }

    /// What the path, or a match of it, names.
    fn add(&self, path: &Path, walk: &mut Walk) -> Result<(), ConnectorError> {
        let about = std::fs::metadata(path).map_err(|error| self.failed(path, error))?;
        if !about.is_dir() {
            return self.add_file(path, &mut walk.direct);
        }
        self.add_directory(path, &mut walk.direct, &mut walk.deeper)
    }

    fn add_directory(
        &self,
        path: &Path,
        files: &mut Vec<FilePart>,
        deeper: &mut Vec<FilePart>,
    ) -> Result<(), ConnectorError> {
        if path.join(METADATA_DIR).is_dir() {
            let committed = self.committed.files(path)?.into_iter();
            files.extend(committed.filter(|part| self.is_wanted(part)));
            return Ok(());
        }
        let mut directories = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|error| self.failed(path, error))? {
            let entry = entry.map_err(|error| self.failed(path, error))?;
            let path = entry.path();
            if is_hidden(&path) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(path),
                _ => self.add_file(&path, files)?,
            }
        }
        for directory in directories {
            let mut below = Vec::new();
            self.add_directory(&directory, &mut below, deeper)?;
            deeper.append(&mut below);
        }
        Ok(())
    }

    fn add_file(&self, path: &Path, files: &mut Vec<FilePart>) -> Result<(), ConnectorError> {
        // Gone again since the directory was listed.
        let Ok(about) = std::fs::metadata(path) else {
            return Ok(());
        };
        if about.is_dir() {
            return Ok(());
        }
        if !self.is_called(path) {
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
        let file = FilePart { path, size, modified_ms, takes_outside };
        files.extend(Some(file).filter(|file| self.is_wanted(file)));
        Ok(())
    }

    fn is_wanted(&self, file: &FilePart) -> bool {
        let (after, before) = self.modified;
        self.is_called(Path::new(&file.path))
            && after.is_none_or(|after| file.modified_ms > after)
            && before.is_none_or(|before| file.modified_ms < before)
    }

    fn is_called(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.name_filter.as_ref().is_none_or(|filter| filter.matches(name))
    }

    fn failed(
        &self,
        path: &Path,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> ConnectorError {
        let message = format!("could not list the files of {}", path.display());
        if self.path.exists() || self.glob.is_some() {
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

fn pattern(text: &str) -> Result<Pattern, String> {
    if text.contains('{') {
        return Err("alternatives in braces are not supported yet".to_owned());
    }
    Pattern::new(text).map_err(|error| format!("it has to be a glob ({error})"))
}
