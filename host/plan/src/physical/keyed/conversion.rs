//! What an earlier generation of a stateful function kept, taken by the present one's migration.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::error::Result;
use tidemill_core::{Bucket, Change, OperatorId, ShardId};

use super::super::forms::{Conversion, Read};
use super::super::held::{BOX_BYTES, Held};
use super::super::stateful::Placement;
use super::Plan;
use super::codec::Stored;
use super::store::{ShardKeys, Shared};
use crate::RunningBatch;

/// Keys that are read and handed over at a time.
pub(super) const KEYS: usize = 4_096;

/// The variables of before that a migration reads.
pub(super) struct Before {
    pub(super) migration: u32,
    shared: Arc<Shared>,
    schema: SchemaRef,
    /// Numbers of those that are none of the present ones.
    gone: Vec<usize>,
}

impl Before {
    /// `operators`: of the state, the timers and what is to be forgotten.
    pub(super) fn of(
        conversion: &Conversion,
        plan: &Plan,
        placement: Placement,
        operators: [OperatorId; 3],
        clock: Option<i64>,
        batch: &RunningBatch,
    ) -> Result<Option<Before>> {
        let Conversion::Keys { migration, reads } = conversion else { return Ok(None) };
        let kept = reads.iter().map(|Read { variable, .. }| Stored::of(variable));
        let states = operators.map(|operator| Placement { operator, ..placement }.open(batch));
        let number = batch.spec().batch.0;
        let mode = plan.function.mode;
        let shared = Shared::new(kept.collect::<Result<_>>()?, states, mode, clock, number);
        let fields = reads.iter().map(|Read { variable, .. }| FieldRef::clone(&variable.field));
        let gone = reads.iter().enumerate().filter(|(_, read)| read.is_gone);
        Ok(Some(Before {
            migration: *migration,
            shared: Arc::new(shared),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            gone: gone.map(|(number, _)| number).collect(),
        }))
    }

    /// The keys of a shard that have any of it, in order.
    pub(super) fn keys(&self, shard: ShardId, held: &mut Held) -> Result<Vec<Box<[u8]>>> {
        let mut keys: BTreeSet<Box<[u8]>> = BTreeSet::new();
        self.shared.state.shard(shard, |state| {
            state.scan(Bucket::FOREVER, &mut |_, entry, _| {
                let key = self.shared.kept.iter().find_map(|kept| kept.key_in(entry));
                if let Some(key) = key
                    && !keys.contains(key)
                    && held.add(key.len() + 2 * BOX_BYTES)
                {
                    keys.insert(key.into());
                }
            });
            Ok(())
        })?;
        held.check()?;
        Ok(keys.into_iter().collect())
    }

    /// What these keys have, a row a key, of those that have anything that is not forgotten. What is no part
    /// of the present state is gone after it.
    pub(super) fn take(
        &self,
        shard: ShardId,
        keys: &[Box<[u8]>],
    ) -> Result<(Vec<Box<[u8]>>, RecordBatch)> {
        // Fewer than `KEYS`.
        let numbers: Vec<u32> = (0..keys.len() as u32).collect();
        let state = ShardKeys::new(&self.shared, shard, keys.to_vec());
        let variables = 0..self.shared.kept.len();
        let columns = variables.map(|variable| state.reading(variable, &numbers));
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        for variable in &self.gone {
            let nothing = new_null_array(columns[*variable].data_type(), keys.len());
            state.changing(*variable, &numbers, Change::Write(&nothing))?;
        }
        let has_any = |row: usize| columns.iter().any(|column| column.is_valid(row));
        let mask: Vec<bool> = (0..keys.len()).map(has_any).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let left = keys.iter().zip(&mask).filter(|(_, has_any)| **has_any);
        let left = left.map(|(key, _)| key.clone()).collect();
        Ok((left, filter_record_batch(&rows, &BooleanArray::from(mask))?))
    }
}
