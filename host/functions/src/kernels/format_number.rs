//! `format_number`: a number with groups of thousands, or by a pattern of Java's DecimalFormat.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{kernel, text, texts};
use super::rows::strings;

/// Digits behind the point that are asked for at most.
const FRACTION_MAX: i32 = 400;

/// How a number is written.
#[derive(Debug, Clone, PartialEq)]
struct Pattern {
    prefix: String,
    suffix: String,
    whole_min: usize,
    fraction: (usize, usize),
    /// Digits of a group; 0 for none.
    group: usize,
    percent: bool,
}

fn with_digits(digits: usize) -> Pattern {
    Pattern {
        prefix: String::new(),
        suffix: String::new(),
        whole_min: 1,
        fraction: (digits, digits),
        group: 3,
        percent: false,
    }
}

fn parsed(pattern: &str) -> Result<Pattern> {
    if pattern.is_empty() {
        return Ok(with_digits(0));
    }
    let mut parsed = Pattern { whole_min: 0, fraction: (0, 0), group: 0, ..with_digits(0) };
    let refused = || {
        exec_err!(
            "[UNSUPPORTED_FEATURE] format_number(): the pattern '{pattern}' has what is not supported here; known are # 0 , . % and quoted text"
        )
    };
    // Before, in, and behind the digits.
    let mut phase = 0;
    let (mut has_point, mut hashes, mut since_comma) = (false, 0, None);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let is_digit = matches!(c, '#' | '0' | ',' | '.');
        if is_digit && phase < 2 {
            phase = 1;
            match c {
                '0' if has_point && parsed.fraction.1 > parsed.fraction.0 => return refused(),
                '0' if has_point => {
                    parsed.fraction = (parsed.fraction.0 + 1, parsed.fraction.1 + 1);
                }
                '#' if has_point => parsed.fraction.1 += 1,
                '0' => {
                    parsed.whole_min += 1;
                    since_comma = since_comma.map(|count: usize| count + 1);
                }
                '#' if parsed.whole_min > 0 => return refused(),
                '#' => {
                    hashes += 1;
                    since_comma = since_comma.map(|count: usize| count + 1);
                }
                ',' if has_point => return refused(),
                ',' => since_comma = Some(0),
                _ if has_point => return refused(),
                _ => has_point = true,
            }
            continue;
        }
        if is_digit {
            return refused();
        }
        phase = if phase == 0 { 0 } else { 2 };
        let affix = if phase == 0 { &mut parsed.prefix } else { &mut parsed.suffix };
        match c {
            '\'' if chars.next_if_eq(&'\'').is_some() => affix.push('\''),
            '\'' => loop {
                match chars.next() {
                    Some('\'') if chars.next_if_eq(&'\'').is_some() => affix.push('\''),
                    Some('\'') => break,
                    Some(c) => affix.push(c),
                    None => return refused(),
                }
            },
            '%' => {
                parsed.percent = true;
                affix.push('%');
            }
            'E' if phase == 2 => return refused(),
            ';' | '\u{2030}' | '\u{a4}' => return refused(),
            c => affix.push(c),
        }
    }
    match since_comma {
        Some(0) => return refused(),
        group => parsed.group = group.unwrap_or(0),
    }
    let has_zero = parsed.whole_min + parsed.fraction.0 > 0;
    if phase == 0 || (!has_zero && hashes == 0) {
        return refused();
    }
    if !has_zero && has_point {
        parsed.whole_min = 1;
    }
    Ok(parsed)
}

/// A number without its sign, as digits before and behind the point; rounded to the even neighbour.
fn digits_of_double(value: f64, most: usize) -> (String, String) {
    let shortest = format!("{}", value.abs());
    let (whole, fraction) = shortest.split_once('.').unwrap_or((&shortest, ""));
    if fraction.len() <= most {
        return (whole.to_owned(), fraction.to_owned());
    }
    let exact = format!("{:.most$}", value.abs());
    let (whole, fraction) = exact.split_once('.').unwrap_or((&exact, ""));
    (whole.to_owned(), fraction.to_owned())
}

