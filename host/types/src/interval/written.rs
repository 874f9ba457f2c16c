//! An interval as it is written in units: `1 hour 30 minutes`, after Spark's
//! `IntervalUtils.stringToInterval`.

use std::str::FromStr;

use super::{FieldRange, IntervalError, IntervalField, IntervalFields};

/// What a text of numbers and units comes to.
///
/// A month has no fixed number of days, nor a day of hours: they are counted apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WrittenInterval {
    /// Months, with those of years.
    pub months: i32,
    /// Days, with those of weeks.
    pub days: i32,
    /// Microseconds of the units below a day.
    pub micros: i64,
    /// The units that were written.
    pub fields: IntervalFields,
}

impl WrittenInterval {
    /// The fields and the number of months or microseconds; none where it is of both, or does not fit.
    #[must_use]
    pub fn count(&self) -> Option<(FieldRange, i64)> {
        match (self.fields.months, self.fields.micros) {
            (Some(range), None) => Some((range, self.months.into())),
            (None, Some(range)) => Some((range, self.day_time_micros()?)),
            _ => None,
        }
    }

    /// The days and what is below them, in microseconds; none where it does not fit.
    #[must_use]
    pub fn day_time_micros(&self) -> Option<i64> {
        let days = i64::from(self.days).checked_mul(IntervalField::Day.size())?;
        days.checked_add(self.micros)
    }
}

/// Digits behind the point that count: those of nanoseconds.
const FRACTION_DIGITS_MAX: usize = 9;

impl FromStr for WrittenInterval {
    type Err = IntervalError;

    /// Reads pairs of a number and a unit, optionally after the word `interval`, in any case. A
    /// fraction is one of seconds, and cut to whole microseconds.
    fn from_str(text: &str) -> Result<WrittenInterval, IntervalError> {
        let error = |class: &'static str, reason: String| IntervalError {
            text: text.to_owned(),
            class,
            reason,
        };
        let lower = text.trim().to_ascii_lowercase();
        let mut words = Words(&lower);
        words.skip("interval");
        let mut written = WrittenInterval::default();
        while let Some(number) = words.number() {
            let unit = words.next();
            let Some(count) = Number::parse(&number) else {
                let begins = number.trim_start_matches(['-', '+']).starts_with(is_digit);
                let class = if begins { "INVALID_VALUE" } else { "UNRECOGNIZED_NUMBER" };
                let of = unit.map(|unit| format!(" of {unit}")).unwrap_or_default();
                return Err(error(class, format!("\"{number}\" is not a number{of}")));
            };
            let Some(unit) = unit else {
                return Err(error("MISSING_UNIT", format!("\"{number}\" has no unit")));
            };
            let unit = Unit::named(unit).ok_or_else(|| {
                error("INVALID_UNIT", format!("\"{unit}\" is not a unit of time"))
            })?;
            if count.has_fraction && unit.name != "second" {
                let reason = format!(
                    "a part of a {} is no whole one, and only seconds have parts",
                    unit.name
                );
                return Err(error("INVALID_FRACTION", reason));
            }
            written
                .add(&count, &unit)
                .ok_or_else(|| error("ARITHMETIC_EXCEPTION", "it is too long".to_owned()))?;
        }
        match written.fields.is_empty() {
            true => Err(error("INPUT_IS_EMPTY", "it is empty".to_owned())),
            false => Ok(written),
        }
    }
}

impl WrittenInterval {
    /// None where it does not fit.
    fn add(&mut self, number: &Number, unit: &Unit) -> Option<()> {
        let whole = number.whole;
        match unit.field {
            IntervalField::Year | IntervalField::Month => {
                let months = i32::try_from(whole.checked_mul(unit.size)?).ok()?;
                self.months = self.months.checked_add(months)?;
            }
            IntervalField::Day => {
                let days = i32::try_from(whole.checked_mul(unit.size)?).ok()?;
                self.days = self.days.checked_add(days)?;
            }
            _ => {
                let micros = whole.checked_mul(unit.size)?.checked_add(number.micros)?;
                self.micros = self.micros.checked_add(micros)?;
            }
        }
        self.fields = self.fields.and(IntervalFields::of(unit.field));
        Some(())
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// What is between spaces.
struct Words<'t>(&'t str);

impl<'t> Words<'t> {
    fn next(&mut self) -> Option<&'t str> {
        let rest = self.0.trim_start();
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        self.0 = &rest[end..];
        Some(&rest[..end])
    }

