//! Times and intervals as sums, by the clocks of the session's time zone.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::try_binary;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, IntervalYearMonthType, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use tidemill_time::calendar::MICROS_PER_DAY;
use tidemill_time::{UTC, Zone};

use super::parts::intervals;
use crate::kernels::kernel::{as_first, zoned_kernel};

/// Name of the function that a TIMESTAMP and an interval are added by.
pub const TIMESTAMP_PLUS: &str = "timestamp_plus";
/// Name of the function that an interval is taken from a TIMESTAMP by.
pub const TIMESTAMP_MINUS: &str = "timestamp_minus";

/// `timestamp_plus(time, interval)`.
pub(crate) fn timestamp_plus() -> Arc<ScalarUDF> {
    zoned_kernel(TIMESTAMP_PLUS, as_first, |columns, kind, zone| sums(columns, kind, zone, 1))
}

/// `timestamp_minus(time, interval)`.
pub(crate) fn timestamp_minus() -> Arc<ScalarUDF> {
    zoned_kernel(TIMESTAMP_MINUS, as_first, |columns, kind, zone| sums(columns, kind, zone, -1))
}

fn sums(columns: &[ArrayRef], kind: &DataType, zone: Zone, sign: i64) -> Result<ArrayRef> {
    let times = columns[0].as_primitive::<TimestampMicrosecondType>();
    let sum = |time: i64, (months, days, more): (i64, i64, i64)| {
        let by = more.checked_mul(sign).map(|more| (months * sign, days * sign, more));
        by.and_then(|by| zone.later(time, by)).ok_or_else(|| {
            ArrowError::ArithmeticOverflow(
                "[DATETIME_OVERFLOW] Datetime operation overflow: there is no such time".to_owned(),
            )
        })
    };
    let later: TimestampMicrosecondArray = match columns[1].data_type() {
        // An interval of days and shorter units: whole days of it are days of the clocks.
        DataType::Duration(_) => {
            let by = columns[1].as_primitive::<DurationMicrosecondType>();
            try_binary(times, by, |time, micros| match zone {
                UTC => sum(time, (0, 0, micros)),
                _ => sum(time, (0, micros / MICROS_PER_DAY, micros % MICROS_PER_DAY)),
            })?
        }
        DataType::Interval(arrow::datatypes::IntervalUnit::YearMonth) => {
            let by = columns[1].as_primitive::<IntervalYearMonthType>();
            try_binary(times, by, |time, months| sum(time, (i64::from(months), 0, 0)))?
        }
        _ => {
            let by = intervals(&columns[1])?;
            try_binary(times, &by, |time, by| {
                sum(time, (i64::from(by.months), i64::from(by.days), by.nanoseconds / 1_000))
            })?
        }
    };
    Ok(Arc::new(later.with_data_type(kind.clone())))
}
