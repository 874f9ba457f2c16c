//! `approx_top_k(value[, k[, maxItemsTracked]])`: the most frequent values, and how often about each is
//! there.
//!
//! Values are counted in a table like that of DataSketches' ItemsSketch, which Spark has: the counts
//! are exact as long as it has room. Then the median count is taken off all of them, and what is not
//! above that is forgotten. Of equals, the order is that of the table, and so Spark's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use tidemill_types::format_type;

use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::item_table::{Item, ItemTable};
use super::java_hash::hash_codes;
use super::lists::{list_of, lists, of_lists};
use super::types::count_of;
use crate::column::Column;

const COUNT: i32 = 5;
const TRACKED: i32 = 10_000;
const TRACKED_MAX: i32 = 1_000_000;

/// The aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TopK;

impl Aggregate for TopK {
    fn name(&self) -> &'static str {
        "approx_top_k"
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 1..=3)?;
        use DataType as T;
        let value = match &arguments[0] {
            text if text.is_string() => T::Utf8,
            plain @ (T::Boolean
            | T::Int8
            | T::Int16
            | T::Int32
            | T::Int64
            | T::Float32
            | T::Float64
            | T::Date32
            | T::Timestamp(..)
            | T::Decimal128(..)) => plain.clone(),
            other => {
                return plan_err!(
                    "[DATATYPE_MISMATCH.TYPE_CHECK_FAILURE_WITH_HINT] approx_top_k(): {} columns are not supported; make texts of them",
                    format_type(other)
                );
            }
        };
        let counts = arguments.iter().skip(1).map(|_| T::Int32);
        Ok(std::iter::once(value).chain(counts).collect())
    }

    fn result(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(list_of(&DataType::Struct(item_fields(&arguments[0]))))
    }

    fn states(&self, arguments: &[DataType]) -> Vec<(&'static str, DataType)> {
        vec![
            ("items", list_of(&arguments[0])),
            ("counts", list_of(&DataType::Int64)),
            ("size", DataType::Int32),
            ("offset", DataType::Int64),
            ("nulls", DataType::Int64),
        ]
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>> {
        let count = literal(call, 1, "k", COUNT)?;
        let tracked = literal(call, 2, "maxItemsTracked", TRACKED)?;
        if tracked > TRACKED_MAX {
            return plan_err!(
                "[APPROX_TOP_K_MAX_ITEMS_TRACKED_EXCEEDS_LIMIT] The max items tracked `maxItemsTracked`({tracked}) of `approx_top_k` should be less than or equal to {TRACKED_MAX}"
            );
        }
        if tracked < count {
            return plan_err!(
                "[APPROX_TOP_K_MAX_ITEMS_TRACKED_LESS_THAN_K] The max items tracked `maxItemsTracked`({tracked}) of `approx_top_k` should be greater than or equal to `k`({count})"
            );
        }
        // The table is full when three quarters of it are.
        let slots = (f64::from(tracked) / 0.75).ceil() as usize;
        Ok(Box::new(Tracking {
            value: Column::new(&call.types[0])?,
            kind: call.types[0].clone(),
            count: count as usize,
            slots_max: slots.next_power_of_two(),
        }))
    }
}

fn literal(call: &Call, place: usize, name: &str, default: i32) -> Result<i32> {
    match call.literals.get(place) {
        None => Ok(default),
        Some(Some(ScalarValue::Int32(Some(number)))) if *number > 0 => Ok(*number),
        Some(Some(ScalarValue::Int32(Some(number)))) => plan_err!(
            "[APPROX_TOP_K_NON_POSITIVE_ARG] The value of `{name}` in `approx_top_k` must be a positive integer, but got {number}"
        ),
        Some(Some(value)) if value.is_null() => plan_err!(
            "[APPROX_TOP_K_NULL_ARG] The value of `{name}` in `approx_top_k` cannot be NULL"
        ),
        Some(_) => plan_err!(
            "[DATATYPE_MISMATCH.TYPE_CHECK_FAILURE_WITH_HINT] approx_top_k(): {name} must be a constant literal"
        ),
    }
}

fn item_fields(value: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("item", value.clone(), true),
        Field::new("count", DataType::Int64, true),
    ])
}

struct Tracking {
    value: Column,
    kind: DataType,
    count: usize,
    slots_max: usize,
}

/// The table of a group, and how many nulls there were.
#[derive(Default, Clone)]
pub(super) struct Tracked {
    table: ItemTable,
    nulls: i64,
    /// Whether rows went into it, and no state since.
    is_of_rows: bool,
}

