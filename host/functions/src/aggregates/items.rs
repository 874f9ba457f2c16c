//! Aggregates over the values of a group as they came: `collect_list` and `listagg`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};

use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::lists::{list_of, lists, of_lists};
use super::types::{count_of, ordered, unexpected};
use crate::column::Column;

/// What is made of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Items {
    /// `collect_list(value)`
    List,
    /// `listagg(value, delimiter[, order, descending])`
    Text,
}

impl Aggregate for Items {
    fn name(&self) -> &'static str {
        match self {
            Items::List => "collect_list",
            Items::Text => "listagg",
        }
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let mut types = arguments.to_vec();
        if *self == Items::List {
            count_of(self.name(), arguments, 1..=1)?;
            return Ok(types);
        }
        count_of(self.name(), arguments, 1..=4)?;
        types[0] = match &types[0] {
            bytes if bytes.is_binary() => DataType::Binary,
            nested if nested.is_nested() => {
                return Err(unexpected(self.name(), "STRING\" or \"BINARY", nested));
            }
            _ => DataType::Utf8,
        };
        if let Some(delimiter) = types.get_mut(1) {
            *delimiter = arguments_type(&arguments[0]);
        }
        if let Some(order) = types.get(2) {
            ordered(self.name(), order)?;
        }
        Ok(types)
    }

    fn result(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match self {
            Items::List => list_of(&arguments[0]),
            Items::Text => arguments[0].clone(),
        })
    }

    fn states(&self, arguments: &[DataType]) -> Vec<(&'static str, DataType)> {
        let mut states = vec![("values", list_of(&arguments[0]))];
        if let Some(order) = arguments.get(2) {
            states.push(("order", list_of(order)));
        }
        states
    }

    fn is_nullable(&self) -> bool {
        *self != Items::List
    }

    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>> {
        let mut columns = vec![Column::new(&call.types[0])?];
        if let Some(order) = call.types.get(2) {
            columns.push(Column::new(order)?);
        }
        let delimiter = match call.literals.get(1) {
            None => Vec::new(),
            Some(Some(ScalarValue::Utf8(text))) => {
                text.as_ref().map(|text| text.clone().into_bytes()).unwrap_or_default()
            }
            Some(Some(ScalarValue::Binary(bytes))) => bytes.clone().unwrap_or_default(),
            Some(_) => {
                return plan_err!(
                    "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] listagg(): the input `delimiter` should be a foldable \"STRING\" or \"BINARY\" expression"
                );
            }
        };
        let descending =
            matches!(call.literals.get(3), Some(Some(ScalarValue::Boolean(Some(true)))));
        Ok(Box::new(Collecting { items: *self, columns, delimiter, descending }))
    }
}

fn arguments_type(value: &DataType) -> DataType {
    if value.is_binary() { DataType::Binary } else { DataType::Utf8 }
}

struct Collecting {
    items: Items,
    /// The value, and what it is ordered by.
    columns: Vec<Column>,
    delimiter: Vec<u8>,
    descending: bool,
}

/// The items of a group: values, and what they are ordered by.
#[derive(Default, Clone)]
struct Kept([Packed; 2]);

/// Values as bytes, one behind the other.
#[derive(Default, Clone)]
struct Packed {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Packed {
    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }

    fn get(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[place]]
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|place| self.get(place))
    }
}

impl Kept {
    fn len(&self) -> usize {
        self.0[0].ends.len()
    }

    /// The same items by their order.
    fn sorted(&self, descending: bool) -> Kept {
        let mut places: Vec<usize> = (0..self.len()).collect();
        places.sort_by(|a, b| {
            let order = self.0[1].get(*a).cmp(self.0[1].get(*b));
            if descending { order.reverse() } else { order }
        });
        let mut sorted = Kept::default();
        for place in places {
            for (to, from) in sorted.0.iter_mut().zip(&self.0) {
                to.push(from.get(place));
            }
        }
        sorted
    }
}

impl Collecting {
    /// The items of all groups in one column.
    fn column(&self, number: usize, kept: &[Kept]) -> Result<ArrayRef> {
        let items = kept.iter().flat_map(|kept| kept.0[number].iter());
        self.columns[number].values(items.map(Some))
    }

    fn texts(&self, mut kept: Vec<Kept>) -> Result<ArrayRef> {
        if self.columns.len() > 1 {
            for items in &mut kept {
                *items = items.sorted(self.descending);
            }
        }
        let values = self.column(0, &kept)?;
        let bytes = arrow::compute::cast(&values, &DataType::Binary)?;
        let bytes = bytes.as_binary::<i32>();
        let mut from = 0;
        let joined: BinaryArray = kept
            .iter()
            .map(|items| {
                let mine: Vec<&[u8]> = (from..from + items.len()).map(|i| bytes.value(i)).collect();
                from += items.len();
                (!mine.is_empty()).then(|| mine.join(self.delimiter.as_slice()))
            })
            .collect();
        if values.data_type() == &DataType::Binary {
            return Ok(Arc::new(joined));
        }
        let (offsets, bytes, nulls) = joined.into_parts();
        Ok(Arc::new(StringArray::try_new(offsets, bytes, nulls)?))
    }
}

impl Fold for Collecting {
    type Kept = Kept;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Kept]) -> Result<()> {
        // Arrow does not say of a column of NULL that its values are null.
        if arguments[0].data_type().is_null() {
            return Ok(());
        }
        let mut columns = vec![self.columns[0].bytes(&arguments[0])?];
        if let Some(order) = self.columns.get(1) {
            columns.push(order.bytes(&arguments[2])?);
        }
        for (row, group) in rows.iter().filter(|(row, _)| arguments[0].is_valid(*row)) {
            for (packed, bytes) in kept[group].0.iter_mut().zip(&columns) {
                packed.push(bytes.row(row));
            }
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Kept]) -> Result<()> {
        let lists: Vec<_> = states.iter().map(of_lists).collect();
        let columns = self
            .columns
            .iter()
            .zip(&lists)
            .map(|(column, (values, _))| column.bytes(values))
            .collect::<Result<Vec<_>>>()?;
        for (row, group) in rows.iter() {
            // All columns have as many items.
            let starts: Vec<usize> = lists.iter().map(|(_, range)| range(row).start).collect();
            for item in 0..(lists[0].1)(row).len() {
                let columns = columns.iter().zip(&starts);
                for (packed, (bytes, start)) in kept[group].0.iter_mut().zip(columns) {
                    packed.push(bytes.row(start + item));
                }
            }
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Kept>) -> Result<Vec<ArrayRef>> {
        (0..self.columns.len())
            .map(|number| lists(kept.iter().map(Kept::len), self.column(number, &kept)?))
            .collect()
    }

    fn evaluate(&self, kept: Vec<Kept>) -> Result<ArrayRef> {
        match self.items {
            Items::List => Ok(self.states(kept)?.swap_remove(0)),
            Items::Text => self.texts(kept),
        }
    }

    fn bytes(&self, kept: &Kept) -> usize {
        let of =
            |packed: &Packed| packed.bytes.capacity() + packed.ends.capacity() * size_of::<usize>();
        kept.0.iter().map(of).sum()
    }
}
