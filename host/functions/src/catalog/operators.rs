//! Operators, which have their signs as names.

use datafusion::common::Result;
use datafusion::logical_expr::{Expr, Operator, binary_expr};
use datafusion_spark::function::bitwise;

use super::{of, required};
use crate::call::Call;
use crate::function::Function;
use crate::kernels::arithmetic::{Operation, calculated};
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
    Ok(match calculated(operation, left.clone(), right.clone())? {
        Some(calculated) => calculated,
        None => binary_expr(left.0, operator, right.0),
    })
}
