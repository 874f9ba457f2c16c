//! Operators, which have their signs as names.

use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, Operator, binary_expr};
use datafusion_spark::function::bitwise;
use tidemill_types::format_type;

use super::{of, required};
use crate::call::Call;
use crate::function::Function;
use crate::kernels::arithmetic::{Operation, calculated};
use crate::kernels::{interval_arithmetic, intervals};
use crate::parameters::Takes::{Any, Whole};

/// An operator between two values.
macro_rules! operator {
    ($name:literal, $usage:literal, $operation:expr, $operator:expr, $query:literal, $cell:literal) => {
        Function::scalar($name, $usage, &[required("left", Any), required("right", Any)], |call| {
            operator(call, $operation, $operator)
        })
        .null_intolerant()
        .example($query, $cell)
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    operator!(
        "%",
        "The remainder of a division; its sign is the dividend's.",
        Operation::Remainder,
        Operator::Modulo,
        "SELECT 7 % 4",
        "3"
    ),
    operator!("*", "A product.", Operation::Multiply, Operator::Multiply, "SELECT 2 * 3", "6"),
    operator!("+", "A sum.", Operation::Add, Operator::Plus, "SELECT 1 + 2", "3"),
    operator!("-", "A difference.", Operation::Subtract, Operator::Minus, "SELECT 2 - 1", "1"),
    operator!(
        "/",
        "A quotient, a DOUBLE or a DECIMAL.",
        Operation::Divide,
        Operator::Divide,
        "SELECT 3 / 2",
        "1.5"
    ),
    operator!(
        "div",
        "A quotient without its fraction, a BIGINT.",
        Operation::DivideWhole,
        Operator::IntegerDivide,
        "SELECT 7 div 2",
        "3"
    ),
    Function::scalar(
        "~",
        "A whole number with each bit turned over.",
        &[required("expr", Whole)],
        of!(bitwise::bitwise_not),
    )
    .null_intolerant()
    .example("SELECT ~ 0", "-1"),
];

/// Numbers are calculated with by Spark's rules, and times by DataFusion's.
fn operator(call: &Call, operation: Operation, operator: Operator) -> Result<Expr> {
    let operand = |place| (call.argument(place), call.kind(place).clone());
    let (left, right) = (operand(0), operand(1));
    if let Some(calculated) = calculated(operation, left.clone(), right.clone())? {
        return Ok(calculated);
    }
    let of_intervals = interval_arithmetic::calculated;
    if let Some(calculated) = of_intervals(operation, false, left.clone(), right.clone())? {
        return Ok(calculated);
    }
    let is_sum = matches!(operator, Operator::Plus | Operator::Minus);
    if is_sum
        && let Some(calculated) =
            intervals::calculated(operator, (left.0.clone(), &left.1), (right.0.clone(), &right.1))?
    {
        return Ok(calculated);
    }
    let is_of_time = |kind: &DataType| kind.is_temporal() || kind.is_null();
    if [&left.1, &right.1].into_iter().any(is_of_time) {
        return Ok(binary_expr(left.0, operator, right.0));
    }
    let spelled = |kind: &DataType| format_type(kind).to_uppercase();
    let (first, second) = (spelled(&left.1), spelled(&right.1));
    if left.1 != right.1 {
        return plan_err!(
            "[DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES] Cannot resolve \"{operator}\" due to data type mismatch: the left and right operands of the binary operator have incompatible types (\"{first}\" and \"{second}\"); cast one of them"
        );
    }
    plan_err!(
        "[DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE] Cannot resolve \"{operator}\" due to data type mismatch: the binary operator requires the input type \"NUMERIC\", not \"{first}\"; cast it"
    )
}
