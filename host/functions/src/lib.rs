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
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, HigherOrderUDF};
use tidemill_types::UTC;

pub use aggregates::{check as check_aggregate, contains_map, extreme_of};
pub use call::{Call, build, called, generate};
pub use catalog::{Group, LeftOut, find, groups, left_out, suggestion};
pub use function::{Build, Determinism, Function, Generate, Nulls, Shape, Spelled};
pub use generator::Generated;
pub use interval_fields::{
    interval_fields_of, interval_fields_said, interval_literal, interval_range,
    with_interval_fields,
};
pub use kernels::asserting::only_row;
pub use kernels::batch_time::BatchTime;
pub use kernels::bounded::{bounded, check_constants, is_bounded, reckoned};
pub use kernels::cast::{CAST, TRY_CAST, cast_by, cast_to, is_of_type, try_cast_to};
pub use kernels::elements::{Access, element};
pub use kernels::fields::struct_field;
pub use kernels::growth::value_bytes;
pub use kernels::intervals::day_time_micros;
pub use kernels::lambdas::SORTED_BY;
pub use kernels::made;
pub use kernels::session::session_zone;
pub use kernels::times::sums::{TIMESTAMP_MINUS, TIMESTAMP_PLUS};
pub use memory::column_bytes;
pub use parameters::{Parameter, Takes, assigned};

/// TIMESTAMP, in the zone that columns have.
#[must_use]
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// A function that takes a lambda, by its name.
#[must_use]
pub fn higher_order_named(name: &str) -> Option<Arc<HigherOrderUDF>> {
    if name == SORTED_BY {
        return Some(kernels::lambdas::sorted_by());
    }
    match find(name)?.shape {
        Shape::HigherOrder(make) => Some(make()),
        _ => None,
    }
}

/// Whether a kernel without a descriptor of its own, which an operator or a cast becomes, gives null for
/// any null, as Spark knows.
#[must_use]
pub fn is_null_intolerant_kernel(name: &str) -> bool {
    matches!(name, CAST | TIMESTAMP_PLUS | TIMESTAMP_MINUS)
        || kernels::interval_arithmetic::NAMES.contains(&name)
}

/// Whether a function of that name, whatever its case, is an aggregate.
#[must_use]
pub fn is_aggregate(name: &str) -> bool {
    find(name).is_some_and(Function::is_aggregate)
}

/// The arguments of an aggregate, cast to what it takes; none where they are so already.
///
/// # Errors
/// There are too few or too many, or one of another kind.
pub fn coerced_aggregate(
    name: &str,
    arguments: Vec<(Expr, DataType)>,
) -> Result<Option<Vec<Expr>>> {
    let Some(function) = find(name).filter(|function| function.is_aggregate()) else {
        return Ok(None);
    };
    let before: Vec<DataType> = arguments.iter().map(|(_, kind)| kind.clone()).collect();
    let after = parameters::coerced(function, arguments)?;
    let is_same = after.iter().map(|(_, kind)| kind).eq(&before);
    Ok((!is_same).then(|| after.into_iter().map(|(argument, _)| argument).collect()))
}
