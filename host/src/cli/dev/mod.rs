//! `tidemill dev`: a job that runs while it and its plugins are written.
//!
//! ```text
//! a plugin's sources ─▶ cargo ─▶ its file ─▶ the running query ─▶ the last batch again: what changed?
//! the job            ─▶ is it right? ─▶ the query ends after its batch ─▶ the job is started anew
//! a batch that fails ─▶ nothing runs until something changes
//! ```
//!
//! The query has a thread; what happens comes through one channel to this one, which does what
//! follows from it. At a terminal somebody sees it in a view, elsewhere as lines.

mod told;
mod view;
mod watch;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_core::{BatchId, Digest, Secrets};
use tidemill_engine::{EngineError, Outcome, QueryEvent, StopSignal};

use self::told::Told;
use self::view::{Ask, View};
use self::watch::{Change, PluginCrate, Watch};
use super::arguments::{BuildArguments, DevArguments};
use super::build::{BuildError, BuildStop, compile_until};
use super::check::prepare;
use super::logging::{self, Concealed};
use super::replay::{show_again, show_difference};
use super::run::ways_out;
use super::signals::on_signals;
use super::{ENDED_WELL, FAILED, INTERRUPTED, REFUSED, complain};
use crate::job::{Job, Override};
use crate::print::say;
use crate::query::{Prepared, Shared};

/// What happened and was not looked at. Who has more to tell waits.
const HAPPENINGS: usize = 64;

/// How long files have to be quiet: an editor writes several in one go.
const QUIET: Duration = Duration::from_millis(100);

/// How often a build is stopped in a row because its sources changed. A build script that writes into the
/// sources changes them each time; a build that is let go on has an end.
const STOPS_MAX: usize = 10;

/// What this thread waits for.
enum Happened {
    Changed(Change),
    /// Of the query with this number: from this batch on a plugin runs its new bytes.
    Reloaded {
        query: u64,
        plugin: String,
        digest: Digest,
        batch: BatchId,
    },
    /// The query with this number ended; the text says why it failed.
    Ended {
        query: u64,
        outcome: Result<Outcome, String>,
    },
    /// The build that this thread waits for is over.
    Built,
    /// Somebody wants the last batch to be run again.
    Again,
    /// Somebody wants an end.
    Quit,
}

pub(super) fn dev(arguments: &DevArguments) -> u8 {
    let nothing = Secrets::default();
    let asked = logging::filter().and_then(|filter| Ok((filter, arguments.changes.parsed()?)));
    let (filter, overrides) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            complain(&nothing, &error);
            return REFUSED;
        }
    };
    // First, so that the log is led to it.
    let view = match arguments.plain || !View::fits() {
        true => None,
        false => match View::start(arguments.job.display().to_string()) {
            Ok(view) => Some(view),
            Err(error) => {
                say(&format!("the terminal cannot be drawn on: {error}; lines follow"));
                None
            }
        },
    };
    let concealed = logging::start(filter, None, &nothing);
    if view.is_some() {
        view::give_back_on_panic();
    }
    let (tell, told) = sync_channel(HAPPENINGS);
    let status = match listen(view.as_ref(), &tell) {
        Ok(()) => {
            Dev::new(arguments, overrides, concealed, view.as_ref(), tell, told).run();
            Ok(())
        }
        Err(error) => Err(format!("signals and keys cannot be waited for: {error}")),
    };
    let farewell = view.map(View::close);
    match status {
        Ok(()) => {
            farewell.iter().for_each(|text| say(text));
            ENDED_WELL
        }
        Err(error) => {
            complain(&nothing, &error);
            FAILED
        }
    }
}

/// Who asks for an end: a signal, or somebody at the terminal.
fn listen(view: Option<&View>, tell: &SyncSender<Happened>) -> io::Result<()> {
    let is_asked = Arc::new(AtomicBool::new(false));
    let quit = {
        let tell = tell.clone();
        move || {
            if is_asked.swap(true, Ordering::Relaxed) {
                view::give_back();
                std::process::exit(INTERRUPTED.into());
            }
            let _ = tell.send(Happened::Quit);
        }
    };
    on_signals(quit.clone())?;
    let typed = tell.clone();
    if let Some(view) = view {
        view.listen(move |ask| match ask {
            Ask::Quit => quit(),
            Ask::Again => drop(typed.send(Happened::Again)),
        })?;
    } else if io::stdin().is_terminal() {
        thread::Builder::new().name("tidemill-keys".to_owned()).spawn(move || {
            let quits = |line: &io::Result<String>| line.as_ref().is_ok_and(|l| l.trim() == "q");
            if io::stdin().lock().lines().any(|line| quits(&line)) {
                let _ = typed.send(Happened::Quit);
            }
        })?;
    }
    Ok(())
}

