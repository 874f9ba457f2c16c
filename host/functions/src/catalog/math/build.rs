//! Calls that are built by the types of their arguments.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, ScalarUDF, lit, when};
use datafusion_spark::function::math as spark;

use crate::call::Call;
use crate::catalog::find;
use crate::kernels::arithmetic::{Arithmetic, Operation, calculated_as};
use crate::kernels::cast::cast_to;
use crate::kernels::digits::Rounding;
use crate::kernels::logarithm::Logarithm;
use crate::kernels::rounding::round_to;
use crate::kernels::{interval_arithmetic, whole};

/// Arithmetic of two arguments, which are cast to what it takes.
pub(super) fn operated(call: &mut Call, operation: Operation, tolerant: bool) -> Result<Expr> {
    let is_small =
        |kind: &DataType| matches!(kind, DataType::Int8 | DataType::Int16 | DataType::Int32);
    let of_days = match (operation, call.kind(0), call.kind(1)) {
        (Operation::Add, DataType::Date32, days) if is_small(days) => Some(("date_add", [0, 1])),
        (Operation::Add, days, DataType::Date32) if is_small(days) => Some(("date_add", [1, 0])),
        (Operation::Subtract, DataType::Date32, days) if is_small(days) => {
            Some(("date_sub", [0, 1]))
        }
        _ => None,
    };
    if let Some((function, places)) = of_days.and_then(|(name, at)| Some((find(name)?, at))) {
        let arguments = places.map(|at| (call.argument(at), call.kind(at).clone()));
        return crate::call::build(function, arguments.to_vec());
    }
    let side = |place| (call.argument(place), call.kind(place).clone());
    let is_of_time = |place| matches!(call.kind(place), DataType::Date32 | DataType::Timestamp(..));
    let is_interval =
        |place| matches!(call.kind(place), DataType::Interval(_) | DataType::Duration(_));
    let operator = match operation {
        Operation::Add => find("+"),
        Operation::Subtract => find("-"),
        _ => None,
    };
    if let Some(operator) = operator
        && (is_of_time(0) && is_interval(1) || is_interval(0) && is_of_time(1))
    {
        return crate::call::build(operator, vec![side(0), side(1)]);
    }
    if let Some(of_intervals) =
        interval_arithmetic::calculated(operation, tolerant, side(0), side(1))?
    {
        return Ok(of_intervals);
    }
    match calculated_as(operation, tolerant, side(0), side(1))? {
        Some(calculated) => Ok(calculated),
        None => Ok(arithmetic(call, operation, tolerant)),
    }
}

/// The least number has no positive counterpart.
pub(super) fn absolute(call: &mut Call) -> Result<Expr> {
    if interval_arithmetic::is_of_one_kind(call.kind(0)) {
        return Ok(interval_arithmetic::absolute().call(vec![call.argument(0)]));
    }
    if call.kind(0).is_string() || call.kind(0).is_null() {
        let value = cast_to(call.argument(0), &DataType::Float64);
        call.set(0, value, DataType::Float64);
    }
    if call.kind(0).is_integer() {
        return Ok(call.of(&whole::absolute()));
    }
    if !call.kind(0).is_numeric() {
        return Err(call.wrong(0, "NUMERIC\" or \"ANSI INTERVAL"));
    }
    Ok(call.of(&spark::abs()))
}

/// The digits that are asked for; they have to be written out.
fn digits_of(call: &Call) -> Result<Option<Option<i32>>> {
    if call.count() == 1 {
        return Ok(Some(None));
    }
    if call.is_null(1) {
        return Ok(None);
    }
    match call.argument(1) {
        Expr::Literal(ScalarValue::Int32(digits), _) => Ok(digits.map(Some)),
        Expr::Negative(value)
            if matches!(*value, Expr::Literal(ScalarValue::Int32(Some(_)), _)) =>
        {
            match *value {
                Expr::Literal(ScalarValue::Int32(Some(digits)), _) => Ok(Some(Some(-digits))),
                _ => Ok(None),
            }
        }
        _ => plan_err!(
            "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] {}(): the number of digits has to be written out",
            call.name()
        ),
    }
}

