//! Text of numbers, as Java reads and writes it.

use crate::digits::{Parts, ascii_digits};

/// The decimal that `text` stands for, in units of `10^-scale`, rounded half up; `None` where it
/// is no number (Java's `BigDecimal`) or has more digits than `precision`.
#[must_use]
pub fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    if !text.is_ascii() {
        let ascii = ascii_digits(text);
        return if ascii.is_ascii() { parse_decimal(&ascii, precision, scale) } else { None };
    }
    let parts = Parts::of(text)?;
    let significant = i64::try_from(parts.significant().count()).ok()?;
    // How many of the digits stay, once the point is moved right by `scale`.
    let kept = significant - parts.behind_point()? + parts.exponent + i64::from(scale);
    if significant == 0 || kept < 0 {
        return Some(0);
    }
    if kept > i64::from(precision) {
        return None;
    }
    let mut digits = parts.significant().map(|b| i128::from(b - b'0'));
    let mut unscaled = (0..kept).fold(0, |n: i128, _| n * 10 + digits.next().unwrap_or(0));
    if digits.next().is_some_and(|digit| digit >= 5) {
        unscaled += 1;
    }
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (unscaled < limit).then_some(if parts.is_negative { -unscaled } else { unscaled })
}
