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

/// All values at once, without a branch for each: the least number stays below zero, and is looked
/// for where there is one, as what is behind a null may be.
fn of<T: ArrowPrimitiveType>(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let is_negative = |value: T::Native| value.is_lt(T::Native::ZERO);
    let absolute = columns[0]
        .as_primitive::<T>()
        .unary::<_, T>(|value| if is_negative(value) { value.neg_wrapping() } else { value });
    let least = absolute.values().iter().fold(false, |least, value| least | is_negative(*value));
    if least && absolute.iter().flatten().any(is_negative) {
        return exec_err!(
            "[ARITHMETIC_OVERFLOW] overflow: the least number of its type has no positive counterpart"
        );
    }
    Ok(Arc::new(absolute))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use arrow::array::Int32Array;
    use arrow::buffer::NullBuffer;

    use super::*;

    #[test]
    fn the_least_number_is_refused_where_it_is_there_and_not_behind_a_null() {
        let values = |nulls| {
            let values = vec![-3, i32::MIN, 4].into();
            [Arc::new(Int32Array::new(values, nulls)) as ArrayRef]
        };
        let absolute = of::<Int32Type>(&values(Some(NullBuffer::from(vec![true, false, true]))));
        let expected = Int32Array::from(vec![Some(3), None, Some(4)]);
        assert_eq!(absolute.unwrap().as_primitive::<Int32Type>(), &expected);
        let refused = of::<Int32Type>(&values(None)).unwrap_err();
        assert!(refused.to_string().contains("ARITHMETIC_OVERFLOW"));
    }
}
