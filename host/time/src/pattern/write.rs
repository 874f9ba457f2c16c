//! A time as a text by a pattern.

use std::fmt::Write as _;

use crate::{Result, Zone, fail};

use super::zone_names;
use super::{Digits, Field, OffsetForm, Part, Presence, Sign, names};
use crate::calendar::{Civil, MICROS_PER_SECOND, civil, day_of_year, split, weekday};

/// What clocks show, taken apart.
pub(super) struct Moment {
    days: i64,
    date: Civil,
    /// Microseconds of the day.
    time: i64,
    /// The zone of the clocks, where they have one.
    zone: Option<Of>,
}

/// A zone at a moment.
struct Of {
    zone: Zone,
    /// Seconds that its clocks are ahead of UTC.
    ahead: i64,
    /// Microseconds since 1970.
    micros: i64,
}

impl Moment {
    pub(super) fn of(micros: i64, zone: Zone) -> Result<Moment> {
        let Some(local) = zone.local(micros) else {
            fail!("[DATETIME_OVERFLOW] long overflow: there is no such time")
        };
        let ahead = (local - micros) / MICROS_PER_SECOND;
        Ok(Moment { zone: Some(Of { zone, ahead, micros }), ..Moment::local(local) })
    }

    pub(super) fn local(micros: i64) -> Moment {
        let (days, time) = split(micros);
        Moment { days, date: civil(days), time, zone: None }
    }

    fn of_zone(&self) -> Result<&Of> {
        match &self.zone {
            Some(of) => Ok(of),
            None => fail!(
                "[UNSUPPORTED_FEATURE] a pattern has a letter for time zones, and a TIMESTAMP_NTZ has none"
            ),
        }
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
            Field::ModifiedJulianDay => self.days + 40_587,
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
                padded(nanos.unsigned_abs() / 10_u64.pow(9 - *max as u32), *max, text);
            }
            Part::Name { field, is_full } => {
                text.push_str(
                    names::of_value(*field, moment.value(*field), *is_full).unwrap_or(""),
                );
            }
            Part::Offset(form) => offset(*form, moment.of_zone()?.ahead, text),
            Part::OfGreenwich { is_full } => of_greenwich(*is_full, moment.of_zone()?.ahead, text),
            Part::Zone => text.push_str(&moment.of_zone()?.zone.id()),
            Part::ZoneName { is_full, is_generic } => {
                let Of { zone, micros, .. } = *moment.of_zone()?;
                text.push_str(&zone_names::written(zone, micros, *is_full, *is_generic));
            }
            Part::Optional(parts) => write(parts, moment, text)?,
        }
    }
    Ok(())
}

/// Java's OffsetIdPrinterParser.
fn offset(form: OffsetForm, ahead: i64, text: &mut String) {
    let size = ahead.unsigned_abs();
    let (hours, minutes, seconds) = (size / 3_600, size / 60 % 60, size % 60);
    let is_told = |presence, value| match presence {
        Presence::Never => false,
        Presence::IfAny => value > 0,
        Presence::Always => true,
    };
    let has_seconds = is_told(form.seconds, seconds);
    let has_minutes = is_told(form.minutes, minutes) || has_seconds;
    let told =
        hours + if has_minutes { minutes } else { 0 } + if has_seconds { seconds } else { 0 };
    if told == 0 {
        text.push_str(form.none);
        return;
    }
    let colon = if form.has_colons { ":" } else { "" };
    let sign = if ahead < 0 { '-' } else { '+' };
    // Writing to a String cannot fail.
    let _ = write!(text, "{sign}{hours:02}");
    if has_minutes {
        let _ = write!(text, "{colon}{minutes:02}");
    }
    if has_seconds {
        let _ = write!(text, "{colon}{seconds:02}");
    }
}

/// Java's LocalizedOffsetIdPrinterParser.
fn of_greenwich(is_full: bool, ahead: i64, text: &mut String) {
    text.push_str("GMT");
    if ahead == 0 {
        return;
    }
    let size = ahead.unsigned_abs();
    let (hours, minutes, seconds) = (size / 3_600, size / 60 % 60, size % 60);
    let sign = if ahead < 0 { '-' } else { '+' };
    // Writing to a String cannot fail.
    let _ = match is_full {
        true => write!(text, "{sign}{hours:02}:{minutes:02}"),
        false if minutes > 0 || seconds > 0 => write!(text, "{sign}{hours}:{minutes:02}"),
        false => write!(text, "{sign}{hours}"),
    };
    if seconds > 0 {
        let _ = write!(text, ":{seconds:02}");
    }
}

/// At least so many digits.
fn padded(value: u64, width: usize, text: &mut String) {
    let (mut digits, mut rest, mut first) = ([b'0'; 20], value, 20);
    while rest > 0 || first == 20 {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let first = first.min(20_usize.saturating_sub(width));
    digits[first..].iter().for_each(|digit| text.push(char::from(*digit)));
}

fn number(digits: &Digits, value: i64, text: &mut String) -> Result<()> {
    let width = digits.min;
    if digits.is_reduced {
        padded(value.unsigned_abs() % 100, 2, text);
        return Ok(());
    }
    let length = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    if length > digits.max {
        fail!(
            "[DATETIME_FIELD_OUT_OF_BOUNDS] the value {value} exceeds the maximum print width of {} in a pattern of times",
            digits.max
        );
    }
    match digits.sign {
        Sign::Exceeding if value >= 0 && length > width => text.push('+'),
        _ if value < 0 => text.push('-'),
        _ => {}
    }
    padded(value.unsigned_abs(), width, text);
    Ok(())
}
