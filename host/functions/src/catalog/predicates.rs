//! Functions that are true or false.

use datafusion::logical_expr::{Operator, binary_expr};

use super::required;
use crate::function::Function;
use crate::parameters::Takes::{Any, Double};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "equal_null",
        "Whether two values are equal, or both null.",
        &[required("expr1", Any), required("expr2", Any)],
        |call| {
            call.unite(0)?;
            Ok(binary_expr(call.argument(0), Operator::IsNotDistinctFrom, call.argument(1)))
        },
    )
    .example("SELECT equal_null(3, NULL)", "false"),
    Function::scalar(
        "isnan",
        "Whether a number is NaN; false for null.",
        &[required("expr", Double)],
        |call| {
            let is_nan = call.of(&datafusion::functions::math::isnan());
            Ok(is_nan.is_true())
        },
    )
    .example("SELECT isnan(double('NaN'))", "true"),
    Function::scalar(
        "isnotnull",
        "Whether a value is not null.",
        &[required("expr", Any)],
        |call| Ok(call.argument(0).is_not_null()),
    )
    .spelled(|_, arguments| format!("({} IS NOT NULL)", arguments.join(", ")))
    .example("SELECT isnotnull(1)", "true"),
    Function::scalar("isnull", "Whether a value is null.", &[required("expr", Any)], |call| {
        Ok(call.argument(0).is_null())
    })
    .spelled(|_, arguments| format!("({} IS NULL)", arguments.join(", ")))
    .example("SELECT isnull(1)", "false"),
];
