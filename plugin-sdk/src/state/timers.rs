//! Timers of a key.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::ahead::Ahead;
use super::answered;
use crate::{Result, Timestamp, host};

/// The timers of a key: at any times, in the time that `time_mode` of the job's step names. A timer whose time
/// has passed when a batch has handled its rows is deleted, and the function's `timer` is called with it.
///
/// A key has one timer a time at most. Without a `time_mode` a timer fails the batch.
pub struct Timers {
    /// How many keys the call has.
    keys: u32,
    key: u32,
    loaded: RefCell<Ahead<Vec<Vec<i64>>>>,
    /// Those that are set (true) or deleted now.
    changed: BTreeMap<i64, bool>,
    set: Vec<(u32, i64)>,
    deleted: Vec<(u32, i64)>,
}

impl Timers {
    /// Sets a timer.
    pub fn set(&mut self, at: Timestamp) {
        self.changed.insert(at.0, true);
    }

    /// Deletes a timer, if it is there.
    pub fn delete(&mut self, at: Timestamp) {
        self.changed.insert(at.0, false);
    }

    /// All timers of the key, the first one first.
    pub fn list(&self) -> Vec<Timestamp> {
        let mut times: BTreeSet<i64> = answered(self.load()).into_iter().collect();
        for (time, is_set) in &self.changed {
            match is_set {
                true => times.insert(*time),
                false => times.remove(time),
            };
        }
        times.into_iter().map(Timestamp).collect()
    }

    fn load(&self) -> Result<Vec<i64>> {
        let mut loaded = self.loaded.borrow_mut();
        let ask = |keys: &[u32]| {
            let times = host::timers(keys)?;
            let bytes = times.iter().map(|times| size_of_val(times.as_slice())).sum();
            Ok((times, bytes))
        };
        let (times, place) = loaded.of(self.key, self.keys, ask)?;
        Ok(times.get(place).cloned().unwrap_or_default())
    }

    /// Of no key yet.
    pub(crate) fn new() -> Timers {
        Timers {
            keys: 0,
            key: 0,
            loaded: RefCell::new(Ahead::new(1)),
            changed: BTreeMap::new(),
            set: Vec::new(),
            deleted: Vec::new(),
        }
    }

    pub(crate) fn begin_call(&mut self, keys: u32) {
        self.keys = keys;
        self.loaded.get_mut().begin_call();
    }

    pub(crate) fn begin_key(&mut self, key: u32) {
        self.key = key;
        self.changed.clear();
    }

    pub(crate) fn end_key(&mut self, keeps: bool) {
        for (time, is_set) in std::mem::take(&mut self.changed) {
            if keeps {
                let changes = if is_set { &mut self.set } else { &mut self.deleted };
                changes.push((self.key, time));
            }
        }
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        let split = |changes: &mut Vec<(u32, i64)>| -> (Vec<u32>, Vec<i64>) {
            std::mem::take(changes).into_iter().unzip()
        };
        if !self.deleted.is_empty() || !self.set.is_empty() {
            self.loaded.get_mut().forget();
        }
        let (keys, times) = split(&mut self.deleted);
        if !keys.is_empty() {
            host::delete_timers(&keys, &times)?;
        }
        let (keys, times) = split(&mut self.set);
        if !keys.is_empty() {
            host::set_timers(&keys, &times)?;
        }
        Ok(())
    }
}
