//! Expressions that mean something else in Spark than in DataFusion.

use std::sync::LazyLock;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, TryCast, cast,
};

use crate::sql::BytesAsText;

/// Makes a plan's expressions mean what they mean in Spark. Columns keep their names.
pub(crate) fn as_spark(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        let names = NamePreserver::new(&node);
        node.map_expressions(|expression| {
            let name = names.save(&expression);
            let spark = expression.transform_up(|e| Ok(rewritten(e, &schema)))?;
            Ok(spark.update_data(|e| name.restore(e)))
        })
    })
    .map(|transformed| transformed.data)
}

fn rewritten(expression: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }) => {
            Transformed::yes(divided(*left, *right, schema))
        }
        Expr::Cast(Cast { expr, ref field }) | Expr::TryCast(TryCast { expr, ref field })
            if field.data_type().is_string() && is_bytes(&expr, schema) =>
        {
            static FUNCTION: LazyLock<ScalarUDF> =
                LazyLock::new(|| ScalarUDF::new_from_impl(BytesAsText::default()));
            Transformed::yes(FUNCTION.call(vec![*expr]))
        }
        other => Transformed::no(other),
    }
}

/// Spark's `/` over whole numbers gives a DOUBLE.
fn divided(left: Expr, right: Expr, schema: &DFSchema) -> Expr {
    let is_whole = |e: &Expr| e.get_type(schema).is_ok_and(|t| t.is_integer());
    let (left, right) = if is_whole(&left) && is_whole(&right) {
        (cast(left, DataType::Float64), cast(right, DataType::Float64))
    } else {
        (left, right)
    };
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::Divide, Box::new(right)))
}

fn is_bytes(expression: &Expr, schema: &DFSchema) -> bool {
    expression.get_type(schema).is_ok_and(|kind| kind.is_binary())
}
