//! One batch of a stateful aggregation: partial groups and state in, new state and rows out.
//!
//! The order of things is Spark's (statefulOperators.scala): drop late groups, merge with the
//! state, emit, evict. Late is what ended at or before the watermark of the *previous* batch;
//! evicted is what ended at or before this batch's.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{cast, take_arrays};
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use hashbrown::HashMap;
use tidemill_core::{Bucket, OutputMode, ShardId};

use super::super::stateful::{
    Lateness, OUTPUT_ROWS, OperatorState, Placement, StateCounts, rows_of,
};
use super::groups::{GroupLayout, RowsAndGroups};
use crate::RunningBatch;

/// Spark's name for the operator.
pub(super) const OPERATOR_NAME: &str = "stateStoreSave";

pub(super) struct Merge {
    layout: Arc<GroupLayout>,
    placement: Placement,
    state: OperatorState,
}

/// The groups that the batch touches.
#[derive(Default)]
struct Touched {
    index: HashMap<Box<[u8]>, usize>,
    groups: Vec<Group>,
    /// For each partial block: its rows that count, and the group of each.
    blocks: Vec<RowsAndGroups>,
    dropped: u64,
}

struct Group {
    shard: ShardId,
    bucket: Bucket,
    key: Box<[u8]>,
}

/// Groups with their states, on their way out.
#[derive(Default)]
struct Emitted {
    keys: Vec<Box<[u8]>>,
    states: Vec<Box<[u8]>>,
}

impl Emitted {
    fn push(&mut self, key: &[u8], state: &[u8]) {
        self.keys.push(key.into());
        self.states.push(state.into());
    }
}

impl Merge {
    pub(super) fn new(
        layout: Arc<GroupLayout>,
        placement: Placement,
        batch: &RunningBatch,
    ) -> Merge {
        Merge { layout, placement, state: placement.open(batch) }
    }

    pub(super) fn run(
        &self,
        batch: &RunningBatch,
        blocks: &[RecordBatch],
        schema: &SchemaRef,
    ) -> Result<Vec<RecordBatch>> {
        let spec = batch.spec();
        let mut touched = self.touch(blocks, self.placement.lateness(spec))?;
        let old_states = self.old_states(&mut touched)?;
        let groups_of_old: Vec<usize> = (0..old_states.len()).collect();
        let new_states = self.layout.merge(&old_states, &groups_of_old, blocks, &touched.blocks)?;
        let states = self.layout.states_to_bytes(&new_states, touched.groups.len())?;
        for (i, group) in touched.groups.iter().enumerate() {
            let value = states.row(i);
            self.state
                .shard(group.shard, |shard| shard.put(group.bucket, &group.key, value.as_ref()))?;
        }
        let mode = self.placement.mode;
        let mut expired = Emitted::default();
        let removed = self.state.evict(batch, &mut |_, key, state| {
            if mode == OutputMode::Append {
                expired.push(key, state);
            }
        })?;
        let rows = match mode {
            OutputMode::Update => self.emit_touched(&touched, &new_states, schema)?,
            OutputMode::Append => self.emit(&expired, schema)?,
            OutputMode::Complete => {
                let mut all = Emitted::default();
                self.state.visit_all(&mut |_, key, state| all.push(key, state))?;
                self.emit(&all, schema)?
            }
        };
        let (updated, dropped) = (touched.groups.len() as u64, touched.dropped);
        let counts = StateCounts { updated, removed, dropped, ..StateCounts::default() };
        self.state.report(batch, OPERATOR_NAME, counts)?;
        Ok(rows)
    }

    /// Finds the groups of all partial blocks, and leaves out those that are late.
    fn touch(&self, blocks: &[RecordBatch], lateness: Lateness) -> Result<Touched> {
        let mut touched = Touched::default();
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
        }
        Ok(touched)
    }

    /// The states of the touched groups that had one. These groups come first from here on.
    fn old_states(&self, touched: &mut Touched) -> Result<Vec<Box<[u8]>>> {
        let mut states: Vec<Box<[u8]>> = Vec::new();
        let mut is_old = vec![false; touched.groups.len()];
        for (is_old, group) in is_old.iter_mut().zip(&touched.groups) {
            self.state.shard(group.shard, |shard| {
                if let Some(value) = shard.get(group.bucket, &group.key) {
                    states.push(value.into());
                    *is_old = true;
                }
                Ok(())
            })?;
        }
        touched.put_first(&is_old);
        Ok(states)
    }

    fn emit(&self, emitted: &Emitted, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let blocks = emitted.keys.chunks(OUTPUT_ROWS).zip(emitted.states.chunks(OUTPUT_ROWS));
        let rows = blocks.map(|(keys, states)| {
            let states = self.layout.states_from_bytes(states.iter().map(AsRef::as_ref))?;
            let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
            self.rows(&keys, &states, schema)
        });
        rows.collect()
    }

    /// The touched groups in (shard, bucket, key) order.
    fn emit_touched(
        &self,
        touched: &Touched,
        states: &[ArrayRef],
        schema: &SchemaRef,
    ) -> Result<Vec<RecordBatch>> {
        let mut order: Vec<usize> = (0..touched.groups.len()).collect();
        order.sort_unstable_by_key(|i| {
            let group = &touched.groups[*i];
            (group.shard, group.bucket, &group.key)
        });
        let rows = order.chunks(OUTPUT_ROWS).map(|order| {
            let indices = UInt64Array::from_iter_values(order.iter().map(|i| *i as u64));
            let states = take_arrays(states, &indices, None)?;
            let keys: Vec<&[u8]> = order.iter().map(|i| touched.groups[*i].key.as_ref()).collect();
            self.rows(&keys, &states, schema)
        });
        rows.collect()
    }

    /// Groups and states, a block of them, as rows of the result.
    fn rows(&self, keys: &[&[u8]], states: &[ArrayRef], schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns = self.layout.keys_from_bytes(keys.iter().copied())?;
        columns.extend(self.layout.evaluate(states, keys.len())?);
        result(schema, columns, keys.len())
    }
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
        group
    }
}
