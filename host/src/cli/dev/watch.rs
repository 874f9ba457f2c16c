//! The files of a job that somebody works on: the job's, its plugins', and the sources of these.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cli::watching::{Watching, absolute};
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
    /// Where the crates are that it depends on by a path, and those that these depend on so.
    pub(super) dependencies: BTreeSet<PathBuf>,
}

/// Crates that are asked for their dependencies: each costs a run of cargo, which takes a tenth of a
/// second.
const CRATES_MAX: usize = 32;

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
            dependencies: dependencies(&directory),
            directory,
        })
    }
}

/// The directories of a crate's path dependencies, and of theirs. A crate that cargo cannot read has
/// none; its build will say why.
fn dependencies(directory: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut asked) = (BTreeSet::new(), 0);
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop().filter(|_| asked < CRATES_MAX) {
        asked += 1;
        for path in path_dependencies(&next).unwrap_or_default() {
            if path != directory && found.insert(path.clone()) {
                open.push(path);
            }
        }
    }
    found
}

/// Asks cargo, which knows what a crate inherits of its workspace. Neither network nor lock file is
/// touched.
fn path_dependencies(directory: &Path) -> Option<Vec<PathBuf>> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let answer = command.current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let answer: Value = serde_json::from_slice(&answer.ok()?.stdout).ok()?;
    let manifest = directory.join("Cargo.toml").canonicalize().ok()?;
    let is_ours = |package: &&Value| {
        package["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
    };
    let package = answer["packages"].as_array()?.iter().find(is_ours)?;
    // Those for tests alone are no part of the plugin.
    let is_built = |dependency: &&Value| dependency["kind"].as_str() != Some("dev");
    let built = package["dependencies"].as_array()?.iter().filter(is_built);
    Some(built.filter_map(|dependency| dependency["path"].as_str().map(PathBuf::from)).collect())
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
    _watching: Watching,
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
            crates: (crates.iter())
                .map(|found| {
                    let own = std::iter::once(found.directory.clone());
                    own.chain(found.dependencies.iter().cloned()).collect()
                })
                .collect(),
        };
        let (beside, below) = files.directories();
        let watching = Watching::start(&beside, &below, move |paths| {
            let changes = paths.iter().flat_map(|path| files.changes_of(path));
            changes.collect::<BTreeSet<_>>().into_iter().for_each(&tell);
        })?;
        Ok(Watch { _watching: watching })
    }
}

struct Files {
    job: PathBuf,
    plugins: Vec<PathBuf>,
    /// Of each plugin's crate: its directory, and those of the crates that it is built of.
    crates: Vec<BTreeSet<PathBuf>>,
}

impl Files {
    /// The directories to watch, and those to watch with all that is below.
    fn directories(&self) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
        let files = self.plugins.iter().chain([&self.job]);
        let beside = files.filter_map(|file| Some(file.parent()?.to_owned()));
        let crates = || self.crates.iter().flatten();
        let beside = beside.chain(crates().cloned()).collect();
        (beside, crates().map(|found| found.join("src")).collect())
    }

    /// A crate may be part of several plugins.
    fn changes_of(&self, path: &Path) -> Vec<Change> {
        if path == self.job {
            return vec![Change::Job];
        }
        if self.plugins.iter().any(|plugin| plugin == path) {
            return vec![Change::Plugin];
        }
        // Editors keep files of their own beside those that they change.
        let is_source = path.extension().is_some_and(|kind| kind == "rs" || kind == "toml");
        let of_crate = |found: &PathBuf| {
            path == found.join("Cargo.toml")
                || path == found.join("build.rs")
                || (is_source && path.starts_with(found.join("src")))
        };
        let crates = self.crates.iter().enumerate();
        let changed = crates.filter(|(_, built_of)| built_of.iter().any(of_crate));
        changed.map(|(number, _)| Change::Sources(number)).collect()
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
            crates: [&["/j/other", "/shared"][..], &["/j/till", "/shared"]]
                .map(|built_of| built_of.iter().map(PathBuf::from).collect())
                .into(),
        };
        let changes = [
            ("/j/job.toml", vec![Change::Job]),
            ("/j/job.toml~", vec![]),
            ("/j/till/target/w/till.wasm", vec![Change::Plugin]),
            ("/j/till/src/a/lib.rs", vec![Change::Sources(1)]),
            ("/j/till/src/.lib.rs.swp", vec![]),
            ("/j/other/Cargo.toml", vec![Change::Sources(0)]),
            ("/j/other/build.rs", vec![Change::Sources(0)]),
            ("/shared/src/lib.rs", vec![Change::Sources(0), Change::Sources(1)]),
            ("/j/till/tests/t.rs", vec![]),
        ];
        for (path, changes) in changes {
            assert_eq!(files.changes_of(Path::new(path)), changes, "{path}");
        }
    }
    #[test]
    fn crates_that_a_plugin_is_built_of_are_found_by_their_paths() {
        let place = tempfile::tempdir().expect("a directory");
        let place = place.path().canonicalize().expect("it is there");
        let crates = [
            ("till", "a = { path = \"../a\" }\n[dev-dependencies]\nt = { path = \"../t\" }"),
            ("a", "b = { path = \"../b\" }"),
            ("b", ""),
            ("t", ""),
        ];
        for (name, dependencies) in crates {
            let package =
                format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n");
            let manifest = format!("{package}[dependencies]\n{dependencies}\n");
            std::fs::create_dir_all(place.join(name).join("src")).expect("a directory");
            std::fs::write(place.join(name).join("Cargo.toml"), manifest).expect("a manifest");
            std::fs::write(place.join(name).join("src/lib.rs"), "").expect("a source");
        }
        let found = dependencies(&place.join("till"));
        assert_eq!(found, BTreeSet::from([place.join("a"), place.join("b")]));
    }
}
