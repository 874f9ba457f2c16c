//! Arithmetic of INTERVAL YEAR TO MONTH, a number of months, and INTERVAL DAY TO SECOND, a number of
//! microseconds: sums, differences and quotients of two of a kind, and products and quotients of one
//! and a number, which are rounded half up. What does not fit is an error, or null in the `try_`
//! forms.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, Float64Type, Int64Type, IntervalUnit,
    IntervalYearMonthType, TimeUnit, i256,
};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_types::format_type;

use super::arithmetic::Operation;
use super::cast::cast_to;
use super::intervals::of_one_kind;
use super::kernel::{as_first, double, kernel, on_columns};
use super::rows::numbers;

/// Whether a type is one of the two kinds of intervals.
pub(crate) fn is_of_one_kind(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Interval(IntervalUnit::YearMonth) | DataType::Duration(TimeUnit::Microsecond)
    )
}

/// Names of the kernels of operators.
pub(crate) const NAMES: [&str; 5] =
    ["interval_add", "interval_subtract", "interval_multiply", "interval_divide", "interval_div"];

/// A value; one of the two kinds, where it is an interval that is written out.
///
/// # Errors
/// It is an interval of months and of days.
pub(crate) fn typed((value, kind): (Expr, DataType)) -> Result<(Expr, DataType)> {
    if kind != DataType::Interval(IntervalUnit::MonthDayNano) {
        return Ok((value, kind));
    }
    let value = of_one_kind(value)?;
    let kind = match &value {
        Expr::Literal(literal, _) if !literal.is_null() => literal.data_type(),
        _ => kind,
    };
    Ok((value, kind))
}

/// An operation on intervals, or on an interval and a number; none on anything else, as on dates and
/// times.
///
/// # Errors
/// There is no such operation on intervals.
pub(crate) fn calculated(
    operation: Operation,
    tolerant: bool,
    left: (Expr, DataType),
    right: (Expr, DataType),
) -> Result<Option<Expr>> {
    let is_interval =
        |kind: &DataType| matches!(kind, DataType::Interval(_) | DataType::Duration(_));
    let goes_with = |kind: &DataType| {
        is_interval(kind) || kind.is_numeric() || kind.is_string() || kind.is_null()
    };
    let has_interval = is_interval(&left.1) || is_interval(&right.1);
    if !has_interval || !goes_with(&left.1) || !goes_with(&right.1) {
        return Ok(None);
    }
    let (left, right) = (typed(left)?, typed(right)?);
    let left = as_the_other(left, &right.1);
    let right = as_the_other(right, &left.1);
    let (is_left, is_right) = (is_of_one_kind(&left.1), is_of_one_kind(&right.1));
    let spelled = |kind: &DataType| format_type(kind).to_uppercase();
    match operation {
        Operation::Add | Operation::Subtract if is_left && left.1 == right.1 => {
            Ok(Some(called(operation, tolerant, left.0, right.0)))
        }
        Operation::Add | Operation::Subtract if is_left && right.1.is_null() => {
            let right = cast_null(&left.1)?;
            Ok(Some(called(operation, tolerant, left.0, right)))
        }
        Operation::Add | Operation::Subtract if is_right && left.1.is_null() => {
            let left = cast_null(&right.1)?;
            Ok(Some(called(operation, tolerant, left, right.0)))
        }
        Operation::DivideWhole if is_left && left.1 == right.1 => {
            Ok(Some(called(operation, tolerant, left.0, right.0)))
        }
        Operation::Multiply | Operation::Divide if is_left && !is_interval(&right.1) => {
            Ok(Some(called(operation, tolerant, left.0, number(right))))
        }
        Operation::Multiply if is_right && !is_interval(&left.1) => {
            Ok(Some(called(operation, tolerant, right.0, number(left))))
        }
        // Of the third kind, which nothing is calculated with.
        _ if !is_left && !is_right => Ok(None),
        Operation::Add | Operation::Subtract if is_left && is_right => plan_err!(
            "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] the first parameter requires the \"{}\" type, and has the type \"{}\"; an interval of months and one of days are added to a date one after the other",
            spelled(&right.1),
            spelled(&left.1)
        ),
        Operation::Multiply | Operation::Divide if is_left => plan_err!(
            "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] the second parameter requires the \"NUMERIC\" type, and has the type \"{}\"; two intervals are divided by `div`",
            spelled(&right.1)
        ),
        _ => plan_err!(
            "[DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES] the left and right operands of the binary operator have incompatible types (\"{}\" and \"{}\"); cast one of them",
            spelled(&left.1),
            spelled(&right.1)
        ),
    }
}

