//! Spark's aggregates, where DataFusion has none or another.
//!
//! `count`, `bool_and`, `bool_or`, `bit_*`, and `min` and `max` of most types are DataFusion's.

mod bag;
mod bias;
mod column;
mod distinct;
mod extreme;
mod fold;
mod items;
mod lists;
mod moments;
mod pairs;
mod pick;
mod quantiles;
mod sum;
mod summary;
mod types;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::{AggregateUDF, Expr};

use self::bag::Bag;
use self::distinct::ApproxCountDistinct;
use self::extreme::Extreme;
use self::fold::{Aggregate, Function};
use self::items::Items;
use self::moments::Moment;
use self::pairs::Pairs;
use self::pick::Pick;
use self::quantiles::ApproxPercentile;
use self::sum::Sum;
pub(crate) use self::types::contains_map;

/// All of them.
pub(crate) fn aggregates() -> Vec<AggregateUDF> {
    let mut all = vec![function(ApproxCountDistinct), function(ApproxPercentile)];
    for mean in [false, true] {
        all.extend([false, true].map(|tolerant| function(Sum { mean, tolerant })));
    }
    all.extend([Pick::First, Pick::Last, Pick::MaxBy, Pick::MinBy].map(function));
    all.extend([Bag::Set, Bag::Mode, Bag::Median].map(function));
    all.extend([Bag::Percentile, Bag::Continuous, Bag::Discrete].map(function));
    all.extend([Items::List, Items::Text].map(function));
    all.extend(Moment::ALL.map(function));
    all.extend(Pairs::ALL.map(function));
    all
}

/// Whether a function of that name, in lower case and as DataFusion has it, is an aggregate.
pub(super) fn is_aggregate(name: &str) -> bool {
    static NAMES: OnceLock<BTreeSet<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let others = all_default_aggregate_functions();
        let names = |aggregate: &AggregateUDF| {
            [&[aggregate.name().to_owned()], aggregate.aliases()].concat()
        };
        let ours = aggregates();
        ours.iter().chain(others.iter().map(AsRef::as_ref)).flat_map(names).collect()
    });
    names.contains(name)
}

/// Whether an aggregate reads a text as a number: it then fails on a text that is none.
pub(crate) fn computes_with_doubles(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["regr_", "covar_", "stddev", "var"];
    const NAMES: [&str; 11] = [
        "approx_percentile",
        "avg",
        "corr",
        "kurtosis",
        "median",
        "percentile",
        "percentile_cont",
        "percentile_disc",
        "skewness",
        "sum",
        "try_sum",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `max` or `min` of values that DataFusion compares otherwise than Spark, or not by groups; none
/// for others.
pub(crate) fn extreme_of(
    max: bool,
    argument: &Expr,
    kind: &DataType,
) -> Option<(Arc<AggregateUDF>, Vec<Expr>)> {
    if kind.is_floating() {
        return Some((Arc::new(function(Extreme { max })), vec![argument.clone()]));
    }
    if kind.is_nested() || *kind == DataType::Boolean {
        let pick = if max { Pick::MaxBy } else { Pick::MinBy };
        return Some((Arc::new(function(pick)), vec![argument.clone(); 2]));
    }
    None
}

/// Checks a call's literal arguments before anything runs.
///
/// # Errors
/// A share of a percentile is written out, and is not from 0 to 1.
pub(crate) fn check(name: &str, arguments: &[Expr]) -> Result<()> {
    const NAMES: [&str; 4] =
        ["approx_percentile", "percentile", "percentile_cont", "percentile_disc"];
    let Some(Expr::Literal(share, _)) = arguments.get(1).filter(|_| NAMES.contains(&name)) else {
        return Ok(());
    };
    bag::shares(name, share.cast_to(&DataType::Float64).ok().as_ref()).map(drop)
}

fn function<A: Aggregate>(aggregate: A) -> AggregateUDF {
    AggregateUDF::new_from_impl(Function::new(aggregate))
}
