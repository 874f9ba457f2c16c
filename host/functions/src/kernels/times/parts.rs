//! Parts of dates, times and intervals.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Int8Type, Int32Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimestampMicrosecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use crate::kernels::kernel::{int, kernel, text, written};
use tidemill_time::calendar::{MICROS_PER_DAY, civil, day_of_year, iso_week, weekday};
use tidemill_time::{Field, name_of};

/// DECIMAL(8,6): seconds with their fraction.
const SECONDS: DataType = DataType::Decimal128(8, 6);

fn of_dates(columns: &[ArrayRef], value: fn(i64) -> i64) -> Result<ArrayRef> {
    let days = columns[0].as_primitive::<Date32Type>();
    Ok(Arc::new(days.unary::<_, Int32Type>(|day| value(i64::from(day)) as i32)))
}

fn of_times(columns: &[ArrayRef], value: fn(i64) -> i64) -> Result<ArrayRef> {
    let times = columns[0].as_primitive::<TimestampMicrosecondType>();
    let value = |micros: i64| value(micros.rem_euclid(MICROS_PER_DAY) / 1_000_000) as i32;
    Ok(Arc::new(times.unary::<_, Int32Type>(value)))
}

macro_rules! of_date {
    ($name:ident, $value:expr) => {
        pub(crate) fn $name() -> Arc<ScalarUDF> {
            kernel(stringify!($name), int, |columns, _| of_dates(columns, $value))
        }
    };
}

macro_rules! of_time {
    ($name:ident, $value:expr) => {
        pub(crate) fn $name() -> Arc<ScalarUDF> {
            kernel(stringify!($name), int, |columns, _| of_times(columns, $value))
        }
    };
}

of_date!(year, |day| civil(day).year);
of_date!(year_of_week, |day| iso_week(day).0);
of_date!(quarter, |day| (civil(day).month - 1) / 3 + 1);
of_date!(month, |day| civil(day).month);
of_date!(weekofyear, |day| iso_week(day).1);
of_date!(day, |day| civil(day).day);
of_date!(dayofyear, day_of_year);
of_date!(dayofweek, |day| (weekday(day) + 1) % 7 + 1);
of_date!(dayofweek_iso, |day| weekday(day) + 1);
of_date!(weekday_of, weekday);
of_time!(hour, |second| second / 3_600);
of_time!(minute, |second| second / 60 % 60);
of_time!(second, |second| second % 60);

/// The second of a time, with its fraction.
pub(crate) fn second_with_fraction() -> Arc<ScalarUDF> {
    kernel(
        "second_with_fraction",
        |_| Ok(SECONDS),
        |columns, _| {
            let times = columns[0].as_primitive::<TimestampMicrosecondType>();
            let value = |micros: i64| i128::from(micros.rem_euclid(60_000_000));
            Ok(Arc::new(times.unary::<_, Decimal128Type>(value).with_data_type(SECONDS)))
        },
    )
}

fn names(columns: &[ArrayRef], field: Field, value: fn(i64) -> i64) -> Result<ArrayRef> {
    let days = columns[0].as_primitive::<Date32Type>();
    written(days.len(), |row, text| {
        if days.is_null(row) {
            return Ok(false);
        }
        text.push_str(name_of(field, value(i64::from(days.value(row))), false).unwrap_or(""));
        Ok(true)
    })
}

pub(crate) fn dayname() -> Arc<ScalarUDF> {
    kernel("dayname", text, |columns, _| names(columns, Field::Weekday, |day| weekday(day) + 1))
}

pub(crate) fn monthname() -> Arc<ScalarUDF> {
    kernel("monthname", text, |columns, _| names(columns, Field::Month, |day| civil(day).month))
}

/// The intervals of a column.
pub(crate) fn intervals(column: &ArrayRef) -> Result<PrimitiveArray<IntervalMonthDayNanoType>> {
    let kind = DataType::Interval(IntervalUnit::MonthDayNano);
    if let Some(durations) = column.as_primitive_opt::<DurationMicrosecondType>() {
        return Ok(durations.unary(|micros| {
            let days = (micros / MICROS_PER_DAY) as i32;
            IntervalMonthDayNano::new(0, days, micros % MICROS_PER_DAY * 1_000)
        }));
    }
    let column =
        if *column.data_type() == kind { Arc::clone(column) } else { cast(column, &kind)? };
    Ok(column.as_primitive::<IntervalMonthDayNanoType>().clone())
}

macro_rules! of_interval {
    ($name:ident, $gives:expr, $of:ty, $value:expr) => {
        pub(crate) fn $name() -> Arc<ScalarUDF> {
            kernel(
                stringify!($name),
                |_| Ok($gives),
                |columns, _| {
                    let values = intervals(&columns[0])?.unary::<_, $of>($value);
                    Ok(Arc::new(values.with_data_type($gives)))
                },
            )
        }
    };
}

fn micros(interval: IntervalMonthDayNano) -> i64 {
    interval.nanoseconds / 1_000
}

of_interval!(years_of_interval, DataType::Int32, Int32Type, |interval| interval.months / 12);
of_interval!(months_of_interval, DataType::Int8, Int8Type, |interval| (interval.months % 12) as i8);
of_interval!(days_of_interval, DataType::Int32, Int32Type, |interval| {
    interval.days.saturating_add((micros(interval) / MICROS_PER_DAY) as i32)
});
of_interval!(hours_of_interval, DataType::Int8, Int8Type, |interval| {
    (micros(interval) % MICROS_PER_DAY / 3_600_000_000) as i8
});
of_interval!(minutes_of_interval, DataType::Int8, Int8Type, |interval| {
    (micros(interval) % 3_600_000_000 / 60_000_000) as i8
});
of_interval!(seconds_of_interval, SECONDS, Decimal128Type, |interval| {
    i128::from(micros(interval) % 60_000_000)
});
