//! Runs the plan of a batch and hands its rows to the sink.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{RecordBatch, RecordBatchOptions};
use tidemill_core::{
    Begin, CallFailure, ConnectorError, Delivered, PluginError, PluginFailure, StateStore,
};
use tidemill_plan::{BatchRun, CallMemory, RunningBatch};

use crate::clock::Stopwatch;
use crate::handler::{HandlerCall, on_its_own_thread};
use crate::partitions::Partitions;
use crate::phase::{Executed, Planned};
use crate::places::{DEAD_LETTERS, SINK, as_seen_from};
use crate::query::Query;
use crate::rows::{RowsBuilder, StoredRows};
use crate::trace::section;
use crate::{EngineError, Output, QueryEvent};

/// What the plan of a batch gave.
struct Produced {
    rows: u64,
    /// Whether the sink had the batch already.
    has_landed: bool,
    /// For a handler.
    kept: Option<Kept>,
}

/// The rows that a handler is called with, and the memory of the call.
pub(crate) struct Kept {
    rows: Arc<StoredRows>,
    memory: Arc<CallMemory>,
}

impl Query {
    /// Computes all rows of a batch. The sink has them, and shows none.
    pub(crate) fn execute(&mut self, planned: &Planned) -> Result<Executed, EngineError> {
        let _section = section!("execute").entered();
        let watch = Stopwatch::start();
        let operators = self.forms.migration.operators();
        if operators > 0 {
            (self.on_event)(QueryEvent::Migrating { batch: planned.spec.batch, operators });
        }
        let batch = self.plan.batch(BatchRun {
            query: self.name.clone(),
            query_id: self.query_id.clone(),
            spec: planned.spec.clone(),
            attempt: planned.attempt.attempt,
            state: Arc::clone(&self.state) as Arc<dyn StateStore>,
            ahead: std::mem::take(&mut self.ahead),
            memory: Arc::clone(&self.memory),
            letters: self.dead_letters.as_ref().map(|letters| letters.rules),
            migration: self.forms.migration.clone(),
        });
        let executed = self.run_plan(planned, &batch).and_then(|produced| {
            self.hold_state(&batch)?;
            self.dead_letters.as_ref().map_or(Ok(()), |letters| letters.check(&batch))?;
            Ok(produced)
        });
        if executed.is_err() {
            batch.abandon();
        }
        self.laps.execute += watch.elapsed();
        let executed = executed.map_err(|reason| match operators {
            0 => reason,
            _ => EngineError::Migration(Box::new(reason)),
        });
        let Produced { rows, has_landed, kept } = executed?;
        let planned = planned.clone();
        let modules = self.in_use.clone();
        let delivered = BTreeMap::new();
        Ok(Executed { planned, batch, rows, has_landed, kept, delivered, modules })
    }

    /// Reads all rows of the plan into the sink, or keeps them for the handler.
    fn run_plan(
        &mut self,
        planned: &Planned,
        batch: &Arc<RunningBatch>,
    ) -> Result<Produced, EngineError> {
        let starting = section!("start_plan").entered();
        let delivery = planned.delivery(1);
        // Operators start tasks of their own.
        let _inside = self.runtime.enter();
        let streams = self.plan.run(batch).map_err(|error| EngineError::from_plan(&error))?;
        let budget = self.memory.budget();
        let mut partitions = Partitions::spawn(&self.runtime, streams, planned.spec.batch, budget);
        drop(starting);
        let schema = self.plan.schema();
        let mut rows = 0;
        let mut kept = None;
        let mut has_landed = false;
        match &mut self.output {
            Output::Sink(sink) => {
                let begun = section!("sink_begin").in_scope(|| sink.begin(delivery))?;
                has_landed = begun == Begin::Landed;
                while let Some(block) = partitions.next() {
                    let block = plain(&schema, &block?)?;
                    rows += block.num_rows() as u64;
                    if !has_landed {
                        section!("sink_write").in_scope(|| sink.write(&block))?;
                    }
                }
            }
            Output::Handler { .. } => {
                let memory = Arc::new(self.memory.call());
                let mut builder = RowsBuilder::new(Arc::clone(&schema), &memory);
                while let Some(block) = partitions.next() {
                    builder.push(plain(&schema, &block?)?)?;
                }
                let stored = builder.finish()?;
                rows = stored.count();
                kept = Some(Kept { rows: Arc::new(stored), memory });
            }
        }
        if has_landed && planned.attempt.attempt.0 > 0 {
            tracing::warn!(
                batch = planned.spec.batch.0,
                "the sink holds this batch from an earlier attempt, and keeps what it has"
            );
        }
        Ok(Produced { rows, has_landed, kept })
    }

