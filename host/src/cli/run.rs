//! `tidemill run`.

use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidemill_engine::{EngineError, Outcome, Query, StopSignal};

use super::arguments::RunArguments;
use super::check::prepare;
use super::report::Reporter;
use super::{ENDED_WELL, FAILED, REFUSED, complain};
use crate::job::Job;
use crate::query::{PrepareError, Shared, StartError};

/// Of a process that a second signal ended, by the shells' custom.
const INTERRUPTED: i32 = 130;

pub(super) fn run(arguments: &RunArguments) -> u8 {
    let stop = StopSignal::new();
    let queries = match start(arguments, &stop) {
        Ok(queries) => queries,
        Err(error) => {
            complain(&error);
            return REFUSED;
        }
    };
    if let Err(error) = stop_on_signals(stop.clone()) {
        complain(&error);
        return FAILED;
    }
    run_all(queries, &stop)
}

/// All jobs are checked before the first one is started.
fn start(arguments: &RunArguments, stop: &StopSignal) -> Result<Vec<Query>, StartError> {
    let shared = Shared::new(arguments.watch);
    let overrides = arguments.overrides();
    let mut prepared = Vec::new();
    for path in &arguments.job.jobs {
        let job = Job::read(path, &overrides).map_err(PrepareError::from)?;
        prepared.push(prepare(job, &shared)?);
    }
    let mut queries = Vec::new();
    for prepared in prepared {
        let reporter = Reporter::new(&prepared.job().name, arguments.progress);
        let on_event = Box::new(move |event: tidemill_engine::QueryEvent<'_>| reporter.tell(event));
        queries.push(prepared.start(stop.clone(), on_event)?);
    }
    Ok(queries)
}

/// Runs every query on a thread of its own. One that fails stops the others: a process that goes
/// on with half of its queries looks alive and is not.
fn run_all(queries: Vec<Query>, stop: &StopSignal) -> u8 {
    let outcomes: Vec<Result<Outcome, EngineError>> = thread::scope(|scope| {
        let threads: Vec<_> = queries
            .into_iter()
            .map(|mut query| {
                scope.spawn(move || {
                    let outcome = query.run();
                    if outcome.is_err() {
                        stop.stop();
                    }
                    outcome
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(EngineError::Execution("the query's thread panicked".to_owned()))
                })
            })
            .collect()
    });
    let mut code = ENDED_WELL;
    for outcome in outcomes {
        if let Err(error) = outcome {
            complain(&error);
            code = FAILED;
        }
    }
    code
}

/// The first signal asks the queries to end, the second ends the process.
fn stop_on_signals(stop: StopSignal) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("tidemill-signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if stop.is_set() {
                std::process::exit(INTERRUPTED);
            }
            stop.stop();
        }
    })?;
    Ok(())
}
