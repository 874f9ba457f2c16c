//! Arrays with values added, left out, or at other places.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::{Lists, NULL, Picked, aligned, as_first_list, item, list_of};
use crate::kernels::kernel::kernel;

/// Each array with a value at its end, or before its beginning.
fn added(columns: &[ArrayRef], kind: &DataType, at_end: bool) -> Result<ArrayRef> {
    let of = item(kind)?.data_type();
    let (lists, values) = (Lists::of(&columns[0], of)?, aligned(&columns[1], of)?);
    let mut result = Picked::new(lists.len());
    for row in 0..lists.len() {
        if lists.is_null(row) {
            result.close_null()?;
            continue;
        }
        if !at_end {
            result.push((1, row));
        }
        result.extend(0, lists.range(row));
        if at_end {
            result.push((1, row));
        }
        result.close()?;
    }
    result.finish(kind, &[&lists.values, &values])
}

/// `array_append(array, value)`.
pub(crate) fn array_append() -> Arc<ScalarUDF> {
    kernel("array_append", as_first_list, |columns, kind| added(columns, kind, true))
}

/// `array_prepend(array, value)`.
pub(crate) fn array_prepend() -> Arc<ScalarUDF> {
    kernel("array_prepend", as_first_list, |columns, kind| added(columns, kind, false))
}

/// `array_insert(array, position, value)`: nulls stand between the array and a place beyond it.
pub(crate) fn array_insert() -> Arc<ScalarUDF> {
    kernel("array_insert", as_first_list, |columns, kind| {
        let of = item(kind)?.data_type();
        let (lists, values) = (Lists::of(&columns[0], of)?, aligned(&columns[2], of)?);
        let positions = columns[1].as_primitive::<Int32Type>();
        let mut result = Picked::new(lists.len());
        for row in 0..lists.len() {
            if lists.is_null(row) || positions.is_null(row) {
                result.close_null()?;
                continue;
            }
            let places = lists.range(row);
            let length = places.len() as i64;
            let before = match i64::from(positions.value(row)) {
                0 => {
                    return exec_err!(
                        "[INVALID_INDEX_OF_ZERO] The index 0 is invalid. An index shall be either < 0 or > 0 (the first element has index 1)"
                    );
                }
                position if position > 0 => position - 1,
                position => length + position + 1,
            };
            let split = places.start + before.clamp(0, length) as usize;
            if before < 0 {
                result.push((1, row));
                (before..0).for_each(|_| result.push(NULL));
                result.extend(0, places);
            } else {
                result.extend(0, places.start..split);
                (length..before).for_each(|_| result.push(NULL));
                result.push((1, row));
                result.extend(0, split..places.end);
            }
            result.close()?;
        }
        result.finish(kind, &[&lists.values, &values])
    })
}

/// `array_compact(array)`.
pub(crate) fn array_compact() -> Arc<ScalarUDF> {
    kernel("array_compact", as_first_list, |columns, kind| {
        let lists = Lists::of(&columns[0], item(kind)?.data_type())?;
        let nulls = lists.values.logical_nulls();
        let is_null = |place: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(place));
        let mut result = Picked::new(lists.len());
        for row in 0..lists.len() {
            if lists.is_null(row) {
                result.close_null()?;
                continue;
            }
            result.extend(0, lists.range(row).filter(|place| !is_null(*place)));
            result.close()?;
        }
        result.finish(kind, &[&lists.values])
    })
}

/// `slice(array, start, length)`.
pub(crate) fn slice() -> Arc<ScalarUDF> {
    kernel("slice", as_first_list, |columns, kind| {
        let lists = Lists::of(&columns[0], item(kind)?.data_type())?;
        let starts = columns[1].as_primitive::<Int32Type>();
        let lengths = columns[2].as_primitive::<Int32Type>();
        let mut result = Picked::new(lists.len());
        for row in 0..lists.len() {
            if lists.is_null(row) || starts.is_null(row) || lengths.is_null(row) {
                result.close_null()?;
                continue;
            }
            let (start, length) = (i64::from(starts.value(row)), i64::from(lengths.value(row)));
            if start == 0 {
                return exec_err!(
                    "[INVALID_PARAMETER_VALUE.START] The value of parameter(s) `start` in `slice` is invalid: Expects a positive or a negative value for `start`, but got 0"
                );
            }
            if length < 0 {
                return exec_err!(
                    "[INVALID_PARAMETER_VALUE.LENGTH] The value of parameter(s) `length` in `slice` is invalid: Expects `length` greater than or equal to 0, but got {length}"
                );
            }
            let places = lists.range(row);
            let count = places.len() as i64;
            let first = if start > 0 { start - 1 } else { count + start };
            if (0..count).contains(&first) {
                let end = (first + length).min(count);
                let at = |place: i64| places.start + place as usize;
                result.extend(0, at(first)..at(end));
            }
            result.close()?;
        }
        result.finish(kind, &[&lists.values])
    })
}

/// `array_repeat(value, count)`.
pub(crate) fn array_repeat() -> Arc<ScalarUDF> {
    kernel(
        "array_repeat",
        |kinds| Ok(list_of(kinds[0].clone())),
        |columns, kind| {
            let counts = columns[1].as_primitive::<Int32Type>();
            let mut result = Picked::new(counts.len());
            for row in 0..counts.len() {
                if counts.is_null(row) {
                    result.close_null()?;
                    continue;
                }
                (0..counts.value(row)).for_each(|_| result.push((0, row)));
                result.close()?;
            }
            result.finish(kind, &[&columns[0]])
        },
    )
}
