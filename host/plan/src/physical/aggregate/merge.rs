//! One batch of a stateful aggregation: partial groups and state in, new state and rows out.
//!
//! The order of things is Spark's (statefulOperators.scala): drop late groups, merge with the
//! state, emit, evict. Late is what ended at or before the watermark of the *previous* batch;
//! evicted is what ended at or before this batch's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{cast, take_arrays};
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use hashbrown::HashMap;
use tidemill_core::{Bucket, OutputMode, Reservation, ShardId};

use super::super::held::{BOX_BYTES, Held, grow, resize};
use super::super::stateful::{
    Lateness, OUTPUT_ROWS, OperatorState, Placement, StateCounts, rows_of,
};
use super::groups::{GroupLayout, RowsAndGroups};
use crate::RunningBatch;

/// Spark's name for the operator.
pub(super) const OPERATOR_NAME: &str = "stateStoreSave";

/// Memory of a touched group beside its key, which is there twice.
const GROUP_BYTES: usize = size_of::<Group>() + size_of::<(Box<[u8]>, usize)>();

pub(super) struct Merge {
    layout: Arc<GroupLayout>,
    placement: Placement,
    state: OperatorState,
}

/// The groups that the batch touches.
struct Touched {
    index: HashMap<Box<[u8]>, usize>,
    groups: Vec<Group>,
    /// For each partial block: its rows that count, and the group of each.
    blocks: Vec<RowsAndGroups>,
    dropped: u64,
    held: Reservation,
    /// Bytes that came since more was reserved.
    added: usize,
}

struct Group {
    shard: ShardId,
    bucket: Bucket,
    key: Box<[u8]>,
}

/// Groups with their states, on their way out.
struct Emitted {
    keys: Vec<Box<[u8]>>,
    states: Vec<Box<[u8]>>,
    held: Held,
}

impl Emitted {
    fn new(memory: &Reservation) -> Emitted {
        let held = Held::new(memory.part());
        Emitted { keys: Vec::new(), states: Vec::new(), held }
    }

    fn push(&mut self, key: &[u8], state: &[u8]) {
        if self.held.add(key.len() + state.len() + 2 * BOX_BYTES) {
            self.keys.push(key.into());
            self.states.push(state.into());
        }
    }
}

/// The result of a batch, block by block, each made when it is asked for.
pub(super) type Results = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

impl Merge {
    pub(super) fn new(
        layout: Arc<GroupLayout>,
        placement: Placement,
        batch: &RunningBatch,
    ) -> Merge {
        Merge { layout, placement, state: placement.open(batch) }
    }

    /// Merges the blocks of partial groups into the state. `memory` is for what is held meanwhile.
    pub(super) fn run(
        self,
        batch: &Arc<RunningBatch>,
        blocks: &[RecordBatch],
        schema: &SchemaRef,
        memory: &Reservation,
    ) -> Result<Results> {
        let spec = batch.spec();
        let mut touched = self.touch(blocks, self.placement.lateness(spec), memory)?;
        let mut of_old = Held::new(memory.part());
        let old_states = self.old_states(&mut touched, &mut of_old)?;
        let groups_of_old: Vec<usize> = (0..old_states.len()).collect();
        let (layout, merging) = (&self.layout, memory.part());
        let merged =
            layout.merge(&old_states, &groups_of_old, blocks, &touched.blocks, batch, merging)?;
        drop((old_states, of_old));
        let mut of_new = memory.part();
        let mut bytes: u64 = merged.iter().map(|state| state.get_array_memory_size() as u64).sum();
        grow(&mut of_new, bytes)?;
        let states = layout.states_to_bytes(&merged, touched.groups.len())?;
        bytes += states.size() as u64;
        resize(&mut of_new, bytes)?;
        for (i, group) in touched.groups.iter().enumerate() {
            let value = states.row(i);
            self.state
                .shard(group.shard, |shard| shard.put(group.bucket, &group.key, value.as_ref()))?;
        }
        drop(states);
        let mode = self.placement.mode;
        let mut leaving = Emitted::new(memory);
        let removed = self.state.evict(batch, &mut |_, key, state| {
            if mode == OutputMode::Append {
                leaving.push(key, state);
            }
        })?;
        if mode == OutputMode::Complete {
            self.state.visit_all(&mut |_, key, state| leaving.push(key, state))?;
        }
        leaving.held.check()?;
        let (updated, dropped) = (touched.groups.len() as u64, touched.dropped);
        let counts = StateCounts { updated, removed, dropped, ..StateCounts::default() };
        self.state.report(batch, OPERATOR_NAME, counts)?;
        let results = ResultRows {
            layout: self.layout,
            schema: Arc::clone(schema),
            batch: Arc::clone(batch),
        };
        Ok(match mode {
            OutputMode::Update => emit_touched(results, touched, merged, of_new),
            OutputMode::Append | OutputMode::Complete => emit(results, leaving),
        })
    }

    /// Finds the groups of all partial blocks, and leaves out those that are late.
    fn touch(
        &self,
        blocks: &[RecordBatch],
        lateness: Lateness,
        memory: &Reservation,
    ) -> Result<Touched> {
        let mut touched = Touched::new(memory.part());
        for block in blocks {
            let keys = self.layout.key_bytes(block)?;
            let buckets = self.layout.buckets(block)?;
            let mut rows = Vec::with_capacity(block.num_rows());
            let mut groups = Vec::with_capacity(block.num_rows());
            for (row, (key, bucket)) in keys.iter().zip(buckets).enumerate() {
                if lateness.is_late(bucket.0) {
                    touched.dropped += 1;
                    continue;
                }
                rows.push(row as u64);
                groups.push(touched.group(key.as_ref(), bucket, &self.state));
            }
            touched.blocks.push((rows, groups));
            let numbers = 2 * size_of::<u64>() * block.num_rows();
            grow(&mut touched.held, (std::mem::take(&mut touched.added) + numbers) as u64)?;
        }
        Ok(touched)
    }

