//! `tidemill run`.

use std::sync::Arc;
use std::thread;

use tidemill_core::Secrets;
use tidemill_engine::{EngineError, Outcome, Query, QueryEvent, StopSignal, Unfinished};
use tidemill_plan::NoThread;
use tracing_subscriber::EnvFilter;

use super::arguments::{ProgressArgument, RunArguments};
use super::check::{code_of, prepare};
use super::logging::Concealed;
use super::renewal::{Renewal, Renewing};
use super::report::Reporter;
use super::signals::stop_on_signals;
use super::{ENDED_WELL, FAILED, REFUSED, UNREAD, complain, logging};
use crate::exhausted::is_exhausted;
use crate::job::{Job, JobError, Override};
use crate::observe::{Board, Entry, Server, Trace};
use crate::print::say;
use crate::query::{PrepareError, Prepared, Shared, StartError};

/// A query that was opened, and who is told of it.
struct Opened {
    query: Query,
    reporter: Arc<Reporter>,
    /// On the board, if there is one.
    entry: Option<Entry>,
    /// Who looks for another job in its place, if that is wanted.
    renewal: Option<Renewal>,
}

/// How queries are opened, the first ones and those that take their place.
struct Opening {
    shared: Arc<Shared>,
    overrides: Vec<Override>,
    watch: bool,
    progress: ProgressArgument,
    /// Whether the process runs one query alone.
    is_one: bool,
    /// Ends all of them.
    stop: StopSignal,
    concealed: Concealed,
}

impl Opening {
    fn open(&self, prepared: Prepared, entry: Option<Entry>) -> Result<Opened, StartError> {
        let job = prepared.job().clone();
        let made_of = prepared.made_of();
        let reporter = Arc::new(Reporter::new(&job, self.is_one, self.progress));
        let (told, teller) = (entry.clone(), Arc::clone(&reporter));
        let on_event = Box::new(move |event: QueryEvent<'_>| {
            told.iter().for_each(|entry| entry.tell(&event));
            teller.tell(&event);
        });
        let stop = self.stop.of_one();
        let query = prepared.start(stop.clone(), on_event)?;
        let refusing = Arc::clone(&reporter);
        let renewing = self.watch.then(|| Renewing {
            job,
            made_of,
            overrides: self.overrides.clone(),
            shared: Arc::clone(&self.shared),
            stop,
            concealed: self.concealed.clone(),
            refused: Box::new(move |reason| refusing.job_refused(reason)),
        });
        let renewal = renewing.map(Renewal::start).transpose().map_err(PrepareError::Exhausted)?;
        Ok(Opened { query, reporter, entry, renewal })
    }
}

/// What is asked for, before anything is created for it.
struct Asked {
    filter: EnvFilter,
    overrides: Vec<Override>,
    jobs: Vec<Job>,
    /// Of all jobs.
    secrets: Secrets,
}

pub(super) fn run(arguments: &RunArguments) -> u8 {
    let Asked { filter, overrides, jobs, secrets } = match ask(arguments) {
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
    let concealed = logging::start(filter, trace.as_ref(), &secrets);
    let code = run_jobs(arguments, jobs, overrides, concealed, trace.as_ref());
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
    Ok(Asked { filter, overrides, jobs, secrets })
}

fn run_jobs(
    arguments: &RunArguments,
    jobs: Vec<Job>,
    overrides: Vec<Override>,
    concealed: Concealed,
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
        complain(&concealed.all(), &format!("signals cannot be waited for: {reason}"));
        return FAILED;
    }
    let opening = Opening {
        shared: Arc::new(Shared::new(arguments.watch)),
        overrides,
        watch: arguments.watch,
        progress: arguments.progress,
        is_one: jobs.len() == 1,
        stop,
        concealed,
    };
    match start(arguments, jobs, &opening) {
        Ok(queries) => run_all(&opening, queries),
        Err(error) => {
            complain(&opening.concealed.all(), &error);
            code_of(error.is_retryable())
        }
    }
}

/// All jobs are checked, and what is asked for beside them is opened, before the first one is
/// started.
fn start(
    arguments: &RunArguments,
    jobs: Vec<Job>,
    opening: &Opening,
) -> Result<Vec<(String, Opened)>, StartError> {
    let unfinished = arguments.unfinished();
    if unfinished != Unfinished::Run && !opening.is_one {
        let message =
            "--replan-batch is for one query; run its job alone with it, and the others after it";
        return Err(PrepareError::Invalid(message.to_owned()).into());
    }
    let mut prepared = Vec::new();
    for job in jobs {
        let mut job = prepare(job, &opening.shared)?;
        job.settle(unfinished)?;
        prepared.push(job);
    }
    let board = serve(arguments)?;
    let mut queries = Vec::new();
    for prepared in prepared {
        let job = prepared.job();
        let (name, path, secrets) = (job.name.clone(), job.path.clone(), job.secrets.clone());
        let entry = board.as_ref().map(|board| Entry::new(board, &name, &path, &secrets));
        queries.push((name, opening.open(prepared, entry)?));
    }
    Ok(queries)
}

/// Runs a query, and those that take its place, to their end.
fn run_one(opening: &Opening, mut opened: Opened) -> Result<Outcome, EngineError> {
    loop {
        let Opened { mut query, reporter, entry, renewal } = opened;
        let outcome = query.run();
        let is_wanted = matches!(outcome, Ok(Outcome::Stopped)) && !opening.stop.is_set();
        let next = renewal.as_ref().filter(|_| is_wanted).and_then(Renewal::take);
        let Some(next) = next else {
            entry.iter().for_each(|entry| entry.end(&outcome));
            reporter.end(&outcome);
            return outcome;
        };
        // The next one wants its checkpoint.
        drop(renewal);
        query.close();
        let entry = entry.map(|entry| entry.concealing(&next.job().secrets));
        match opening.open(next, entry.clone()) {
            Ok(next) => {
                next.reporter.job_reloaded();
                opened = next;
            }
            Err(error) => {
                let told = format!("the changed job cannot be started: {error}");
                let outcome = Err(EngineError::Incompatible(told));
                entry.iter().for_each(|entry| entry.end(&outcome));
                return outcome;
            }
        }
    }
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
fn run_all(opening: &Opening, queries: Vec<(String, Opened)>) -> u8 {
    let stop = &opening.stop;
    let outcomes: Vec<Result<Outcome, EngineError>> = thread::scope(|scope| {
        let threads: Vec<_> = queries
            .into_iter()
            .map(|(name, opened)| {
                let run = move || {
                    let _guard = StopOnPanic(stop);
                    let outcome = run_one(opening, opened);
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
                complain(&opening.concealed.all(), &error);
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
    if let EngineError::Migration(_) = **reason {
        return Some(format!(
            "The next start tries batch {batch} again, with the job and the plugins as they are then. Where the migration is at fault, mend the plugin, or go back:
  `tidemill plugins JOB rollback NAME` uses the generation before, whose state is as it was.
  A batch whose changes are too large needs a larger options.state_overlay_memory."
        ));
    }
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
