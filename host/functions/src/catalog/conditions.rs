//! Functions that choose among values.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, ScalarUDF, lit, when};

use super::{repeated, required};
use crate::function::{Chooses, Function};
use crate::kernels::coalesce::Coalesce;
use crate::parameters::Takes::{Any, Boolean, Double, Number};

/// What a join USING a column shows of both sides.
pub const COALESCE: Function = Function::scalar(
    "coalesce",
    "The first of its arguments that is not null.",
    &[required("expr", Any), repeated("exprs", Any)],
    |call| {
        call.unite(0)?;
        Ok(first_present(call.arguments()))
    },
)
.example("SELECT coalesce(NULL, 1, NULL)", "1");

pub(super) const FUNCTIONS: &[Function] = &[
    COALESCE,
    Function::scalar(
        "if",
        "The second argument where the first is true, else the third.",
        &[required("expr1", Boolean), required("expr2", Any), required("expr3", Any)],
        |call| {
            call.unite(1)?;
            when(call.argument(0), call.argument(1)).otherwise(call.argument(2))
        },
    )
    .choosing(Chooses::Conditions)
    .spelled(|_, arguments| format!("(IF({}))", arguments.join(", ")))
    .example("SELECT if(1 < 2, 'a', 'b')", "a"),
    Function::scalar(
        "ifnull",
        "The second argument where the first is null.",
        &[required("expr1", Any), required("expr2", Any)],
        |call| {
            call.unite(0)?;
            Ok(first_present(call.arguments()))
        },
    )
    .called(&["nvl"])
    .example("SELECT nvl(NULL, 2)", "2"),
    Function::scalar(
        "nanvl",
        "The second argument where the first is NaN.",
        &[required("expr1", Double), required("expr2", Double)],
        |call| {
            let is_nan = datafusion::functions::math::isnan().call(vec![call.argument(0)]);
            when(is_nan, call.argument(1)).otherwise(call.argument(0))
        },
    )
    .example("SELECT nanvl(double('NaN'), 123)", "123.0"),
    Function::scalar(
        "nullif",
        "Null where both arguments are equal, else the first.",
        &[required("expr1", Any), required("expr2", Any)],
        |call| {
            let value = call.argument(0);
            call.unite(0)?;
            let are_equal = call.argument(0).eq(call.argument(1));
            when(are_equal, Expr::Literal(ScalarValue::Null, None)).otherwise(value)
        },
    )
    .example("SELECT nullif(2, 2)", "NULL"),
    Function::scalar(
        "nullifzero",
        "Null where a number is zero.",
        &[required("expr", Number)],
        |call| {
            let zero = ScalarValue::new_zero(call.kind(0))?;
            let is_zero = call.argument(0).eq(Expr::Literal(zero, None));
            when(is_zero, Expr::Literal(ScalarValue::Null, None)).otherwise(call.argument(0))
        },
    )
    .example("SELECT nullifzero(0)", "NULL"),
    Function::scalar(
        "nvl2",
        "The second argument where the first is not null, else the third.",
        &[required("expr1", Any), required("expr2", Any), required("expr3", Any)],
        |call| {
            call.unite(1)?;
            when(call.argument(0).is_not_null(), call.argument(1)).otherwise(call.argument(2))
        },
    )
    .choosing(Chooses::Always)
    .example("SELECT nvl2(NULL, 2, 1)", "1"),
    Function::scalar(
        "zeroifnull",
        "Zero where a number is null.",
        &[required("expr", Any)],
        |call| {
            call.set(1, lit(0_i32), arrow::datatypes::DataType::Int32);
            call.unite(0)?;
            Ok(first_present(call.arguments()))
        },
    )
    .example("SELECT zeroifnull(NULL)", "0"),
];

fn first_present(arguments: Vec<Expr>) -> Expr {
    Arc::new(ScalarUDF::new_from_impl(Coalesce::default())).call(arguments)
}
