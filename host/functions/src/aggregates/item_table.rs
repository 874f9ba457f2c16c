//! A table of items and their counts that forgets rare items when it is full: DataSketches'
//! ReversePurgeItemHashMap, with its order.

/// Slots of a table at first.
const SLOTS: usize = 8;
/// Counts whose median is taken off when the table is full.
const SAMPLE: usize = 1024;
/// By how much of the table a walk over it goes on.
const STRIDE: f64 = 0.618_033_988_749_894_9;

/// A value as bytes, and its hash code in Java.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) bytes: Box<[u8]>,
    pub(super) hash: i32,
}

#[derive(Debug, Clone)]
struct Slot {
    item: Item,
    count: i64,
    /// How far it is from where its hash leads, from 1.
    drift: usize,
}

/// The table.
#[derive(Debug, Default, Clone)]
pub(super) struct ItemTable {
    slots: Vec<Option<Slot>>,
    active: usize,
    /// What was taken off the counts.
    offset: i64,
    /// Bytes of items.
    held: usize,
}

fn mixed(hash: i32) -> usize {
    let mut key = i64::from(hash) as u64;
    key = (key ^ (key >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    key = (key ^ (key >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (key ^ (key >> 33)) as usize
}

impl ItemTable {
    /// An empty table of so many slots, which is a power of two.
    pub(super) fn with_slots(slots: usize) -> ItemTable {
        let slots = slots.max(SLOTS).next_power_of_two();
        ItemTable { slots: vec![None; slots], ..ItemTable::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.active
    }

    pub(super) fn size(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn offset(&self) -> i64 {
        self.offset
    }

    pub(super) fn shift(&mut self, offset: i64) {
        self.offset = self.offset.saturating_add(offset);
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Slot>>() + self.held
    }

    /// Items and their counts, in the order of their slots.
    pub(super) fn slots(&self) -> impl Iterator<Item = (&Item, i64)> {
        self.slots.iter().flatten().map(|slot| (&slot.item, slot.count))
    }

    /// The same, in the order in which the table is walked over.
    pub(super) fn in_order(&self) -> Vec<(Item, i64)> {
        let Some(mask) = self.slots.len().checked_sub(1) else { return Vec::new() };
        let stride = (self.slots.len() as f64 * STRIDE) as usize | 1;
        let walk = (0..self.slots.len()).map(|step| step.wrapping_mul(stride) & mask);
        walk.filter_map(|at| self.slots[at].as_ref())
            .map(|slot| (slot.item.clone(), slot.count))
            .collect()
    }

    /// Items that are surely as frequent as it is said, with what their counts may be at most.
    pub(super) fn frequent(&self) -> Vec<(Item, i64)> {
        let all = self.in_order().into_iter().filter(|(_, count)| *count >= self.offset);
        all.map(|(item, count)| (item, count.saturating_add(self.offset))).collect()
    }

    /// Counts an item. The table grows up to so many slots.
    pub(super) fn add(&mut self, bytes: &[u8], hash: i32, count: i64, slots_max: usize) {
        if self.slots.is_empty() {
            self.slots = vec![None; SLOTS];
        }
        self.put(bytes, hash, count);
        if self.active * 4 <= self.slots.len() * 3 {
            return;
        }
        if self.slots.len() < slots_max.max(SLOTS) {
            let twice = vec![None; 2 * self.slots.len()];
            let old = std::mem::replace(&mut self.slots, twice);
            (self.active, self.held) = (0, 0);
            for slot in old.into_iter().flatten() {
                self.put(&slot.item.bytes, slot.item.hash, slot.count);
            }
        } else {
            self.purge();
        }
    }

    fn put(&mut self, bytes: &[u8], hash: i32, count: i64) {
        let mask = self.slots.len() - 1;
        let (mut at, mut drift) = (mixed(hash) & mask, 1);
        while let Some(slot) = &mut self.slots[at] {
            if *slot.item.bytes == *bytes {
                slot.count = slot.count.saturating_add(count);
                return;
            }
            at = (at + 1) & mask;
            drift += 1;
        }
        self.active += 1;
        self.held += bytes.len();
        self.slots[at] = Some(Slot { item: Item { bytes: bytes.into(), hash }, count, drift });
    }

    /// Takes the median of some counts off all of them, and forgets what is not above it.
    fn purge(&mut self) {
        let mut sample: Vec<i64> =
            self.slots.iter().flatten().map(|slot| slot.count).take(SAMPLE).collect();
        let middle = sample.len() / 2;
        let (_, median, _) = sample.select_nth_unstable(middle);
        let median = *median;
        self.slots.iter_mut().flatten().for_each(|slot| slot.count -= median);
        self.offset = self.offset.saturating_add(median);
        // From the end of a cluster to the front, so that what is moved was looked at already. The
        // cluster that goes over the end comes last.
        let Some(first) = self.slots.iter().rposition(Option::is_none) else { return };
        let behind = first + 1..self.slots.len();
        for at in (0..first).rev().chain(behind.rev()) {
            if self.slots[at].as_ref().is_some_and(|slot| slot.count <= 0) {
                self.delete(at);
            }
        }
    }

    fn delete(&mut self, mut free: usize) {
        let mask = self.slots.len() - 1;
        if let Some(slot) = self.slots[free].take() {
            self.active -= 1;
            self.held -= slot.item.bytes.len();
        }
        let (mut at, mut distance) = ((free + 1) & mask, 1);
        while let Some(drift) = self.slots[at].as_ref().map(|slot| slot.drift) {
            if drift > distance {
                let moved = self.slots[at].take();
                self.slots[free] = moved.map(|slot| Slot { drift: drift - distance, ..slot });
                (free, distance) = (at, 0);
            }
            at = (at + 1) & mask;
            distance += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Through a state and into another table, as a value that was counted in a partition goes.
    fn order(values: &[i32]) -> Vec<i32> {
        let mut table = ItemTable::default();
        values.iter().for_each(|value| table.add(&value.to_le_bytes(), *value, 1, 16_384));
        let mut again = ItemTable::with_slots(table.size());
        for (item, count) in table.slots() {
            again.add(&item.bytes, item.hash, count, 16_384);
        }
        let mut last = ItemTable::default();
        for (item, count) in again.in_order() {
            last.add(&item.bytes, item.hash, count, 16_384);
        }
        last.in_order().iter().map(|(item, _)| item.hash).collect()
    }

    #[test]
    fn items_are_in_the_order_of_spark() {
        let values = [5, 4, 3, 2, 1, 0, 7, 8, 100, -1];
        assert_eq!(order(&values), [0, 100, 7, 5, 2, -1, 1, 4, 3, 8]);
        let values = [-1, 100, 8, 7, 0, 1, 2, 3, 4, 5];
        assert_eq!(order(&values), [0, 100, 7, 4, 2, -1, 1, 5, 3, 8]);
    }

    #[test]
    fn a_full_table_keeps_what_is_frequent() {
        let mut table = ItemTable::default();
        for round in 0..200_i32 {
            for value in [-1, -2, round] {
                table.add(&value.to_le_bytes(), value, 1, 8);
            }
            assert!(table.len() <= 6, "{}", table.len());
            let counted = table.slots.iter().flatten().count();
            assert_eq!(counted, table.len());
        }
        let mut frequent: Vec<i32> =
            table.frequent().into_iter().filter(|(_, n)| *n >= 200).map(|(i, _)| i.hash).collect();
        frequent.sort_unstable();
        assert_eq!(frequent, [-2, -1]);
    }
}
