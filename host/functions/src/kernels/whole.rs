//! Whole numbers: without their sign, and as places in a range.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{as_first, kernel, long};
use super::rows::numbers;

fn of<T: ArrowPrimitiveType>(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let zero = T::Native::default();
    numbers::<T>(columns, |row| {
        let value = columns[0].as_primitive::<T>().value(row);
        match if value.is_lt(zero) { value.neg_checked() } else { Ok(value) } {
            Ok(value) => Ok(Some(value)),
            Err(_) => exec_err!(
                "[ARITHMETIC_OVERFLOW] overflow: the least number of its type has no positive counterpart"
            ),
        }
    })
}

/// `abs(whole number)`.
pub(crate) fn absolute() -> Arc<ScalarUDF> {
    kernel("abs", as_first, |columns, kind| match kind {
        DataType::Int8 => of::<Int8Type>(columns),
        DataType::Int16 => of::<Int16Type>(columns),
        DataType::Int32 => of::<Int32Type>(columns),
        _ => of::<Int64Type>(columns),
    })
}

/// `width_bucket(value, from, to, buckets)`.
pub(crate) fn width_bucket() -> Arc<ScalarUDF> {
    kernel("width_bucket", long, |columns, _| {
        let double = |place: usize, row| columns[place].as_primitive::<Float64Type>().value(row);
        numbers::<Int64Type>(columns, |row| {
            let (value, from, to) = (double(0, row), double(1, row), double(2, row));
            let buckets = columns[3].as_primitive::<Int64Type>().value(row);
            let is_range = from.is_finite() && to.is_finite() && from != to;
            if buckets <= 0 || buckets == i64::MAX || value.is_nan() || !is_range {
                return Ok(None);
            }
            let (is_before, is_behind) = match from < to {
                true => (value < from, value >= to),
                false => (value > from, value <= to),
            };
            Ok(Some(match (is_before, is_behind) {
                (true, _) => 0,
                (_, true) => buckets.wrapping_add(1),
                _ => ((buckets as f64 * (value - from) / (to - from)) as i64).wrapping_add(1),
            }))
        })
    })
}
