//! State while it is loaded: counted in the budget as it grows, and held against what the last
//! commit says of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_core::Reservation;

use super::{Change, MemoryStateStore, StateBackend};
use crate::CheckpointError;

/// Bytes of changes after which the memory that the state takes is counted again.
const COUNTED_BYTES: u64 = 256 * 1024;

/// A store that is being filled.
pub(crate) struct Loading {
    state: Arc<MemoryStateStore>,
    memory: Reservation,
    uncounted: u64,
}

impl Loading {
    /// Batches may change `overlay_bytes_max` bytes of the state each.
    pub(crate) fn new(overlay_bytes_max: u64, memory: Reservation) -> Loading {
        let state = Arc::new(MemoryStateStore::new(overlay_bytes_max));
        Loading { state, memory, uncounted: 0 }
    }

    pub(crate) fn add(&mut self, change: Change<'_>) -> Result<(), CheckpointError> {
        self.uncounted += change.key.len() as u64 + change.value.map_or(0, <[u8]>::len) as u64;
        self.state.load(change);
        if self.uncounted >= COUNTED_BYTES {
            self.uncounted = 0;
            self.memory.try_resize(self.state.bytes())?;
        }
        Ok(())
    }

    /// The state, and what it takes. It has to have as many entries as `wanted` says, by operator;
    /// otherwise `damaged` is told how they differ.
    pub(crate) fn finish(
        mut self,
        wanted: &BTreeMap<u32, u64>,
        damaged: impl FnOnce(String) -> CheckpointError,
    ) -> Result<(Arc<MemoryStateStore>, Reservation), CheckpointError> {
        self.memory.try_resize(self.state.bytes())?;
        let rows = self.state.rows().into_iter().filter(|(_, rows)| *rows > 0);
        let rows: BTreeMap<u32, u64> = rows.map(|(operator, rows)| (operator.0, rows)).collect();
        if rows != *wanted {
            return Err(damaged(format!(
                "the state has {rows:?} entries by operator, and the last commit says {wanted:?}"
            )));
        }
        Ok((self.state, self.memory))
    }
}
