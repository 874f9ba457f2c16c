//! One batch of a stateful function.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use datafusion::common::{exec_datafusion_err, internal_err};
use datafusion::error::{DataFusionError, Result};
use tidemill_core::{
    Bucket, PluginError, PluginRows, RefusedRow, ShardId, StatefulInstance, TRACE_TARGET,
    split_member,
};
use tidemill_frontend::spec::TimeMode;
use tokio::task::coop::consume_budget;
use tracing::{Span, debug_span};

use super::super::encoding::comparable;
use super::super::held::{BOX_BYTES, Held};
use super::super::inputs::Inputs;
use super::super::output::Output;
use super::super::stateful::{Placement, StateCounts};
use super::conversion::{self, Before};
use super::store::{ShardKeys, Shared, TIMERS_DELETED, TIMERS_DUE, TIMERS_SET};
use super::{KeyedFunction, NAME, Plan, expiries_of, timers_of};
use crate::RunningBatch;
use crate::letters::Refusals;

/// Rows that a call has, unless one key has more.
const CALL_ROWS: usize = 1 << 16;
/// Bytes that the rows of a call have, about, unless one key has more.
const CALL_BYTES: usize = 64 << 20;
/// Memory of a row's place and of its key's entry.
const PLACE_BYTES: usize = size_of::<Place>();
const KEY_BYTES: usize = 2 * (BOX_BYTES + size_of::<u32>());

/// A batch of it.
pub(super) struct Run {
    plan: Arc<Plan>,
    placement: Placement,
    batch: Arc<RunningBatch>,
    shared: Arc<Shared>,
    /// What the batch takes over before all else.
    before: Option<Arc<Before>>,
}

/// Where a row of the batch is, and whose it is.
#[derive(Clone, Copy)]
struct Place {
    /// The key's number in its shard.
    key: u32,
    block: u32,
    row: u32,
}

/// The rows of one shard, by their keys, which are numbered as they come.
#[derive(Default)]
struct ShardRows {
    numbers: HashMap<Box<[u8]>, u32>,
    rows: Vec<Place>,
}

/// Rows that were gathered for all shards.
struct Gathered {
    blocks: Vec<RecordBatch>,
    /// Which partition of the input each block is of.
    partitions: Vec<usize>,
    shards: Vec<ShardRows>,
    bytes: usize,
    held: Held,
}

impl Gathered {
    fn rows(&self) -> usize {
        self.shards.iter().map(|shard| shard.rows.len()).sum()
    }

    /// Rows that a call has, so that their bytes are not too many.
    fn call_rows(&self) -> usize {
        let each = self.bytes / self.rows().max(1);
        (CALL_BYTES / each.max(1)).clamp(1, CALL_ROWS)
    }
}

impl ShardRows {
    /// The keys by their numbers, and the rows of one after those of the other: as they are in the source,
    /// one partition after the other.
    fn sorted(mut self, partitions: &[usize]) -> (Vec<Box<[u8]>>, Vec<Place>) {
        let mut keys = vec![Box::default(); self.numbers.len()];
        for (key, number) in self.numbers {
            keys[number as usize] = key;
        }
        // Stable: the rows of a partition stay in their order.
        self.rows.sort_by_key(|place| (place.key, partitions[place.block as usize]));
        (keys, self.rows)
    }
}

impl Run {
    pub(super) fn try_new(
        plan: Arc<Plan>,
        placement: Placement,
        batch: Arc<RunningBatch>,
    ) -> Result<Run> {
        let spec = batch.spec();
        let mode = plan.function.mode;
        let clock = match mode {
            TimeMode::None => None,
            TimeMode::ProcessingTime => Some(spec.batch_time_ms.saturating_mul(1_000)),
            TimeMode::EventTime => placement.evict(spec),
        };
        let own = placement.operator;
        let operators = [own, timers_of(own), expiries_of(own)];
        let states = operators.map(|operator| Placement { operator, ..placement }.open(&batch));
        let shared = Shared::new(Arc::clone(&plan.kept), states, mode, clock, spec.batch.0);
        let conversion = batch.migration().of(own);
        let before = conversion
            .map(|conversion| Before::of(&conversion, &plan, placement, operators, clock, &batch));
        let before = before.transpose()?.flatten().map(Arc::new);
        Ok(Run { plan, placement, shared: Arc::new(shared), before, batch })
    }

    /// Whether the initial state has been taken. It is, once this batch is committed.
    pub(super) fn take_initial(&self) -> Result<bool> {
        self.shared.take_initial()
    }

