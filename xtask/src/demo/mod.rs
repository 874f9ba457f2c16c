//! Jobs to look at: made-up orders in, sums on the screen.

mod files;
mod job;
mod kafka;
mod orders;
mod watch;

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::process;
use crate::workspace::Workspace;

/// How often the keyboard, the clock and the plugin's sources are looked at.
const TICK: Duration = Duration::from_millis(200);

/// Records between the threads that read them and the one that counts them. There are a few a
/// second; the bound only has to outlast a rebuild of the plugin.
const RECORDS_MAX: usize = 256;

#[derive(Args)]
pub(crate) struct Options {
    /// How long it runs, unless Ctrl-C ends it sooner.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Forgets what earlier demos left.
    #[arg(long)]
    fresh: bool,
    /// Runs jobs on topics of a Kafka broker that is started for it, instead of files and a plugin.
    #[arg(long)]
    kafka: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.kafka { kafka::run(workspace, options) } else { files::run(workspace, options) }
}

/// Builds the command.
fn build(workspace: &Workspace) -> Result<()> {
    eprintln!("demo: building tidemill (from nothing some 15 minutes on two cores)");
    // All of the workspace chooses the dependencies' features: they are built once for the tests
    // and for this.
    process::run(workspace.cargo().args(["build", "--workspace", "--bin", "tidemill"]))
}

/// Says what is to be seen.
fn introduce(lines: &[String]) {
    let rule = "-".repeat(90);
    eprintln!("+-{rule}");
    for line in lines {
        eprintln!("| {line}");
    }
    eprintln!("+-{rule}");
}
