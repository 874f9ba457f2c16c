//! Runs the plan of a batch and hands its rows to the sink.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use tidemill_core::{Begin, ConnectorError, Delivery, StateStore};
use tidemill_plan::{BatchRun, RunningBatch};

use crate::clock::Stopwatch;
use crate::handler::HandlerCall;
use crate::partitions::Partitions;
use crate::phase::{Executed, Planned};
use crate::query::Query;
use crate::rows::{RowsBuilder, StoredRows};
use crate::trace::section;
use crate::{EngineError, Output};

/// What the plan of a batch gave.
struct Produced {
    rows: u64,
    /// Whether the sink had the batch already.
    has_landed: bool,
    /// For a handler.
    kept: Option<Arc<StoredRows>>,
}

impl Query {
    /// Computes all rows of a batch. The sink has them, and shows none.
    pub(crate) fn execute(&mut self, planned: &Planned) -> Result<Executed, EngineError> {
        let _section = section!("execute").entered();
        let watch = Stopwatch::start();
        let batch = self.plan.batch(BatchRun {
            query: self.name.clone(),
            query_id: self.query_id.clone(),
            spec: planned.spec.clone(),
            attempt: planned.attempt.attempt,
            state: Arc::clone(&self.state) as Arc<dyn StateStore>,
            ahead: std::mem::take(&mut self.ahead),
        });
        let executed = self.run_plan(planned, &batch);
        if executed.is_err() {
            batch.abandon();
        }
        self.laps.execute += watch.elapsed();
        let Produced { rows, has_landed, kept } = executed?;
        let planned = planned.clone();
        let modules = self.in_use.clone();
        Ok(Executed { planned, batch, rows, has_landed, kept, modules })
    }

    /// Reads all rows of the plan into the sink, or keeps them for the handler.
    fn run_plan(
        &mut self,
        planned: &Planned,
        batch: &Arc<RunningBatch>,
    ) -> Result<Produced, EngineError> {
        let starting = section!("start_plan").entered();
        let delivery = delivery(planned);
        // Operators start tasks of their own.
        let _inside = self.runtime.enter();
        let streams = self.plan.run(batch).map_err(|error| EngineError::from_plan(&error))?;
        let mut partitions = Partitions::spawn(&self.runtime, streams, planned.spec.batch);
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
                let mut builder = RowsBuilder::new(Arc::clone(&schema));
                while let Some(block) = partitions.next() {
                    builder.push(plain(&schema, &block?)?)?;
                }
                let stored = builder.finish()?;
                rows = stored.count();
                kept = Some(Arc::new(stored));
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

    /// Makes the rows of a batch visible.
    pub(crate) fn deliver(&mut self, executed: &Executed) -> Result<(), EngineError> {
        match &mut self.output {
            Output::Sink(_) if executed.has_landed => Ok(()),
            Output::Sink(sink) => {
                section!("sink_prepare").in_scope(|| sink.prepare())?;
                Ok(section!("sink_commit").in_scope(|| sink.commit())?)
            }
            Output::Handler { plugin, function, targets } => {
                let Some(rows) = executed.kept.clone() else {
                    return Ok(());
                };
                let call = HandlerCall {
                    batch: executed.planned.spec.batch,
                    attempt: executed.planned.attempt.attempt,
                    targets: targets.clone(),
                    checkpoint: Arc::clone(&self.checkpoint),
                    frames: Arc::clone(&self.frames),
                    secrets: Arc::clone(&self.secrets),
                    is_unread: Arc::default(),
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
                let (host, frame) = call.start(rows);
                let called = module.foreach_batch(function, &context, host, frame);
                self.runtime.block_on(called).map_err(|error| match is_unread.get() {
                    Some(reason) => ConnectorError::unread(reason.clone()).into(),
                    None => error.into(),
                })
            }
        }
    }
}

fn delivery(planned: &Planned) -> Delivery {
    Delivery { batch: planned.spec.batch, attempt: planned.attempt.attempt, call: 1 }
}

/// The block under the schema that outsiders are shown.
fn plain(
    schema: &arrow::datatypes::SchemaRef,
    block: &RecordBatch,
) -> Result<RecordBatch, EngineError> {
    let options = RecordBatchOptions::new().with_row_count(Some(block.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), block.columns().to_vec(), &options)
        .map_err(|error| EngineError::Execution(error.to_string()))
}
