//! Arithmetic as Spark does it in ANSI mode: its types, its rounding, and errors where a result
//! does not fit or a divisor is zero. The `try_` forms give null instead.
//!
//! Types of DECIMAL results follow DecimalPrecision, with loss of scale allowed; `/` gives a DOUBLE
//! or a DECIMAL, and `div` a BIGINT.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, PrimitiveArray};
use arrow::compute::cast;
use arrow::compute::kernels::arity::try_binary;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Decimal128Type, DecimalType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, i256,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use tidemill_time::UTC;
use tidemill_types::{DECIMAL_SCALE_KEPT, adjusted_decimal, decimal_of_whole};

use super::cast::{Casting, cast_to, converted};

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `div`
    DivideWhole,
    /// `%`; the sign is the dividend's.
    Remainder,
    /// `pmod`
    PositiveRemainder,
}

/// An operation as a function of two arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Arithmetic {
    operation: Operation,
    tolerant: bool,
    signature: Signature,
}

impl Arithmetic {
    pub(crate) fn new(operation: Operation, tolerant: bool) -> Arithmetic {
        Arithmetic {
            operation,
            tolerant,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

/// `left operation right`, with its arguments cast as Spark casts them; none where they are no
/// numbers, which is DataFusion's to deal with.
pub(crate) fn calculated(
    operation: Operation,
    left: (Expr, DataType),
    right: (Expr, DataType),
) -> Result<Option<Expr>> {
    calculated_as(operation, false, left, right)
}

/// The same, of the form that gives null where `tolerant`.
pub(crate) fn calculated_as(
    operation: Operation,
    tolerant: bool,
    left: (Expr, DataType),
    right: (Expr, DataType),
) -> Result<Option<Expr>> {
    let (left, right) = (narrowed(left.clone(), &right.1), narrowed(right, &left.1));
    let Some([to_left, to_right]) = coerced(operation, &left.1, &right.1) else {
        return Ok(None);
    };
    let function = ScalarUDF::new_from_impl(Arithmetic::new(operation, tolerant));
    let arguments = [(left, to_left), (right, to_right)]
        .map(|((argument, from), to)| if from == to { argument } else { cast_to(argument, &to) });
    Ok(Some(function.call(arguments.to_vec())))
}

/// A whole number that is written out beside a DECIMAL is one of as many digits as it has.
fn narrowed((expr, data_type): (Expr, DataType), other: &DataType) -> (Expr, DataType) {
    let (value, metadata) = match &expr {
        Expr::Literal(ScalarValue::Int32(Some(value)), metadata) => (i64::from(*value), metadata),
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => (*value, metadata),
        _ => return (expr, data_type),
    };
    if !matches!(other, DataType::Decimal128(..)) {
        return (expr, data_type);
    }
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) as u8 + 1;
    let literal = ScalarValue::Decimal128(Some(i128::from(value)), digits, 0);
    (Expr::Literal(literal, metadata.clone()), DataType::Decimal128(digits, 0))
}

/// The types that arguments are cast to; none where they are no numbers.
fn coerced(operation: Operation, left: &DataType, right: &DataType) -> Option<[DataType; 2]> {
    let text_beside = |other: &DataType| match other {
        whole if whole.is_integer() => Some(DataType::Int64),
        number if number.is_numeric() => Some(DataType::Float64),
        _ => None,
    };
    let (left, right) = match (left, right) {
        (DataType::Null, DataType::Null) => (DataType::Float64, DataType::Float64),
        (DataType::Null, other) if other.is_numeric() => (other.clone(), other.clone()),
        (other, DataType::Null) if other.is_numeric() => (other.clone(), other.clone()),
        (text, other) if text.is_string() => (text_beside(other)?, other.clone()),
        (other, text) if text.is_string() => (other.clone(), text_beside(other)?),
        (left, right) if left.is_numeric() && right.is_numeric() => (left.clone(), right.clone()),
        _ => return None,
    };
    let is_decimal = |data_type: &DataType| matches!(data_type, DataType::Decimal128(..));
    if left.is_floating() || right.is_floating() {
        let both_single = left == DataType::Float32 && right == DataType::Float32;
        let single = both_single && operation != Operation::Divide;
        let common = if single { DataType::Float32 } else { DataType::Float64 };
        return Some([common.clone(), common]);
    }
    if is_decimal(&left) || is_decimal(&right) {
        return Some([as_decimal(left), as_decimal(right)]);
    }
    let common = match operation {
        Operation::Divide => DataType::Float64,
        Operation::DivideWhole => DataType::Int64,
        _ if left.primitive_width() >= right.primitive_width() => left,
        _ => right,
    };
    Some([common.clone(), common])
}

/// The DECIMAL that has room for every number of a type.
fn as_decimal(data_type: DataType) -> DataType {
    decimal_of_whole(&data_type).unwrap_or(data_type)
}

/// The type of a result, of coerced arguments.
fn result_type(operation: Operation, left: &DataType, right: &DataType) -> DataType {
    if operation == Operation::DivideWhole {
        return DataType::Int64;
    }
    let (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) = (left, right) else {
        return left.clone();
    };
    let [p1, s1, p2, s2] = [i16::from(*p1), i16::from(*s1), i16::from(*p2), i16::from(*s2)];
    let (precision, scale) = match operation {
        Operation::Add | Operation::Subtract => {
            let scale = s1.max(s2);
            ((p1 - s1).max(p2 - s2) + scale + 1, scale)
        }
        Operation::Multiply => (p1 + p2 + 1, s1 + s2),
        Operation::Divide | Operation::DivideWhole => {
            let scale = DECIMAL_SCALE_KEPT.max(s1 + p2 + 1);
            (p1 - s1 + s2 + scale, scale)
        }
        Operation::Remainder | Operation::PositiveRemainder => {
            let scale = s1.max(s2);
            ((p1 - s1).min(p2 - s2) + scale, scale)
        }
    };
    adjusted_decimal(precision, scale)
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match self.operation {
            Operation::DivideWhole => "div",
            Operation::PositiveRemainder => "pmod",
            _ if self.tolerant => self.tolerant_name(),
            Operation::Add => "+",
            Operation::Subtract => "-",
            Operation::Multiply => "*",
            Operation::Divide => "/",
            Operation::Remainder => "%",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let types = match arguments {
            [left, right] => coerced(self.operation, left, right),
            _ => None,
        };
        match types {
            Some(types) => Ok(types.to_vec()),
            None => plan_err!("{}() takes two numbers", self.name()),
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let types = self.coerce_types(arguments)?;
        Ok(result_type(self.operation, &types[0], &types[1]))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = arguments.args.as_slice() else {
            return internal_err!("{}() takes two arguments", self.name());
        };
        if let Some(result) = self.at_once(left, right)? {
            return Ok(result);
        }
        let are_scalars =
            matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if are_scalars { 1 } else { arguments.number_rows };
        let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
        let to = arguments.return_field.data_type();
        let result = self.calculate(&left, &right, to)?;
        if are_scalars {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn datum(value: &ColumnarValue) -> Result<Box<dyn Datum>> {
    Ok(match value {
        ColumnarValue::Array(array) => Box::new(Arc::clone(array)),
        ColumnarValue::Scalar(scalar) => Box::new(scalar.to_scalar()?),
    })
}

/// Calculates with numbers of one type.
type Calculate<N> = fn(Operation, N, N) -> Result<N, Failure>;

/// Why there is no result.
enum Failure {
    Zero,
    Overflow,
    Decimal(u8, i8),
}

impl Arithmetic {
    /// Sums, differences and products of a column with a column or a constant, by Arrow's kernels;
    /// none where these have no result, since one does not fit.
    fn at_once(
        &self,
        left: &ColumnarValue,
        right: &ColumnarValue,
    ) -> Result<Option<ColumnarValue>> {
        let kind = left.data_type();
        let is_plain = kind.is_integer() || matches!(kind, DataType::Float32 | DataType::Float64);
        let are_scalars =
            matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        if !is_plain || kind != right.data_type() || are_scalars {
            return Ok(None);
        }
        let kernel = match self.operation {
            Operation::Add => numeric::add,
            Operation::Subtract => numeric::sub,
            Operation::Multiply => numeric::mul,
            _ => return Ok(None),
        };
        let (left, right) = (datum(left)?, datum(right)?);
        Ok(kernel(left.as_ref(), right.as_ref()).ok().map(ColumnarValue::Array))
    }

    fn calculate(&self, left: &ArrayRef, right: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        let to_same = |values: &ArrayRef| converted(values, left.data_type(), Casting::strict(UTC));
        match left.data_type() {
            DataType::Decimal128(..) => self.decimals(left, right, to),
            DataType::Float64 => self.numbers::<Float64Type>(left, &to_same(right)?, real),
            DataType::Float32 => self.numbers::<Float32Type>(left, &to_same(right)?, real),
            DataType::Int8 => self.numbers::<Int8Type>(left, &to_same(right)?, whole),
            DataType::Int16 => self.numbers::<Int16Type>(left, &to_same(right)?, whole),
            DataType::Int32 => self.numbers::<Int32Type>(left, &to_same(right)?, whole),
            DataType::Int64 => self.numbers::<Int64Type>(left, &to_same(right)?, whole),
            DataType::Null => Ok(arrow::array::new_null_array(to, left.len())),
            other => internal_err!("{}() over {other}", self.name()),
        }
    }

    fn numbers<T: ArrowPrimitiveType>(
        &self,
        left: &ArrayRef,
        right: &ArrayRef,
        calculate: Calculate<T::Native>,
    ) -> Result<ArrayRef> {
        let (left, right) = (left.as_primitive::<T>(), right.as_primitive::<T>());
        let operation = self.operation;
        self.each::<T, T>(left, right, |left, right| calculate(operation, left, right))
    }

    fn each<T: ArrowPrimitiveType, R: ArrowPrimitiveType>(
        &self,
        left: &PrimitiveArray<T>,
        right: &PrimitiveArray<T>,
        calculate: impl Fn(T::Native, T::Native) -> Result<R::Native, Failure>,
    ) -> Result<ArrayRef> {
        if self.tolerant {
            let results = left.iter().zip(right.iter());
            let results = results
                .map(|(left, right)| left.zip(right).and_then(|(l, r)| calculate(l, r).ok()));
            return Ok(Arc::new(results.collect::<PrimitiveArray<R>>()));
        }
        let results = try_binary::<_, _, _, R>(left, right, |left, right| {
            calculate(left, right).map_err(|failure| self.words(&failure))
        });
        match results {
            Ok(results) => Ok(Arc::new(results)),
            Err(ArrowError::ComputeError(words)) => Err(DataFusionError::Execution(words)),
            Err(other) => Err(other.into()),
        }
    }

    /// The function that gives null instead.
    fn tolerant_name(&self) -> &'static str {
        match self.operation {
            Operation::Add => "try_add",
            Operation::Subtract => "try_subtract",
            Operation::Multiply => "try_multiply",
            Operation::Divide | Operation::DivideWhole => "try_divide",
            Operation::Remainder | Operation::PositiveRemainder => "try_mod",
        }
    }

    /// Spark's words for a failure.
    fn words(&self, failure: &Failure) -> ArrowError {
        let words = match (failure, self.operation) {
            (Failure::Zero, Operation::Remainder | Operation::PositiveRemainder) => {
                "[REMAINDER_BY_ZERO] Remainder by zero. Use `try_mod` to tolerate divisor being 0 and return NULL instead".to_owned()
            }
            (Failure::Zero, _) => {
                "[DIVIDE_BY_ZERO] Division by zero. Use `try_divide` to tolerate divisor being 0 and return NULL instead".to_owned()
            }
            (Failure::Overflow, Operation::DivideWhole) => {
                "[ARITHMETIC_OVERFLOW] Overflow in integral divide. Use 'try_divide' to tolerate overflow and return NULL instead".to_owned()
            }
            (Failure::Overflow, _) => {
                let tolerant = self.tolerant_name();
                format!("[ARITHMETIC_OVERFLOW] overflow. Use '{tolerant}' to tolerate overflow and return NULL instead")
            }
            (Failure::Decimal(precision, scale), _) => {
                let tolerant = self.tolerant_name();
                format!("[NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION] a result cannot be represented as Decimal({precision}, {scale}). Use `{tolerant}` to tolerate overflow and return NULL instead")
            }
        };
        ArrowError::ComputeError(words)
    }

    fn decimals(&self, left: &ArrayRef, right: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        let scale_of = |values: &ArrayRef| match values.data_type() {
            DataType::Decimal128(_, scale) => Ok(i32::from(*scale)),
            other => internal_err!("{}() over {other}", self.name()),
        };
        let right = match right.data_type() {
            DataType::Decimal128(..) => Arc::clone(right),
            other => cast(right, &as_decimal(other.clone()))?,
        };
        let scales = (scale_of(left)?, scale_of(&right)?);
        let operation = self.operation;
        let (left, right) =
            (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
        let &DataType::Decimal128(precision, scale) = to else {
            return self.each::<Decimal128Type, Int64Type>(left, right, |left, right| {
                let quotient = decimal(operation, left, right, scales, 0)?;
                quotient.to_i128().and_then(|q| i64::try_from(q).ok()).ok_or(Failure::Overflow)
            });
        };
        let results = self.each::<Decimal128Type, Decimal128Type>(left, right, |left, right| {
            let too_large = Failure::Decimal(precision, scale);
            let result = decimal(operation, left, right, scales, i32::from(scale))?;
            match result.to_i128() {
                Some(result) if Decimal128Type::is_valid_decimal_precision(result, precision) => {
                    Ok(result)
                }
                _ => Err(too_large),
            }
        })?;
        let results = results.as_primitive::<Decimal128Type>().clone();
        Ok(Arc::new(results.with_data_type(to.clone())))
    }
}

fn whole<N: ArrowNativeTypeOp>(operation: Operation, left: N, right: N) -> Result<N, Failure> {
    let checked = |result: Result<N, ArrowError>| result.map_err(|_| Failure::Overflow);
    match operation {
        Operation::Add => checked(left.add_checked(right)),
        Operation::Subtract => checked(left.sub_checked(right)),
        Operation::Multiply => checked(left.mul_checked(right)),
        _ if right.is_zero() => Err(Failure::Zero),
        Operation::Divide | Operation::DivideWhole => checked(left.div_checked(right)),
        Operation::Remainder => Ok(left.mod_wrapping(right)),
        Operation::PositiveRemainder => {
            let rest = left.mod_wrapping(right);
            let is_negative = rest.is_lt(N::ZERO);
            Ok(if is_negative { rest.add_wrapping(right).mod_wrapping(right) } else { rest })
        }
    }
}

fn real<N: ArrowNativeTypeOp>(operation: Operation, left: N, right: N) -> Result<N, Failure> {
    Ok(match operation {
        Operation::Add => left.add_wrapping(right),
        Operation::Subtract => left.sub_wrapping(right),
        Operation::Multiply => left.mul_wrapping(right),
        _ if right.is_zero() => return Err(Failure::Zero),
        Operation::Divide | Operation::DivideWhole => left.div_wrapping(right),
        Operation::Remainder => left.mod_wrapping(right),
        Operation::PositiveRemainder => {
            let rest = left.mod_wrapping(right);
            let is_negative = rest.is_lt(N::ZERO);
            if is_negative { rest.add_wrapping(right).mod_wrapping(right) } else { rest }
        }
    })
}

/// A result in units of `10^-scale`, rounded half up; `div` is cut.
fn decimal(
    operation: Operation,
    left: i128,
    right: i128,
    (left_scale, right_scale): (i32, i32),
    scale: i32,
) -> Result<i256, Failure> {
    let common = left_scale.max(right_scale);
    let (left, right) = (i256::from_i128(left), i256::from_i128(right));
    let aligned = || {
        let left = shifted(left, common - left_scale)?;
        Ok::<_, Failure>((left, shifted(right, common - right_scale)?))
    };
    match operation {
        Operation::Add | Operation::Subtract => {
            let (left, right) = aligned()?;
            let right = if operation == Operation::Add { right } else { right.wrapping_neg() };
            rounded(left.checked_add(right).ok_or(Failure::Overflow)?, common - scale)
        }
        Operation::Multiply => {
            let product = left.checked_mul(right).ok_or(Failure::Overflow)?;
            rounded(product, left_scale + right_scale - scale)
        }
        _ if right == i256::ZERO => Err(Failure::Zero),
        Operation::Divide => {
            let shift = scale + right_scale - left_scale;
            let (left, right) = if shift < 0 {
                (left, shifted(right, -shift)?)
            } else {
                (shifted(left, shift)?, right)
            };
            divided(left, right)
        }
        Operation::DivideWhole => {
            let (left, right) = aligned()?;
            left.checked_div(right).ok_or(Failure::Overflow)
        }
        Operation::Remainder | Operation::PositiveRemainder => {
            let (left, right) = aligned()?;
            let rest = left.checked_rem(right).ok_or(Failure::Overflow)?;
            let is_wrong = operation == Operation::PositiveRemainder && rest.is_negative();
            let rest = if is_wrong { rest.wrapping_add(right).wrapping_rem(right) } else { rest };
            rounded(rest, common - scale)
        }
    }
}

fn power_of_ten(exponent: i32) -> Option<i256> {
    i256::from_i128(10).checked_pow(u32::try_from(exponent).ok()?)
}

fn shifted(value: i256, digits: i32) -> Result<i256, Failure> {
    let power = power_of_ten(digits).ok_or(Failure::Overflow)?;
    value.checked_mul(power).ok_or(Failure::Overflow)
}

/// Without the last digits; with more where the number is negative.
fn rounded(value: i256, digits: i32) -> Result<i256, Failure> {
    if digits <= 0 {
        return shifted(value, -digits);
    }
    divided(value, power_of_ten(digits).ok_or(Failure::Overflow)?)
}

/// A quotient, rounded half up (away from zero).
fn divided(left: i256, right: i256) -> Result<i256, Failure> {
    let quotient = left.checked_div(right).ok_or(Failure::Overflow)?;
    let rest = left.wrapping_rem(right).wrapping_abs();
    if rest < right.wrapping_abs().wrapping_sub(rest) {
        return Ok(quotient);
    }
    let up = if left.is_negative() == right.is_negative() { 1 } else { -1 };
    quotient.checked_add(i256::from_i128(up)).ok_or(Failure::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn dec(precision: u8, scale: i8) -> DataType {
        DataType::Decimal128(precision, scale)
    }

    #[test]
    fn decimals_have_the_types_that_spark_gives_them() {
        use Operation::{Add, Divide, Multiply, Remainder};
        for (operation, left, right, result) in [
            (Divide, dec(10, 2), dec(10, 2), dec(23, 13)),
            (Divide, dec(2, 1), dec(1, 0), dec(7, 6)),
            (Divide, dec(15, 1), dec(20, 0), dec(36, 22)),
            (Multiply, dec(10, 2), dec(10, 2), dec(21, 4)),
            (Multiply, dec(38, 18), dec(38, 18), dec(38, 6)),
            (Add, dec(10, 2), dec(1, 0), dec(11, 2)),
            (Remainder, dec(2, 1), dec(1, 0), dec(2, 1)),
        ] {
            assert_eq!(result_type(operation, &left, &right), result, "{operation:?}");
        }
    }

    #[test]
    fn decimals_are_rounded_half_up() {
        let divide = |left, right| decimal(Operation::Divide, left, right, (2, 0), 2).ok();
        assert_eq!(divide(100, 3), Some(i256::from_i128(33)));
        assert_eq!(divide(200, 3), Some(i256::from_i128(67)));
        assert_eq!(divide(-200, 3), Some(i256::from_i128(-67)));
        assert_eq!(divide(1, 2), Some(i256::from_i128(1)));
        assert!(divide(1, 0).is_none());
    }

    #[test]
    fn whole_numbers_do_not_wrap_around() {
        assert!(matches!(whole(Operation::Add, i32::MAX, 1), Err(Failure::Overflow)));
        assert!(matches!(whole(Operation::Remainder, 7, 0), Err(Failure::Zero)));
        assert_eq!(whole(Operation::Remainder, -7, 3).ok(), Some(-1));
        assert_eq!(whole(Operation::PositiveRemainder, -7, 3).ok(), Some(2));
        assert_eq!(whole(Operation::PositiveRemainder, 7, -3).ok(), Some(1));
    }
}
