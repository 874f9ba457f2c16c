//! Values as the DOUBLE that Spark computes with where it looks for what is between them, and back: a
//! date is a number of days, a time or an interval one of microseconds or months.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, Float64Type, IntervalYearMonthType};
use datafusion::common::Result;

/// Values as numbers.
pub(super) fn doubles_of(values: &ArrayRef) -> Result<ArrayRef> {
    if let Some(months) = values.as_primitive_opt::<IntervalYearMonthType>() {
        return Ok(Arc::new(months.unary::<_, Float64Type>(f64::from)));
    }
    let whole = match values.data_type() {
        DataType::Date32 => cast(values, &DataType::Int32)?,
        DataType::Timestamp(..) | DataType::Duration(_) => cast(values, &DataType::Int64)?,
        _ => Arc::clone(values),
    };
    Ok(cast(&whole, &DataType::Float64)?)
}

/// Numbers as values of a type. A DECIMAL is rounded; of all else what is behind the point is cut.
pub(super) fn of_doubles(doubles: &Float64Array, kind: &DataType) -> Result<ArrayRef> {
    let whole = || doubles.iter().map(|double| double.map(|d| d as i64)).collect::<Int64Array>();
    Ok(match kind {
        DataType::Decimal128(precision, scale) => {
            let factor = 10_f64.powi(i32::from(*scale));
            let decimal = |double: Option<f64>| {
                let decimal = (double? * factor).round() as i128;
                Decimal128Type::is_valid_decimal_precision(decimal, *precision).then_some(decimal)
            };
            let decimals: Decimal128Array = doubles.iter().map(decimal).collect();
            Arc::new(decimals.with_precision_and_scale(*precision, *scale)?)
        }
        real if real.is_floating() => cast(doubles, real)?,
        DataType::Interval(_) => {
            Arc::new(doubles.unary::<_, IntervalYearMonthType>(|months| months as i32))
        }
        DataType::Date32 => cast(&cast(&whole(), &DataType::Int32)?, kind)?,
        other => cast(&whole(), other)?,
    })
}