    /// The whole batch: the initial state, the rows, the timers; each shard by itself.
    pub(super) async fn all(
        self,
        mut input: Inputs,
        initial: Option<Inputs>,
        output: &Output,
    ) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let mut seeds = self.gathered("the initial state of a stateful function");
        if let (Some(mut rows), Some((reads, key))) = (initial, &plan.function.initial) {
            while let Some((partition, block)) = rows.next_numbered().await? {
                let keys = block.project(key)?;
                self.gather(&mut seeds, partition, block.project(reads)?, &keys)?;
            }
        }
        let mut gathered = self.gathered("the rows of a batch for a stateful function");
        while let Some((partition, block)) = input.next_numbered().await? {
            let block = self.in_time(block)?;
            let keys = block.project(&plan.function.key)?;
            self.gather(&mut gathered, partition, block, &keys)?;
        }
        let tasks = self.shards(seeds, gathered).into_iter();
        let task = |shard: ShardRun| async move |output: Output| shard.all(&output).await;
        output.of_tasks(tasks.map(task).collect()).await?;
        self.report()
    }

    fn gathered(&self, what: &str) -> Gathered {
        let held = Held::new(self.batch.memory().reserve(what));
        let shards = self.shared.state.all_shards().map(|_| ShardRows::default()).collect();
        Gathered { blocks: Vec::new(), partitions: Vec::new(), shards, bytes: 0, held }
    }

    /// The rows that are not late.
    fn in_time(&self, block: RecordBatch) -> Result<RecordBatch> {
        let Some(time) = self.plan.time else { return Ok(block) };
        let lateness = self.placement.lateness(self.batch.spec());
        let times = time.times(block.columns())?;
        let in_time: BooleanArray = times
            .into_iter()
            .map(|time| Some(!time.is_some_and(|time| lateness.is_late(time))))
            .collect();
        let dropped = block.num_rows() - in_time.true_count();
        if dropped == 0 {
            return Ok(block);
        }
        self.shared.count(|counts| counts.dropped += dropped as u64);
        Ok(filter_record_batch(&block, &in_time)?)
    }

    /// Puts the rows of a block to their shards.
    fn gather(
        &self,
        to: &mut Gathered,
        partition: usize,
        rows: RecordBatch,
        keys: &RecordBatch,
    ) -> Result<()> {
        let encoded = self.plan.keys.convert_columns(&comparable(keys.columns()))?;
        let block = u32::try_from(to.blocks.len());
        let block = block.map_err(|_| exec_datafusion_err!("too many blocks in one batch"))?;
        let bytes = rows.get_array_memory_size();
        to.bytes += bytes;
        to.held.add(bytes + rows.num_rows() * PLACE_BYTES);
        for (row, key) in encoded.iter().enumerate() {
            let shard = self.shared.state.shard_of(key.as_ref());
            let ShardRows { numbers, rows } = &mut to.shards[shard.0 as usize];
            // Rows are fewer than 2^32 a batch by far: they are in memory.
            let next = numbers.len() as u32;
            let key = match numbers.get(key.as_ref()) {
                Some(number) => *number,
                None => {
                    to.held.add(KEY_BYTES + key.as_ref().len());
                    numbers.insert(key.as_ref().into(), next);
                    next
                }
            };
            rows.push(Place { key, block, row: row as u32 });
        }
        to.blocks.push(rows);
        to.partitions.push(partition);
        to.held.check()
    }

    fn shards(&self, seeds: Gathered, gathered: Gathered) -> Vec<ShardRun> {
        let of = |gathered: Gathered| {
            let call_rows = gathered.call_rows();
            let (blocks, held) = (Arc::new(gathered.blocks), Arc::new(gathered.held));
            let partitions: Arc<[usize]> = gathered.partitions.into();
            gathered.shards.into_iter().map(move |rows| Part {
                blocks: Arc::clone(&blocks),
                partitions: Arc::clone(&partitions),
                call_rows,
                rows,
                _held: Arc::clone(&held),
            })
        };
        let parts = of(seeds).zip(of(gathered)).zip(self.shared.state.all_shards());
        let shard = |((seeds, rows), shard): ((Part, Part), ShardId)| ShardRun {
            plan: Arc::clone(&self.plan),
            batch: Arc::clone(&self.batch),
            shared: Arc::clone(&self.shared),
            before: self.before.clone(),
            shard,
            seeds,
            rows,
            opened: None,
        };
        parts.map(shard).collect()
    }

    fn report(&self) -> Result<()> {
        let mut counts = StateCounts::default();
        self.shared.count(|all| std::mem::swap(all, &mut counts));
        for name in [TIMERS_SET, TIMERS_DELETED, TIMERS_DUE] {
            counts.custom.entry(name.to_owned()).or_default();
        }
        self.shared.state.report_with(
            &self.batch,
            NAME,
            counts,
            &[&self.shared.timers, &self.shared.expiries],
        )
    }
}

