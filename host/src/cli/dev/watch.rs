//! The files of a job that somebody works on: the job's, its plugins', and the sources of these.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::job::JobPlugin;

/// What somebody changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Change {
    /// The job.
    Job,
    /// Sources of the crate with this number.
    Sources(usize),
    /// A plugin's file.
    Plugin,
}

/// The crate that a plugin's file is built of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PluginCrate {
    /// The job's name for the plugin.
    pub(super) plugin: String,
    /// Where the job expects the file.
    pub(super) file: PathBuf,
    /// Where the crate is.
    pub(super) directory: PathBuf,
}

impl PluginCrate {
    /// That of a plugin, if it is at hand: the nearest directory above its file with a library of
    /// the file's name.
    pub(super) fn of(plugin: &JobPlugin) -> Option<PluginCrate> {
        let file = std::path::absolute(&plugin.path).ok()?;
        let name = file.file_stem()?.to_str()?.to_owned();
        let directory =
            file.ancestors().skip(1).find(|above| above.join("Cargo.toml").is_file())?;
        let directory = directory.to_owned();
        (library(&directory)? == name).then(|| PluginCrate {
            plugin: plugin.name.clone(),
            file: plugin.path.clone(),
            directory,
        })
    }
}

/// The name of the library that a crate makes.
fn library(directory: &Path) -> Option<String> {
    let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).ok()?;
    let manifest: toml::Table = manifest.parse().ok()?;
    let name = |table: &str| manifest.get(table)?.get("name")?.as_str();
    Some(name("lib").or_else(|| name("package"))?.replace('-', "_"))
}

/// Watches until it is dropped.
pub(super) struct Watch {
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Calls `tell` for each change.
    pub(super) fn start(
        job: &Path,
        plugins: &[PathBuf],
        crates: &[PluginCrate],
        tell: impl Fn(Change) + Send + 'static,
    ) -> Result<Watch, notify::Error> {
        let files = Files {
            job: absolute(job),
            plugins: plugins.iter().map(|plugin| absolute(plugin)).collect(),
            crates: crates.iter().map(|found| found.directory.clone()).collect(),
        };
        let (beside, below) = files.directories();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let Ok(event) = event else { return };
                // Reading a file is an event too.
                if !is_read(event.kind) {
                    let changes = event.paths.iter().filter_map(|path| files.change_of(path));
                    changes.collect::<BTreeSet<Change>>().into_iter().for_each(&tell);
                }
            })?;
        for directory in beside.iter().filter(|directory| directory.is_dir()) {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        for directory in below.iter().filter(|directory| directory.is_dir()) {
            watcher.watch(directory, RecursiveMode::Recursive)?;
        }
        Ok(Watch { _watcher: watcher })
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn is_read(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

struct Files {
    job: PathBuf,
    plugins: Vec<PathBuf>,
    crates: Vec<PathBuf>,
}

impl Files {
    /// The directories to watch, and those to watch with all that is below.
    fn directories(&self) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
        let files = self.plugins.iter().chain([&self.job]);
        let beside = files.filter_map(|file| Some(file.parent()?.to_owned()));
        let beside = beside.chain(self.crates.iter().cloned()).collect();
        (beside, self.crates.iter().map(|found| found.join("src")).collect())
    }

    fn change_of(&self, path: &Path) -> Option<Change> {
        if path == self.job {
            return Some(Change::Job);
        }
        if self.plugins.iter().any(|plugin| plugin == path) {
            return Some(Change::Plugin);
        }
        // Editors keep files of their own beside those that they change.
        let is_source = path.extension().is_some_and(|kind| kind == "rs" || kind == "toml");
        let of_crate = |found: &PathBuf| {
            path == found.join("Cargo.toml") || (is_source && path.starts_with(found.join("src")))
        };
        self.crates.iter().position(of_crate).map(Change::Sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_whose_file_it_is() {
        let files = Files {
            job: "/j/job.toml".into(),
            plugins: vec!["/j/till/target/w/till.wasm".into()],
            crates: vec!["/j/other".into(), "/j/till".into()],
        };
        let changes = [
            ("/j/job.toml", Some(Change::Job)),
            ("/j/job.toml~", None),
            ("/j/till/target/w/till.wasm", Some(Change::Plugin)),
            ("/j/till/src/a/lib.rs", Some(Change::Sources(1))),
            ("/j/till/src/.lib.rs.swp", None),
            ("/j/other/Cargo.toml", Some(Change::Sources(0))),
            ("/j/till/tests/t.rs", None),
        ];
        for (path, change) in changes {
            assert_eq!(files.change_of(Path::new(path)), change, "{path}");
        }
    }
}
