//! Where things are: the checkout, the target directory, the plugins' packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// The checkout, as cargo sees it.
#[derive(Clone)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// Names of the packages under `plugins/`.
    pub(crate) plugins: Vec<String>,
}

impl Workspace {
    pub(crate) fn find() -> Result<Workspace> {
        // Asked when it runs and not when it is built: checkouts that share a target directory also
        // share this program.
        let package = std::env::var_os("CARGO_MANIFEST_DIR");
        let package = package.context("run this as `cargo xtask`, which says where it is")?;
        let metadata = process::output(
            cargo()
                .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
                .arg(Path::new(&package).join("../Cargo.toml")),
        )?;
        let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
        let text = |value: &Value, key: &str| {
            let text = value[key].as_str().map(str::to_owned);
            text.with_context(|| format!("cargo metadata has no {key}"))
        };
        let root = PathBuf::from(text(&metadata, "workspace_root")?);
        let mut plugins = Vec::new();
        for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
            let manifest = PathBuf::from(text(package, "manifest_path")?);
            if manifest.starts_with(root.join("plugins")) {
                plugins.push(text(package, "name")?);
            }
        }
        Ok(Workspace { target: text(&metadata, "target_directory")?.into(), root, plugins })
    }

    /// Cargo for the host, in this checkout.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }

    /// Where the built plugins lie.
    pub(crate) fn plugin_directory(&self) -> PathBuf {
        self.target.join("plugins")
    }
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
}
