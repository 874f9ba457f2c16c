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
    /// Whether partitions are looked for in directories that are none.
    looks_deeper: bool,
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

/// A directory, as it is come upon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directory {
    /// The path names it, or one above it and all below.
    Named,
    /// It is a partition, or lies in one.
    Partition,
    /// Its files do not count. There may be partitions in it.
    Other,
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
        let is_glob = text.contains(['*', '?', '[', '{']) && !absolute.exists();
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
        // A relative one is beside the job file, as the path is.
        let base = options.text("basePath").and_then(|base| {
            absolute.ancestors().find(|above| above.ends_with(base)).map(Path::to_owned)
        });
        let base = base.filter(|base| base.is_dir());
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
            looks_deeper: true,
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

    /// Whether a file that was found here could be this one, by where it lies: the same directory may have
    /// several names.
    pub(crate) fn may_have(&self, file: &Path) -> bool {
        if self.committed.takes_outside() {
            return true;
        }
        let is_plain = |part: &Path| !part.to_string_lossy().contains(['*', '?', '[', '{']);
        let root = match &self.glob {
            None => self.path.as_path(),
            // The directories above the first one that is a pattern.
            Some(_) => self.path.ancestors().find(|above| is_plain(above)).unwrap_or(&self.path),
        };
        let real = |path: &Path| path.canonicalize().ok();
        file.starts_with(root)
            || real(root).is_some_and(|root| {
                let own = file.ancestors().find_map(real);
                own.is_some_and(|own| own.starts_with(root))
            })
    }

    /// All files that are there, and the partitions that they lie in. Directories that are no
    /// partitions are passed over, as in Spark.
    ///
    /// # Errors
    /// They cannot be listed, or have other partitions than one another.
    pub(super) fn find(&self) -> Result<Found, ConnectorError> {
        let mut files = Vec::new();
        match &self.glob {
            None => self.add(&self.path, &mut files)?,
            Some(pattern) => {
                let matches = glob::glob(pattern.as_str());
                let matches = matches.map_err(|error| self.failed(&self.path, error))?;
                for path in matches {
                    let path = path.map_err(|error| self.failed(&self.path, error))?;
                    if !is_hidden(&path) {
                        self.add(&path, &mut files)?;
                    }
                }
                // A glob can match both a directory and what is in it.
                let mut seen = HashSet::new();
                files.retain(|file| seen.insert(file.path.clone()));
            }
        }
        let partitions = files.iter().map(|file| self.partitions_of(&file.path));
        let partitions = partitions.collect::<Result<Vec<_>, _>>()?;
        check_alike(&files, &partitions)?;
        Ok(Found { files, partitions })
    }

    /// From now on looks for partitions where there were some at the start: what else lies beside the
    /// input is not listed again and again.
    pub(super) fn settle(&mut self, found: &Found) {
        self.looks_deeper = found.partitions.iter().any(Partitions::are_deeper);
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
    fn add(&self, path: &Path, files: &mut Vec<FilePart>) -> Result<(), ConnectorError> {
        let about = std::fs::metadata(path).map_err(|error| self.failed(path, error))?;
        match about.is_dir() {
            true => self.add_directory(path, Directory::Named, files),
            false => self.add_file(path, files),
        }
    }

    fn add_directory(
        &self,
        path: &Path,
        directory: Directory,
        files: &mut Vec<FilePart>,
    ) -> Result<(), ConnectorError> {
        let takes_files = directory != Directory::Other;
        if takes_files && path.join(METADATA_DIR).is_dir() {
            let committed = self.committed.files(path)?.into_iter();
            files.extend(committed.filter(|part| self.is_wanted(part)));
            return Ok(());
        }
        let entries = match std::fs::read_dir(path) {
            Err(_) if !takes_files => return Ok(()),
            entries => entries.map_err(|error| self.failed(path, error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| self.failed(path, error))?;
            let path = entry.path();
            if is_hidden(&path) {
                continue;
            }
            let is_directory = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => leads_down(&path),
                kind => kind.is_ok_and(|kind| kind.is_dir()),
            };
            if !is_directory {
                if takes_files {
                    self.add_file(&path, files)?;
                }
            } else if let Some(below) = self.below(directory, &path) {
                self.add_directory(&path, below, files)?;
            }
        }
        Ok(())
    }

    /// What a directory in another one is; none if it is passed over.
    fn below(&self, above: Directory, path: &Path) -> Option<Directory> {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        match above {
            _ if self.takes_all => Some(Directory::Named),
            Directory::Partition => Some(Directory::Partition),
            _ if name.contains('=') => Some(Directory::Partition),
            _ => self.looks_deeper.then_some(Directory::Other),
        }
    }

    fn add_file(&self, path: &Path, files: &mut Vec<FilePart>) -> Result<(), ConnectorError> {
        // Gone again since the directory was listed.
        let Ok(about) = std::fs::metadata(path) else {
            return Ok(());
        };
        if about.is_dir() || !self.is_called(path) {
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

/// Whether a link leads to a directory, and not to one that it lies in.
fn leads_down(link: &Path) -> bool {
    let (Ok(target), Some(Ok(own))) =
        (std::fs::canonicalize(link), link.parent().map(std::fs::canonicalize))
    else {
        return false;
    };
    target.is_dir() && !own.starts_with(&target)
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
    // Hadoop negates with `^`, and has no `**`.
    let mut text = text.replace("[^", "[!");
    while text.contains("**") {
        text = text.replace("**", "*");
    }
    Pattern::new(&text).map_err(|error| format!("it has to be a glob ({error})"))
}
