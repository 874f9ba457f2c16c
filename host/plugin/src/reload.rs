//! Takes a new version of a plugin when its file changes.
//!
//! 1. The file's directory is watched: an editor or a build replaces the file by a rename as often
//!    as it writes into it.
//! 2. A thread of low priority waits until the file is whole, or quiet where nobody says so, reads
//!    it, and goes on if its digest is a new one. Batches go on with the old module.
//! 3. It checks and compiles the bytes, and compares the functions with what the query uses.
//! 4. The result lies ready. The engine takes it between two batches; a module that is no good is
//!    taken as an error, and the old one stays.
//!
//! 5. The thread keeps the compiled code for the next start.
//!
//! Before all that it learns the functions of the file that runs, so that a first change compiles only what
//! is new.
//!
//! Somebody may want other bytes than the file's ([`Chooser`]): then these are looked for in step 2.
//!
//! A change during step 3 is seen after it. A newer result replaces one that nobody has taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Condvar, Mutex};
use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};
use tidemill_core::{Digest, FunctionKind, PluginModule, Wake};

use crate::error::{LoadError, LoadProblem};
use crate::guarded::STACK_BYTES;
use crate::host::PluginHost;
use crate::load::{PluginConfig, read};
use crate::module::Module;
use crate::schema::{ddl, same_columns};
use crate::text::shortened_problem;

/// How long a file has to be quiet that somebody writes into and has not closed.
const QUIET: Duration = Duration::from_millis(30);

/// Of 100, the usual being 50: gets about a tenth of a processor that others want too.
const COMPILE_PRIORITY: u8 = 25;

/// What a query uses of a plugin, and must find in its next version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsedFunction {
    /// Its name.
    pub name: String,
    /// What it is used as.
    pub kind: FunctionKind,
    /// The columns that the plan gives it.
    pub input: SchemaRef,
    /// The columns that the plan takes from it; `None` for a foreach_batch handler.
    pub output: Option<SchemaRef>,
}

/// Who may want other bytes in place of those of the file.
pub struct Chooser {
    /// A file beside the plugin's own: when it changes, the choice may be another.
    pub file: PathBuf,
    /// Gives the bytes that are wanted, by the digest of the file's; `None`: the file's own. The
    /// file may not be there. An error says why nobody knows: then what runs goes on.
    pub choose: Box<Choose>,
}

/// See [`Chooser::choose`].
pub type Choose = dyn Fn(Option<Digest>) -> Result<Option<Vec<u8>>, String> + Send;

/// Watches one plugin's file.
pub struct Reloader {
    ready: Arc<Ready>,
    /// The thread adds places to it. Taking it closes the channel that the thread waits at.
    watcher: SharedWatcher,
}

type SharedWatcher = Arc<Mutex<Option<RecommendedWatcher>>>;

impl Drop for Reloader {
    fn drop(&mut self) {
        // Not while it is locked: the watcher's own thread may be telling of something.
        let watcher = self.watcher.lock().take();
        drop(watcher);
    }
}

type Outcome = Result<Arc<Module>, LoadError>;

#[derive(Default)]
struct Ready {
    /// And since when there has been one that nobody has taken.
    outcome: Mutex<Option<(Outcome, Instant)>>,
    /// Changes that were noticed, and those that came to something.
    noticed: AtomicU64,
    done: AtomicU64,
    filled: Condvar,
    wake: Mutex<Option<Wake>>,
}

impl Ready {
    /// So many of the changes that were noticed came to this; `None`: to nothing new.
    fn settle(&self, noticed: u64, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            let mut held = self.outcome.lock();
            let since = held.as_ref().map_or_else(Instant::now, |(_, since)| *since);
            *held = Some((outcome, since));
            drop(held);
            self.filled.notify_all();
        }
        self.done.store(noticed, Ordering::SeqCst);
        // Also for nothing: the outcome of another plugin may have waited for this one.
        if let Some(wake) = self.wake.lock().as_ref() {
            wake();
        }
    }
}

