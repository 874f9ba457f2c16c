//! Runs a batch that is in the log once more, aside: no sink, mark, state or log sees anything of it.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tidemill_checkpoint::{Rewound, StateBackend};
use tidemill_core::{MemoryBudget, StateStore};
use tidemill_plan::{BatchRun, LetterRules, Migration, PlannedQuery, QueryMemory, ReadAhead};

use crate::execute::plain;
use crate::partitions::Partitions;
use crate::threads::Threads;
use crate::{EngineError, NamedSource};

/// What a batch is run again with.
pub struct ReplayConfig<'a> {
    /// Name of the query.
    pub name: &'a str,
    /// Its plan, whose readers are those of `sources`.
    pub plan: &'a PlannedQuery,
    /// Its sources, opened.
    pub sources: Vec<NamedSource>,
    /// Threads that compute.
    pub threads: usize,
    /// The budget of the process.
    pub memory: MemoryBudget,
    /// A directory that nobody else has, for rows that do not fit.
    pub spill: &'a Path,
    /// Which rows leave as dead letters; `None`: none.
    pub letters: Option<LetterRules>,
    /// How the state before the batch gets into the form that the plan has.
    pub migration: Migration,
}

/// What a batch gave beside its rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    /// Rows that it read.
    pub input_rows: u64,
    /// Rows that plugins refused.
    pub dead_letters: u64,
}

/// Runs the batch, and gives its rows to `rows` in their order. The state is as before it then.
///
/// # Errors
/// A source cannot be read, the batch fails, or `rows` does.
pub fn replay(
    config: ReplayConfig<'_>,
    batch: &Rewound,
    rows: &mut dyn FnMut(RecordBatch) -> Result<(), EngineError>,
) -> Result<Replayed, EngineError> {
    let mut sources = config.sources;
    sources.iter_mut().try_for_each(|named| named.source.connect())?;
    let threads = Threads::start(config.threads.max(2))?;
    let memory = Arc::new(QueryMemory::new(config.memory, config.spill)?);
    let running = config.plan.batch(BatchRun {
        query: config.name.to_owned(),
        query_id: batch.query_id.clone(),
        spec: batch.spec.clone(),
        attempt: batch.attempt.attempt,
        state: Arc::clone(&batch.state) as Arc<dyn StateStore>,
        ahead: ReadAhead::default(),
        memory: Arc::clone(&memory),
        letters: config.letters,
        migration: config.migration.clone(),
    });
    let mut run = || {
        // Operators start tasks of their own.
        let _inside = threads.enter();
        let streams = config.plan.run(&running).map_err(|error| EngineError::from_plan(&error))?;
        let (number, budget) = (batch.spec.batch, memory.budget());
        let mut partitions = Partitions::spawn(&threads, streams, number, budget);
        let schema = config.plan.schema();
        while let Some(block) = partitions.next() {
            rows(plain(&schema, &block?)?)?;
        }
        Ok(())
    };
    let outcome = run();
    if outcome.is_err() {
        running.abandon();
    }
    batch.state.discard();
    outcome.map(|()| Replayed {
        input_rows: running.report().rows_by_source.values().sum(),
        dead_letters: running.letters().map_or(0, tidemill_plan::Letters::count),
    })
}
