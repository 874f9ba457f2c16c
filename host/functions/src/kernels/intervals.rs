//! Intervals that are written out, as values of Spark's two kinds: day-time intervals are a number of
//! microseconds, year-month intervals a number of months. Between dates and times they stay as they
//! are written.

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, Operator, binary_expr};
use tidemill_time::calendar::MICROS_PER_DAY;

use super::cast::cast_to;
use super::times::patterned::ntz_type;
use super::times::sums;
use crate::call::called;
use crate::timestamp_type;

/// The days and the shorter units of an interval, in microseconds; none where they are too many.
#[must_use]
pub fn day_time_micros(interval: IntervalMonthDayNano) -> Option<i64> {
    let days = i64::from(interval.days).checked_mul(MICROS_PER_DAY)?;
    days.checked_add(interval.nanoseconds / 1_000)
}

/// An interval that can be compared, and calculated with; other values as they are.
///
/// # Errors
/// It is one of months and of days: nobody knows how many days a month has.
pub(crate) fn of_one_kind(value: Expr) -> Result<Expr> {
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) = &value else {
        return Ok(value);
    };
    let kind = match (interval.months, day_time_micros(*interval)) {
        (0, Some(micros)) => ScalarValue::DurationMicrosecond(Some(micros)),
        (months, Some(0)) => ScalarValue::IntervalYearMonth(Some(months)),
        _ => {
            return plan_err!(
                "[INVALID_INTERVAL_FORMAT] an interval of months and of days is neither larger nor smaller than another one; write one of days, or one of months"
            );
        }
    };
    Ok(Expr::Literal(kind, None))
}

fn is_interval(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_) | DataType::Duration(_))
}

/// A sum or difference of dates, times and intervals; none where DataFusion's is Spark's.
///
/// # Errors
/// There is none of these two.
pub(crate) fn calculated(
    operator: Operator,
    (left, of_left): (Expr, &DataType),
    (right, of_right): (Expr, &DataType),
) -> Result<Option<Expr>> {
    let at = |date: Expr| cast_to(date, &timestamp_type());
    let local = |time: Expr| cast_to(time, &ntz_type());
    let is_moment = |kind: &DataType| matches!(kind, DataType::Timestamp(_, Some(_)));
    let is_time = |kind: &DataType| matches!(kind, DataType::Date32 | DataType::Timestamp(..));
    let (other, is_first) = match (of_left, of_right) {
        // What clocks show at both, as Spark's SubtractTimestamps has it.
        (one, other) if operator == Operator::Minus && is_time(one) && is_time(other) => {
            return Ok(Some(binary_expr(local(left), operator, local(right))));
        }
        (time, interval) if is_moment(time) && is_interval(interval) => {
            return sum(operator, left, right).map(Some);
        }
        (interval, time)
            if operator == Operator::Plus && is_moment(time) && is_interval(interval) =>
        {
            return sum(operator, right, left).map(Some);
        }
        // Two of the two kinds are calculated with elsewhere: these are of months and of days.
        (one, other) if is_interval(one) && is_interval(other) => {
            return Ok(Some(binary_expr(left, operator, right)));
        }
        (DataType::Date32, other) => (other, true),
        (other, DataType::Date32) => (other, false),
        _ => return Ok(None),
    };
    let interval = if is_first { &right } else { &left };
    let has_time = match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => {
            interval.nanoseconds != 0
        }
        _ => matches!(other, DataType::Duration(_) | DataType::Timestamp(..)),
    };
    Ok(match (has_time, is_first) {
        (false, _) => None,
        (true, true) => Some(sum(operator, at(left), right)?),
        (true, false) => Some(sum(operator, at(right), left)?),
    })
}

/// A TIMESTAMP and an interval. One that is written out and has no months is of days and shorter
/// units, whichever units it is written in.
fn sum(operator: Operator, time: Expr, interval: Expr) -> Result<Expr> {
    let interval = match &interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) if value.months == 0 => {
            of_one_kind(interval)?
        }
        _ => interval,
    };
    let kernel = match operator {
        Operator::Plus => sums::timestamp_plus(),
        _ => sums::timestamp_minus(),
    };
    Ok(called(&kernel, vec![time, interval]))
}
