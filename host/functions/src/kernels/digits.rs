//! Numbers with other digits: another base, or fewer of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{kernel, text, texts};
use super::rows::{numbers, strings};

/// `conv(text, from, to)`: digits that are none end the number, as in Hive.
pub(crate) fn conv() -> Arc<ScalarUDF> {
    kernel("conv", text, |columns, _| {
        let base = |place: usize, row| columns[place].as_primitive::<Int32Type>().value(row);
        strings(columns, |row, out| {
            let input = texts(columns, 0).value(row).trim_matches(' ');
            let (from, to) = (base(1, row), base(2, row));
            if !(2..=36).contains(&from)
                || !(2..=36).contains(&to.unsigned_abs())
                || input.is_empty()
            {
                return Ok(false);
            }
            let (is_negative, digits) = match input.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, input),
            };
            let mut value = 0_u64;
            for digit in digits.chars().map_while(|c| c.to_digit(from as u32)) {
                let next = value
                    .checked_mul(u64::from(from as u32))
                    .and_then(|value| value.checked_add(u64::from(digit)));
                let Some(next) = next else {
                    return exec_err!("[ARITHMETIC_OVERFLOW] Overflow in function conv()");
                };
                value = next;
            }
            // Seen as a number with a sign where the base is negative.
            let value = if is_negative {
                if to < 0 && value > 1 << 63 {
                    return exec_err!("[ARITHMETIC_OVERFLOW] Overflow in function conv()");
                }
                value.wrapping_neg()
            } else {
                value
            };
            let (is_below, mut rest) = match to < 0 && (value as i64) < 0 {
                true => (true, value.wrapping_neg()),
                false => (false, value),
            };
            let mut reversed = Vec::new();
            loop {
                let digit = (rest % u64::from(to.unsigned_abs())) as u32;
                reversed.extend(char::from_digit(digit, 36).map(|c| c.to_ascii_uppercase()));
                rest /= u64::from(to.unsigned_abs());
                if rest == 0 {
                    break;
                }
            }
            if is_below {
                out.push('-');
            }
            out.extend(reversed.into_iter().rev());
            Ok(true)
        })
    })
}

/// Which way digits that go are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rounding {
    /// Halves away from zero.
    HalfUp,
    /// Halves to the even neighbour.
    HalfEven,
    /// Up.
    Ceiling,
    /// Down.
    Floor,
}

/// A whole number without its last digits, as a number of what one of the rest stands for.
fn without_digits(value: i128, digits: u32, rounding: Rounding) -> i128 {
    let Some(unit) = 10_i128.checked_pow(digits) else {
        return match rounding {
            Rounding::Ceiling => i128::from(value > 0),
            Rounding::Floor => -i128::from(value < 0),
            _ => 0,
        };
    };
    let (quotient, rest) = (value.div_euclid(unit), value.rem_euclid(unit));
    let is_up = match rounding {
        Rounding::Floor => false,
        Rounding::Ceiling => rest > 0,
        _ => match rest.cmp(&(unit - rest)) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal if rest == 0 => false,
            std::cmp::Ordering::Equal if rounding == Rounding::HalfEven => quotient % 2 != 0,
            std::cmp::Ordering::Equal => value > 0,
        },
    };
    quotient + i128::from(is_up)
}

/// The type of a DECIMAL with so many digits behind its point.
pub(crate) fn rounded_type(precision: u8, scale: i8, digits: i32) -> DataType {
    let whole = i32::from(precision) - i32::from(scale) + 1;
    let (precision, scale) = match digits {
        ..0 => (whole.max(1 - digits.max(-38)), 0),
        _ => {
            let scale = digits.min(i32::from(scale));
            (whole + scale, scale)
        }
    };
    DataType::Decimal128(precision.clamp(1, 38) as u8, scale as i8)
}

fn overflow<T>() -> Result<T> {
    exec_err!(
        "[ARITHMETIC_OVERFLOW] Overflow: a rounded number does not fit its type; cast it to a wider one"
    )
}

