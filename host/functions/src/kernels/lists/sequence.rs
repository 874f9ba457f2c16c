//! The numbers or times from one to another.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Int64Type, IntervalMonthDayNano, TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::{aligned, item};
use crate::kernels::kernel::zoned_kernel;
use crate::kernels::times::parts::intervals;
use tidemill_time::calendar::MICROS_PER_DAY;
use tidemill_time::{UTC, Zone};

/// `sequence(start, stop[, step])`.
pub(crate) fn sequence() -> Arc<ScalarUDF> {
    let gives = |kinds: &[DataType]| Ok(DataType::new_list(kinds[0].clone(), false));
    zoned_kernel("sequence", gives, |columns, kind, session| {
        if item(kind)?.data_type().is_integer() {
            return of_numbers(columns, kind);
        }
        // Dates are days, whatever clocks show.
        let has_zone = matches!(item(kind)?.data_type(), DataType::Timestamp(_, Some(_)));
        of_times(columns, kind, if has_zone { session } else { UTC })
    })
}

/// Lists of values, which are cast to the type that they have.
fn finish(
    kind: &DataType,
    lengths: Vec<usize>,
    valid: Vec<bool>,
    values: &ArrayRef,
) -> Result<ArrayRef> {
    if i32::try_from(values.len()).is_err() {
        return exec_err!("the arrays of a block of rows have too many values");
    }
    let values = aligned(values, item(kind)?.data_type())?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = NullBuffer::from(valid);
    Ok(Arc::new(ListArray::try_new(Arc::clone(item(kind)?), offsets, values, Some(nulls))?))
}

fn check(start: i64, stop: i64, step: i64) -> Result<()> {
    let is_one = match step {
        0 => start == stop,
        1.. => start <= stop,
        _ => start >= stop,
    };
    if is_one {
        return Ok(());
    }
    exec_err!(
        "[_LEGACY_ERROR_TEMP_3243] requirement failed: Illegal sequence boundaries: {start} to {stop} by {step}"
    )
}

