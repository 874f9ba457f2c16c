//! Dates and times of their parts.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, Time64MicrosecondType, TimeUnit,
};
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ScalarUDF;

use super::patterned::ntz_type;
use crate::kernels::kernel::{kernel, texts, zoned_kernel};
use crate::kernels::session::zone;
use crate::timestamp_type;
use tidemill_time::calendar::{days_of, is_leap, joined, month_length};
use tidemill_time::{UTC, Zone};

/// Whole numbers of a row; none where one is null.
fn numbers<const N: usize>(columns: &[ArrayRef], row: usize) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    for (number, column) in numbers.iter_mut().zip(columns) {
        if column.is_null(row) {
            return None;
        }
        *number = i64::from(column.as_primitive::<Int32Type>().value(row));
    }
    Some(numbers)
}

fn out_of_bounds<T>(field: &str, last: i64, first: i64, value: i64) -> Result<T> {
    exec_err!(
        "[DATETIME_FIELD_OUT_OF_BOUNDS.WITHOUT_SUGGESTION] Invalid value for {field} (valid values {first} - {last}): {value}"
    )
}

/// The day of a date.
fn day_of([year, month, day]: [i64; 3]) -> Result<i64> {
    if !(1..=12).contains(&month) {
        return out_of_bounds("MonthOfYear", 12, 1, month);
    }
    if !(1..=31).contains(&day) {
        return out_of_bounds("DayOfMonth", 31, 1, day);
    }
    if day > month_length(year, month) {
        let reason = if month == 2 && day == 29 && !is_leap(year) {
            format!(" as '{year}' is not a leap year")
        } else {
            String::new()
        };
        return exec_err!(
            "[DATETIME_FIELD_OUT_OF_BOUNDS.WITHOUT_SUGGESTION] Invalid date: month {month} has no day {day}{reason}"
        );
    }
    Ok(days_of(year, month, day))
}

/// `make_date(year, month, day)`.
pub(crate) fn make_date() -> Arc<ScalarUDF> {
    kernel(
        "make_date",
        |_| Ok(DataType::Date32),
        |columns, _| {
            let rows = columns[0].len();
            let mut dates = Date32Array::builder(rows);
            for row in 0..rows {
                let Some(parts) = numbers::<3>(columns, row) else {
                    dates.append_null();
                    continue;
                };
                let Ok(day) = i32::try_from(day_of(parts)?) else {
                    return exec_err!(
                        "[ARITHMETIC_OVERFLOW] integer overflow: there is no such date"
                    );
                };
                dates.append_value(day);
            }
            Ok(Arc::new(dates.finish()))
        },
    )
}

/// What clocks show at a time of its parts. Seconds are in microseconds.
fn local([year, month, day, hour, minute]: [i64; 5], seconds: i128) -> Result<i64> {
    let day = day_of([year, month, day])?;
    if !(0..24).contains(&hour) {
        return out_of_bounds("HourOfDay", 23, 0, hour);
    }
    if !(0..60).contains(&minute) {
        return out_of_bounds("MinuteOfHour", 59, 0, minute);
    }
    let whole = seconds.div_euclid(1_000_000);
    // 60 seconds are those of the next minute, as in PostgreSQL.
    if whole == 60 && seconds != 60_000_000 {
        return exec_err!(
            "[INVALID_FRACTION_OF_SECOND] Valid range for seconds is [0, 60] (inclusive), but the provided value is {}. To avoid this error, use `try_make_timestamp`, which returns NULL on error",
            seconds as f64 / 1e6
        );
    }
    if !(0..=60).contains(&whole) {
        return out_of_bounds("SecondOfMinute", 59, 0, i64::try_from(whole).unwrap_or(i64::MAX));
    }
    let time = (hour * 60 + minute) * 60_000_000 + seconds as i64;
    joined(day, time).ok_or_else(overflow)
}

fn overflow() -> DataFusionError {
    DataFusionError::Execution(
        "[ARITHMETIC_OVERFLOW] long overflow: there is no such time".to_owned(),
    )
}

