//! A query that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tidemill_checkpoint::{
    Checkpoint, Disk, MemoryStateStore, OpenOptions, Recovered, StateBackend,
};
use tidemill_core::{
    Attempt, AttemptSpec, BatchId, BatchSpec, ConnectorError, Digest, Held, MemoryBudget, Progress,
    QueryId, Reservation, Secrets, ShardId, Source, SourceRange, StateStore, Trigger, Watermark,
    WatermarkNode, WatermarkPolicy, WatermarkTracker,
};
use tidemill_plan::{
    FORMS, Frames, PlannedQuery, QueryDefinition, QueryMemory, ReadAhead, WatermarkSpec,
};
use tidemill_types::Interval;

use crate::clock::Stopwatch;
use crate::construct::{NextBatch, Reading};
use crate::forms::Forms;
use crate::pace::Pace;
use crate::phase::{Executed, Phase, Planned};
use crate::places::{FirstStep, PlaceFound, Reached, Unfinished, first_step};
use crate::progress::{Finished, Laps, ProgressReporter, SourceMoved};
use crate::stop::Waiting;
use crate::threads::Threads;
use crate::trace::{BatchSection, section};
use crate::{Clock, DeadLetters, EngineError, Output, PlannedOutput, Plugins, StopSignal};

/// How long an idle query waits before it asks a source again that cannot call it: short after
/// rows, longer the longer there were none. A directory answers in microseconds.
const IDLE_WAIT_MIN: Duration = Duration::from_millis(10);
const IDLE_WAIT_MAX: Duration = Duration::from_millis(200);

/// How long the first retry of a batch waits; each further one waits twice as long.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// No wait for a retry is longer.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);

/// Microseconds of a millisecond.
const MICROS: i64 = 1_000;

/// A source that is to call, and does not, is asked all the same.
const CALL_WAIT_MAX: Duration = Duration::from_secs(30);

/// A source and the name of its table.
pub struct NamedSource {
    /// The name in the plan.
    pub name: String,
    /// The source.
    pub source: Box<dyn Source>,
}

/// What a job may set of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// When a batch starts.
    pub trigger: Trigger,
    /// Whether a batch may run without rows, to emit and evict by a watermark that moved.
    pub no_data_batches: bool,
    /// How several watermarks make one.
    pub watermark_policy: WatermarkPolicy,
    /// How often a batch whose failure may pass is tried again before it counts as failed. The
    /// first wait is a second, each further one twice as long.
    pub retries: u32,
}

