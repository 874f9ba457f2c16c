//! Makes the sources of the SDK part of the command: `tidemill new plugin` writes them beside the
//! new plugin, which so builds without a checkout.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The packages that a plugin is built with, and of each what is compiled.
const PACKAGES: [&str; 4] = ["plugin-sdk", "plugin-sdk/macros", "host/block", "host/types"];
const PARTS: [&str; 3] = ["Cargo.toml", "src", "wit"];
/// What says which versions of other crates they need, and which are tested.
const OF_WORKSPACE: [&str; 2] = ["Cargo.toml", "Cargo.lock"];

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let root = variable("CARGO_MANIFEST_DIR")?.join("..");
    let mut files: Vec<PathBuf> = OF_WORKSPACE.iter().map(PathBuf::from).collect();
    for package in PACKAGES {
        for part in PARTS {
            add(&root, &Path::new(package).join(part), &mut files)?;
        }
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        let place = root.join(&file);
        println!("cargo::rerun-if-changed={}", place.display());
        // Writing to a string does not fail.
        let _ = writeln!(table, "    ({file:?}, include_str!({place:?})),");
    }
    table.push_str("]\n");
    fs::write(variable("OUT_DIR")?.join("sdk.rs"), table)
}

/// All files of a folder, or the one file that it is.
fn add(root: &Path, place: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let at = root.join(place);
    if at.is_file() {
        files.push(place.to_owned());
    } else if at.is_dir() {
        println!("cargo::rerun-if-changed={}", at.display());
        for entry in fs::read_dir(&at)? {
            add(root, &place.join(entry?.file_name()), files)?;
        }
    }
    Ok(())
}
