//! Functions of groups.

mod rewrite;

use std::sync::Arc;

use datafusion::functions_aggregate as df;
use datafusion::logical_expr::AggregateUDF;

use super::{optional, repeated, required};
use crate::aggregates::bag::Bag;
use crate::aggregates::bitmaps::Bitmap;
use crate::aggregates::count_min::CountMin;
use crate::aggregates::distinct::ApproxCountDistinct;
use crate::aggregates::fold::{Aggregate, made};
use crate::aggregates::frequent::TopK;
use crate::aggregates::histogram::Histogram;
use crate::aggregates::items::Items;
use crate::aggregates::moments::Moment;
use crate::aggregates::pairs::Pairs;
use crate::aggregates::pick::Pick;
use crate::aggregates::quantiles::ApproxPercentile;
use crate::aggregates::sum::Sum;
use crate::aggregates::vectors::VectorSum;
use crate::function::{Function, Reads};
use crate::parameters::Parameter;
use crate::parameters::Takes::{
    Any, Boolean, Double, DoubleOrInterval, Int, Long, NumberOrInterval, Share, Whole,
};

const NUMBER: &[Parameter] = &[required("expr", Double)];
const PAIR: &[Parameter] = &[required("y", Double), required("x", Double)];

macro_rules! ours {
    ($aggregate:expr) => {
        || ours($aggregate)
    };
}

fn ours(aggregate: impl Aggregate) -> Arc<AggregateUDF> {
    Arc::new(made(aggregate))
}

/// What counts are by.
const COUNT: Function = Function::aggregate(
    "count",
    "How many rows there are whose arguments are not null; `count(*)` counts all.",
    &[repeated("expr", Any)],
    df::count::count_udaf,
)
.reading(Reads::Rows);

