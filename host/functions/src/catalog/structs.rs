//! Structs.

use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::Expr;

use super::repeated;
use crate::call::Call;
use crate::function::Function;
use crate::parameters::Takes::Any;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "named_struct",
        "A struct of names, which are written out, and values in turn.",
        &[repeated("name, value", Any)],
        named_struct,
    )
    .example("SELECT named_struct('a', 1, 'b', 2).b", "2"),
    Function::structure(
        "struct",
        "A struct of values: its fields have the names of the columns, else col1, col2 and so on.",
        &[repeated("exprs", Any)],
    )
    .example("SELECT struct(1, 2).col2", "2"),
];

fn named_struct(call: &mut Call) -> Result<Expr> {
    if !call.count().is_multiple_of(2) || call.count() == 0 {
        return plan_err!(
            "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] The `named_struct` requires 2n (n > 0) parameters but the actual number is {}",
            call.count()
        );
    }
    if let Some(place) = (0..call.count()).step_by(2).find(|place| call.text(*place).is_none()) {
        return plan_err!(
            "[DATATYPE_MISMATCH.CREATE_NAMED_STRUCT_WITHOUT_FOLDABLE_STRING] Only foldable \"STRING\" expressions are allowed to appear at odd position of `named_struct`, and argument {} is none",
            place + 1
        );
    }
    Ok(call.of(&datafusion::functions::core::named_struct()))
}
