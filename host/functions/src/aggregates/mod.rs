//! Spark's aggregates, where DataFusion has none or another.
//!
//! `count`, `bool_and`, `bool_or`, `bit_*`, and `min` and `max` of most types are DataFusion's.

pub(crate) mod bag;
mod best;
mod bias;
pub(crate) mod bitmaps;
pub(crate) mod count_min;
pub(crate) mod distinct;
mod doubles;
mod extreme;
pub(crate) mod fold;
pub(crate) mod frequent;
pub(crate) mod histogram;
mod item_table;
pub(crate) mod items;
mod java_hash;
mod java_random;
mod lists;
pub(crate) mod moments;
pub(crate) mod pairs;
pub(crate) mod pick;
pub(crate) mod quantiles;
pub(crate) mod sum;
mod summary;
mod types;
pub(crate) mod vectors;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{AggregateUDF, Expr};

use self::extreme::Extreme;
use self::fold::made;
use self::pick::Pick;
pub use self::types::contains_map;
use crate::function::Function;
use crate::parameters::{Parameter, Takes};

/// `max` or `min` of values that DataFusion compares otherwise than Spark, or not by groups; none
/// for others.
pub fn extreme_of(
    max: bool,
    argument: &Expr,
    kind: &DataType,
) -> Option<(Arc<AggregateUDF>, Vec<Expr>)> {
    if kind.is_floating() {
        return Some((Arc::new(made(Extreme { max })), vec![argument.clone()]));
    }
    if kind.is_nested() || *kind == DataType::Boolean {
        let pick = if max { Pick::MaxBy } else { Pick::MinBy };
        return Some((Arc::new(made(pick)), vec![argument.clone(); 2]));
    }
    None
}

/// Checks a call's literal arguments before anything runs.
///
/// # Errors
/// A share of a percentile is written out, and is not from 0 to 1.
pub(crate) fn check(function: &Function, arguments: &[Expr]) -> Result<()> {
    let is_share = |parameter: &Parameter| parameter.takes == Takes::Share;
    let place = function.parameters.iter().position(is_share);
    let Some(Expr::Literal(share, _)) = place.and_then(|place| arguments.get(place)) else {
        return Ok(());
    };
    let share = share.cast_to(&DataType::Float64).ok();
    bag::shares(function.name, share.as_ref()).map(drop)
}