/// What means of pairs are by.
const AVG: Function = Function::aggregate(
    "avg",
    "The mean of numbers or intervals.",
    &[required("expr", NumberOrInterval)],
    ours!(Sum { mean: true, tolerant: false }),
)
.with_all_interval_fields()
.called(&["mean"]);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::aggregate(
        "approx_count_distinct",
        "About how many different values there are: HyperLogLog++ with a relative deviation.",
        &[required("expr", Any), optional("relativeSD", Double)],
        ours!(ApproxCountDistinct),
    )
    .spelled(first_alone),
    Function::aggregate(
        "approx_percentile",
        "About the value below which a share of all values is, or an array for an array of shares.",
        &[required("col", Any), required("percentage", Share), optional("accuracy", Any)],
        ours!(ApproxPercentile),
    )
    .called(&["percentile_approx"])
    .spelled(|name, arguments| with(name, arguments, 2, "10000")),
    Function::aggregate(
        "approx_top_k",
        "The most frequent values and their counts, the most frequent first. They are exact up to `maxItemsTracked` different values.",
        &[required("expr", Any), optional("k", Int), optional("maxItemsTracked", Int)],
        ours!(TopK),
    )
    .spelled(|name, arguments| with(name, with_one(arguments, "5"), 2, "10000")),
    AVG,
    Function::aggregate(
        "bit_and",
        "The bits that are set in all whole numbers.",
        &[required("expr", Whole)],
        df::bit_and_or_xor::bit_and_udaf,
    ),
    Function::aggregate(
        "bit_or",
        "The bits that are set in any whole number.",
        &[required("expr", Whole)],
        df::bit_and_or_xor::bit_or_udaf,
    ),
    Function::aggregate(
        "bit_xor",
        "The bits that are set in an odd number of whole numbers.",
        &[required("expr", Whole)],
        df::bit_and_or_xor::bit_xor_udaf,
    ),
    Function::aggregate(
        "bitmap_and_agg",
        "The bits that are set in all bitmaps; one has 4,096 bytes.",
        &[required("child", Any)],
        ours!(Bitmap::And),
    ),
    Function::aggregate(
        "bitmap_construct_agg",
        "A bitmap of 4,096 bytes with the bits at the places that `bitmap_bit_position` gives.",
        &[required("child", Long)],
        ours!(Bitmap::Construct),
    ),
    Function::aggregate(
        "bitmap_or_agg",
        "The bits that are set in any bitmap; one has 4,096 bytes.",
        &[required("child", Any)],
        ours!(Bitmap::Or),
    ),
    Function::aggregate(
        "bool_and",
        "Whether all values are true.",
        &[required("expr", Boolean)],
        df::bool_and_or::bool_and_udaf,
    )
    .called(&["every"]),
    Function::aggregate(
        "bool_or",
        "Whether any value is true.",
        &[required("expr", Boolean)],
        df::bool_and_or::bool_or_udaf,
    )
    .called(&["any", "some"]),
    Function::aggregate(
        "collect_list",
        "An array of the values; nulls are left out.",
        &[required("expr", Any)],
        ours!(Items::List),
    )
    .called(&["array_agg"])
    .spelled(|_, arguments| format!("collect_list({})", arguments.join(", "))),
    Function::aggregate(
        "collect_set",
        "An array of the different values; nulls are left out.",
        &[required("expr", Any)],
        ours!(Bag::Set),
    ),
    Function::aggregate(
        "collect_union",
        "An array of the different values of all arrays; nulls are left out.",
        &[required("expr", Any)],
        ours!(Bag::Union),
    ),
    Function::aggregate("corr", "The correlation of pairs.", PAIR, ours!(Pairs::Corr)),
    COUNT,
    Function::rewritten(
        "count_if",
        "How many rows there are for which a condition is true.",
        &[required("expr", Boolean)],
        rewrite::count_if,
    ),
    Function::aggregate(
        "count_min_sketch",
        "A sketch of how often each value is there, in the bytes of Spark's CountMinSketch.",
        &[
            required("col", Any),
            required("eps", Any),
            required("confidence", Any),
            required("seed", Any),
        ],
        ours!(CountMin),
    ),
    Function::aggregate(
        "covar_pop",
        "The covariance of pairs that are all there are.",
        PAIR,
        ours!(Pairs::CovarPop),
    ),
    Function::aggregate(
        "covar_samp",
        "The covariance of pairs that are a sample.",
        PAIR,
        ours!(Pairs::CovarSamp),
    ),
    Function::aggregate(
        "first_value",
        "The first value, or the first one that is not null.",
        &[required("expr", Any), optional("isIgnoreNull", Boolean)],
        first_value,
    )
    .called(&["first", "any_value"])
    .reading(Reads::NullTreatment)
    .spelled(first_alone),
    Function::aggregate(
        "grouping",
        "Whether a grouping set leaves a column out: 1, or 0.",
        &[required("col", Any), repeated("cols", Any)],
        df::grouping::grouping_udaf,
    )
    .reading(Reads::Grouping),
    Function::aggregate(
        "grouping_id",
        "Which columns a grouping set leaves out, a bit for each.",
        &[repeated("cols", Any)],
        df::grouping::grouping_udaf,
    )
    .reading(Reads::GroupingId),
    Function::aggregate(
        "histogram_numeric",
        "A histogram of at most so many bins, which follow the values: where each is, and how many values it has.",
        &[required("col", Any), required("nb", Int)],
        ours!(Histogram),
    ),
    Function::aggregate(
        "kurtosis",
        "How heavy the tails of a distribution are.",
        NUMBER,
        ours!(Moment::Kurtosis),
    ),
    Function::aggregate(
        "last_value",
        "The last value, or the last one that is not null.",
        &[required("expr", Any), optional("isIgnoreNull", Boolean)],
        ours!(Pick::Last),
    )
    .called(&["last"])
    .reading(Reads::NullTreatment)
    .spelled(first_alone),
    Function::aggregate(
        "listagg",
        "The texts of a group with a text between them; nulls are left out.",
        &[
            required("expr", Any),
            optional("delimiter", Any),
            optional("order", Any),
            optional("descends", Any),
        ],
        ours!(Items::Text),
    )
    .called(&["string_agg"])
    .reading(Reads::Listed)
    .spelled(|_, arguments| with("listagg", arguments, 1, "NULL")),
    Function::aggregate(
        "max",
        "The largest value.",
        &[required("expr", Any)],
        df::min_max::max_udaf,
    )
    .reading(Reads::Extreme { is_max: true }),
    Function::aggregate(
        "max_by",
        "The value of the row in which another is largest, or an array of those of so many rows.",
        &[required("x", Any), required("y", Any), optional("k", Int)],
        ours!(Pick::MaxBy),
    ),
    Function::aggregate(
        "median",
        "The value in the middle of all.",
        &[required("expr", DoubleOrInterval)],
        ours!(Bag::Median),
    )
    .with_all_interval_fields(),
    Function::aggregate(
        "min",
        "The smallest value.",
        &[required("expr", Any)],
        df::min_max::min_udaf,
    )
    .reading(Reads::Extreme { is_max: false }),
    Function::aggregate(
        "min_by",
        "The value of the row in which another is smallest, or an array of those of so many rows.",
        &[required("x", Any), required("y", Any), optional("k", Int)],
        ours!(Pick::MinBy),
    ),
    Function::aggregate(
        "mode",
        "The value that is there most often.",
        &[required("col", Any), optional("deterministic", Any)],
        ours!(Bag::Mode),
    )
    .reading(Reads::MostFrequent),
    Function::aggregate(
        "percentile",
        "The value below which a share of all values is, between two of them where it has to be.",
        &[required("col", DoubleOrInterval), required("percentage", Share), optional("frequency", Any)],
        ours!(Bag::Percentile),
    )
    .with_all_interval_fields()
    .spelled(|name, arguments| with(name, arguments, 2, "1")),
    Function::aggregate(
        "percentile_cont",
        "The value below which a share of all values is, between two of them where it has to be.",
        &[required("col", DoubleOrInterval), required("percentage", Share), optional("descends", Any)],
        ours!(Bag::Continuous),
    )
    .with_all_interval_fields()
    .reading(Reads::Ordered),
    Function::aggregate(
        "percentile_disc",
        "The first value that a share of all values is not above.",
        &[required("col", DoubleOrInterval), required("percentage", Share), optional("descends", Any)],
        ours!(Bag::Discrete),
    )
    .with_all_interval_fields()
    .reading(Reads::Ordered),
    Function::rewritten("regr_avgx", "The mean of the second values of pairs.", PAIR, rewrite::regr_avgx),
    Function::rewritten("regr_avgy", "The mean of the first values of pairs.", PAIR, rewrite::regr_avgy),
    Function::rewritten("regr_count", "How many pairs have no null.", PAIR, rewrite::regr_count),
    Function::aggregate(
        "regr_intercept",
        "Where the line through pairs cuts the y-axis.",
        PAIR,
        ours!(Pairs::Intercept),
    ),
    Function::aggregate("regr_r2", "How well a line goes through pairs.", PAIR, ours!(Pairs::R2)),
    Function::aggregate(
        "regr_slope",
        "The slope of the line through pairs.",
        PAIR,
        ours!(Pairs::Slope),
    ),
    Function::aggregate(
        "regr_sxx",
        "The squares of the second values' distances from their mean.",
        PAIR,
        ours!(Pairs::Sxx),
    ),
    Function::aggregate(
        "regr_sxy",
        "The products of both values' distances from their means.",
        PAIR,
        ours!(Pairs::Sxy),
    ),
    Function::aggregate(
        "regr_syy",
        "The squares of the first values' distances from their mean.",
        PAIR,
        ours!(Pairs::Syy),
    ),
    Function::aggregate(
        "skewness",
        "How far a distribution leans to one side.",
        NUMBER,
        ours!(Moment::Skewness),
    ),
    Function::aggregate(
        "stddev",
        "The standard deviation of a sample.",
        NUMBER,
        ours!(Moment::StddevSamp),
    )
    .called(&["std", "stddev_samp"]),
    Function::aggregate(
        "stddev_pop",
        "The standard deviation of all there are.",
        NUMBER,
        ours!(Moment::StddevPop),
    ),
    Function::aggregate(
        "sum",
        "The sum of numbers or intervals.",
        &[required("expr", NumberOrInterval)],
        ours!(Sum { mean: false, tolerant: false }),
    ),
    Function::aggregate(
        "try_avg",
        "The mean of numbers or intervals; null where their sum does not fit.",
        &[required("expr", NumberOrInterval)],
        ours!(Sum { mean: true, tolerant: true }),
    )
    .with_all_interval_fields(),
    Function::aggregate(
        "try_sum",
        "The sum of numbers or intervals; null where it does not fit.",
        &[required("expr", NumberOrInterval)],
        ours!(Sum { mean: false, tolerant: true }),
    ),
    Function::aggregate("var_pop", "The variance of all there are.", NUMBER, ours!(Moment::VarPop)),
    Function::aggregate("variance", "The variance of a sample.", NUMBER, ours!(Moment::VarSamp))
        .called(&["var_samp"]),
    Function::aggregate(
        "vector_avg",
        "The mean of arrays of FLOAT, place by place.",
        &[required("vectors", Any)],
        ours!(VectorSum { mean: true }),
    ),
    Function::aggregate(
        "vector_sum",
        "The sum of arrays of FLOAT, place by place.",
        &[required("vectors", Any)],
        ours!(VectorSum { mean: false }),
    ),
];

/// The value of the first row.
#[must_use]
pub fn first_value() -> Arc<AggregateUDF> {
    ours(Pick::First)
}

/// What is behind the first argument does not show.
fn first_alone(name: &str, mut arguments: Vec<String>) -> String {
    arguments.truncate(1);
    format!("{name}({})", arguments.join(", "))
}

/// The second argument, where it is left out.
fn with_one(mut arguments: Vec<String>, default: &str) -> Vec<String> {
    if arguments.len() == 1 {
        arguments.push(default.to_owned());
    }
    arguments
}

/// What is meant where an argument is left out shows.
fn with(name: &str, mut arguments: Vec<String>, count: usize, default: &str) -> String {
    if arguments.len() == count {
        arguments.push(default.to_owned());
    }
    format!("{name}({})", arguments.join(", "))
}
