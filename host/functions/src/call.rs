//! A call while it is built: its arguments, with their types.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::{Expr, ScalarUDF, lit, when};
use tidemill_types::format_type;

use crate::function::{Function, Shape};
use crate::generator::Generated;
use crate::kernels::bounded::bounded;
use crate::kernels::cast::{CAST, cast_to};
use crate::parameters::{Takes, cast_of, coerced, unexpected};

/// A call of a function. Its arguments are of the types that the function takes.
pub struct Call {
    function: &'static Function,
    arguments: Vec<(Expr, DataType)>,
}

impl Call {
    /// Casts arguments to what the function takes.
    ///
    /// # Errors
    /// There are too few or too many, or one of another kind.
    pub fn new(function: &'static Function, arguments: Vec<(Expr, DataType)>) -> Result<Call> {
        Ok(Call { function, arguments: coerced(function, arguments)? })
    }

    /// The function's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.function.name
    }

    /// Number of arguments.
    #[must_use]
    pub fn count(&self) -> usize {
        self.arguments.len()
    }

    /// The type of an argument; NULL's where there is none.
    #[must_use]
    pub fn kind(&self, place: usize) -> &DataType {
        self.arguments.get(place).map_or(&DataType::Null, |(_, kind)| kind)
    }

    /// An argument; NULL where there is none.
    #[must_use]
    pub fn argument(&self, place: usize) -> Expr {
        self.arguments.get(place).map_or_else(|| lit(ScalarValue::Null), |(e, _)| e.clone())
    }

    /// All arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<Expr> {
        self.arguments.iter().map(|(argument, _)| argument.clone()).collect()
    }

    /// An argument, or what stands for it where it is left out.
    #[must_use]
    pub fn argument_or(&self, place: usize, default: impl Into<ScalarValue>) -> Expr {
        match self.arguments.get(place) {
            Some((argument, _)) => argument.clone(),
            None => Expr::Literal(default.into(), None),
        }
    }

    /// Puts something in the place of an argument, or adds one.
    pub fn set(&mut self, place: usize, argument: Expr, kind: DataType) {
        self.arguments.truncate(place.max(self.arguments.len()));
        match self.arguments.get_mut(place) {
            Some(old) => *old = (argument, kind),
            None => self.arguments.push((argument, kind)),
        }
    }

    /// Casts all arguments from one on to the type that is wide enough for them, Spark's
    /// findWiderCommonType, and gives it.
    ///
    /// # Errors
    /// There is none.
    pub fn unite(&mut self, from: usize) -> Result<DataType> {
        let kinds: Vec<DataType> =
            self.arguments.iter().skip(from).map(|(_, kind)| kind.clone()).collect();
        let Some(common) = tidemill_types::wider_of(&kinds) else {
            let kinds: Vec<String> = kinds
                .iter()
                .map(|kind| format!("\"{}\"", format_type(kind).to_uppercase()))
                .collect();
            return plan_err!(
                "[DATATYPE_MISMATCH.DATA_DIFF_TYPES] {}(): the arguments should all be of one type, and are ({}); cast them",
                self.name(),
                kinds.join(" or ")
            );
        };
        for (argument, kind) in self.arguments.iter_mut().skip(from) {
            if *kind != common {
                *argument = cast_to(argument.clone(), &common);
                *kind = common.clone();
            }
        }
        Ok(common)
    }

    /// Casts an argument to what it has to be, where that depends on the others.
    ///
    /// # Errors
    /// It is of another kind.
    pub(crate) fn coerce(&mut self, place: usize, takes: Takes) -> Result<()> {
        let wrong = self.wrong(place, takes.told());
        if let Some((argument, kind)) = self.arguments.get_mut(place) {
            let Some(to) = takes.target(kind) else { return Err(wrong) };
            if to != *kind {
                *argument = cast_of(argument.clone(), kind, &to)?;
                *kind = to;
            }
        }
        Ok(())
    }

    /// The text of an argument that has to be written out; none where it is no literal, or null.
    #[must_use]
    pub fn text(&self, place: usize) -> Option<&str> {
        match self.arguments.get(place) {
            Some((Expr::Literal(value, _), _)) => value.try_as_str().flatten(),
            _ => None,
        }
    }

    /// The same.
    ///
    /// # Errors
    /// It is no literal text.
    pub fn constant_text(&self, place: usize) -> Result<&str> {
        match self.text(place) {
            Some(text) => Ok(text),
            None => plan_err!(
                "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] {}(): \"{}\" has to be a text that is written out",
                self.name(),
                self.function.parameters.get(place).map_or("", |parameter| parameter.name)
            ),
        }
    }

    /// Whether an argument is the literal NULL.
    #[must_use]
    pub fn is_null(&self, place: usize) -> bool {
        match self.arguments.get(place) {
            Some((Expr::Literal(value, _), _)) => value.is_null(),
            // It was cast to what the function takes.
            Some((Expr::ScalarFunction(cast), _)) if cast.func.name() == CAST => {
                matches!(cast.args.first(), Some(Expr::Literal(value, _)) if value.is_null())
            }
            _ => false,
        }
    }

    /// An error for an argument of the wrong type.
    #[must_use]
    pub fn wrong(&self, place: usize, wanted: &str) -> datafusion::error::DataFusionError {
        unexpected(self.name(), place, wanted, self.kind(place))
    }

    /// The call as one of a kernel, with its arguments as they are.
    #[must_use]
    pub fn of(&self, kernel: &Arc<ScalarUDF>) -> Expr {
        called(kernel, self.arguments())
    }

    /// As [`Call::of`], null if any argument is null.
    ///
    /// # Errors
    /// DataFusion's, where there is no such expression.
    pub fn of_present(&self, kernel: &Arc<ScalarUDF>) -> Result<Expr> {
        let present = self.arguments().into_iter().map(Expr::is_not_null).reduce(Expr::and);
        match present {
            Some(present) => when(present, self.of(kernel)).end(),
            None => Ok(self.of(kernel)),
        }
    }
}

/// The expression that a call of a function is. Arguments come with their types.
///
/// # Errors
/// The function does not take these arguments, or is no scalar.
pub fn build(function: &'static Function, arguments: Vec<(Expr, DataType)>) -> Result<Expr> {
    let Shape::Scalar(build) = function.shape else {
        return internal_err!("{}() is not built of arguments alone", function.name);
    };
    build(&mut Call::new(function, arguments)?)
}

/// What a call of a generator comes to. Arguments come with their types.
///
/// # Errors
/// The function does not take these arguments, or is no generator.
pub fn generate(
    function: &'static Function,
    arguments: Vec<(Expr, DataType)>,
) -> Result<Generated> {
    let Shape::Generator(generate) = function.shape else {
        return internal_err!("{}() gives no rows", function.name);
    };
    generate(&mut Call::new(function, arguments)?)
}

/// A call of a kernel, with its bound where it has one.
#[must_use]
pub fn called(kernel: &Arc<ScalarUDF>, arguments: Vec<Expr>) -> Expr {
    match bounded(kernel) {
        Some(bounded) => bounded.call(arguments),
        None => kernel.call(arguments),
    }
}
