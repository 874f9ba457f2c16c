//! Aggregates that give one of their rows: `first_value`, `last_value`, `max_by` and `min_by`.
//!
//! Which one is Spark's rule: of equals, `max_by` and `min_by` take the later.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};

use super::best::{COUNT_MAX, Keeping};
use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::lists::list_of;
use super::types::{count_of, ordered};
use crate::column::Column;

/// Which row is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pick {
    First,
    Last,
    MaxBy,
    MinBy,
}

impl Pick {
    fn is_by(self) -> bool {
        matches!(self, Pick::MaxBy | Pick::MinBy)
    }
}

impl Aggregate for Pick {
    fn name(&self) -> &'static str {
        match self {
            Pick::First => "first_value",
            Pick::Last => "last_value",
            Pick::MaxBy => "max_by",
            Pick::MinBy => "min_by",
        }
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, if self.is_by() { 2..=3 } else { 1..=1 })?;
        if self.is_by() {
            ordered(self.name(), &arguments[1])?;
        }
        let mut types = arguments.to_vec();
        if let Some(count) = types.get_mut(2) {
            *count = DataType::Int32;
        }
        Ok(types)
    }

    fn result(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match arguments.len() {
            3 => list_of(&arguments[0]),
            _ => arguments[0].clone(),
        })
    }

    fn states(&self, arguments: &[DataType]) -> Vec<(&'static str, DataType)> {
        if let [value, order, _] = arguments {
            return vec![("values", list_of(value)), ("orders", list_of(order))];
        }
        let mut states = vec![("picked", DataType::Boolean), ("value", arguments[0].clone())];
        if self.is_by() {
            states.push(("order", arguments[1].clone()));
        }
        states
    }

    fn may_ignore_nulls(&self) -> bool {
        !self.is_by()
    }

    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>> {
        if call.types.len() == 3 {
            return Ok(Box::new(Keeping {
                max: *self == Pick::MaxBy,
                count: rows_asked_for(self.name(), call.literals[2].as_ref())?,
                value: Column::new(&call.types[0])?,
                order: Column::new(&call.types[1])?,
            }));
        }
        let columns = call.types.iter().map(Column::new).collect::<Result<_>>()?;
        Ok(Box::new(Picking { rule: *self, ignore_nulls: call.ignore_nulls, columns }))
    }
}

/// The literal number of rows that `max_by` and `min_by` are asked for.
fn rows_asked_for(name: &str, literal: Option<&ScalarValue>) -> Result<usize> {
    let count = match literal {
        Some(ScalarValue::Int32(count)) => count.unwrap_or(0),
        _ => {
            return plan_err!(
                "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] {name}(): the input `k` should be a foldable \"INT\" expression; write it out"
            );
        }
    };
    if !(1..=COUNT_MAX).contains(&count) {
        return plan_err!(
            "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] {name}(): The `k` must be between [1, {COUNT_MAX}] (current value = {count})"
        );
    }
    Ok(count as usize)
}

struct Picking {
    rule: Pick,
    ignore_nulls: bool,
    /// The value, and the order.
    columns: Vec<Column>,
}

/// The row that is picked so far: its value, and its order.
type Picked = Vec<Vec<u8>>;

impl Picking {
    fn offer(
        &self,
        columns: &[ArrayRef],
        rows: impl Iterator<Item = (usize, usize)>,
        kept: &mut [Option<Picked>],
    ) -> Result<()> {
        let bytes = self
            .columns
            .iter()
            .zip(columns)
            .map(|(column, values)| column.bytes(values))
            .collect::<Result<Vec<_>>>()?;
        for (row, group) in rows {
            let kept = &mut kept[group];
            let better = match (self.rule, &*kept) {
                (Pick::MaxBy | Pick::MinBy, _)
                    if columns[1].is_null(row) || columns[1].data_type().is_null() =>
                {
                    false
                }
                (Pick::First | Pick::Last, _) if self.ignore_nulls && columns[0].is_null(row) => {
                    false
                }
                (_, None) | (Pick::Last, _) => true,
                (Pick::First, _) => false,
                (Pick::MaxBy, Some(best)) => bytes[1].row(row) >= best[1].as_slice(),
                (Pick::MinBy, Some(best)) => bytes[1].row(row) <= best[1].as_slice(),
            };
            if !better {
                continue;
            }
            // Where the rows come in the order that is asked for, each is better than the one before.
            let kept = kept.get_or_insert_with(|| vec![Vec::new(); bytes.len()]);
            for (kept, bytes) in kept.iter_mut().zip(&bytes) {
                kept.clear();
                kept.extend_from_slice(bytes.row(row));
            }
        }
        Ok(())
    }

    /// One of the columns of what is picked; null where nothing is.
    fn column(&self, number: usize, kept: &[Option<Picked>]) -> Result<ArrayRef> {
        self.columns[number].values(kept.iter().map(|kept| kept.as_ref().map(|p| &*p[number])))
    }
}

impl Fold for Picking {
    type Kept = Option<Picked>;

    fn update(
        &self,
        arguments: &[ArrayRef],
        rows: &Rows<'_>,
        kept: &mut [Self::Kept],
    ) -> Result<()> {
        self.offer(arguments, rows.iter(), kept)
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Self::Kept]) -> Result<()> {
        let picked = states[0].as_boolean();
        self.offer(&states[1..], rows.iter().filter(|(row, _)| picked.value(*row)), kept)
    }

    fn states(&self, kept: Vec<Self::Kept>) -> Result<Vec<ArrayRef>> {
        let picked: BooleanArray = kept.iter().map(|kept| Some(kept.is_some())).collect();
        let mut states: Vec<ArrayRef> = vec![Arc::new(picked)];
        for number in 0..self.columns.len() {
            states.push(self.column(number, &kept)?);
        }
        Ok(states)
    }

    fn evaluate(&self, kept: Vec<Self::Kept>) -> Result<ArrayRef> {
        self.column(0, &kept)
    }

    fn bytes(&self, kept: &Self::Kept) -> usize {
        kept.iter().flatten().map(|bytes| bytes.len()).sum()
    }
}
