//! Text of single values, as Java writes it.

use std::fmt::{Display, LowerExp};
use std::io::Write as _;

use arrow::datatypes::IntervalMonthDayNano;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use tidemill_time::Zone;
use tidemill_types::civil::{MICROS_PER_DAY, MICROS_PER_SECOND, civil_from_days};

/// Jackson's default: padding is required, stray bits at the end are not looked at.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(text).ok()
}

pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// `Double.toString` of Java 17: `1.5`, `100.0`, `1.0E10`, `NaN`. These are the fewest digits that read
/// back, but for large whole numbers.
pub(crate) fn write_f64(value: f64, out: &mut Vec<u8>) {
    write_float(value, value.abs(), f64::MANTISSA_DIGITS, out);
}

/// `Float.toString`, likewise.
pub(crate) fn write_f32(value: f32, out: &mut Vec<u8>) {
    write_float(value, f64::from(value.abs()), f32::MANTISSA_DIGITS, out);
}

fn write_float<F>(value: F, size: f64, mantissa_bits: u32, text: &mut Vec<u8>)
where
    F: Display + LowerExp + zmij::Float,
{
    if size.is_nan() {
        return text.extend_from_slice(b"NaN");
    }
    // Writing to a Vec cannot fail.
    let _ = if size == 0.0 || (1e-3..1e7).contains(&size) {
        // Without an exponent, as Java has it in this range.
        text.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        Ok(())
    } else if size.is_infinite() {
        write!(text, "{}Infinity", if format!("{value}").starts_with('-') { "-" } else { "" })
    } else if let Some((digits, exponent)) = whole_digits(size, mantissa_bits) {
        let sign = if format!("{value:e}").starts_with('-') { "-" } else { "" };
        let (first, others) = digits.split_at(1);
        write!(text, "{sign}{first}.{}E{exponent}", if others.is_empty() { "0" } else { others })
    } else {
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        write!(text, "{digits}{point}E{exponent}")
    };
}

/// The digits of a whole number that has more bits than a mantissa and fits a BIGINT, and its decimal
/// exponent. Java up to 18 takes all its digits, without as many of the last ones as the bits have that
/// the mantissa lacks (`FloatingDecimal.BinaryToASCIIBuffer.dtoa`).
fn whole_digits(size: f64, mantissa_bits: u32) -> Option<(String, usize)> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let least = 2_f64.powi(mantissa_bits.cast_signed());
    if !(least..LIMIT).contains(&size) {
        return None;
    }
    let whole = size as u64;
    let lacking = whole.ilog2().saturating_sub(mantissa_bits + 1);
    let dropped = if lacking > 1 { 2_u64.pow(lacking).ilog10() } else { 0 };
    let power = 10_u64.pow(dropped);
    let kept = whole / power + u64::from(dropped > 0 && whole % power >= power / 2);
    let digits = kept.to_string();
    let exponent = digits.len() - 1 + dropped as usize;
    Some((digits.trim_end_matches('0').to_owned(), exponent))
}

/// A number, or a string for what is none.
pub(crate) fn write_json_f64(value: f64, out: &mut Vec<u8>) {
    write_quoted_unless(value.is_finite(), out, |out| write_f64(value, out));
}

/// As [`write_json_f64`], with the digits that a float has.
pub(crate) fn write_json_f32(value: f32, out: &mut Vec<u8>) {
    write_quoted_unless(value.is_finite(), out, |out| write_f32(value, out));
}

fn write_quoted_unless(is_number: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let quote: &[u8] = if is_number { b"" } else { b"\"" };
    out.extend_from_slice(quote);
    write(out);
    out.extend_from_slice(quote);
}