/// Nothing, as an interval that is written out, is of the kind of the other one.
fn as_the_other((value, kind): (Expr, DataType), other: &DataType) -> (Expr, DataType) {
    let months = DataType::Interval(IntervalUnit::YearMonth);
    match &value {
        Expr::Literal(ScalarValue::DurationMicrosecond(Some(0)), _) if *other == months => {
            (Expr::Literal(ScalarValue::IntervalYearMonth(Some(0)), None), months)
        }
        _ => (value, kind),
    }
}

fn cast_null(kind: &DataType) -> Result<Expr> {
    Ok(Expr::Literal(ScalarValue::try_from(kind)?, None))
}

/// A number as the kernel takes it: BIGINT, DECIMAL or DOUBLE.
fn number((value, kind): (Expr, DataType)) -> Expr {
    let to = match kind {
        DataType::Decimal128(..) | DataType::Int64 | DataType::Float64 => return value,
        whole if whole.is_integer() => DataType::Int64,
        _ => DataType::Float64,
    };
    cast_to(value, &to)
}

fn called(operation: Operation, tolerant: bool, left: Expr, right: Expr) -> Expr {
    let signature = Signature::user_defined(Volatility::Immutable);
    let function = IntervalArithmetic { operation, tolerant, signature };
    ScalarUDF::new_from_impl(function).call(vec![left, right])
}

/// The operation as a function of an interval and an interval or a number.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalArithmetic {
    operation: Operation,
    tolerant: bool,
    signature: Signature,
}

/// Why there is no result.
enum Failure {
    Overflow,
    Zero,
    /// NaN or infinity.
    NoNumber,
}

impl ScalarUDFImpl for IntervalArithmetic {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "interval_add",
            Operation::Subtract => "interval_subtract",
            Operation::Multiply => "interval_multiply",
            Operation::Divide => "interval_divide",
            _ => "interval_div",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match self.operation {
            Operation::DivideWhole => Ok(DataType::Int64),
            _ => as_first(arguments),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        on_columns(&arguments, |columns| match columns[0].data_type() {
            DataType::Interval(IntervalUnit::YearMonth) => {
                self.calculate::<IntervalYearMonthType>(columns)
            }
            DataType::Duration(TimeUnit::Microsecond) => {
                self.calculate::<DurationMicrosecondType>(columns)
            }
            other => internal_err!("{}() over {other}", self.name()),
        })
    }
}

impl IntervalArithmetic {
    fn calculate<T>(&self, columns: &[ArrayRef]) -> Result<ArrayRef>
    where
        T: ArrowPrimitiveType,
        T::Native: Into<i64> + TryFrom<i64>,
    {
        let units = columns[0].as_primitive::<T>();
        let fits = |result: i128| {
            let result = i64::try_from(result).map_err(|_| Failure::Overflow)?;
            T::Native::try_from(result).map_err(|_| Failure::Overflow)
        };
        let (operation, right) = (self.operation, &columns[1]);
        match right.data_type() {
            _ if operation == Operation::DivideWhole => {
                let others = right.as_primitive::<T>();
                self.each::<Int64Type>(columns, |row| {
                    let (left, right) = (units.value(row).into(), others.value(row).into());
                    // As Java, which wraps around.
                    match (right, size_of::<T::Native>()) {
                        (0, _) => Err(Failure::Zero),
                        (_, 4) => Ok(i64::from((left / right) as i32)),
                        _ => Ok(left.wrapping_div(right)),
                    }
                })
            }
            kind if kind == columns[0].data_type() => {
                let others = right.as_primitive::<T>();
                self.each::<T>(columns, |row| {
                    let (left, right): (i64, i64) =
                        (units.value(row).into(), others.value(row).into());
                    let (left, right) = (i128::from(left), i128::from(right));
                    fits(if operation == Operation::Add { left + right } else { left - right })
                })
            }
            DataType::Int64 => {
                let others = right.as_primitive::<Int64Type>();
                self.each::<T>(columns, |row| {
                    let left: i64 = units.value(row).into();
                    let (left, right) = (i128::from(left), i128::from(others.value(row)));
                    fits(match operation {
                        Operation::Multiply => left * right,
                        _ => rounded(left, right)?,
                    })
                })
            }
            DataType::Decimal128(_, scale) => {
                let (others, scale) = (right.as_primitive::<Decimal128Type>(), *scale);
                self.each::<T>(columns, |row| {
                    fits(by_decimal(operation, units.value(row).into(), others.value(row), scale)?)
                })
            }
            DataType::Float64 => {
                let others = right.as_primitive::<Float64Type>();
                self.each::<T>(columns, |row| {
                    let left: i64 = units.value(row).into();
                    fits(by_double(operation, left as f64, others.value(row))?)
                })
            }
            other => internal_err!("{}() with {other}", self.name()),
        }
    }

