//! One shard in memory, and the changes of the batch that runs (the *overlay*).
//!
//! The changes are made in the entries themselves, and what was there before is noted beside them:
//! so a commit costs nothing, and only a batch that failed pays for taking them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidemill_core::{
    Bucket, MemberVisitor, ShardState, StateError, StateUsage, StateVisitor, member_key,
};

use super::entries::{ENTRY_BYTES, Entries};

/// Memory of the note that an entry was removed. The entry itself was part of the state before, and
/// is not counted again: so state can be evicted that is larger than the budget.
const NOTE_BYTES: u64 = size_of::<Touched>() as u64;

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

/// Entries with the running batch's changes in them, and how to take those back.
#[derive(Debug)]
pub(crate) struct Shard {
    entries: Entries,
    /// One for each entry that the batch touched.
    changes: Vec<Touched>,
    budget: Arc<OverlayBudget>,
    /// Where the keys of members are put together.
    key: Vec<u8>,
}

/// An entry that the batch changed. If it was removed, it is out of sight until the batch ends.
#[derive(Debug)]
struct Touched {
    entry: u32,
    before: Before,
}

/// The entry before the batch.
#[derive(Debug)]
enum Before {
    /// It was not there.
    Absent,
    /// It had the value that it still has, although out of sight.
    Kept,
    /// It had this value.
    Value(Box<[u8]>),
}

impl Shard {
    pub(crate) fn new(budget: Arc<OverlayBudget>) -> Shard {
        Shard { entries: Entries::default(), changes: Vec::new(), budget, key: Vec::new() }
    }

