//! The state of keys in a unit test.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_empty_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;

use crate::bindings::tidemill::plugin::types::Shape;
use crate::{Error, Result};

/// A key of a function, or of an entry, as it is printed: it is told apart by that.
type Printed = String;

/// Rows of columns, one each.
type Entries = BTreeMap<Printed, (ArrayRef, ArrayRef)>;

/// What is kept of a variable for a key.
#[derive(Clone)]
enum Held {
    Value(ArrayRef),
    Items(Vec<ArrayRef>),
    Entries(Entries),
}

/// What the host keeps.
#[derive(Default)]
pub(super) struct KeptState {
    /// Of the running call, by their numbers.
    pub(super) keys: Vec<Printed>,
    /// Of the variables.
    shapes: Vec<Shape>,
    held: BTreeMap<(u32, Printed), Held>,
    pub(super) timers: BTreeSet<(i64, Printed)>,
}

thread_local! {
    /// While a stateful function runs.
    static STATE: RefCell<Option<KeptState>> = const { RefCell::new(None) };
}

/// Calls a function, with this state.
pub(super) fn during<T>(state: &mut KeptState, call: impl FnOnce() -> T) -> T {
    STATE.set(Some(std::mem::take(state)));
    let result = call();
    *state = STATE.take().expect("it is there until it is taken");
    result
}

fn with<T>(answer: impl FnOnce(&mut KeptState) -> Result<T>) -> Result<T> {
    STATE.with_borrow_mut(|state| match state {
        Some(state) => answer(state),
        None => Err(Error::fatal(
            "the state of a key was asked for, and a unit test has no host; call the function with \
             tidemill_plugin::testing::Keys",
        )),
    })
}

impl KeptState {
    /// Nothing yet, of variables of these shapes.
    pub(super) fn of(shapes: Vec<Shape>) -> KeptState {
        KeptState { shapes, ..KeptState::default() }
    }

    fn shape(&self, variable: u32) -> Result<Shape> {
        let shape = self.shapes.get(variable as usize).copied();
        shape.ok_or_else(|| Error::fatal(format!("there is no variable {variable}")))
    }

    fn key(&self, key: u32) -> Result<&Printed> {
        self.keys.get(key as usize).ok_or_else(|| Error::fatal(format!("there is no key {key}")))
    }
}

/// A value as it tells keys apart.
pub(super) fn printed(column: &ArrayRef, row: usize) -> Result<Printed> {
    match column.is_null(row) {
        true => Ok("NULL".to_owned()),
        false => Ok(format!("={}", array_value_to_string(column, row)?)),
    }
}

/// The columns one after the other.
fn all_of(parts: &[ArrayRef], data_type: &DataType) -> Result<ArrayRef> {
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    match parts.is_empty() {
        true => Ok(new_empty_array(data_type)),
        false => Ok(concat(&parts)?),
    }
}

/// A row for each of some counts, null where there is nothing.
fn rows_of(counts: &[usize]) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
    let present: Vec<bool> = counts.iter().map(|count| *count > 0).collect();
    (OffsetBuffer::from_lengths(counts.iter().copied()), Some(NullBuffer::from(present)))
}

fn null_of(data_type: &DataType) -> ArrayRef {
    arrow::array::new_null_array(data_type, 1)
}

pub(crate) fn read_state(variable: u32, keys: &[u32], data_type: &DataType) -> Result<ArrayRef> {
    with(|state| {
        let held = keys.iter().map(|key| Ok(state.held.get(&(variable, state.key(*key)?.clone()))));
        let held = held.collect::<Result<Vec<_>>>()?;
        let shape = state.shape(variable)?;
        if let (DataType::List(item), Shape::Items) = (data_type, shape) {
            let items = |held: &Option<&Held>| match held {
                Some(Held::Items(items)) => items.clone(),
                _ => Vec::new(),
            };
            let items: Vec<Vec<ArrayRef>> = held.iter().map(items).collect();
            let (offsets, nulls) = rows_of(&items.iter().map(Vec::len).collect::<Vec<_>>());
            let values = all_of(&items.concat(), item.data_type())?;
            return Ok(
                Arc::new(ListArray::new(Arc::clone(item), offsets, values, nulls)) as ArrayRef
            );
        }
        if let (DataType::Map(entry, ordered), Shape::Entries) = (data_type, shape) {
            let DataType::Struct(members) = entry.data_type() else {
                return Err(Error::fatal("the entries of a map are no struct"));
            };
            let entries = |held: &Option<&Held>| match held {
                Some(Held::Entries(entries)) => entries.values().cloned().collect(),
                _ => Vec::new(),
            };
            let entries: Vec<Vec<(ArrayRef, ArrayRef)>> = held.iter().map(entries).collect();
            let (offsets, nulls) = rows_of(&entries.iter().map(Vec::len).collect::<Vec<_>>());
            let (keys, values): (Vec<_>, Vec<_>) = entries.concat().into_iter().unzip();
            let columns = vec![
                all_of(&keys, members[0].data_type())?,
                all_of(&values, members[1].data_type())?,
            ];
            let entries = StructArray::new(members.clone(), columns, None);
            let map = MapArray::new(Arc::clone(entry), offsets, entries, nulls, *ordered);
            return Ok(Arc::new(map) as ArrayRef);
        }
        let values = held.iter().map(|held| match held {
            Some(Held::Value(value)) => Arc::clone(value),
            _ => null_of(data_type),
        });
        all_of(&values.collect::<Vec<_>>(), data_type)
    })
}

