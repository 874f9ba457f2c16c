//! Whether the items of a SELECT make it one of groups.

use tidemill_functions::is_aggregate;

use super::Conversion;
use crate::spec::{Call, Expression, SortOrder, Subquery};

impl Conversion<'_> {
    fn is_aggregate(&self, name: &str) -> bool {
        is_aggregate(name) || self.names.is_aggregate(name)
    }

    /// Whether an expression calls an aggregate function, beside those over windows of rows and those
    /// of queries within it.
    pub(super) fn has_aggregate(&self, expression: &Expression) -> bool {
        let any =
            |expressions: &[Expression]| expressions.iter().any(|one| self.has_aggregate(one));
        match expression {
            Expression::Literal(_) | Expression::Attribute { .. } | Expression::Star { .. } => {
                false
            }
            Expression::Call(call) => self.is_aggregate(&call.name) || self.in_call(call),
            Expression::Lambda { body, .. } => self.has_aggregate(body),
            Expression::Alias { value, .. } | Expression::Cast { value, .. } => {
                self.has_aggregate(value)
            }
            Expression::Extract { value, key, .. } => {
                self.has_aggregate(value) || self.has_aggregate(key)
            }
            Expression::Case { operand, branches, otherwise } => {
                let both = [operand, otherwise];
                both.into_iter().flatten().any(|one| self.has_aggregate(one))
                    || branches.iter().any(|branch| {
                        self.has_aggregate(&branch.condition) || self.has_aggregate(&branch.result)
                    })
            }
            // `sum(count(*)) OVER (ORDER BY max(x))` is over a window of groups.
            Expression::Over { call, window } => {
                self.in_call(call) || any(&window.partition) || self.in_order(&window.order)
            }
            Expression::Subquery { kind: Subquery::In(values), .. } => any(values),
            Expression::Subquery { .. } => false,
            Expression::Tuple(values) => any(values),
        }
    }

    fn in_call(&self, call: &Call) -> bool {
        call.arguments.iter().any(|argument| self.has_aggregate(&argument.value))
            || call.filter.as_ref().is_some_and(|filter| self.has_aggregate(filter))
            || self.in_order(&call.within_group)
    }

    fn in_order(&self, order: &[SortOrder]) -> bool {
        order.iter().any(|order| self.has_aggregate(&order.value))
    }
}
