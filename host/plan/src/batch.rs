//! All that differs from batch to batch, as the operators of a kept plan see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use tidemill_core::{
    Attempt, BatchContext, BatchSpec, MemoryBudget, QueryId, StateProgress, StateStore, Watermark,
};

use tidemill_time::Zone;

use crate::letters::{LetterRules, Letters};
use crate::{Migration, QueryMemory, ReadAhead};

/// What an attempt at a micro-batch runs on.
pub struct BatchRun {
    /// Name of the query.
    pub query: String,
    /// Which query it is over its restarts.
    pub query_id: QueryId,
    /// What is fixed for the batch.
    pub spec: BatchSpec,
    /// Which attempt at the batch.
    pub attempt: Attempt,
    /// Holds the state of the query's operators.
    pub state: Arc<dyn StateStore>,
    /// What was read of the batch before it began.
    pub ahead: ReadAhead,
    /// What its operators hold counts against it.
    pub memory: Arc<QueryMemory>,
    /// Which rows leave as dead letters; `None`: none, one that is refused fails the batch.
    pub letters: Option<LetterRules>,
    /// How the state gets into the form that the plan has.
    pub migration: Migration,
}

/// One attempt at a micro-batch while it runs. Operators find it in their task context, so that
/// two batches may run on one plan without seeing each other.
pub struct RunningBatch {
    run: BatchRun,
    letters: Option<Letters>,
    has_watermark: bool,
    rows_by_source: BTreeMap<String, AtomicU64>,
    event_times: Vec<AtomicEventTimes>,
    operators: Mutex<BTreeMap<u32, StateProgress>>,
    /// Operators and their partitions that had rows, of those that ask.
    inputs: Mutex<BTreeSet<(u32, usize)>>,
    is_abandoned: Arc<AtomicBool>,
}

impl RunningBatch {
    /// A batch of a plan that has these sources and so many watermarks.
    pub(crate) fn new(
        run: BatchRun,
        sources: &[String],
        watermarks: usize,
        zone: Zone,
    ) -> RunningBatch {
        let reservation =
            || run.memory.budget().reserve(format!("the dead letters of {}", run.query));
        let letters = run.letters.map(|rules| Letters::new(rules, zone, reservation()));
        RunningBatch {
            run,
            letters,
            has_watermark: watermarks > 0,
            rows_by_source: sources.iter().map(|name| (name.clone(), AtomicU64::new(0))).collect(),
            event_times: (0..watermarks).map(|_| AtomicEventTimes::new()).collect(),
            operators: Mutex::default(),
            inputs: Mutex::default(),
            is_abandoned: Arc::default(),
        }
    }

    /// The batch that a task works for.
    pub(crate) fn of(context: &TaskContext) -> Result<Arc<RunningBatch>> {
        context
            .session_config()
            .get_extension::<RunningBatch>()
            .ok_or_else(|| internal_datafusion_err!("a streaming operator ran outside a batch"))
    }

