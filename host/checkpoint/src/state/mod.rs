//! Keyed state between batches, and the changes of the batch that runs.

mod changes;
#[cfg(any(test, feature = "test-util"))]
pub mod contract;
mod entries;
mod lists;
mod loading;
mod memory;
mod shard;

use std::collections::BTreeMap;

use tidemill_core::{OperatorId, StateStore};

use crate::CheckpointError;

pub use changes::Change;
pub(crate) use changes::{CHUNK_BYTES, decode as decode_changes, decode_first};
pub(crate) use loading::Loading;
pub use memory::MemoryStateStore;

/// A state store as the engine sees it. What operators change is an overlay until [`apply`] or
/// [`discard`] ends the batch; the next change begins the next batch.
///
/// All methods are called while no operator holds a shard.
///
/// [`apply`]: StateBackend::apply
/// [`discard`]: StateBackend::discard
pub trait StateBackend: StateStore {
    /// Visits the changes of the running batch, in (operator, shard, bucket, key) order. Ends
    /// with the first error of `visit`.
    fn changes(
        &self,
        visit: &mut dyn FnMut(Change<'_>) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError>;

    /// Makes the changes of the running batch part of the state. They are in the log by then.
    fn apply(&self);

    /// Forgets the changes of the running batch: the state is as it was before.
    fn discard(&self);

    /// Entries by operator, overlay included. Operators without entries may be left out.
    fn rows(&self) -> BTreeMap<OperatorId, u64>;

    /// Sets or removes an entry of the state itself, when a checkpoint is opened.
    fn load(&self, change: Change<'_>);
}
