//! Where things are in a checkpoint's directory.

use std::path::{Path, PathBuf};

use tidemill_core::Digest;

/// Suffix of a file that is being written. One that is there at the start was never finished.
pub(crate) const TEMPORARY: &str = ".tmp";

const SEGMENT: &str = ".log";
const SNAPSHOT: &str = ".snapshot";
const PLUGIN: &str = ".wasm";

/// The directory of a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Layout {
        Layout { root: root.to_owned() }
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn head(&self) -> PathBuf {
        self.root.join("head")
    }

    pub(crate) fn tail(&self) -> PathBuf {
        self.root.join("tail")
    }

    pub(crate) fn choices(&self) -> PathBuf {
        self.root.join("choices")
    }

    /// Held by who reads the choices and writes others.
    pub(crate) fn choices_lock(&self) -> PathBuf {
        self.root.join("choices.lock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }

    pub(crate) fn directories(&self) -> [PathBuf; 3] {
        [self.log(), self.snapshots(), self.plugins()]
    }

    /// Segment number `number`.
    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.log().join(format!("{number:020}{SEGMENT}"))
    }

    /// The snapshot of everything up to the end of segment `through`.
    pub(crate) fn snapshot(&self, through: u64) -> PathBuf {
        self.snapshots().join(format!("{through:020}{SNAPSHOT}"))
    }

    /// A sorted run of changes, while the snapshot of segment `through` is made.
    pub(crate) fn run(&self, through: u64, number: u64) -> PathBuf {
        self.snapshots().join(format!("{through:020}.{number}.run{TEMPORARY}"))
    }

    pub(crate) fn plugin(&self, digest: &Digest) -> PathBuf {
        self.plugins().join(format!("{digest}{PLUGIN}"))
    }
}

/// `path` while it is being written.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    name.into()
}

pub(crate) fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(SEGMENT)?.parse().ok()
}

pub(crate) fn snapshot_number(name: &str) -> Option<u64> {
    name.strip_suffix(SNAPSHOT)?.parse().ok()
}

pub(crate) fn plugin_digest(name: &str) -> Option<Digest> {
    name.strip_suffix(PLUGIN)?.parse().ok()
}