/// Times on the clocks of the zones that are told, else of the session's.
fn made(
    columns: &[ArrayRef],
    is_tolerant: bool,
    session: Zone,
) -> Result<TimestampMicrosecondArray> {
    let rows = columns[0].len();
    let seconds = columns[5].as_primitive::<Decimal128Type>();
    let zones = columns.get(6).map(|column| column.as_string::<i32>());
    let mut times = TimestampMicrosecondArray::builder(rows);
    for row in 0..rows {
        let of_zone = match zones {
            None => session,
            Some(zones) if zones.is_null(row) => {
                times.append_null();
                continue;
            }
            Some(_) => zone(texts(columns, 6).value(row))?,
        };
        let (Some(parts), true) = (numbers::<5>(columns, row), seconds.is_valid(row)) else {
            times.append_null();
            continue;
        };
        let time = local(parts, seconds.value(row));
        match time.and_then(|local| of_zone.moment(local).ok_or_else(overflow)) {
            Ok(time) => times.append_value(time),
            Err(_) if is_tolerant => times.append_null(),
            Err(error) => return Err(error),
        }
    }
    Ok(times.finish())
}

/// `make_timestamp(year, month, day, hour, minute, seconds[, zone])`.
pub(crate) fn make_timestamp() -> Arc<ScalarUDF> {
    zoned_kernel(
        "make_timestamp",
        |_| Ok(timestamp_type()),
        |columns, kind, zone| {
            Ok(Arc::new(made(columns, false, zone)?.with_data_type(kind.clone())))
        },
    )
}

/// The same; null where there is no such time.
pub(crate) fn try_make_timestamp() -> Arc<ScalarUDF> {
    zoned_kernel(
        "try_make_timestamp",
        |_| Ok(timestamp_type()),
        |columns, kind, zone| Ok(Arc::new(made(columns, true, zone)?.with_data_type(kind.clone()))),
    )
}

/// `make_timestamp_ntz(year, month, day, hour, minute, seconds)`.
pub(crate) fn make_timestamp_ntz() -> Arc<ScalarUDF> {
    kernel(
        "make_timestamp_ntz",
        |_| Ok(ntz_type()),
        |columns, _| Ok(Arc::new(made(columns, false, UTC)?)),
    )
}

/// The same; null where there is no such time.
pub(crate) fn try_make_timestamp_ntz() -> Arc<ScalarUDF> {
    kernel(
        "try_make_timestamp_ntz",
        |_| Ok(ntz_type()),
        |columns, _| Ok(Arc::new(made(columns, true, UTC)?)),
    )
}

/// A date and a time of the day, on the clocks of the zone that is told, else of the session's.
fn of_date_and_time(columns: &[ArrayRef], session: Zone) -> Result<TimestampMicrosecondArray> {
    let days = columns[0].as_primitive::<Date32Type>();
    let times = cast(&columns[1], &DataType::Time64(TimeUnit::Microsecond))?;
    let times = times.as_primitive::<Time64MicrosecondType>();
    let mut values = TimestampMicrosecondArray::builder(days.len());
    for row in 0..days.len() {
        if columns.iter().any(|column| column.is_null(row)) {
            values.append_null();
            continue;
        }
        let of_zone = match columns.get(2) {
            Some(_) => zone(texts(columns, 2).value(row))?,
            None => session,
        };
        let local = joined(i64::from(days.value(row)), times.value(row));
        let time = local.and_then(|local| of_zone.moment(local)).ok_or_else(overflow)?;
        values.append_value(time);
    }
    Ok(values.finish())
}

/// `make_timestamp(date, time[, zone])`.
pub(crate) fn timestamp_of_date_and_time() -> Arc<ScalarUDF> {
    zoned_kernel(
        "timestamp_of_date_and_time",
        |_| Ok(timestamp_type()),
        |columns, kind, zone| {
            Ok(Arc::new(of_date_and_time(columns, zone)?.with_data_type(kind.clone())))
        },
    )
}

/// `make_timestamp_ntz(date, time)`.
pub(crate) fn local_timestamp_of_date_and_time() -> Arc<ScalarUDF> {
    kernel(
        "local_timestamp_of_date_and_time",
        |_| Ok(ntz_type()),
        |columns, _| Ok(Arc::new(of_date_and_time(columns, UTC)?)),
    )
}
