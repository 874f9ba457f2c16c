//! Lets the first row of each key pass, over the life of a query.
//!
//! The rules are Spark's (StreamingDeduplicateExec, StreamingDeduplicateWithinWatermarkExec): late
//! rows are left out; a key is forgotten when the watermark reaches its event time, where that is
//! one of the key's columns, or the event time of its first row and the delay, for the kind within
//! the watermark; otherwise never.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::RowConverter;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use tidemill_core::Bucket;

use super::encoding::{comparable, encoding};
use super::forms::TakesOver;
use super::inputs::Inputs;
use super::output::Output;
use super::properties::{debug_as_shown, one_input, only, plain};
use super::stateful::{
    OperatorState, Placement, StateCounts, Stateful, StatefulOperator, placement,
};
use crate::RunningBatch;
use crate::logical::EventTimeColumn;

/// A key forgotten within the watermark is the only member of its group.
const ONLY: u64 = 0;

/// Its plan-time half: nothing but the placement differs between plans.
struct Keys {
    columns: Vec<usize>,
    converter: RowConverter,
    schema: SchemaRef,
    /// Of the input: by it rows are late.
    time: Option<EventTimeColumn>,
    forget: Forget,
}

/// When a key is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forget {
    Never,
    /// When the watermark reaches the key's event time.
    ByEventTime,
    /// So many microseconds after the event time of its first row.
    AfterFirst(i64),
}

/// Passes the first row of each key.
pub(super) struct DeduplicateExec {
    input: Arc<dyn ExecutionPlan>,
    keys: Arc<Keys>,
    placement: Option<Placement>,
    properties: Arc<PlanProperties>,
}

impl DeduplicateExec {
    pub(super) fn try_new(
        input: Arc<dyn ExecutionPlan>,
        columns: &[String],
        within: Option<i64>,
    ) -> Result<DeduplicateExec> {
        let schema = input.schema();
        let columns =
            columns.iter().map(|name| Ok(schema.index_of(name)?)).collect::<Result<Vec<_>>>()?;
        let key_schema = Arc::new(schema.project(&columns)?);
        let converter = encoding(key_schema.fields().iter().map(|field| field.data_type()))?;
        let time = EventTimeColumn::of(&schema)?;
        let forget = match (within, time) {
            (Some(delay), _) => Forget::AfterFirst(delay),
            (None, Some(time)) if columns.contains(&time.column) => Forget::ByEventTime,
            (None, _) => Forget::Never,
        };
        Ok(DeduplicateExec {
            properties: plain(input.schema(), 1, EmissionType::Incremental),
            keys: Arc::new(Keys { converter, columns, schema: key_schema, time, forget }),
            placement: None,
            input,
        })
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> DeduplicateExec {
        DeduplicateExec {
            input,
            keys: Arc::clone(&self.keys),
            placement: self.placement,
            properties: Arc::clone(&self.properties),
        }
    }
}

impl Stateful for DeduplicateExec {
    fn drops_late(&self) -> bool {
        true
    }

    fn placed(
        &self,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        placement: Placement,
    ) -> Result<(Arc<dyn ExecutionPlan>, StatefulOperator)> {
        let description = StatefulOperator {
            id: placement.operator,
            name: self.keys.name().to_owned(),
            details: self.keys.describe_eviction().to_owned(),
            key: Arc::clone(&self.keys.schema),
            value: Arc::new(Schema::empty()),
            follows: placement.lag,
            timers: None,
            takes_over: TakesOver::Nothing,
        };
        let placed = DeduplicateExec { placement: Some(placement), ..self.over(only(inputs)?) };
        Ok((Arc::new(placed), description))
    }
}

impl Keys {
    /// Spark's name for the operator.
    fn name(&self) -> &'static str {
        match self.forget {
            Forget::AfterFirst(_) => "dedupeWithinWatermark",
            Forget::Never | Forget::ByEventTime => "dedupe",
        }
    }

