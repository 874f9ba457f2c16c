//! Builds the plugins for WebAssembly and lays them where tests, demo and examples look.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::process;
use crate::setup::{Guest, WASM};
use crate::workspace::Workspace;

/// How a plugin is built; both are in the workspace's `Cargo.toml`.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// Quick to build.
    Reload,
    /// As deployed.
    Deploy,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Profile::Reload => "plugin-dev",
            Profile::Deploy => "plugin",
        }
    }
}

pub(crate) fn build_and_publish(
    workspace: &Workspace,
    guest: &Guest,
    profile: Profile,
) -> Result<()> {
    let begin = Instant::now();
    let names: Vec<&str> = workspace.plugins.iter().map(String::as_str).collect();
    let names_profile = format!("{} ({})", names.join(", "), profile.name());
    eprintln!("plugins: building {names_profile}; from nothing some two minutes on two cores");
    let mut changed = Vec::new();
    for (name, module) in build(workspace, guest, profile, &names)? {
        for place in places(workspace, &name)? {
            if publish(&module, &place)? {
                changed.push(place);
            }
        }
    }
    for place in &changed {
        eprintln!("plugins: wrote {}", place.display());
    }
    let verdict = if changed.is_empty() { "nothing changed" } else { "done" };
    eprintln!("plugins: {verdict}, {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Builds the named plugins, and gives each with its module.
pub(crate) fn build(
    workspace: &Workspace,
    guest: &Guest,
    profile: Profile,
    names: &[&str],
) -> Result<Vec<(String, PathBuf)>> {
    let mut command = guest.cargo(workspace);
    command.args(["build", "--lib", "--target", WASM, "--profile", profile.name()]);
    command.args(names.iter().flat_map(|name| ["--package", name]));
    process::run(&mut command)?;
    let directory = workspace.target.join(WASM).join(profile.name());
    let module = |name: &str| directory.join(format!("{}.wasm", name.replace('-', "_")));
    Ok(names.iter().map(|name| ((*name).to_owned(), module(name))).collect())
}

/// Copies a module if it differs, by a rename: who watches the place never sees half of it.
pub(crate) fn publish(module: &Path, place: &Path) -> Result<bool> {
    let what = || format!("could not copy {} to {}", module.display(), place.display());
    let bytes = std::fs::read(module).with_context(what)?;
    if std::fs::read(place).is_ok_and(|there| there == bytes) {
        return Ok(false);
    }
    replace(place, &bytes).with_context(what)?;
    Ok(true)
}

/// Writes a file by a rename.
pub(crate) fn replace(place: &Path, bytes: &[u8]) -> Result<()> {
    let directory = place.parent().context("a file is in a directory")?;
    std::fs::create_dir_all(directory)?;
    let name = place.file_name().context("a file has a name")?.to_string_lossy();
    // Sources and watchers pass over names with a leading dot.
    let unfinished = directory.join(format!(".{name}.{}.part", std::process::id()));
    std::fs::write(&unfinished, bytes)?;
    Ok(std::fs::rename(&unfinished, place)?)
}

/// The target directory, and the folder of each example whose job names the plugin.
fn places(workspace: &Workspace, name: &str) -> Result<Vec<PathBuf>> {
    let file = format!("{name}.wasm");
    let mut places = vec![workspace.plugin_directory().join(&file)];
    for example in std::fs::read_dir(workspace.root.join("examples")).into_iter().flatten() {
        let example = example?.path();
        let job = std::fs::read_to_string(example.join("job.toml")).unwrap_or_default();
        if job.contains(&format!("\"plugins/{file}\"")) {
            places.push(example.join("plugins").join(&file));
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_module_is_written_only_when_its_bytes_differ() {
        let directory = tempfile::tempdir().unwrap();
        let (module, place) = (directory.path().join("a.wasm"), directory.path().join("p/a.wasm"));
        std::fs::write(&module, "one").unwrap();
        assert!(publish(&module, &place).unwrap());
        assert!(!publish(&module, &place).unwrap());
        std::fs::write(&module, "two").unwrap();
        assert!(publish(&module, &place).unwrap());
        assert_eq!(std::fs::read(&place).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
    }
}
