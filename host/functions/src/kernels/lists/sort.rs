//! Arrays in order.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::order::comparable;
use super::{Lists, NULL, Picked, as_first_list, item, picked};
use crate::kernels::kernel::kernel;

/// Sorts arrays. Whether one descends is said for each row; none where it is null.
fn sorted(
    columns: &[ArrayRef],
    kind: &DataType,
    nulls_last: bool,
    descends: impl Fn(usize) -> Option<bool>,
) -> Result<ArrayRef> {
    let lists = Lists::of(&columns[0], item(kind)?.data_type())?;
    let [rows] = comparable([&lists.values])?;
    let nulls = lists.values.logical_nulls();
    let is_null = |place: &usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(*place));
    let mut result = Picked::new(lists.len());
    for row in 0..lists.len() {
        let Some(descends) = descends(row).filter(|_| !lists.is_null(row)) else {
            result.close_null()?;
            continue;
        };
        let mut places: Vec<usize> = lists.range(row).filter(|place| !is_null(place)).collect();
        places.sort_by(|left, right| {
            let order = rows.row(*left).cmp(&rows.row(*right));
            if descends { order.reverse() } else { order }
        });
        let empty = lists.range(row).filter(is_null);
        if nulls_last || descends {
            result.extend(0, places);
            result.extend(0, empty);
        } else {
            result.extend(0, empty);
            result.extend(0, places);
        }
        result.close()?;
    }
    result.finish(kind, &[&lists.values])
}

/// `sort_array(array, whether it ascends)`: nulls are the least.
pub(crate) fn sort_array() -> Arc<ScalarUDF> {
    kernel("sort_array", as_first_list, |columns, kind| {
        let ascends = columns[1].as_boolean();
        sorted(columns, kind, false, |row| ascends.is_valid(row).then(|| !ascends.value(row)))
    })
}

/// `array_sort(array)`: nulls are last.
pub(crate) fn array_sort() -> Arc<ScalarUDF> {
    kernel("array_sort", as_first_list, |columns, kind| {
        sorted(columns, kind, true, |_| Some(false))
    })
}

fn values(arguments: &[DataType]) -> Result<DataType> {
    Ok(item(&arguments[0])?.data_type().clone())
}

/// The first of the values that are before all others.
fn extreme(columns: &[ArrayRef], kind: &DataType, is_before: Ordering) -> Result<ArrayRef> {
    let lists = Lists::of(&columns[0], kind)?;
    let [rows] = comparable([&lists.values])?;
    let nulls = lists.values.logical_nulls();
    let is_null = |place: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(place));
    let first = |row: usize| {
        let mut first = None;
        for place in lists.range(row).filter(|place| !is_null(*place)) {
            if first.is_none_or(|known| rows.row(place).cmp(&rows.row(known)) == is_before) {
                first = Some(place);
            }
        }
        match first {
            Some(place) if !lists.is_null(row) => (0, place),
            _ => NULL,
        }
    };
    let places: Vec<_> = (0..lists.len()).map(first).collect();
    picked(&places, kind, &[&lists.values])
}

/// `array_max(array)`.
pub(crate) fn array_max() -> Arc<ScalarUDF> {
    kernel("array_max", values, |columns, kind| extreme(columns, kind, Ordering::Greater))
}

/// `array_min(array)`.
pub(crate) fn array_min() -> Arc<ScalarUDF> {
    kernel("array_min", values, |columns, kind| extreme(columns, kind, Ordering::Less))
}
