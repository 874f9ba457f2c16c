//! What computes: functions of columns, and what bounds them.

pub(crate) mod arithmetic;
pub(crate) mod asserting;
pub(crate) mod batch_time;
pub(crate) mod bits;
pub(crate) mod bounded;
mod bytes;
pub(crate) mod calendar;
pub(crate) mod cast;
pub(crate) mod coalesce;
pub(crate) mod csv;
pub(crate) mod digits;
pub(crate) mod elements;
pub(crate) mod encodings;
pub(crate) mod fields;
pub(crate) mod format_number;
pub(crate) mod from_json;
pub(crate) mod growth;
pub(crate) mod hashes;
mod java_pattern;
pub(crate) mod json_path;
mod json_tree;
pub(crate) mod kernel;
pub(crate) mod lambdas;
pub(crate) mod like;
pub(crate) mod lists;
pub(crate) mod logarithm;
pub(crate) mod logarithms;
pub mod made;
pub(crate) mod number_patterns;
pub(crate) mod patterns;
pub(crate) mod regexes;
pub(crate) mod rounding;
pub(crate) mod rows;
pub(crate) mod substrings;
pub(crate) mod times;
pub(crate) mod to_json;
pub(crate) mod whole;
pub(crate) mod words;
pub(crate) mod zones;

use datafusion::logical_expr::ScalarUDF;

/// What rewrites of a syntax tree call by name.
pub(crate) fn named_by_plans() -> Vec<ScalarUDF> {
    let mut all: Vec<ScalarUDF> =
        [false, true].map(cast::Cast::new).map(ScalarUDF::new_from_impl).into();
    all.push(datafusion::functions::core::get_field().as_ref().clone());
    all.push(fields::kernel());
    all
}
