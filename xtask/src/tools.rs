//! Programs of cargo's world that chores call. They are built once, into the target directory, in
//! one version: what a check finds does not depend on the machine.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// A program that `cargo install` brings.
pub(crate) struct Tool {
    package: &'static str,
    program: &'static str,
    version: &'static str,
    /// Of the package, in place of those that it has by default.
    features: Option<&'static str>,
    /// How long its build takes on two cores.
    takes: &'static str,
}

/// Checks licences, sources, versions and advisories of dependencies.
pub(crate) const DENY: Tool = Tool {
    package: "cargo-deny",
    program: "cargo-deny",
    version: "0.20.2",
    features: None,
    takes: "about three minutes",
};

/// Feeds a function with bytes, and looks which code they reach.
pub(crate) const FUZZ: Tool = Tool {
    package: "cargo-fuzz",
    program: "cargo-fuzz",
    version: "0.13.2",
    features: None,
    takes: "about a minute",
};

/// Writes C for an interface. As a library of ours it would ask what the host is built of for other
/// features, and everything would be built twice. Its version is that of the bindings for Rust.
pub(crate) const WIT_BINDGEN: Tool = Tool {
    package: "wit-bindgen-cli",
    program: "wit-bindgen",
    version: "0.61.1",
    features: Some("c"),
    takes: "about two minutes",
};

impl Tool {
    /// The program, which is built where it is not there.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        // The version is in the path: another one is another program.
        let root =
            workspace.target.join("tools").join(format!("{}-{}", self.package, self.version));
        let program = root.join("bin").join(self.program);
        if program.is_file() {
            return Ok(program);
        }
        let Tool { package, version, takes, .. } = self;
        eprintln!("setup: building {package} {version} ({takes}, once)");
        let mut install = workspace.cargo();
        install
            .args(["install", package, "--version", version, "--locked", "--quiet"])
            // It runs for a second: the time is in its build.
            .args(["--profile", "dev", "--root"])
            .arg(&root)
            .env("CARGO_TARGET_DIR", workspace.target.join("tools/build"));
        if let Some(features) = self.features {
            install.args(["--no-default-features", "--features", features]);
        }
        process::run(&mut install).with_context(|| format!("{package} could not be built"))?;
        Ok(program)
    }
}
