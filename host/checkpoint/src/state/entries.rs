//! The entries of a shard, found by key, by time and by group.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{self, HashTable};
use tidemill_core::{Bucket, MemberVisitor, StateUsage, StateVisitor, split_member};

use super::lists::{Lists, NONE, Rest, push_compactly};

/// Memory of an entry beside key and value: its slot, its place in the list of its bucket and in
/// the table of keys, and what the allocator adds.
///
/// This and the three below are what `examples/state_memory.rs` measured for a million entries,
/// when the table of keys had just doubled: the sums are 76 bytes an entry that is never
/// evicted, 102 for entries with a bucket each, 125 for groups of one with a bucket each.
pub(super) const ENTRY_BYTES: u64 = 76;

/// Memory of a bucket.
const BUCKET_BYTES: u64 = 26;

/// Memory of an entry's place in its group, once groups are asked for.
const MEMBER_BYTES: u64 = 13;

/// Memory of a group.
const GROUP_BYTES: u64 = 10;

/// Below so many slots, those that are free are kept.
const COMPACTED_SLOTS_MIN: usize = 1024;

/// An entry, or a slot that waits for one.
#[derive(Debug)]
struct Slot {
    bucket: Bucket,
    /// The key, and then the value: one allocation for both.
    bytes: Box<[u8]>,
    key_len: u32,
    /// Of bucket and key. It is kept so that the table grows without a look at the keys.
    hash: u32,
    /// Where the batch's change of the entry is noted, or [`NONE`].
    change: u32,
    is_live: bool,
}

impl Slot {
    fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[self.key_len as usize..]
    }
}

/// Numbers of the live entries of groups.
#[derive(Debug)]
struct Groups {
    /// The first entry of each group's list.
    firsts: HashTable<u32>,
    /// Of the group of each entry. Kept so that the table is searched and grows without a look at
    /// the keys.
    hashes: Vec<u32>,
    lists: Lists,
}

/// Entries, numbered. An entry is *live*, or it is out of sight: removed, and kept for as long as
/// it may come back.
///
/// Nothing that is visited depends on the numbers or on an order within a hash table.
#[derive(Debug, Default)]
pub(super) struct Entries {
    slots: Vec<Slot>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    /// By bucket and key, entries out of sight included.
    by_key: HashTable<u32>,
    /// The first live entry of each bucket's list.
    buckets: BTreeMap<Bucket, u32>,
    by_bucket: Lists,
    /// Not there before the first question for a group: who never asks does not pay.
    groups: OnceCell<Groups>,
    /// Live entries.
    rows: u64,
    /// Bytes of their keys and values.
    bytes: u64,
}

impl Entries {
    /// The entry's number, also if it is out of sight.
    pub(super) fn find(&self, bucket: Bucket, key: &[u8]) -> Option<u32> {
        let hash = self.hash(bucket, key);
        let is_it = |number: &u32| {
            let slot = &self.slots[*number as usize];
            slot.hash == hash && slot.bucket == bucket && slot.key() == key
        };
        self.by_key.find(spread(hash), is_it).copied()
    }

