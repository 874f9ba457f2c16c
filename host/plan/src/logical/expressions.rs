//! Expressions that mean something else in Spark than in DataFusion.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::expr::{AggregateFunction, HigherOrderFunction, Lambda};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable, LambdaParametersProgress, LogicalPlan, TryCast, ValueOrLambda,
};

use super::coercion::{compared, united};
use crate::sql::PluginScalar;
use tidemill_functions::{
    Operation, built, calculated, cast_to, check_aggregate, coerced_aggregate, extreme_of,
};

/// Makes a plan's expressions mean what they mean in Spark. Columns keep their names.
pub(crate) fn as_spark(plan: LogicalPlan) -> Result<LogicalPlan> {
    let spark = plan.transform_up_with_subqueries(|node| {
        // How many rows are wanted is a number of the plan's.
        if matches!(node, LogicalPlan::Limit(_)) {
            return Ok(Transformed::no(node));
        }
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expression| {
            let name = names.save(&expression);
            Ok(meant(expression, &schema)?.update_data(|e| name.restore(e)))
        })?;
        // Types of columns may be others now, here or below.
        let node = node.map_data(LogicalPlan::recompute_schema)?;
        node.transform_data(united)
    })?;
    Ok(spark.data)
}

/// What an expression means, from the inside out.
fn meant(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Expr::HigherOrderFunction(call) = expression {
        return meant_of_each(call, schema);
    }
    let expression = expression.map_children(|child| meant(child, schema))?;
    expression.transform_data(|e| {
        let literal = literal(e);
        match built(&literal.data, schema)? {
            Some(built) => Ok(Transformed::yes(built)),
            None => literal.transform_data(|e| rewritten(e, schema)),
        }
    })
}

/// A call with lambdas: what their variables are follows from the values that it is given.
fn meant_of_each(call: HigherOrderFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let HigherOrderFunction { func, args } = call;
    let value = |argument| match argument {
        Expr::Lambda(_) => Ok(argument),
        value => Ok(meant(value, schema)?.data),
    };
    let args = args.into_iter().map(value).collect::<Result<Vec<_>>>()?;
    let kind = |argument: &Expr| match argument {
        Expr::Lambda(_) => Ok(None),
        value => value.get_type(schema).map(Some),
    };
    let kinds = args.iter().map(kind).collect::<Result<Vec<_>>>()?;
    let values: Vec<DataType> = kinds.iter().flatten().cloned().collect();
    let mut coerced = func.coerce_value_types(&values)?.into_iter();
    let mut fields = Vec::with_capacity(args.len());
    for kind in kinds {
        fields.push(match kind.and_then(|_| coerced.next()) {
            Some(kind) => ValueOrLambda::Value(Arc::new(Field::new("", kind, true))),
            None => ValueOrLambda::Lambda(None),
        });
    }
    let LambdaParametersProgress::Complete(parameters) = func.lambda_parameters(0, &fields)? else {
        return internal_err!("{}() does not know what it gives its lambdas", func.name());
    };
    let mut parameters = parameters.into_iter();
    let lambda = |argument| match argument {
        Expr::Lambda(Lambda { params, body }) => {
            let fields = parameters.next().unwrap_or_default();
            let body = meant(with_fields(*body, &params, &fields)?, schema)?.data;
            refuse_plugins(&body)?;
            Ok(Expr::Lambda(Lambda::new(params, body)))
        }
        value => Ok(value),
    };
    let args = args.into_iter().map(lambda).collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(Expr::HigherOrderFunction(HigherOrderFunction::new(func, args))))
}

