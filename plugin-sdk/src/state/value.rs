//! One value for each key.

use std::cell::{OnceCell, RefCell};

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};

use super::ahead::Ahead;
use super::{Kept, StateField, Stored, answered, column_of, read, value_at};
use crate::bindings::tidemill::plugin::types::{Shape, Variable};
use crate::kinds::written;
use crate::value::IntoColumn;
use crate::{Result, host};

/// Nearly every key asks for its value, which is rarely long.
const AHEAD: usize = 64;

/// One value for each key, or none.
pub struct ValueState<T> {
    variable: u32,
    /// How many keys the call has.
    keys: u32,
    key: u32,
    loaded: RefCell<Ahead<ArrayRef>>,
    /// Of the key.
    current: OnceCell<Option<T>>,
    is_changed: bool,
    /// What keys of the call have from here on.
    changed: Vec<(u32, Option<T>)>,
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
        let data_type = <T as IntoColumn>::data_type();
        let mut loaded = self.loaded.borrow_mut();
        let ask = |keys: &[u32]| read(self.variable, keys, &data_type);
        let (values, place) = loaded.of(self.key, self.keys, ask)?;
        value_at(values, place)
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
            loaded: RefCell::new(Ahead::new(AHEAD)),
            current: OnceCell::new(),
            is_changed: false,
            changed: Vec::new(),
        }
    }
}

impl<T: Stored> Kept for ValueState<T> {
    fn begin_call(&mut self, keys: u32) {
        self.keys = keys;
        self.loaded.get_mut().begin_call();
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
        self.loaded.get_mut().forget();
        host::write_state(self.variable, &keys, &column_of(keys.len(), values))
    }
}