    /// Adds an entry that [`find`](Entries::find) did not find.
    pub(super) fn insert(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) -> u32 {
        let hash = self.hash(bucket, key);
        let bytes = joined(key, value);
        let key_len = key.len() as u32;
        let slot = Slot { bucket, bytes, key_len, hash, change: NONE, is_live: false };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                push_compactly(&mut self.slots, slot);
                number_of(self.slots.len() - 1)
            }
        };
        let slots = &self.slots;
        let hash_of = |number: &u32| spread(slots[*number as usize].hash);
        self.by_key.insert_unique(spread(hash), number, hash_of);
        self.show(number);
        number
    }

    /// Forgets an entry for good. Its number may come again.
    pub(super) fn forget(&mut self, number: u32) {
        self.hide(number);
        let hash = spread(self.slots[number as usize].hash);
        if let Ok(found) = self.by_key.find_entry(hash, |other| *other == number) {
            found.remove();
        }
        let slot = &mut self.slots[number as usize];
        slot.bytes = Box::default();
        slot.key_len = 0;
        self.free.push(number);
    }

    /// Puts an entry out of sight, if it is live.
    pub(super) fn hide(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        if !std::mem::replace(&mut slot.is_live, false) {
            return;
        }
        self.rows -= 1;
        self.bytes -= slot.bytes.len() as u64;
        match self.by_bucket.remove(number) {
            Rest::SameFirst => {}
            Rest::NewFirst(first) => {
                self.buckets.insert(slot.bucket, first);
            }
            Rest::Empty => {
                self.buckets.remove(&slot.bucket);
            }
        }
        if let Some(groups) = self.groups.get_mut() {
            groups.remove(number, &self.slots);
        }
    }

    /// Makes an entry live, if it is not.
    pub(super) fn show(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        if std::mem::replace(&mut slot.is_live, true) {
            return;
        }
        self.rows += 1;
        self.bytes += slot.bytes.len() as u64;
        self.put_into_bucket(number);
        if let Some(groups) = self.groups.get_mut() {
            groups.add(number, &self.slots, &self.hasher);
        }
    }

    /// Sets an entry's value.
    pub(super) fn set_value(&mut self, number: u32, value: &[u8]) {
        let slot = &mut self.slots[number as usize];
        let key_len = slot.key_len as usize;
        if slot.bytes.len() == key_len + value.len() {
            slot.bytes[key_len..].copy_from_slice(value);
            return;
        }
        let bytes = joined(slot.key(), value);
        let before = std::mem::replace(&mut slot.bytes, bytes);
        if slot.is_live {
            self.bytes = self.bytes + slot.bytes.len() as u64 - before.len() as u64;
        }
    }

    pub(super) fn is_live(&self, number: u32) -> bool {
        self.slots[number as usize].is_live
    }

    pub(super) fn bucket(&self, number: u32) -> Bucket {
        self.slots[number as usize].bucket
    }

    pub(super) fn key(&self, number: u32) -> &[u8] {
        self.slots[number as usize].key()
    }

    /// The value. An entry out of sight has the last one that it had.
    pub(super) fn value(&self, number: u32) -> &[u8] {
        self.slots[number as usize].value()
    }

    /// Where the change of an entry is noted.
    pub(super) fn change(&self, number: u32) -> Option<u32> {
        Some(self.slots[number as usize].change).filter(|change| *change != NONE)
    }

    pub(super) fn set_change(&mut self, number: u32, change: Option<usize>) {
        self.slots[number as usize].change = change.map_or(NONE, number_of);
    }

    /// The first bucket that has a live entry.
    pub(super) fn first(&self) -> Option<Bucket> {
        self.buckets.first_key_value().map(|(bucket, _)| *bucket)
    }

    /// Visits the live entries of the buckets `..=until`, in (bucket, key) order. Gives their
    /// numbers, in this order.
    pub(super) fn scan(&self, until: Bucket, visit: &mut StateVisitor<'_>) -> Vec<u32> {
        let mut sorted: Vec<(&[u8], u32)> = Vec::new();
        let mut numbers = Vec::new();
        for (bucket, first) in self.buckets.range(..=until) {
            let of_bucket = self.by_bucket.of(*first);
            sorted.extend(of_bucket.map(|number| (self.slots[number as usize].key(), number)));
            sorted.sort_unstable();
            for (key, number) in sorted.drain(..) {
                visit(*bucket, key, self.slots[number as usize].value());
                numbers.push(number);
            }
        }
        numbers
    }

    /// Visits the live members of a group, in (member, bucket) order.
    pub(super) fn members(&self, group: &[u8], visit: &mut MemberVisitor<'_>) {
        let groups = self.groups();
        let Some(first) = groups.first(group, &self.slots, &self.hasher) else { return };
        let member = |number: u32| {
            let slot = &self.slots[number as usize];
            split_member(slot.key()).map(|(_, member)| (member, slot.bucket, slot.value()))
        };
        let mut of_group = groups.lists.of(first).filter_map(member);
        let (Some(one), another) = (of_group.next(), of_group.next()) else { return };
        // Most groups have one member.
        let Some(another) = another else { return visit(one.1, one.0, one.2) };
        let mut sorted: Vec<_> = [one, another].into_iter().chain(of_group).collect();
        // Stable because it takes runs as they are: members mostly come in their order.
        sorted.sort_by_key(|(member, bucket, _)| (*member, *bucket));
        for (member, bucket, value) in sorted {
            visit(bucket, member, value);
        }
    }

    pub(super) fn has_members(&self, group: &[u8]) -> bool {
        self.groups().first(group, &self.slots, &self.hasher).is_some()
    }

    fn groups(&self) -> &Groups {
        self.groups.get_or_init(|| Groups::of(&self.slots, &self.hasher))
    }

    pub(super) fn usage(&self) -> StateUsage {
        let entry = ENTRY_BYTES + if self.groups.get().is_some() { MEMBER_BYTES } else { 0 };
        let groups = self.groups.get().map_or(0, |groups| groups.firsts.len() as u64);
        let bytes = self.bytes
            + self.rows * entry
            + self.buckets.len() as u64 * BUCKET_BYTES
            + groups * GROUP_BYTES;
        StateUsage { rows: self.rows, bytes }
    }

    /// Gives memory back if most slots are free. All entries get other numbers; none is changed.
    pub(super) fn compact(&mut self) {
        let kept = self.slots.len() - self.free.len();
        if self.slots.len() < COMPACTED_SLOTS_MIN || kept > self.slots.len() / 4 {
            return;
        }
        self.slots.retain(|slot| slot.is_live);
        self.slots.shrink_to_fit();
        self.free = Vec::new();
        self.by_key = HashTable::with_capacity(kept);
        self.buckets.clear();
        self.by_bucket = Lists::default();
        self.groups = OnceCell::new();
        for number in 0..number_of(self.slots.len()) {
            let slots = &self.slots;
            let hash_of = |number: &u32| spread(slots[*number as usize].hash);
            self.by_key.insert_unique(hash_of(&number), number, hash_of);
            self.put_into_bucket(number);
        }
    }

    fn put_into_bucket(&mut self, number: u32) {
        match self.buckets.entry(self.slots[number as usize].bucket) {
            btree_map::Entry::Vacant(bucket) => {
                self.by_bucket.push(number, None);
                bucket.insert(number);
            }
            btree_map::Entry::Occupied(mut first) => {
                self.by_bucket.push(number, Some(*first.get()));
                first.insert(number);
            }
        }
    }

    fn hash(&self, bucket: Bucket, key: &[u8]) -> u32 {
        self.hasher.hash_one((bucket, key)) as u32
    }
}