/// The rows of one shard.
struct Part {
    blocks: Arc<Vec<RecordBatch>>,
    partitions: Arc<[usize]>,
    call_rows: usize,
    rows: ShardRows,
    /// The memory of all shards' rows, until the last of them is done.
    _held: Arc<Held>,
}

/// A batch of one shard.
struct ShardRun {
    plan: Arc<Plan>,
    batch: Arc<RunningBatch>,
    shared: Arc<Shared>,
    before: Option<Arc<Before>>,
    shard: ShardId,
    seeds: Part,
    rows: Part,
    opened: Option<Opened>,
}

/// The function in an instance of the shard's own.
struct Opened {
    instance: Box<dyn StatefulInstance>,
    refusals: Refusals,
    calls: Span,
}

/// Keys that one call has, and where their rows end among the shard's.
struct Call {
    keys: Vec<Box<[u8]>>,
    counts: Vec<u32>,
    places: Vec<Place>,
}

/// Cuts the rows of a shard into calls, between keys.
fn calls(part: &mut Part) -> Vec<Call> {
    let (keys, places) = std::mem::take(&mut part.rows).sorted(&part.partitions);
    let mut calls: Vec<Call> = Vec::new();
    for of_key in places.chunk_by(|a, b| a.key == b.key) {
        let is_full =
            calls.last().is_none_or(|call| call.places.len() + of_key.len() > part.call_rows);
        if is_full {
            calls.push(Call { keys: Vec::new(), counts: Vec::new(), places: Vec::new() });
        }
        if let (Some(call), Some(first)) = (calls.last_mut(), of_key.first()) {
            call.keys.push(keys[first.key as usize].clone());
            call.counts.push(of_key.len() as u32);
            call.places.extend(of_key);
        }
    }
    calls
}

impl ShardRun {
    async fn all(mut self, output: &Output) -> Result<()> {
        self.take_over(output).await?;
        self.seed(output).await?;
        self.rows(output).await?;
        self.timers(output).await?;
        let forgotten = self.shared.forget(self.shard)?;
        self.shared.count(|counts| counts.removed += forgotten);
        Ok(())
    }

    async fn take_over(&mut self, output: &Output) -> Result<()> {
        let Some(before) = self.before.take() else { return Ok(()) };
        let what = "the keys whose state a plugin takes over";
        let mut held = Held::new(self.batch.memory().reserve(what));
        for keys in before.keys(self.shard, &mut held)?.chunks(conversion::KEYS) {
            let (keys, rows) = before.take(self.shard, keys)?;
            if keys.is_empty() {
                continue;
            }
            let columns = self.columns(&keys)?;
            let state = Box::new(ShardKeys::new(&self.shared, self.shard, keys));
            let migration = before.migration;
            let given =
                self.call(|instance| instance.migrate(migration, &columns, &rows, state))?;
            self.send(given, &rows, output).await?;
        }
        Ok(())
    }

    async fn seed(&mut self, output: &Output) -> Result<()> {
        for call in calls(&mut self.seeds) {
            if let Some(several) = call.counts.iter().position(|rows| *rows > 1) {
                // As in Spark, which says of which key.
                let key = self.columns(&call.keys[several..=several])?;
                let shown = arrow::util::display::array_value_to_string(&key[0], 0)?;
                return Err(exec_datafusion_err!(
                    "the initial state has several rows for the key {shown}; there can be one a key"
                ));
            }
            let rows = rows_at(&self.seeds.blocks, &call.places)?;
            let keys = self.columns(&call.keys)?;
            let state = Box::new(ShardKeys::new(&self.shared, self.shard, call.keys));
            let given = self.call(|instance| instance.initial(&keys, &rows, state))?;
            self.send(given, &rows, output).await?;
        }
        Ok(())
    }

    async fn rows(&mut self, output: &Output) -> Result<()> {
        for call in calls(&mut self.rows) {
            let rows = rows_at(&self.rows.blocks, &call.places)?;
            let read = rows.project(&self.plan.function.reads)?;
            let keys = self.columns(&call.keys)?;
            let state = Box::new(ShardKeys::new(&self.shared, self.shard, call.keys));
            let counts = call.counts;
            let given = self.call(|instance| instance.rows(&keys, &counts, &read, state))?;
            self.send(given, &rows, output).await?;
        }
        Ok(())
    }

