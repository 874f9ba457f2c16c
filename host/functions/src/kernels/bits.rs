//! Bits of numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int8Array, Int32Array, PrimitiveArray};
use arrow::compute::{cast, try_binary};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{as_first, int, kernel};

/// Moves the bits of INTs or BIGINTs, by as many places as their width leaves.
fn moved(
    columns: &[ArrayRef],
    of_int: fn(i32, u32) -> i32,
    of_long: fn(i64, u32) -> i64,
) -> Result<ArrayRef> {
    let places: &Int32Array = columns[1].as_primitive::<Int32Type>();
    Ok(match columns[0].as_primitive_opt::<Int32Type>() {
        Some(numbers) => {
            let moved: PrimitiveArray<Int32Type> =
                try_binary(numbers, places, |number, by| Ok(of_int(number, by as u32)))?;
            Arc::new(moved)
        }
        None => {
            let numbers = columns[0].as_primitive::<Int64Type>();
            let moved: PrimitiveArray<Int64Type> =
                try_binary(numbers, places, |number, by| Ok(of_long(number, by as u32)))?;
            Arc::new(moved)
        }
    })
}

pub(crate) fn shiftleft() -> Arc<ScalarUDF> {
    kernel("shiftleft", as_first, |columns, _| moved(columns, i32::wrapping_shl, i64::wrapping_shl))
}

pub(crate) fn shiftright() -> Arc<ScalarUDF> {
    kernel("shiftright", as_first, |columns, _| {
        moved(columns, i32::wrapping_shr, i64::wrapping_shr)
    })
}

pub(crate) fn shiftrightunsigned() -> Arc<ScalarUDF> {
    kernel("shiftrightunsigned", as_first, |columns, _| {
        let of_int = |number: i32, by| (number as u32).wrapping_shr(by) as i32;
        moved(columns, of_int, |number, by| (number as u64).wrapping_shr(by) as i64)
    })
}

/// How many bits of a number are set, as in 64 of them.
pub(crate) fn bit_count() -> Arc<ScalarUDF> {
    kernel("bit_count", int, |columns, _| {
        let numbers = cast(&columns[0], &DataType::Int64)?;
        let count = |number: i64| number.count_ones() as i32;
        Ok(Arc::new(numbers.as_primitive::<Int64Type>().unary::<_, Int32Type>(count)))
    })
}

/// The bit of a number at a place.
pub(crate) fn bit_get() -> Arc<ScalarUDF> {
    kernel(
        "bit_get",
        |_| Ok(DataType::Int8),
        |columns, _| {
            let width = columns[0].data_type().primitive_width().unwrap_or(8) * 8;
            let numbers = cast(&columns[0], &DataType::Int64)?;
            let places = columns[1].as_primitive::<Int32Type>();
            let bits: Int8Array = try_binary(
                numbers.as_primitive::<Int64Type>(),
                places,
                |number: i64, place: i32| match usize::try_from(place) {
                    Ok(place) if place < width => Ok(((number >> place) & 1) as i8),
                    _ => Err(ArrowError::ComputeError(format!(
                        "[INVALID_PARAMETER_VALUE.BIT_POSITION_RANGE] The value of parameter(s) `pos` in `bit_get` is invalid: expects an integer value in [0, {width}), but got {place}"
                    ))),
                },
            )?;
            Ok(Arc::new(bits))
        },
    )
}
