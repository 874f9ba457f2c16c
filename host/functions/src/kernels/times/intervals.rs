//! Intervals of their parts.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DurationMicrosecondArray, IntervalMonthDayNanoArray,
    IntervalYearMonthArray,
};
use arrow::compute::try_binary;
use arrow::datatypes::{
    DataType, Decimal128Type, Int32Type, IntervalMonthDayNano, IntervalUnit, TimeUnit,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use crate::kernels::kernel::kernel;
use tidemill_time::calendar::MICROS_PER_DAY;

fn interval(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Interval(IntervalUnit::MonthDayNano))
}

/// Intervals of whole numbers, and seconds in microseconds behind them where there are.
fn made(
    columns: &[ArrayRef],
    overflow: Option<&str>,
    make: fn(&[i64], i64) -> Option<IntervalMonthDayNano>,
) -> Result<ArrayRef> {
    let rows = columns[0].len();
    let mut intervals = IntervalMonthDayNanoArray::builder(rows);
    let mut numbers = Vec::with_capacity(columns.len());
    for row in 0..rows {
        if columns.iter().any(|column| column.is_null(row)) {
            intervals.append_null();
            continue;
        }
        numbers.clear();
        let mut seconds = Some(0);
        for column in columns {
            match column.data_type() {
                DataType::Int32 => {
                    numbers.push(i64::from(column.as_primitive::<Int32Type>().value(row)));
                }
                _ => {
                    seconds = i64::try_from(column.as_primitive::<Decimal128Type>().value(row)).ok()
                }
            }
        }
        match (seconds.and_then(|seconds| make(&numbers, seconds)), overflow) {
            (Some(value), _) => intervals.append_value(value),
            (None, None) => intervals.append_null(),
            (None, Some(overflow)) => return exec_err!("{overflow}"),
        }
    }
    Ok(Arc::new(intervals.finish()))
}

const OVERFLOW: &str = "[ARITHMETIC_OVERFLOW] make_interval(): the interval is too long";
const OF_PARTS: &str = "[INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION] Integer overflow while operating with intervals. Try devising appropriate values for the interval parameters";

fn calendar(numbers: &[i64], micros: i64) -> Option<IntervalMonthDayNano> {
    let [years, months, weeks, days, hours, minutes] = numbers else { return None };
    let months = i32::try_from(years * 12 + months).ok()?;
    let days = i32::try_from(weeks * 7 + days).ok()?;
    let micros = micros.checked_add(hours * 3_600_000_000)?.checked_add(minutes * 60_000_000)?;
    Some(IntervalMonthDayNano::new(months, days, micros.checked_mul(1_000)?))
}

/// `make_interval(years, months, weeks, days, hours, minutes, seconds)`.
pub(crate) fn make_interval() -> Arc<ScalarUDF> {
    kernel("make_interval", interval, |columns, _| made(columns, Some(OVERFLOW), calendar))
}

/// The same; null where it is too long.
pub(crate) fn try_make_interval() -> Arc<ScalarUDF> {
    kernel("try_make_interval", interval, |columns, _| made(columns, None, calendar))
}

/// `make_dt_interval(days, hours, minutes, seconds)`.
pub(crate) fn make_dt_interval() -> Arc<ScalarUDF> {
    kernel(
        "make_dt_interval",
        |_| Ok(DataType::Duration(TimeUnit::Microsecond)),
        |columns, _| {
            let rows = columns[0].len();
            let mut values = DurationMicrosecondArray::builder(rows);
            for row in 0..rows {
                if columns.iter().any(|column| column.is_null(row)) {
                    values.append_null();
                    continue;
                }
                let part = |place: usize, scale: i64| {
                    let number = columns[place].as_primitive::<Int32Type>().value(row);
                    i128::from(number) * i128::from(scale)
                };
                let micros = part(0, MICROS_PER_DAY) + part(1, 3_600_000_000) + part(2, 60_000_000);
                let seconds = columns[3].as_primitive::<Decimal128Type>().value(row);
                match i64::try_from(micros + seconds) {
                    Ok(micros) => values.append_value(micros),
                    Err(_) => return exec_err!("{OF_PARTS}"),
                }
            }
            Ok(Arc::new(values.finish()))
        },
    )
}

/// `make_ym_interval(years, months)`.
pub(crate) fn make_ym_interval() -> Arc<ScalarUDF> {
    kernel(
        "make_ym_interval",
        |_| Ok(DataType::Interval(IntervalUnit::YearMonth)),
        |columns, _| {
            let part = |place: usize| columns[place].as_primitive::<Int32Type>();
            let months: IntervalYearMonthArray = try_binary(part(0), part(1), |years, months| {
                let all = i64::from(years) * 12 + i64::from(months);
                i32::try_from(all).map_err(|_| ArrowError::ArithmeticOverflow(OF_PARTS.to_owned()))
            })?;
            Ok(Arc::new(months))
        },
    )
}