    /// When keys are forgotten, for people and for the check at a restart. How far the watermark
    /// stays behind may change: each key has the time at which it is forgotten.
    fn describe_eviction(&self) -> &'static str {
        match self.forget {
            Forget::Never => "keys are kept for ever",
            Forget::ByEventTime => "keys leave at their event time",
            Forget::AfterFirst(_) => "keys leave after the delay of the watermark",
        }
    }
}

/// One batch of it.
struct Run {
    keys: Arc<Keys>,
    placement: Placement,
    state: OperatorState,
    batch: Arc<RunningBatch>,
    counts: StateCounts,
    duplicates: u64,
}

impl Run {
    /// The rows of a block that pass.
    fn first_rows(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns: Vec<_> =
            self.keys.columns.iter().map(|column| Arc::clone(rows.column(*column))).collect();
        let keys = self.keys.converter.convert_columns(&comparable(&columns))?;
        let times = match self.keys.time {
            Some(time) => time.times(rows.columns())?,
            None => vec![None; rows.num_rows()],
        };
        let lateness = self.placement.lateness(self.batch.spec());
        let mut passes = Vec::with_capacity(rows.num_rows());
        for (key, time) in keys.iter().zip(times) {
            if time.is_some_and(|time| lateness.is_late(time)) {
                self.counts.dropped += 1;
                passes.push(false);
                continue;
            }
            let is_first = self.remember(key.as_ref(), time)?;
            self.counts.updated += u64::from(is_first);
            self.duplicates += u64::from(!is_first);
            passes.push(is_first);
        }
        Ok(filter_record_batch(rows, &BooleanArray::from(passes))?)
    }

    /// Whether the key is new; it is known from here on.
    fn remember(&self, key: &[u8], time: Option<i64>) -> Result<bool> {
        let at = |time: i64, add: i64| Bucket(time.saturating_add(add));
        self.state.shard(self.state.shard_of(key), |state| {
            let bucket = match self.keys.forget {
                Forget::Never => Bucket::FOREVER,
                Forget::ByEventTime => time.map_or(Bucket::FOREVER, |time| at(time, 0)),
                Forget::AfterFirst(delay) => {
                    let is_known = state.has_members(key);
                    if !is_known {
                        // Spark takes no time for 1970, here alone.
                        state.put_member(at(time.unwrap_or(0), delay), key, ONLY, &[])?;
                    }
                    return Ok(!is_known);
                }
            };
            let is_known = state.get(bucket, key).is_some();
            if !is_known {
                state.put(bucket, key, &[])?;
            }
            Ok(!is_known)
        })
    }

    /// Forgets the keys that the watermark has passed, and reports.
    fn finish(mut self) -> Result<()> {
        if self.keys.forget != Forget::Never {
            self.counts.removed = self.state.evict(&self.batch, &mut |_, _, _| {})?;
        }
        // Spark's name for it.
        let duplicates = ("numDroppedDuplicateRows".to_owned(), self.duplicates);
        self.counts.custom = BTreeMap::from([duplicates]);
        self.state.report(&self.batch, self.keys.name(), self.counts)
    }
}

debug_as_shown!(DeduplicateExec);

impl DisplayAs for DeduplicateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> =
            self.keys.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "Deduplicate: keys=[{}], forget={:?}", columns.join(", "), self.keys.forget)
    }
}

impl ExecutionPlan for DeduplicateExec {
    one_input!("Deduplicate");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (placement, batch) =
            (placement(self.placement, partition)?, RunningBatch::of(&context)?);
        let mut run = Run {
            keys: Arc::clone(&self.keys),
            state: placement.open(&batch),
            placement,
            batch,
            counts: StateCounts::default(),
            duplicates: 0,
        };
        let mut input = Inputs::start(&self.input, &context)?;
        Ok(Output::of(self.schema(), async move |output| {
            while let Some(block) = input.next().await? {
                output.send(&run.first_rows(&block)?).await?;
            }
            run.finish()
        }))
    }
}