/// A column with so many digits behind the point, of a type.
pub(crate) fn rounded(
    values: &ArrayRef,
    digits: i32,
    rounding: Rounding,
    to: &DataType,
) -> Result<ArrayRef> {
    fn whole<T: ArrowPrimitiveType>(
        values: &ArrayRef,
        digits: i32,
        rounding: Rounding,
    ) -> Result<ArrayRef>
    where
        T::Native: Into<i128> + TryFrom<i128>,
    {
        let column = values.as_primitive::<T>();
        numbers::<T>(std::slice::from_ref(values), |row| {
            let value: i128 = column.value(row).into();
            let lost = digits.unsigned_abs();
            let kept = without_digits(value, lost, rounding);
            let unit = 10_i128.checked_pow(lost).unwrap_or(0);
            match T::Native::try_from(kept.saturating_mul(unit)) {
                Ok(value) => Ok(Some(value)),
                Err(_) => overflow(),
            }
        })
    }
    match (values.data_type(), to) {
        (kind, _) if kind.is_integer() && digits >= 0 => Ok(Arc::clone(values)),
        (DataType::Int8, _) => whole::<Int8Type>(values, digits, rounding),
        (DataType::Int16, _) => whole::<Int16Type>(values, digits, rounding),
        (DataType::Int32, _) => whole::<Int32Type>(values, digits, rounding),
        (DataType::Int64, _) => whole::<Int64Type>(values, digits, rounding),
        (DataType::Float32, _) => {
            let column: PrimitiveArray<Float32Type> = values
                .as_primitive::<Float32Type>()
                .unary(|value| rounded_double(f64::from(value), digits, rounding) as f32);
            Ok(Arc::new(column))
        }
        (DataType::Float64, _) => {
            let column: PrimitiveArray<Float64Type> = values
                .as_primitive::<Float64Type>()
                .unary(|value| rounded_double(value, digits, rounding));
            Ok(Arc::new(column))
        }
        (DataType::Decimal128(_, scale), DataType::Decimal128(precision, to_scale)) => {
            let column = values.as_primitive::<Decimal128Type>();
            let lost = i32::from(*scale).saturating_sub(digits);
            let rounded = numbers::<Decimal128Type>(std::slice::from_ref(values), |row| {
                let value = column.value(row);
                if lost <= 0 {
                    return Ok(Some(value));
                }
                let kept = without_digits(value, lost as u32, rounding);
                // Digits before the point are zeros then.
                let zeros = 10_i128.checked_pow((-digits.min(0)) as u32);
                let value = match (zeros, kept) {
                    (_, 0) => Some(0),
                    (Some(zeros), kept) => kept.checked_mul(zeros),
                    (None, _) => None,
                };
                match value
                    .filter(|value| value.unsigned_abs() < 10_u128.pow(u32::from(*precision)))
                {
                    Some(value) => Ok(Some(value)),
                    None => exec_err!(
                        "[NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION] a rounded number cannot be represented as Decimal({precision}, {to_scale})"
                    ),
                }
            })?;
            let rounded = rounded.as_primitive::<Decimal128Type>().clone();
            Ok(Arc::new(rounded.with_data_type(to.clone())))
        }
        (other, _) => exec_err!("a number of the type {other} cannot be rounded"),
    }
}

/// As Java's BigDecimal rounds the digits that a number is written with.
fn rounded_double(value: f64, digits: i32, rounding: Rounding) -> f64 {
    if !value.is_finite() || value == 0.0 {
        return if value == 0.0 { 0.0 } else { value };
    }
    let is_to_nearest = matches!(rounding, Rounding::HalfUp | Rounding::HalfEven);
    if is_to_nearest && let Some(rounded) = plainly_rounded(value, digits) {
        return rounded;
    }
    by_digits(value, digits, rounding)
}