/// A JSON string with the escapes that Jackson writes: quote, backslash and control characters.
pub(crate) fn write_json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => {
                // Writing to a Vec cannot fail.
                let _ = write!(out, "\\u{control:04X}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Digits with `scale` of them after the point: `12.50`.
pub(crate) fn write_decimal(value: i128, scale: i8, out: &mut Vec<u8>) {
    let sign = if value < 0 { "-" } else { "" };
    let size = value.unsigned_abs();
    // Writing to a Vec cannot fail.
    let _ = match usize::try_from(scale) {
        Ok(0) => write!(out, "{value}"),
        Ok(scale) => {
            let digits = format!("{size:0width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            write!(out, "{sign}{whole}.{fraction}")
        }
        Err(_) if value == 0 => write!(out, "0"),
        Err(_) => write!(out, "{value}{:0<width$}", "", width = usize::from(scale.unsigned_abs())),
    };
}

/// `2026-01-01`; a year above 9999 has a plus sign, as in Java.
pub(crate) fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    match year {
        0..=9_999 => {
            write_two(year / 100, out);
            write_two(year % 100, out);
        }
        _ => {
            let sign = if year < 0 { '-' } else { '+' };
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{sign}{:04}", year.unsigned_abs());
        }
    }
    out.push(b'-');
    write_two(i64::from(month), out);
    out.push(b'-');
    write_two(i64::from(day), out);
}

/// Two digits.
fn write_two(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
}

/// How a fraction of a second is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fraction {
    /// Milliseconds.
    Three,
    /// Milliseconds, or microseconds where there are any.
    ThreeOrSix,
    /// Up to its last digit that is not 0; without such a digit not at all.
    AsNeeded,
}

/// `2026-01-01T10:00:00.123`.
pub(crate) fn write_time(micros: i64, separator: u8, fraction: Fraction, out: &mut Vec<u8>) {
    write_date(micros.div_euclid(MICROS_PER_DAY), out);
    out.push(separator);
    write_time_of_day(micros.rem_euclid(MICROS_PER_DAY), fraction, out);
}

/// `2026-01-01T11:00:00.123+01:00`: what the clocks of a zone show. One beyond 64 bits is written
/// in UTC.
pub(crate) fn write_zoned_time(micros: i64, zone: Zone, fraction: Fraction, out: &mut Vec<u8>) {
    let local = zone.local(micros).unwrap_or(micros);
    write_time(local, b'T', fraction, out);
    let ahead = (local - micros) / MICROS_PER_SECOND;
    if ahead == 0 {
        return out.push(b'Z');
    }
    let (sign, size) = (if ahead < 0 { '-' } else { '+' }, ahead.unsigned_abs());
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{sign}{:02}:{:02}", size / 3_600, size / 60 % 60);
    if size % 60 != 0 {
        let _ = write!(out, ":{:02}", size % 60);
    }
}

/// `1 years 2 months -3 days 4 hours 5.5 seconds` (Spark's CalendarInterval.toString).
pub(crate) fn write_calendar(interval: IntervalMonthDayNano, out: &mut Vec<u8>) {
    let start = out.len();
    let mut part = |count: i64, unit: &str| {
        if count != 0 {
            let space = if out.len() > start { " " } else { "" };
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{space}{count} {unit}");
        }
    };
    let months = i64::from(interval.months);
    part(months / 12, "years");
    part(months % 12, "months");
    part(i64::from(interval.days), "days");
    let micros = interval.nanoseconds / 1_000;
    let minutes = micros / MICROS_PER_SECOND / 60;
    part(minutes / 60, "hours");
    part(minutes % 60, "minutes");
    let rest = micros % (60 * MICROS_PER_SECOND);
    if rest != 0 {
        let sign = if rest < 0 { "-" } else { "" };
        let (seconds, fraction) =
            (rest.abs() / MICROS_PER_SECOND, format!("{:06}", rest.abs() % MICROS_PER_SECOND));
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        let space = if out.len() > start { " " } else { "" };
        let _ = write!(out, "{space}{sign}{seconds}{point}{fraction} seconds");
    }
    if out.len() == start {
        out.extend_from_slice(b"0 seconds");
    }
}

fn write_time_of_day(of_day: i64, fraction: Fraction, out: &mut Vec<u8>) {
    let (seconds, micros) = (of_day / MICROS_PER_SECOND, of_day % MICROS_PER_SECOND);
    write_two(seconds / 3_600, out);
    out.push(b':');
    write_two(seconds / 60 % 60, out);
    out.push(b':');
    write_two(seconds % 60, out);
    let length = match fraction {
        Fraction::AsNeeded if micros == 0 => return,
        Fraction::AsNeeded => 6,
        Fraction::Three => 3,
        Fraction::ThreeOrSix if micros % 1_000 == 0 => 3,
        Fraction::ThreeOrSix => 6,
    };
    out.push(b'.');
    let mut power = 100_000;
    for _ in 0..length {
        out.push(b'0' + (micros / power % 10) as u8);
        power /= 10;
    }
    if fraction == Fraction::AsNeeded {
        let zeros = out.iter().rev().take_while(|digit| **digit == b'0').count();
        out.truncate(out.len() - zeros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn plain_numbers_are_written_as_rust_writes_them() {
        for exponent in -3..7 {
            for digits in [1.0, 1.5, 9.999_999_999_999_999, 3.3, 1.0 / 3.0] {
                let number = digits * 10_f64.powi(exponent);
                if (1e-3..1e7).contains(&number) {
                    assert_eq!(written(|out| write_f64(number, out)), format!("{number:?}"));
                }
                let number = number as f32;
                if (1e-3..1e7).contains(&number) {
                    assert_eq!(written(|out| write_f32(number, out)), format!("{number:?}"));
                }
            }
        }
        assert_eq!(written(|out| write_f64(-0.0, out)), "-0.0");
    }

    #[test]
    fn numbers_are_written_as_java_17_writes_them() {
        for (number, text) in [
            (1_234_567_890.0_f32, "1.23456794E9"),
            (16_777_218.0, "1.6777218E7"),
            (1.0e10, "1.0E10"),
            (1.234_567_9e14, "1.23456788E14"),
            (9.223_371_5e18, "9.2233715E18"),
            (9.223_372e18, "9.223372E18"),
            (0.1, "0.1"),
        ] {
            assert_eq!(written(|out| write_f32(number, out)), text);
            assert_eq!(written(|out| write_f32(-number, out)), format!("-{text}"));
        }
        for (number, text) in [
            (9_007_199_254_740_994.0, "9.007199254740994E15"),
            (36_028_797_018_963_968.0, "3.6028797018963968E16"),
            (1.0e17, "1.0E17"),
            (4_611_686_018_427_387_904.0, "4.6116860184273879E18"),
            (2.790_231_663_279_698e17, "2.79023166327969792E17"),
            (9.223_372_036_854_775e18, "9.2233720368547748E18"),
            (9_223_372_036_854_775_808.0, "9.223372036854776E18"),
            (1.0e18, "1.0E18"),
            (1.5, "1.5"),
        ] {
            assert_eq!(written(|out| write_f64(number, out)), text);
            assert_eq!(written(|out| write_f64(-number, out)), format!("-{text}"));
        }
    }
}