    /// Counts the state as it is after the batch. It is undone if it has become too large.
    fn hold_state(&mut self, batch: &RunningBatch) -> Result<(), EngineError> {
        let operators = batch.report().state_operators;
        let bytes = operators.iter().map(|operator| operator.memory_used_bytes).sum();
        Ok(self.state_memory.try_resize(bytes)?)
    }

    /// Makes the rows of a batch visible, its dead letters first. Gives what the places with marks hold of it then.
    pub(crate) fn deliver(
        &mut self,
        executed: &Executed,
    ) -> Result<BTreeMap<String, Delivered>, EngineError> {
        let secrets = Arc::clone(&self.secrets);
        let mut letters = || match &mut self.dead_letters {
            Some(letters) => letters.deliver(executed, &secrets),
            None => Ok(None),
        };
        let of_letters = |delivered: Option<Delivered>| {
            delivered.map(|delivered| (DEAD_LETTERS.to_owned(), delivered))
        };
        match &mut self.output {
            Output::Sink(sink) => {
                if !executed.has_landed {
                    section!("sink_prepare").in_scope(|| sink.prepare())?;
                }
                let letters = of_letters(letters()?);
                if !executed.has_landed {
                    section!("sink_commit").in_scope(|| sink.commit())?;
                }
                let delivered = Delivered::of(sink.description(), &executed.planned.delivery(1));
                let delivered = letters.into_iter().chain([(SINK.to_owned(), delivered)]);
                Ok(self.of_marked_places(delivered.collect()))
            }
            Output::Handler { plugin, function, targets } => {
                let letters = of_letters(letters()?);
                let Some(Kept { rows, memory }) = &executed.kept else {
                    return Ok(BTreeMap::new());
                };
                let delivered = Arc::new(Mutex::new(letters.into_iter().collect()));
                let call = HandlerCall {
                    planned: executed.planned.clone(),
                    targets: targets.clone(),
                    checkpoint: Arc::clone(&self.checkpoint),
                    frames: Arc::clone(&self.frames),
                    secrets: Arc::clone(&self.secrets),
                    is_unread: Arc::default(),
                    delivered: Arc::clone(&delivered),
                    memory: Arc::clone(memory),
                };
                let is_unread = Arc::clone(&call.is_unread);
                let module =
                    self.in_use.iter().find(|module| module.name() == plugin).ok_or_else(|| {
                        EngineError::Execution(format!("there is no plugin \"{plugin}\""))
                    })?;
                let _section =
                    section!("handler", plugin = plugin.as_str(), function = function.as_str())
                        .entered();
                let context = executed.batch.context(0);
                let (host, frame) = call.start(Arc::clone(rows));
                // The guest computes on a thread where it holds no I/O up.
                let (module, called) = (Arc::clone(module), function.clone());
                let call =
                    async move { Ok(module.foreach_batch(&called, &context, host, frame).await) };
                let called = self.runtime.block_on(on_its_own_thread(call));
                let called = called.unwrap_or_else(|failure| {
                    Err(PluginError {
                        plugin: plugin.clone(),
                        function: function.clone(),
                        batch: Some(executed.planned.spec.batch),
                        failure: match failure {
                            CallFailure::Retryable(reason) => PluginFailure::Retryable(reason),
                            CallFailure::BadInput(reason) | CallFailure::Fatal(reason) => {
                                PluginFailure::Host(reason)
                            }
                        },
                    })
                });
                called.map_err(|error| match is_unread.get() {
                    Some(reason) => ConnectorError::unread(reason.clone()).into(),
                    None => EngineError::from(error),
                })?;
                let delivered =
                    std::mem::take(&mut *delivered.lock().unwrap_or_else(PoisonError::into_inner));
                Ok(self.of_marked_places(delivered))
            }
        }
    }

    /// Without the places that keep no marks: what they hold cannot be asked for later.
    fn of_marked_places(
        &self,
        mut delivered: BTreeMap<String, Delivered>,
    ) -> BTreeMap<String, Delivered> {
        delivered.retain(|name, _| self.marked_places.contains(name));
        for delivered in delivered.values_mut() {
            delivered.beside = as_seen_from(&self.checkpoint_path, &delivered.place);
        }
        delivered
    }
}

/// The block under the schema that outsiders are shown.
pub(crate) fn plain(
    schema: &arrow::datatypes::SchemaRef,
    block: &RecordBatch,
) -> Result<RecordBatch, EngineError> {
    let options = RecordBatchOptions::new().with_row_count(Some(block.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), block.columns().to_vec(), &options)
        .map_err(|error| EngineError::Execution(error.to_string()))
}
