//! What all operators that keep state have in common: their numbers, their watermarks, their
//! shards.
//!
//! Each operator has an input watermark of its own (Spark's WatermarkPropagator): a watermark node
//! gives the query's, a join of time ranges gives less than it was given, by as much as its rows
//! may come late, and everything else gives the least that its inputs gave. So an operator's
//! watermark is the query's less a fixed lag.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use tidemill_core::{
    BatchSpec, Bucket, OperatorId, OutputMode, ShardId, ShardState, StateError, StateProgress,
    StateVisitor, Watermark,
};
use tidemill_frontend::without_qualifiers;

use super::deduplicate::DeduplicateExec;
use super::event_time::EventTimeWatermarkExec;
use super::forms::{OperatorForm, TakesOver};
use super::keyed::KeyedExec;
use super::late_rows::{LateBy, LateRowsExec};
use super::limit::StreamLimitExec;
use super::stream_join::StreamJoinExec;
use crate::RunningBatch;
use crate::logical::EventTimeColumn;

/// Rows of a record batch that leaves an operator.
pub(super) const OUTPUT_ROWS: usize = 8_192;

/// A stateful operator of a plan, as the checkpoint and the progress records know it.
#[derive(Clone, Debug)]
pub struct StatefulOperator {
    /// Its number, from the sink's side.
    pub id: OperatorId,
    /// Spark's name for it.
    pub name: String,
    /// What else must stay as it is while a checkpoint lives: a join's kind, and by what its state
    /// is evicted. May be empty.
    pub details: String,
    /// Schema of its keys.
    pub key: SchemaRef,
    /// Schema of its values.
    pub value: SchemaRef,
    /// Microseconds that its watermark stays behind the query's, where a watermark moves it: only
    /// then can a batch without rows have an effect.
    pub(crate) follows: Option<i64>,
    /// Where timers are that the batch's time makes due, if it has any: a batch without rows is worth
    /// running for them.
    pub timers: Option<OperatorId>,
    /// Other forms of its state that it goes on with.
    pub(crate) takes_over: TakesOver,
}

impl StatefulOperator {
    /// The same without the qualifiers that relations have in this plan: they may be others in the
    /// plan of a job that was changed elsewhere.
    fn in_the_querys_names(self) -> StatefulOperator {
        let named = |schema: &SchemaRef| {
            let fields = schema
                .fields()
                .iter()
                .map(|field| field.as_ref().clone().with_name(without_qualifiers(field.name())));
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        };
        StatefulOperator { key: named(&self.key), value: named(&self.value), ..self }
    }

    /// What a checkpoint knows of it.
    #[must_use]
    pub fn form(&self) -> OperatorForm {
        let (key, value) = (self.key.fields(), self.value.fields());
        let form = OperatorForm::of(&self.name, &self.details, key, value);
        match &self.takes_over {
            TakesOver::Keys(variables, _) => form.keeping(variables),
            TakesOver::Groups(_) | TakesOver::Nothing => form,
        }
    }

    /// Whether a batch without rows is worth running when the query's watermark has moved from
    /// `old`, with which the last batch evicted, to `new` (Spark's shouldRunAnotherBatch).
    #[must_use]
    pub fn wants_batch(&self, old: Watermark, new: Watermark) -> bool {
        self.follows.is_some_and(|lag| lagging(new, lag) > lagging(old, lag))
    }
}

/// An operator's watermark in microseconds. Before the query's has moved, all are 0.
fn lagging(watermark: Watermark, lag: i64) -> i64 {
    if watermark.millis == 0 { 0 } else { watermark.micros().saturating_sub(lag) }
}

/// A node of a plan that keeps state, before it knows its place.
pub(super) trait Stateful {
    /// The node over inputs that have their places, and what the checkpoint knows of it.
    fn placed(
        &self,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        placement: Placement,
    ) -> Result<(Arc<dyn ExecutionPlan>, StatefulOperator)>;

    /// How many numbers it takes, from its own one on.
    fn numbers(&self) -> u32 {
        1
    }

    /// Whether it leaves rows out of its inputs that are late by their first column of event time.
    fn drops_late(&self) -> bool {
        false
    }

    /// Microseconds by which its rows may leave later than its own watermark says.
    fn holds_back(&self) -> i64 {
        0
    }
}

/// Every kind of operator with state. An aggregation is DataFusion's until it is placed.
fn as_stateful(plan: &Arc<dyn ExecutionPlan>) -> Option<&dyn Stateful> {
    fn of<T: ExecutionPlan + Stateful>(plan: &Arc<dyn ExecutionPlan>) -> Option<&dyn Stateful> {
        plan.downcast_ref::<T>().map(|node| node as &dyn Stateful)
    }
    let is_last_half = |aggregate: &AggregateExec| {
        matches!(aggregate.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned)
    };
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return is_last_half(aggregate).then_some(aggregate as &dyn Stateful);
    }
    of::<DeduplicateExec>(plan)
        .or_else(|| of::<StreamLimitExec>(plan))
        .or_else(|| of::<StreamJoinExec>(plan))
        .or_else(|| of::<KeyedExec>(plan))
}

