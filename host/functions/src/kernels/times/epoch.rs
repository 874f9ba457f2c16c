//! Times as numbers since 1970, and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;
use tidemill_types::UTC;

use crate::kernels::kernel::{int, kernel, long};
use crate::timestamp_type;

fn micros(columns: &[ArrayRef]) -> &TimestampMicrosecondArray {
    columns[0].as_primitive::<TimestampMicrosecondType>()
}

macro_rules! floored {
    ($name:ident, $text:literal, $scale:literal) => {
        pub(crate) fn $name() -> Arc<ScalarUDF> {
            kernel($text, long, |columns, _| {
                let since = micros(columns).unary::<_, Int64Type>(|t| t.div_euclid($scale));
                Ok(Arc::new(since))
            })
        }
    };
}

floored!(unix_micros, "unix_micros", 1);
floored!(unix_millis, "unix_millis", 1_000);
floored!(unix_seconds, "unix_seconds", 1_000_000);

pub(crate) fn unix_date() -> Arc<ScalarUDF> {
    kernel("unix_date", int, |columns, _| {
        let days = columns[0].as_primitive::<Date32Type>();
        Ok(Arc::new(days.unary::<_, Int32Type>(|day| day)))
    })
}

pub(crate) fn date_from_unix_date() -> Arc<ScalarUDF> {
    kernel(
        "date_from_unix_date",
        |_| Ok(DataType::Date32),
        |columns, _| {
            let days = columns[0].as_primitive::<Int32Type>();
            Ok(Arc::new(days.unary::<_, Date32Type>(|day| day)))
        },
    )
}

macro_rules! scaled {
    ($name:ident, $text:literal, $scale:literal, $unit:literal) => {
        pub(crate) fn $name() -> Arc<ScalarUDF> {
            kernel(
                $text,
                |_| Ok(timestamp_type()),
                |columns, _| times_of(columns[0].as_primitive::<Int64Type>(), $scale, $unit),
            )
        }
    };
}

scaled!(timestamp_micros, "timestamp_micros", 1, "microseconds");
scaled!(timestamp_millis, "timestamp_millis", 1_000, "milliseconds");

fn times_of(since: &PrimitiveArray<Int64Type>, scale: i64, unit: &str) -> Result<ArrayRef> {
    let times = since.try_unary::<_, TimestampMicrosecondType, _>(|value| {
        match value.checked_mul(scale) {
            Some(time) => Ok(time),
            None => exec_err!(
                "[DATETIME_OVERFLOW] Datetime operation overflow: create a TIMESTAMP from {value}L {unit} since the epoch"
            ),
        }
    })?;
    Ok(Arc::new(times.with_timezone(UTC)))
}

/// Of whole seconds, of a DECIMAL, or of a DOUBLE.
pub(crate) fn timestamp_seconds() -> Arc<ScalarUDF> {
    kernel(
        "timestamp_seconds",
        |_| Ok(timestamp_type()),
        |columns, _| {
            match columns[0].data_type() {
                DataType::Decimal128(_, scale) => of_decimals(&columns[0], *scale),
                kind if kind.is_floating() => {
                    let seconds = cast(&columns[0], &DataType::Float64)?;
                    let seconds = seconds.as_primitive::<Float64Type>();
                    // What is no number is no time; what is too large is the last one.
                    let time = |second: f64| second.is_finite().then_some((second * 1e6) as i64);
                    let times = seconds.unary_opt::<_, TimestampMicrosecondType>(time);
                    Ok(Arc::new(times.with_timezone(UTC)))
                }
                _ => {
                    let seconds = cast(&columns[0], &DataType::Int64)?;
                    times_of(seconds.as_primitive::<Int64Type>(), 1_000_000, "seconds")
                }
            }
        },
    )
}

fn of_decimals(seconds: &ArrayRef, scale: i8) -> Result<ArrayRef> {
    let seconds = seconds.as_primitive::<Decimal128Type>();
    let shift = 6 - i32::from(scale);
    let power = 10_i128.pow(shift.unsigned_abs());
    let times = seconds.try_unary::<_, TimestampMicrosecondType, _>(|value| {
        let time = match shift {
            0.. => value.checked_mul(power),
            _ if value % power == 0 => Some(value / power),
            _ => {
                return exec_err!(
                    "timestamp_seconds(): a number of seconds has more than six digits behind the point; round it"
                );
            }
        };
        match time.and_then(|time| i64::try_from(time).ok()) {
            Some(time) => Ok(time),
            None => exec_err!(
                "[DATETIME_OVERFLOW] Datetime operation overflow: create a TIMESTAMP from a number of seconds since the epoch that is too large"
            ),
        }
    })?;
    Ok(Arc::new(times.with_timezone(UTC)))
}
