//! Aggregates that are others of what a CASE gives.

use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, lit, when};
use tidemill_types::format_type;

use super::{AVG, COUNT};
use crate::function::Function;
use crate::parameters::as_condition;

type Arguments = Vec<(Expr, DataType)>;
type Rewritten = Result<(&'static Function, Vec<Expr>)>;

pub(super) fn count_if(arguments: Arguments) -> Rewritten {
    let mut conditions = Vec::with_capacity(1);
    for (condition, kind) in arguments {
        let Some(condition) = as_condition(condition, &kind) else {
            return plan_err!(
                "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] count_if(): the first parameter requires the \"BOOLEAN\" type, and has the type \"{}\"; write a comparison",
                format_type(&kind).to_uppercase()
            );
        };
        conditions.push(when(condition, lit(1_i32)).end()?);
    }
    Ok((&COUNT, conditions))
}

pub(super) fn regr_count(pair: Arguments) -> Rewritten {
    let present = pair.into_iter().map(|(value, _)| value.is_not_null()).reduce(Expr::and);
    let counted = present.map(|present| when(present, lit(1_i32)).end()).transpose()?;
    Ok((&COUNT, counted.into_iter().collect()))
}

pub(super) fn regr_avgx(pair: Arguments) -> Rewritten {
    mean_beside(pair.into_iter().rev())
}

pub(super) fn regr_avgy(pair: Arguments) -> Rewritten {
    mean_beside(pair.into_iter())
}

/// The mean of the first of two values, where the other is there.
fn mean_beside(mut pair: impl Iterator<Item = (Expr, DataType)>) -> Rewritten {
    let (value, other) = (pair.next(), pair.next());
    let present =
        value.zip(other).map(|((value, _), (other, _))| when(other.is_not_null(), value).end());
    Ok((&AVG, present.transpose()?.into_iter().collect()))
}
