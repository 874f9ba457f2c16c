//! Arguments by name, `explode(collection => list)`: they are put in the order of the function's
//! parameters.

use std::ops::ControlFlow;

use datafusion::common::{Result, plan_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArguments, Query, VisitMut, VisitorMut,
};
use tidemill_functions::find;

/// Puts all of a query's arguments in order.
///
/// # Errors
/// A name is none of a parameter, is there twice, or leaves one out before it.
pub(super) fn in_order(query: &mut Query) -> Result<()> {
    match query.visit(&mut InOrder) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct InOrder;

impl VisitorMut for InOrder {
    type Break = DataFusionError;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        match expr {
            Expr::Function(call) => match order(call) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

fn order(call: &mut Function) -> Result<()> {
    let name = call.name.to_string();
    let FunctionArguments::List(list) = &mut call.args else { return Ok(()) };
    let is_named = |argument: &FunctionArg| matches!(argument, FunctionArg::Named { .. });
    if !list.args.iter().any(is_named) {
        return Ok(());
    }
    let Some(function) = find(&name) else { return Ok(()) };
    let count = function.parameters.len();
    let mut places: Vec<Option<FunctionArg>> = vec![None; count.max(list.args.len())];
    for (number, argument) in std::mem::take(&mut list.args).into_iter().enumerate() {
        let (place, argument) = match argument {
            FunctionArg::Named { name: parameter, arg, .. } => {
                let known = function
                    .parameters
                    .iter()
                    .position(|known| known.name.eq_ignore_ascii_case(&parameter.value));
                let place = known.ok_or_else(|| {
                    plan_datafusion_err!(
                        "[UNRECOGNIZED_PARAMETER_NAME] Cannot invoke routine `{name}` because the routine call included a named argument reference for the argument named `{}`; write {}",
                        parameter.value,
                        function.synopsis()
                    )
                })?;
                (place, FunctionArg::Unnamed(arg))
            }
            other => (number, other),
        };
        if places[place].replace(argument).is_some() {
            return Err(plan_datafusion_err!(
                "[DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT.DOUBLE_NAMED_ARGUMENT_REFERENCE] Call to routine `{name}` is invalid because it includes multiple values for one parameter"
            ));
        }
    }
    let last = places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    places.truncate(last);
    list.args = places.into_iter().flatten().collect();
    if list.args.len() < last {
        return Err(plan_datafusion_err!(
            "[REQUIRED_PARAMETER_NOT_FOUND] Cannot invoke routine `{name}`: a parameter before the last one that is named has no value; write {}",
            function.synopsis()
        ));
    }
    Ok(())
}
