//! Casts of intervals: to numbers of their last field and back, from texts, and between types of
//! other fields (Spark's IntervalUtils: dayTimeIntervalToInt and its neighbours).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
};
use datafusion::common::{Result, exec_err};
use tidemill_types::{FieldRange, IntervalField, Unread, WrittenInterval};

use super::cast::{Casting, converted};
use crate::interval_fields::range_of;

/// Months or microseconds.
fn counts(values: &ArrayRef) -> Result<PrimitiveArray<Int64Type>> {
    Ok(match values.as_primitive_opt::<IntervalYearMonthType>() {
        Some(months) => months.unary(i64::from),
        None => cast(values, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
    })
}

/// Intervals of months or microseconds; what does not fit is null.
fn of_counts(counts: PrimitiveArray<Int64Type>, range: FieldRange) -> ArrayRef {
    match range.is_of_months() {
        true => Arc::new(
            counts.unary_opt::<_, IntervalYearMonthType>(|months| i32::try_from(months).ok()),
        ),
        false => Arc::new(counts.reinterpret_cast::<DurationMicrosecondType>()),
    }
}

/// Intervals without what the last field of their type does not count.
pub(super) fn cut(values: &ArrayRef, by: Casting) -> Result<ArrayRef> {
    let range = range_of(by.to, values.data_type());
    if range.last() == IntervalField::Second || range.last() == IntervalField::Month {
        return Ok(Arc::clone(values));
    }
    Ok(of_counts(counts(values)?.unary(|count| range.cut(count)), range))
}

/// The number of an interval's last field: cut, where it is a whole number, and seconds with their
/// fraction, where it is a DECIMAL. What does not fit is null.
pub(super) fn to_number(values: &ArrayRef, to: &DataType, by: Casting) -> Result<ArrayRef> {
    let last = range_of(by.from, values.data_type()).last();
    let counts = counts(values)?;
    let number: ArrayRef = match (to, last) {
        (DataType::Decimal128(..), IntervalField::Second) => {
            let seconds: PrimitiveArray<Decimal128Type> = counts.unary(i128::from);
            Arc::new(seconds.with_data_type(DataType::Decimal128(19, 6)))
        }
        _ => Arc::new(counts.unary::<_, Int64Type>(|count| count / last.size())),
    };
    converted(&number, to, Casting { tolerant: true, ..by })
}

/// So many of an interval's last field. The fraction of a number of seconds or months is rounded half
/// up, that of another is cut. What does not fit is null.
pub(super) fn of_number(values: &ArrayRef, to: &DataType, by: Casting) -> Result<ArrayRef> {
    let range = range_of(by.to, to);
    let size = range.last().size();
    let counts: PrimitiveArray<Int64Type> = match values.data_type() {
        DataType::Decimal128(_, scale) => {
            let power = 10_i128.pow(u32::from(scale.unsigned_abs()));
            values.as_primitive::<Decimal128Type>().unary_opt(|number| {
                let count = match range.last() {
                    IntervalField::Second => half_up(number.checked_mul(1_000_000)?, power),
                    IntervalField::Month => half_up(number, power),
                    _ => (number / power).checked_mul(i128::from(size))?,
                };
                i64::try_from(count).ok()
            })
        }
        _ => {
            let numbers = cast(values, &DataType::Int64)?;
            numbers.as_primitive::<Int64Type>().unary_opt(|number| number.checked_mul(size))
        }
    };
    Ok(of_counts(counts, range))
}

/// A quotient rounded half away from zero.
fn half_up(number: i128, power: i128) -> i128 {
    let rest = number % power;
    let up = if rest.unsigned_abs() * 2 >= power.unsigned_abs() { number.signum() } else { 0 };
    number / power + up
}

/// The intervals of texts.
///
/// # Errors
/// One is none of the type's form, unless the cast gives null then.
pub(super) fn of_texts(texts: &StringArray, to: &DataType, by: Casting) -> Result<ArrayRef> {
    if *to == DataType::Interval(IntervalUnit::MonthDayNano) {
        return Ok(Arc::new(calendar(texts)));
    }
    let range = range_of(by.to, to);
    let mut counts = PrimitiveArray::<Int64Type>::builder(texts.len());
    for text in texts {
        match text.map(|text| (range.read(text), text)) {
            None => counts.append_null(),
            Some((Ok(count), _)) => counts.append_value(count),
            Some(_) if by.tolerant => counts.append_null(),
            Some((Err(unread), text)) => return unread_text(range, &unread, text),
        }
    }
    Ok(of_counts(counts.finish(), range))
}

fn unread_text<T>(range: FieldRange, unread: &Unread, text: &str) -> Result<T> {
    let class = match (unread, range.is_of_months()) {
        (Unread::Form, true) => "UNMATCHED_FORMAT_STRING",
        (Unread::Form, false) => "UNMATCHED_FORMAT_STRING_WITH_NOTICE",
        (Unread::Range, true) => "INTERVAL_PARSING",
        (Unread::Range, false) => "DAY_TIME_PARSING",
    };
    let mut like = Vec::new();
    range.write(0, &mut like);
    let like = String::from_utf8_lossy(&like);
    exec_err!(
        "[INVALID_INTERVAL_FORMAT.{class}] '{text}' is no INTERVAL {range}; it has the form of {like}, or of what is between its quotes. Use `try_cast` to get NULL instead"
    )
}

/// Intervals of months, days and microseconds; null where a text is none, in ANSI mode too (Spark's
/// safeStringToInterval).
fn calendar(texts: &StringArray) -> PrimitiveArray<IntervalMonthDayNanoType> {
    let of = |text: &str| {
        let written: WrittenInterval = text.parse().ok()?;
        let nanos = written.micros.checked_mul(1_000)?;
        Some(IntervalMonthDayNano::new(written.months, written.days, nanos))
    };
    texts.iter().map(|text| text.and_then(of)).collect()
}
