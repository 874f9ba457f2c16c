//! Which entries are members of which group. In memory only: it follows from the keys.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use tidemill_core::split_member;

use super::slab::Slab;

/// No entry.
const NONE: u32 = u32::MAX;

/// The entries of each group, as a list through all of them.
#[derive(Debug)]
pub(super) struct Groups {
    /// The first entry of each group.
    heads: HashTable<u32>,
    /// By entry: the ones before and after it in its group.
    links: Vec<Link>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

/// The group of an entry. An entry whose key is too short for a member's is in none with others.
fn group_of(slab: &Slab, slot: u32) -> &[u8] {
    let key = slab.get(slot).map_or(&[][..], |entry| &entry.key);
    split_member(key).map_or(key, |(group, _)| group)
}

impl Groups {
    /// The groups of all entries.
    pub(super) fn of(slab: &Slab) -> Groups {
        let hasher = DefaultHashBuilder::default();
        let mut groups = Groups { heads: HashTable::new(), links: Vec::new(), hasher };
        for (slot, _) in slab.iter() {
            groups.add(slab, slot);
        }
        groups
    }

    /// Adds an entry that the slab has.
    pub(super) fn add(&mut self, slab: &Slab, slot: u32) {
        let group = group_of(slab, slot);
        let hash = self.hasher.hash_one(group);
        let place = slot as usize;
        if self.links.len() <= place {
            self.links.resize(place + 1, Link { before: NONE, after: NONE });
        }
        self.links[place] = Link { before: NONE, after: NONE };
        match self.heads.find_mut(hash, |head| group_of(slab, *head) == group) {
            Some(head) => {
                self.links[place].after = *head;
                self.links[*head as usize].before = slot;
                *head = slot;
            }
            None => {
                let hasher = &self.hasher;
                let rehash = |head: &u32| hasher.hash_one(group_of(slab, *head));
                self.heads.insert_unique(hash, slot, rehash);
            }
        }
    }

    /// Takes out an entry that the slab still has.
    pub(super) fn take(&mut self, slab: &Slab, slot: u32) {
        let Link { before, after } = self.links[slot as usize];
        if after != NONE {
            self.links[after as usize].before = before;
        }
        if before != NONE {
            self.links[before as usize].after = after;
            return;
        }
        let hash = self.hasher.hash_one(group_of(slab, slot));
        if let Ok(mut head) = self.heads.find_entry(hash, |head| *head == slot) {
            if after == NONE {
                head.remove();
            } else {
                *head.get_mut() = after;
            }
        }
    }

    /// The entries of a group, in no order that means anything.
    pub(super) fn members<'a>(
        &'a self,
        slab: &'a Slab,
        group: &[u8],
    ) -> impl Iterator<Item = u32> + 'a {
        let hash = self.hasher.hash_one(group);
        let head = self.heads.find(hash, |head| group_of(slab, *head) == group);
        let mut next = head.copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let slot = next;
            if slot == NONE {
                return None;
            }
            next = self.links[slot as usize].after;
            Some(slot)
        })
    }
}
