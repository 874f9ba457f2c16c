//! `tidemill new`: a plugin or a job to begin with, which build and run at once.

mod sdk;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tidemill_core::Secrets;

use super::arguments::{NewArguments, NewKind};
use super::check::code_of;
use super::{ENDED_WELL, FAILED, REFUSED, complain};
use crate::exhausted::is_exhausted;
use crate::print::print;

/// Bytes of a name: files, which may have 255, are named by it.
const NAME_BYTES_MAX: usize = 64;

/// Names of crates that a plugin is built with, or that every crate has.
const TAKEN: [&str; 9] =
    ["alloc", "arrow", "core", "log", "proc_macro", "serde", "std", "test", "tidemill_plugin"];

/// A file of a new project: where it is, and what is in it.
type NewFile = (PathBuf, String);

/// Writes the project, and says what to do with it.
pub(super) fn new(arguments: &NewArguments) -> u8 {
    let (kind, named) = match &arguments.kind {
        NewKind::Plugin(named) => ("plugin", named),
        NewKind::Job(named) => ("job", named),
    };
    let nothing = Secrets::default();
    if let Err(reason) = check_name(kind, &named.name) {
        complain(&nothing, &reason);
        return REFUSED;
    }
    let directory = named.path.clone().unwrap_or_else(|| PathBuf::from(&named.name));
    let files = match &arguments.kind {
        NewKind::Plugin(_) => plugin(&named.name),
        NewKind::Job(_) => job(&named.name),
    };
    if let Err(error) = write_all(&directory, &files) {
        let place = directory.display();
        if error.kind() == ErrorKind::AlreadyExists {
            complain(
                &nothing,
                &format!(
                    "{place} is there already, and stays as it is; take another name, or say where \
                     with --path DIR"
                ),
            );
            return REFUSED;
        }
        complain(&nothing, &format!("{place} cannot be written: {error}"));
        return code_of(is_exhausted(&error));
    }
    match print(&next_steps(&arguments.kind, &named.name, &directory)) {
        Ok(()) => ENDED_WELL,
        Err(_) => FAILED,
    }
}

/// Refuses what is no name of a crate, of a table in a job and of a directory all at once.
fn check_name(kind: &str, name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let begins = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    if !begins || !name.chars().all(is_plain) || name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "\"{}\" is no name for a {kind}: it begins with a letter from a to z, has letters, \
             digits, - and _, and at most {NAME_BYTES_MAX} of them; where it goes, --path DIR says",
            name.chars().take(NAME_BYTES_MAX).collect::<String>().escape_debug()
        ));
    }
    if kind == "plugin" && TAKEN.contains(&library(name).as_str()) {
        return Err(format!(
            "a plugin cannot be called {name}: a crate that it needs has the name"
        ));
    }
    Ok(())
}

/// The name of the crate's files.
fn library(name: &str) -> String {
    name.replace('-', "_")
}

fn filled(template: &str, name: &str) -> String {
    template
        .replace("{name}", name)
        .replace("{library}", &library(name))
        .replace("{version}", env!("CARGO_PKG_VERSION"))
}

fn plugin(name: &str) -> Vec<NewFile> {
    let file = |path: &str, template: &str| (PathBuf::from(path), filled(template, name));
    let mut files = vec![
        file("Cargo.toml", include_str!("plugin/Cargo.toml.txt")),
        file(".cargo/config.toml", include_str!("plugin/config.toml.txt")),
        file(".gitignore", "/target\n/.tidemill\n"),
        file("README.md", include_str!("plugin/README.md")),
        file("src/lib.rs", include_str!("plugin/lib.rs")),
        file("job.toml", include_str!("plugin/job.toml.txt")),
        file("input/0001.json", include_str!("plugin/input.json")),
        file("job.test/first/batches/0/raw.jsonl", include_str!("plugin/input.json")),
        file("job.test/first/expected.jsonl", include_str!("plugin/expected.jsonl")),
        file("tidemill-sdk/README.md", include_str!("plugin/sdk.md")),
        (PathBuf::from("Cargo.lock"), sdk::lock()),
    ];
    files.extend(sdk::files());
    files
}

fn job(name: &str) -> Vec<NewFile> {
    let file = |path: &str, template: &str| (PathBuf::from(path), filled(template, name));
    vec![
        file("job.toml", include_str!("job/job.toml.txt")),
        file("input/0001.json", include_str!("job/input.json")),
        file(".gitignore", "/.tidemill\n"),
        file("README.md", include_str!("job/README.md")),
        file("job.test/first/batches/0/sales.jsonl", include_str!("job/first.jsonl")),
        file("job.test/first/batches/1/sales.jsonl", include_str!("job/second.jsonl")),
        file("job.test/first/expected.jsonl", include_str!("job/expected.jsonl")),
    ]
}

/// Makes the directory and all in it. If that fails, what was made of it is taken away again.
fn write_all(directory: &Path, files: &[NewFile]) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    // Not with those above it: of a directory that is there already nothing may be touched.
    fs::create_dir(directory)?;
    let written = files.iter().try_for_each(|(path, content)| {
        let place = directory.join(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::create_new(&place)?.write_all(content.as_bytes())
    });
    if written.is_err() {
        // The first error is the one that tells.
        let _ = fs::remove_dir_all(directory);
    }
    written
}

fn next_steps(kind: &NewKind, name: &str, directory: &Path) -> String {
    let place = directory.display();
    let (what, steps) = match kind {
        NewKind::Plugin(_) => (
            "plugin",
            "  rustup target add wasm32-unknown-unknown        # once\n  cargo test                                      # its functions, on this machine\n  cargo plugin                                    # builds the .wasm file\n",
        ),
        NewKind::Job(_) => ("job", "  tidemill check job.toml\n  tidemill test job.toml\n"),
    };
    format!(
        "made the {what} {name} in {place}; to run it:\n\n  cd {place}\n{steps}  tidemill run job.toml --trigger available-now\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_crate_a_table_and_a_directory() {
        for name in ["till", "till-2", "Till_3", "a"] {
            assert_eq!(check_name("plugin", name), Ok(()));
        }
        for name in
            ["", "2till", "a b", "../a", "a/b", "-a", "ä", "a.b", "serde", "tidemill-plugin"]
        {
            assert!(check_name("plugin", name).is_err(), "{name}");
        }
        assert_eq!(check_name("job", "serde"), Ok(()));
    }
}
