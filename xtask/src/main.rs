//! `cargo xtask …`: the project's chores, in Rust, so that a checkout needs nothing but rustup.
//!
//! This package is built before everything else on a fresh machine. It stays light, and knows the
//! `tidemill` command only from outside: its arguments, its output, its exit status.

#![allow(
    clippy::disallowed_methods,
    reason = "file times and seeds come from the clock, and nothing is replayed"
)]

mod bench;
mod c_plugins;
mod demo;
mod fuzz;
mod picture;
mod plugins;
mod process;
mod progress;
mod requirements;
mod services;
mod setup;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::plugins::Profile;
use crate::services::kafka;
use crate::workspace::Workspace;

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
#[command(after_help = "Examples:
  cargo xtask demo      see it run: orders, a plugin, SQL windows, SQLite; --kafka: on topics
  cargo xtask test      everything that has to hold before a change goes in
  cargo xtask plugins   build the plugins after a change

Build products go to CARGO_TARGET_DIR, or to target/ in the checkout.")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Gets what the build needs and rustup and git do not bring.
    #[command(after_help = "Examples:
  cargo xtask setup

Done again, it finds everything in place and ends at once. The other chores do it by themselves.")]
    Setup,
    /// Builds the plugins for WebAssembly.
    #[command(after_help = "Examples:
  cargo xtask plugins             for tests and the reload loop: built in about a second
  cargo xtask plugins --release   as they are deployed: smaller and faster

The modules go to plugins/ in the target directory, and beside the example jobs that use them.")]
    Plugins {
        /// Optimises as for deployment.
        #[arg(long)]
        release: bool,
    },
    /// Checks format, lints and dependencies. Warnings are errors.
    #[command(after_help = "Examples:
  cargo xtask lint")]
    Lint,
    /// Sets up, builds the plugins, checks format and lints, and runs all tests.
    #[command(after_help = "Examples:
  cargo xtask test                 everything, as the continuous integration does
  cargo xtask test late_rows       only tests whose name contains late_rows; no lints
  cargo xtask test --long          with the tests that take minutes, too

A Kafka broker is started for the tests and stopped after them. One that runs already saves the
seconds: cargo xtask kafka start --instance test --port 19192 --secure")]
    Test(test::Options),
    /// Looks for bytes that break what takes them, with a fuzzer.
    #[command(after_help = "Examples:
  cargo xtask fuzz                          every target for a minute
  cargo xtask fuzz csv sql --seconds 3600   two of them for an hour

What was found once is in tests/fuzz/corpus, and tried again by every cargo xtask test.")]
    Fuzz(fuzz::Options),
    /// Runs the orders job on a stream of made-up orders, with a plugin that you can edit.
    #[command(after_help = "Examples:
  cargo xtask demo                  one minute; started again, it continues where it stopped
  cargo xtask demo --seconds 600    ten minutes, or until Ctrl-C
  cargo xtask demo --fresh          forgets what earlier demos left
  cargo xtask demo --kafka          without the plugin, over topics of a Kafka broker")]
    Demo(demo::Options),
    /// Measures throughput, memory, latency, the cost of a batch, of a start and of a plugin's reload.
    #[command(after_help = "Examples:
  cargo xtask bench                           all measurements
  cargo xtask bench --only throughput         one of them
  cargo xtask bench --peer spark              and Spark on the same data (python3, a JDK 17, PyPI)
  cargo xtask bench --kafka                   over a Kafka broker of its own (a JDK 17, maven)
  cargo xtask bench --kafka --peer spark --peer flink
                                              and Spark and Flink on the same topics
  cargo xtask bench --markdown                the tables as docs/benchmarks.md has them")]
    Bench(bench::Options),
    /// Draws a batch of a trace as an SVG.
    #[command(after_help = "Examples:
  tidemill run job.toml --trace trace.json
  cargo xtask picture trace.json --output batch.svg
  cargo xtask picture trace.json --batch 7 --output batch.svg")]
    Picture(picture::Options),
    /// Runs a Kafka broker on loopback, for the tests, the demo, or jobs of your own.
    #[command(arg_required_else_help = true)]
    #[command(after_help = "Examples:
  cargo xtask kafka start                                     127.0.0.1:9092, until it is stopped
  cargo xtask kafka start --instance mine --port 9192 --secure
  cargo xtask kafka topic orders payments --partitions 2      makes topics on a broker that runs
  cargo xtask kafka status
  cargo xtask kafka wipe --instance mine

A broker is one process (Java 17 or newer; some 350 MB of memory) with its data in services/ in the
target directory. `start` of a broker that runs prints how to reach it.")]
    Kafka {
        #[command(subcommand)]
        chore: kafka::Chore,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match chore {
        Chore::Setup => {
            setup::run()?;
            kafka::install(&workspace)?;
            eprintln!("setup: everything is in place");
            Ok(())
        }
        Chore::Plugins { release } => {
            let guest = setup::run()?;
            let profile = if release { Profile::Deploy } else { Profile::Reload };
            plugins::build_and_publish(&workspace, &guest, profile)?;
            match c_plugins::ready(&workspace) {
                Ok(generator) => c_plugins::build_and_publish(&workspace, &generator),
                Err(error) => {
                    eprintln!("plugins: leaving out those in C: {error:#}");
                    Ok(())
                }
            }
        }
        Chore::Lint => test::lint(&workspace),
        Chore::Test(options) => test::run(&workspace, &options),
        Chore::Fuzz(options) => fuzz::run(&workspace, &options),
        Chore::Demo(options) => demo::run(&workspace, &options),
        Chore::Bench(options) => bench::run(&workspace, &options),
        Chore::Picture(options) => picture::run(&options),
        Chore::Kafka { chore } => kafka::run(&workspace, &chore),
    }
}
