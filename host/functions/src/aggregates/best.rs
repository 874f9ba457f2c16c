//! `max_by(value, order, k)` and `min_by(value, order, k)`: the values of the `k` rows whose order is
//! largest or smallest, the best first.
//!
//! Which of equals stay, and in which order, is that of Spark's heap (MaxMinByK): rows and states are
//! put into one like it, and states are kept as the heap is.

use arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::common::Result;

use super::fold::{Fold, Rows};
use super::lists::{lists, of_lists};
use crate::column::Column;

/// The most rows that a call may ask for, in Spark as here.
pub(super) const COUNT_MAX: i32 = 100_000;

/// Keeps the best rows of each group.
pub(super) struct Keeping {
    pub(super) max: bool,
    pub(super) count: usize,
    pub(super) value: Column,
    pub(super) order: Column,
}

/// A row: its order, and its value.
#[derive(Clone)]
pub(super) struct Item {
    order: Box<[u8]>,
    value: Box<[u8]>,
}

impl Keeping {
    /// Whether one order is worse than another one: the worst is on top of the heap.
    fn is_worse(&self, one: &[u8], other: &[u8]) -> bool {
        if self.max { one < other } else { one > other }
    }

    fn offer(&self, heap: &mut Vec<Item>, order: &[u8], value: &[u8]) {
        let item = || Item { order: order.into(), value: value.into() };
        if heap.len() < self.count {
            heap.push(item());
            let mut at = heap.len() - 1;
            while at > 0 && self.is_worse(&heap[at].order, &heap[(at - 1) / 2].order) {
                heap.swap(at, (at - 1) / 2);
                at = (at - 1) / 2;
            }
            return;
        }
        if !heap.first().is_some_and(|worst| self.is_worse(&worst.order, order)) {
            return;
        }
        heap[0] = item();
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut worst = at;
            for child in [left, right] {
                if child < heap.len() && self.is_worse(&heap[child].order, &heap[worst].order) {
                    worst = child;
                }
            }
            if worst == at {
                return;
            }
            heap.swap(at, worst);
            at = worst;
        }
    }

    fn values(&self, kept: &[Vec<Item>]) -> Result<ArrayRef> {
        self.value.values(kept.iter().flatten().map(|item| Some(&*item.value)))
    }
}

impl Fold for Keeping {
    type Kept = Vec<Item>;

    fn update(
        &self,
        arguments: &[ArrayRef],
        rows: &Rows<'_>,
        kept: &mut [Vec<Item>],
    ) -> Result<()> {
        if arguments[1].data_type().is_null() {
            return Ok(());
        }
        let (values, orders) = (self.value.bytes(&arguments[0])?, self.order.bytes(&arguments[1])?);
        for (row, group) in rows.iter().filter(|(row, _)| arguments[1].is_valid(*row)) {
            self.offer(&mut kept[group], orders.row(row), values.row(row));
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Vec<Item>]) -> Result<()> {
        let (values, range) = of_lists(&states[0]);
        let (orders, _) = of_lists(&states[1]);
        let (values, orders) = (self.value.bytes(values)?, self.order.bytes(orders)?);
        for (row, group) in rows.iter() {
            for item in range(row) {
                self.offer(&mut kept[group], orders.row(item), values.row(item));
            }
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Vec<Item>>) -> Result<Vec<ArrayRef>> {
        let lengths = || kept.iter().map(Vec::len);
        let orders = kept.iter().flatten().map(|item| Some(&*item.order));
        let orders = self.order.values(orders)?;
        Ok(vec![lists(lengths(), self.values(&kept)?)?, lists(lengths(), orders)?])
    }

    fn evaluate(&self, mut kept: Vec<Vec<Item>>) -> Result<ArrayRef> {
        for heap in &mut kept {
            heap.sort_by(|one, other| match self.max {
                true => other.order.cmp(&one.order),
                false => one.order.cmp(&other.order),
            });
        }
        let found: BooleanArray = kept.iter().map(|heap| Some(heap.is_empty())).collect();
        let all = lists(kept.iter().map(Vec::len), self.values(&kept)?)?;
        // Without rows there is no array.
        Ok(arrow::compute::nullif(&all, &found)?)
    }

    fn bytes(&self, kept: &Vec<Item>) -> usize {
        let items = kept.iter().map(|item| item.order.len() + item.value.len());
        kept.capacity() * size_of::<Item>() + items.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int32Array, StringArray};
    use arrow::datatypes::DataType;

    use super::*;

    fn best(max: bool, count: usize, orders: &[i32]) -> Result<String> {
        let keeping = Keeping {
            max,
            count,
            value: Column::new(&DataType::Utf8)?,
            order: Column::new(&DataType::Int32)?,
        };
        let names = (b'a'..).take(orders.len()).map(|byte| Some(char::from(byte).to_string()));
        let values: ArrayRef = Arc::new(names.collect::<StringArray>());
        let orders: ArrayRef = Arc::new(Int32Array::from(orders.to_vec()));
        let (groups, mut kept) = (vec![0; orders.len()], vec![Vec::new()]);
        keeping.update(&[values, orders], &Rows::all(&groups), &mut kept)?;
        let found = keeping.evaluate(kept)?;
        let found = found.as_list::<i32>().value(0);
        Ok(found.as_string::<i32>().iter().flatten().collect())
    }

    #[test]
    fn of_equals_those_stay_that_stay_in_spark() -> Result<()> {
        let orders = [10, 10, 20, 10, 5, 20, 10, 20, 5];
        assert_eq!(best(true, 4, &orders)?, "hcfd");
        assert_eq!(best(false, 4, &orders)?, "ieda");
        let orders = [1, 2, 1, 2, 1, 2, 1, 3, 0];
        assert_eq!(best(true, 5, &orders)?, "hfdbc");
        assert_eq!(best(false, 5, &orders)?, "igace");
        Ok(())
    }
}