fn digits_of_decimal(value: i128, scale: usize, most: usize) -> (String, String) {
    let mut value = value.unsigned_abs();
    let mut scale = scale;
    if scale > most {
        let unit = 10_u128.pow((scale - most) as u32);
        let (quotient, rest) = (value / unit, value % unit);
        let is_up = rest * 2 > unit || (rest * 2 == unit && quotient % 2 == 1);
        (value, scale) = (quotient + u128::from(is_up), most);
    }
    let digits = format!("{value:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    (whole.to_owned(), fraction.to_owned())
}

impl Pattern {
    fn write(&self, negative: bool, (whole, fraction): (String, String), out: &mut String) {
        if negative {
            out.push('-');
        }
        out.push_str(&self.prefix);
        let whole = whole.trim_start_matches('0');
        let mut fraction = fraction.trim_end_matches('0').to_owned();
        while fraction.len() < self.fraction.0 {
            fraction.push('0');
        }
        let mut digits = format!("{whole:0>width$}", width = self.whole_min);
        if digits.is_empty() && fraction.is_empty() {
            digits.push('0');
        }
        for (place, digit) in digits.chars().enumerate() {
            let left = digits.len() - place;
            if place > 0 && self.group > 0 && left.is_multiple_of(self.group) {
                out.push(',');
            }
            out.push(digit);
        }
        if !fraction.is_empty() {
            out.push('.');
            out.push_str(&fraction);
        }
        out.push_str(&self.suffix);
    }

    fn write_row(&self, values: &ArrayRef, row: usize, out: &mut String) -> Result<bool> {
        let most = self.fraction.1;
        match values.data_type() {
            DataType::Decimal128(_, scale) => {
                let value = values.as_primitive::<Decimal128Type>().value(row);
                let scale = i32::from(*scale) - if self.percent { 2 } else { 0 };
                let (value, scale) = match usize::try_from(scale) {
                    Ok(scale) => (Some(value), scale),
                    Err(_) => (value.checked_mul(10_i128.pow(scale.unsigned_abs())), 0),
                };
                match value {
                    Some(value) => {
                        self.write(value < 0, digits_of_decimal(value, scale, most), out);
                    }
                    None => return exec_err!("format_number(): a number is too large"),
                }
            }
            DataType::Float64 => {
                let value = values.as_primitive::<Float64Type>().value(row);
                let value = if self.percent { value * 100.0 } else { value };
                if value.is_nan() {
                    out.push_str("NaN");
                } else if value.is_infinite() {
                    out.push_str(if value < 0.0 { "-" } else { "" });
                    out.push_str(&self.prefix);
                    out.push('\u{221e}');
                    out.push_str(&self.suffix);
                } else {
                    self.write(value.is_sign_negative(), digits_of_double(value, most), out);
                }
            }
            _ => {
                let value = i128::from(values.as_primitive::<Int64Type>().value(row));
                let value = if self.percent { value * 100 } else { value };
                self.write(value < 0, digits_of_decimal(value, 0, most), out);
            }
        }
        Ok(true)
    }
}

/// `format_number(number, digits or pattern)`; growth knows it by its name.
pub(crate) fn format_number() -> Arc<ScalarUDF> {
    kernel("format_number", text, |columns, _| {
        let values = match columns[0].data_type() {
            DataType::Decimal128(..) => Arc::clone(&columns[0]),
            kind if kind.is_integer() => cast(&columns[0], &DataType::Int64)?,
            _ => cast(&columns[0], &DataType::Float64)?,
        };
        if columns[1].data_type() == &DataType::Int32 {
            return strings(columns, |row, out| {
                let digits = columns[1].as_primitive::<Int32Type>().value(row);
                if digits > FRACTION_MAX {
                    return exec_err!(
                        "format_number(): {digits} digits are more than {FRACTION_MAX}"
                    );
                }
                match usize::try_from(digits) {
                    Ok(digits) => with_digits(digits).write_row(&values, row, out),
                    Err(_) => Ok(false),
                }
            });
        }
        let mut last: Option<(String, Pattern)> = None;
        strings(columns, |row, out| {
            let pattern = texts(columns, 1).value(row);
            if last.as_ref().is_none_or(|(known, _)| known != pattern) {
                last = Some((pattern.to_owned(), parsed(pattern)?));
            }
            match &last {
                Some((_, pattern)) => pattern.write_row(&values, row, out),
                None => Ok(false),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    fn double(value: f64, pattern: &Pattern) -> String {
        let mut out = String::new();
        let digits = digits_of_double(value, pattern.fraction.1);
        pattern.write(value.is_sign_negative(), digits, &mut out);
        out
    }

    #[test]
    fn numbers_are_written_as_java_writes_them() {
        assert_eq!(double(12_332.123_456, &with_digits(4)), "12,332.1235");
        assert_eq!(double(-0.5, &with_digits(0)), "-0");
        assert_eq!(double(1e20, &with_digits(2)), "100,000,000,000,000,000,000.00");
        assert_eq!(double(12_332.123_456, &parsed("##################.###").unwrap()), "12332.123");
        assert_eq!(double(12_345.678, &parsed("0000000.0").unwrap()), "0012345.7");
        assert_eq!(double(0.5, &parsed("#.##").unwrap()), "0.5");
        assert!(parsed("0.00E0").is_err());
    }
}
