//! A time as a text by a pattern. Sessions are in UTC.

use std::fmt::Write as _;

use datafusion::common::{Result, exec_err};

use super::{Digits, Field, Part, Sign, names};
use crate::kernels::calendar::{Civil, civil, day_of_year, split, weekday};

/// A moment in UTC, taken apart.
pub(super) struct Moment {
    days: i64,
    date: Civil,
    /// Microseconds of the day.
    time: i64,
}

impl Moment {
    pub(super) fn of(micros: i64) -> Moment {
        let (days, time) = split(micros);
        Moment { days, date: civil(days), time }
    }

    fn value(&self, field: Field) -> i64 {
        let seconds = self.time / 1_000_000;
        let hour = seconds / 3_600;
        let clock = |hour: i64, of: i64| if hour % of == 0 { of } else { hour % of };
        match field {
            Field::Era => i64::from(self.date.year > 0),
            Field::Year => self.date.year,
            Field::YearOfEra if self.date.year > 0 => self.date.year,
            Field::YearOfEra => 1 - self.date.year,
            Field::Month => self.date.month,
            Field::Day => self.date.day,
            Field::DayOfYear => day_of_year(self.days),
            Field::Weekday => weekday(self.days) + 1,
            // ALIGNED_DAY_OF_WEEK_IN_MONTH.
            Field::WeekdayOfMonth => (self.date.day - 1) % 7 + 1,
            Field::Quarter => (self.date.month - 1) / 3 + 1,
            Field::JulianDay => self.days + 40_587,
            Field::HalfDay => hour / 12,
            Field::HourOfHalf => hour % 12,
            Field::ClockHourOfHalf => clock(hour, 12),
            Field::Hour => hour,
            Field::ClockHour => clock(hour, 24),
            Field::Minute => seconds / 60 % 60,
            Field::Second => seconds % 60,
            Field::Nano => self.time % 1_000_000 * 1_000,
        }
    }
}

pub(super) fn write(parts: &[Part], moment: &Moment, text: &mut String) -> Result<()> {
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Number(digits) => number(digits, moment.value(digits.field), text)?,
            Part::Fraction { max, .. } => {
                let nanos = moment.value(Field::Nano);
                // Writing to a String cannot fail.
                let _ = write!(text, "{:0max$}", nanos / 10_i64.pow(9 - *max as u32));
            }
            Part::Name { field, is_full } => {
                text.push_str(
                    names::of_value(*field, moment.value(*field), *is_full).unwrap_or(""),
                );
            }
            Part::Offset(form) => text.push_str(form.none),
            Part::OfGreenwich { .. } => text.push_str("GMT"),
            Part::Zone | Part::ZoneName { is_full: false } => text.push_str("UTC"),
            Part::ZoneName { is_full: true } => text.push_str("Coordinated Universal Time"),
            Part::Optional(parts) => write(parts, moment, text)?,
        }
    }
    Ok(())
}

fn number(digits: &Digits, value: i64, text: &mut String) -> Result<()> {
    let width = digits.min;
    if digits.is_reduced {
        let _ = write!(text, "{:02}", value.unsigned_abs() % 100);
        return Ok(());
    }
    let length = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    if length > digits.max {
        return exec_err!(
            "[DATETIME_FIELD_OUT_OF_BOUNDS] the value {value} exceeds the maximum print width of {} in a pattern of times",
            digits.max
        );
    }
    match digits.sign {
        Sign::Exceeding if value >= 0 && length > width => text.push('+'),
        _ if value < 0 => text.push('-'),
        _ => {}
    }
    let _ = write!(text, "{:0width$}", value.unsigned_abs());
    Ok(())
}
