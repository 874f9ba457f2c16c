//! `tidemill run`.

use std::sync::Arc;
use std::thread;

use tidemill_core::Secrets;
use tidemill_engine::{EngineError, Outcome, Query, QueryEvent, StopSignal, Unfinished};
use tidemill_plan::NoThread;
use tracing_subscriber::EnvFilter;

use super::arguments::RunArguments;
use super::check::{code_of, prepare};
use super::report::Reporter;
use super::signals::stop_on_signals;
use super::{ENDED_WELL, FAILED, REFUSED, UNREAD, complain, logging};
use crate::exhausted::is_exhausted;
use crate::job::{Job, JobError};
use crate::observe::{Board, Entry, Server, Trace};
use crate::print::say;
use crate::query::{PrepareError, Shared, StartError};

/// A query that was opened, and who is told of it.
struct Opened {
    name: String,
    query: Query,
    reporter: Arc<Reporter>,
    /// On the board, if there is one.
    entry: Option<Entry>,
}

/// What is asked for, before anything is created for it.
struct Asked {
    filter: EnvFilter,
    jobs: Vec<Job>,
    /// Of all jobs.
    secrets: Secrets,
}

pub(super) fn run(arguments: &RunArguments) -> u8 {
    let Asked { filter, jobs, secrets } = match ask(arguments) {
        Ok(asked) => asked,
        Err((error, code)) => {
            // Who read a job has concealed what is secret in it.
            complain(&Secrets::default(), &error);
            return code;
        }
    };
    let trace = match arguments.trace.as_ref().map(|path| {
        Trace::create(path, arguments.trace_batches).map_err(|error| {
            (format!("--trace {} cannot be written: {error}", path.display()), error)
        })
    }) {
        Some(Err((text, error))) => {
            complain(&secrets, &text);
            return code_of(is_exhausted(&error));
        }
        Some(Ok(trace)) => Some(trace),
        None => None,
    };
    logging::start(filter, trace.as_ref(), &secrets);
    let code = run_jobs(arguments, jobs, &secrets, trace.as_ref());
    trace.iter().for_each(Trace::finish);
    code
}

/// The jobs, and how their lines are to be logged; or what is wrong, and the exit status.
fn ask(arguments: &RunArguments) -> Result<Asked, (String, u8)> {
    let refused = |error: String| (error, REFUSED);
    let filter = logging::filter().map_err(refused)?;
    let overrides = arguments.overrides().map_err(refused)?;
    let paths = arguments.job.jobs.iter();
    let jobs: Result<Vec<Job>, JobError> = paths.map(|path| Job::read(path, &overrides)).collect();
    let jobs = jobs.map_err(|error| (error.to_string(), code_of(error.is_retryable())))?;
    let mut secrets = Secrets::default();
    jobs.iter().for_each(|job| secrets.extend(&job.secrets));
    Ok(Asked { filter, jobs, secrets })
}

fn run_jobs(
    arguments: &RunArguments,
    jobs: Vec<Job>,
    secrets: &Secrets,
    trace: Option<&Trace>,
) -> u8 {
    let stop = StopSignal::new();
    // Before anything is opened: a signal that comes early is no kill.
    let talks = Reporter::talks_to_person(arguments.progress);
    if let Err(error) = stop_on_signals(stop.clone(), trace.cloned(), talks) {
        // It takes a thread; nothing else is wanting here.
        let reason = match is_exhausted(&error) {
            true => NoThread(error.to_string()).to_string(),
            false => error.to_string(),
        };
        complain(secrets, &format!("signals cannot be waited for: {reason}"));
        return FAILED;
    }
    let queries = match start(arguments, jobs, &stop) {
        Ok(queries) => queries,
        Err(error) => {
            complain(secrets, &error);
            return code_of(error.is_retryable());
        }
    };
    run_all(queries, &stop, secrets)
}

