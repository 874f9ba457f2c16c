//! One shard in memory.
//!
//! Changes are made in place, and what was there before is noted: a batch that fails is undone.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};
use tidemill_core::{
    Bucket, MemberVisitor, ShardState, StateError, StateUsage, StateVisitor, member_key,
    split_member,
};

use super::groups::Groups;
use super::slab::{Entry, Slab};

type Bytes = Box<[u8]>;

/// What an entry takes beside its bytes: 48 in the slab, some 8 in the table of keys, 24 among the
/// times where it has one, 16 among the groups where it is a member, and two allocations that lose
/// some 8 bytes each.
pub(crate) const ENTRY_OVERHEAD_BYTES: u64 = 100;

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

/// How to take back a change. Taken back in reverse order, each finds the slab as it left it.
#[derive(Debug)]
enum Undo {
    Added { slot: u32 },
    Changed { slot: u32, value: Bytes },
    Removed { entry: Entry },
}

/// Entries by (bucket, key), by time and, where they are asked for, by group.
#[derive(Debug)]
pub(crate) struct Shard {
    slab: Slab,
    by_key: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Entries that a watermark evicts.
    by_time: BTreeSet<(Bucket, u32)>,
    /// Made when the first member is asked for: aggregations have none.
    groups: OnceCell<Groups>,
    undo: Vec<Undo>,
    /// Number of the running batch, from 1 on. It only marks what changed in it.
    batch: u32,
    usage: StateUsage,
    /// `usage` before the running batch.
    usage_before: StateUsage,
    budget: Arc<OverlayBudget>,
}

impl Shard {
    pub(crate) fn new(budget: Arc<OverlayBudget>) -> Shard {
        Shard {
            slab: Slab::default(),
            by_key: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            by_time: BTreeSet::new(),
            groups: OnceCell::new(),
            undo: Vec::new(),
            batch: 1,
            usage: StateUsage::default(),
            usage_before: StateUsage::default(),
            budget,
        }
    }

