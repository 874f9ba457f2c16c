//! Values as nearly all data writes them, read by hand. `None` says only that a value is not
//! written like that.

use tidemill_time::Zone;
use tidemill_types::civil::{MICROS_PER_DAY, MICROS_PER_SECOND, days_from_civil};

/// Digits that surely fit 64 bits.
const DIGITS_MAX: usize = 18;

/// Powers of ten that a double holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// A whole number of at most 18 digits, and where it ends.
#[inline]
pub(super) fn integer(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = *bytes.get(at)? == b'-';
    let start = at + usize::from(negative);
    let (value, end) = digits(bytes, start, 0)?;
    let has_leading_zero = bytes[start] == b'0' && end > start + 1;
    if end - start > DIGITS_MAX || has_leading_zero {
        return None;
    }
    match bytes.get(end) {
        Some(b'.' | b'e' | b'E') => None,
        _ => Some((if negative { -(value as i64) } else { value as i64 }, end)),
    }
}

/// A number as a double, rounded correctly, and where it ends.
#[inline]
pub(super) fn double(bytes: &[u8], at: usize) -> Option<(f64, usize)> {
    let negative = *bytes.get(at)? == b'-';
    let start = at + usize::from(negative);
    let (mut mantissa, mut end) = digits(bytes, start, 0)?;
    if bytes[start] == b'0' && end > start + 1 {
        return None;
    }
    let mut digit_count = end - start;
    let mut fraction_len = 0;
    if bytes.get(end) == Some(&b'.') {
        let point = end;
        (mantissa, end) = digits(bytes, point + 1, mantissa)?;
        fraction_len = end - point - 1;
        digit_count += fraction_len;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        return None;
    }
    // Both numbers are exact as doubles, so that one division rounds once (Clinger).
    if digit_count > DIGITS_MAX || mantissa > 1 << 53 || fraction_len >= POWERS_OF_TEN.len() {
        let value = fast_float2::parse(bytes.get(at..end)?).ok()?;
        return (digit_count <= 100).then_some((value, end));
    }
    let value = mantissa as f64 / POWERS_OF_TEN[fraction_len];
    // An integer -0 is 0, as Jackson has no negative zero there.
    let is_negative = negative && !(mantissa == 0 && fraction_len == 0);
    Some((if is_negative { -value } else { value }, end))
}

/// At least one digit, put behind those of `value`; it wraps around after 19.
#[inline]
fn digits(bytes: &[u8], at: usize, mut value: u64) -> Option<(u64, usize)> {
    let mut end = at;
    while let Some(digit) = bytes.get(end).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d < 10) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    (end > at).then_some((value, end))
}

/// Remembers the last day, because the rows of a batch tend to be of few days.
#[derive(Default)]
pub(super) struct DayCache {
    /// `yyyy-mm-dd`.
    text: [u8; 10],
    micros: i64,
}

impl DayCache {
    /// A string like `"2026-01-01T10:00:00.123Z"` as microseconds since 1970-01-01 UTC, and where
    /// it ends. A space may stand for the `T`; fraction and zone (`Z` or `+hh:mm`,
    /// else the session's) may be absent.
    #[inline]
    pub(super) fn timestamp(
        &mut self,
        bytes: &[u8],
        at: usize,
        session: Zone,
    ) -> Option<(i64, usize)> {
        let text: &[u8; 21] = bytes.get(at..)?.first_chunk()?;
        let [b'"', day @ .., separator, h1, h0, b':', m1, m0, b':', s1, s0, _] = text else {
            return None;
        };
        if !matches!(separator, b'T' | b' ') {
            return None;
        }
        let hour = two_digits(*h1, *h0)?;
        let minute = two_digits(*m1, *m0)?;
        let second = two_digits(*s1, *s0)?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = i64::from(hour * 3_600 + minute * 60 + second);
        let mut micros = self.day(day)? + seconds * MICROS_PER_SECOND;
        let mut end = at + 20;
        if bytes.get(end) == Some(&b'.') {
            let (fraction, after) = fraction(bytes, end + 1)?;
            micros += fraction;
            end = after;
        }
        match bytes.get(end)? {
            b'"' => return Some((session.moment(micros)?, end + 1)),
            b'Z' => end += 1,
            sign @ (b'+' | b'-') => {
                let [h1, h0, b':', m1, m0] = bytes.get(end + 1..)?.first_chunk()? else {
                    return None;
                };
                let (hours, minutes) = (two_digits(*h1, *h0)?, two_digits(*m1, *m0)?);
                if hours > 17 || minutes > 59 {
                    return None;
                }
                let offset = i64::from(hours * 3_600 + minutes * 60) * MICROS_PER_SECOND;
                micros += if *sign == b'+' { -offset } else { offset };
                end += 6;
            }
            _ => return None,
        }
        (bytes.get(end)? == &b'"').then_some((micros, end + 1))
    }

    #[inline]
    fn day(&mut self, text: &[u8; 10]) -> Option<i64> {
        if *text != self.text {
            let [y3, y2, y1, y0, b'-', m1, m0, b'-', d1, d0] = *text else { return None };
            let year = two_digits(y3, y2)? * 100 + two_digits(y1, y0)?;
            let days = days_from_civil(year as i32, two_digits(m1, m0)?, two_digits(d1, d0)?)?;
            self.micros = days * MICROS_PER_DAY;
            self.text = *text;
        }
        Some(self.micros)
    }
}

#[inline]
fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// One to six digits after the point, as microseconds, and where they end.
#[inline]
fn fraction(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let (value, end) = digits(bytes, at, 0)?;
    let scale = match end - at {
        1 => 100_000,
        2 => 10_000,
        3 => 1_000,
        4 => 100,
        5 => 10,
        6 => 1,
        _ => return None,
    };
    Some((value as i64 * scale, end))
}