/// The body of a lambda whose variables have these fields. No two lambdas of a query have a
/// variable of one name.
fn with_fields(body: Expr, names: &[String], fields: &[FieldRef]) -> Result<Expr> {
    let typed = body.transform(|e| match e {
        Expr::LambdaVariable(mut variable) => {
            let place = names.iter().position(|name| *name == variable.name);
            if let Some(field) = place.and_then(|place| fields.get(place)) {
                let field = field.as_ref().clone().with_name(&variable.name);
                variable.field = Some(Arc::new(field));
            }
            Ok(Transformed::yes(Expr::LambdaVariable(variable)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(typed.data)
}

/// Calls of plugins are taken out of expressions, and nothing can be taken out of a lambda.
fn refuse_plugins(body: &Expr) -> Result<()> {
    let mut found = None;
    body.apply(|e| {
        if let Expr::ScalarFunction(call) = e {
            let inner: &dyn std::any::Any = call.func.inner().as_ref();
            if inner.is::<PluginScalar>() {
                found = Some(call.func.name().to_owned());
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match found {
        Some(name) => plan_err!(
            "{name}() of a plugin is called in a lambda, which is not supported yet; let a transform of the plugin take the whole array"
        ),
        None => Ok(()),
    }
}

/// A whole number that is written out is an INT where it fits.
fn literal(expression: Expr) -> Transformed<Expr> {
    match expression {
        Expr::Literal(ScalarValue::Int64(Some(value)), None) => match i32::try_from(value) {
            Ok(value) => Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(value)), None)),
            Err(_) => Transformed::no(Expr::Literal(ScalarValue::Int64(Some(value)), None)),
        },
        other => Transformed::no(other),
    }
}

fn is_no_condition(kind: Option<DataType>) -> bool {
    kind.is_some_and(|kind| !matches!(kind, DataType::Boolean | DataType::Null))
}

fn rewritten(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let type_of = |e: &Expr| e.get_type(schema).ok();
    if let Expr::AggregateFunction(AggregateFunction { func, params }) = &expression {
        check_aggregate(func.name(), &params.args)?;
        if let Some(filter) = &params.filter
            && is_no_condition(type_of(filter))
        {
            return plan_err!(
                "[INVALID_AGGREGATE_FILTER.NOT_BOOLEAN] The FILTER expression {filter} in an aggregate function is invalid. Expected the FILTER expression to be a boolean"
            );
        }
        let typed =
            params.args.iter().map(|argument| Ok((argument.clone(), argument.get_type(schema)?)));
        if let Some(arguments) = coerced_aggregate(func.name(), typed.collect::<Result<_>>()?)? {
            let mut params = params.clone();
            params.args = arguments;
            return Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction {
                func: func.clone(),
                params,
            })));
        }
    }
    if let Expr::Case(case) = &expression
        && case.expr.is_none()
        && let Some((when, _)) =
            case.when_then_expr.iter().find(|(w, _)| is_no_condition(type_of(w)))
    {
        return plan_err!(
            "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {when} is a condition of CASE, if() or count_if() and has to be a BOOLEAN; write a comparison"
        );
    }
    Ok(match expression {
        Expr::Cast(Cast { expr, ref field }) | Expr::TryCast(TryCast { expr, ref field })
            if field.data_type().is_string()
                && type_of(&expr).is_some_and(|kind| kind.is_binary()) =>
        {
            Transformed::yes(cast_to(*expr, &DataType::Utf8))
        }
        // The least number has no positive counterpart.
        Expr::Negative(inner)
            if matches!(type_of(&inner), Some(DataType::Int32 | DataType::Int64)) =>
        {
            let from = type_of(&inner).unwrap_or(DataType::Int64);
            let zero = (Expr::Literal(ScalarValue::new_zero(&from)?, None), from.clone());
            match calculated(Operation::Subtract, zero, (inner.as_ref().clone(), from))? {
                Some(difference) => Transformed::yes(difference),
                None => Transformed::no(Expr::Negative(inner)),
            }
        }
        Expr::AggregateFunction(AggregateFunction { func, mut params })
            if ["min", "max"].contains(&func.name()) && params.args.len() == 1 =>
        {
            let kind = type_of(&params.args[0]).unwrap_or(DataType::Null);
            let other = extreme_of(func.name() == "max", &params.args[0], &kind);
            let is_other = other.is_some();
            let (func, args) = other.unwrap_or((func, std::mem::take(&mut params.args)));
            params.args = args;
            let call = Expr::AggregateFunction(AggregateFunction { func, params });
            if is_other { Transformed::yes(call) } else { Transformed::no(call) }
        }
        other => return compared(other, schema),
    })
}
