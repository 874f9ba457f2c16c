//! Spark's intervals: how they are written, and of which fields they are.

mod fields;
mod written;

pub use fields::{FieldRange, IntervalField, IntervalFields, Unread};
pub use written::WrittenInterval;

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

/// A month of a watermark's delay.
const MONTH_MICROS: i64 = 31 * 86_400_000_000;

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
        Interval::parse(text, Some(MONTH_MICROS))
    }

    fn parse(text: &str, month: Option<i64>) -> Result<Interval, IntervalError> {
        let error = |class, reason: &str| IntervalError {
            text: text.to_owned(),
            class,
            reason: reason.to_owned(),
        };
        let written: WrittenInterval = text.parse()?;
        let months = match month {
            Some(month) => i64::from(written.months).checked_mul(month),
            None if written.fields.months.is_some() => {
                return Err(error("INVALID_UNIT", "a month has no fixed length, nor a year"));
            }
            None => Some(0),
        };
        let micros = written.day_time_micros().zip(months).and_then(|(a, b)| a.checked_add(b));
        match micros {
            Some(micros) => Ok(Interval { micros }),
            None => Err(error("ARITHMETIC_EXCEPTION", "it does not fit 64 bits of microseconds")),
        }
    }

    /// Whole milliseconds, rounded towards zero, as Spark keeps a watermark's delay.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.micros / 1_000
    }
}

/// Why a text is no interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not an interval: {reason}; write a number and a unit, like \"5 minutes\" or \"500 milliseconds\""
)]
pub struct IntervalError {
    /// The text as it was given.
    pub text: String,
    /// Spark's name for the reason, within INVALID_INTERVAL_FORMAT.
    pub class: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl FromStr for Interval {
    type Err = IntervalError;

    /// Parses a [`WrittenInterval`] of days and shorter units: `1 hour 30 minutes` adds up.
    fn from_str(text: &str) -> Result<Interval, IntervalError> {
        Interval::parse(text, None)
    }
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
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

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
        assert_eq!(reason("1 month"), "a month has no fixed length, nor a year");
        assert_eq!(reason("x minutes"), "\"x\" is not a number of minutes");
    }

    #[test]
    fn an_interval_is_shown_in_its_largest_whole_unit() {
        assert_eq!(Interval::from_millis(300_000).to_string(), "5 minutes");
        assert_eq!(Interval::from_millis(1_500).to_string(), "1500 milliseconds");
        assert_eq!(Interval { micros: 0 }.to_string(), "0 seconds");
    }
}
