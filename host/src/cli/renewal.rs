//! A job that is read again while its query runs, when its file changes or what its static tables are read
//! from. If it is right, the query ends after the batch in flight, and goes on as the new job says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidemill_core::Secrets;
use tidemill_engine::StopSignal;

use super::check::prepare;
use super::logging::Concealed;
use super::watching::{Watching, absolute};
use crate::job::{Job, Override};
use crate::query::{MadeOf, Prepared, Shared};

/// How long files have to be quiet: an editor writes several in one go.
const QUIET: Duration = Duration::from_millis(100);

/// How long it is waited for that.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);

/// Characters of a path that names several files.
const WILDCARDS: &[char] = &['*', '?', '[', '{'];

/// Looks for another job in the place of one whose query runs. Dropping it ends that.
pub(super) struct Renewal {
    next: Arc<Mutex<Option<Prepared>>>,
    /// Dropping it closes the channel that the thread waits at.
    _watching: Watching,
}

/// What is looked after.
pub(super) struct Renewing {
    /// The job as it runs.
    pub(super) job: Job,
    /// What it was made of.
    pub(super) made_of: MadeOf,
    pub(super) overrides: Vec<Override>,
    pub(super) shared: Arc<Shared>,
    /// Ends its query after the batch in flight.
    pub(super) stop: StopSignal,
    /// What log lines do not show.
    pub(super) concealed: Concealed,
    /// Says why a job is not taken.
    pub(super) refused: Box<dyn Fn(&str) + Send>,
}

impl Renewal {
    /// Begins to look.
    ///
    /// # Errors
    /// Files cannot be watched, or there is no thread.
    pub(super) fn start(renewing: Renewing) -> Result<Renewal, String> {
        let (changed, changes) = sync_channel(1);
        // What was saved while the query started was not watched yet.
        let _ = changed.try_send(());
        let file = absolute(&renewing.job.path);
        let mut beside: BTreeSet<PathBuf> = file.parent().map(Path::to_owned).into_iter().collect();
        let mut below = BTreeSet::new();
        let tables = renewing.job.statics.iter().filter_map(|table| table.path.as_deref());
        let tables: Vec<PathBuf> = tables.map(|path| watched_of(&absolute(path))).collect();
        for table in &tables {
            match table.is_dir() {
                true => drop(below.insert(table.clone())),
                false => beside.extend(table.parent().map(Path::to_owned)),
            }
        }
        let watching = Watching::start(&beside, &below, move |paths| {
            let is_ours = |path: &PathBuf| {
                *path == file || tables.iter().any(|table| path.starts_with(table))
            };
            if paths.iter().any(is_ours) {
                // Room for one: it says that there was a change, not how many.
                let _ = changed.try_send(());
            }
        });
        let watching = watching.map_err(|error| {
            format!("changes of {} cannot be noticed: {error}", renewing.job.path.display())
        })?;
        let next = Arc::default();
        let worker = Worker { renewing, next: Arc::clone(&next) };
        let thread = thread::Builder::new().name("tidemill-renewal".to_owned());
        let thread = thread.spawn(move || worker.run(&changes));
        thread.map_err(|error| format!("no thread to look after the job: {error}"))?;
        Ok(Renewal { next, _watching: watching })
    }

    /// The job that is to run from here on, if there is another.
    pub(super) fn take(&self) -> Option<Prepared> {
        self.next.lock().take()
    }
}

/// What is to be watched of a path that may name several files.
fn watched_of(path: &Path) -> PathBuf {
    let is_plain = |part: &&Path| !part.to_string_lossy().contains(WILDCARDS);
    path.ancestors().find(is_plain).unwrap_or(path).to_owned()
}

struct Worker {
    renewing: Renewing,
    next: Arc<Mutex<Option<Prepared>>>,
}

impl Worker {
    fn run(self, changes: &Receiver<()>) {
        // What is made of a change, until it is another one.
        let mut made_of = self.renewing.made_of.clone();
        while changes.recv().is_ok() {
            let begin = Instant::now();
            loop {
                match changes.recv_timeout(QUIET) {
                    Ok(()) if begin.elapsed() >= QUIET_WAIT_MAX => break,
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            match self.prepared(&made_of) {
                Ok(None) => {}
                Ok(Some(prepared)) => {
                    made_of = prepared.made_of();
                    // Also where it is the first one again: a query that was told to end does.
                    *self.next.lock() = Some(prepared);
                    self.renewing.stop.stop();
                }
                Err(reason) => (self.renewing.refused)(&reason),
            }
        }
    }

    /// The job as it is now, if it is made of something else and the query can go on with it.
    fn prepared(&self, made_of: &MadeOf) -> Result<Option<Prepared>, String> {
        let Renewing { job: before, overrides, shared, .. } = &self.renewing;
        let job = Job::read(&before.path, overrides).map_err(|error| error.to_string())?;
        let told = |secrets: &Secrets, reason: String| secrets.conceal(&reason).into_owned();
        if (&job.name, &job.checkpoint) != (&before.name, &before.checkpoint) {
            let reason = "it has another name or another checkpoint, and so is another query: stop \
                          this one, and start that";
            return Err(reason.to_owned());
        }
        if job.statics.is_empty() && job.digest == made_of.job {
            return Ok(None);
        }
        let secrets = job.secrets.clone();
        self.renewing.concealed.extend(&secrets);
        let prepared = prepare(job, shared);
        let prepared = prepared.map_err(|error| told(&secrets, error.to_string()))?;
        Ok((prepared.made_of() != *made_of).then_some(prepared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_with_wildcards_the_directory_above_is_watched() {
        assert_eq!(watched_of(Path::new("/a/b.json")), Path::new("/a/b.json"));
        assert_eq!(watched_of(Path::new("/a/day=*/b.json")), Path::new("/a"));
        assert_eq!(watched_of(Path::new("/a/{x,y}")), Path::new("/a"));
    }
}
