//! Directories whose files somebody may change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tidemill_plugin_host::is_read;

/// Watches until it is dropped.
pub(super) struct Watching {
    _watcher: RecommendedWatcher,
}

impl Watching {
    /// Calls `changed` with the paths of each change in one of the directories `beside`, or anywhere below
    /// one of `below`. Those that are not there are not watched.
    pub(super) fn start(
        beside: &BTreeSet<PathBuf>,
        below: &BTreeSet<PathBuf>,
        changed: impl Fn(&[PathBuf]) + Send + 'static,
    ) -> Result<Watching, notify::Error> {
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if let Ok(event) = event
                    && !is_read(event.kind)
                {
                    changed(&event.paths);
                }
            })?;
        for directory in beside.iter().filter(|directory| directory.is_dir()) {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        for directory in below.iter().filter(|directory| directory.is_dir()) {
            watcher.watch(directory, RecursiveMode::Recursive)?;
        }
        Ok(Watching { _watcher: watcher })
    }
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
