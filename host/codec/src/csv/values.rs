//! Cells as values, as Java's `parseInt` and its relatives read them.

use crate::decode::columns::{Column, Values};
use crate::decode::parse_decimal;
use crate::digits::ascii_digits;
use crate::times::ReadTimes;

use super::options::{CsvOptions, ValueRules};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use tidemill_time::parse_date;

/// Adds a cell that is not null to its column. `false`: it is no value of the column's type, and
/// the column has a null.
pub(super) fn push(column: &mut Column, cell: &str, rules: &ValueRules) -> bool {
    let done = push_value(column, cell, rules);
    match done {
        Some(()) => column.set_valid(),
        None => column.push_null(),
    }
    done.is_some()
}

/// A column of one row with the value of a cell; none if it has none of the type.
pub(crate) fn cell_value(cell: &str, kind: &DataType, options: &CsvOptions) -> Option<ArrayRef> {
    let mut column = Column::new(kind);
    push(&mut column, cell, &options.values).then(|| column.finish())
}

/// What Java's `parseDouble` takes.
pub(crate) fn is_double(text: &str) -> bool {
    // No names are set for what is no number.
    let values = CsvOptions::default().values;
    let is_name =
        [&values.infinity, &values.negative_infinity].into_iter().any(|name| name == text);
    !is_name && double(text, &values).is_some()
}

fn push_value(column: &mut Column, cell: &str, rules: &ValueRules) -> Option<()> {
    let (precision, scale) = match column.data_type() {
        DataType::Decimal128(precision, scale) => (*precision, *scale),
        _ => (0, 0),
    };
    let has_zone = matches!(column.data_type(), DataType::Timestamp(_, Some(_)));
    match &mut column.values {
        Values::Text(bytes) | Values::Binary(bytes) => bytes.push(cell.as_bytes()),
        Values::Int8(values) => values.push(i8::try_from(integer(cell)?).ok()?),
        Values::Int16(values) => values.push(i16::try_from(integer(cell)?).ok()?),
        Values::Int32(values) => values.push(i32::try_from(integer(cell)?).ok()?),
        Values::Int64(values) => values.push(integer(cell)?),
        Values::Float32(values) => values.push(float(cell, rules, float_of)?),
        Values::Float64(values) => values.push(double(cell, rules)?),
        Values::Boolean(bits) => bits.append(boolean(cell)?),
        Values::Decimal(values) => values.push(decimal(cell, precision, scale)?),
        Values::Date(values) => values.push(date(cell, &rules.times)?),
        Values::Timestamp(values) if has_zone => values.push(rules.times.timestamp(cell)?),
        Values::Timestamp(values) => values.push(rules.times.timestamp_ntz(cell)?),
        Values::List(..) | Values::Struct(_) | Values::Map(..) => return None,
    }
    Some(())
}

/// Digits of any script, with a sign or without.
pub(super) fn integer(cell: &str) -> Option<i64> {
    if cell.is_ascii() {
        // Unlike Rust's, Java's takes no sign alone either; both take one sign.
        return cell.parse().ok();
    }
    ascii_digits(cell).parse().ok()
}

pub(super) fn boolean(cell: &str) -> Option<bool> {
    match cell {
        _ if cell.eq_ignore_ascii_case("true") => Some(true),
        _ if cell.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Commas are for people, and do not count.
fn decimal(cell: &str, precision: u8, scale: i8) -> Option<i128> {
    if cell.contains(',') {
        return parse_decimal(&cell.replace(',', ""), precision, scale);
    }
    parse_decimal(cell, precision, scale)
}

/// A double, or a name for what is none.
pub(super) fn double(cell: &str, rules: &ValueRules) -> Option<f64> {
    float(cell, rules, double_of)
}

/// Names for what is no number, which can be set; else what `read` makes of it.
fn float<F: From<f32>>(
    cell: &str,
    rules: &ValueRules,
    read: impl Fn(&str) -> Option<F>,
) -> Option<F> {
    if cell == rules.nan {
        return Some(F::from(f32::NAN));
    }
    if cell == rules.negative_infinity {
        return Some(F::from(f32::NEG_INFINITY));
    }
    if cell == rules.infinity {
        return Some(F::from(f32::INFINITY));
    }
    // Java's parser passes over blanks at both ends, and over the suffix of its own literals.
    let text = cell.trim_matches(|c| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        "NaN" => return Some(F::from(f32::NAN)),
        "Infinity" => return Some(F::from(sign * f32::INFINITY)),
        _ => {}
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    read(digits)
}

fn double_of(text: &str) -> Option<f64> {
    if !is_decimal(text) {
        return hexadecimal(text);
    }
    text.parse().ok()
}

fn float_of(text: &str) -> Option<f32> {
    if !is_decimal(text) {
        return hexadecimal(text).map(|value| value as f32);
    }
    text.parse().ok()
}

/// What Rust would take for more than a number is none.
fn is_decimal(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
}

/// `0x1.8p3`. Digits past the first 15 cannot be told from zeros by a double, nearly.
fn hexadecimal(text: &str) -> Option<f64> {
    const DIGITS_MAX: usize = 15;
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X"))?;
    let (mantissa, exponent) = digits.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 || whole.len() + fraction.len() > DIGITS_MAX {
        return None;
    }
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_hexdigit());
    let exponent: i32 = Some(exponent).filter(|_| all_digits)?.parse().ok()?;
    let value = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
    let shift = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    let size = value as f64 * 2_f64.powi(shift);
    Some(if negative { -size } else { size })
}

fn date(cell: &str, times: &ReadTimes) -> Option<i32> {
    let takes_plain = !times.has_date_pattern() && times.falls_back == Some(false);
    times.date(cell, |cell| parse_date(cell).filter(|_| !takes_plain || is_plain_date(cell)))
}

/// `yyyy-MM-dd`, as the default pattern has it.
pub(crate) fn is_plain_date(cell: &str) -> bool {
    let bytes = cell.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}
