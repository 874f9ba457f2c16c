//! Sums and differences of dates, times and intervals. Day-time intervals are a number of
//! microseconds, year-month intervals a number of months.

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, Operator, binary_expr};
use tidemill_time::calendar::MICROS_PER_DAY;
use tidemill_types::{IntervalField, IntervalFields};

use super::cast::cast_to;
use super::times::patterned::ntz_type;
use super::times::{parts, shift, sums};
use crate::call::called;
use crate::interval_fields::{check_alike, fields_here, with_interval_fields};
use crate::timestamp_type;

/// The days and the shorter units of an interval, in microseconds; none where they are too many.
#[must_use]
pub fn day_time_micros(interval: IntervalMonthDayNano) -> Option<i64> {
    let days = i64::from(interval.days).checked_mul(MICROS_PER_DAY)?;
    days.checked_add(interval.nanoseconds / 1_000)
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
            let difference = binary_expr(local(left), operator, local(right));
            return Ok(Some(match (one, other) {
                (DataType::Date32, DataType::Date32) => {
                    let day = IntervalFields::of(IntervalField::Day);
                    with_interval_fields(difference, day)
                }
                _ => difference,
            }));
        }
        (time, interval) if is_moment(time) && is_interval(interval) => {
            return Ok(Some(sum(operator, left, right)));
        }
        (interval, time)
            if operator == Operator::Plus && is_moment(time) && is_interval(interval) =>
        {
            return Ok(Some(sum(operator, right, left)));
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
    check_alike(fields_here(interval, other))?;
    let has_time = match other {
        // Of whole days, as far as its type tells.
        DataType::Duration(_) => !fields_here(interval, other).of_micros().is_days(),
        DataType::Timestamp(..) => true,
        _ => false,
    };
    Ok(match (has_time, is_first) {
        (true, true) => Some(sum(operator, at(left), right)),
        (true, false) => Some(sum(operator, at(right), left)),
        (false, true) => days(left, operator, right, other),
        (false, false) => days(right, operator, left, other),
    })
}

/// A DATE and an interval of whole days; none where it is another interval.
fn days(date: Expr, operator: Operator, interval: Expr, kind: &DataType) -> Option<Expr> {
    if !matches!(kind, DataType::Duration(_)) {
        return None;
    }
    let days = called(&parts::days_of_interval(), vec![interval]);
    Some(match operator {
        Operator::Plus => called(&shift::date_add(), vec![date, days]),
        _ => called(&shift::date_sub(), vec![date, days]),
    })
}

/// A TIMESTAMP and an interval.
fn sum(operator: Operator, time: Expr, interval: Expr) -> Expr {
    let kernel = match operator {
        Operator::Plus => sums::timestamp_plus(),
        _ => sums::timestamp_minus(),
    };
    called(&kernel, vec![time, interval])
}
