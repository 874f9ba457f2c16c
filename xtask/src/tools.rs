//! Programs of cargo's world that chores call. They are built once, into the target directory, in
//! one version: what a check finds does not depend on the machine.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// A program that `cargo install` brings.
pub(crate) struct Tool {
    /// Its package, which is its name, too.
    package: &'static str,
    version: &'static str,
    /// How long its build takes on two cores.
    takes: &'static str,
}

/// Checks licences, sources, versions and advisories of dependencies.
pub(crate) const DENY: Tool =
    Tool { package: "cargo-deny", version: "0.20.2", takes: "about three minutes" };

/// Feeds a function with bytes, and looks which code they reach.
pub(crate) const FUZZ: Tool =
    Tool { package: "cargo-fuzz", version: "0.13.2", takes: "about a minute" };

impl Tool {
    /// The program, which is built where it is not there.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        // The version is in the path: another one is another program.
        let root =
            workspace.target.join("tools").join(format!("{}-{}", self.package, self.version));
        let program = root.join("bin").join(self.package);
        if program.is_file() {
            return Ok(program);
        }
        let Tool { package, version, takes } = self;
        eprintln!("setup: building {package} {version} ({takes}, once)");
        let mut install = workspace.cargo();
        install
            .args(["install", package, "--version", version, "--locked", "--quiet"])
            // It runs for a second: the time is in its build.
            .args(["--profile", "dev", "--root"])
            .arg(&root)
            .env("CARGO_TARGET_DIR", workspace.target.join("tools/build"));
        process::run(&mut install).with_context(|| format!("{package} could not be built"))?;
        Ok(program)
    }
}