/// What all stateful operators of a plan share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatefulSettings {
    pub(crate) mode: OutputMode,
    pub(crate) shards: u32,
    /// Whether rows that are late become dead letters.
    pub(crate) keeps_late: bool,
}

/// The place of one operator in its plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    pub(super) operator: OperatorId,
    pub(super) mode: OutputMode,
    pub(super) shards: u32,
    /// Whether rows that are late become dead letters.
    pub(super) keeps_late: bool,
    /// Microseconds that its watermark stays behind the query's; `None`: no watermark reaches it.
    pub(super) lag: Option<i64>,
}

impl Placement {
    /// What is late in a batch: what the operator evicted by in the batch before.
    pub(super) fn lateness(&self, spec: &BatchSpec) -> Lateness {
        Lateness(self.lag.map(|lag| lagging(spec.late_watermark, lag)))
    }

    /// At or before this event time, in microseconds, state is evicted at the end of the batch.
    pub(super) fn evict(&self, spec: &BatchSpec) -> Option<i64> {
        self.lag.map(|lag| lagging(spec.watermark, lag))
    }

    /// The same where no watermark reaches it.
    pub(super) fn without_watermark(self) -> Placement {
        Placement { lag: None, ..self }
    }

    /// The operator's state, for one batch.
    pub(super) fn open(self, batch: &RunningBatch) -> OperatorState {
        let shard = |shard| batch.state().shard(self.operator, ShardId(shard));
        let shards = (0..self.shards).map(shard).collect();
        OperatorState { placement: self, shards, is_abandoned: batch.abandonment() }
    }
}

/// Which event times are late, in one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lateness(Option<i64>);

impl Lateness {
    /// Whether this event time, in microseconds, is at or before what has been evicted by.
    pub(super) fn is_late(self, time: i64) -> bool {
        self.0.is_some_and(|late| time <= late)
    }

    /// Up to which event time, in microseconds, rows are late.
    pub(super) fn until(self) -> Option<i64> {
        self.0
    }
}

/// The state of one operator while a batch runs: the store is asked for its shards once.
pub(super) struct OperatorState {
    placement: Placement,
    shards: Vec<Arc<Mutex<dyn ShardState>>>,
    is_abandoned: Arc<AtomicBool>,
}

impl OperatorState {
    /// The shard of a key.
    pub(super) fn shard_of(&self, key: &[u8]) -> ShardId {
        ShardId::of_key(key, self.placement.shards)
    }

    /// Works with one shard. An error if the attempt was given up.
    pub(super) fn shard<T>(
        &self,
        shard: ShardId,
        work: impl FnOnce(&mut (dyn ShardState + 'static)) -> Result<T, StateError>,
    ) -> Result<T> {
        let mut state: MutexGuard<'_, _> = self.shards[shard.0 as usize]
            .lock()
            .map_err(|_| exec_datafusion_err!("the state of a shard is broken"))?;
        // Asked while the shard is held: whoever undoes the attempt takes each shard after that.
        if self.is_abandoned.load(Ordering::SeqCst) {
            return exec_err!("the attempt at the batch was given up");
        }
        work(&mut *state).map_err(|error| DataFusionError::External(Box::new(error)))
    }

    /// Shows all entries, in (shard, bucket, key) order.
    pub(super) fn visit_all(&self, visit: &mut StateVisitor<'_>) -> Result<()> {
        self.all_shards().try_for_each(|shard| {
            self.shard(shard, |state| {
                state.scan(Bucket::FOREVER, visit);
                Ok(())
            })
        })
    }

    /// Removes the entries that the batch's watermark has passed. Shows them in (shard, bucket,
    /// key) order, and gives how many they were.
    pub(super) fn evict(&self, batch: &RunningBatch, visit: &mut StateVisitor<'_>) -> Result<u64> {
        let mut evicted = 0;
        for shard in self.all_shards() {
            evicted += self.evict_from(shard, batch, visit)?;
        }
        Ok(evicted)
    }

    /// The same for one shard.
    pub(super) fn evict_from(
        &self,
        shard: ShardId,
        batch: &RunningBatch,
        visit: &mut StateVisitor<'_>,
    ) -> Result<u64> {
        match self.placement.evict(batch.spec()) {
            Some(until) => self.shard(shard, |state| state.evict(Bucket(until), visit)),
            None => Ok(0),
        }
    }

    /// Reports a batch, with what the shards hold after it.
    pub(super) fn report(
        &self,
        batch: &RunningBatch,
        name: &str,
        counts: StateCounts,
    ) -> Result<()> {
        self.report_with(batch, name, counts, &[])
    }

    /// The same for an operator that has entries under other numbers, too.
    pub(super) fn report_with(
        &self,
        batch: &RunningBatch,
        name: &str,
        counts: StateCounts,
        others: &[&OperatorState],
    ) -> Result<()> {
        let shards = u64::from(self.placement.shards);
        let mut progress = StateProgress {
            operator_name: name.to_owned(),
            num_rows_updated: counts.updated,
            num_rows_removed: counts.removed,
            num_rows_dropped_by_watermark: counts.dropped,
            num_shuffle_partitions: shards,
            num_state_store_instances: shards,
            custom_metrics: counts.custom,
            ..StateProgress::default()
        };
        for state in std::iter::once(self).chain(others.iter().copied()) {
            for shard in state.all_shards() {
                let usage = state.shard(shard, |state| Ok(state.usage()))?;
                progress.num_rows_total += usage.rows;
                progress.memory_used_bytes += usage.bytes;
            }
        }
        batch.report_operator(self.placement.operator.0, progress);
        Ok(())
    }

    pub(super) fn all_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.placement.shards).map(ShardId)
    }
}

