//! Filters that follow from what a join compares.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, LogicalPlan, Operator};

use super::constraints::inferred;
use tidemill_functions::{Nulls, find, is_null_intolerant_kernel};

/// Adds to the conditions of joins what follows from them for a side whose rows vanish when they
/// meet nothing: what is known of the other side, and that what they compare is not null. Spark
/// infers that and pushes it down: the rows that it removes are not kept, and where the filter does
/// not read event time they do not move the watermark.
pub(crate) fn infer_filters(plan: LogicalPlan) -> Result<LogicalPlan> {
    let inferred = plan.transform_up(|node| {
        let LogicalPlan::Join(mut join) = node else {
            return Ok(Transformed::no(node));
        };
        // NOT IN asks whether there is a null on the right.
        if join.null_aware {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        let (left, right) = inferred(&join)?;
        let new = [not_null(&join), left, right].concat();
        if new.is_empty() {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        join.filter = conjunction(join.filter.take().into_iter().chain(new));
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    });
    inferred.map(|inferred| inferred.data)
}

/// That the columns which a join compares are not null.
fn not_null(join: &Join) -> Vec<Expr> {
    let (left_may, right_may) = join.join_type.on_lr_is_preserved();
    let mut compared: Vec<Column> = Vec::new();
    let conditions = join.filter.iter().cloned().flat_map(split_conjunction_owned);
    conditions.for_each(|condition| compare_columns(&condition, &mut compared));
    if join.null_equality == NullEquality::NullEqualsNothing {
        for (left, right) in &join.on {
            compare_columns(left, &mut compared);
            compare_columns(right, &mut compared);
        }
    }
    let wanted = compared.into_iter().filter(|column| {
        let may_be_null = |side: &LogicalPlan, may: bool| {
            let place = side.schema().maybe_index_of_column(column);
            may && place.is_some_and(|place| side.schema().field(place).is_nullable())
        };
        may_be_null(&join.left, left_may) || may_be_null(&join.right, right_may)
    });
    wanted.map(|column| Expr::Column(column).is_not_null()).collect()
}

/// Whether Spark knows that a function gives null for a null. Others may do the same, and their
/// nulls meet in a join.
fn is_null_intolerant(function: &str) -> bool {
    is_null_intolerant_kernel(function)
        || find(function).is_some_and(|found| found.nulls == Nulls::Intolerant)
}

/// The columns that make a condition null when they are null, by expressions of which Spark knows
/// that.
fn compare_columns(condition: &Expr, columns: &mut Vec<Column>) {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let is_null_with_any = matches!(
                op,
                Operator::Eq
                    | Operator::NotEq
                    | Operator::Lt
                    | Operator::LtEq
                    | Operator::Gt
                    | Operator::GtEq
                    | Operator::Plus
                    | Operator::Minus
                    | Operator::Multiply
                    | Operator::Divide
                    | Operator::Modulo
            );
            if is_null_with_any {
                compare_columns(left, columns);
                compare_columns(right, columns);
            }
        }
        Expr::Between(between) => {
            for part in [&between.expr, &between.low, &between.high] {
                compare_columns(part, columns);
            }
        }
        Expr::Cast(cast) => compare_columns(&cast.expr, columns),
        Expr::Negative(inner) => compare_columns(inner, columns),
        Expr::ScalarFunction(call) if is_null_intolerant(call.func.name()) => {
            call.args.iter().for_each(|argument| compare_columns(argument, columns));
        }
        Expr::Column(column) if !columns.contains(column) => columns.push(column.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use arrow::datatypes::DataType;
    use datafusion::logical_expr::col;
    use tidemill_functions::build;

    use super::*;

    /// How many columns of a call are known to be present where it is.
    fn compared(name: &str) -> usize {
        let arguments = ["a", "b"].map(|column| (col(column), DataType::Int32));
        let count = if name == "abs" { 1 } else { 2 };
        let call = build(find(name).unwrap(), arguments[..count].to_vec()).unwrap();
        let mut columns = Vec::new();
        compare_columns(&call, &mut columns);
        columns.len()
    }

    #[test]
    fn spark_knows_of_arithmetic_that_null_gives_null() {
        for name in ["+", "-", "*", "/", "div", "%", "mod", "pmod"] {
            assert_eq!(compared(name), 2, "{name}");
        }
        assert_eq!(compared("abs"), 1);
        assert_eq!(compared("coalesce"), 0);
    }
}
