//! Spark's text for times, as `CAST` reads it: `2026-01-01T10:00:00.123Z`, `2026-1-1 3:4`, `2026`.
//!
//! One thing of Spark's is left out on purpose: a time without a date (`10:00:00`), which Spark
//! puts on the day of the wall clock. A row must read the same when its batch runs again.

use tidemill_types::civil::{MICROS_PER_DAY, MICROS_PER_SECOND, days_from_civil};

use crate::Zone;

/// Microseconds since 1970-01-01 UTC. A text without a zone is what the clocks of `session` show.
#[must_use]
pub fn parse_timestamp(text: &str, session: Zone) -> Option<i64> {
    let (local, zone) = parse_local(text)?;
    zone.unwrap_or(session).moment(local)
}

/// Microseconds since 1970-01-01 of the wall clock. A text with a zone is none.
#[must_use]
pub fn parse_timestamp_ntz(text: &str) -> Option<i64> {
    match parse_local(text)? {
        (local, None) => Some(local),
        _ => None,
    }
}

/// Days since 1970-01-01. What follows a space or a `T` after the day is not looked at.
#[must_use]
pub fn parse_date(text: &str) -> Option<i32> {
    const YEAR_DIGITS_MAX: usize = 7;
    let text = trim(text);
    let (negative, digits) = sign(text);
    let mut parts = [1_u32; 3];
    let mut rest = digits.as_bytes();
    for (i, part) in parts.iter_mut().enumerate() {
        let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let lens = if i == 0 { 4..=YEAR_DIGITS_MAX } else { 1..=2 };
        if !lens.contains(&len) {
            return None;
        }
        *part = number(&rest[..len]);
        rest = &rest[len..];
        match rest.first() {
            None => break,
            Some(b'-') if i < 2 => rest = &rest[1..],
            Some(b' ' | b'T') if i == 2 => break,
            Some(_) => return None,
        }
    }
    let year = i32::try_from(parts[0]).ok()?;
    let year = if negative { -year } else { year };
    i32::try_from(days_from_civil(year, parts[1], parts[2])?).ok()
}

/// Year to microsecond, and the text of the zone: Spark's `parseTimestampString`, whose segments
/// these are: 0 year, 1 month, 2 day, 3 hour, 4 minute, 5 second, 6 microsecond.
fn parse_local(text: &str) -> Option<(i64, Option<Zone>)> {
    const YEAR_DIGITS_MAX: usize = 6;
    let text = trim(text);
    let (negative, unsigned) = sign(text);
    let bytes = unsigned.as_bytes();
    let mut segments = [1, 1, 1, 0, 0, 0, 0];
    let mut zone = None;
    let (mut at, mut segment) = (0, 0);
    loop {
        let len = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let lens = match segment {
            0 => 4..=YEAR_DIGITS_MAX,
            6 => 0..=usize::MAX,
            _ => 1..=2,
        };
        if !lens.contains(&len) {
            return None;
        }
        let digits = &bytes[at..at + len];
        segments[segment] = if segment == 6 { micros(digits) } else { number(digits) };
        at += len;
        let Some(separator) = bytes.get(at) else { break };
        match (segment, separator) {
            (0 | 1, b'-') | (2, b' ' | b'T') | (3 | 4, b':') | (5, b'.') => {}
            (5 | 6, _) => {
                zone = Some(Zone::find(unsigned[at..].trim())?);
                break;
            }
            _ => return None,
        }
        segment += 1;
        at += 1;
    }
    let [year, month, day, hour, minute, second, micros] = segments;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let year = i32::try_from(year).ok()?;
    let days = days_from_civil(if negative { -year } else { year }, month, day)?;
    let seconds = i64::from(hour * 3_600 + minute * 60 + second);
    let local = days
        .checked_mul(MICROS_PER_DAY)?
        .checked_add(seconds * MICROS_PER_SECOND + i64::from(micros))?;
    Some((local, zone))
}

/// Without the spaces and control characters at both ends.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ' || c == '\u{7f}')
}

fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

/// Of at most nine digits.
fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |n, digit| n * 10 + u32::from(digit - b'0'))
}

/// Digits after the point as microseconds; what is finer is cut off.
fn micros(digits: &[u8]) -> u32 {
    (0..6).fold(0, |n, i| n * 10 + digits.get(i).map_or(0, |digit| u32::from(digit - b'0')))
}
