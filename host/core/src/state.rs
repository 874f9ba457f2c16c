//! Keyed state, as stateful operators see it.
//!
//! State is addressed by (operator, shard, bucket, key). Keys and values are bytes that mean
//! something to the operator alone. What an operator changes during a batch is an *overlay*: it
//! reads its own changes, and nobody else sees them before the batch commits.

use std::sync::{Arc, Mutex};

/// A stateful operator of the plan, numbered from the sink's side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OperatorId(pub u32);

/// A slice of the key space: `hash(key) % shuffle_partitions`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u32);

/// Event time by which an entry is evicted, in microseconds since 1970-01-01 UTC (a window's end,
/// say). Entries that never leave have [`Bucket::FOREVER`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bucket(pub i64);

impl Bucket {
    /// Of entries that no watermark evicts.
    pub const FOREVER: Bucket = Bucket(i64::MAX);
}

/// The state could not take a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The changes of one batch outgrew their memory.
    #[error(
        "the batch changed {wanted} bytes of state, and at most {limit} are kept in memory until it commits; lower the source's read limit (maxFilesPerTrigger, maxOffsetsPerTrigger) or raise options.state_overlay_memory"
    )]
    OverlayTooLarge {
        /// Bytes that the overlay would have held.
        wanted: u64,
        /// The budget.
        limit: u64,
    },
}

/// What a shard holds, overlay included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StateUsage {
    /// Entries.
    pub rows: u64,
    /// Memory that they take, bookkeeping included.
    pub bytes: u64,
}

/// One shard of one operator's state during one batch.
pub trait ShardState: Send {
    /// The value of a key, with this batch's changes.
    fn get(&self, bucket: Bucket, key: &[u8]) -> Option<&[u8]>;

    /// Sets the value of a key.
    fn put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) -> Result<(), StateError>;

    /// Removes a key. Returns whether it was there.
    fn remove(&mut self, bucket: Bucket, key: &[u8]) -> Result<bool, StateError>;

    /// Visits the entries of all buckets `..=until`, in (bucket, key) order. Costs what it visits.
    fn scan(&self, until: Bucket, visit: &mut dyn FnMut(Bucket, &[u8], &[u8]));

    /// Size of the shard.
    fn usage(&self) -> StateUsage;
}

/// All state of a query. Operators ask it for their shards when a batch begins.
pub trait StateStore: Send + Sync {
    /// The shard, empty if it never held anything. Two calls give the same shard.
    fn shard(&self, operator: OperatorId, shard: ShardId) -> Arc<Mutex<dyn ShardState>>;
}
