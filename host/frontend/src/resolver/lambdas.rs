//! Lambdas and their variables. A variable is called by its place and by how many lambdas are around
//! its own: so no column and no variable of a lambda around it is taken for it, and two lambdas that
//! do the same are the same, whatever their variables are called.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::logical_expr::expr::{HigherOrderFunction, Lambda, LambdaVariable};
use datafusion::logical_expr::{Expr, LambdaParametersProgress, ValueOrLambda};
use tidemill_functions::MakeHigherOrder;

use tidemill_functions::with_interval_fields;
use tidemill_types::IntervalFields;

use super::Resolver;
use super::expressions::Context;
use super::scope::same;
use crate::error::{Result, refuse};
use crate::spec::Expression;

/// Lambdas within one another.
const LAMBDAS_MAX: usize = 7;

/// Variables in sight.
#[derive(Default)]
pub(super) struct Variables {
    /// By lambdas, the innermost last: as they are written, and what they are.
    scopes: Vec<Vec<(String, Expr)>>,
}

impl Variables {
    pub(super) fn find(&self, name: &str) -> Option<Expr> {
        let all = self.scopes.iter().rev().flatten();
        let mut known = all.filter(|(known, _)| same(known, name));
        known.next().map(|(_, variable)| variable.clone())
    }

    pub(super) fn is_in_lambda(&self) -> bool {
        !self.scopes.is_empty()
    }

    /// Brings the variables of a lambda in sight, and gives their names in the plan.
    fn push(&mut self, names: &[String], fields: &[FieldRef]) -> Vec<String> {
        let mut scope = Vec::with_capacity(names.len());
        let mut given = Vec::with_capacity(names.len());
        let depth = self.scopes.len();
        for (place, (name, field)) in names.iter().zip(fields).enumerate() {
            let unique = format!("λ{depth}_{place}");
            let own = field.as_ref().clone().with_name(&unique).with_metadata(HashMap::new());
            let variable = LambdaVariable::new(unique.clone(), Some(Arc::new(own)));
            let variable = Expr::LambdaVariable(variable);
            let variable = match field.metadata().contains_key(IntervalFields::KEY) {
                true => with_interval_fields(variable, IntervalFields::of_column(field)),
                false => variable,
            };
            scope.push((name.clone(), variable));
            given.push(unique);
        }
        self.scopes.push(scope);
        given
    }
}

impl Resolver<'_> {
    /// A call with lambdas: what their variables are follows from the values that it is given.
    pub(super) fn higher_order(
        &mut self,
        make: MakeHigherOrder,
        arguments: &[&Expression],
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let function = make();
        let name = function.name();
        let mut values: Vec<Option<(Expr, DataType)>> = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(match argument {
                Expression::Lambda { .. } => None,
                value => {
                    let value = self.expression(value, context)?;
                    Some(context.typed(value)?)
                }
            });
        }
        let kinds: Vec<DataType> = values.iter().flatten().map(|(_, kind)| kind.clone()).collect();
        let mut coerced = function.coerce_value_types(&kinds)?.into_iter();
        let fields: Vec<ValueOrLambda<FieldRef, Option<FieldRef>>> = values
            .iter()
            .map(|value| match value.as_ref().and_then(|_| coerced.next()) {
                Some(kind) => ValueOrLambda::Value(Arc::new(Field::new("", kind, true))),
                None => ValueOrLambda::Lambda(None),
            })
            .collect();
        let LambdaParametersProgress::Complete(parameters) =
            function.lambda_parameters(0, &fields)?
        else {
            refuse!("{name}() does not know what it gives its lambdas");
        };
        let given: Vec<Expr> = values.iter().flatten().map(|(value, _)| value.clone()).collect();
        let mut parameters = parameters.into_iter();
        let mut resolved = Vec::with_capacity(arguments.len());
        for (argument, value) in arguments.iter().zip(values) {
            resolved.push(match (argument, value) {
                (Expression::Lambda { parameters: names, body }, _) => {
                    let fields = parameters.next().unwrap_or_default();
                    let fields = self.with_fields_of_values(fields, given.iter(), context)?;
                    self.lambda(name, names, body, &fields, context)?
                }
                (_, Some((value, _))) => value,
                (_, None) => refuse!("{name}() was given a lambda that is none"),
            });
        }
        Ok(Expr::HigherOrderFunction(HigherOrderFunction::new(function, resolved)))
    }

    fn lambda(
        &mut self,
        function: &str,
        names: &[String],
        body: &Expression,
        fields: &[FieldRef],
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        if names.len() > fields.len() {
            refuse!(
                "[INVALID_LAMBDA_FUNCTION_CALL.NUM_ARGS_MISMATCH] A higher order function expects {} arguments, but got {}: {function}()",
                fields.len(),
                names.len()
            );
        }
        for (place, name) in names.iter().enumerate() {
            if names[..place].iter().any(|before| same(before, name)) {
                refuse!(
                    "[INVALID_LAMBDA_FUNCTION_CALL.DUPLICATE_ARG_NAMES] The lambda function has duplicate arguments `{name}`. Please, consider to rename the argument names or set \"spark.sql.caseSensitive\" to \"true\"."
                );
            }
        }
        if self.variables.scopes.len() == LAMBDAS_MAX {
            refuse!(
                "more than {LAMBDAS_MAX} lambdas are within one another; compute the inner ones in a step before"
            );
        }
        let given = self.variables.push(names, fields);
        let allowed = std::mem::replace(&mut context.allows_aggregates, false);
        let body = self.expression(body, context);
        context.allows_aggregates = allowed;
        self.variables.scopes.pop();
        Ok(Expr::Lambda(Lambda::new(given, body?)))
    }
}
