//! Compiled plugins on disk, by the digest of their bytes: the second start does not compile.
//!
//! The files are machine code that this process will run. So they lie in a directory that is the
//! user's alone, below directories that nobody else can rename anything in; they appear by a
//! rename, and carry a checksum against torn writes. A file is believed if it is the user's own, as
//! the directory may have been open to others before. Anything that is not as it should be is
//! compiled again, with a warning and never with an error.

use std::fs::{self, DirBuilder, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use tidemill_core::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::limits::OF_MODULES;
use crate::trusted;

/// Modules to keep. One of 2 MB takes about 8 MB here, so this is some 250 MB at most.
const FILES_MAX: usize = 32;

/// What is kept here ends so, and nothing else is touched: the directory may be one with other files.
const SUFFIX: &str = ".cwasm";

const CHECKSUM: usize = 32;

/// A directory of compiled modules; without one, every start compiles.
#[derive(Clone, Debug)]
pub(crate) struct CodeCache {
    directory: Option<PathBuf>,
}

impl CodeCache {
    /// A cache in `directory`, if that is the user's alone, with all directories above it.
    pub(crate) fn open(directory: Option<PathBuf>) -> CodeCache {
        let usable = directory.and_then(|directory| match own(&directory) {
            Ok(directory) => Some(directory),
            Err(error) => {
                let path = directory.display();
                tracing::warn!("compiled plugins are not kept in {path}: {error}");
                None
            }
        });
        CodeCache { directory: usable }
    }

    /// The directory that is used unless another is named.
    pub(crate) fn default_directory() -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = variable("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")))?;
        Some(base.join("tidemill").join("plugins"))
    }

    pub(crate) fn get(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let path = self.path(engine, digest)?;
        // Without following a link: what is at its end may be anybody's text in a file of the user's.
        let metadata = fs::symlink_metadata(&path).ok()?;
        if !is_own(&metadata, path.parent()?) {
            tracing::warn!("{} is compiled again: it is not this user's own file", path.display());
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        let code = checked(&bytes)?;
        match trusted::deserialize(engine, code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!("{} is compiled again: {error}", path.display());
                None
            }
        }
    }

    pub(crate) fn put(&self, engine: &Engine, digest: Digest, component: &Component) {
        let Some(path) = self.path(engine, digest) else {
            return;
        };
        if let Err(error) = write(&path, component) {
            tracing::warn!("the compiled plugin is not kept in {}: {error}", path.display());
        }
    }

    /// Code for another engine or another processor has another name, and so has what was let in by
    /// other limits.
    fn path(&self, engine: &Engine, digest: Digest) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        OF_MODULES.hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        Some(directory.join(format!("{digest}-{:016x}{SUFFIX}", hasher.finish())))
    }
}

/// The code, if it is what was written.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (checksum, code) = bytes.split_at_checked(CHECKSUM)?;
    (Sha256::digest(code).as_slice() == checksum).then_some(code)
}

fn write(path: &Path, component: &Component) -> io::Result<()> {
    let code = component.serialize().map_err(io::Error::other)?;
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // A temporary file is readable by its owner only, and keeps that when it is renamed.
    let mut file = tempfile::Builder::new().suffix(SUFFIX).tempfile_in(directory)?;
    file.write_all(&Sha256::digest(&code))?;
    file.write_all(&code)?;
    file.persist(path)?;
    remove_oldest(directory)
}

fn remove_oldest(directory: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
            continue;
        }
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        files.push((written.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
    }
    files.sort();
    let excess = files.len().saturating_sub(FILES_MAX);
    files.iter().take(excess).try_for_each(|(_, path)| fs::remove_file(path))
}

/// Makes the directory, and gives its real path if nobody else can put code there: neither into
/// it, nor by putting another directory in its place.
fn own(directory: &Path) -> io::Result<PathBuf> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    // From here on without links: one that is changed later leads nowhere else.
    let directory = fs::canonicalize(directory)?;
    let probe = tempfile::tempfile_in(&directory)?;
    check_owners(&directory, &probe.metadata()?)?;
    Ok(directory)
}

#[cfg(unix)]
fn check_owners(directory: &Path, mine: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;

    const WRITE_FOR_OTHERS: u32 = 0o022;
    /// In such a directory only the owner of an entry renames or removes it.
    const STICKY: u32 = 0o1000;
    const ROOT: u32 = 0;

    for (above, directory) in directory.ancestors().enumerate() {
        let found = fs::metadata(directory)?;
        let of_others = found.uid() != mine.uid() && (above == 0 || found.uid() != ROOT);
        let kept = above > 0 && found.mode() & STICKY != 0;
        let place = directory.display();
        if of_others {
            let reason = format!("{place} is another user's, who could put other code there");
            return Err(io::Error::other(reason));
        }
        if found.mode() & WRITE_FOR_OTHERS != 0 && !kept {
            let reason = format!("others can write to {place}; `chmod go-w {place}`");
            return Err(io::Error::other(reason));
        }
    }
    Ok(())
}

/// Whether a file is one that this user has written, and nobody else: with one name, as another could
/// have given a file of the user's a second one.
#[cfg(unix)]
fn is_own(file: &Metadata, directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    const WRITE_FOR_OTHERS: u32 = 0o022;

    let is_plain = file.is_file() && file.nlink() == 1 && file.mode() & WRITE_FOR_OTHERS == 0;
    // The directory was the user's when the cache was opened.
    is_plain && fs::metadata(directory).is_ok_and(|directory| directory.uid() == file.uid())
}

/// Elsewhere the user's profile directory is the user's alone already.
#[cfg(not(unix))]
fn is_own(file: &Metadata, _directory: &Path) -> bool {
    file.is_file()
}

/// Elsewhere the user's profile directory is the user's alone already.
#[cfg(not(unix))]
fn check_owners(_directory: &Path, _mine: &Metadata) -> io::Result<()> {
    Ok(())
}
