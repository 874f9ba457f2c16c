//! Java's hash codes of values, by which tables are ordered.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::Result;

/// The hash code of each value; anything for a null.
pub(super) fn hash_codes(values: &ArrayRef) -> Result<Vec<i32>> {
    Ok(match values.data_type() {
        DataType::Boolean => {
            let truths = values.as_boolean();
            (0..truths.len()).map(|row| if truths.value(row) { 1231 } else { 1237 }).collect()
        }
        DataType::Utf8 => {
            let texts = values.as_string::<i32>();
            (0..texts.len()).map(|row| of_text(texts.value(row))).collect()
        }
        DataType::Float32 => {
            let reals = values.as_primitive::<Float32Type>().values();
            reals.iter().map(|real| canonical_32(*real) as i32).collect()
        }
        DataType::Float64 => {
            let reals = values.as_primitive::<Float64Type>().values();
            reals.iter().map(|real| of_double(*real)).collect()
        }
        DataType::Decimal128(_, scale) => {
            let decimals = values.as_primitive::<Decimal128Type>().values();
            decimals.iter().map(|decimal| of_decimal(*decimal, *scale)).collect()
        }
        DataType::Int64 | DataType::Timestamp(..) => {
            let longs = cast(values, &DataType::Int64)?;
            longs.as_primitive::<Int64Type>().values().iter().map(|long| of_long(*long)).collect()
        }
        _ => cast(values, &DataType::Int32)?.as_primitive::<Int32Type>().values().to_vec(),
    })
}

fn of_long(value: i64) -> i32 {
    (value ^ (value as u64 >> 32) as i64) as i32
}

fn of_text(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

/// There is one NaN.
fn canonical_32(value: f32) -> u32 {
    if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }
}

fn of_double(value: f64) -> i32 {
    let bits = if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() };
    of_long(bits as i64)
}

/// Scala's: a number that an INT, a BIGINT or a FLOAT can be has the hash code of that.
fn of_decimal(value: i128, scale: i8) -> i32 {
    let unit = 10_i128.checked_pow(scale.max(0).unsigned_abs().into()).unwrap_or(i128::MAX);
    if value % unit == 0 {
        let whole = value / unit;
        if let Ok(int) = i32::try_from(whole) {
            return int;
        }
        if let Ok(long) = i64::try_from(whole) {
            return of_long(long);
        }
    }
    let double = value as f64 / unit as f64;
    match f64::from(double as f32) == double {
        true => canonical_32(double as f32) as i32,
        false => of_double(double),
    }
}
