//! The SDK as the command has it in it, and the versions of other crates that it was tested with.

use std::collections::BTreeSet;
use std::path::Path;

use toml_edit::{DocumentMut, Item, TableLike, value};

use super::NewFile;

/// Where a new plugin has it. Not in `.tidemill/`, which holds checkpoints and is thrown away.
const FOLDER: &str = "tidemill-sdk";

/// Files of the checkout, by their places in it: the packages of the SDK, and the workspace's
/// `Cargo.toml` and `Cargo.lock`.
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

const MANIFEST: &str = "Cargo.toml";
const LOCK: &str = "Cargo.lock";

/// The packages, as they lie in the checkout, in a workspace of their own.
pub(super) fn files() -> Vec<NewFile> {
    let of_packages = EMBEDDED.iter().filter(|(place, _)| *place != MANIFEST && *place != LOCK);
    let folder = Path::new(FOLDER);
    let mut files: Vec<NewFile> =
        of_packages.map(|(place, content)| (folder.join(place), (*content).to_owned())).collect();
    files.push((folder.join(MANIFEST), workspace().to_string()));
    files
}

/// The checkout's `Cargo.toml` with what concerns these packages.
fn workspace() -> DocumentMut {
    let manifests = || EMBEDDED.iter().filter(|(place, _)| place.ends_with("/Cargo.toml"));
    let members = manifests().filter_map(|(place, _)| place.strip_suffix("/Cargo.toml"));
    let mut used = BTreeSet::new();
    for (_, manifest) in manifests() {
        let manifest = parsed(manifest);
        // Those for one target stand in a table of its own.
        let targets = manifest.get("target").and_then(Item::as_table_like);
        let targets = targets.into_iter().flat_map(TableLike::iter);
        let tables = targets.filter_map(|(_, target)| target.get("dependencies"));
        let tables = tables.chain(manifest.get("dependencies"));
        let names = tables.filter_map(Item::as_table_like).flat_map(TableLike::iter);
        used.extend(names.map(|(name, _)| name.to_owned()));
    }
    let mut document = parsed(embedded(MANIFEST));
    document.retain(|key, _| key == "workspace");
    let workspace = document.get_mut("workspace").and_then(Item::as_table_mut);
    if let Some(workspace) = workspace {
        workspace.retain(|key, _| ["resolver", "package", "dependencies", "lints"].contains(&key));
        workspace.insert("members", value(members.collect::<toml_edit::Array>()));
        let dependencies = workspace.get_mut("dependencies").and_then(Item::as_table_mut);
        if let Some(dependencies) = dependencies {
            dependencies.retain(|name, _| used.contains(name));
            for (mut name, _) in dependencies.iter_mut() {
                name.leaf_decor_mut().clear();
            }
        }
    }
    document
}

/// The checkout's `Cargo.lock`: with the first build cargo leaves in it what the plugin is built of.
pub(super) fn lock() -> String {
    embedded(LOCK).to_owned()
}

fn embedded(place: &str) -> &'static str {
    let file = EMBEDDED.iter().find(|(known, _)| *known == place);
    file.map(|(_, content)| *content).expect("the build script embeds it")
}

fn parsed(text: &str) -> DocumentMut {
    text.parse().expect("cargo has read it when it built the command")
}
