//! Dates that are so much later, and what is between two.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Date32Array, PrimitiveArray};
use arrow::compute::try_binary;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use crate::kernels::kernel::{double, int, kernel, texts, zoned_kernel};
use tidemill_time::Zone;
use tidemill_time::calendar::{
    Civil, MICROS_PER_DAY, civil, days_of, joined, month_length, plus_months, split, weekday,
};

fn date(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Date32)
}

fn days(columns: &[ArrayRef], place: usize) -> &Date32Array {
    columns[place].as_primitive::<Date32Type>()
}

fn dates(
    columns: &[ArrayRef],
    value: impl Fn(i32, i32) -> std::result::Result<i32, arrow::error::ArrowError>,
) -> Result<ArrayRef> {
    let numbers = columns[1].as_primitive::<Int32Type>();
    let dates: Date32Array = try_binary(days(columns, 0), numbers, value)?;
    Ok(Arc::new(dates))
}

/// `date_add(date, days)`. A date that is too late is an early one, as in Spark.
pub(crate) fn date_add() -> Arc<ScalarUDF> {
    kernel("date_add", date, |columns, _| dates(columns, |day, more| Ok(day.wrapping_add(more))))
}

/// `date_sub(date, days)`.
pub(crate) fn date_sub() -> Arc<ScalarUDF> {
    kernel("date_sub", date, |columns, _| dates(columns, |day, less| Ok(day.wrapping_sub(less))))
}

/// `date_diff(end, start)`.
pub(crate) fn date_diff() -> Arc<ScalarUDF> {
    kernel("date_diff", int, |columns, _| {
        let between: PrimitiveArray<Int32Type> =
            try_binary(days(columns, 0), days(columns, 1), |end: i32, start: i32| {
                Ok(end.wrapping_sub(start))
            })?;
        Ok(Arc::new(between))
    })
}

/// `add_months(date, months)`.
pub(crate) fn add_months() -> Arc<ScalarUDF> {
    kernel("add_months", date, |columns, _| {
        dates(columns, |day, months| {
            let later = plus_months(i64::from(day), i64::from(months));
            i32::try_from(later).map_err(|_| {
                arrow::error::ArrowError::ArithmeticOverflow(
                    "[ARITHMETIC_OVERFLOW] integer overflow: there is no such date".to_owned(),
                )
            })
        })
    })
}

/// `last_day(date)`.
pub(crate) fn last_day() -> Arc<ScalarUDF> {
    kernel("last_day", date, |columns, _| {
        let last = |day: i32| {
            let Civil { year, month, .. } = civil(i64::from(day));
            i32::try_from(days_of(year, month, month_length(year, month))).unwrap_or(i32::MAX)
        };
        Ok(Arc::new(days(columns, 0).unary::<_, Date32Type>(last)))
    })
}

/// `next_day(date, day of the week)`.
pub(crate) fn next_day() -> Arc<ScalarUDF> {
    kernel("next_day", date, |columns, _| {
        let names = texts(columns, 1);
        let mut last: Option<(&str, i64)> = None;
        let mut values = Date32Array::builder(names.len());
        for (day, name) in days(columns, 0).iter().zip(names) {
            let (Some(day), Some(name)) = (day, name) else {
                values.append_null();
                continue;
            };
            let wanted = match last {
                Some((known, wanted)) if known == name => wanted,
                _ => day_of_week(name)?,
            };
            last = Some((name, wanted));
            let more = (wanted - weekday(i64::from(day)) - 1).rem_euclid(7) + 1;
            values.append_value(day.wrapping_add(more as i32));
        }
        Ok(Arc::new(values.finish()))
    })
}

/// The day of the week of a name, from Monday on.
fn day_of_week(name: &str) -> Result<i64> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "MO" | "MON" | "MONDAY" => 0,
        "TU" | "TUE" | "TUESDAY" => 1,
        "WE" | "WED" | "WEDNESDAY" => 2,
        "TH" | "THU" | "THURSDAY" => 3,
        "FR" | "FRI" | "FRIDAY" => 4,
        "SA" | "SAT" | "SATURDAY" => 5,
        "SU" | "SUN" | "SUNDAY" => 6,
        _ => return exec_err!("[ILLEGAL_DAY_OF_WEEK] Illegal input for day of week: {name}"),
    })
}

/// `months_between(end, start, whether it is rounded)`.
pub(crate) fn months_between() -> Arc<ScalarUDF> {
    zoned_kernel("months_between", double, |columns, _, zone| {
        let end = columns[0].as_primitive::<TimestampMicrosecondType>();
        let start = columns[1].as_primitive::<TimestampMicrosecondType>();
        let rounds: &BooleanArray = columns[2].as_boolean();
        let values = end.iter().zip(start).zip(rounds);
        let values = values.map(|((end, start), rounds)| months(end?, start?, rounds?, zone));
        Ok(Arc::new(values.collect::<PrimitiveArray<Float64Type>>()))
    })
}

/// As Hive: months of 31 days, and whole ones between the same days, or the last ones.
/// None where a time is beyond 64 bits.
fn months(end: i64, start: i64, rounds: bool, zone: Zone) -> Option<f64> {
    // Microseconds that passed since the day began.
    let placed = |time: i64| {
        let (day, _) = split(zone.local(time)?);
        Some((day, time - zone.moment(joined(day, 0)?)?))
    };
    let ((end_day, end_time), (start_day, start_time)) = (placed(end)?, placed(start)?);
    let (last, first) = (civil(end_day), civil(start_day));
    let whole = ((last.year - first.year) * 12 + last.month - first.month) as f64;
    let is_end = |date: Civil| date.day == month_length(date.year, date.month);
    if last.day == first.day || (is_end(last) && is_end(first)) {
        return Some(whole);
    }
    let seconds = (last.day - first.day) * (MICROS_PER_DAY / 1_000_000) + end_time / 1_000_000
        - start_time / 1_000_000;
    let months = whole + seconds as f64 / (31.0 * 86_400.0);
    Some(if rounds { (months * 1e8 + 0.5).floor() / 1e8 } else { months })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use tidemill_time::UTC;

    use super::*;

    #[test]
    fn months_are_those_of_hive() {
        let time = |year, month, day, hour: i64| {
            days_of(year, month, day) * MICROS_PER_DAY + hour * 3_600_000_000
        };
        let of_last_days = months(time(2019, 3, 31, 10), time(2019, 2, 28, 12), true, UTC);
        let between =
            months(time(1997, 2, 28, 10) + 1_800_000_000, time(1996, 10, 30, 0), true, UTC);
        assert_eq!([of_last_days, between].map(|m| m.unwrap().to_string()), ["1", "3.94959677"]);
    }
}