    /// A value for each row in which both are there.
    fn each<R: ArrowPrimitiveType>(
        &self,
        columns: &[ArrayRef],
        calculate: impl Fn(usize) -> std::result::Result<R::Native, Failure>,
    ) -> Result<ArrayRef> {
        numbers::<R>(columns, |row| match calculate(row) {
            Ok(result) => Ok(Some(result)),
            Err(_) if self.tolerant => Ok(None),
            Err(failure) => self.told(&failure),
        })
    }

    fn told<N>(&self, failure: &Failure) -> Result<Option<N>> {
        let instead = match self.operation {
            Operation::Add => "try_add",
            Operation::Subtract => "try_subtract",
            Operation::Multiply => "try_multiply",
            _ => "try_divide",
        };
        match failure {
            Failure::Overflow => exec_err!(
                "[INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION] Integer overflow while operating with intervals. Use `{instead}` to tolerate overflow and return NULL instead"
            ),
            Failure::Zero if self.operation == Operation::DivideWhole => exec_err!(
                "[DIVIDE_BY_ZERO] Division by zero. Use `try_divide` to tolerate divisor being 0 and return NULL instead"
            ),
            Failure::Zero => exec_err!(
                "[INTERVAL_DIVIDED_BY_ZERO] Division by zero. Use `try_divide` to tolerate divisor being 0 and return NULL instead"
            ),
            Failure::NoNumber => exec_err!(
                "[INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION] an interval is multiplied or divided, and the result is infinite or NaN. Use `{instead}` to return NULL instead"
            ),
        }
    }
}

/// A quotient, rounded half up: away from zero.
fn rounded(left: i128, right: i128) -> std::result::Result<i128, Failure> {
    if right == 0 {
        return Err(Failure::Zero);
    }
    let (quotient, rest) = (left / right, left % right);
    let up = if left.is_negative() == right.is_negative() { 1 } else { -1 };
    Ok(if rest.unsigned_abs() * 2 >= right.unsigned_abs() { quotient + up } else { quotient })
}

fn by_decimal(
    operation: Operation,
    units: i64,
    number: i128,
    scale: i8,
) -> std::result::Result<i128, Failure> {
    let power = i256::from_i128(10).checked_pow(scale.max(0).unsigned_abs().into());
    let power = power.ok_or(Failure::Overflow)?;
    let (units, number) = (i256::from_i128(units.into()), i256::from_i128(number));
    let (above, below) = match operation {
        Operation::Multiply => (units.checked_mul(number).ok_or(Failure::Overflow)?, power),
        _ => (units.checked_mul(power).ok_or(Failure::Overflow)?, number),
    };
    if below == i256::ZERO {
        return Err(Failure::Zero);
    }
    let quotient = above.checked_div(below).ok_or(Failure::Overflow)?;
    let rest = above.wrapping_rem(below).wrapping_abs();
    let goes_up = rest >= below.wrapping_abs().wrapping_sub(rest);
    let up = if above.is_negative() == below.is_negative() { 1 } else { -1 };
    let quotient = quotient.to_i128().ok_or(Failure::Overflow)?;
    quotient.checked_add(if goes_up { up } else { 0 }).ok_or(Failure::Overflow)
}

