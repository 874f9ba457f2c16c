//! Calls as DataFusion's planner meets them, before they are built: it looks functions up by name,
//! knows no types yet, and asks what a call will give.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use crate::call::Call;
use crate::function::{Determinism, Function, Shape};
use crate::generator::Generated;

/// A function of Spark that stands for what it will be built as.
#[derive(Debug)]
struct Unbuilt {
    function: &'static Function,
    aliases: Vec<String>,
    signature: Signature,
}

impl PartialEq for Unbuilt {
    fn eq(&self, other: &Unbuilt) -> bool {
        self.function.name == other.function.name
    }
}

impl Eq for Unbuilt {}

impl std::hash::Hash for Unbuilt {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

/// The function as DataFusion's planner looks it up; none for what is no scalar and no generator.
#[must_use]
pub fn unbuilt(function: &'static Function) -> Option<ScalarUDF> {
    let (Shape::Scalar(_) | Shape::Generator(_)) = function.shape else { return None };
    let volatility = match function.determinism {
        Determinism::Immutable => Volatility::Immutable,
        Determinism::OfBatch | Determinism::Volatile => Volatility::Volatile,
    };
    Some(ScalarUDF::new_from_impl(Unbuilt {
        function,
        aliases: function.aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        signature: Signature::user_defined(volatility),
    }))
}

/// Builds a call, if it is one that has to be. Arguments are built already.
///
/// # Errors
/// The function does not take these arguments.
pub fn built(expr: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    match unbuilt_call(expr) {
        Some((function, arguments)) if matches!(function.shape, Shape::Scalar(_)) => {
            build(function, typed(arguments, schema)?).map(Some)
        }
        _ => Ok(None),
    }
}

/// What a call of a generator comes to; none for other expressions. Arguments are built already.
///
/// # Errors
/// The function does not take these arguments.
pub fn generated(expr: &Expr, schema: &DFSchema) -> Result<Option<Generated>> {
    match unbuilt_call(expr) {
        Some((function, arguments)) => match function.shape {
            Shape::Generator(generate) => {
                generate(&mut Call::new(function, typed(arguments, schema)?)?).map(Some)
            }
            _ => Ok(None),
        },
        None => Ok(None),
    }
}

/// A call that is not built yet, and its arguments.
fn unbuilt_call(expr: &Expr) -> Option<(&'static Function, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let inner: &dyn std::any::Any = call.func.inner().as_ref();
    inner.downcast_ref::<Unbuilt>().map(|unbuilt| (unbuilt.function, call.args.as_slice()))
}

fn typed(arguments: &[Expr], schema: &DFSchema) -> Result<Vec<(Expr, DataType)>> {
    arguments.iter().map(|argument| Ok((argument.clone(), argument.get_type(schema)?))).collect()
}

/// The expression that a call of a function is.
///
/// # Errors
/// The function does not take these arguments, or is no scalar.
pub fn build(function: &'static Function, arguments: Vec<(Expr, DataType)>) -> Result<Expr> {
    let Shape::Scalar(build) = function.shape else {
        return internal_err!("{}() is not built of arguments alone", function.name);
    };
    build(&mut Call::new(function, arguments)?)
}

impl ScalarUDFImpl for Unbuilt {
    fn name(&self) -> &str {
        self.function.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("what a call gives follows from its arguments")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        // Columns stand for the arguments.
        let named = arguments.arg_fields.iter().enumerate().map(|(place, field)| {
            (None, Arc::new(field.as_ref().clone().with_name(place.to_string())))
        });
        let schema =
            DFSchema::new_with_metadata(named.collect(), std::collections::HashMap::new())?;
        let argument = |(place, literal): (usize, &Option<&ScalarValue>)| match literal {
            Some(literal) => Expr::Literal((*literal).clone(), None),
            None => Expr::Column(Column::new_unqualified(place.to_string())),
        };
        let expressions = arguments.scalar_arguments.iter().enumerate().map(argument);
        let kinds = arguments.arg_fields.iter().map(|field| field.data_type().clone());
        let arguments = expressions.zip(kinds).collect();
        if let Shape::Generator(generate) = self.function.shape {
            let generated = generate(&mut Call::new(self.function, arguments)?)?;
            return Ok(Arc::new(Field::new(self.name(), generated.expression_type(), true)));
        }
        let built = build(self.function, arguments)?;
        Ok(built.to_field(&schema)?.1)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{}() was left in an expression", self.function.name)
    }
}
