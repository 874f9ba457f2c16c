//! The states of groups in the form of an earlier generation of a plugin become those of the present one.

use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;
use tidemill_core::{Bucket, Reservation};

use super::super::encoding::encoding;
use super::super::forms::Conversion;
use super::super::held::{BOX_BYTES, Held};
use super::super::stateful::{OUTPUT_ROWS, OperatorState};
use super::groups::GroupLayout;
use crate::RunningBatch;
use crate::plugins::PluginAggregate;

/// An entry of a shard.
type Entry = (Bucket, Box<[u8]>, Box<[u8]>);

/// Brings all states of the operator into their present form. A shard at a time is held.
pub(super) fn convert(
    layout: &GroupLayout,
    conversion: &Conversion,
    state: &OperatorState,
    batch: &Arc<RunningBatch>,
    memory: &Reservation,
) -> Result<()> {
    let Conversion::Groups(forms) = conversion else { return Ok(()) };
    let before = forms.iter().flat_map(|(columns, _)| columns);
    let before = encoding(before.map(|column| column.data_type()))?;
    for shard in state.all_shards() {
        let mut held = Held::new(memory.part());
        let mut entries: Vec<Entry> = Vec::new();
        state.shard(shard, |state| {
            state.scan(Bucket::FOREVER, &mut |bucket, key, value| {
                if held.add(key.len() + value.len() + 2 * BOX_BYTES + size_of::<Entry>()) {
                    entries.push((bucket, key.into(), value.into()));
                }
            });
            Ok(())
        })?;
        held.check()?;
        for entries in entries.chunks(OUTPUT_ROWS) {
            let parser = before.parser();
            let states = entries.iter().map(|(_, _, value)| parser.parse(value));
            let states = before.convert_rows(states)?;
            let states = converted(layout, forms, &states, batch, shard.0)?;
            let states = layout.states_to_bytes(&states, entries.len())?;
            state.shard(shard, |state| {
                entries.iter().zip(&states).try_for_each(|((bucket, key, _), value)| {
                    state.put(*bucket, key, value.as_ref())
                })
            })?;
        }
    }
    Ok(())
}

/// The columns of some groups, each aggregate's by its migration.
fn converted(
    layout: &GroupLayout,
    forms: &[(Vec<arrow::datatypes::FieldRef>, Option<u32>)],
    states: &[ArrayRef],
    batch: &RunningBatch,
    shard: u32,
) -> Result<Vec<ArrayRef>> {
    let mut converted = Vec::new();
    let mut rest = states;
    for (aggregate, (columns, migration)) in layout.aggregates().iter().zip(forms) {
        let (own, others) = rest.split_at(columns.len());
        rest = others;
        let Some(migration) = migration else {
            converted.extend(own.iter().cloned());
            continue;
        };
        let plugins = aggregate.fun().inner().downcast_ref::<PluginAggregate>();
        let plugins = plugins.ok_or_else(|| {
            internal_datafusion_err!("{} has a migration, and is no plugin's", aggregate.name())
        })?;
        converted.extend(plugins.migrated(&batch.context(shard), *migration, own)?);
    }
    Ok(converted)
}