impl Reloader {
    /// Watches the file at `path`, from which plugin `name` is loaded with `config`, if `chooser`
    /// does not want others. `seen` are the bytes that are in use: others are a change.
    pub fn new(
        host: &PluginHost,
        (name, path): (&str, &Path),
        config: PluginConfig,
        seen: Digest,
        uses: Vec<UsedFunction>,
        chooser: Option<Chooser>,
    ) -> Result<Reloader, LoadError> {
        let plugin = name.to_owned();
        let failed = |reason: &dyn std::fmt::Display| LoadError {
            plugin: plugin.clone(),
            problem: LoadProblem::Unwatched { path: path.to_owned(), reason: reason.to_string() },
        };
        let path = std::path::absolute(path).map_err(|error| failed(&error))?;
        if path.file_name().is_none() {
            return Err(failed(&"it is not a file"));
        }
        let files: Vec<PathBuf> =
            chooser.iter().map(|chooser| chooser.file.clone()).chain([path.clone()]).collect();
        // Room for one: it says that there was a change, not how many. What does not fit into it is seen, as
        // the file is read after it.
        let (changed, changes) = sync_channel(1);
        let ready = Arc::new(Ready::default());
        let watcher =
            notify::recommended_watcher(notifier(files.clone(), changed, Arc::clone(&ready)));
        let mut watcher = watcher.map_err(|error| failed(&error))?;
        for directory in files.iter().flat_map(|file| places(file)) {
            let watching = watcher.watch(&directory, RecursiveMode::NonRecursive);
            watching.map_err(|error| match error.kind {
                // Nothing that the machine lacks: there is no such file.
                notify::ErrorKind::PathNotFound => LoadError {
                    plugin: plugin.clone(),
                    problem: LoadProblem::Read { path: path.clone(), reason: error.to_string() },
                },
                _ => failed(&error),
            })?;
        }

        let watcher = Arc::new(Mutex::new(Some(watcher)));
        let worker = Worker {
            watcher: Arc::clone(&watcher),
            host: host.clone(),
            plugin: plugin.clone(),
            path: path.clone(),
            config,
            uses,
            seen,
            chooser,
            ready: Arc::clone(&ready),
        };
        // A name with a NUL would be one that no thread can have.
        let name = format!("tidemill-reload-{}", plugin.replace('\0', "?"));
        let thread = thread::Builder::new().name(name).stack_size(STACK_BYTES);
        thread.spawn(move || worker.run(&changes)).map_err(|error| failed(&error))?;
        Ok(Reloader { ready, watcher })
    }

    /// Gives what to call when [`take_ready`](Self::take_ready) has something.
    pub fn notify(&self, wake: Wake) {
        *self.ready.wake.lock() = Some(Arc::clone(&wake));
        let is_ready = self.ready.outcome.lock().is_some();
        if is_ready {
            wake();
        }
    }

    /// Whether a change was noticed of which nobody knows yet what comes of it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.ready.done.load(Ordering::SeqCst) < self.ready.noticed.load(Ordering::SeqCst)
    }

    /// For how long there has been an outcome that nobody took.
    #[must_use]
    pub fn ready_for(&self) -> Option<Duration> {
        self.ready.outcome.lock().as_ref().map(|(_, since)| since.elapsed())
    }

    /// The newest version since the last call, or why it was refused. Never waits.
    pub fn take_ready(&self) -> Option<Outcome> {
        self.ready.outcome.lock().take().map(|(outcome, _)| outcome)
    }

    /// As [`take_ready`](Self::take_ready), and waits for as long as `timeout`. For whoever has no
    /// batch to run meanwhile.
    pub fn wait_ready(&self, timeout: Duration) -> Option<Outcome> {
        let until = Instant::now() + timeout;
        let mut outcome = self.ready.outcome.lock();
        while outcome.is_none() {
            if self.ready.filled.wait_until(&mut outcome, until).timed_out() {
                break;
            }
        }
        outcome.take().map(|(outcome, _)| outcome)
    }
}

/// Links that are followed, at most, as a system does.
const LINKS_MAX: usize = 40;

