//! How groups and their states are laid out: as columns in the plan, as bytes in the state.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::take_arrays;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, Rows};
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::GroupsAccumulatorAdapter;
use tidemill_core::{Bucket, Reservation};

use super::super::encoding::{comparable, encoding};
use super::super::forms::GroupColumns;
use super::super::held::resize;
use super::super::late_rows::LateBy;
use super::super::stateful::OUTPUT_ROWS;
use crate::RunningBatch;
use crate::logical::{EventTimeColumn, session_columns};
use crate::plugins::{PluginAggregate, during};
use tidemill_functions::column_bytes;

/// Columns of a partial aggregation: first the keys, then the states of each aggregate.
pub(super) struct GroupLayout {
    pub(super) keys: SchemaRef,
    pub(super) states: SchemaRef,
    /// The key column that holds event time.
    pub(super) event_time: Option<EventTimeColumn>,
    /// The key columns that hold the start and the end of a session, if groups are sessions.
    pub(super) session: Option<(usize, usize)>,
    /// The key columns that are not bounds of sessions: what the state knows a group by.
    key_columns: Vec<usize>,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    key_rows: RowConverter,
    state_rows: RowConverter,
}

/// Bytes of states after which accumulators are measured again, at the least: each is asked for each
/// of its groups, so it is done the less often the more they hold.
const MEASURED_BYTES: u64 = 1024 * 1024;

/// The rows of a block that count, and the group of each.
pub(super) type RowsAndGroups = (Vec<u64>, Vec<usize>);

/// Running states of all groups of a batch, one accumulator an aggregate.
struct Accumulators {
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    widths: Vec<usize>,
}

impl GroupLayout {
    pub(super) fn try_new(partial: &AggregateExec, last: &AggregateExec) -> Result<GroupLayout> {
        let schema = partial.schema();
        let key_count = partial.group_expr().num_group_exprs();
        let (keys, states) = schema.fields().split_at(key_count);
        let keys = Arc::new(Schema::new(keys.to_vec()));
        let states = Arc::new(Schema::new(states.to_vec()));
        let session = session_columns(&keys);
        let is_bound =
            |column: &usize| session.is_some_and(|(start, end)| [start, end].contains(column));
        let key_columns: Vec<usize> = (0..key_count).filter(|column| !is_bound(column)).collect();
        Ok(GroupLayout {
            event_time: EventTimeColumn::of(&keys)?,
            session,
            key_rows: encoding(key_columns.iter().map(|column| keys.field(*column).data_type()))?,
            key_columns,
            state_rows: encoding(states.fields().iter().map(|field| field.data_type()))?,
            keys,
            states,
            aggregates: last.aggr_expr().to_vec(),
        })
    }

    /// The columns of each aggregate's states, and those that it takes over.
    pub(super) fn group_columns(&self) -> Arc<[GroupColumns]> {
        let mut rest = &self.states.fields()[..];
        let columns = self.aggregates.iter().map(|aggregate| {
            let width = aggregate.state_fields().map_or(0, |fields| fields.len());
            let (present, others) = rest.split_at(width.min(rest.len()));
            rest = others;
            let plugins = aggregate.fun().inner().downcast_ref::<PluginAggregate>();
            let earlier = plugins.map(|plugins| plugins.earlier_columns(aggregate.name()));
            GroupColumns { present: present.to_vec(), earlier: earlier.unwrap_or_default() }
        });
        columns.collect()
    }

    /// By what a row of the partial half's input may be late.
    pub(super) fn late_by(&self, partial: &AggregateExec) -> Option<LateBy> {
        // A session of one row is late by its own end.
        let column = match self.session {
            Some((_, end)) => EventTimeColumn { column: end, add: 0 },
            None => self.event_time?,
        };
        let (expression, _) = partial.group_expr().expr().get(column.column)?;
        Some(LateBy::Group(Arc::clone(expression), column))
    }

    /// The aggregates, in the order of their states.
    pub(super) fn aggregates(&self) -> &[Arc<AggregateFunctionExpr>] {
        &self.aggregates
    }

