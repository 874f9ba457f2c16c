//! Spark's interval strings: `"5 minutes"`, `"1 hour 30 minutes"`, `"500 milliseconds"`.

use std::fmt;
use std::str::FromStr;

/// A span of time in microseconds. May be negative (a window's start offset is).
///
/// Months and years are refused, except in the delay of a watermark: their length depends on where
/// they start, and neither a window nor a trigger has a place for that (Spark refuses them there
/// too).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Interval {
    /// Length in microseconds.
    pub micros: i64,
}

impl Interval {
    /// An interval of whole milliseconds.
    #[must_use]
    pub fn from_millis(millis: i64) -> Interval {
        Interval { micros: millis * 1_000 }
    }

    /// Parses the delay of a watermark, of which a month is 31 days and a year twelve months (Spark's
    /// EventTimeWatermark.getDelayMs).
    ///
    /// # Errors
    /// As where any interval is parsed, months and years apart.
    pub fn from_delay(text: &str) -> Result<Interval, IntervalError> {
        parse(text, |unit| match unit.strip_suffix('s').unwrap_or(unit) {
            "month" => Ok(MONTH_MICROS),
            "year" => Ok(12 * MONTH_MICROS),
            _ => unit_micros(unit),
        })
    }

    /// Whole milliseconds, rounded towards zero, as Spark keeps a watermark's delay.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.micros / 1_000
    }
}

/// A month of a watermark's delay.
const MONTH_MICROS: i64 = 31 * 86_400_000_000;

/// Why a text is no interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not an interval: {reason}; write a number and a unit, like \"5 minutes\" or \"500 milliseconds\""
)]
pub struct IntervalError {
    /// The text as it was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FromStr for Interval {
    type Err = IntervalError;

    /// Parses what Spark's `CalendarInterval` takes: pairs of number and unit, optionally after
    /// the word `interval`, in any case; `1 hour 30 minutes` adds up, and a fraction is cut to whole
    /// microseconds.
    fn from_str(text: &str) -> Result<Interval, IntervalError> {
        parse(text, unit_micros)
    }
}

fn parse(
    text: &str,
    unit_micros: impl Fn(&str) -> Result<i64, String>,
) -> Result<Interval, IntervalError> {
    let error = |reason: String| IntervalError { text: text.to_owned(), reason };
    let lower = text.trim().to_ascii_lowercase();
    let mut words = lower.split_whitespace().peekable();
    words.next_if_eq(&"interval");
    let mut total: i64 = 0;
    let mut pairs = 0;
    while let Some(number) = words.next() {
        let Some(unit) = words.next() else {
            return Err(error(format!("\"{number}\" has no unit")));
        };
        let scale = unit_micros(unit).map_err(error)?;
        let micros = parse_number(number, scale)
            .ok_or_else(|| error(format!("\"{number}\" is not a number of {unit}")))?;
        total = total
            .checked_add(micros)
            .ok_or_else(|| error("it does not fit 64 bits of microseconds".to_owned()))?;
        pairs += 1;
    }
    if pairs == 0 {
        return Err(error("it is empty".to_owned()));
    }
    Ok(Interval { micros: total })
}

fn unit_micros(unit: &str) -> Result<i64, String> {
    match unit.strip_suffix('s').unwrap_or(unit) {
        "microsecond" => Ok(1),
        "millisecond" => Ok(1_000),
        "second" => Ok(1_000_000),
        "minute" => Ok(60_000_000),
        "hour" => Ok(3_600_000_000),
        "day" => Ok(86_400_000_000),
        "week" => Ok(7 * 86_400_000_000),
        "month" | "year" => Err(format!("a {unit} has no fixed length")),
        _ => Err(format!("\"{unit}\" is not a unit of time")),
    }
}

/// `number` times `scale`, cut to whole microseconds. Fractions have nine digits at most.
fn parse_number(number: &str, scale: i64) -> Option<i64> {
    let Some((whole, fraction)) = number.split_once('.') else {
        return number.parse::<i64>().ok()?.checked_mul(scale);
    };
    let negative = whole.starts_with('-');
    let whole: i64 = if matches!(whole, "" | "-" | "+") { 0 } else { whole.parse().ok()? };
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: i128 = fraction.parse().ok()?;
    let divisor = 10_i128.pow(fraction.len() as u32);
    let part = i64::try_from(digits * i128::from(scale) / divisor).ok()?;
    let whole = whole.checked_mul(scale)?;
    if negative { whole.checked_sub(part) } else { whole.checked_add(part) }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 6] = [
            (86_400_000_000, "day"),
            (3_600_000_000, "hour"),
            (60_000_000, "minute"),
            (1_000_000, "second"),
            (1_000, "millisecond"),
            (1, "microsecond"),
        ];
        let (scale, unit) = UNITS
            .into_iter()
            .find(|(scale, _)| self.micros != 0 && self.micros % scale == 0)
            .unwrap_or((1_000_000, "second"));
        let count = self.micros / scale;
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        text.parse::<Interval>().unwrap().micros
    }

    #[test]
    fn only_a_delay_has_months() {
        let delay = |text| Interval::from_delay(text).unwrap().micros;
        assert_eq!(delay("1 month"), micros("31 days"));
        assert_eq!(delay("1 year 2 days"), micros("374 days"));
        assert!("1 month".parse::<Interval>().is_err());
    }

    #[test]
    fn units_add_up() {
        assert_eq!(micros("5 minutes"), 300_000_000);
        assert_eq!(micros("interval 1 hour 30 minutes"), 5_400_000_000);
        assert_eq!(micros("500 milliseconds"), 500_000);
        assert_eq!(micros("-15 MINUTES"), -900_000_000);
        assert_eq!(micros("1.5 seconds"), 1_500_000);
        assert_eq!(micros("-0.25 second"), -250_000);
        assert_eq!(micros("2 weeks"), 14 * 86_400_000_000);
    }

    #[test]
    fn what_is_no_interval_says_why() {
        let reason = |text: &str| text.parse::<Interval>().unwrap_err().reason;
        assert_eq!(reason("5"), "\"5\" has no unit");
        assert_eq!(reason(""), "it is empty");
        assert_eq!(reason("5 parsecs"), "\"parsecs\" is not a unit of time");
        assert_eq!(reason("1 month"), "a month has no fixed length");
        assert_eq!(reason("x minutes"), "\"x\" is not a number of minutes");
    }

    #[test]
    fn an_interval_is_shown_in_its_largest_whole_unit() {
        assert_eq!(Interval::from_millis(300_000).to_string(), "5 minutes");
        assert_eq!(Interval::from_millis(1_500).to_string(), "1500 milliseconds");
        assert_eq!(Interval { micros: 0 }.to_string(), "0 seconds");
    }
}