/// The directories in which a change may be one of the file: its own, and those of the links that lead there.
fn places(file: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let (mut path, mut links) = (file.to_owned(), 0);
    'links: while links < LINKS_MAX {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for part in above {
            let Ok(target) = std::fs::read_link(part) else { continue };
            let Some(directory) = part.parent() else { continue };
            let Ok(rest) = path.strip_prefix(part) else { continue };
            let led = directory.join(target);
            let next = if rest.as_os_str().is_empty() { led } else { led.join(rest) };
            directories.push(directory.to_owned());
            (path, links) = (next, links + 1);
            continue 'links;
        }
        break;
    }
    directories.extend(path.parent().map(Path::to_owned));
    directories.sort_unstable();
    directories.dedup();
    directories
}

/// Where a file is, links resolved.
fn resolved(files: &[PathBuf]) -> Vec<Option<PathBuf>> {
    files.iter().map(|file| file.canonicalize().ok()).collect()
}

/// Passes on that one of the files has changed, or that a link leads to another.
fn notifier(
    files: Vec<PathBuf>,
    changed: SyncSender<Written>,
    ready: Arc<Ready>,
) -> impl Fn(notify::Result<notify::Event>) + Send + 'static {
    let leads = Mutex::new(resolved(&files));
    let is_named = |paths: &[PathBuf], files: &[PathBuf]| {
        paths.iter().any(|path| files.iter().any(|file| path.file_name() == file.file_name()))
    };
    move |event| {
        let written = match event {
            // Reading the file is an event too, and would have no end.
            Ok(event) if is_read(event.kind) => return,
            Ok(event) if is_named(&event.paths, &files) => Written::of(event.kind),
            Ok(_) => {
                let (mut before, now) = (leads.lock(), resolved(&files));
                // Between a removal and a rename a link leads nowhere.
                if !now.iter().zip(&*before).any(|(now, before)| now.is_some() && now != before) {
                    return;
                }
                *before = now;
                Written::Whole
            }
            // Events may have been lost: the digest tells whether there was a change.
            Err(_) => Written::InPart,
        };
        ready.noticed.fetch_add(1, Ordering::SeqCst);
        let _ = changed.try_send(written);
    }
}

/// How much of a file is there after a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Written {
    /// Who wrote it has closed it, or it came under its name as a whole.
    Whole,
    /// More may follow.
    InPart,
}

impl Written {
    fn of(kind: EventKind) -> Written {
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_)) => Written::Whole,
            _ => Written::InPart,
        }
    }
}

