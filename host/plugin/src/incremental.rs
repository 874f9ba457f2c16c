//! Functions that were compiled before, so that a small edit compiles only what it changed.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fmt;

use parking_lot::Mutex;
use wasmtime::CacheStore;

use crate::guarded::check_time;

/// Bytes of compiled functions to keep: some ten generations of a module of 2 MB.
const BYTES_MAX: usize = 64 << 20;

/// A bounded map in memory; the oldest entries go first. What should outlive the process is the
/// finished module, which the code cache on disk keeps.
#[derive(Default)]
pub(crate) struct CompiledFunctions(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_key: HashMap<Vec<u8>, Vec<u8>>,
    oldest_first: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl CacheStore for CompiledFunctions {
    /// The compiler asks before each function, which is where it can be stopped.
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        check_time();
        self.0.lock().by_key.get(key).map(|value| Cow::Owned(value.clone()))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        self.0.lock().insert(key, value);
        true
    }
}

impl Entries {
    fn insert(&mut self, key: &[u8], value: Vec<u8>) {
        self.bytes += value.len();
        match self.by_key.insert(key.to_vec(), value) {
            Some(old) => self.bytes -= old.len(),
            None => self.oldest_first.push_back(key.to_vec()),
        }
        while self.bytes > BYTES_MAX {
            let Some(oldest) = self.oldest_first.pop_front() else {
                return;
            };
            self.bytes -= self.by_key.remove(&oldest).map_or(0, |value| value.len());
        }
    }
}

impl fmt::Debug for CompiledFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.lock();
        write!(f, "CompiledFunctions({} of {} bytes)", entries.by_key.len(), entries.bytes)
    }
}