    /// The states of the touched groups that had one. These groups come first from here on.
    fn old_states(&self, touched: &mut Touched, held: &mut Held) -> Result<Vec<Box<[u8]>>> {
        let mut states: Vec<Box<[u8]>> = Vec::new();
        let mut is_old = vec![false; touched.groups.len()];
        for (is_old, group) in is_old.iter_mut().zip(&touched.groups) {
            self.state.shard(group.shard, |shard| {
                if let Some(value) = shard.get(group.bucket, &group.key)
                    && held.add(value.len() + BOX_BYTES)
                {
                    states.push(value.into());
                    *is_old = true;
                }
                Ok(())
            })?;
        }
        held.check()?;
        touched.put_first(&is_old);
        Ok(states)
    }
}

/// Makes rows of groups and their states.
struct ResultRows {
    layout: Arc<GroupLayout>,
    schema: SchemaRef,
    batch: Arc<RunningBatch>,
}

impl ResultRows {
    /// A block of them.
    fn of(&self, keys: &[&[u8]], states: &[ArrayRef]) -> Result<RecordBatch> {
        let mut columns = self.layout.keys_from_bytes(keys.iter().copied())?;
        columns.extend(self.layout.evaluate(&self.batch, states, keys.len())?);
        result(&self.schema, columns, keys.len())
    }
}

/// Groups as rows, in the order that they are in.
fn emit(results: ResultRows, emitted: Emitted) -> Results {
    let starts = (0..emitted.keys.len()).step_by(OUTPUT_ROWS);
    Box::new(starts.map(move |from| {
        // All of it belongs to the iterator, its memory too.
        let emitted = &emitted;
        let some = from..emitted.keys.len().min(from + OUTPUT_ROWS);
        let states = emitted.states[some.clone()].iter().map(AsRef::as_ref);
        let states = results.layout.states_from_bytes(states)?;
        let keys: Vec<&[u8]> = emitted.keys[some].iter().map(AsRef::as_ref).collect();
        results.of(&keys, &states)
    }))
}

/// The touched groups in (shard, bucket, key) order. `held` is the memory of their states.
fn emit_touched(
    results: ResultRows,
    touched: Touched,
    states: Vec<ArrayRef>,
    held: Reservation,
) -> Results {
    let mut order: Vec<usize> = (0..touched.groups.len()).collect();
    order.sort_unstable_by_key(|i| {
        let group = &touched.groups[*i];
        (group.shard, group.bucket, &group.key)
    });
    let starts = (0..order.len()).step_by(OUTPUT_ROWS);
    Box::new(starts.map(move |from| {
        // All of it belongs to the iterator, its memory too.
        let (touched, _) = (&touched, &held);
        let order = &order[from..order.len().min(from + OUTPUT_ROWS)];
        let indices = UInt64Array::from_iter_values(order.iter().map(|i| *i as u64));
        let states = take_arrays(&states, &indices, None)?;
        let keys: Vec<&[u8]> = order.iter().map(|i| touched.groups[*i].key.as_ref()).collect();
        results.of(&keys, &states)
    }))
}

/// Columns as a block of the result's types.
pub(super) fn result(
    schema: &SchemaRef,
    mut columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    for (column, field) in columns.iter_mut().zip(schema.fields()) {
        if column.data_type() != field.data_type() {
            *column = cast(column, field.data_type())?;
        }
    }
    rows_of(schema, columns, rows)
}

impl Touched {
    fn new(held: Reservation) -> Touched {
        let (index, groups, blocks) = (HashMap::new(), Vec::new(), Vec::new());
        Touched { index, groups, blocks, dropped: 0, held, added: 0 }
    }

    /// Renumbers the groups: those with the flag first, each kind in the order that it was in.
    fn put_first(&mut self, flags: &[bool]) {
        let mut renumbered = vec![0; flags.len()];
        let first = flags.iter().filter(|flag| **flag).count();
        let (mut next_first, mut next_other) = (0, first);
        for (number, flag) in renumbered.iter_mut().zip(flags) {
            let next = if *flag { &mut next_first } else { &mut next_other };
            *number = *next;
            *next += 1;
        }
        let mut groups: Vec<(usize, Group)> =
            renumbered.iter().copied().zip(self.groups.drain(..)).collect();
        groups.sort_unstable_by_key(|(number, _)| *number);
        self.groups.extend(groups.into_iter().map(|(_, group)| group));
        for (_, groups) in &mut self.blocks {
            groups.iter_mut().for_each(|group| *group = renumbered[*group]);
        }
        self.index.clear();
    }

    fn group(&mut self, key: &[u8], bucket: Bucket, state: &OperatorState) -> usize {
        if let Some(group) = self.index.get(key) {
            return *group;
        }
        let group = self.groups.len();
        let shard = state.shard_of(key);
        self.groups.push(Group { shard, bucket, key: key.into() });
        self.index.insert(key.into(), group);
        self.added += 2 * (key.len() + BOX_BYTES) + GROUP_BYTES;
        group
    }
}
