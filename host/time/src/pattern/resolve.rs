//! The fields of a text as a time: Java's Parsed.resolve in the strict style, and what Spark takes
//! for what a text does not say.

use super::{Field, Parsed};
use crate::Zone;
use crate::calendar::{checked_days, civil, day_of_year, days_of, is_leap, joined};

/// Java's least and largest year.
const YEARS: std::ops::RangeInclusive<i64> = -999_999_999..=999_999_999;

impl Parsed {
    /// Microseconds since 1970, on the clocks of `session` where the text names no zone.
    #[must_use]
    pub fn moment(self, session: Zone) -> Option<i64> {
        let zone = match (self.zone, self.offset) {
            (Some(zone), _) => zone,
            (None, Some(offset)) if offset.abs() > 18 * 3_600 => return None,
            (None, Some(offset)) => Zone::Fixed(offset),
            (None, None) => session,
        };
        zone.moment(self.local()?)
    }

    /// The local time, whatever zone the text names.
    #[must_use]
    pub fn local(mut self) -> Option<i64> {
        let days = self.days()?;
        joined(days, self.time()?)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn date(mut self) -> Option<i64> {
        self.days()
    }

    /// Whether the text names a zone, or an offset from UTC.
    #[must_use]
    pub fn has_zone(&self) -> bool {
        self.zone.is_some() || self.offset.is_some()
    }

    fn days(&mut self) -> Option<i64> {
        if let Some(year) = self.take(Field::YearOfEra) {
            if !(1..=1_000_000_000).contains(&year) {
                return None;
            }
            // Without an era it is no year at all.
            let year = match self.take(Field::Era) {
                Some(0) => Some(1 - year),
                Some(_) => Some(year),
                None => None,
            };
            if year.is_some_and(|year| !self.set(Field::Year, year)) {
                return None;
            }
        }
        let year = self.get(Field::Year);
        if year.is_some_and(|year| !YEARS.contains(&year)) {
            return None;
        }
        let (month, day) = (self.get(Field::Month), self.get(Field::Day));
        let of_year = self.get(Field::DayOfYear);
        let in_year = |year: i64, of_year: i64| {
            let last = if is_leap(year) { 366 } else { 365 };
            (1..=last).contains(&of_year).then(|| days_of(year, 1, 1) + of_year - 1)
        };
        let days = match (self.get(Field::ModifiedJulianDay), year, month, day, of_year) {
            (Some(day), ..) => day.checked_sub(40_587).filter(|days| days.abs() < 1 << 38)?,
            (_, Some(year), Some(month), Some(day), _) => checked_days(year, month, day)?,
            (_, Some(year), _, _, Some(of_year)) => in_year(year, of_year)?,
            (_, None, _, None, Some(of_year)) => return in_year(1970, of_year),
            _ => {
                let year = year.unwrap_or(1970);
                return checked_days(year, month.unwrap_or(1), day.unwrap_or(1));
            }
        };
        // What else the text says has to be so.
        let date = civil(days);
        let is_so = |field: Field, value: i64| self.get(field).is_none_or(|told| told == value);
        let agrees = is_so(Field::Year, date.year)
            && is_so(Field::Month, date.month)
            && is_so(Field::Day, date.day)
            && is_so(Field::DayOfYear, day_of_year(days))
            && is_so(Field::Era, i64::from(date.year > 0));
        agrees.then_some(days)
    }

    /// Microseconds of the day.
    fn time(&mut self) -> Option<i64> {
        for (clock, field, hours, first) in [
            (Field::ClockHour, Field::Hour, 24, 1),
            (Field::ClockHourOfHalf, Field::HourOfHalf, 12, 1),
        ] {
            if let Some(hour) = self.take(clock)
                && (!(first..=hours).contains(&hour) || !self.set(field, hour % hours))
            {
                return None;
            }
        }
        let in_range = |field: Field, limit: i64| {
            self.get(field).is_none_or(|value| (0..limit).contains(&value))
        };
        let are_valid = in_range(Field::HourOfHalf, 12)
            && in_range(Field::HalfDay, 2)
            && in_range(Field::Hour, 24)
            && in_range(Field::Minute, 60)
            && in_range(Field::Second, 60)
            && in_range(Field::Nano, 1_000_000_000);
        if !are_valid {
            return None;
        }
        if let (Some(half), Some(hour)) = (self.get(Field::HalfDay), self.get(Field::HourOfHalf))
            && !self.set(Field::Hour, half * 12 + hour)
        {
            return None;
        }
        let (minute, second, nano) =
            (self.get(Field::Minute), self.get(Field::Second), self.get(Field::Nano));
        let is_time = minute.is_some() || (second.is_none() && nano.is_none());
        let hour = match self.get(Field::Hour) {
            Some(hour) => {
                let is_so =
                    |field: Field, value: i64| self.get(field).is_none_or(|told| told == value);
                let agrees =
                    is_so(Field::HalfDay, hour / 12) && is_so(Field::HourOfHalf, hour % 12);
                if is_time && !agrees {
                    return None;
                }
                hour
            }
            // Without AM or PM it is taken for AM, and PM without an hour for noon.
            None => match (self.get(Field::HourOfHalf), self.get(Field::HalfDay)) {
                (Some(hour), _) => hour,
                (None, Some(1)) => 12,
                _ => 0,
            },
        };
        let seconds = (hour * 60 + minute.unwrap_or(0)) * 60 + second.unwrap_or(0);
        Some(seconds * 1_000_000 + nano.unwrap_or(0) / 1_000)
    }
}