/// All jobs are checked, and what is asked for beside them is opened, before the first one is
/// started.
fn start(
    arguments: &RunArguments,
    jobs: Vec<Job>,
    stop: &StopSignal,
) -> Result<Vec<Opened>, StartError> {
    let shared = Shared::new(arguments.watch);
    let is_one = jobs.len() == 1;
    let unfinished = arguments.unfinished();
    if unfinished != Unfinished::Run && !is_one {
        let message =
            "--replan-batch is for one query; run its job alone with it, and the others after it";
        return Err(PrepareError::Invalid(message.to_owned()).into());
    }
    let mut prepared = Vec::new();
    for job in jobs {
        let mut job = prepare(job, &shared)?;
        job.settle(unfinished)?;
        prepared.push(job);
    }
    let board = serve(arguments)?;
    let mut queries = Vec::new();
    for prepared in prepared {
        let job = prepared.job();
        let name = job.name.clone();
        let entry = board.as_ref().map(|board| Entry::new(board, &name, &job.path, &job.secrets));
        let reporter = Arc::new(Reporter::new(job, is_one, arguments.progress));
        let (told, teller) = (entry.clone(), Arc::clone(&reporter));
        let on_event = Box::new(move |event: QueryEvent<'_>| {
            told.iter().for_each(|entry| entry.tell(&event));
            teller.tell(&event);
        });
        let query = prepared.start(stop.clone(), on_event)?;
        queries.push(Opened { name, query, reporter, entry });
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

/// Serves what a new board shows, if that is asked for.
fn serve(arguments: &RunArguments) -> Result<Option<Arc<Board>>, PrepareError> {
    let Some(address) = &arguments.metrics else {
        return Ok(None);
    };
    let board = Arc::new(Board::new());
    let server = Server::start(address, &arguments.metrics_host, &board).map_err(|error| {
        let text = format!("--metrics {address} cannot be opened: {error}");
        match is_exhausted(&error) {
            true => PrepareError::Exhausted(text),
            false => PrepareError::Invalid(text),
        }
    })?;
    let at = server.address();
    say(&format!("metrics at http://{at}/metrics, state at http://{at}/status"));
    Ok(Some(board))
}

/// Runs every query on a thread of its own. One that fails stops the others: a process that goes
/// on with half of its queries looks alive and is not. So does one whose rows nobody reads.
fn run_all(queries: Vec<Opened>, stop: &StopSignal, secrets: &Secrets) -> u8 {
    let outcomes: Vec<Result<Outcome, EngineError>> = thread::scope(|scope| {
        let threads: Vec<_> = queries
            .into_iter()
            .map(|Opened { name, mut query, reporter, entry }| {
                let run = move || {
                    let _guard = StopOnPanic(stop);
                    let outcome = query.run();
                    entry.iter().for_each(|entry| entry.end(&outcome));
                    reporter.end(&outcome);
                    if matches!(outcome, Err(_) | Ok(Outcome::Unread)) {
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
            .map(|thread| match thread.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(EngineError::Execution("the query's thread panicked".to_owned())),
                Err(error) => Err(EngineError::Threads(NoThread(error.to_string()))),
            })
            .collect()
    });
    let mut code = ENDED_WELL;
    for outcome in outcomes {
        match outcome {
            Ok(Outcome::Stopped | Outcome::Finished) => {}
            Ok(Outcome::Unread) if code == ENDED_WELL => code = UNREAD,
            Ok(Outcome::Unread) => {}
            Err(error) => {
                complain(secrets, &error);
                ways_out(&error).iter().for_each(|text| say(text));
                code = FAILED;
            }
        }
    }
    code
}

/// What can be done about a batch that fails at each start. `None` for what passes by itself.
pub(super) fn ways_out(error: &EngineError) -> Option<String> {
    let EngineError::Batch { batch, reason } = error else {
        return None;
    };
    let is_about_rows = !reason.is_retryable()
        && !matches!(**reason, EngineError::Checkpoint(_) | EngineError::NotUndone { .. });
    is_about_rows.then(|| {
        format!(
            "The next start tries batch {batch} again: the same input, with the job and the plugins as they are then.
  Its input was mended or removed, or should be cut into smaller batches: add --replan-batch {batch} to the next start.
  Its rows can be done without: `tidemill skip JOB --batch {batch}` passes over it."
        )
    })
}
