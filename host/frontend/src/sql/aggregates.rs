//! Whether the items of a SELECT make it one of groups.

use tidemill_functions::is_aggregate;

use crate::spec::{Call, Expression, SortOrder, Subquery};

/// Whether an expression calls an aggregate function, beside those over windows of rows and those
/// of queries within it.
pub(super) fn has_aggregate(expression: &Expression) -> bool {
    let any = |expressions: &[Expression]| expressions.iter().any(has_aggregate);
    match expression {
        Expression::Literal(_) | Expression::Attribute { .. } | Expression::Star { .. } => false,
        Expression::Call(call) => is_aggregate(&call.name) || in_call(call),
        Expression::Lambda { body, .. } => has_aggregate(body),
        Expression::Alias { value, .. } | Expression::Cast { value, .. } => has_aggregate(value),
        Expression::Extract { value, key, .. } => has_aggregate(value) || has_aggregate(key),
        Expression::Case { operand, branches, otherwise } => {
            let both = [operand, otherwise];
            both.into_iter().flatten().any(|one| has_aggregate(one))
                || branches
                    .iter()
                    .any(|branch| has_aggregate(&branch.condition) || has_aggregate(&branch.result))
        }
        // `sum(count(*)) OVER (ORDER BY max(x))` is over a window of groups.
        Expression::Over { call, window } => {
            in_call(call) || any(&window.partition) || in_order(&window.order)
        }
        Expression::Subquery { kind: Subquery::In(values), .. } => any(values),
        Expression::Subquery { .. } => false,
        Expression::Tuple(values) => any(values),
    }
}

fn in_call(call: &Call) -> bool {
    call.arguments.iter().any(|argument| has_aggregate(&argument.value))
        || call.filter.as_ref().is_some_and(has_aggregate)
        || in_order(&call.within_group)
}

fn in_order(order: &[SortOrder]) -> bool {
    order.iter().any(|order| has_aggregate(&order.value))
}
