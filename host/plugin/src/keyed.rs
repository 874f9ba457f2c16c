//! The state of keys, as a running call of a stateful function reaches it: each number and column that
//! comes from the guest is checked here.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use tidemill_block::{Bounds, put_together, take_apart};
use tidemill_core::{Change, KeyedState, PluginFailure, Variable, VariableShape};
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::abi::Column;
use crate::limits::{ARRAYS_MAX, OUTPUT_BYTES_MAX, READ_KEYS_MAX, VALUES_MAX};
use crate::state::{CallState, Refused};

/// The state of the keys of one call.
pub(crate) struct Keyed {
    state: Box<dyn KeyedState>,
    variables: Arc<[Variable]>,
    /// How many keys the call has.
    keys: usize,
    bounds: Bounds,
    /// Bytes of columns that it may still change.
    bytes_left: usize,
}

/// A column of the guest's, taken over.
type Given = Column<Vec<u8>>;

impl Keyed {
    pub(crate) fn new(
        state: Box<dyn KeyedState>,
        variables: &Arc<[Variable]>,
        keys: usize,
    ) -> Keyed {
        let bounds = Bounds { values: VALUES_MAX, arrays: ARRAYS_MAX };
        let variables = Arc::clone(variables);
        Keyed { state, variables, keys, bounds, bytes_left: OUTPUT_BYTES_MAX }
    }

    fn variable(&self, number: u32) -> Result<(usize, Variable), PluginFailure> {
        let number = number as usize;
        let variable = self.variables.get(number).cloned().ok_or_else(|| {
            misused(format!("variable {number} of its state, and it has {}", self.variables.len()))
        })?;
        Ok((number, variable))
    }

    fn check_keys(&self, keys: &[u32]) -> Result<(), PluginFailure> {
        match keys.iter().find(|key| **key as usize >= self.keys) {
            Some(beyond) => {
                Err(misused(format!("key {beyond}, and the call has {} of them", self.keys)))
            }
            None => Ok(()),
        }
    }

