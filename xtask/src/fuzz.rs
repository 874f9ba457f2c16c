//! Looks for bytes that break what takes them, with a fuzzer that sees which code they reach.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;
use crate::tools::FUZZ;
use crate::workspace::Workspace;

/// Where the fuzzers are, in the checkout; the corpora are beside them.
const FUZZERS: &str = "tests/fuzz/libfuzzer";
const CORPORA: &str = "tests/fuzz/corpus";

#[derive(Args)]
pub(crate) struct Options {
    /// What takes bytes: csv, ddl, job, json, … Without, all, one after the other.
    targets: Vec<String>,
    /// How long each is fed.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let all = targets(&workspace.root.join(CORPORA))?;
    if let Some(unknown) = options.targets.iter().find(|target| !all.contains(target)) {
        bail!("there is no target \"{unknown}\"; there are {}", all.join(", "));
    }
    let chosen = if options.targets.is_empty() { &all } else { &options.targets };
    let program = FUZZ.ensure(workspace)?;
    let found = workspace.target.join("fuzz");
    for target in chosen {
        eprintln!(
            "fuzz: {target} for {} s (its first build takes some 30 minutes)",
            options.seconds
        );
        // What it finds out on its way is kept beside what was built; the corpus stays as it is.
        let learnt = found.join("corpus").join(target);
        fs::create_dir_all(&learnt)?;
        let mut fuzz = workspace.cargo();
        fuzz.arg("fuzz").args(["run", "--sanitizer", "none", "--fuzz-dir", FUZZERS]);
        fuzz.arg("--target-dir").arg(found.join("build")).arg(target);
        fuzz.arg(&learnt).arg(workspace.root.join(CORPORA).join(target));
        fuzz.args(["--", "-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1"]);
        fuzz.arg(format!("-max_total_time={}", options.seconds));
        // `cargo fuzz` is found as cargo finds all its commands.
        let tools = program.parent().context("a program is in a folder")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(tools.to_owned()).chain(std::env::split_paths(&path));
        fuzz.env("PATH", std::env::join_paths(path)?);
        process::run(&mut fuzz).with_context(|| {
            format!(
                "{target} broke: lay the bytes that it names into {CORPORA}/{target}, and mend it"
            )
        })?;
    }
    Ok(())
}

fn targets(corpora: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(corpora).with_context(|| corpora.display().to_string())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