    /// Visits what the batch changed, in (bucket, key) order. What it put and removed again was
    /// never there.
    pub(crate) fn changes<E>(
        &self,
        mut visit: impl FnMut(Bucket, &[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let entries = &self.entries;
        let is_change = |touched: &&Touched| {
            entries.is_live(touched.entry) || !matches!(touched.before, Before::Absent)
        };
        let changes = self.changes.iter().filter(is_change);
        let mut sorted: Vec<(Bucket, &[u8], u32)> = changes
            .map(|Touched { entry, .. }| (entries.bucket(*entry), entries.key(*entry), *entry))
            .collect();
        sorted.sort_unstable();
        sorted.into_iter().try_for_each(|(bucket, key, entry)| {
            visit(bucket, key, entries.is_live(entry).then(|| entries.value(entry)))
        })
    }

    pub(crate) fn apply(&mut self) {
        for Touched { entry, .. } in std::mem::take(&mut self.changes) {
            self.entries.set_change(entry, None);
            if !self.entries.is_live(entry) {
                self.entries.forget(entry);
            }
        }
        self.entries.compact();
    }

    pub(crate) fn discard(&mut self) {
        for Touched { entry, before } in std::mem::take(&mut self.changes) {
            self.entries.set_change(entry, None);
            match before {
                Before::Absent => self.entries.forget(entry),
                Before::Kept => self.entries.show(entry),
                Before::Value(value) => {
                    self.entries.set_value(entry, &value);
                    self.entries.show(entry);
                }
            }
        }
        self.entries.compact();
    }

    /// Sets or removes an entry, outside of any batch.
    pub(crate) fn load(&mut self, bucket: Bucket, key: &[u8], value: Option<&[u8]>) {
        debug_assert!(self.changes.is_empty(), "state is loaded before the first batch");
        match (self.entries.find(bucket, key), value) {
            (Some(entry), Some(value)) => self.entries.set_value(entry, value),
            (Some(entry), None) => self.entries.forget(entry),
            (None, Some(value)) => {
                self.entries.insert(bucket, key, value);
            }
            (None, None) => {}
        }
    }

    fn live(&self, bucket: Bucket, key: &[u8]) -> Option<u32> {
        self.entries.find(bucket, key).filter(|entry| self.entries.is_live(*entry))
    }

    /// What the change of an entry takes of the budget: 0 if the batch did not touch it.
    fn charged(&self, entry: u32) -> u64 {
        let Some(change) = self.entries.change(entry) else { return 0 };
        let before = match &self.changes[change as usize].before {
            Before::Kept => return NOTE_BYTES,
            Before::Absent => 0,
            Before::Value(value) => value.len(),
        };
        let now = if self.entries.is_live(entry) { self.entries.value(entry).len() } else { 0 };
        change_bytes(self.entries.key(entry).len(), before.max(now))
    }

    /// Removes a live entry.
    fn remove_entry(&mut self, entry: u32) -> Result<(), StateError> {
        if self.entries.change(entry).is_none() {
            self.budget.replace(0, NOTE_BYTES)?;
            self.touch(entry, Before::Kept);
            self.entries.hide(entry);
            return Ok(());
        }
        let charged = self.charged(entry);
        self.entries.hide(entry);
        self.budget.replace(charged, self.charged(entry))
    }

    /// Notes that the batch changes an entry that it did not touch before.
    fn touch(&mut self, entry: u32, before: Before) {
        self.entries.set_change(entry, Some(self.changes.len()));
        self.changes.push(Touched { entry, before });
    }
}

impl ShardState for Shard {
    fn get(&self, bucket: Bucket, key: &[u8]) -> Option<&[u8]> {
        self.live(bucket, key).map(|entry| self.entries.value(entry))
    }

    fn put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let Some(entry) = self.entries.find(bucket, key) else {
            self.budget.replace(0, change_bytes(key.len(), value.len()))?;
            let entry = self.entries.insert(bucket, key, value);
            self.touch(entry, Before::Absent);
            return Ok(());
        };
        let change = self.entries.change(entry).map(|change| change as usize);
        let before = match change.map(|change| &self.changes[change].before) {
            Some(Before::Absent) => 0,
            Some(Before::Value(value)) => value.len(),
            Some(Before::Kept) | None => self.entries.value(entry).len(),
        };
        let size = change_bytes(key.len(), before.max(value.len()));
        self.budget.replace(self.charged(entry), size)?;
        match change.map(|change| &mut self.changes[change].before) {
            None => self.touch(entry, Before::Value(self.entries.value(entry).into())),
            Some(kept @ Before::Kept) => *kept = Before::Value(self.entries.value(entry).into()),
            Some(Before::Absent | Before::Value(_)) => {}
        }
        self.entries.set_value(entry, value);
        self.entries.show(entry);
        Ok(())
    }

    fn remove(&mut self, bucket: Bucket, key: &[u8]) -> Result<bool, StateError> {
        let Some(entry) = self.live(bucket, key) else { return Ok(false) };
        self.remove_entry(entry)?;
        Ok(true)
    }

    fn put_member(
        &mut self,
        bucket: Bucket,
        group: &[u8],
        member: u64,
        value: &[u8],
    ) -> Result<(), StateError> {
        let mut key = std::mem::take(&mut self.key);
        member_key(group, member, &mut key);
        let done = self.put(bucket, &key, value);
        self.key = key;
        done
    }

    fn remove_member(
        &mut self,
        bucket: Bucket,
        group: &[u8],
        member: u64,
    ) -> Result<bool, StateError> {
        let mut key = std::mem::take(&mut self.key);
        member_key(group, member, &mut key);
        let done = self.remove(bucket, &key);
        self.key = key;
        done
    }

    fn members(&self, group: &[u8], visit: &mut MemberVisitor<'_>) {
        self.entries.members(group, visit);
    }

    fn has_members(&self, group: &[u8]) -> bool {
        self.entries.has_members(group)
    }

    fn scan(&self, until: Bucket, visit: &mut StateVisitor<'_>) {
        self.entries.scan(until, visit);
    }

    fn first(&self) -> Option<Bucket> {
        self.entries.first()
    }

    fn evict(&mut self, until: Bucket, visit: &mut StateVisitor<'_>) -> Result<u64, StateError> {
        let leaving = self.entries.scan(until, visit);
        leaving.iter().try_for_each(|entry| self.remove_entry(*entry))?;
        Ok(leaving.len() as u64)
    }

    fn usage(&self) -> StateUsage {
        self.entries.usage()
    }
}

/// What a change that is no removal takes of the budget, by the lengths of the key and of the
/// longer one of the old and the new value: an entry that is new, or the note of an old value.
fn change_bytes(key: usize, value: usize) -> u64 {
    key as u64 + value as u64 + ENTRY_BYTES
}
