//! Values by keys of their own, for each key.

use std::cell::RefCell;
use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};

use super::ahead::Ahead;
use super::{Kept, StateField, Stored, answered, column_of, read, value_at};
use crate::bindings::tidemill::plugin::types::{Shape, Variable};
use crate::kinds::written;
use crate::value::IntoColumn;
use crate::{Result, host};

/// Values by keys of their own. To look at one entry does not read the others.
pub struct MapState<K, V> {
    variable: u32,
    /// How many keys the call has.
    keys: u32,
    key: u32,
    /// All entries of some keys.
    loaded: RefCell<Ahead<ArrayRef>>,
    /// Whether the entries that the host holds are gone.
    is_cleared: bool,
    /// Entries that are new, changed, or gone.
    changed: BTreeMap<K, Option<V>>,
    /// What keys of the call have from here on.
    cleared: Vec<u32>,
    put: Vec<(u32, K, V)>,
    removed: Vec<(u32, K)>,
}

impl<K: Stored + Ord, V: Stored> MapState<K, V> {
    /// The value of an entry, if it is there.
    pub fn get(&self, key: &K) -> Option<V> {
        match self.changed.get(key) {
            Some(value) => value.clone(),
            None if self.is_cleared => None,
            None => answered(self.find(key)),
        }
    }

    /// Whether there is an entry.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// All entries.
    pub fn entries(&self) -> BTreeMap<K, V> {
        let mut entries = match self.is_cleared {
            true => BTreeMap::new(),
            false => answered(self.load()),
        };
        for (key, value) in &self.changed {
            match value {
                Some(value) => drop(entries.insert(key.clone(), value.clone())),
                None => drop(entries.remove(key)),
            }
        }
        entries
    }

    /// Whether there is an entry at all.
    pub fn exists(&self) -> bool {
        self.changed.values().any(Option::is_some) || !self.entries().is_empty()
    }

    /// Sets the value of an entry.
    pub fn insert(&mut self, key: K, value: V) {
        self.changed.insert(key, Some(value));
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: &K) {
        self.changed.insert(key.clone(), None);
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.is_cleared = true;
        self.changed.clear();
    }

    fn find(&self, key: &K) -> Result<Option<V>> {
        let entries = column_of(1, std::iter::once(Some(key)));
        let data_type = <V as IntoColumn>::data_type();
        value_at(&host::find_entries(self.variable, &[self.key], &entries, &data_type)?, 0)
    }

    fn load(&self) -> Result<BTreeMap<K, V>> {
        let data_type = <BTreeMap<K, V> as IntoColumn>::data_type();
        let mut loaded = self.loaded.borrow_mut();
        let ask = |keys: &[u32]| read(self.variable, keys, &data_type);
        let (maps, place) = loaded.of(self.key, self.keys, ask)?;
        Ok(value_at::<BTreeMap<K, V>>(maps, place)?.unwrap_or_default())
    }
}

impl<K: Stored + Ord, V: Stored> StateField for MapState<K, V> {
    fn variable(name: &str, ttl: Option<u64>) -> Variable {
        let field = Field::new(name, <BTreeMap<K, V> as IntoColumn>::data_type(), true);
        let schema = written(&Schema::new(vec![field]));
        Variable { name: name.to_owned(), shape: Shape::Entries, schema, ttl }
    }

    fn numbered(variable: u32) -> MapState<K, V> {
        MapState {
            variable,
            keys: 0,
            key: 0,
            loaded: RefCell::new(Ahead::new(1)),
            is_cleared: false,
            changed: BTreeMap::new(),
            cleared: Vec::new(),
            put: Vec::new(),
            removed: Vec::new(),
        }
    }
}

impl<K: Stored + Ord, V: Stored> Kept for MapState<K, V> {
    fn begin_call(&mut self, keys: u32) {
        self.keys = keys;
        self.loaded.get_mut().begin_call();
    }

    fn begin_key(&mut self, key: u32) {
        self.key = key;
        self.is_cleared = false;
        self.changed.clear();
    }

    fn end_key(&mut self, keeps: bool) {
        let changed = std::mem::take(&mut self.changed);
        if !keeps {
            return;
        }
        if self.is_cleared {
            self.cleared.push(self.key);
        }
        for (key, value) in changed {
            match value {
                Some(value) => self.put.push((self.key, key, value)),
                // Of those that are cleared there is none left.
                None if self.is_cleared => {}
                None => self.removed.push((self.key, key)),
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        let cleared = std::mem::take(&mut self.cleared);
        if !cleared.is_empty() || !self.put.is_empty() || !self.removed.is_empty() {
            self.loaded.get_mut().forget();
        }
        if !cleared.is_empty() {
            let none = std::iter::repeat_n(None::<&BTreeMap<K, V>>, cleared.len());
            host::write_state(self.variable, &cleared, &column_of(cleared.len(), none))?;
        }
        let put = std::mem::take(&mut self.put);
        if !put.is_empty() {
            let of: Vec<u32> = put.iter().map(|(of, ..)| *of).collect();
            let keys = column_of(put.len(), put.iter().map(|(_, key, _)| Some(key)));
            let values = column_of(put.len(), put.iter().map(|(.., value)| Some(value)));
            host::put_entries(self.variable, &of, &keys, &values)?;
        }
        let removed = std::mem::take(&mut self.removed);
        if removed.is_empty() {
            return Ok(());
        }
        let of: Vec<u32> = removed.iter().map(|(of, _)| *of).collect();
        let keys = column_of(removed.len(), removed.iter().map(|(_, key)| Some(key)));
        host::remove_entries(self.variable, &of, &keys)
    }
}
