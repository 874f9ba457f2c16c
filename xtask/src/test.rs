//! Everything that has to hold before a change goes in.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::process;
use crate::requirements;
use crate::tools::DENY;
use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct Options {
    /// Runs only tests whose name contains this, and no lints.
    filter: Option<String>,
    /// Runs the tests that take minutes, too (they see TIDEMILL_LONG=1).
    #[arg(long)]
    long: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut stages = Stages::default();
    // Ctrl-C ends what cargo runs. We go on, to stop the servers; a second one ends us, too.
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, Arc::clone(&stages.interrupted))?;
        flag::register(signal, Arc::clone(&stages.interrupted))?;
    }
    let supplies = stages.required("requirements", || requirements::ensure_all(workspace))?;
    if options.filter.is_none() {
        lint_stages(workspace, &mut stages)?;
    }
    let left_out = supplies.left_out.iter().flat_map(|package| ["--exclude", package]);
    let left_out: Vec<&str> = left_out.collect();
    // `cargo test` alone does not build the command, which other packages' tests start.
    stages.required("build", || {
        eprintln!("test: building (from nothing some 20 minutes on two cores)");
        let mut build = workspace.cargo();
        build.args(["build", "--workspace", "--all-targets"]).args(&left_out);
        process::run(&mut build)
    })?;
    stages.tried("tests", || {
        let mut test = workspace.cargo();
        test.args(["test", "--workspace", "--no-fail-fast"]).args(&left_out);
        test.args(&options.filter).env("TIDEMILL_PLUGIN_DIR", workspace.plugin_directory());
        test.envs(supplies.variables.iter().map(|(name, value)| (name, value)));
        if options.long {
            test.env("TIDEMILL_LONG", "1");
        }
        if !supplies.missing.is_empty() {
            test.env("TIDEMILL_WITHOUT", supplies.missing.join(","));
        }
        process::run(&mut test)
    })?;
    stages.finish(&supplies.left_out)
}

pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    let mut stages = Stages::default();
    lint_stages(workspace, &mut stages)?;
    stages.finish(&[])
}

fn lint_stages(workspace: &Workspace, stages: &mut Stages) -> Result<()> {
    stages.tried("format", || process::run(workspace.cargo().args(["fmt", "--all", "--check"])))?;
    stages.tried("lints", || {
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        process::run(workspace.cargo().args(clippy))
    })?;
    stages.tried("dependencies", || dependencies(workspace))
}

/// Licences, sources and versions of dependencies against `deny.toml`, and known faults of them
/// where the list of those can be had.
fn dependencies(workspace: &Workspace) -> Result<()> {
    let program = DENY.ensure(workspace)?;
    let deny = || {
        let mut command = Command::new(&program);
        command.current_dir(&workspace.root).args(["--all-features"]);
        command
    };
    process::run(deny().args(["--offline", "check", "bans", "licenses", "sources"]))?;
    if let Err(error) = process::output(deny().args(["fetch", "db"])) {
        eprintln!("test: advisories of dependencies are left out: {error:#}");
        return Ok(());
    }
    process::run(deny().args(["check", "--disable-fetch", "advisories"]))
}

/// What was done, how long it took, and what of it failed.
#[derive(Default)]
struct Stages {
    done: Vec<(&'static str, Duration)>,
    failed: Vec<String>,
    /// Whether somebody asked for an end.
    interrupted: Arc<AtomicBool>,
}

impl Stages {
    /// A stage without which the rest makes no sense.
    fn required<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begin = Instant::now();
        let result = work();
        self.done.push((name, begin.elapsed()));
        eprintln!("test: {name} took {:.1} s", begin.elapsed().as_secs_f64());
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted during {name}");
        }
        result
    }

    /// A stage after which the others still tell something.
    fn tried(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let result = self.required(name, || Ok(work()))?;
        if let Err(error) = result {
            self.failed.push(format!("{name}: {error:#}"));
        }
        Ok(())
    }

    fn finish(self, left_out: &[&str]) -> Result<()> {
        let times = self.done.iter().map(|(name, time)| format!("{name} {} s", time.as_secs()));
        eprintln!("test: {}", times.collect::<Vec<_>>().join(", "));
        if !left_out.is_empty() {
            eprintln!("test: left out: {}", left_out.join(", "));
        }
        if !self.failed.is_empty() {
            bail!("{}", self.failed.join("\n       "));
        }
        eprintln!("test: all is well");
        Ok(())
    }
}
