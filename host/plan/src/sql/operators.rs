//! Operators and subscripts, planned as Spark means them.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::logical::common_of;
use tidemill_functions::{Access, element, find, unbuilt};

/// Plans operators as the functions that they are, and `array[index]` and `map[key]`.
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
        if let Some(name) = function(&expr.op) {
            return called(name, operands(name, expr.left, expr.right));
        }
        if is_comparison(&expr.op) {
            // Before DataFusion complains of the types in its own words.
            common_of(&[left, right])?;
        }
        Ok(PlannerResult::Original(expr))
    }

    fn plan_position(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        called("position", arguments.into_iter().rev().collect())
    }

    fn plan_substring(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        called("substring", arguments)
    }

    fn plan_overlay(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        called("overlay", arguments)
    }

    fn plan_extract(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        called("extract", arguments)
    }

    fn plan_array_literal(
        &self,
        values: Vec<Expr>,
        _: &DFSchema,
    ) -> Result<PlannerResult<Vec<Expr>>> {
        called("array", values)
    }

    fn plan_make_map(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        called("map", arguments)
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
        Ok(PlannerResult::Planned(element(Access::Subscript, expr.expr, key)))
    }
}

/// The function that an operator is: Spark's functions have its sign as their name.
fn function(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::MyIntegerDivide => "div",
        BinaryOperator::Modulo => "%",
        BinaryOperator::StringConcat => CONCAT,
        _ => return None,
    })
}

/// The function that `||` is.
const CONCAT: &str = "concat";

/// Several `||` are one call, which knows how long the result will be.
fn operands(name: &str, left: Expr, right: Expr) -> Vec<Expr> {
    let mut operands = match left {
        Expr::ScalarFunction(call) if name == CONCAT && call.func.name() == CONCAT => call.args,
        other => vec![other],
    };
    operands.push(right);
    operands
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// What the parser has a syntax of its own for is a call like any other.
fn called<T>(name: &str, arguments: Vec<Expr>) -> Result<PlannerResult<T>> {
    match find(name).and_then(unbuilt) {
        Some(function) => Ok(PlannerResult::Planned(function.call(arguments))),
        None => plan_err!("{name}() is not supported yet"),
    }
}
