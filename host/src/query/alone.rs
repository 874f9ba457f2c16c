//! A plugin without a job around it: loaded and checked as a job's is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tidemill_plugin_host::{Module, PluginConfig};

use super::error::PrepareError;
use super::shared::Shared;

/// Loads the plugin at `path` under its file's name, with `config_json` for its settings.
///
/// It counts as granted what a job could grant: which targets there are is the job's to say, and
/// the functions that are called without one cannot reach any.
pub fn load_plugin(
    shared: &Shared,
    path: &Path,
    config_json: String,
) -> Result<Arc<Module>, PrepareError> {
    if !path.exists() {
        return Err(PrepareError::Invalid(format!(
            "there is no file {}; a plugin is the .wasm file that `cargo build --release --target \
             wasm32-unknown-unknown` makes in target/wasm32-unknown-unknown/release/",
            path.display()
        )));
    }
    let targets = BTreeSet::from(["those of a job".to_owned()]);
    let config = PluginConfig { config_json, targets, ..PluginConfig::default() };
    Ok(shared.host()?.load_file(&plugin_name(path), path, config)?)
}

/// What a job would call the plugin: its file's name without the ending.
#[must_use]
pub fn plugin_name(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