    /// Spark's name for the operator.
    pub(super) fn operator_name(&self) -> &'static str {
        match self.session {
            None => super::merge::OPERATOR_NAME,
            Some(_) => super::sessions::OPERATOR_NAME,
        }
    }

    /// When groups are evicted, for people and for the check at a restart.
    pub(super) fn describe_eviction(&self) -> String {
        match self.event_time {
            None => "groups are kept for ever".to_owned(),
            Some(EventTimeColumn { column, add: 0 }) => {
                format!("groups leave at {}", self.keys.field(column).name())
            }
            Some(EventTimeColumn { column, add }) => {
                format!("groups leave {add} microseconds after {}", self.keys.field(column).name())
            }
        }
    }

    /// The keys of a partial block, as bytes.
    pub(super) fn key_bytes(&self, block: &RecordBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> =
            self.key_columns.iter().map(|column| Arc::clone(block.column(*column))).collect();
        // A global aggregate has one group, whose key is empty.
        to_bytes(&self.key_rows, &comparable(&columns), block.num_rows())
    }

    /// The buckets of a partial block's groups: their event times, where they have one.
    pub(super) fn buckets(&self, block: &RecordBatch) -> Result<Vec<Bucket>> {
        let Some(time) = self.event_time else {
            return Ok(vec![Bucket::FOREVER; block.num_rows()]);
        };
        let times = time.times(block.columns())?;
        Ok(times.into_iter().map(|time| time.map_or(Bucket::FOREVER, Bucket)).collect())
    }

    /// The state columns of a partial block.
    pub(super) fn state_columns<'a>(&self, block: &'a RecordBatch) -> &'a [ArrayRef] {
        &block.columns()[self.keys.fields().len()..]
    }

    /// The key columns but for the bounds of sessions.
    pub(super) fn keys_from_bytes<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        let parser = self.key_rows.parser();
        Ok(self.key_rows.convert_rows(keys.map(|key| parser.parse(key)))?)
    }

    pub(super) fn states_from_bytes<'a>(
        &self,
        states: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        let parser = self.state_rows.parser();
        Ok(self.state_rows.convert_rows(states.map(|state| parser.parse(state)))?)
    }

    /// The states of so many groups; there may be no column (`SELECT DISTINCT`).
    pub(super) fn states_to_bytes(&self, states: &[ArrayRef], groups: usize) -> Result<Rows> {
        to_bytes(&self.state_rows, states, groups)
    }

    /// The states of groups: old ones first, then the partials in order. `of_old`: the group of each
    /// old state; `of_blocks`: for each block the rows that count, and the group of each. Groups
    /// are numbered from 0 on as they appear in this order.
    pub(super) fn merge(
        &self,
        old: &[Box<[u8]>],
        of_old: &[usize],
        blocks: &[RecordBatch],
        of_blocks: &[RowsAndGroups],
        batch: &Arc<RunningBatch>,
        held: Reservation,
    ) -> Result<Vec<ArrayRef>> {
        let mut merging = self.merging(batch, held)?;
        for (old, groups) in old.chunks(OUTPUT_ROWS).zip(of_old.chunks(OUTPUT_ROWS)) {
            merging.add(&self.states_from_bytes(old.iter().map(AsRef::as_ref))?, groups)?;
        }
        for (block, (rows, groups)) in blocks.iter().zip(of_blocks) {
            let states = self.state_columns(block);
            if rows.len() == block.num_rows() {
                merging.add(states, groups)?;
            } else {
                merging
                    .add(&take_arrays(states, &UInt64Array::from(rows.clone()), None)?, groups)?;
            }
        }
        merging.finish()
    }

    /// A merge of states, which come in one go after the other. `held` is for its memory.
    pub(super) fn merging(&self, batch: &Arc<RunningBatch>, held: Reservation) -> Result<Merging> {
        Ok(Merging { accumulators: self.accumulators(batch)?, groups: 0, held, fresh: 0 })
    }

    /// Accumulators without a group.
    fn accumulators(&self, batch: &Arc<RunningBatch>) -> Result<Accumulators> {
        // All partitions meet here; it is none of them.
        during(batch, 0, || self.make_accumulators())
    }

    fn make_accumulators(&self) -> Result<Accumulators> {
        let mut accumulators: Vec<Box<dyn GroupsAccumulator>> = Vec::new();
        let mut widths = Vec::new();
        for aggregate in &self.aggregates {
            accumulators.push(if aggregate.groups_accumulator_supported() {
                aggregate.create_groups_accumulator()?
            } else {
                let aggregate = Arc::clone(aggregate);
                Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator()))
            });
            widths.push(aggregate.state_fields()?.len());
        }
        Ok(Accumulators { accumulators, widths })
    }

    /// The results of groups in these states, one column an aggregate.
    pub(super) fn evaluate(
        &self,
        batch: &Arc<RunningBatch>,
        states: &[ArrayRef],
        groups: usize,
    ) -> Result<Vec<ArrayRef>> {
        let mut accumulators = self.accumulators(batch)?;
        let each: Vec<usize> = (0..groups).collect();
        accumulators.merge(states, &each, groups)?;
        accumulators.accumulators.iter_mut().map(|a| a.evaluate(EmitTo::All)).collect()
    }
}

/// States on their way into groups.
pub(super) struct Merging {
    accumulators: Accumulators,
    groups: usize,
    held: Reservation,
    /// Bytes of states that came since they were measured.
    fresh: u64,
}

impl Merging {
    /// Merges states into groups, which are numbered from 0 on as they appear: accumulators take it
    /// that all groups below the total of a call were in it or in an earlier one.
    pub(super) fn add(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let Some(last) = groups.iter().max() else { return Ok(()) };
        self.groups = self.groups.max(last + 1);
        self.accumulators.merge(states, groups, self.groups)?;
        self.fresh += states.iter().map(column_bytes).sum::<u64>();
        if self.fresh < MEASURED_BYTES.max(self.held.bytes() / 4) {
            return Ok(());
        }
        self.fresh = 0;
        resize(&mut self.held, self.accumulators.size() as u64)
    }

    /// The states of all groups.
    pub(super) fn finish(self) -> Result<Vec<ArrayRef>> {
        // Accumulators without a group need not have the right number of columns.
        if self.groups == 0 { Ok(Vec::new()) } else { self.accumulators.into_states() }
    }
}

impl Accumulators {
    /// Merges states into groups: row i belongs to group `groups[i]`, of `total`.
    fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let mut rest = states;
        for (accumulator, width) in self.accumulators.iter_mut().zip(&self.widths) {
            let (mine, others) = rest.split_at(*width);
            accumulator.merge_batch(mine, groups, total)?;
            rest = others;
        }
        Ok(())
    }

    /// Bytes that they hold.
    fn size(&self) -> usize {
        self.accumulators.iter().map(|accumulator| accumulator.size()).sum()
    }

    /// The states of all groups.
    fn into_states(mut self) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        Ok(columns)
    }
}

fn to_bytes(converter: &RowConverter, columns: &[ArrayRef], count: usize) -> Result<Rows> {
    if !columns.is_empty() {
        return Ok(converter.convert_columns(columns)?);
    }
    let mut rows = converter.empty_rows(count, 0);
    let empty = converter.parser();
    for _ in 0..count {
        rows.push(empty.parse(&[]));
    }
    Ok(rows)
}
