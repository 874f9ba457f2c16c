//! One shard in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use tidemill_core::{Bucket, ShardState, StateError, StateUsage, StateVisitor};

type Bytes = Box<[u8]>;

/// What an entry takes beside its bytes: a slot of 33 bytes in a table between 7/16 and 7/8 full
/// (52 on average), and two allocations that lose some 16 bytes each.
pub(crate) const ENTRY_OVERHEAD_BYTES: u64 = 84;

/// Memory for the changes of a batch, shared by all shards.
#[derive(Debug)]
pub(crate) struct OverlayBudget {
    used: AtomicU64,
    limit: u64,
}

impl OverlayBudget {
    pub(crate) fn new(limit: u64) -> OverlayBudget {
        OverlayBudget { used: AtomicU64::new(0), limit }
    }

    /// Takes room for a change of `size` that replaces one of `replaced`, if there is that much.
    fn replace(&self, replaced: u64, size: u64) -> Result<(), StateError> {
        let used = self.used.fetch_add(size, Ordering::Relaxed);
        let wanted = (used + size).saturating_sub(replaced);
        if wanted > self.limit && size > replaced {
            self.used.fetch_sub(size, Ordering::Relaxed);
            return Err(StateError::OverlayTooLarge { wanted, limit: self.limit });
        }
        self.used.fetch_sub(replaced, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn reset(&self) {
        self.used.store(0, Ordering::Relaxed);
    }
}

/// Entries by bucket, so that eviction finds its own, and by key within it.
#[derive(Debug)]
pub(crate) struct Shard {
    entries: BTreeMap<Bucket, HashMap<Bytes, Bytes>>,
    /// `None`: removed. The bucket may hold nothing of the kind, then it is a change all the same.
    overlay: BTreeMap<Bucket, HashMap<Bytes, Option<Bytes>>>,
    usage: StateUsage,
    /// `usage` before the running batch.
    usage_before: StateUsage,
    budget: Arc<OverlayBudget>,
}

impl Shard {
    pub(crate) fn new(budget: Arc<OverlayBudget>) -> Shard {
        Shard {
            entries: BTreeMap::new(),
            overlay: BTreeMap::new(),
            usage: StateUsage::default(),
            usage_before: StateUsage::default(),
            budget,
        }
    }

    /// Visits the overlay in (bucket, key) order.
    pub(crate) fn changes<E>(
        &self,
        mut visit: impl FnMut(Bucket, &[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (&bucket, changed) in &self.overlay {
            let mut sorted: Vec<_> = changed.iter().collect();
            sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
            for (key, value) in sorted {
                visit(bucket, key, value.as_deref())?;
            }
        }
        Ok(())
    }

    pub(crate) fn apply(&mut self) {
        for (bucket, changed) in std::mem::take(&mut self.overlay) {
            let entries = self.entries.entry(bucket).or_default();
            for (key, value) in changed {
                match value {
                    Some(value) => entries.insert(key, value),
                    None => entries.remove(&key),
                };
            }
            if entries.is_empty() {
                self.entries.remove(&bucket);
            }
        }
        self.usage_before = self.usage;
    }

    pub(crate) fn discard(&mut self) {
        self.overlay.clear();
        self.usage = self.usage_before;
    }

    /// Sets or removes an entry, past the overlay.
    pub(crate) fn load(&mut self, bucket: Bucket, key: &[u8], value: Option<&[u8]>) {
        debug_assert!(self.overlay.is_empty(), "state is loaded before the first batch");
        let before = self.committed(bucket, key).map(<[u8]>::len);
        self.count(key, before, value.map(<[u8]>::len));
        self.usage_before = self.usage;
        let entries = self.entries.entry(bucket).or_default();
        match value {
            Some(value) => entries.insert(key.into(), value.into()),
            None => entries.remove(key),
        };
        if entries.is_empty() {
            self.entries.remove(&bucket);
        }
    }

    fn committed(&self, bucket: Bucket, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(&bucket)?.get(key).map(AsRef::as_ref)
    }

    /// Puts a change into the overlay, if there is memory for it.
    fn change(
        &mut self,
        bucket: Bucket,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<bool, StateError> {
        let size = entry_bytes(key.len(), value.map_or(0, <[u8]>::len));
        let changed = self.overlay.get(&bucket).and_then(|changed| changed.get(key));
        let replaced = changed
            .map_or(0, |old| entry_bytes(key.len(), old.as_ref().map_or(0, |old| old.len())));
        let before = match changed {
            Some(old) => old.as_ref().map(|old| old.len()),
            None => self.committed(bucket, key).map(<[u8]>::len),
        };
        self.budget.replace(replaced, size)?;
        self.count(key, before, value.map(<[u8]>::len));
        let changes = self.overlay.entry(bucket).or_default();
        match changes.get_mut(key) {
            Some(slot) => *slot = value.map(Into::into),
            None => {
                changes.insert(key.into(), value.map(Into::into));
            }
        }
        Ok(before.is_some())
    }

    /// Keeps `usage` up when a value of one length takes the place of another.
    fn count(&mut self, key: &[u8], before: Option<usize>, after: Option<usize>) {
        if let Some(value) = before {
            self.usage.rows -= 1;
            self.usage.bytes -= entry_bytes(key.len(), value);
        }
        if let Some(value) = after {
            self.usage.rows += 1;
            self.usage.bytes += entry_bytes(key.len(), value);
        }
    }
}

impl ShardState for Shard {
    fn get(&self, bucket: Bucket, key: &[u8]) -> Option<&[u8]> {
        match self.overlay.get(&bucket).and_then(|changed| changed.get(key)) {
            Some(value) => value.as_deref(),
            None => self.committed(bucket, key),
        }
    }

    fn put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.change(bucket, key, Some(value)).map(drop)
    }

    fn remove(&mut self, bucket: Bucket, key: &[u8]) -> Result<bool, StateError> {
        if self.get(bucket, key).is_none() {
            return Ok(false);
        }
        self.change(bucket, key, None)
    }

    fn scan(&self, until: Bucket, visit: &mut StateVisitor<'_>) {
        let mut held = self.entries.range(..=until).peekable();
        let mut changed = self.overlay.range(..=until).peekable();
        loop {
            let held_at = held.peek().map(|(at, _)| **at);
            let changed_at = changed.peek().map(|(at, _)| **at);
            let Some(bucket) = held_at.into_iter().chain(changed_at).min() else {
                return;
            };
            let held = held.next_if(|(at, _)| **at == bucket).map(|(_, entries)| entries);
            let changed = changed.next_if(|(at, _)| **at == bucket).map(|(_, changed)| changed);
            for (key, value) in merged(held, changed) {
                visit(bucket, key, value);
            }
        }
    }

    fn usage(&self) -> StateUsage {
        self.usage
    }
}

/// The entries of a bucket, in the order of their keys.
fn merged<'a>(
    held: Option<&'a HashMap<Bytes, Bytes>>,
    changed: Option<&'a HashMap<Bytes, Option<Bytes>>>,
) -> Vec<(&'a [u8], &'a [u8])> {
    let is_unchanged = |key: &Bytes| changed.is_none_or(|changed| !changed.contains_key(key));
    let held = held.into_iter().flatten().filter(|(key, _)| is_unchanged(key));
    let put = changed.into_iter().flatten();
    let put = put.filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let mut entries: Vec<(&[u8], &[u8])> =
        held.chain(put).map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
    entries.sort_unstable();
    entries
}

fn entry_bytes(key: usize, value: usize) -> u64 {
    key as u64 + value as u64 + ENTRY_OVERHEAD_BYTES
}