fn by_digits(value: f64, digits: i32, rounding: Rounding) -> f64 {
    // Digits and where the point is: `1234e-2`.
    let written = format!("{value:e}");
    let Some((mantissa, exponent)) = written.split_once('e') else { return value };
    let Ok(exponent) = exponent.parse::<i32>() else { return value };
    let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i32);
    let Ok(unscaled) = mantissa.replace('.', "").parse::<i128>() else { return value };
    let scale = fraction - exponent;
    let lost = scale.saturating_sub(digits);
    if lost <= 0 {
        return value;
    }
    let kept = without_digits(unscaled, lost as u32, rounding);
    if kept == 0 {
        return 0.0;
    }
    format!("{kept}e{}", scale_of(digits)).parse().unwrap_or(value)
}

/// The same where it is far from the middle between two results, and these are numbers that a double
/// holds: then it is the nearest one, whatever the rule for the middle.
fn plainly_rounded(value: f64, digits: i32) -> Option<f64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let power = 10_f64.powi(u8::try_from(digits).ok().filter(|digits| *digits <= 15)?.into());
    let scaled = value * power;
    let whole = scaled.round();
    let from_middle = ((scaled - scaled.floor()) - 0.5).abs();
    // The product is off by less than a part in 2^52 of itself.
    let is_far = from_middle > 1e-3 && scaled.abs() < EXACT / 1e6;
    // -0.0 is written as 0.
    is_far.then(|| if whole == 0.0 { 0.0 } else { whole / power })
}

fn scale_of(digits: i32) -> i32 {
    digits.saturating_neg()
}

/// The smallest BIGINT or DECIMAL that is not less, or the largest that is not more.
pub(crate) fn to_whole(values: &ArrayRef, rounding: Rounding, to: &DataType) -> Result<ArrayRef> {
    match values.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let doubles = cast(values, &DataType::Float64)?;
            let doubles = doubles.as_primitive::<Float64Type>();
            numbers::<Int64Type>(std::slice::from_ref(values), |row| {
                let value = doubles.value(row);
                let whole =
                    if rounding == Rounding::Ceiling { value.ceil() } else { value.floor() };
                match (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole) {
                    true => Ok(Some(whole as i64)),
                    // What Java makes of it.
                    false if value.is_nan() => Ok(Some(0)),
                    false => {
                        exec_err!("[ARITHMETIC_OVERFLOW] overflow: {value} does not fit a BIGINT")
                    }
                }
            })
        }
        DataType::Decimal128(_, 0) => Ok(Arc::clone(values)),
        DataType::Decimal128(..) => rounded(values, 0, rounding, to),
        _ => Ok(cast(values, &DataType::Int64)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_far_from_the_middle_are_rounded_alike_both_ways() {
        let mut seed = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let value = (seed.f64() - 0.5) * 10_f64.powi(seed.i32(-3..12));
            let digits = seed.i32(0..8);
            let Some(fast) = plainly_rounded(value, digits) else { continue };
            let slow = by_digits(value, digits, Rounding::HalfUp);
            assert_eq!(fast.to_bits(), slow.to_bits(), "{value} to {digits}");
        }
    }

    #[test]
    fn digits_go_as_java_rounds_them() {
        let up = |value, digits| rounded_double(value, digits, Rounding::HalfUp);
        assert_eq!(up(1.005, 2), 1.01);
        assert_eq!(up(2.675, 2), 2.68);
        assert_eq!(up(-1.5, 0), -2.0);
        assert_eq!(up(1_234_567.891, -3), 1_235_000.0);
        assert_eq!(rounded_double(2.5, 0, Rounding::HalfEven), 2.0);
        assert_eq!(without_digits(-25, 1, Rounding::HalfUp), -3);
        assert_eq!(without_digits(-25, 1, Rounding::HalfEven), -2);
        assert_eq!(without_digits(-31, 1, Rounding::Ceiling), -3);
    }
}