    async fn timers(&mut self, output: &Output) -> Result<()> {
        // A timer is due once its time has passed (Spark's getExpiredTimers).
        let Some(until) = self.shared.clock.and_then(|clock| clock.checked_sub(1)) else {
            return Ok(());
        };
        let mut held = Held::new(self.batch.memory().reserve("the timers that are due in a batch"));
        let mut due: Vec<(i64, Box<[u8]>)> = Vec::new();
        self.shared.timers.shard(self.shard, |timers| {
            timers.evict(Bucket(until), &mut |time, key, _| {
                if let Some((key, _)) = split_member(key)
                    && held.add(BOX_BYTES + key.len())
                {
                    due.push((time.0, key.into()));
                }
            })
        })?;
        held.check()?;
        self.shared.count_custom(TIMERS_DUE, due.len());
        let none = RecordBatch::new_empty(Arc::clone(&self.plan.input_schema));
        for part in due.chunks(CALL_ROWS) {
            let mut numbers = HashMap::new();
            let (mut keys, mut owners) = (Vec::new(), Vec::with_capacity(part.len()));
            for (_, key) in part {
                owners.push(match numbers.entry(key) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(new) => {
                        keys.push(key.clone());
                        *new.insert(keys.len() as u32 - 1)
                    }
                });
            }
            let times: Vec<i64> = part.iter().map(|(time, _)| *time).collect();
            let columns = self.columns(&keys)?;
            let state = Box::new(ShardKeys::new(&self.shared, self.shard, keys));
            let given = self.call(|instance| instance.timers(&columns, &owners, &times, state))?;
            self.send(given, &none, output).await?;
        }
        Ok(())
    }

    /// The columns of keys.
    fn columns(&self, keys: &[Box<[u8]>]) -> Result<Vec<ArrayRef>> {
        let parser = self.plan.keys.parser();
        Ok(self.plan.keys.convert_rows(keys.iter().map(|key| parser.parse(key)))?)
    }

    fn call(
        &mut self,
        call: impl FnOnce(&mut dyn StatefulInstance) -> Result<PluginRows, PluginError>,
    ) -> Result<PluginRows> {
        let opened = match &mut self.opened {
            Some(opened) => opened,
            None => {
                let opened = open(&self.plan.function, &self.batch, self.shard)?;
                self.opened.insert(opened)
            }
        };
        let (instance, calls) = (opened.instance.as_mut(), &opened.calls);
        calls.in_scope(|| call(instance)).map_err(|error| {
            let host = self.shared.failure();
            host.unwrap_or_else(|| DataFusionError::External(Box::new(error)))
        })
    }

    /// Hands over what a call gave, and makes dead letters of rows that it refused.
    async fn send(&mut self, given: PluginRows, rows: &RecordBatch, output: &Output) -> Result<()> {
        let PluginRows { given, refused } = given;
        self.refuse(rows, refused)?;
        for given in given {
            output.send(&self.plan.assembly.rows(&given, rows)?).await?;
        }
        consume_budget().await;
        Ok(())
    }

    fn refuse(&mut self, rows: &RecordBatch, refused: Vec<RefusedRow>) -> Result<()> {
        match &mut self.opened {
            Some(opened) => opened.refusals.take(rows, refused),
            None if refused.is_empty() => Ok(()),
            None => internal_err!("rows were refused by nobody"),
        }
    }
}

/// The rows at these places.
fn rows_at(blocks: &[RecordBatch], places: &[Place]) -> Result<RecordBatch> {
    let indices: Vec<(usize, usize)> =
        places.iter().map(|place| (place.block as usize, place.row as usize)).collect();
    let blocks: Vec<&RecordBatch> = blocks.iter().collect();
    Ok(interleave_record_batch(&blocks, &indices)?)
}

fn open(function: &KeyedFunction, batch: &Arc<RunningBatch>, shard: ShardId) -> Result<Opened> {
    let KeyedFunction { module, step, function, given, shape, .. } = function;
    let (plugin, number) = (module.name(), batch.spec().batch.0);
    let opening =
        debug_span!(target: TRACE_TARGET, "plugin_open", batch = number, plugin, function);
    let instance = opening.in_scope(|| {
        module.open_stateful(function, &batch.context(shard.0), Arc::clone(given), shape)
    });
    let instance = instance.map_err(|error| DataFusionError::External(Box::new(error)))?;
    let calls = debug_span!(target: TRACE_TARGET, "plugin_call", batch = number, plugin, function);
    let refusals = Refusals::new(batch, shard.0 as usize, step, module.as_ref(), function);
    Ok(Opened { instance, refusals, calls })
}