    /// Gives the attempt up: from here on its operators get an error where they work with state.
    /// They are tasks that may go on for a while, and must not change what is undone meanwhile.
    pub fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::SeqCst);
    }

    pub(crate) fn abandonment(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_abandoned)
    }

    /// What is fixed for the batch.
    #[must_use]
    pub fn spec(&self) -> &BatchSpec {
        &self.run.spec
    }

    /// What plugins are told, for one partition.
    #[must_use]
    pub fn context(&self, partition: u32) -> BatchContext {
        BatchContext {
            query: self.run.query.clone(),
            query_id: self.run.query_id.clone(),
            batch: self.run.spec.batch,
            attempt: self.run.attempt,
            partition,
            batch_time_ms: self.run.spec.batch_time_ms,
            watermark: self.watermark(),
        }
    }

    /// The watermark, where the query has one.
    #[must_use]
    pub fn watermark(&self) -> Option<Watermark> {
        self.has_watermark.then_some(self.run.spec.watermark)
    }

    /// What was read of it before it began.
    pub(crate) fn ahead(&self) -> &ReadAhead {
        &self.run.ahead
    }

    /// The process's budget.
    pub(crate) fn memory(&self) -> &MemoryBudget {
        self.run.memory.budget()
    }

    /// What DataFusion's operators run on.
    pub(crate) fn runtime(&self) -> Arc<RuntimeEnv> {
        self.run.memory.streaming()
    }

    /// Where refused rows go, if the job has a place for them.
    #[must_use]
    pub fn letters(&self) -> Option<&Letters> {
        self.letters.as_ref()
    }

    /// What is to be done with the state of an operator before all else.
    pub(crate) fn migration(&self) -> &Migration {
        &self.run.migration
    }

    pub(crate) fn state(&self) -> &dyn StateStore {
        self.run.state.as_ref()
    }

    pub(crate) fn count_rows(&self, source: &str, rows: u64) {
        if let Some(counter) = self.rows_by_source.get(source) {
            counter.fetch_add(rows, Ordering::Relaxed);
        }
    }

    pub(crate) fn observe_event_times(&self, watermark: usize, seen: EventTimes) {
        if let Some(times) = self.event_times.get(watermark) {
            times.add(seen);
        }
    }

    pub(crate) fn report_operator(&self, operator: u32, progress: StateProgress) {
        let mut operators = self.operators.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        operators.insert(operator, progress);
    }

    pub(crate) fn note_input(&self, operator: u32, partition: usize) {
        let mut inputs = self.inputs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        inputs.insert((operator, partition));
    }

    pub(crate) fn had_input(&self, operator: u32, partition: usize) -> bool {
        let inputs = self.inputs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        inputs.contains(&(operator, partition))
    }

    /// What the batch's run showed. Complete once its output was read to the end.
    #[must_use]
    pub fn report(&self) -> BatchReport {
        let operators = self.operators.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        BatchReport {
            rows_by_source: self
                .rows_by_source
                .iter()
                .map(|(name, rows)| (name.clone(), rows.load(Ordering::Relaxed)))
                .collect(),
            event_times: self.event_times.iter().map(AtomicEventTimes::get).collect(),
            state_operators: operators.values().cloned().collect(),
        }
    }
}

/// Figures of a batch.
#[derive(Clone, Debug, Default)]
pub struct BatchReport {
    /// Rows that each source gave.
    pub rows_by_source: BTreeMap<String, u64>,
    /// Event times that each watermark of the plan saw.
    pub event_times: Vec<EventTimes>,
    /// Stateful operators, the sink's side first.
    pub state_operators: Vec<StateProgress>,
}

/// Event times that passed a watermark, in microseconds since 1970-01-01 UTC. Nulls do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimes {
    /// How many.
    pub count: u64,
    /// The smallest; meaningless where `count` is 0.
    pub min: i64,
    /// The largest; meaningless where `count` is 0.
    pub max: i64,
    /// Their sum in milliseconds, for the mean.
    pub sum_ms: i64,
}

impl EventTimes {
    /// The largest, if there was any.
    #[must_use]
    pub fn largest(&self) -> Option<i64> {
        (self.count > 0).then_some(self.max)
    }
}

struct AtomicEventTimes {
    count: AtomicU64,
    min: AtomicI64,
    max: AtomicI64,
    sum_ms: AtomicI64,
}

impl AtomicEventTimes {
    fn new() -> AtomicEventTimes {
        AtomicEventTimes {
            count: AtomicU64::new(0),
            min: AtomicI64::new(i64::MAX),
            max: AtomicI64::new(i64::MIN),
            sum_ms: AtomicI64::new(0),
        }
    }

    fn add(&self, seen: EventTimes) {
        self.count.fetch_add(seen.count, Ordering::Relaxed);
        self.min.fetch_min(seen.min, Ordering::Relaxed);
        self.max.fetch_max(seen.max, Ordering::Relaxed);
        // Wrapping: a mean for people to read, not a result.
        self.sum_ms.fetch_add(seen.sum_ms, Ordering::Relaxed);
    }

    fn get(&self) -> EventTimes {
        EventTimes {
            count: self.count.load(Ordering::Relaxed),
            min: self.min.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
            sum_ms: self.sum_ms.load(Ordering::Relaxed),
        }
    }
}