/// Everything that a query is made of.
pub struct QueryConfig {
    /// Its name.
    pub name: String,
    /// Digest of the job's text.
    pub job: Digest,
    /// Digest of what each static table is read from.
    pub statics: BTreeMap<String, Digest>,
    /// What the engine may be set to.
    pub settings: Settings,
    /// What is planned. Its plugins are the present generations.
    pub definition: QueryDefinition,
    /// The plan of `definition`.
    pub plan: PlannedQuery,
    /// Its sources, opened.
    pub sources: Vec<NamedSource>,
    /// Its plugins.
    pub plugins: Box<dyn Plugins>,
    /// Where its checkpoint is.
    pub disk: Arc<dyn Disk>,
    /// The checkpoint's directory.
    pub checkpoint: PathBuf,
    /// How it is opened.
    pub checkpoint_options: OpenOptions,
    /// What becomes of a batch that an earlier run left unfinished.
    pub unfinished: Unfinished,
    /// The budget of the process.
    pub memory: MemoryBudget,
    /// Where rows of handlers go that do not fit into it, in a directory of the query's own. `None`:
    /// the directory `spill` of the checkpoint.
    pub spill: Option<PathBuf>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What must stand neither in the log nor in what guests are told.
    pub secrets: Secrets,
    /// Is told of what happens.
    pub on_event: Box<dyn FnMut(QueryEvent<'_>) + Send>,
}

/// What a query tells while it runs.
#[derive(Debug)]
pub enum QueryEvent<'a> {
    /// The checkpoint is open, and this is the first thing to do.
    Started {
        /// The batch that comes first.
        next: BatchId,
        /// It was planned by an earlier run.
        is_replay: bool,
    },
    /// A batch that a place holds was not in the log, which was put back from a copy: it is planned
    /// as it was, and run again for the state. The place keeps what it has.
    Adopted {
        /// The batch.
        batch: BatchId,
        /// The place.
        place: &'a str,
    },
    /// A batch was committed without its rows, as the user wished.
    Skipped {
        /// What it was to read.
        spec: &'a BatchSpec,
        /// Places that hold rows of it all the same.
        holding: &'a [String],
    },
    /// A batch was planned anew, as the user wished.
    Replanned {
        /// What it reads now.
        spec: &'a BatchSpec,
    },
    /// An attempt at a batch begins; its spec is durable.
    Running {
        /// The batch.
        batch: BatchId,
    },
    /// A batch ended.
    Progress(&'a Progress),
    /// Nothing is left to do of what the sources had when they were asked, and the query waits for
    /// more (Spark's onQueryIdle). It is told each time that the sources are asked in vain.
    Idle,
    /// The sources whose place does not answer, and since when (milliseconds since 1970-01-01 UTC):
    /// nobody knows what they have. It is told when that changes; none, when all answer again.
    Unanswered(&'a BTreeMap<String, i64>),
    /// A plugin's new bytes are in use from this batch on.
    Reloaded {
        /// The plugin.
        plugin: &'a str,
        /// Digest of the bytes.
        digest: Digest,
        /// The first batch that runs them.
        batch: BatchId,
    },
    /// A plugin's new bytes cannot be used; the old ones stay.
    ReloadRefused {
        /// The plugin.
        plugin: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// A batch takes over, before its rows, the state that an earlier generation of a plugin kept.
    Migrating {
        /// The batch.
        batch: BatchId,
        /// Operators whose state it is.
        operators: usize,
    },
    /// A batch failed and is tried again.
    Retrying {
        /// The batch.
        batch: BatchId,
        /// What failed.
        reason: &'a EngineError,
        /// How long it waits.
        wait: Duration,
    },
}

/// How a query ended, when it ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was asked to.
    Stopped,
    /// Everything that its trigger asked for is done.
    Finished,
    /// Nobody reads what its sink writes any more. The batch in flight is not committed, and the
    /// next start runs it again.
    Unread,
}

/// The directory of one query for rows that do not fit into memory.
fn spill_directory(place: Option<PathBuf>, checkpoint: &Path, query: &QueryId) -> PathBuf {
    match place {
        Some(place) => place.join(format!("tidemill-{query}")),
        None => checkpoint.join("spill"),
    }
}

/// A query, from its checkpoint on.
pub struct Query {
    pub(crate) name: String,
    pub(crate) query_id: QueryId,
    pub(crate) job: Digest,
    pub(crate) statics: BTreeMap<String, Digest>,
    pub(crate) settings: Settings,
    pub(crate) definition: QueryDefinition,
    pub(crate) plan: PlannedQuery,
    pub(crate) forms: Forms,
    /// The plan of a replayed batch runs plugins from the checkpoint; the next one does not.
    pub(crate) runs_logged_plugins: bool,
    pub(crate) reading: Reading,
    /// What was read of the next batch.
    pub(crate) ahead: ReadAhead,
    pub(crate) output: Output,
    pub(crate) dead_letters: Option<DeadLetters>,
    pub(crate) plugins: Box<dyn Plugins>,
    /// What the plan was made with.
    pub(crate) in_use: Vec<Arc<dyn tidemill_core::PluginModule>>,
    pub(crate) checkpoint: Arc<Mutex<Checkpoint>>,
    pub(crate) state: Arc<MemoryStateStore>,
    pub(crate) tracker: WatermarkTracker,
    /// Of the last batch.
    pub(crate) last_watermark: Watermark,
    pub(crate) next_batch: BatchId,
    /// Tries of the running attempt after the first.
    retries: u32,
    /// Whether a batch has run since the start: only then may one without rows follow.
    pub(crate) has_run: bool,
    /// When batches start.
    pub(crate) pace: Pace,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) runtime: Threads,
    pub(crate) frames: Arc<Frames>,
    pub(crate) memory: Arc<QueryMemory>,
    /// What the state takes of it.
    pub(crate) state_memory: Reservation,
    pub(crate) reporter: ProgressReporter,
    pub(crate) laps: Laps,
    pub(crate) on_event: Box<dyn FnMut(QueryEvent<'_>) + Send>,
    /// No batch without rows runs for timers after this time: the end of what is available now.
    timers_until_ms: Option<i64>,
    stop: StopSignal,
    waiting: Waiting,
    /// The checkpoint's directory.
    pub(crate) checkpoint_path: PathBuf,
    /// Names of sink and targets that keep marks.
    pub(crate) marked_places: BTreeSet<String>,
    /// Where the sources stand after the batch that runs, when the log is to begin a new segment
    /// after it.
    roll_at: Option<BTreeMap<String, Value>>,
    /// The thread that folds closed segments of the log into a snapshot.
    folding: Option<JoinHandle<()>>,
    pub(crate) first: Option<FirstStep>,
}

impl Query {
    /// Reads the checkpoint, compares it with what the places hold, and if they fit opens both, and
    /// sets the sources to where the query goes on. Where they do not fit, both stay as they are.
    pub fn open(
        config: QueryConfig,
        output: Box<dyn PlannedOutput>,
        stop: StopSignal,
    ) -> Result<Query, EngineError> {
        let state_memory = config.memory.reserve(format!("the state of {}", config.name));
        let (disk, path) = (config.disk, &config.checkpoint);
        let found = Checkpoint::find(disk, path, config.checkpoint_options, state_memory)?;
        let mut kept = None;
        let compared = match found.recovered()? {
            Some(recovered) => {
                kept = recovered.pinned.get(FORMS).cloned();
                let places = output.places(&recovered.query_id)?;
                let first = first_step(path, &recovered, &places, config.unfinished);
                Some((first.map_err(EngineError::Incompatible)?, places))
            }
            None => None,
        };
        let forms = Forms::of(kept.as_ref(), &config.plan)?;
        let opened = found.begin()?;
        let recovered = opened.recovered;
        let (first, places) = match compared {
            Some(compared) => compared,
            // Nobody has rows of a query that begins.
            None => {
                (FirstStep::Resume(recovered.next.clone()), output.places(&recovered.query_id)?)
            }
        };
        let dead_letters = output.open_dead_letters(&recovered.query_id)?;
        let output = output.open(&recovered.query_id)?;
        let waiting = stop.waiting();
        let mut reading = Reading::new(config.sources, &waiting.wake());
        let mut plugins = config.plugins;
        plugins.notify(waiting.wake());
        reading.restore(&recovered.positions, &ranges_before(&first, &recovered))?;
        reading.connect()?;
        let node = |spec: &WatermarkSpec| WatermarkNode {
            delay_ms: spec.delay.millis(),
            idle_ms: spec.idle.map(Interval::millis),
        };
        let nodes = config.plan.watermarks().iter().map(node).collect();
        let tracker =
            WatermarkTracker::new(config.settings.watermark_policy, nodes, recovered.watermark);
        let runtime = Threads::start(config.definition.scan_partitions.max(2))?;
        let spill = spill_directory(config.spill, &config.checkpoint, &recovered.query_id);
        let memory = QueryMemory::new(config.memory, &spill)?;
        let in_use = plugins.current();
        let frames = Arc::new(Frames::in_zone(&config.definition.time_zone));
        let reporter = ProgressReporter::new(&config.name, &recovered.query_id);
        Ok(Query {
            name: config.name,
            query_id: recovered.query_id,
            job: config.job,
            statics: config.statics,
            settings: config.settings,
            definition: config.definition,
            forms,
            plan: config.plan,
            runs_logged_plugins: false,
            reading,
            ahead: ReadAhead::default(),
            output,
            dead_letters,
            plugins,
            in_use,
            checkpoint: Arc::new(Mutex::new(opened.checkpoint)),
            state: opened.state,
            tracker,
            last_watermark: recovered.late_watermark,
            next_batch: BatchId::FIRST,
            retries: 0,
            has_run: false,
            pace: Pace::new(config.settings.trigger, config.clock),
            secrets: Arc::new(config.secrets),
            runtime,
            frames,
            memory: Arc::new(memory),
            state_memory: opened.state_memory,
            reporter,
            laps: Laps::default(),
            on_event: config.on_event,
            timers_until_ms: None,
            stop,
            waiting,
            checkpoint_path: config.checkpoint,
            marked_places: marked(&places),
            roll_at: None,
            folding: None,
            first: Some(first),
        })
    }

    /// Constant over restarts.
    #[must_use]
    pub fn id(&self) -> &QueryId {
        &self.query_id
    }

    /// Settles the batch that an earlier run left unfinished, as was asked, and runs none.
    pub fn settle(&mut self) -> Result<(), EngineError> {
        self.store_plugins()?;
        self.first_phase().map(drop)
    }

    /// Runs batches until the query is asked to stop, its trigger is satisfied, one fails, or
    /// nobody reads them any more.
    pub fn run(&mut self) -> Result<Outcome, EngineError> {
        let outcome = match self.run_batches() {
            Err(error) if error.is_unread() => Outcome::Unread,
            outcome => outcome?,
        };
        // Who is started again and again for what there is would never have a snapshot otherwise.
        if let (Outcome::Finished, Some(folding)) = (outcome, self.folding.take()) {
            // What went wrong there was said there.
            let _ = folding.join();
        }
        Ok(outcome)
    }

    fn run_batches(&mut self) -> Result<Outcome, EngineError> {
        self.store_plugins()?;
        self.fold_closed()?;
        let mut phase = self.first_phase()?;
        if self.settings.trigger == Trigger::AvailableNow {
            self.reading.stop_at_present_end()?;
        }
        let mut wait = IDLE_WAIT_MIN;
        if !matches!(phase, Phase::Idle) {
            // A batch of an earlier run belongs to the first trigger of this one.
            self.pace.trigger();
        }
        let mut in_batch = BatchSection::default();
        loop {
            in_batch.follow(&self.name, &phase);
            if let Phase::Idle = phase {
                if self.stop.is_set() {
                    return Ok(Outcome::Stopped);
                }
                if self.has_run && self.settings.trigger == Trigger::Once {
                    return Ok(Outcome::Finished);
                }
                if self.waiting.for_time(self.pace.left()) {
                    return Ok(Outcome::Stopped);
                }
                self.take_plugin_changes()?;
                let triggered_at = self.pace.trigger();
                if self.settings.trigger.is_bounded() {
                    self.timers_until_ms.get_or_insert(triggered_at);
                }
                in_batch.begin(&self.name, self.next_batch);
                let constructed = self.construct(triggered_at)?;
                if constructed.is_none() {
                    in_batch.forget();
                }
                match constructed {
                    Some(planned) => phase = Phase::Constructed(planned),
                    None if self.settings.trigger.is_bounded() && self.reading.is_exhausted() => {
                        return Ok(Outcome::Finished);
                    }
                    None => {
                        (self.on_event)(QueryEvent::Idle);
                        if self.waiting.for_work(self.idle_wait(wait, triggered_at)) {
                            return Ok(Outcome::Stopped);
                        }
                        wait = (wait * 2).min(IDLE_WAIT_MAX);
                        continue;
                    }
                }
            }
            wait = IDLE_WAIT_MIN;
            // A retry that waits: the spec of the batch stays in the log, and the next start runs it.
            // What was delivered again is committed first.
            if matches!(phase, Phase::Logged(_)) && self.retries > 0 && self.stop.is_set() {
                return Ok(Outcome::Stopped);
            }
            phase = self.advance(phase)?;
        }
    }

    /// Performs one effect and gives the phase that it reached.
    fn advance(&mut self, phase: Phase) -> Result<Phase, EngineError> {
        match phase {
            Phase::Idle => Ok(Phase::Idle),
            Phase::Constructed(planned) => {
                let _section = section!("log_plan").entered();
                let watch = Stopwatch::start();
                {
                    let mut checkpoint = self.checkpoint();
                    checkpoint.append_planned(&planned.spec, &planned.attempt)?;
                    checkpoint.sync()?;
                }
                self.laps.wal_commit += watch.elapsed();
                Ok(Phase::Logged(planned))
            }
            Phase::Logged(planned) => {
                (self.on_event)(QueryEvent::Running { batch: planned.spec.batch });
                match self.execute(&planned) {
                    Ok(executed) => {
                        self.read_ahead();
                        Ok(Phase::Executed(executed))
                    }
                    Err(reason) => self.again(planned, reason),
                }
            }
            Phase::Executed(executed) => {
                let _section = section!("deliver").entered();
                let watch = Stopwatch::start();
                match self.deliver(&executed) {
                    Ok(delivered) => {
                        self.laps.deliver += watch.elapsed();
                        Ok(Phase::Delivered(Executed { delivered, ..executed }))
                    }
                    Err(reason) => self.again(executed.planned, reason),
                }
            }
            Phase::Delivered(done) => self.commit(done),
        }
    }

    /// Lets go of the checkpoint, which a thread that makes a snapshot may have for a while yet.
    pub fn close(mut self) {
        if let Some(folding) = self.folding.take()
            && folding.join().is_err()
        {
            tracing::warn!("the thread that made a snapshot panicked");
        }
    }

    /// After a failure: runs the same attempt once more if that may help, or gives up.
    fn again(&mut self, planned: Planned, reason: EngineError) -> Result<Phase, EngineError> {
        let batch = planned.spec.batch;
        let may_help = reason.is_retryable() && self.retries < self.settings.retries;
        let reason = match self.undo() {
            Ok(()) if may_help => reason,
            // No failure: the next start runs the same attempt again, before other readers.
            Ok(()) if reason.is_unread() => return Err(reason),
            Ok(()) => return Err(self.fail(batch, planned.attempt.attempt, reason)),
            Err(abort) => {
                let reason = EngineError::NotUndone { reason: Box::new(reason), abort };
                return Err(self.fail(batch, planned.attempt.attempt, reason));
            }
        };
        let wait =
            RETRY_WAIT.saturating_mul(2_u32.saturating_pow(self.retries)).min(RETRY_WAIT_MAX);
        self.retries += 1;
        (self.on_event)(QueryEvent::Retrying { batch, reason: &reason, wait });
        self.waiting.for_time(wait);
        Ok(Phase::Logged(planned))
    }

    /// Makes state, sink and the place for dead letters forget the attempt. What was read ahead would be in the way of reading
    /// the batch again. After an error nobody knows what the sink would show at its next commit, so
    /// it is not used again.
    fn undo(&mut self) -> Result<(), ConnectorError> {
        self.state.discard();
        self.ahead = ReadAhead::default();
        let letters = self.dead_letters.as_mut().map_or(Ok(()), |letters| letters.sink.abort());
        match &mut self.output {
            Output::Sink(sink) => sink.abort().and(letters),
            Output::Handler { .. } => letters,
        }
    }

    /// Logs that an attempt failed, which was undone. State is as before it.
    fn fail(&mut self, batch: BatchId, attempt: Attempt, reason: EngineError) -> EngineError {
        // A checkpoint that cannot be written to is the reason itself.
        if !matches!(reason, EngineError::Checkpoint(_)) {
            let logged = {
                let mut checkpoint = self.checkpoint();
                checkpoint
                    .append_failed(batch, attempt, &self.secrets.conceal(&reason.to_string()))
                    .and_then(|()| checkpoint.sync())
            };
            if let Err(error) = logged {
                tracing::error!(%error, "the failure of the batch could not be logged");
            }
        }
        EngineError::Batch { batch, reason: Box::new(reason) }
    }

    /// Ends a batch. If the next is due, its spec is made durable by the same sync.
    fn commit(&mut self, done: Executed) -> Result<Phase, EngineError> {
        let _section = section!("commit").entered();
        let spec = &done.planned.spec;
        let report = done.batch.report();
        let largest: Vec<Option<i64>> = report.event_times.iter().map(|t| t.largest()).collect();
        let next_watermark = self.tracker.observe(&largest, spec.batch_time_ms);
        let watch = Stopwatch::start();
        let mut laps = std::mem::take(&mut self.laps);
        let sources = self.reader_progress(&done);
        let state = Arc::clone(&self.state);
        section!("log_state").in_scope(|| {
            let delivered = done.delivered.clone();
            self.checkpoint().append_committed_renewing(
                spec.batch,
                next_watermark,
                state.as_ref(),
                delivered,
                self.forms.renewed(),
            )
        })?;
        self.forms.commit();
        self.last_watermark = spec.watermark;
        self.next_batch = spec.batch.next();
        self.has_run = true;
        self.retries = 0;
        self.note_positions();
        // The commit has to become durable whatever comes of the next batch.
        let next = self.construct_if_due();
        let appended = match &next {
            Ok(Some(next)) => self.checkpoint().append_planned(&next.spec, &next.attempt),
            _ => Ok(()),
        };
        section!("log_sync").in_scope(|| self.checkpoint().sync())?;
        section!("apply_state").in_scope(|| self.state.apply());
        laps.commit_offsets += watch.elapsed();
        let finished = Finished {
            done: &done,
            report: &report,
            sources,
            sink: self.output.description(),
            plugins: &done.modules,
            laps,
            has_watermark: self.tracker.is_tracking(),
        };
        let progress = self.reporter.report(finished);
        (self.on_event)(QueryEvent::Progress(&progress));
        appended?;
        self.roll_if_long()?;
        Ok(next?.map_or(Phase::Idle, Phase::Logged))
    }

    /// What is known of the sources of a batch before the next one moves them on.
    fn reader_progress(&self, done: &Executed) -> Vec<SourceMoved> {
        let ranges = &done.planned.spec.ranges;
        self.reading
            .sources()
            .iter()
            .map(|named| {
                let end = self.reading.end(&named.name);
                let range = ranges.get(&named.name);
                let start = range.map_or_else(|| end.clone(), |range| range.start.clone());
                let end = range.map_or(end, |range| range.end.clone());
                SourceMoved {
                    name: named.name.clone(),
                    description: named.source.description(),
                    start,
                    latest: named.source.latest(),
                    metrics: named.source.metrics(&end),
                    end,
                }
            })
            .collect()
    }

    /// Reads of the next batch what is settled already, while this one is delivered.
    fn read_ahead(&mut self) {
        if !self.goes_on() {
            return;
        }
        self.note_positions();
        let ranges = self.reading.fix_settled();
        if ranges.is_empty() {
            return;
        }
        match self.plan.read_ahead(self.next_batch.next(), &ranges, self.memory.budget()) {
            Ok(ahead) => self.ahead = ahead,
            // It comes again when the batch reads, and then it counts.
            Err(error) => tracing::debug!(%error, "not read ahead"),
        }
    }

    /// Whether another batch follows at once, if there are rows.
    fn goes_on(&self) -> bool {
        self.pace.is_due() && self.settings.trigger != Trigger::Once && !self.stop.is_set()
    }

    /// The next batch, if its time has come while the last one ran.
    fn construct_if_due(&mut self) -> Result<Option<Planned>, EngineError> {
        if !self.goes_on() {
            return Ok(None);
        }
        self.take_plugin_changes()?;
        let triggered_at = self.pace.trigger();
        self.construct(triggered_at)
    }

    pub(crate) fn attempt(&self, attempt: Attempt) -> AttemptSpec {
        let plugins = self.in_use.iter().map(|m| (m.name().to_owned(), m.digest())).collect();
        AttemptSpec { attempt, plugins, job: self.job, statics: self.statics.clone() }
    }

    fn construct(&mut self, now_ms: i64) -> Result<Option<Planned>, EngineError> {
        let _section = section!("construct", batch = self.next_batch.0).entered();
        let watch = Stopwatch::start();
        let constructed = self.reading.construct(&self.constructing(now_ms))?;
        if let Some(unanswered) = self.reading.newly_unanswered(now_ms) {
            (self.on_event)(QueryEvent::Unanswered(unanswered));
        }
        self.laps.latest_offset += watch.elapsed();
        Ok(constructed.map(|spec| Planned::new(spec, self.attempt(Attempt::FIRST))))
    }

    pub(crate) fn constructing(&self, now_ms: i64) -> NextBatch {
        let watermark = self.tracker.current();
        let mut operators = self.plan.operators().iter();
        let is_wanted = operators.any(|op| op.wants_batch(self.last_watermark, watermark));
        let until_ms = self.timers_until_ms.map_or(now_ms, |until_ms| until_ms.min(now_ms));
        let is_timer_due = self.next_timer_ms().is_some_and(|due_ms| due_ms <= until_ms);
        NextBatch {
            batch: self.next_batch,
            batch_time_ms: now_ms,
            watermark,
            late_watermark: self.last_watermark,
            is_unlimited: self.settings.trigger == Trigger::Once,
            may_have_no_data: self.settings.no_data_batches
                && self.settings.trigger != Trigger::Once
                && (self.has_run && is_wanted || is_timer_due),
        }
    }

    /// From which batch time on a timer is due that goes by it: milliseconds since 1970-01-01 UTC.
    fn next_timer_ms(&self) -> Option<i64> {
        let timers = self.plan.operators().iter().filter_map(|operator| operator.timers);
        let shards = || (0..self.definition.shuffle_partitions).map(ShardId);
        let first = timers.flat_map(|timers| shards().map(move |shard| (timers, shard)));
        let first = first.filter_map(|(timers, shard)| {
            let shard = self.state.shard(timers, shard);
            shard.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).first()
        });
        // A timer is due once its time has passed.
        Some(first.min()?.0.div_euclid(MICROS).saturating_add(1))
    }

    /// How long an idle query waits before it looks again for rows and due timers, unless it is called.
    fn idle_wait(&self, now_and_then: Duration, now_ms: i64) -> Duration {
        let sources = self.reading.ask_again(now_and_then).min(CALL_WAIT_MAX);
        let may_have_no_data = self.settings.no_data_batches;
        let timer = self.next_timer_ms().filter(|_| may_have_no_data);
        match timer.map(|due_ms| u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0)) {
            Some(left_ms) => sources.min(Duration::from_millis(left_ms)),
            None => sources,
        }
    }

