//! Several values for each key.

use std::cell::RefCell;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};

use super::ahead::Ahead;
use super::{Kept, StateField, Stored, answered, column_of, read, value_at};
use crate::bindings::tidemill::plugin::types::{Shape, Variable};
use crate::kinds::written;
use crate::value::IntoColumn;
use crate::{Result, host};

/// Values in the order in which they came. To add one does not read the others.
pub struct ListState<T> {
    variable: u32,
    /// How many keys the call has.
    keys: u32,
    key: u32,
    loaded: RefCell<Ahead<ArrayRef>>,
    /// All items that the key has in place of those that the host holds.
    replaced: Option<Vec<T>>,
    /// Items that come after them.
    appended: Vec<T>,
    /// What keys of the call have from here on.
    written: Vec<(u32, Option<Vec<T>>)>,
    added: Vec<(u32, T)>,
}

impl<T: Stored> ListState<T> {
    /// All items.
    pub fn get(&self) -> Vec<T> {
        let mut items = match &self.replaced {
            Some(items) => items.clone(),
            None => answered(self.load()),
        };
        items.extend(self.appended.iter().cloned());
        items
    }

    /// Whether there is an item.
    pub fn exists(&self) -> bool {
        !self.appended.is_empty() || !self.get().is_empty()
    }

    /// Adds an item after the others.
    pub fn append(&mut self, item: T) {
        self.appended.push(item);
    }

    /// Puts these items in place of those that are there.
    pub fn set(&mut self, items: Vec<T>) {
        self.replaced = Some(items);
        self.appended.clear();
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        self.set(Vec::new());
    }

    fn load(&self) -> Result<Vec<T>> {
        let data_type = <Vec<T> as IntoColumn>::data_type();
        let mut loaded = self.loaded.borrow_mut();
        let ask = |keys: &[u32]| read(self.variable, keys, &data_type);
        let (lists, place) = loaded.of(self.key, self.keys, ask)?;
        Ok(value_at::<Vec<T>>(lists, place)?.unwrap_or_default())
    }
}

impl<T: Stored> StateField for ListState<T> {
    fn variable(name: &str, ttl: Option<u64>) -> Variable {
        let field = Field::new(name, <Vec<T> as IntoColumn>::data_type(), true);
        let schema = written(&Schema::new(vec![field]));
        Variable { name: name.to_owned(), shape: Shape::Items, schema, ttl }
    }

    fn numbered(variable: u32) -> ListState<T> {
        ListState {
            variable,
            keys: 0,
            key: 0,
            loaded: RefCell::new(Ahead::new(1)),
            replaced: None,
            appended: Vec::new(),
            written: Vec::new(),
            added: Vec::new(),
        }
    }
}

impl<T: Stored> Kept for ListState<T> {
    fn begin_call(&mut self, keys: u32) {
        self.keys = keys;
        self.loaded.get_mut().begin_call();
    }

    fn begin_key(&mut self, key: u32) {
        self.key = key;
        self.replaced = None;
        self.appended.clear();
    }

    fn end_key(&mut self, keeps: bool) {
        if !keeps {
            return;
        }
        let appended = self.appended.drain(..);
        match self.replaced.take() {
            Some(mut items) => {
                items.extend(appended);
                self.written.push((self.key, (!items.is_empty()).then_some(items)));
            }
            None => self.added.extend(appended.map(|item| (self.key, item))),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let written = std::mem::take(&mut self.written);
        if !written.is_empty() || !self.added.is_empty() {
            self.loaded.get_mut().forget();
        }
        if !written.is_empty() {
            let keys: Vec<u32> = written.iter().map(|(key, _)| *key).collect();
            let lists = written.iter().map(|(_, items)| items.as_ref());
            host::write_state(self.variable, &keys, &column_of(keys.len(), lists))?;
        }
        let added = std::mem::take(&mut self.added);
        if added.is_empty() {
            return Ok(());
        }
        let keys: Vec<u32> = added.iter().map(|(key, _)| *key).collect();
        let items = added.iter().map(|(_, item)| Some(item));
        host::append_items(self.variable, &keys, &column_of(keys.len(), items))
    }
}