    /// A column of this type, with a row for each of the keys.
    fn column(
        &mut self,
        variable: &Variable,
        data_type: &DataType,
        keys: &[u32],
        column: Given,
    ) -> Result<ArrayRef, PluginFailure> {
        let named = |reason: String| misused(format!("\"{}\": {reason}", variable.field.name()));
        let bytes = column.bytes();
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            named(format!("changes of more than {OUTPUT_BYTES_MAX} bytes in one call"))
        })?;
        let array = put_together(data_type, column.into(), &mut self.bounds);
        let array = array.map_err(|error| named(error.to_string()))?;
        match array.len() == keys.len() {
            true => Ok(array),
            false => Err(named(format!("{} rows for {} keys", array.len(), keys.len()))),
        }
    }

    fn check_read(&self, keys: &[u32]) -> Result<(), PluginFailure> {
        match keys.len() {
            ..=READ_KEYS_MAX => self.check_keys(keys),
            count => {
                Err(misused(format!("{count} keys in one read; the limit is {READ_KEYS_MAX}")))
            }
        }
    }

    fn read(&mut self, (number, keys): (u32, Vec<u32>)) -> Result<Given, PluginFailure> {
        let (number, _) = self.variable(number)?;
        self.check_read(&keys)?;
        lowered(&self.state.read(number, &keys)?)
    }

    fn find(
        &mut self,
        (number, keys, entries): (u32, Vec<u32>, Given),
    ) -> Result<Given, PluginFailure> {
        let (number, variable) = self.variable(number)?;
        self.check_read(&keys)?;
        let (key, _) = entry_of(&variable)?;
        let entries = self.entry_keys(&variable, key, &keys, entries)?;
        lowered(&self.state.find(number, &keys, &entries)?)
    }

    fn write(
        &mut self,
        (number, keys, values): (u32, Vec<u32>, Given),
    ) -> Result<(), PluginFailure> {
        let (number, variable) = self.variable(number)?;
        self.check_keys(&keys)?;
        let values = self.column(&variable, variable.field.data_type(), &keys, values)?;
        self.state.change(number, &keys, Change::Write(&values))
    }

    fn append(
        &mut self,
        (number, keys, items): (u32, Vec<u32>, Given),
    ) -> Result<(), PluginFailure> {
        let (number, variable) = self.variable(number)?;
        self.check_keys(&keys)?;
        let item = variable.item().ok_or_else(|| of_shape(&variable, VariableShape::Items))?;
        let items = self.column(&variable, item, &keys, items)?;
        self.state.change(number, &keys, Change::Append(&items))
    }

    fn put(
        &mut self,
        (number, keys, entries, values): (u32, Vec<u32>, Given, Given),
    ) -> Result<(), PluginFailure> {
        let (number, variable) = self.variable(number)?;
        self.check_keys(&keys)?;
        let (key, value) = entry_of(&variable)?;
        let entries = self.entry_keys(&variable, key, &keys, entries)?;
        let values = self.column(&variable, value, &keys, values)?;
        self.state.change(number, &keys, Change::Put(&entries, &values))
    }

    fn remove(
        &mut self,
        (number, keys, entries): (u32, Vec<u32>, Given),
    ) -> Result<(), PluginFailure> {
        let (number, variable) = self.variable(number)?;
        self.check_keys(&keys)?;
        let (key, _) = entry_of(&variable)?;
        let entries = self.entry_keys(&variable, key, &keys, entries)?;
        self.state.change(number, &keys, Change::Remove(&entries))
    }

    /// Keys of entries, of which none is null: a MAP has none.
    fn entry_keys(
        &mut self,
        variable: &Variable,
        data_type: &DataType,
        keys: &[u32],
        entries: Given,
    ) -> Result<ArrayRef, PluginFailure> {
        let entries = self.column(variable, data_type, keys, entries)?;
        match entries.null_count() {
            0 => Ok(entries),
            _ => {
                let name = variable.field.name();
                Err(misused(format!("\"{name}\": an entry whose key is null")))
            }
        }
    }

    fn timers(&mut self, (keys,): (Vec<u32>,)) -> Result<Vec<Vec<i64>>, PluginFailure> {
        self.check_read(&keys)?;
        self.state.timers(&keys)
    }

    fn check_timers(&self, keys: &[u32], times: &[i64]) -> Result<(), PluginFailure> {
        self.check_keys(keys)?;
        match keys.len() == times.len() {
            true => Ok(()),
            false => Err(misused(format!("{} timers for {} keys", times.len(), keys.len()))),
        }
    }

    fn set_timers(&mut self, (keys, times): (Vec<u32>, Vec<i64>)) -> Result<(), PluginFailure> {
        self.check_timers(&keys, &times)?;
        self.state.set_timers(&keys, &times)
    }

    fn delete_timers(&mut self, (keys, times): (Vec<u32>, Vec<i64>)) -> Result<(), PluginFailure> {
        self.check_timers(&keys, &times)?;
        self.state.delete_timers(&keys, &times)
    }
}

fn misused(what: String) -> PluginFailure {
    PluginFailure::BadOutput(what)
}

fn of_shape(variable: &Variable, wanted: VariableShape) -> PluginFailure {
    let (name, found) = (variable.field.name(), variable.shape.name());
    misused(format!("\"{name}\" is a {found}, and was used as a {}", wanted.name()))
}

fn entry_of(variable: &Variable) -> Result<(&DataType, &DataType), PluginFailure> {
    variable.entry().ok_or_else(|| of_shape(variable, VariableShape::Entries))
}

/// The column on its way to the guest.
fn lowered(column: &ArrayRef) -> Result<Given, PluginFailure> {
    let column = take_apart(column).map_err(|error| PluginFailure::Host(error.to_string()))?;
    Ok(Column::owned(&column))
}

/// The state of the running call.
fn of<'a>(store: &'a mut StoreContextMut<'_, CallState>) -> Result<&'a mut Keyed, Refused> {
    let reason = "it uses the state of keys outside of a stateful function";
    store.data_mut().keyed.as_mut().ok_or_else(|| Refused(misused(reason.to_owned())))
}

/// Links the imports of the interface `state`.
pub(crate) fn link(mut state: LinkerInstance<'_, CallState>) -> wasmtime::Result<()> {
    macro_rules! link {
        ($name:literal, $function:ident, $given:ident => $answer:expr) => {
            state.func_wrap($name, |mut store: StoreContextMut<'_, CallState>, parameters| {
                let $given = of(&mut store)?.$function(parameters).map_err(Refused)?;
                Ok($answer)
            })?;
        };
    }
    link!("read", read, column => (column,));
    link!("find", find, column => (column,));
    link!("write", write, done => done);
    link!("append", append, done => done);
    link!("put", put, done => done);
    link!("remove", remove, done => done);
    link!("timers", timers, times => (times,));
    link!("set-timers", set_timers, done => done);
    link!("delete-timers", delete_timers, done => done);
    Ok(())
}
