//! Text of numbers, as Java reads and writes it.

use crate::digits::ascii_digits;

/// The decimal that `text` stands for, in units of `10^-scale`, rounded half up; `None` where it
/// is no number (Java's `BigDecimal`) or has more digits than `precision`.
#[must_use]
pub fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    if !text.is_ascii() {
        let ascii = ascii_digits(text);
        return if ascii.is_ascii() { parse_decimal(&ascii, precision, scale) } else { None };
    }
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        None => (unsigned, 0),
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let digits = || whole.bytes().chain(fraction.bytes()).skip_while(|b| *b == b'0');
    let significant = digits().count() as i64;
    // How many of the digits stay, once the point is moved right by `scale`.
    let fraction_len = i64::try_from(fraction.len()).ok()?;
    let kept = significant - fraction_len + exponent + i64::from(scale);
    if significant == 0 || kept < 0 {
        return Some(0);
    }
    if kept > i64::from(precision) {
        return None;
    }
    let mut digits = digits().map(|b| i128::from(b - b'0'));
    let mut unscaled = (0..kept).fold(0, |n: i128, _| n * 10 + digits.next().unwrap_or(0));
    if digits.next().is_some_and(|digit| digit >= 5) {
        unscaled += 1;
    }
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (unscaled < limit).then_some(if negative { -unscaled } else { unscaled })
}

/// Far more than any decimal has, and little enough for sums not to overflow.
const EXPONENT_MAX: i64 = 1 << 40;

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i64>().unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
    Some(if text.starts_with('-') { -size } else { size })
}