/// Tells that a build is over, however it ends.
struct TellsBuilt(SyncSender<Happened>);

impl Drop for TellsBuilt {
    fn drop(&mut self) {
        let _ = self.0.send(Happened::Built);
    }
}

/// A query on its thread.
struct Running {
    number: u64,
    job: Job,
    stop: StopSignal,
    thread: JoinHandle<()>,
}

struct Dev<'a> {
    path: &'a Path,
    overrides: Vec<Override>,
    concealed: Concealed,
    /// Who is told of it all.
    audience: Told,
    tell: SyncSender<Happened>,
    told: Receiver<Happened>,
    /// What happened while changes were collected.
    waiting: VecDeque<Happened>,
    crates: Vec<PluginCrate>,
    watch: Option<Watch>,
    running: Option<Running>,
    /// Queries so far.
    started: u64,
    /// Whether it was said that nothing runs until something changes.
    is_told: bool,
    /// The last batch that was committed, or failed.
    last: Arc<Mutex<Option<BatchId>>>,
}

impl<'a> Dev<'a> {
    fn new(
        arguments: &'a DevArguments,
        overrides: Vec<Override>,
        concealed: Concealed,
        view: Option<&View>,
        tell: SyncSender<Happened>,
        told: Receiver<Happened>,
    ) -> Dev<'a> {
        Dev {
            path: &arguments.job,
            overrides,
            concealed,
            audience: Told::by(view),
            tell,
            told,
            waiting: VecDeque::new(),
            crates: Vec::new(),
            watch: None,
            running: None,
            started: 0,
            is_told: false,
            last: Arc::default(),
        }
    }

    fn run(mut self) {
        self.look();
        for number in 0..self.crates.len() {
            self.build(number);
        }
        self.start_anew();
        loop {
            self.say_if_idle();
            let happened = match self.waiting.pop_front() {
                Some(happened) => happened,
                // This thread has a sender, so there is always another.
                None => self.told.recv().unwrap_or(Happened::Quit),
            };
            match happened {
                Happened::Changed(change) => self.follow(change),
                Happened::Reloaded { query, plugin, digest, batch } => {
                    self.show_difference(query, &plugin, digest, batch);
                }
                Happened::Ended { query, outcome } => self.ended(query, outcome),
                Happened::Built => {}
                Happened::Again => self.show_again(),
                Happened::Quit => {
                    self.stop();
                    return;
                }
            }
        }
    }

    /// Reads the job for what is to be watched: where it is wrong, the job alone.
    fn look(&mut self) {
        let (mut plugins, mut crates) = (Vec::new(), Vec::new());
        if let Ok(job) = Job::read(self.path, &self.overrides) {
            self.audience.job(&job);
            plugins = job.plugins.iter().map(|plugin| plugin.path.clone()).collect();
            crates = job.plugins.iter().filter_map(PluginCrate::of).collect();
        }
        let tell = self.tell.clone();
        let tell = move |change| drop(tell.send(Happened::Changed(change)));
        match Watch::start(self.path, &plugins, &crates, tell) {
            Ok(watch) => (self.watch, self.crates) = (Some(watch), crates),
            Err(error) => {
                self.audience.note(&format!("changes of files cannot be noticed: {error}"));
            }
        }
    }

    /// Does what follows from a change, and from all that come in the same go.
    fn follow(&mut self, change: Change) {
        let mut changes = BTreeSet::from([change]);
        loop {
            match self.told.recv_timeout(QUIET) {
                Ok(Happened::Changed(change)) => drop(changes.insert(change)),
                Ok(other) => self.waiting.push_back(other),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let is_idle = self.running.is_none();
        let mut is_other = changes.contains(&Change::Job) || is_idle;
        for change in &changes {
            if let Change::Sources(number) = change {
                is_other &= self.build(*number) || changes.contains(&Change::Job);
            }
        }
        if changes.contains(&Change::Job) {
            self.look();
            for number in 0..self.crates.len() {
                if !self.crates[number].file.exists() {
                    self.build(number);
                }
            }
        }
        // A running query takes a new plugin by itself.
        if is_other {
            self.start_anew();
        }
    }

    /// Builds a plugin. Cargo says on standard error what is wrong with it. A build whose sources change
    /// meanwhile is stopped and begun anew.
    fn build(&mut self, number: usize) -> bool {
        let Some(PluginCrate { plugin, file, directory, .. }) = self.crates.get(number) else {
            return false;
        };
        let plugin = plugin.clone();
        let arguments = BuildArguments {
            directory: directory.clone(),
            deploy: false,
            out: Some(file.clone()),
            cargo: Vec::new(),
        };
        for stops in 0..=STOPS_MAX {
            match self.build_once(number, &plugin, &arguments, stops < STOPS_MAX) {
                Some(is_built) => return is_built,
                None if self.wants_end() => return false,
                None => self.audience.note(&format!(
                    "\"{plugin}\" is built anew: its sources changed while it was built"
                )),
            }
        }
        false
    }

    /// One build; `None`: it was stopped.
    fn build_once(
        &mut self,
        number: usize,
        plugin: &str,
        arguments: &BuildArguments,
        may_begin_anew: bool,
    ) -> Option<bool> {
        if self.wants_end() {
            return None;
        }
        let stop = BuildStop::default();
        let (audience, tell) = (self.audience.clone(), self.tell.clone());
        let built = thread::scope(|scope| {
            let build = scope.spawn(|| {
                let _tells = TellsBuilt(tell);
                audience.build(plugin, |heard| compile_until(arguments, heard, Some(&stop)))
            });
            // This thread has a sender, so there is always another.
            while let Ok(happened) = self.told.recv() {
                match happened {
                    Happened::Built => break,
                    Happened::Changed(Change::Sources(changed))
                        if changed == number && may_begin_anew =>
                    {
                        stop.stop();
                    }
                    Happened::Quit => {
                        self.waiting.push_front(Happened::Quit);
                        stop.stop();
                    }
                    other => self.remember(other),
                }
            }
            build.join()
        });
        match built {
            Ok(Err(BuildError::Stopped)) => {
                self.settle();
                let is_ours = |waiting: &Happened| matches!(waiting, Happened::Changed(Change::Sources(of)) if *of == number);
                self.waiting.retain(|waiting| !is_ours(waiting));
                None
            }
            Ok(built) => Some(built.is_ok()),
            // It has said why.
            Err(_) => Some(false),
        }
    }

    /// Keeps what happened for later. What waits already waits once: there is no end to changes during
    /// a long build.
    fn remember(&mut self, happened: Happened) {
        let is_known = self.waiting.iter().any(|waiting| match (waiting, &happened) {
            (Happened::Changed(one), Happened::Changed(other)) => one == other,
            (Happened::Again, Happened::Again) => true,
            _ => false,
        });
        if !is_known {
            self.waiting.push_back(happened);
        }
    }

    /// Waits until the files are quiet.
    fn settle(&mut self) {
        while let Ok(happened) = self.told.recv_timeout(QUIET) {
            self.remember(happened);
        }
    }

    fn wants_end(&self) -> bool {
        self.waiting.iter().any(|waiting| matches!(waiting, Happened::Quit))
    }

    /// Ends the query and starts the job as it is now, if it is right; otherwise what runs goes on.
    fn start_anew(&mut self) {
        if self.wants_end() {
            return;
        }
        self.is_told = false;
        let prepared = Job::read(self.path, &self.overrides).map_err(|error| error.to_string());
        let prepared = prepared.and_then(|job| {
            self.concealed.extend(&job.secrets);
            let secrets = job.secrets.clone();
            let prepared = prepare(job, &Shared::new(true));
            prepared.map_err(|error| secrets.conceal(&error.to_string()).into_owned())
        });
        match prepared {
            Ok(prepared) => {
                self.stop();
                if let Err(error) = self.start(prepared) {
                    self.audience.wrong(&error);
                }
            }
            Err(error) => {
                let goes_on =
                    if self.running.is_some() { "; the job from before goes on" } else { "" };
                self.audience.wrong(&format!("{error}{goes_on}"));
            }
        }
    }

    fn start(&mut self, prepared: Prepared) -> Result<(), String> {
        let job = prepared.job().clone();
        let secrets = job.secrets.clone();
        let conceal = move |text: String| secrets.conceal(&text).into_owned();
        let reporter = Arc::new(self.audience.reporter(&job));
        self.started += 1;
        let number = self.started;
        let (teller, tell) = (Arc::clone(&reporter), self.tell.clone());
        let (audience, last) = (self.audience.clone(), Arc::clone(&self.last));
        let concealing = job.secrets.clone();
        let on_event = Box::new(move |event: QueryEvent<'_>| {
            teller.tell(&event);
            audience.query(&event, &concealing);
            match event {
                QueryEvent::Started { next, is_replay: false } => {
                    *last.lock() = next.0.checked_sub(1).map(BatchId);
                }
                QueryEvent::Progress(progress) => {
                    *last.lock() = Some(BatchId(progress.batch_id));
                }
                _ => {}
            }
            if let QueryEvent::Reloaded { plugin, digest, batch } = event {
                let plugin = plugin.to_owned();
                let _ = tell.send(Happened::Reloaded { query: number, plugin, digest, batch });
            }
        });
        let stop = StopSignal::new();
        let started = prepared.start(stop.clone(), on_event);
        let mut query = started.map_err(|error| conceal(error.to_string()))?;
        let (tell, last) = (self.tell.clone(), Arc::clone(&self.last));
        let run = move || {
            let outcome = query.run();
            reporter.end(&outcome);
            if let Err(EngineError::Batch { batch, .. }) = &outcome {
                *last.lock() = Some(*batch);
            }
            // The next start wants its checkpoint.
            query.close();
            let outcome = outcome.map_err(|error| {
                let ways = ways_out(&error).map(|ways| format!("\n{ways}")).unwrap_or_default();
                conceal(format!("{error}{ways}"))
            });
            let _ = tell.send(Happened::Ended { query: number, outcome });
        };
        let thread = thread::Builder::new().name(format!("query {}", job.name)).spawn(run);
        let thread = thread.map_err(|error| format!("no thread to run on: {error}"))?;
        self.running = Some(Running { number, job, stop, thread });
        Ok(())
    }

    /// Ends the query after its batch, and waits for it.
    fn stop(&mut self) {
        let Some(Running { stop, thread, .. }) = self.running.take() else { return };
        stop.stop();
        // Whoever tells must not wait for this thread meanwhile.
        while !thread.is_finished() {
            self.waiting.extend(self.told.recv_timeout(QUIET).ok());
        }
        drop(thread.join());
    }

    fn ended(&mut self, query: u64, outcome: Result<Outcome, String>) {
        if self.running.as_ref().is_some_and(|running| running.number == query) {
            self.stop();
        }
        match outcome {
            Ok(Outcome::Unread) => self.waiting.push_back(Happened::Quit),
            Ok(Outcome::Stopped | Outcome::Finished) => self.audience.ended(),
            Err(error) => self.audience.failed(&error),
        }
    }

    fn say_if_idle(&mut self) {
        if self.running.is_none() && !self.is_told && self.waiting.is_empty() {
            self.audience.idle();
            self.is_told = true;
        }
    }

    /// Shows what a plugin that was just taken changes in the batch before.
    fn show_difference(&self, query: u64, plugin: &str, digest: Digest, next: BatchId) {
        let running = self.running.as_ref().filter(|running| running.number == query);
        let (Some(running), Some(last)) = (running, next.0.checked_sub(1)) else { return };
        let job = running.job.clone();
        self.audience.again(BatchId(last), &job.secrets.clone(), |answer| {
            show_difference(job, BatchId(last), plugin, digest, answer)
        });
    }

    /// Runs the last batch again, with the job that runs or would run.
    fn show_again(&self) {
        let Some(last) = *self.last.lock() else {
            return self.audience.note("there is no batch yet that could be run again");
        };
        let job = match &self.running {
            Some(running) => Ok(running.job.clone()),
            None => Job::read(self.path, &self.overrides),
        };
        match job {
            Ok(job) => {
                self.audience
                    .again(last, &job.secrets.clone(), |answer| show_again(job, last, answer));
            }
            Err(error) => self.audience.wrong(&error.to_string()),
        }
    }
}