impl Groups {
    /// Of all live entries.
    fn of(slots: &[Slot], hasher: &DefaultHashBuilder) -> Groups {
        let (firsts, hashes, lists) = (HashTable::new(), Vec::new(), Lists::default());
        let mut groups = Groups { firsts, hashes, lists };
        for (number, slot) in slots.iter().enumerate() {
            if slot.is_live {
                groups.add(number_of(number), slots, hasher);
            }
        }
        groups
    }

    fn first(&self, group: &[u8], slots: &[Slot], hasher: &DefaultHashBuilder) -> Option<u32> {
        let hash = hasher.hash_one(group) as u32;
        let is_it = |number: &u32| {
            self.hashes[*number as usize] == hash && group_of(slots, *number) == Some(group)
        };
        self.firsts.find(spread(hash), is_it).copied()
    }

    /// Entries whose key is too short for a member are in no group.
    fn add(&mut self, number: u32, slots: &[Slot], hasher: &DefaultHashBuilder) {
        let Some(group) = group_of(slots, number) else { return };
        let hash = hasher.hash_one(group) as u32;
        while self.hashes.len() <= number as usize {
            push_compactly(&mut self.hashes, 0);
        }
        self.hashes[number as usize] = hash;
        let is_it = |number: &u32| {
            self.hashes[*number as usize] == hash && group_of(slots, *number) == Some(group)
        };
        let hash_of = |number: &u32| spread(self.hashes[*number as usize]);
        match self.firsts.entry(spread(hash), is_it, hash_of) {
            hash_table::Entry::Vacant(place) => {
                place.insert(number);
                self.lists.push(number, None);
            }
            hash_table::Entry::Occupied(mut place) => {
                let first = std::mem::replace(place.get_mut(), number);
                self.lists.push(number, Some(first));
            }
        }
    }

    fn remove(&mut self, number: u32, slots: &[Slot]) {
        if group_of(slots, number).is_none() {
            return;
        }
        let rest = self.lists.remove(number);
        if let Rest::SameFirst = rest {
            return;
        }
        let hash = spread(self.hashes[number as usize]);
        let Ok(mut place) = self.firsts.find_entry(hash, |first| *first == number) else { return };
        match rest {
            Rest::NewFirst(first) => *place.get_mut() = first,
            _ => {
                place.remove();
            }
        }
    }
}

fn group_of(slots: &[Slot], number: u32) -> Option<&[u8]> {
    split_member(slots[number as usize].key()).map(|(group, _)| group)
}

fn joined(key: &[u8], value: &[u8]) -> Box<[u8]> {
    [key, value].concat().into()
}

/// A table's hash, whose high bits count as much as the low ones, from the half that is kept.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn number_of(position: usize) -> u32 {
    u32::try_from(position).expect("4 billion entries of one shard do not fit into memory")
}
