//! The values of arrays and maps, one after the other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, MapArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{take, take_arrays};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::{LambdaArgument, ValueOrLambda};

use super::Argument;
use crate::kernels::growth::value_bytes;
use crate::kernels::made;

/// Bytes of columns that a lambda reads, repeated for each value of a block.
const SPREAD_BYTES_MAX: u64 = 256 << 20;

/// Which values belong to which rows.
pub(super) struct Places {
    /// Where each row's values begin among all, and where the last one's end.
    pub(super) offsets: OffsetBuffer<i32>,
    pub(super) nulls: Option<NullBuffer>,
    /// The row of each value.
    rows: UInt32Array,
    /// The place of each value in its row, from 0.
    pub(super) indexes: Int32Array,
    /// Where each value is in the column that they come from.
    sources: UInt32Array,
    /// Whether they are all values of that column, as they are.
    is_whole: bool,
}

impl Places {
    /// Of rows whose values are from one offset to the next. What is behind a null is not looked at.
    pub(super) fn new(from: &[i32], nulls: Option<&NullBuffer>) -> Places {
        let count = from.len().saturating_sub(1);
        let mut offsets = Vec::with_capacity(from.len());
        let (mut rows, mut indexes, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        offsets.push(0);
        for row in 0..count {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                for (index, source) in (from[row]..from[row + 1]).enumerate() {
                    rows.push(row as u32);
                    indexes.push(index as i32);
                    sources.push(source as u32);
                }
            }
            offsets.push(sources.len() as i32);
        }
        let is_whole = from.first() == Some(&0)
            && from.last().is_some_and(|last| *last as usize == sources.len());
        Places {
            offsets: OffsetBuffer::new(offsets.into()),
            nulls: nulls.cloned(),
            rows: rows.into(),
            indexes: indexes.into(),
            sources: sources.into(),
            is_whole,
        }
    }

    /// How many values there are.
    pub(super) fn count(&self) -> usize {
        self.sources.len()
    }

    /// The values of a column.
    pub(super) fn of(&self, column: &ArrayRef) -> Result<ArrayRef> {
        match self.is_whole && column.len() == self.count() {
            true => Ok(Arc::clone(column)),
            false => Ok(take(column, &self.sources, None)?),
        }
    }

    /// Refuses columns of the row that would take too much when they stand beside each value.
    fn check_spread(&self, captures: &[ArrayRef]) -> Result<()> {
        let limit = made::left().min(SPREAD_BYTES_MAX);
        let mut bytes = 0_u64;
        for column in captures {
            if let Some(width) = column.data_type().primitive_width() {
                bytes = bytes.saturating_add(width as u64 * self.count() as u64);
                continue;
            }
            for row in self.rows.values() {
                bytes = bytes.saturating_add(value_bytes(column, *row as usize));
                if bytes > limit {
                    break;
                }
            }
        }
        if bytes <= limit {
            return Ok(());
        }
        exec_err!(
            "a lambda reads columns of its row, which come to more than {limit} bytes beside all values of a block; read less of them within it, or let the source give fewer rows at once"
        )
    }

    /// Of pairs that each are of a row.
    pub(super) fn of_rows(rows: Vec<u32>) -> Places {
        let count = rows.len();
        Places {
            offsets: OffsetBuffer::from_lengths([count]),
            nulls: None,
            rows: rows.into(),
            indexes: Int32Array::from(Vec::<i32>::new()),
            sources: (0..count as u32).collect::<Vec<_>>().into(),
            is_whole: true,
        }
    }

    /// What a lambda gives for each value.
    pub(super) fn evaluate(
        &self,
        lambda: &LambdaArgument,
        columns: &[&dyn Fn() -> Result<ArrayRef>],
    ) -> Result<ArrayRef> {
        let spread = |captures: &[ArrayRef]| {
            self.check_spread(captures)?;
            Ok(take_arrays(captures, &self.rows, None)?)
        };
        lambda.evaluate(columns, spread)?.into_array(self.count())
    }
}

/// A value of a call.
pub(super) fn value(arguments: &[Argument], place: usize, rows: usize) -> Result<ArrayRef> {
    match arguments.get(place) {
        Some(ValueOrLambda::Value(value)) => value.to_array(rows),
        _ => internal_err!("argument {place} is no value"),
    }
}

/// The lambda of a number, from 0.
pub(super) fn lambda(arguments: &[Argument], number: usize) -> Option<&LambdaArgument> {
    let mut lambdas = arguments.iter().filter_map(|argument| match argument {
        ValueOrLambda::Lambda(lambda) => Some(lambda),
        ValueOrLambda::Value(_) => None,
    });
    lambdas.nth(number)
}

/// The first lambda.
pub(super) fn first_lambda(arguments: &[Argument]) -> Result<&LambdaArgument> {
    match lambda(arguments, 0) {
        Some(lambda) => Ok(lambda),
        None => internal_err!("there is no lambda"),
    }
}

/// An array of a call, and the places of its values.
pub(super) fn list(
    arguments: &[Argument],
    place: usize,
    rows: usize,
) -> Result<(ListArray, Places)> {
    let list = value(arguments, place, rows)?;
    let Some(list) = list.as_list_opt::<i32>() else {
        return internal_err!("argument {place} is no array");
    };
    let places = Places::new(list.value_offsets(), list.nulls());
    Ok((list.clone(), places))
}

/// A map of a call, and the places of its entries.
pub(super) fn map(arguments: &[Argument], place: usize, rows: usize) -> Result<(MapArray, Places)> {
    let map = value(arguments, place, rows)?;
    let Some(map) = map.as_map_opt() else {
        return internal_err!("argument {place} is no map");
    };
    let places = Places::new(map.value_offsets(), map.nulls());
    Ok((map.clone(), places))
}