pub(crate) fn find_entries(
    variable: u32,
    keys: &[u32],
    entries: &ArrayRef,
    data_type: &DataType,
) -> Result<ArrayRef> {
    with(|state| {
        let found = keys.iter().enumerate().map(|(row, key)| {
            let held = state.held.get(&(variable, state.key(*key)?.clone()));
            Ok(match held {
                Some(Held::Entries(held)) => held
                    .get(&printed(entries, row)?)
                    .map_or_else(|| null_of(data_type), |(_, value)| Arc::clone(value)),
                _ => null_of(data_type),
            })
        });
        all_of(&found.collect::<Result<Vec<_>>>()?, data_type)
    })
}

pub(crate) fn write_state(variable: u32, keys: &[u32], values: &ArrayRef) -> Result<()> {
    with(|state| {
        for (row, key) in keys.iter().enumerate() {
            let place = (variable, state.key(*key)?.clone());
            if values.is_null(row) {
                state.held.remove(&place);
                continue;
            }
            let held = match state.shape(variable)? {
                Shape::Entries => {
                    let of_row = values.as_map().value(row);
                    let (keys, values) = (of_row.column(0), of_row.column(1));
                    let entry = |entry| {
                        let (key, value) = (keys.slice(entry, 1), values.slice(entry, 1));
                        Ok((printed(&key, 0)?, (key, value)))
                    };
                    Held::Entries((0..of_row.len()).map(entry).collect::<Result<_>>()?)
                }
                Shape::Items => {
                    let items = values.as_list::<i32>().value(row);
                    Held::Items((0..items.len()).map(|item| items.slice(item, 1)).collect())
                }
                Shape::Value => Held::Value(values.slice(row, 1)),
            };
            state.held.insert(place, held);
        }
        Ok(())
    })
}

pub(crate) fn append_items(variable: u32, keys: &[u32], items: &ArrayRef) -> Result<()> {
    with(|state| {
        for (row, key) in keys.iter().enumerate() {
            let place = (variable, state.key(*key)?.clone());
            let held = state.held.entry(place).or_insert_with(|| Held::Items(Vec::new()));
            if let Held::Items(held) = held {
                held.push(items.slice(row, 1));
            }
        }
        Ok(())
    })
}

pub(crate) fn put_entries(
    variable: u32,
    keys: &[u32],
    entries: &ArrayRef,
    values: &ArrayRef,
) -> Result<()> {
    with(|state| {
        for (row, key) in keys.iter().enumerate() {
            let place = (variable, state.key(*key)?.clone());
            let held = state.held.entry(place).or_insert_with(|| Held::Entries(BTreeMap::new()));
            if let Held::Entries(held) = held {
                let entry = (entries.slice(row, 1), values.slice(row, 1));
                held.insert(printed(entries, row)?, entry);
            }
        }
        Ok(())
    })
}

pub(crate) fn remove_entries(variable: u32, keys: &[u32], entries: &ArrayRef) -> Result<()> {
    with(|state| {
        for (row, key) in keys.iter().enumerate() {
            let place = (variable, state.key(*key)?.clone());
            if let Some(Held::Entries(held)) = state.held.get_mut(&place) {
                held.remove(&printed(entries, row)?);
            }
        }
        Ok(())
    })
}

pub(crate) fn timers(keys: &[u32]) -> Result<Vec<Vec<i64>>> {
    with(|state| {
        let of_key = |key: &u32| {
            let key = state.key(*key)?;
            Ok(state.timers.iter().filter(|(_, of)| of == key).map(|(time, _)| *time).collect())
        };
        keys.iter().map(of_key).collect()
    })
}

pub(crate) fn set_timers(keys: &[u32], times: &[i64]) -> Result<()> {
    with(|state| {
        for (key, time) in keys.iter().zip(times) {
            let timer = (*time, state.key(*key)?.clone());
            state.timers.insert(timer);
        }
        Ok(())
    })
}

pub(crate) fn delete_timers(keys: &[u32], times: &[i64]) -> Result<()> {
    with(|state| {
        for (key, time) in keys.iter().zip(times) {
            let timer = (*time, state.key(*key)?.clone());
            state.timers.remove(&timer);
        }
        Ok(())
    })
}
