//! The `tidemill` command.

mod answer;
mod arguments;
mod build;
mod call;
mod check;
mod dev;
mod differences;
mod dlq;
mod functions;
mod inspect;
mod logging;
mod new;
mod plugins;
mod printed_rows;
mod renewal;
mod replay;
mod report;
mod run;
mod signals;
mod skip;
mod table;
mod test;
mod watching;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use tidemill_core::Secrets;

use self::arguments::{Arguments, Changes, Verb};
use self::check::code_of;
use crate::job::Job;
use crate::print::{print, say};

/// The query ended well.
const ENDED_WELL: u8 = 0;
/// The query failed, or what it needs is not there at the moment.
const FAILED: u8 = 1;
/// The job, the arguments or a plugin are wrong; nothing was started.
const REFUSED: u8 = 2;
/// Of a process that a second signal ended, by the shells' custom.
const INTERRUPTED: u8 = 130;
/// Of one whose reader has gone, by the same custom: 128 and the number of SIGPIPE.
const UNREAD: u8 = 141;

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ExitCode::from(match arguments.verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Dev(arguments) => dev::dev(&arguments),
        Verb::Check(arguments) => check::check(&arguments),
        Verb::Functions(arguments) => functions::functions(&arguments),
        Verb::Inspect(arguments) => inspect::inspect(&arguments),
        Verb::Call(arguments) => call::call(&arguments),
        Verb::Build(arguments) => build::build(&arguments),
        Verb::New(arguments) => new::new(&arguments),
        Verb::Dlq(arguments) => dlq::dlq(&arguments),
        Verb::Skip(arguments) => skip::skip(&arguments),
        Verb::Replay(arguments) => replay::replay(&arguments),
        Verb::Test(arguments) => test::test(&arguments),
        Verb::Plugins(arguments) => plugins::plugins(&arguments),
    })
}

/// Says what went wrong on standard error.
fn complain(secrets: &Secrets, error: &dyn std::fmt::Display) {
    say(&secrets.conceal(&format!("error: {error}")));
}

/// Begins to log for a verb that runs no job, or gives the status to end with.
fn begin() -> Result<(), u8> {
    let nothing = Secrets::default();
    let filter = logging::filter().map_err(|error| {
        complain(&nothing, &error);
        REFUSED
    })?;
    logging::start(filter, None, &nothing);
    Ok(())
}

/// Reads the job of a verb, and begins to log for it; or gives the status to end with.
fn job_of(path: &Path, changes: &Changes) -> Result<Job, u8> {
    let nothing = Secrets::default();
    let asked = logging::filter().and_then(|filter| Ok((filter, changes.parsed()?)));
    let (filter, overrides) = asked.map_err(|error| {
        complain(&nothing, &error);
        REFUSED
    })?;
    let job = Job::read(path, &overrides);
    logging::start(filter, None, job.as_ref().map_or(&nothing, |job| &job.secrets));
    job.map_err(|error| {
        // Who read the job has concealed what is secret in it.
        complain(&nothing, &error);
        code_of(error.is_retryable())
    })
}

/// Prints an answer, and gives the status to end with.
fn printed(text: &str) -> u8 {
    match print(text) {
        Ok(()) => ENDED_WELL,
        Err(error) => {
            complain(&Secrets::default(), &format!("the answer cannot be printed: {error}"));
            FAILED
        }
    }
}
