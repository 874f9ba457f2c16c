//! What a stateful function keeps for each key. The host holds it: in a checkpoint, over restarts and
//! reloads.
//!
//! The struct of a stateful function has a field for each variable:
//!
//! | field | Spark | what it holds for a key |
//! |---|---|---|
//! | [`ValueState<T>`] | ValueState | one value, or none |
//! | [`ListState<T>`] | ListState | values in the order in which they came |
//! | [`MapState<K, V>`] | MapState | values by keys of their own |
//!
//! `#[state(ttl = "1 hour")]` before a field gives a value, an item or an entry a time to live: so long
//! after it was written last, by the batch's time, it is forgotten. The step of the job needs
//! `time_mode = "processing_time"` for that.
//!
//! What keys hold comes at the first question, with that of the keys after it: of the more, the more of them
//! ask. An entry of a map comes alone. Changes go back to the host together, at the end of a call.

mod ahead;
mod list;
mod map;
mod timers;
mod value;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use crate::bindings::tidemill::plugin::types::Variable;
use crate::value::{FromColumn, IntoColumn};
use crate::{Error, Result, host};

pub use list::ListState;
pub use map::MapState;
pub use timers::Timers;
pub use value::ValueState;

/// A type that can be kept: one that a column can be made of and read as. It is implemented by itself.
pub trait Stored: for<'a> FromColumn<'a> + IntoColumn + Clone + 'static {}

impl<T: for<'a> FromColumn<'a> + IntoColumn + Clone + 'static> Stored for T {}

/// The variables of a stateful function. Derive it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the state of a stateful function",
    note = "add #[derive(State)] to `{Self}`, whose fields are ValueState, ListState and MapState"
)]
pub trait State: Sized {
    /// As the host is told, in the fields' order.
    #[doc(hidden)]
    fn variables() -> Vec<Variable>;

    /// With nothing loaded.
    #[doc(hidden)]
    fn new() -> Self;

    /// The fields.
    #[doc(hidden)]
    fn each(&mut self) -> Vec<&mut dyn Kept>;
}

/// What a field of the state does while a call goes over its keys.
#[doc(hidden)]
pub trait Kept {
    /// A call begins that has so many keys.
    fn begin_call(&mut self, keys: u32);

    /// From here on it is the state of this key.
    fn begin_key(&mut self, key: u32);

    /// What was changed of the key is kept, or forgotten.
    fn end_key(&mut self, keeps: bool);

    /// Hands what was changed to the host. The call may go on after it.
    fn flush(&mut self) -> Result<()>;
}

/// A type of field.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of a state",
    label = "not a ValueState, ListState or MapState"
)]
pub trait StateField: Kept + Sized {
    /// As the host is told.
    fn variable(name: &str, ttl: Option<u64>) -> Variable;

    /// Of this number in the function's state.
    fn numbered(variable: u32) -> Self;
}

/// The value of a row, or nothing where it is null.
fn value_at<T: Stored>(column: &ArrayRef, row: usize) -> Result<Option<T>> {
    fn typed<'a, T: FromColumn<'a>>(column: &'a ArrayRef, row: usize) -> Result<Option<T>> {
        let column: Option<&'a T::Column> = column.as_any().downcast_ref();
        let column = column.ok_or_else(|| Error::fatal("the state has another type"))?;
        Ok(if column.is_null(row) { None } else { Some(T::get(column, row)) })
    }
    typed::<T>(column, row)
}

/// What keys hold of a variable, and how many bytes that is.
fn read(variable: u32, keys: &[u32], data_type: &DataType) -> Result<(ArrayRef, usize)> {
    let values = host::read_state(variable, keys, data_type)?;
    let bytes = values.get_array_memory_size();
    Ok((values, bytes))
}

/// A column of values.
fn column_of<'v, T: IntoColumn + 'v>(
    count: usize,
    values: impl Iterator<Item = Option<&'v T>>,
) -> ArrayRef {
    let mut builder = T::builder(count);
    values.for_each(|value| T::append(&mut builder, value));
    T::finish(builder)
}

/// What the host cannot refuse: it ends the call where it does. In a unit test it says what went wrong.
fn answered<T>(answer: Result<T>) -> T {
    answer.unwrap_or_else(|error| panic!("{error}"))
}