    /// Visits what the running batch changed in (bucket, key) order, each entry once.
    pub(crate) fn changes<E>(
        &self,
        mut visit: impl FnMut(Bucket, &[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let changed = self.undo.iter().filter_map(|undo| match undo {
            // The slot may have another entry by now. That is one of the batch, too.
            Undo::Added { slot } | Undo::Changed { slot, .. } => self.slab.get(*slot),
            Undo::Removed { entry } => Some(entry),
        });
        let mut changed: Vec<(Bucket, &[u8])> =
            changed.map(|entry| (entry.bucket, entry.key.as_ref())).collect();
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().try_for_each(|(bucket, key)| visit(bucket, key, self.get(bucket, key)))
    }

    pub(crate) fn apply(&mut self) {
        self.undo = Vec::new();
        self.batch = self.batch.wrapping_add(1);
        self.usage_before = self.usage;
    }

    pub(crate) fn discard(&mut self) {
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            match undo {
                Undo::Added { slot } => drop(self.take_out(slot)),
                Undo::Changed { slot, value } => {
                    if let Some(entry) = self.slab.get_mut(slot) {
                        entry.value = value;
                    }
                }
                Undo::Removed { entry } => drop(self.put_in(entry)),
            }
        }
        self.batch = self.batch.wrapping_add(1);
        self.usage = self.usage_before;
    }

    /// Sets or removes an entry for good.
    pub(crate) fn load(&mut self, bucket: Bucket, key: &[u8], value: Option<&[u8]>) {
        debug_assert!(self.undo.is_empty(), "state is loaded before the first batch");
        if let Some(slot) = self.find(bucket, key) {
            let old = self.take_out(slot);
            self.count(key, old.map(|old| old.value.len()), None);
        }
        if let Some(value) = value {
            self.count(key, None, Some(value.len()));
            let (key, value) = (key.into(), value.into());
            self.put_in(Entry { bucket, key, value, batch: 0 });
        }
        self.usage_before = self.usage;
    }

    fn hash(&self, bucket: Bucket, key: &[u8]) -> u64 {
        self.hasher.hash_one((bucket, key))
    }

    fn find(&self, bucket: Bucket, key: &[u8]) -> Option<u32> {
        let is_it = |slot: &u32| {
            let entry = self.slab.get(*slot);
            entry.is_some_and(|entry| entry.bucket == bucket && *entry.key == *key)
        };
        self.by_key.find(self.hash(bucket, key), is_it).copied()
    }

    /// Adds an entry that is not there.
    fn put_in(&mut self, entry: Entry) -> u32 {
        let (bucket, hash) = (entry.bucket, self.hash(entry.bucket, &entry.key));
        let slot = self.slab.insert(entry);
        let (slab, hasher) = (&self.slab, &self.hasher);
        self.by_key.insert_unique(hash, slot, |slot| {
            slab.get(*slot).map_or(0, |entry| hasher.hash_one((entry.bucket, entry.key.as_ref())))
        });
        if bucket != Bucket::FOREVER {
            self.by_time.insert((bucket, slot));
        }
        if let Some(groups) = self.groups.get_mut() {
            groups.add(&self.slab, slot);
        }
        slot
    }

    fn take_out(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.slab.get(slot)?;
        let (bucket, hash) = (entry.bucket, self.hash(entry.bucket, &entry.key));
        if let Ok(place) = self.by_key.find_entry(hash, |known| *known == slot) {
            place.remove();
        }
        if bucket != Bucket::FOREVER {
            self.by_time.remove(&(bucket, slot));
        }
        if let Some(groups) = self.groups.get_mut() {
            groups.take(&self.slab, slot);
        }
        self.slab.remove(slot)
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

    /// The groups of all entries, from here on.
    fn index_groups(&self) -> &Groups {
        self.groups.get_or_init(|| Groups::of(&self.slab))
    }

    fn visit(&self, slots: &mut [u32], visit: &mut StateVisitor<'_>) {
        let entry = |slot: u32| self.slab.get(slot).map(|entry| (entry.bucket, &entry.key));
        slots.sort_unstable_by(|a, b| entry(*a).cmp(&entry(*b)));
        for entry in slots.iter().filter_map(|slot| self.slab.get(*slot)) {
            visit(entry.bucket, &entry.key, &entry.value);
        }
    }
}

impl ShardState for Shard {
    fn get(&self, bucket: Bucket, key: &[u8]) -> Option<&[u8]> {
        let slot = self.find(bucket, key)?;
        self.slab.get(slot).map(|entry| entry.value.as_ref())
    }

    fn put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let size = entry_bytes(key.len(), value.len());
        let batch = self.batch;
        let Some(slot) = self.find(bucket, key) else {
            self.budget.replace(0, size)?;
            self.count(key, None, Some(value.len()));
            let (key, value) = (key.into(), value.into());
            let slot = self.put_in(Entry { bucket, key, value, batch });
            self.undo.push(Undo::Added { slot });
            return Ok(());
        };
        let Some(entry) = self.slab.get_mut(slot) else { return Ok(()) };
        let before = entry.value.len();
        let is_changed = entry.batch == batch;
        self.budget.replace(if is_changed { entry_bytes(key.len(), before) } else { 0 }, size)?;
        let old = std::mem::replace(&mut entry.value, value.into());
        entry.batch = batch;
        if !is_changed {
            self.undo.push(Undo::Changed { slot, value: old });
        }
        self.count(key, Some(before), Some(value.len()));
        Ok(())
    }

    fn remove(&mut self, bucket: Bucket, key: &[u8]) -> Result<bool, StateError> {
        let Some(slot) = self.find(bucket, key) else {
            return Ok(false);
        };
        let Some(entry) = self.slab.get(slot) else { return Ok(false) };
        let before = entry.value.len();
        let is_changed = entry.batch == self.batch;
        let replaced = if is_changed { entry_bytes(key.len(), before) } else { 0 };
        self.budget.replace(replaced, entry_bytes(key.len(), 0))?;
        self.count(key, Some(before), None);
        if let Some(entry) = self.take_out(slot) {
            self.undo.push(Undo::Removed { entry });
        }
        Ok(true)
    }

    fn scan(&self, until: Bucket, visit: &mut StateVisitor<'_>) {
        if until == Bucket::FOREVER {
            let mut all: Vec<u32> = self.slab.iter().map(|(slot, _)| slot).collect();
            return self.visit(&mut all, visit);
        }
        let mut due: Vec<u32> =
            self.by_time.range(..=(until, u32::MAX)).map(|(_, slot)| *slot).collect();
        self.visit(&mut due, visit);
    }

    fn put_member(
        &mut self,
        bucket: Bucket,
        group: &[u8],
        member: u64,
        value: &[u8],
    ) -> Result<(), StateError> {
        self.put(bucket, &member_key(group, member), value)
    }

    fn remove_member(
        &mut self,
        bucket: Bucket,
        group: &[u8],
        member: u64,
    ) -> Result<bool, StateError> {
        self.remove(bucket, &member_key(group, member))
    }

    fn members(&self, group: &[u8], visit: &mut MemberVisitor<'_>) {
        let entries = self.index_groups().members(&self.slab, group);
        let member = |slot| {
            let entry = self.slab.get(slot)?;
            let (_, member) = split_member(&entry.key)?;
            Some((member, entry.bucket, entry))
        };
        let mut members = entries.filter_map(member);
        let Some(first) = members.next() else { return };
        let Some(second) = members.next() else {
            return visit(first.1, first.0, &first.2.value);
        };
        let mut all = vec![first, second];
        all.extend(members);
        all.sort_unstable_by_key(|(member, bucket, _)| (*member, *bucket));
        for (member, bucket, entry) in all {
            visit(bucket, member, &entry.value);
        }
    }

    fn usage(&self) -> StateUsage {
        self.usage
    }
}

fn entry_bytes(key: usize, value: usize) -> u64 {
    key as u64 + value as u64 + ENTRY_OVERHEAD_BYTES
}
