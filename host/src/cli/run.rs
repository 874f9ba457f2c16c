//! `tidemill run`.

use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidemill_engine::{EngineError, Outcome, Query, QueryEvent, StopSignal, Unfinished};

use super::arguments::RunArguments;
use super::check::prepare;
use super::report::Reporter;
use super::{ENDED_WELL, FAILED, REFUSED, complain};
use crate::job::Job;
use crate::observe::{Address, Board, Entry, Server, Trace};
use crate::query::{PrepareError, Shared, StartError};

/// Of a process that a second signal ended, by the shells' custom.
const INTERRUPTED: i32 = 130;

/// A query that was opened, and its entry on the board, if there is one.
struct Opened {
    name: String,
    query: Query,
    entry: Option<Entry>,
}

pub(super) fn run(arguments: &RunArguments, trace: Option<&Trace>) -> u8 {
    let stop = StopSignal::new();
    let queries = match start(arguments, &stop) {
        Ok(queries) => queries,
        Err(error) => {
            complain(&error);
            // Who starts us again need not wait for anybody to mend the job.
            return if error.is_retryable() { FAILED } else { REFUSED };
        }
    };
    if let Err(error) = stop_on_signals(stop.clone(), trace.cloned()) {
        complain(&error);
        return FAILED;
    }
    run_all(queries, &stop)
}

/// All jobs are checked, and what is asked for beside them is opened, before the first one is
/// started.
fn start(arguments: &RunArguments, stop: &StopSignal) -> Result<Vec<Opened>, StartError> {
    let shared = Shared::new(arguments.watch);
    let overrides = arguments.overrides();
    let unfinished = arguments.unfinished();
    if unfinished != Unfinished::Run && arguments.job.jobs.len() > 1 {
        let message = "--skip-batch and --replan-batch are for one query; run its job alone with them, and the others after it";
        return Err(PrepareError::Invalid(message.to_owned()).into());
    }
    let mut prepared = Vec::new();
    for path in &arguments.job.jobs {
        let job = Job::read(path, &overrides).map_err(PrepareError::from)?;
        let mut job = prepare(job, &shared)?;
        if unfinished != Unfinished::Run {
            job.settle(unfinished)?;
        }
        prepared.push((path, job));
    }
    let board = arguments.metrics.as_ref().map(serve).transpose()?;
    let mut queries = Vec::new();
    for (path, prepared) in prepared {
        let name = prepared.job().name.clone();
        let entry = board.as_ref().map(|board| Entry::new(board, &name, path));
        let (reporter, told) = (Reporter::new(&name, arguments.progress), entry.clone());
        let on_event = Box::new(move |event: QueryEvent<'_>| {
            told.iter().for_each(|entry| entry.tell(&event));
            reporter.tell(&event);
        });
        queries.push(Opened { name, query: prepared.start(stop.clone(), on_event)?, entry });
    }
    Ok(queries)
}

/// Stops the other queries where one panics.
struct StopOnPanic<'a>(&'a StopSignal);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// Serves what a new board shows.
fn serve(address: &Address) -> Result<Arc<Board>, PrepareError> {
    let board = Arc::new(Board::new());
    let server = Server::start(address, &board).map_err(|error| {
        PrepareError::Invalid(format!("--metrics {address} cannot be opened: {error}"))
    })?;
    let at = server.address();
    eprintln!("metrics at http://{at}/metrics, state at http://{at}/status");
    Ok(board)
}

/// Runs every query on a thread of its own. One that fails stops the others: a process that goes
/// on with half of its queries looks alive and is not.
fn run_all(queries: Vec<Opened>, stop: &StopSignal) -> u8 {
    let outcomes: Vec<Result<Outcome, EngineError>> = thread::scope(|scope| {
        let threads: Vec<_> = queries
            .into_iter()
            .map(|Opened { name, mut query, entry }| {
                let run = move || {
                    let _guard = StopOnPanic(stop);
                    let outcome = query.run();
                    entry.iter().for_each(|entry| entry.end(&outcome));
                    if outcome.is_err() {
                        stop.stop();
                    }
                    outcome
                };
                thread::Builder::new()
                    .name(format!("query {name}"))
                    .spawn_scoped(scope, run)
                    .inspect_err(|_| stop.stop())
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                let failed = |reason: String| Err(EngineError::Execution(reason));
                match thread.map(thread::ScopedJoinHandle::join) {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) => failed("the query's thread panicked".to_owned()),
                    Err(error) => failed(format!("no thread for the query: {error}")),
                }
            })
            .collect()
    });
    let mut code = ENDED_WELL;
    for outcome in outcomes {
        if let Err(error) = outcome {
            complain(&error);
            if let Some(text) = ways_out(&error) {
                eprintln!("{text}");
            }
            code = FAILED;
        }
    }
    code
}

/// What can be done about a batch that fails at each start. `None` for what passes by itself.
fn ways_out(error: &EngineError) -> Option<String> {
    let EngineError::Batch { batch, reason } = error else {
        return None;
    };
    let is_about_rows = !reason.is_retryable()
        && !matches!(**reason, EngineError::Checkpoint(_) | EngineError::NotUndone { .. });
    is_about_rows.then(|| {
        format!(
            "The next start tries batch {batch} again: the same input, with the job and the plugins as they are then.
  Its input was mended or removed, or should be cut into smaller batches: add --replan-batch {batch} to the next start.
  Its rows can be done without: add --skip-batch {batch}."
        )
    })
}

/// The first signal asks the queries to end, the second ends the process.
fn stop_on_signals(stop: StopSignal, trace: Option<Trace>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("tidemill-signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if stop.is_set() {
                trace.iter().for_each(Trace::finish);
                std::process::exit(INTERRUPTED);
            }
            stop.stop();
        }
    })?;
    Ok(())
}