fn of_numbers(columns: &[ArrayRef], kind: &DataType) -> Result<ArrayRef> {
    let columns = columns.iter().map(|column| Ok(cast(column, &DataType::Int64)?));
    let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
    let numbers = |place: usize| columns[place].as_primitive::<Int64Type>();
    let rows = columns[0].len();
    let (mut lengths, mut valid, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..rows {
        let is_there = columns.iter().all(|column| column.is_valid(row));
        valid.push(is_there);
        if !is_there {
            lengths.push(0);
            continue;
        }
        let (start, stop) = (numbers(0).value(row), numbers(1).value(row));
        let step = match columns.len() {
            2 if start > stop => -1,
            2 => 1,
            _ => numbers(2).value(row),
        };
        check(start, stop, step)?;
        let before = values.len();
        let mut next = Some(start);
        while let Some(value) = next.filter(|v| if step < 0 { *v >= stop } else { *v <= stop }) {
            values.push(value);
            next = if step == 0 { None } else { value.checked_add(step) };
        }
        lengths.push(values.len() - before);
    }
    let values: ArrayRef = Arc::new(PrimitiveArray::<Int64Type>::from(values));
    finish(kind, lengths, valid, &values)
}

fn of_times(columns: &[ArrayRef], kind: &DataType, zone: Zone) -> Result<ArrayRef> {
    let are_dates = *item(kind)?.data_type() == DataType::Date32;
    let steps = intervals(&columns[2])?;
    let micros = |place: usize, row: usize| {
        if are_dates {
            let days = columns[place].as_primitive::<Date32Type>().value(row);
            let micros = i64::from(days).checked_mul(MICROS_PER_DAY);
            micros.ok_or_else(|| {
                exec_datafusion_err!("[ARITHMETIC_OVERFLOW] sequence(): a date is out of range")
            })
        } else {
            Ok(columns[place].as_primitive::<TimestampMicrosecondType>().value(row))
        }
    };
    let (mut lengths, mut valid, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..columns[0].len() {
        let is_there = columns.iter().all(|column| column.is_valid(row));
        valid.push(is_there);
        if !is_there {
            lengths.push(0);
            continue;
        }
        let (start, stop, step) = (micros(0, row)?, micros(1, row)?, steps.value(row));
        let reckoned = length(step);
        if are_dates && reckoned.unsigned_abs() < MICROS_PER_DAY as u64 {
            return exec_err!(
                "[_LEGACY_ERROR_TEMP_3242] sequence step must be an interval of day granularity if start and end values are dates"
            );
        }
        if check(start, stop, reckoned).is_err() {
            let scale = if are_dates { MICROS_PER_DAY } else { 1 };
            check(start / scale, stop / scale, reckoned / scale)?;
        }
        let before = values.len();
        // As many as there are by the step's length; months are longer than they are reckoned.
        let most = match reckoned {
            0 => 1,
            _ => stop.abs_diff(start) / reckoned.unsigned_abs() + 2,
        };
        let mut time = Some(start);
        while let Some(value) = time.filter(|t| if reckoned < 0 { *t >= stop } else { *t <= stop })
        {
            values.push(value);
            let count = (values.len() - before) as i64;
            if count as u64 > most {
                return exec_err!(
                    "[INVALID_PARAMETER_VALUE.BOUNDARIES] sequence(): the step's months and days go in two directions, and never come to the end; write one of them"
                );
            }
            time = if reckoned == 0 { None } else { later(start, step, count, zone) };
        }
        lengths.push(values.len() - before);
    }
    let values: ArrayRef = if are_dates {
        let days = values.into_iter().map(|micros| micros.div_euclid(MICROS_PER_DAY) as i32);
        Arc::new(PrimitiveArray::<Date32Type>::from_iter_values(days))
    } else {
        let times = PrimitiveArray::<TimestampMicrosecondType>::from(values);
        Arc::new(times.with_data_type(item(kind)?.data_type().clone()))
    };
    finish(kind, lengths, valid, &values)
}

/// A step's length, in which a month has 28 days, as Spark reckons it.
fn length(step: IntervalMonthDayNano) -> i64 {
    (i64::from(step.months) * 28 + i64::from(step.days))
        .saturating_mul(MICROS_PER_DAY)
        .saturating_add(step.nanoseconds / 1_000)
}

/// So many steps after a time.
fn later(start: i64, step: IntervalMonthDayNano, count: i64, zone: Zone) -> Option<i64> {
    let months = i32::try_from(i64::from(step.months).checked_mul(count)?).ok()?;
    let days = i64::from(step.days).checked_mul(count)?;
    let more = (step.nanoseconds / 1_000).checked_mul(count)?;
    zone.later(start, (i64::from(months), days, more))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use arrow::array::Int64Array;

    use super::*;

    fn numbers(of: [i64; 3]) -> Result<Vec<i64>> {
        let columns = of.map(|value| Arc::new(Int64Array::from(vec![value])) as ArrayRef);
        let lists = of_numbers(&columns, &DataType::new_list(DataType::Int64, false))?;
        let values = lists.as_list::<i32>().value(0);
        Ok(values.as_primitive::<Int64Type>().values().to_vec())
    }

    #[test]
    fn numbers_end_at_the_last_one_that_is_within() {
        assert_eq!(numbers([1, 6, 2]).unwrap(), [1, 3, 5]);
        assert_eq!(numbers([1, 1, 0]).unwrap(), [1]);
        assert_eq!(numbers([i64::MAX - 1, i64::MAX, 1]).unwrap().len(), 2);
        let error = numbers([1, 5, -1]).unwrap_err().to_string();
        assert!(error.contains("Illegal sequence boundaries: 1 to 5 by -1"), "{error}");
    }

    #[test]
    fn months_are_counted_from_the_start() {
        let month = IntervalMonthDayNano::new(1, 0, 0);
        let start = tidemill_time::calendar::days_of(2018, 1, 31) * MICROS_PER_DAY;
        let end = tidemill_time::calendar::days_of(2018, 3, 31) * MICROS_PER_DAY;
        assert_eq!(later(start, month, 2, UTC), Some(end));
        assert_eq!(length(month), 28 * MICROS_PER_DAY);
    }
}