fn by_double(operation: Operation, units: f64, number: f64) -> std::result::Result<i128, Failure> {
    let result = match operation {
        Operation::Multiply => units * number,
        _ if number == 0.0 => return Err(Failure::Zero),
        _ => units / number,
    };
    match result.is_finite() {
        // It is rounded half away from zero.
        true => Ok(result.round() as i128),
        false => Err(Failure::NoNumber),
    }
}

fn each_unit<T>(
    columns: &[ArrayRef],
    calculate: impl Fn(T::Native) -> Result<T::Native>,
) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
{
    let units = columns[0].as_primitive::<T>();
    let values: PrimitiveArray<T> = units.try_unary(calculate)?;
    Ok(Arc::new(values))
}

/// The least interval has no positive counterpart.
pub(crate) fn absolute() -> Arc<ScalarUDF> {
    fn overflow<N>(units: Option<N>) -> Result<N> {
        match units {
            Some(units) => Ok(units),
            None => exec_err!(
                "[ARITHMETIC_OVERFLOW] overflow: the least interval has no positive counterpart"
            ),
        }
    }
    kernel("interval_abs", as_first, |columns, _| match columns[0].data_type() {
        DataType::Interval(_) => {
            each_unit::<IntervalYearMonthType>(columns, |months| overflow(months.checked_abs()))
        }
        _ => each_unit::<DurationMicrosecondType>(columns, |micros| overflow(micros.checked_abs())),
    })
}

/// The interval with the other sign.
pub(crate) fn negated() -> Arc<ScalarUDF> {
    fn overflow<N>(units: Option<N>) -> Result<N> {
        match units {
            Some(units) => Ok(units),
            None => exec_err!(
                "[INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION] Integer overflow while operating with intervals: the least one has no positive counterpart"
            ),
        }
    }
    kernel("interval_negative", as_first, |columns, _| match columns[0].data_type() {
        DataType::Interval(_) => {
            each_unit::<IntervalYearMonthType>(columns, |months| overflow(months.checked_neg()))
        }
        _ => each_unit::<DurationMicrosecondType>(columns, |micros| overflow(micros.checked_neg())),
    })
}

/// -1.0, 0.0 or 1.0.
pub(crate) fn sign() -> Arc<ScalarUDF> {
    kernel("interval_sign", double, |columns, _| {
        let months = columns[0].as_primitive_opt::<IntervalYearMonthType>();
        let micros = columns[0].as_primitive_opt::<DurationMicrosecondType>();
        numbers::<Float64Type>(columns, |row| {
            let sign = match (months, micros) {
                (Some(months), _) => i64::from(months.value(row).signum()),
                (_, Some(micros)) => micros.value(row).signum(),
                _ => return internal_err!("the sign of a {}", columns[0].data_type()),
            };
            Ok(Some(sign as f64))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_rounded_half_up() {
        let of = |left, right| rounded(left, right).ok();
        assert_eq!(of(3, 2), Some(2));
        assert_eq!(of(-3, 2), Some(-2));
        assert_eq!(of(5, -2), Some(-3));
        assert_eq!(of(1, 3), Some(0));
        assert_eq!(of(1, 0), None);
    }

    #[test]
    fn decimals_and_doubles_round_alike() {
        let decimal =
            |operation, units, number, scale| by_decimal(operation, units, number, scale).ok();
        assert_eq!(decimal(Operation::Multiply, 3, 25, 1), Some(8));
        assert_eq!(decimal(Operation::Multiply, -3, 25, 1), Some(-8));
        assert_eq!(decimal(Operation::Divide, 3, 20, 1), Some(2));
        assert_eq!(decimal(Operation::Divide, 3, 0, 1), None);
        assert_eq!(by_double(Operation::Multiply, 3.0, -2.5).ok(), Some(-8));
        assert_eq!(by_double(Operation::Divide, 1.0, 3.0).ok(), Some(0));
        assert!(matches!(by_double(Operation::Multiply, 1.0, f64::NAN), Err(Failure::NoNumber)));
    }
}
