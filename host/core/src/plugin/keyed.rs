//! What functions keep: variables, of a group (aggregate) or of a key (stateful).

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};

use super::PluginFailure;

/// A named part of what a function keeps.
#[derive(Clone, PartialEq, Debug)]
pub struct Variable {
    /// Its name, and its type: that of the value, the ARRAY of the items, the MAP of the entries.
    pub field: FieldRef,
    /// What it is of.
    pub shape: VariableShape,
    /// Microseconds of the batch's time after which a value, an item or an entry is forgotten, from its
    /// last change on; `None`: it is kept.
    pub ttl: Option<u64>,
}

/// What a variable is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VariableShape {
    /// One value (Spark's ValueState).
    Value,
    /// Any number of values, in the order in which they came (ListState).
    Items,
    /// Values by keys of their own (MapState).
    Entries,
}

impl VariableShape {
    /// As messages and checkpoints write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            VariableShape::Value => "value",
            VariableShape::Items => "list",
            VariableShape::Entries => "map",
        }
    }
}

impl Variable {
    /// The type of one item.
    #[must_use]
    pub fn item(&self) -> Option<&DataType> {
        match (self.shape, self.field.data_type()) {
            (VariableShape::Items, DataType::List(item)) => Some(item.data_type()),
            _ => None,
        }
    }

    /// The types of the key and the value of an entry.
    #[must_use]
    pub fn entry(&self) -> Option<(&DataType, &DataType)> {
        let (VariableShape::Entries, DataType::Map(entries, _)) =
            (self.shape, self.field.data_type())
        else {
            return None;
        };
        match entries.data_type() {
            DataType::Struct(members) => match &**members {
                [key, value] => Some((key.data_type(), value.data_type())),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The variables as columns.
#[must_use]
pub fn variable_columns(variables: &[Variable]) -> SchemaRef {
    let columns = variables.iter().map(|variable| FieldRef::clone(&variable.field));
    Schema::new(columns.collect::<Vec<_>>()).into()
}

/// A change of a variable, a row for each of the keys that it is of.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// All that it holds is what [`read`](KeyedState::read) would give from here on; a null removes it.
    Write(&'a ArrayRef),
    /// An item comes after the others.
    Append(&'a ArrayRef),
    /// An entry has this key and this value from here on.
    Put(&'a ArrayRef, &'a ArrayRef),
    /// The entry with this key is gone.
    Remove(&'a ArrayRef),
}

/// The state of the keys of one call, while a stateful function runs. Keys are numbered as in the call, and
/// variables as in the function's signature. Whoever calls has checked both numbers, and that columns are of
/// the variable's types and as long as the keys are many.
pub trait KeyedState: Send + Sync {
    /// What a variable holds for these keys, a row a key; null where there is nothing.
    fn read(&mut self, variable: usize, keys: &[u32]) -> Result<ArrayRef, PluginFailure>;

    /// The value of one entry of each of these keys; null where there is none.
    fn find(
        &mut self,
        variable: usize,
        keys: &[u32],
        entries: &ArrayRef,
    ) -> Result<ArrayRef, PluginFailure>;

    /// Changes a variable of these keys, of which one may be named several times.
    fn change(
        &mut self,
        variable: usize,
        keys: &[u32],
        change: Change<'_>,
    ) -> Result<(), PluginFailure>;

    /// When the timers of each of these keys are due, in order: microseconds since 1970-01-01 UTC.
    fn timers(&mut self, keys: &[u32]) -> Result<Vec<Vec<i64>>, PluginFailure>;

    /// Sets a timer of each key.
    fn set_timers(&mut self, keys: &[u32], times: &[i64]) -> Result<(), PluginFailure>;

    /// Deletes a timer of each key, where it is there.
    fn delete_timers(&mut self, keys: &[u32], times: &[i64]) -> Result<(), PluginFailure>;
}
