//! Spark's SQL: its syntax, and the functions that DataFusion lacks.

mod aggregates;
mod arithmetic;
mod batch_time;
mod bounded;
mod bytes;
mod calls;
mod cast;
mod coalesce;
mod dialect;
mod elements;
#[cfg(test)]
mod extremes;
mod from_json;
mod grouping;
mod growth;
mod intervals;
mod lateral;
mod limits;
mod logarithm;
pub(crate) mod made;
mod names;
mod naming;
mod operators;
mod parse;
mod patterns;
mod plugin_scalar;
mod refusals;
mod structs;
mod substitute;
mod texts;
mod times;
mod to_json;
mod tree;
mod using;
mod window;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub(crate) use aggregates::{
    aggregates, check as check_aggregate, computes_with_doubles, contains_map, extreme_of,
};
pub(crate) use arithmetic::{Operation, calculated};
pub(crate) use batch_time::BatchTime;
pub(crate) use bounded::{bounded, check_constants, is_bounded};
pub(crate) use cast::{CAST, cast_to};
pub(crate) use limits::QuerySize;
pub(crate) use names::Names;
pub(crate) use operators::Operators;
pub(crate) use parse::{Parsed, parse_query};
pub(crate) use plugin_scalar::PluginScalar;
pub(crate) use refusals::Refusals;
pub(crate) use window::{
    SESSION_WINDOW, WINDOW, WINDOW_TIME, bounds_struct, plain_time, session_bound, timestamp_type,
    window_struct, window_time,
};

/// The functions of ours that every session knows.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    let mut functions = vec![
        ScalarUDF::new_from_impl(window::WindowCall::named(WINDOW)),
        ScalarUDF::new_from_impl(window::WindowCall::named(SESSION_WINDOW)),
        ScalarUDF::new_from_impl(window::WindowTime::default()),
        ScalarUDF::new_from_impl(from_json::FromJson::default()),
        ScalarUDF::new_from_impl(to_json::ToJson::default()),
        ScalarUDF::new_from_impl(times::ParsedTime::default()),
        ScalarUDF::new_from_impl(coalesce::Coalesce::default()),
    ];
    functions.extend(logarithm::Logarithm::all().map(ScalarUDF::new_from_impl));
    functions.extend(BatchTime::all().into_iter().map(ScalarUDF::new_from_impl));
    functions.extend(arithmetic::Arithmetic::all().into_iter().map(ScalarUDF::new_from_impl));
    functions.extend(elements::Element::all().into_iter().map(ScalarUDF::new_from_impl));
    functions.extend([false, true].map(cast::Cast::new).map(ScalarUDF::new_from_impl));
    functions
}

/// A plugin's scalar functions under their own names.
pub(crate) fn plugin_functions(
    module: &Arc<dyn tidemill_core::PluginModule>,
) -> Result<Vec<ScalarUDF>, crate::PlanError> {
    plugin_scalar::functions_of(module)
}
