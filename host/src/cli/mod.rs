//! The `tidemill` command.

mod arguments;
mod check;
mod logging;
mod report;
mod run;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, RunArguments, Verb};
use crate::observe::Trace;

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
    let code = match arguments.verb {
        Verb::Run(arguments) => run_logged(&arguments),
        Verb::Check(arguments) => {
            logging::start(None);
            check::check(&arguments)
        }
    };
    ExitCode::from(code)
}

fn run_logged(arguments: &RunArguments) -> u8 {
    let Some(path) = &arguments.trace else {
        logging::start(None);
        return run::run(arguments, None);
    };
    match Trace::create(path, arguments.trace_batches) {
        Ok(trace) => {
            logging::start(Some(&trace));
            let code = run::run(arguments, Some(&trace));
            trace.finish();
            code
        }
        Err(error) => {
            complain(&format!("--trace {} cannot be written: {error}", path.display()));
            REFUSED
        }
    }
}

/// Says what went wrong on standard error.
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("error: {error}");
}