/// The type of NULL among numbers.
fn without_null(call: &mut Call) {
    if call.kind(0).is_null() {
        let value = cast_to(call.argument(0), &DataType::Float64);
        call.set(0, value, DataType::Float64);
    }
}

pub(super) fn rounded(call: &mut Call, name: &'static str, rounding: Rounding) -> Result<Expr> {
    without_null(call);
    let Some(digits) = digits_of(call)? else {
        return Ok(Expr::Literal(ScalarValue::try_from(call.kind(0))?, None));
    };
    Ok(round_to(name, rounding, Some(digits.unwrap_or(0))).call(vec![call.argument(0)]))
}

/// `ceil` and `floor`: of two arguments, the number is a DECIMAL.
pub(super) fn limited(call: &mut Call, name: &'static str, rounding: Rounding) -> Result<Expr> {
    without_null(call);
    let digits = digits_of(call)?;
    if digits == Some(None) {
        return Ok(round_to(name, rounding, None).call(vec![call.argument(0)]));
    }
    let decimal = match call.kind(0) {
        DataType::Float32 => DataType::Decimal128(14, 7),
        DataType::Float64 => DataType::Decimal128(30, 15),
        kind => tidemill_types::decimal_of_whole(kind).unwrap_or_else(|| kind.clone()),
    };
    let Some(digits) = digits else {
        return Ok(Expr::Literal(ScalarValue::try_from(&decimal)?, None));
    };
    let value = match call.kind(0) {
        kind if *kind == decimal => call.argument(0),
        // NaN and what is infinite have no DECIMAL.
        DataType::Float32 | DataType::Float64 => {
            let double = cast_to(call.argument(0), &DataType::Float64);
            let is_finite = double.clone().between(lit(f64::MIN), lit(f64::MAX));
            when(is_finite, cast_to(call.argument(0), &decimal)).end()?
        }
        _ => cast_to(call.argument(0), &decimal),
    };
    Ok(round_to(name, rounding, digits).call(vec![value]))
}

/// Casts all arguments to one type; texts are not read as numbers here.
pub(super) fn ordered(call: &mut Call) -> Result<()> {
    let is_text = |place: &usize| call.kind(*place).is_string();
    let is_other = |place: &usize| !call.kind(*place).is_string() && !call.kind(*place).is_null();
    if (0..call.count()).any(|p| is_text(&p)) && (0..call.count()).any(|p| is_other(&p)) {
        return plan_err!(
            "[DATATYPE_MISMATCH.DATA_DIFF_TYPES] {}(): the arguments should all be of one type, and some are a \"STRING\"; cast them",
            call.name()
        );
    }
    call.unite(0).map(drop)
}

fn arithmetic(call: &Call, operation: Operation, tolerant: bool) -> Expr {
    call.of(&Arc::new(ScalarUDF::new_from_impl(Arithmetic::new(operation, tolerant))))
}

pub(super) fn logarithm(call: &Call, name: &'static str) -> Expr {
    call.of(&Arc::new(ScalarUDF::new_from_impl(Logarithm::named(name))))
}

/// The least number has no positive counterpart.
pub(super) fn negative(call: &mut Call) -> Result<Expr> {
    let kind = call.kind(0).clone();
    if kind.is_integer() {
        let zero = Expr::Literal(ScalarValue::new_zero(&kind)?, None);
        let value = call.argument(0);
        call.set(0, zero, kind.clone());
        call.set(1, value, kind);
        return Ok(arithmetic(call, Operation::Subtract, false));
    }
    let value = call.argument(0);
    if interval_arithmetic::is_of_one_kind(&kind) {
        return Ok(interval_arithmetic::negated().call(vec![value]));
    }
    Ok(Expr::Negative(Box::new(value)))
}

/// The digits that are meant where none are said.
pub(super) fn with_zero(name: &str, mut arguments: Vec<String>) -> String {
    if arguments.len() == 1 {
        arguments.push("0".to_owned());
    }
    format!("{name}({})", arguments.join(", "))
}
