//! Spark's `/` over whole numbers gives a DOUBLE.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, cast};

/// Casts the whole numbers that a plan divides. Columns keep their names.
pub(crate) fn divide_as_spark(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        let names = NamePreserver::new(&node);
        node.map_expressions(|expression| {
            let name = names.save(&expression);
            let cast = expression.transform_up(|e| widen(e, &schema))?;
            Ok(cast.update_data(|e| name.restore(e)))
        })
    })
    .map(|transformed| transformed.data)
}

fn widen(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }) = expression else {
        return Ok(Transformed::no(expression));
    };
    let is_whole = |e: &Expr| e.get_type(schema).is_ok_and(|t| t.is_integer());
    let (left, right) = if is_whole(&left) && is_whole(&right) {
        (cast(*left, DataType::Float64), cast(*right, DataType::Float64))
    } else {
        (*left, *right)
    };
    let divided = BinaryExpr::new(Box::new(left), Operator::Divide, Box::new(right));
    Ok(Transformed::yes(Expr::BinaryExpr(divided)))
}