/// What a batch did to an operator's state.
#[derive(Default)]
pub(super) struct StateCounts {
    pub(super) updated: u64,
    pub(super) removed: u64,
    /// Late rows that were left out.
    pub(super) dropped: u64,
    pub(super) custom: BTreeMap<String, u64>,
}

impl StateCounts {
    /// The sum of what was done to parts of the state.
    pub(super) fn add(&mut self, other: StateCounts) {
        self.updated += other.updated;
        self.removed += other.removed;
        self.dropped += other.dropped;
        for (name, count) in other.custom {
            *self.custom.entry(name).or_default() += count;
        }
    }
}

/// Rows cut into record batches of at most so many.
pub(super) fn in_blocks(rows: &RecordBatch, most: usize) -> Vec<RecordBatch> {
    (0..rows.num_rows())
        .step_by(most)
        .map(|from| rows.slice(from, most.min(rows.num_rows() - from)))
        .collect()
}

/// Columns as rows of `schema`; they may be none.
pub(super) fn rows_of(
    schema: &SchemaRef,
    columns: Vec<arrow::array::ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Gives every stateful operator of a plan its place.
pub(crate) fn make_stateful(
    plan: Arc<dyn ExecutionPlan>,
    settings: StatefulSettings,
) -> Result<(Arc<dyn ExecutionPlan>, Vec<StatefulOperator>)> {
    let mut placing = Placing { settings, next: 0, operators: BTreeMap::new() };
    let (plan, _) = placing.place(plan)?;
    Ok((plan, placing.operators.into_values().collect()))
}

struct Placing {
    settings: StatefulSettings,
    next: u32,
    operators: BTreeMap<u32, StatefulOperator>,
}

/// A plan, and how far the watermark of its output stays behind the query's.
type Placed = (Arc<dyn ExecutionPlan>, Option<i64>);

/// The inputs of a node, and the lag of the slowest; those without a watermark do not count.
type PlacedInputs = (Vec<Arc<dyn ExecutionPlan>>, Option<i64>);

impl Placing {
    /// Numbers go from the sink's side, so an operator has its own before its inputs have theirs.
    fn place(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Placed> {
        let Some(operator) = as_stateful(&plan) else {
            let (inputs, lag) = self.place_inputs(&plan)?;
            let lag = if plan.is::<EventTimeWatermarkExec>() { Some(0) } else { lag };
            return Ok((replace_children_if_necessary(plan, inputs)?, lag));
        };
        let number = self.next;
        self.next += operator.numbers();
        let (inputs, lag) = self.place_inputs(&plan)?;
        let StatefulSettings { mode, shards, keeps_late } = self.settings;
        let placement = Placement { operator: OperatorId(number), mode, shards, keeps_late, lag };
        let inputs = match keeps_late && operator.drops_late() {
            true => inputs.into_iter().map(|input| with_late_rows(input, placement)).collect(),
            false => inputs,
        };
        let (placed, description) = operator.placed(inputs, placement)?;
        self.operators.insert(number, description.in_the_querys_names());
        Ok((placed, lag.map(|lag| lag.saturating_add(operator.holds_back()))))
    }

    fn place_inputs(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<PlacedInputs> {
        let inputs = plan.children().into_iter().cloned();
        let placed = inputs.map(|input| self.place(input)).collect::<Result<Vec<Placed>>>()?;
        let (inputs, lags): (Vec<_>, Vec<_>) = placed.into_iter().unzip();
        Ok((inputs, lags.into_iter().flatten().max()))
    }
}

/// An input whose late rows become dead letters.
fn with_late_rows(input: Arc<dyn ExecutionPlan>, placement: Placement) -> Arc<dyn ExecutionPlan> {
    match EventTimeColumn::first(&input.schema()) {
        Some(time) => Arc::new(LateRowsExec::new(input, LateBy::Column(time), placement)),
        None => input,
    }
}

/// The place that an operator was given, which has one partition.
pub(super) fn placement(placement: Option<Placement>, partition: usize) -> Result<Placement> {
    if partition != 0 {
        return exec_err!("partition {partition} was asked of a stateful operator, which has one");
    }
    placement.ok_or_else(|| exec_datafusion_err!("a stateful operator has no place in its plan"))
}
