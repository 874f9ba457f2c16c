//! The `tidemill` command.

mod arguments;
mod check;
mod report;
mod run;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use self::arguments::{Arguments, Verb};

/// The query ended well.
const ENDED_WELL: u8 = 0;
/// The query failed.
const FAILED: u8 = 1;
/// The job, the arguments or a plugin are wrong; nothing was started.
const REFUSED: u8 = 2;

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("TIDEMILL_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let code = match arguments.verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Check(arguments) => check::check(&arguments),
    };
    ExitCode::from(code)
}

/// Says what went wrong on standard error.
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("error: {error}");
}
