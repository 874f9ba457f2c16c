//! Dates and times with their smaller parts set to the beginning.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Date32Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};
use datafusion::logical_expr::ScalarUDF;
use tidemill_types::UTC;

use crate::kernels::kernel::{kernel, texts, zoned_kernel};
use crate::timestamp_type;
use tidemill_time::calendar::{MICROS_PER_DAY, civil, days_of, joined, weekday};
use tidemill_time::{UTC as UTC_ZONE, Zone};

/// What a time is cut to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Micros(i64),
    Week,
    Month,
    Quarter,
    Year,
}

impl Level {
    /// Spark's names, in any case; none for what it does not know.
    fn of(name: &str) -> Option<Level> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MICROSECOND" => Level::Micros(1),
            "MILLISECOND" => Level::Micros(1_000),
            "SECOND" => Level::Micros(1_000_000),
            "MINUTE" => Level::Micros(60_000_000),
            "HOUR" => Level::Micros(3_600_000_000),
            "DAY" | "DD" => Level::Micros(MICROS_PER_DAY),
            "WEEK" => Level::Week,
            "MON" | "MONTH" | "MM" => Level::Month,
            "QUARTER" => Level::Quarter,
            "YEAR" | "YYYY" | "YY" => Level::Year,
            _ => return None,
        })
    }

    /// The first day of the week, month, quarter or year.
    fn first(self, day: i64) -> Option<i64> {
        let date = civil(day);
        Some(match self {
            Level::Micros(_) => return None,
            Level::Week => day - weekday(day),
            Level::Month => days_of(date.year, date.month, 1),
            Level::Quarter => days_of(date.year, (date.month - 1) / 3 * 3 + 1, 1),
            Level::Year => days_of(date.year, 1, 1),
        })
    }

    /// The moment at which what clocks show began. Where they show it twice, the hour and the day
    /// begin by the clocks as they are set at the time itself, as in Java.
    fn floor(self, micros: i64, zone: Zone) -> Option<i64> {
        match self {
            // No zone is ahead by a part of a second.
            Level::Micros(unit) if unit <= 1_000_000 => micros.checked_sub(micros.rem_euclid(unit)),
            Level::Micros(unit) => {
                let local = zone.local(micros)?;
                zone.moment_like(local.checked_sub(local.rem_euclid(unit))?, micros)
            }
            _ => {
                let day = zone.local(micros)?.div_euclid(MICROS_PER_DAY);
                zone.moment(joined(self.first(day)?, 0)?)
            }
        }
    }
}

/// The level that all rows name, as they mostly do.
fn only_level(names: &StringArray) -> Option<Level> {
    let first = (!names.is_empty() && names.null_count() == 0).then(|| names.value(0))?;
    (1..names.len()).all(|row| names.value(row) == first).then(|| Level::of(first)).flatten()
}

/// The level of each row's name, which is mostly that of the row before.
fn levels() -> impl FnMut(&str) -> Option<Level> {
    let mut last: (String, Option<Level>) = (String::new(), None);
    move |name| {
        if last.0 != name {
            last = (name.to_owned(), Level::of(name));
        }
        last.1
    }
}

/// `date_trunc(level, time)`.
pub(crate) fn date_trunc() -> Arc<ScalarUDF> {
    zoned_kernel(
        "date_trunc",
        |_| Ok(timestamp_type()),
        |columns, _, zone| {
            let (names, times) =
                (texts(columns, 0), columns[1].as_primitive::<TimestampMicrosecondType>());
            if let (UTC_ZONE, Some(Level::Micros(unit))) = (zone, only_level(names)) {
                let floor = |time: i64| time.checked_sub(time.rem_euclid(unit));
                let values: TimestampMicrosecondArray = times.unary_opt(floor);
                return Ok(Arc::new(values.with_timezone(UTC)));
            }
            let mut level = levels();
            let values =
                names.iter().zip(times).map(|(name, time)| level(name?)?.floor(time?, zone));
            let values: TimestampMicrosecondArray = values.collect();
            Ok(Arc::new(values.with_timezone(UTC)))
        },
    )
}

/// `trunc(date, level)`.
pub(crate) fn trunc() -> Arc<ScalarUDF> {
    kernel(
        "trunc",
        |_| Ok(DataType::Date32),
        |columns, _| {
            let (days, names) = (columns[0].as_primitive::<Date32Type>(), texts(columns, 1));
            let mut level = levels();
            let values = days.iter().zip(names).map(|(day, name)| {
                let first = level(name?)?.first(i64::from(day?))?;
                i32::try_from(first).ok()
            });
            Ok(Arc::new(values.collect::<Date32Array>()))
        },
    )
}
