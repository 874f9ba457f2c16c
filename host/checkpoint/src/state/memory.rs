//! All state in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::{OperatorId, ShardId, ShardState, StateStore, StateUsage};

use super::shard::{OverlayBudget, Shard};
use super::{Change, StateBackend};
use crate::CheckpointError;

type Shards = BTreeMap<(OperatorId, ShardId), Arc<Mutex<Shard>>>;

/// State in memory. The log and the snapshots make it durable.
///
/// Costs about 76 bytes an entry beside its key and value (so 122 bytes for a key of 30 and a
/// value of 16 bytes), 26 for each bucket, and 13 more an entry and 10 a group in shards whose
/// groups are asked for.
#[derive(Debug)]
pub struct MemoryStateStore {
    shards: Mutex<Shards>,
    budget: Arc<OverlayBudget>,
}

impl MemoryStateStore {
    /// An empty store whose batches may change `overlay_bytes_max` bytes each.
    #[must_use]
    pub fn new(overlay_bytes_max: u64) -> MemoryStateStore {
        let budget = Arc::new(OverlayBudget::new(overlay_bytes_max));
        MemoryStateStore { shards: Mutex::default(), budget }
    }

    /// Size of all shards of an operator, overlay included.
    #[must_use]
    pub fn usage(&self, operator: OperatorId) -> StateUsage {
        let shards = lock(&self.shards);
        let range = (operator, ShardId(0))..=(operator, ShardId(u32::MAX));
        shards.range(range).fold(StateUsage::default(), |sum, (_, shard)| {
            let usage = lock(shard).usage();
            StateUsage { rows: sum.rows + usage.rows, bytes: sum.bytes + usage.bytes }
        })
    }

    /// Bytes of all shards of all operators, overlay included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        lock(&self.shards).values().map(|shard| lock(shard).usage().bytes).sum()
    }

    fn get(&self, operator: OperatorId, shard: ShardId) -> Arc<Mutex<Shard>> {
        let mut shards = lock(&self.shards);
        let new = || Arc::new(Mutex::new(Shard::new(Arc::clone(&self.budget))));
        Arc::clone(shards.entry((operator, shard)).or_insert_with(new))
    }
}

impl StateStore for MemoryStateStore {
    fn shard(&self, operator: OperatorId, shard: ShardId) -> Arc<Mutex<dyn ShardState>> {
        self.get(operator, shard)
    }
}

impl StateBackend for MemoryStateStore {
    fn changes(
        &self,
        visit: &mut dyn FnMut(Change<'_>) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        for (&(operator, shard), held) in lock(&self.shards).iter() {
            lock(held).changes(|bucket, key, value| {
                visit(Change { operator, shard, bucket, key, value })
            })?;
        }
        Ok(())
    }

    fn apply(&self) {
        lock(&self.shards).values().for_each(|shard| lock(shard).apply());
        self.budget.reset();
    }

    fn discard(&self) {
        lock(&self.shards).values().for_each(|shard| lock(shard).discard());
        self.budget.reset();
    }

    fn rows(&self) -> BTreeMap<OperatorId, u64> {
        let mut rows = BTreeMap::new();
        for (&(operator, _), shard) in lock(&self.shards).iter() {
            *rows.entry(operator).or_default() += lock(shard).usage().rows;
        }
        rows
    }

    fn load(&self, change: Change<'_>) {
        let shard = self.get(change.operator, change.shard);
        lock(&shard).load(change.bucket, change.key, change.value);
    }
}

/// An operator that panicked leaves changes of a batch that failed: `discard` repairs what it did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
