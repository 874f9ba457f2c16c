//! One value for each key.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};

use super::{Kept, StateField, Stored, answered, column_of, value_at};
use crate::bindings::tidemill::plugin::types::{Shape, Variable};
use crate::kinds::written;
use crate::value::IntoColumn;
use crate::{Result, host};

/// Keys whose values are asked for at a time: many, as each question costs a call of the host, and not all,
/// as values may be large.
const WINDOW: u32 = 4_096;

/// One value for each key, or none.
pub struct ValueState<T> {
    variable: u32,
    /// How many keys the call has.
    keys: u32,
    key: u32,
    /// The values of a window of keys, and the first of them.
    loaded: RefCell<Option<(u32, ArrayRef)>>,
    /// Of the key.
    current: OnceCell<Option<T>>,
    is_changed: bool,
    /// What keys of the call have from here on.
    changed: Vec<(u32, Option<T>)>,
    /// What of that the host knows already.
    flushed: HashMap<u32, Option<T>>,
}

impl<T: Stored> ValueState<T> {
    /// The value, if there is one.
    pub fn get(&self) -> Option<&T> {
        self.current.get_or_init(|| answered(self.load())).as_ref()
    }

    /// Whether there is a value.
    pub fn exists(&self) -> bool {
        self.get().is_some()
    }

    /// Puts a value in place of the one that is there.
    pub fn set(&mut self, value: T) {
        self.put(Some(value));
    }

    /// Removes the value.
    pub fn clear(&mut self) {
        self.put(None);
    }

    fn put(&mut self, value: Option<T>) {
        self.current = OnceCell::from(value);
        self.is_changed = true;
    }

    fn load(&self) -> Result<Option<T>> {
        if let Some(value) = self.flushed.get(&self.key) {
            return Ok(value.clone());
        }
        let first = self.key - self.key % WINDOW;
        let mut loaded = self.loaded.borrow_mut();
        let column = match &mut *loaded {
            Some((window, column)) if *window == first => column,
            other => {
                let keys: Vec<u32> = (first..self.keys.min(first + WINDOW)).collect();
                let data_type = <T as IntoColumn>::data_type();
                let column = host::read_state(self.variable, &keys, &data_type)?;
                &mut other.insert((first, column)).1
            }
        };
        value_at(column, (self.key - first) as usize)
    }
}

impl<T: Stored> StateField for ValueState<T> {
    fn variable(name: &str, ttl: Option<u64>) -> Variable {
        let field = Field::new(name, <T as IntoColumn>::data_type(), true);
        let schema = written(&Schema::new(vec![field]));
        Variable { name: name.to_owned(), shape: Shape::Value, schema, ttl }
    }

    fn numbered(variable: u32) -> ValueState<T> {
        ValueState {
            variable,
            keys: 0,
            key: 0,
            loaded: RefCell::new(None),
            current: OnceCell::new(),
            is_changed: false,
            changed: Vec::new(),
            flushed: HashMap::new(),
        }
    }
}

impl<T: Stored> Kept for ValueState<T> {
    fn begin_call(&mut self, keys: u32) {
        self.keys = keys;
        self.loaded.take();
        self.flushed.clear();
    }

    fn begin_key(&mut self, key: u32) {
        self.key = key;
        self.current.take();
        self.is_changed = false;
    }

    fn end_key(&mut self, keeps: bool) {
        if keeps && self.is_changed {
            self.changed.push((self.key, self.current.take().flatten()));
        }
    }

    fn flush(&mut self) -> Result<()> {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return Ok(());
        }
        let keys: Vec<u32> = changed.iter().map(|(key, _)| *key).collect();
        let values = changed.iter().map(|(_, value)| value.as_ref());
        host::write_state(self.variable, &keys, &column_of(keys.len(), values))?;
        self.flushed.extend(changed);
        Ok(())
    }
}