    fn skip(&mut self, word: &str) {
        let before = self.0;
        if self.next() != Some(word) {
            self.0 = before;
        }
    }

    /// A number, whose sign may stand apart from it.
    fn number(&mut self) -> Option<String> {
        let first = self.next()?;
        if !matches!(first, "-" | "+") {
            return Some(first.to_owned());
        }
        let digits = self.next().unwrap_or_default();
        Some(format!("{first}{digits}"))
    }
}

struct Unit {
    name: &'static str,
    field: IntervalField,
    /// How many months, days or microseconds it is, as its field is counted.
    size: i64,
}

impl Unit {
    /// A unit by its name in lower case, of one or of several.
    fn named(name: &str) -> Option<Unit> {
        const UNITS: [Unit; 9] = [
            Unit { name: "year", field: IntervalField::Year, size: 12 },
            Unit { name: "month", field: IntervalField::Month, size: 1 },
            Unit { name: "week", field: IntervalField::Day, size: 7 },
            Unit { name: "day", field: IntervalField::Day, size: 1 },
            Unit { name: "hour", field: IntervalField::Hour, size: 3_600_000_000 },
            Unit { name: "minute", field: IntervalField::Minute, size: 60_000_000 },
            Unit { name: "second", field: IntervalField::Second, size: 1_000_000 },
            Unit { name: "millisecond", field: IntervalField::Second, size: 1_000 },
            Unit { name: "microsecond", field: IntervalField::Second, size: 1 },
        ];
        let singular = name.strip_suffix('s').unwrap_or(name);
        UNITS.into_iter().find(|unit| unit.name == singular)
    }
}

struct Number {
    whole: i64,
    /// Microseconds of a fraction of a second, with the number's sign.
    micros: i64,
    has_fraction: bool,
}

impl Number {
    fn parse(text: &str) -> Option<Number> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let has_fraction = digits.contains('.');
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole)
            || !are_digits(fraction)
            || (whole.is_empty() && fraction.is_empty())
            || fraction.len() > FRACTION_DIGITS_MAX
        {
            return None;
        }
        let sign = if negative { "-" } else { "" };
        let whole = if whole.is_empty() { 0 } else { format!("{sign}{whole}").parse().ok()? };
        let micros = fraction_micros(fraction);
        Some(Number { whole, micros: if negative { -micros } else { micros }, has_fraction })
    }
}

/// The microseconds of digits behind the point of a number of seconds; what is below is cut.
pub(super) fn fraction_micros(digits: &str) -> i64 {
    let six = digits.bytes().chain(std::iter::repeat(b'0')).take(6);
    six.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    #[test]
    fn what_is_written_is_counted_by_its_units() {
        let read = |text: &str| text.parse::<WrittenInterval>().unwrap();
        let written = read("interval 1 YEAR -2 months 1 week 3 days 4 hours 1.5 seconds");
        assert_eq!((written.months, written.days), (10, 10));
        assert_eq!(written.micros, 4 * 3_600_000_000 + 1_500_000);
        assert_eq!(read("3000000 hours").micros, 3_000_000 * 3_600_000_000);
        assert_eq!(read("- 5 minutes").micros, -300_000_000);
        assert_eq!(read(".5 second").micros, 500_000);
        assert_eq!(read("-0.123456789 seconds").micros, -123_456);
    }

    #[test]
    fn what_is_no_interval_says_why() {
        for (text, class) in [
            ("", "INPUT_IS_EMPTY"),
            ("interval", "INPUT_IS_EMPTY"),
            ("5", "MISSING_UNIT"),
            ("5 parsecs", "INVALID_UNIT"),
            ("x days", "UNRECOGNIZED_NUMBER"),
            ("1day", "INVALID_VALUE"),
            ("1.5 days", "INVALID_FRACTION"),
            ("1.5 milliseconds", "INVALID_FRACTION"),
            ("2147483648 days", "ARITHMETIC_EXCEPTION"),
            ("9223372036855 seconds", "ARITHMETIC_EXCEPTION"),
            ("178956971 years", "ARITHMETIC_EXCEPTION"),
        ] {
            assert_eq!(text.parse::<WrittenInterval>().unwrap_err().class, class, "{text}");
        }
    }
}
