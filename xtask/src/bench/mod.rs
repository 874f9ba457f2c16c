//! Measures the release build on generated data, as a process, from outside.
//!
//! Nothing is asserted here: the figures depend on the machine, and the tables begin with what it
//! is. A rival runs on the same machine, on the same files, right after.

mod data;
mod jobs;
mod latency;
mod measure;
mod spark;
mod tables;
mod throughput;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::bench::tables::Report;
use crate::plugins::{self, Profile};
use crate::process;
use crate::setup;
use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct Options {
    /// Rows of the throughput measurement.
    #[arg(long, default_value_t = 5_000_000)]
    rows: u64,
    /// How often each thing is measured; the tables show the median.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Measures only this.
    #[arg(long, value_enum)]
    only: Option<Measurement>,
    /// Also measures a rival on the same data.
    #[arg(long, value_enum)]
    peer: Option<Peer>,
    /// Prints the tables as markdown.
    #[arg(long)]
    markdown: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Rows a second, processor time and memory, with and without a plugin.
    Throughput,
    /// The time from a process' start to its first batch, and what a batch of ten rows costs.
    Batch,
    /// The time from a plugin's new file to the first batch on it.
    Reload,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// PySpark 4.3.0 from PyPI, in a virtual environment in the target directory.
    Spark,
}

/// What the measurements share.
struct Bench<'a> {
    options: &'a Options,
    /// The command.
    tidemill: PathBuf,
    /// Runs a job with the plugin `orders` replaced by the same code compiled in.
    native: PathBuf,
    /// Generated data, jobs and checkpoints.
    directory: PathBuf,
    /// The plugin `orders`, as deployed and as the reload loop builds it.
    deployed: PathBuf,
    reloaded: PathBuf,
    peer_script: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let bench = Bench::prepare(workspace, options)?;
    let mut report = Report::new(options.markdown);
    let wanted = |measurement| options.only.is_none_or(|only| only == measurement);
    if wanted(Measurement::Throughput) {
        throughput::measure(&bench, &mut report)?;
    }
    if wanted(Measurement::Batch) {
        latency::measure_batches(&bench, &mut report)?;
    }
    if wanted(Measurement::Reload) {
        latency::measure_reload(&bench, &mut report)?;
    }
    print!("{report}");
    Ok(())
}

impl Bench<'_> {
    fn prepare<'a>(workspace: &Workspace, options: &'a Options) -> Result<Bench<'a>> {
        let guest = setup::run()?;
        let directory = workspace.target.join("bench");
        let module = |profile, name: &str| -> Result<PathBuf> {
            let place = directory.join(name);
            for (_, module) in plugins::build(workspace, &guest, profile, &["orders"])? {
                plugins::publish(&module, &place)?;
            }
            Ok(place)
        };
        eprintln!(
            "bench: building the plugin orders, and tidemill for release (from nothing some 25 minutes on two cores)"
        );
        let deployed = module(Profile::Deploy, "orders-deployed.wasm")?;
        let reloaded = module(Profile::Reload, "orders-reloaded.wasm")?;
        let build = ["build", "--release", "--package", "tidemill", "--bin", "tidemill"];
        process::run(workspace.cargo().args(build).args(["--example", "native"]))?;
        Ok(Bench {
            options,
            tidemill: workspace.target.join("release/tidemill"),
            native: workspace.target.join("release/examples/native"),
            directory,
            deployed,
            reloaded,
            peer_script: workspace.root.join("xtask/peers/spark_files.py"),
        })
    }

    fn with_peer(&self) -> bool {
        self.options.peer == Some(Peer::Spark)
    }

    /// Measures something as often as asked, and gives the middle one by `key`.
    fn median<T>(&self, mut one: impl FnMut() -> Result<T>, key: impl Fn(&T) -> f64) -> Result<T> {
        let runs = 0..self.options.runs;
        let mut runs = runs.map(|_| one()).collect::<Result<Vec<T>>>()?;
        runs.sort_by(|a, b| key(a).total_cmp(&key(b)));
        let middle = (runs.len() - 1) / 2;
        Ok(runs.swap_remove(middle))
    }
}
