//! Intervals.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DurationMicrosecondArray, DurationMicrosecondBuilder, IntervalYearMonthArray,
    IntervalYearMonthBuilder,
};
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

use crate::Result;
use crate::value::plain::{column_type, into_column_type};
use crate::value::{FromColumn, IntoColumn, ScalarResult};

/// INTERVAL YEAR TO MONTH: a number of months.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct YearMonthInterval(pub i32);

/// INTERVAL DAY TO SECOND: a number of microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct DayTimeInterval(pub i64);

column_type! {
    YearMonthInterval, IntervalYearMonthArray, IntervalYearMonthBuilder,
        DataType::Interval(IntervalUnit::YearMonth), IntervalYearMonthBuilder::with_capacity,
        |array, row| YearMonthInterval(array.value(row)), |value| value.0, in_place;
    DayTimeInterval, DurationMicrosecondArray, DurationMicrosecondBuilder,
        DataType::Duration(TimeUnit::Microsecond), DurationMicrosecondBuilder::with_capacity,
        |array, row| DayTimeInterval(array.value(row)), |value| value.0, in_place;
}
