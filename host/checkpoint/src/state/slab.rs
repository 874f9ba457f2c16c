//! Entries in memory that does not move: growing it copies nothing, however many there are.

use tidemill_core::Bucket;

/// Entries that are allocated together.
const CHUNK: usize = 4_096;

/// An entry of a shard.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) bucket: Bucket,
    pub(super) key: Box<[u8]>,
    pub(super) value: Box<[u8]>,
    /// The last batch that changed it.
    pub(super) batch: u32,
}

/// Entries by number. The number that was given back last is used first.
#[derive(Debug, Default)]
pub(super) struct Slab {
    chunks: Vec<Vec<Option<Entry>>>,
    free: Vec<u32>,
    used: u32,
}

impl Slab {
    pub(super) fn insert(&mut self, entry: Entry) -> u32 {
        if let Some(slot) = self.free.pop() {
            *self.place(slot) = Some(entry);
            return slot;
        }
        let slot = self.used;
        self.used += 1;
        if slot as usize % CHUNK == 0 {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[slot as usize / CHUNK].push(Some(entry));
        slot
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.place(slot).take()?;
        self.free.push(slot);
        Some(entry)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Entry> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)?.as_mut()
    }

    /// All entries, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let all = self.chunks.iter().flatten().enumerate();
        all.filter_map(|(slot, entry)| Some((slot as u32, entry.as_ref()?)))
    }

    fn place(&mut self, slot: u32) -> &mut Option<Entry> {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}