/// Whether a change that was noticed is none: reading a file is an event, too.
#[must_use]
pub fn is_read(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// Lets others compute first, from here on in this thread, and in those that it starts to compile: Linux gives
/// them its priority.
fn stand_back() {
    let priority =
        ThreadPriorityValue::try_from(COMPILE_PRIORITY).map(ThreadPriority::Crossplatform);
    if let Err(error) = priority.map_err(|error| error.to_string()).and_then(|priority| {
        set_current_thread_priority(priority).map_err(|error| error.to_string())
    }) {
        tracing::debug!("plugins are compiled at the usual priority: {error}");
    }
}

struct Worker {
    watcher: SharedWatcher,
    host: PluginHost,
    plugin: String,
    path: PathBuf,
    config: PluginConfig,
    uses: Vec<UsedFunction>,
    seen: Digest,
    chooser: Option<Chooser>,
    ready: Arc<Ready>,
}

impl Worker {
    fn run(mut self, changes: &Receiver<Written>) {
        stand_back();
        // The query may be gone by now, as one is whose job was reloaded.
        let early = changes.try_recv();
        if early != Err(TryRecvError::Disconnected) {
            self.learn();
        }
        // The file may have changed since it was loaded, before it was watched.
        let mut early = early.ok().or(Some(Written::Whole));
        while let Some(mut written) = early.take().or_else(|| changes.recv().ok()) {
            while written == Written::InPart
                && let Ok(more) = changes.recv_timeout(QUIET)
            {
                written = more;
            }
            self.watch_on();
            // What is noticed from here on comes to another one.
            let noticed = self.ready.noticed.load(Ordering::SeqCst);
            let outcome = self.next();
            let module = outcome.as_ref().and_then(|outcome| outcome.as_ref().ok()).cloned();
            self.ready.settle(noticed, outcome);
            // Nobody waits for that.
            module.iter().for_each(|module| self.host.keep(module));
        }
    }

    /// Watches where links lead now.
    fn watch_on(&self) {
        if let Some(watcher) = self.watcher.lock().as_mut() {
            for place in places(&self.path) {
                // One that is watched already stays so; one that is gone is no place.
                let _ = watcher.watch(&place, RecursiveMode::NonRecursive);
            }
        }
    }

    /// Learns the functions of the file that runs, before there is another.
    fn learn(&mut self) {
        if let Ok(Ok(bytes)) = read(&self.path)
            && Digest::of(&bytes) == self.seen
        {
            self.host.learn(self.seen, &bytes);
        }
    }

    /// The module that is wanted, if it is another one than before.
    fn next(&mut self) -> Option<Outcome> {
        let file = read(&self.path);
        let chosen = match &self.chooser {
            None => None,
            Some(chooser) => {
                let digest = file.as_ref().ok().and_then(|bytes| bytes.as_ref().ok());
                match (chooser.choose)(digest.map(|bytes| Digest::of(bytes))) {
                    Ok(chosen) => chosen,
                    Err(reason) => {
                        let problem = shortened_problem(LoadProblem::Unchosen(reason));
                        return Some(Err(LoadError { plugin: self.plugin.clone(), problem }));
                    }
                }
            }
        };
        // Between a removal and a rename there is no file. Its return is another event.
        let bytes = match chosen.map(Ok).or_else(|| file.ok())? {
            Ok(bytes) => bytes,
            Err(problem) => return Some(Err(LoadError { plugin: self.plugin.clone(), problem })),
        };
        let digest = Digest::of(&bytes);
        if digest == self.seen {
            return None;
        }
        self.seen = digest;
        let module = self.host.load_unkept(&self.plugin, &bytes, self.config.clone());
        Some(module.and_then(|module| {
            check_uses(&module, &self.uses).map_err(|reason| LoadError {
                plugin: self.plugin.clone(),
                problem: shortened_problem(LoadProblem::Unfit(reason)),
            })?;
            Ok(module)
        }))
    }
}

/// Compares the functions of a module with what a query uses.
fn check_uses(module: &Module, uses: &[UsedFunction]) -> Result<(), String> {
    for used in uses {
        let name = &used.name;
        let unfit = |failure: &dyn std::fmt::Display| {
            format!("the new version does not fit the query's use of \"{name}\": {failure}")
        };
        let (_, now) = module
            .inner
            .function_where(name, |kind| kind == used.kind)
            .map_err(|failure| unfit(&failure))?;
        let output = match (&used.output, used.kind) {
            (None, _) => continue,
            // It declares its one column, and its arguments are looked at when it is planned anew.
            (Some(_), FunctionKind::Aggregate) => now.output.clone(),
            (Some(_), _) => {
                let shape = module.shape(name, Arc::clone(&used.input));
                Some(shape.map_err(|error| unfit(&error.failure))?.output)
            }
        };
        let (Some(expected), Some(output)) = (&used.output, output) else { continue };
        if !same_columns(expected, &output) {
            return Err(format!(
                "\"{name}\" of the new version gives the columns ({}), and the query was planned \
                 for ({}); restart the query to plan it anew",
                ddl(&output),
                ddl(expected)
            ));
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_places_of_a_file_are_those_of_all_links_that_lead_there() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for directory in ["mount/..1", "app"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::fs::write(root.join("mount/..1/p.wasm"), "").unwrap();
        symlink("..1", root.join("mount/..data")).unwrap();
        symlink("..data/p.wasm", root.join("mount/p.wasm")).unwrap();
        symlink("../mount", root.join("app/plugins")).unwrap();
        let found = places(&root.join("app/plugins/p.wasm"));
        let found: Vec<PathBuf> = found.iter().map(|place| place.canonicalize().unwrap()).collect();
        let expected = ["app", "mount", "mount", "mount/..1"].map(|place| root.join(place));
        assert!(expected.iter().all(|place| found.contains(place)), "{found:?}");
        // A loop ends.
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(places(&root.join("a")), std::slice::from_ref(&root));
    }
}