impl Tracking {
    /// The items of a group, the most frequent first; none for null.
    fn best(&self, tracked: &Tracked) -> Vec<(Option<Box<[u8]>>, i64)> {
        let merged;
        let table = match tracked.is_of_rows {
            true => {
                merged = self.merged(&tracked.table);
                &merged
            }
            false => &tracked.table,
        };
        let mut best: Vec<(Option<Box<[u8]>>, i64)> =
            table.frequent().into_iter().map(|(item, count)| (Some(item.bytes), count)).collect();
        best.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        if tracked.nulls > 0 {
            let place = best.partition_point(|(_, count)| *count >= tracked.nulls);
            best.insert(place, (None, tracked.nulls));
        }
        best.truncate(self.count);
        best
    }

    /// A table as Spark has it in the end, where a state goes from the rows to the result.
    fn merged(&self, table: &ItemTable) -> ItemTable {
        let mut again = ItemTable::with_slots(table.size());
        for (item, count) in table.slots() {
            again.add(&item.bytes, item.hash, count, self.slots_max);
        }
        let mut merged = ItemTable::default();
        for (item, count) in again.in_order() {
            merged.add(&item.bytes, item.hash, count, self.slots_max);
        }
        merged.shift(table.offset());
        merged
    }
}

impl Fold for Tracking {
    type Kept = Tracked;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Tracked]) -> Result<()> {
        let values = self.value.bytes(&arguments[0])?;
        let hashes = hash_codes(&arguments[0])?;
        for (row, group) in rows.iter() {
            let kept = &mut kept[group];
            kept.is_of_rows = true;
            if arguments[0].is_null(row) {
                kept.nulls += 1;
                continue;
            }
            kept.table.add(values.row(row), hashes[row], 1, self.slots_max);
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Tracked]) -> Result<()> {
        let (items, range) = of_lists(&states[0]);
        let (counts, _) = of_lists(&states[1]);
        let hashes = hash_codes(items)?;
        let items = self.value.bytes(items)?;
        let counts = counts.as_primitive::<Int64Type>();
        let sizes = states[2].as_primitive::<Int32Type>();
        let offsets = states[3].as_primitive::<Int64Type>();
        let nulls = states[4].as_primitive::<Int64Type>();
        for (row, group) in rows.iter() {
            // As Spark does it: the table is built again, and goes into the other one in its order.
            let mut other = ItemTable::with_slots(sizes.value(row).max(0) as usize);
            for at in range(row) {
                let item = items.row(at);
                other.add(item.as_ref(), hashes[at], counts.value(at), self.slots_max);
            }
            let kept = &mut kept[group];
            for (Item { bytes, hash }, count) in other.in_order() {
                kept.table.add(&bytes, hash, count, self.slots_max);
            }
            kept.is_of_rows = false;
            kept.table.shift(offsets.value(row));
            kept.nulls += nulls.value(row);
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Tracked>) -> Result<Vec<ArrayRef>> {
        let lengths = || kept.iter().map(|kept| kept.table.len());
        let items = || kept.iter().flat_map(|kept| kept.table.slots());
        let values = self.value.values(items().map(|(item, _)| Some(&*item.bytes)))?;
        let counts = Int64Array::from_iter_values(items().map(|(_, count)| count));
        let sizes = kept.iter().map(|kept| kept.table.size() as i32);
        let offsets = kept.iter().map(|kept| kept.table.offset());
        let nulls = kept.iter().map(|kept| kept.nulls);
        Ok(vec![
            lists(lengths(), values)?,
            lists(lengths(), Arc::new(counts))?,
            Arc::new(Int32Array::from_iter_values(sizes)),
            Arc::new(Int64Array::from_iter_values(offsets)),
            Arc::new(Int64Array::from_iter_values(nulls)),
        ])
    }

    fn evaluate(&self, kept: Vec<Tracked>) -> Result<ArrayRef> {
        let best: Vec<_> = kept.iter().map(|tracked| self.best(tracked)).collect();
        let items = best.iter().flatten().map(|(item, _)| item.as_deref());
        let items = self.value.values(items)?;
        let counts = best.iter().flatten().map(|(_, count)| *count);
        let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(counts));
        let structs = StructArray::try_new(item_fields(&self.kind), vec![items, counts], None)?;
        lists(best.iter().map(Vec::len), Arc::new(structs))
    }

    fn bytes(&self, kept: &Tracked) -> usize {
        kept.table.bytes()
    }
}
