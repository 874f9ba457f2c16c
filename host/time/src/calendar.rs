//! The proleptic Gregorian calendar, for every year that 64 bits of microseconds reach.

use tidemill_types::civil::civil_from_days;
pub use tidemill_types::civil::{
    MICROS_PER_DAY, MICROS_PER_SECOND, days_of, is_leap, month_length,
};

/// A date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// From the year 1 BC on backwards 0 and negative.
    pub year: i64,
    /// From 1.
    pub month: i64,
    /// From 1.
    pub day: i64,
}

/// The date of a day, counted from 1970.
#[must_use]
pub fn civil(days: i64) -> Civil {
    let (year, month, day) = civil_from_days(days);
    Civil { year, month: i64::from(month), day: i64::from(day) }
}

/// The day of a date that there is.
#[must_use]
pub fn checked_days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_date = (1..=12).contains(&month) && (1..=month_length(year, month)).contains(&day);
    is_date.then(|| days_of(year, month, day))
}

/// The day of the year, from 1.
#[must_use]
pub fn day_of_year(days: i64) -> i64 {
    days - days_of(civil(days).year, 1, 1) + 1
}

/// The day of the week: 0 is a Monday.
#[must_use]
pub fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7)
}

/// The year and the week of ISO 8601.
#[must_use]
pub fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - weekday(days) + 3;
    let year = civil(thursday).year;
    (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
}

/// A date so many months later; the last day of the month where there is no such day.
#[must_use]
pub fn plus_months(days: i64, months: i64) -> i64 {
    let date = civil(days);
    let months = date.year * 12 + date.month - 1 + months;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    days_of(year, month, date.day.min(month_length(year, month)))
}

/// The day and the microseconds of it.
#[must_use]
pub fn split(micros: i64) -> (i64, i64) {
    (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY))
}

/// The moment of a day and microseconds of it; none where it is beyond 64 bits.
#[must_use]
pub fn joined(days: i64, micros: i64) -> Option<i64> {
    let moment = i128::from(days) * i128::from(MICROS_PER_DAY) + i128::from(micros);
    i64::try_from(moment).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates_in_all_years() {
        for (days, year, month, day) in [
            (0, 1970, 1, 1),
            (-1, 1969, 12, 31),
            (-719_528, 0, 1, 1),
            (-719_529, -1, 12, 31),
            (2_932_896, 9999, 12, 31),
            (11_016, 2000, 2, 29),
        ] {
            assert_eq!(civil(days), Civil { year, month, day });
            assert_eq!(days_of(year, month, day), days);
        }
        assert_eq!(checked_days(1900, 2, 29), None);
        assert_eq!(iso_week(days_of(2021, 1, 3)), (2020, 53));
        assert_eq!(plus_months(days_of(2016, 8, 31), -6), days_of(2016, 2, 29));
        assert_eq!(day_of_year(days_of(2016, 4, 9)), 100);
    }
}
