//! Measures the release build on generated data, as a process, from outside.
//!
//! Nothing is asserted here: the figures depend on the machine, and the tables begin with what it
//! is. A rival runs on the same machine, on the same files, right after.

mod data;
mod functions;
mod jobs;
mod kafka;
mod latency;
mod measure;
mod spark;
mod state;
mod tables;
mod throughput;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::bench::tables::Report;
use crate::plugins::{self, Profile};
use crate::process;
use crate::services;
use crate::setup;
use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct Options {
    /// Rows of the throughput measurement.
    #[arg(long, default_value_t = 5_000_000)]
    rows: u64,
    /// How often throughput, batches and reloads are measured, the peers and latency apart; the
    /// tables show the run of middle processor time, with the highest peak of memory.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Measures only this.
    #[arg(long, value_enum)]
    only: Option<Measurement>,
    /// Measures over a Kafka broker on this machine, instead of files.
    #[arg(long)]
    kafka: bool,
    /// Measures operators that keep state, instead of the reference job.
    #[arg(long, conflicts_with_all = ["kafka", "only", "rows"])]
    state: bool,
    /// Measures the functions that are used most, instead of the reference job.
    #[arg(long, conflicts_with_all = ["kafka", "state", "only", "rows", "runs", "tidemill"])]
    functions: bool,
    /// A broker that is running already; none: one is started, and stopped at the end.
    #[arg(long, value_name = "HOST:PORT", requires = "kafka")]
    bootstrap: Option<String>,
    /// Also measures a rival on the same data; may be given for each.
    #[arg(long, value_enum)]
    peer: Vec<Peer>,
    /// Measures this command, instead of building it.
    #[arg(long, value_name = "PATH")]
    tidemill: Option<PathBuf>,
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
    /// Over Kafka: from an order's production to the job's row for it, and what an idle job costs.
    Latency,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// PySpark 4.3.0 from PyPI, in a virtual environment in the target directory.
    Spark,
    /// Flink 2.3.0 from Maven Central, over Kafka only.
    Flink,
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
    /// Scripts of the rivals.
    peers: PathBuf,
    /// Writes to topics and reads them; built for the measurements over Kafka.
    load: PathBuf,
    /// Measures functions; built for that.
    functions: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    options.check()?;
    if options.starts_broker() {
        services::kafka::install(workspace)?;
    }
    let bench = Bench::prepare(workspace, options)?;
    let mut report = Report::new(options.markdown);
    if options.functions {
        functions::measure(&bench, &mut report)?;
    } else if options.state {
        state::measure(&bench, &mut report)?;
    } else if options.kafka {
        measure_kafka(workspace, &bench, &mut report)?;
    } else {
        measure_files(&bench, &mut report)?;
    }
    print!("{report}");
    Ok(())
}

fn measure_files(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    if bench.wants(Measurement::Throughput) {
        throughput::measure(bench, report)?;
    }
    if bench.wants(Measurement::Batch) {
        latency::measure_batches(bench, report)?;
    }
    if bench.wants(Measurement::Reload) {
        latency::measure_reload(bench, report)?;
    }
    Ok(())
}

fn measure_kafka(workspace: &Workspace, bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    if let Some(bootstrap) = &bench.options.bootstrap {
        kafka::end_on_signals(None)?;
        return kafka::measure(bench, bootstrap, report);
    }
    let broker = kafka::Broker::start(workspace)?;
    kafka::measure(bench, &broker.bootstrap()?, report)
}

impl Options {
    fn starts_broker(&self) -> bool {
        self.kafka && self.bootstrap.is_none()
    }

    /// What one of the two, files and Kafka, does not have.
    fn check(&self) -> Result<()> {
        let is_known = match self.only {
            None | Some(Measurement::Throughput) => true,
            Some(Measurement::Latency) => self.kafka,
            Some(Measurement::Batch | Measurement::Reload) => !self.kafka,
        };
        let with = if self.kafka { "with" } else { "without" };
        ensure!(is_known, "there is no such measurement {with} --kafka; leave --only out");
        ensure!(
            self.kafka || !self.peer.contains(&Peer::Flink),
            "Flink is measured over Kafka only; add --kafka"
        );
        Ok(())
    }
}

impl Bench<'_> {
    fn prepare<'a>(workspace: &Workspace, options: &'a Options) -> Result<Bench<'a>> {
        let directory = workspace.target.join("bench");
        let bench = Bench {
            options,
            tidemill: options.tidemill.clone().unwrap_or(workspace.target.join("release/tidemill")),
            native: workspace.target.join("release/examples/native"),
            deployed: directory.join("orders-deployed.wasm"),
            reloaded: directory.join("orders-reloaded.wasm"),
            directory,
            peers: workspace.root.join("xtask/peers"),
            load: workspace.target.join("release/examples/kafka_load"),
            functions: workspace.target.join("release/examples/function_speed"),
        };
        if options.functions {
            eprintln!("bench: building what measures functions, for release");
            let mut build = workspace.cargo();
            build.args(["build", "--release", "--package", "tidemill-plan"]);
            process::run(build.args(["--example", "function_speed"]))?;
            return Ok(bench);
        }
        if options.state {
            if options.tidemill.is_none() {
                build(workspace, options)?;
            }
            return Ok(bench);
        }
        let guest = setup::run()?;
        let publish = |profile, place: &Path| -> Result<()> {
            for (_, module) in plugins::build(workspace, &guest, profile, &["orders"])? {
                plugins::publish(&module, place)?;
            }
            Ok(())
        };
        let builds = if options.tidemill.is_none() {
            "and tidemill for release (from nothing some 25 minutes on two cores)"
        } else {
            "and what the measurement needs"
        };
        eprintln!("bench: building the plugin orders, {builds}");
        publish(Profile::Deploy, &bench.deployed)?;
        publish(Profile::Reload, &bench.reloaded)?;
        build(workspace, options)?;
        Ok(bench)
    }

    fn wants(&self, measurement: Measurement) -> bool {
        self.options.only.is_none_or(|only| only == measurement)
    }

    fn with_peer(&self, peer: Peer) -> bool {
        self.options.peer.contains(&peer)
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

/// Builds the command, and the programs of ours that it is measured with, for release.
fn build(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut build = workspace.cargo();
    build.args(["build", "--release"]);
    if options.tidemill.is_none() {
        build.args(["--package", "tidemill", "--bin", "tidemill"]);
    }
    if options.kafka {
        build.args(["--package", "tidemill-connectors", "--example", "kafka_load"]);
    } else if !options.state {
        build.args(["--package", "tidemill", "--example", "native"]);
    }
    process::run(&mut build)
}
