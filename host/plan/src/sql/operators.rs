//! Operators and subscripts, planned as Spark means them.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, GetFieldAccess, Operator, ScalarUDF,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use datafusion_spark::function::string::concat;

use super::arithmetic::{Operation, calculated};
use super::bounded::bounded;
use super::cast::cast_to;
use super::elements::{Access, Element};

/// Plans arithmetic, comparisons of texts with numbers, and `array[index]` and `map[key]`.
#[derive(Debug)]
pub(crate) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        // What has no type yet is DataFusion's to complain of.
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema))
        else {
            return Ok(PlannerResult::Original(expr));
        };
        let planned = match (operation(&expr.op), comparison(&expr.op)) {
            (Some(operation), _) => {
                let operands = ((expr.left.clone(), left), (expr.right.clone(), right));
                calculated(operation, operands.0, operands.1)?
            }
            (None, Some(operator)) => compared(&expr, operator, &left, &right),
            (None, None) if expr.op == BinaryOperator::StringConcat => {
                concatenated(&expr, &left, &right)
            }
            (None, None) => None,
        };
        Ok(match planned {
            Some(planned) => PlannerResult::Planned(planned),
            None => PlannerResult::Original(expr),
        })
    }

    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let key = match (&expr.field_access, expr.expr.get_type(schema)?) {
            (GetFieldAccess::ListIndex { key }, DataType::List(_) | DataType::Map(..)) => {
                key.as_ref().clone()
            }
            (GetFieldAccess::NamedStructField { name }, DataType::Map(..)) => {
                Expr::Literal(name.clone(), None)
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let function = ScalarUDF::new_from_impl(Element::new(Access::Subscript));
        Ok(PlannerResult::Planned(function.call(vec![expr.expr, key])))
    }
}

fn operation(op: &BinaryOperator) -> Option<Operation> {
    Some(match op {
        BinaryOperator::Plus => Operation::Add,
        BinaryOperator::Minus => Operation::Subtract,
        BinaryOperator::Multiply => Operation::Multiply,
        BinaryOperator::Divide => Operation::Divide,
        BinaryOperator::MyIntegerDivide => Operation::DivideWhole,
        BinaryOperator::Modulo => Operation::Remainder,
        _ => return None,
    })
}

fn comparison(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return None,
    })
}

/// Texts one after the other are one call, which knows how long the result will be.
fn concatenated(expr: &RawBinaryExpr, left: &DataType, right: &DataType) -> Option<Expr> {
    if *left != DataType::Utf8 || *right != DataType::Utf8 {
        return None;
    }
    let function = Arc::new(bounded(&concat())?);
    let mut texts = match &expr.left {
        Expr::ScalarFunction(call) if *call.func == *function => call.args.clone(),
        other => vec![other.clone()],
    };
    texts.push(expr.right.clone());
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(function, texts)))
}

/// A text beside a number is read as a number.
fn compared(
    expr: &RawBinaryExpr,
    operator: Operator,
    left: &DataType,
    right: &DataType,
) -> Option<Expr> {
    let to = |other: &DataType| match other {
        whole if whole.is_integer() => Some(DataType::Int64),
        number if number.is_numeric() => Some(DataType::Float64),
        _ => None,
    };
    let (left, right) = if left.is_string() {
        (cast_to(expr.left.clone(), &to(right)?), expr.right.clone())
    } else if right.is_string() {
        (expr.left.clone(), cast_to(expr.right.clone(), &to(left)?))
    } else {
        return None;
    };
    Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right))))
}
