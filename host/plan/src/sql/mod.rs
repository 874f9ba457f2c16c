//! Spark's SQL: its syntax, and the functions that DataFusion lacks.

mod calls;
mod dialect;
#[cfg(test)]
mod extremes;
mod grouping;
mod intervals;
mod lambdas;
mod lateral;
mod lateral_view;
mod limits;
mod named_arguments;
mod names;
mod naming;
mod operators;
mod parse;
mod plugin_scalar;
mod refusals;
mod structs;
mod substitute;
mod texts;
mod tree;
mod unknown;
mod using;
mod window;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub(crate) use lateral_view::WHOLE;
pub(crate) use limits::QuerySize;
pub(crate) use names::Names;
pub(crate) use operators::Operators;
pub(crate) use parse::{Parsed, parse_query};
pub(crate) use plugin_scalar::PluginScalar;
pub(crate) use refusals::Refusals;
pub(crate) use window::{
    SESSION_WINDOW, WINDOW, WINDOW_TIME, bounds_struct, plain_time, session_bound, window_struct,
    window_time,
};

/// Spark's functions, and those that stand for windows until the plan is rewritten.
pub(crate) fn scalars() -> Vec<ScalarUDF> {
    let mut functions = tidemill_functions::scalars();
    functions.extend([
        ScalarUDF::new_from_impl(window::WindowCall::named(WINDOW)),
        ScalarUDF::new_from_impl(window::WindowCall::named(SESSION_WINDOW)),
        ScalarUDF::new_from_impl(window::WindowTime::default()),
    ]);
    functions
}

/// A plugin's scalar functions under their own names.
pub(crate) fn plugin_functions(
    module: &Arc<dyn tidemill_core::PluginModule>,
) -> Result<Vec<ScalarUDF>, crate::PlanError> {
    plugin_scalar::functions_of(module)
}
