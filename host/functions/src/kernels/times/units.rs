//! Times that are so many units later, and units between two times.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::try_binary;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;

use crate::kernels::kernel::{kernel, long, texts, zoned_kernel};
use tidemill_time::calendar::{MICROS_PER_DAY, civil, split};
use tidemill_time::{UTC, Zone};

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// So many microseconds.
    Micros(i64),
    /// So many months.
    Months(i64),
}

impl Unit {
    /// # Errors
    /// There is no such unit.
    pub(crate) fn named(function: &str, name: &str) -> Result<Unit> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "MICROSECOND" => Unit::Micros(1),
            "MILLISECOND" => Unit::Micros(1_000),
            "SECOND" => Unit::Micros(1_000_000),
            "MINUTE" => Unit::Micros(60_000_000),
            "HOUR" => Unit::Micros(3_600_000_000),
            "DAY" | "DAYOFYEAR" => Unit::Micros(MICROS_PER_DAY),
            "WEEK" => Unit::Micros(7 * MICROS_PER_DAY),
            "MONTH" => Unit::Months(1),
            "QUARTER" => Unit::Months(3),
            "YEAR" => Unit::Months(12),
            _ => {
                return plan_err!(
                    "[INVALID_PARAMETER_VALUE.DATETIME_UNIT] The value of parameter(s) `unit` in `{function}` is invalid: expects one of the units YEAR, QUARTER, MONTH, WEEK, DAY, DAYOFYEAR, HOUR, MINUTE, SECOND, MILLISECOND, MICROSECOND, but got '{name}'"
                );
            }
        })
    }

    /// Days and longer units are those of the clocks.
    fn later(self, micros: i64, count: i64, zone: Zone) -> Option<i64> {
        let by = match self {
            Unit::Micros(unit) if unit >= MICROS_PER_DAY => {
                (0, count.checked_mul(unit / MICROS_PER_DAY)?, 0)
            }
            Unit::Micros(unit) => (0, 0, count.checked_mul(unit)?),
            Unit::Months(unit) => (i64::from(i32::try_from(count.checked_mul(unit)?).ok()?), 0, 0),
        };
        zone.later(micros, by)
    }

    fn between(self, start: i64, end: i64) -> Option<i64> {
        match self {
            Unit::Micros(unit) => Some(end.checked_sub(start)? / unit),
            Unit::Months(unit) => {
                let ((first, start), (mut last, end)) = (split(start), split(end));
                // A day is over at the same time (Java's LocalDateTime.until).
                match last.cmp(&first) {
                    Ordering::Greater if end < start => last -= 1,
                    Ordering::Less if end > start => last += 1,
                    _ => {}
                }
                let place = |day: i64| {
                    let date = civil(day);
                    (date.year * 12 + date.month) * 32 + date.day
                };
                Some((place(last) - place(first)) / 32 / unit)
            }
        }
    }
}

/// The unit of a column that has one.
fn unit(function: &str, columns: &[ArrayRef]) -> Result<Unit> {
    let names = texts(columns, 0);
    match names.iter().flatten().next() {
        Some(name) => Unit::named(function, name),
        None => exec_err!("{function}() has no unit"),
    }
}

/// `timestampadd(unit, count, time)`.
pub(crate) fn timestampadd() -> Arc<ScalarUDF> {
    let gives = |kinds: &[DataType]| Ok(kinds[2].clone());
    zoned_kernel("timestampadd", gives, |columns, kind, session| {
        if columns[0].is_empty() {
            return Ok(arrow::array::new_empty_array(kind));
        }
        let unit = unit("timestampadd", columns)?;
        let has_zone = matches!(kind, DataType::Timestamp(_, Some(_)));
        let zone = if has_zone { session } else { UTC };
        let counts = columns[1].as_primitive::<Int64Type>();
        let times = columns[2].as_primitive::<TimestampMicrosecondType>();
        let later: TimestampMicrosecondArray = try_binary(times, counts, |time, count| {
            unit.later(time, count, zone).ok_or_else(|| {
                ArrowError::ArithmeticOverflow(format!(
                    "[DATETIME_OVERFLOW] Datetime operation overflow: add {count} units to a TIMESTAMP"
                ))
            })
        })?;
        Ok(Arc::new(later.with_data_type(kind.clone())))
    })
}

/// `timestampdiff(unit, start, end)`.
pub(crate) fn timestampdiff() -> Arc<ScalarUDF> {
    kernel("timestampdiff", long, |columns, kind| {
        if columns[0].is_empty() {
            return Ok(arrow::array::new_empty_array(kind));
        }
        let unit = unit("timestampdiff", columns)?;
        let start = columns[1].as_primitive::<TimestampMicrosecondType>();
        let end = columns[2].as_primitive::<TimestampMicrosecondType>();
        let between: arrow::array::Int64Array = try_binary(start, end, |start, end| {
            unit.between(start, end).ok_or_else(|| {
                ArrowError::ArithmeticOverflow("[ARITHMETIC_OVERFLOW] long overflow".to_owned())
            })
        })?;
        Ok(Arc::new(between))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_time::calendar::days_of;

    #[test]
    fn months_between_two_times_are_whole() {
        let time = |year, month, day, hour: i64| {
            days_of(year, month, day) * MICROS_PER_DAY + hour * 3_600_000_000
        };
        let months = |start, end| Unit::Months(1).between(start, end);
        assert_eq!(months(time(2019, 1, 31, 10), time(2019, 2, 28, 10)), Some(0));
        assert_eq!(months(time(2019, 1, 28, 10), time(2019, 2, 28, 9)), Some(0));
        assert_eq!(months(time(2019, 1, 28, 10), time(2019, 2, 28, 10)), Some(1));
        assert_eq!(months(time(2019, 2, 28, 10), time(2019, 1, 28, 11)), Some(0));
        assert_eq!(months(time(2019, 2, 28, 10), time(2019, 1, 28, 10)), Some(-1));
    }
}
