//! Spark's functions.
//!
//! Each has one [`Function`], its descriptor: names, arguments, what it makes of nulls, how it is
//! built. Whoever wants to know something of a function asks that; a function without one does not
//! exist. `catalog/` has the descriptors, by Spark's groups; `kernels/` what computes, and
//! `aggregates/` what folds.
//!
//! ```text
//! name ──find──▶ Function ──build (types are known)──▶ DataFusion's Expr, of kernels
//! ```

#![warn(missing_docs)]

mod aggregates;
mod call;
mod catalog;
mod column;
mod function;
mod generator;
mod interval_fields;
mod kernels;
mod memory;
mod parameters;

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{AggregateUDF, Expr};
use tidemill_types::UTC;

pub use aggregates::{contains_map, extreme_of};
pub use call::{Call, build, called, generate};
pub use catalog::{
    COALESCE, CONCAT, Group, LeftOut, MAP, NEGATIVE, POSITIVE, SEQUENCE, SESSION_WINDOW, STACK,
    WINDOW, WINDOW_TIME, find, first_value, groups, left_out, suggestion,
};
pub use function::{
    Build, Chooses, Determinism, Function, Generate, MakeHigherOrder, Nulls, Reads, Rewrite, Rows,
    Shape, Spelled,
};
pub use generator::Generated;
pub use interval_fields::{
    interval_fields_of, interval_fields_said, interval_literal, interval_range,
    with_interval_fields, without_interval_fields,
};
pub use kernels::asserting::only_row;
pub use kernels::batch_time::BatchTime;
pub use kernels::bounded::{bounded, check_constants, is_bounded, reckoned};
pub use kernels::cast::{CAST, TRY_CAST, cast_by, cast_to, is_of_type, try_cast_to};
pub use kernels::elements::{Access, element};
pub use kernels::fields::struct_field;
pub use kernels::growth::value_bytes;
pub use kernels::intervals::day_time_micros;
pub use kernels::made;
pub use kernels::session::session_zone;
pub use kernels::times::sums::{TIMESTAMP_MINUS, TIMESTAMP_PLUS};
pub use memory::column_bytes;
pub use parameters::{Parameter, Takes, Written, as_condition, assigned};

/// TIMESTAMP, in the zone that columns have.
#[must_use]
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// Whether a kernel without a descriptor of its own, which an operator or a cast becomes, gives null for
/// any null, as Spark knows.
#[must_use]
pub fn is_null_intolerant_kernel(name: &str) -> bool {
    matches!(name, CAST | TIMESTAMP_PLUS | TIMESTAMP_MINUS)
        || kernels::interval_arithmetic::NAMES.contains(&name)
        || name.starts_with(kernels::saying::SAYS)
}

/// Whether a function of that name, whatever its case, is an aggregate.
#[must_use]
pub fn is_aggregate(name: &str) -> bool {
    find(name).is_some_and(Function::is_aggregate)
}

/// The aggregate that a call becomes, with its arguments as that takes them. Arguments come with their
/// types.
///
/// # Errors
/// There are too few or too many, or one of another kind; or the function is no aggregate.
pub fn aggregate(
    function: &'static Function,
    mut arguments: Vec<(Expr, DataType)>,
    type_of: impl Fn(&Expr) -> Result<DataType>,
) -> Result<(Arc<AggregateUDF>, Vec<Expr>)> {
    let mut folded = function;
    if let Shape::Rewritten(rewrite) = function.shape {
        if arguments.len() != function.parameters.len() {
            parameters::coerced(function, arguments.clone())?;
        }
        let (other, values) = rewrite(arguments)?;
        let typed = values.into_iter().map(|value| Ok((type_of(&value)?, value)));
        let typed = typed.map(|typed: Result<_>| typed.map(|(kind, value)| (value, kind)));
        (folded, arguments) = (other, typed.collect::<Result<_>>()?);
    }
    let Shape::Aggregate(make) = folded.shape else {
        return plan_err!("{}() is no aggregate", function.name);
    };
    let values: Vec<Expr> = arguments.iter().map(|(argument, _)| argument.clone()).collect();
    aggregates::check(folded, &values)?;
    let coerced = parameters::coerced(folded, arguments)?;
    Ok((make(), coerced.into_iter().map(|(argument, _)| argument).collect()))
}