    /// When the segment of the log is long: notes where the sources stand after the batch that
    /// runs, before the ranges of the next move them on.
    fn note_positions(&mut self) {
        if self.roll_at.is_none() && self.checkpoint().wants_roll() {
            self.roll_at = self.reading.positions();
        }
    }

    /// Begins a new segment of the log when the present one is long.
    fn roll_if_long(&mut self) -> Result<(), EngineError> {
        let Some(positions) = self.roll_at.take() else {
            return Ok(());
        };
        self.checkpoint().roll(positions)?;
        self.fold_closed()
    }

    /// Folds the closed segments of the log in the background, when there are enough of them.
    fn fold_closed(&mut self) -> Result<(), EngineError> {
        let Some(task) = self.checkpoint().snapshot_task()? else {
            return Ok(());
        };
        let failed = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "could not make a snapshot; the log stays");
        };
        let thread = std::thread::Builder::new().name("tidemill-snapshot".to_owned());
        let started = thread.spawn(move || match task.run() {
            Ok(report) => tracing::debug!(?report, "made a snapshot"),
            Err(error) => failed(&error),
        });
        match started {
            Ok(folding) => self.folding = Some(folding),
            Err(error) => failed(&error),
        }
        Ok(())
    }

    pub(crate) fn checkpoint(&self) -> MutexGuard<'_, Checkpoint> {
        self.checkpoint.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Ranges that the sources stand behind when the first step is taken.
fn ranges_before(first: &FirstStep, recovered: &Recovered) -> Vec<BTreeMap<String, SourceRange>> {
    let unlogged = match first {
        FirstStep::Replan(_) => {
            return recovered.ranges_before_next().to_vec();
        }
        FirstStep::Adopt { spec, .. } => Some(&spec.ranges),
        FirstStep::Skip { left, .. } if left.reached == Reached::Unlogged => {
            Some(&left.spec.ranges)
        }
        FirstStep::Skip { .. } | FirstStep::Resume(_) => None,
    };
    recovered.ranges_since.iter().chain(unlogged).cloned().collect()
}

/// Names of the places that keep marks.
fn marked(places: &[PlaceFound]) -> BTreeSet<String> {
    let marked = places.iter().filter(|place| place.held != Held::Unknown);
    marked.map(|place| place.name.clone()).collect()
}
