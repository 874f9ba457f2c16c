//! What functions take, and how arguments become that: Spark's implicit casts in ANSI mode
//! (AnsiTypeCoercion).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use tidemill_types::format_type;

use crate::function::Function;
use crate::kernels::cast::cast_to;
use crate::kernels::interval_arithmetic::is_of_one_kind;
use crate::timestamp_type;

/// One argument of a function.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Spark's name for it.
    pub name: &'static str,
    /// What it has to be.
    pub takes: Takes,
    /// What may be written there, beside a value.
    pub written: Written,
    need: Need,
}

/// What may be written in the place of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A value.
    Value,
    /// A word that is no column, where no argument is left out.
    Word,
    /// `map('key', 'value', …)`, whose arguments are further ones of the call.
    Options,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
    /// Any number of them, also none.
    Repeated,
}

/// What an argument has to be. What is not, is cast where Spark casts without being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Any type.
    Any,
    /// A share of all, or an array of shares.
    Share,
    /// STRING; other plain values are written as CAST writes them.
    Text,
    /// BINARY, or a STRING's bytes.
    Bytes,
    /// STRING or BINARY as it is.
    TextOrBytes,
    /// BOOLEAN.
    Boolean,
    /// INT.
    Int,
    /// BIGINT.
    Long,
    /// DOUBLE.
    Double,
    /// Any number; a STRING is read as a DOUBLE.
    Number,
    /// An interval of one of the two kinds, or a DOUBLE.
    DoubleOrInterval,
    /// An interval of one of the two kinds, or any number; a STRING is read as a DOUBLE.
    NumberOrInterval,
    /// DECIMAL of so many digits, and so many of them behind the point.
    Decimal(u8, i8),
    /// Any number; a STRING is none.
    Numeric,
    /// A whole number of any width.
    Whole,
    /// DATE.
    Date,
    /// TIMESTAMP.
    Timestamp,
    /// An array.
    Array,
    /// A map.
    Map,
    /// A struct.
    Struct,
}

impl Parameter {
    const fn new(name: &'static str, takes: Takes, need: Need) -> Parameter {
        Parameter { name, takes, written: Written::Value, need }
    }

    pub(crate) const fn or_word(self) -> Parameter {
        Parameter { written: Written::Word, ..self }
    }

    pub(crate) const fn as_options(self) -> Parameter {
        Parameter { written: Written::Options, ..self }
    }

    /// An argument that every call has.
    #[must_use]
    pub const fn required(name: &'static str, takes: Takes) -> Parameter {
        Parameter::new(name, takes, Need::Required)
    }

    /// An argument that may be left out.
    #[must_use]
    pub const fn optional(name: &'static str, takes: Takes) -> Parameter {
        Parameter::new(name, takes, Need::Optional)
    }

    /// Any number of arguments.
    #[must_use]
    pub const fn repeated(name: &'static str, takes: Takes) -> Parameter {
        Parameter::new(name, takes, Need::Repeated)
    }

    pub(crate) fn is_required(&self) -> bool {
        self.need == Need::Required
    }

    pub(crate) fn is_repeated(&self) -> bool {
        self.need == Need::Repeated
    }
}

impl Takes {
    /// Spark's name for it, in errors.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Takes::Any | Takes::Share => "ANY",
            Takes::Text => "STRING",
            Takes::Bytes => "BINARY",
            Takes::TextOrBytes => "STRING\" or \"BINARY",
            Takes::Boolean => "BOOLEAN",
            Takes::Int => "INT",
            Takes::Long => "BIGINT",
            Takes::Double => "DOUBLE",
            Takes::Decimal(..) => "DECIMAL",
            Takes::DoubleOrInterval | Takes::NumberOrInterval => "NUMERIC\" or \"ANSI INTERVAL",
            Takes::Number | Takes::Numeric => "NUMERIC",
            Takes::Whole => "INTEGRAL",
            Takes::Date => "DATE",
            Takes::Timestamp => "TIMESTAMP",
            Takes::Array => "ARRAY",
            Takes::Map => "MAP",
            Takes::Struct => "STRUCT",
        }
    }

    /// The type that a value of a type is cast to; none where there is no such cast.
    pub(crate) fn target(self, from: &DataType) -> Option<DataType> {
        let is_text = from.is_string() || from.is_null();
        let is_time = matches!(from, DataType::Date32 | DataType::Timestamp(..));
        let same = || Some(from.clone());
        match self {
            Takes::Any | Takes::Share => same(),
            Takes::Text => (!from.is_nested()).then_some(DataType::Utf8),
            Takes::Bytes => (is_text || from.is_binary()).then_some(DataType::Binary),
            Takes::TextOrBytes if from.is_binary() => same(),
            Takes::TextOrBytes => Takes::Text.target(from),
            Takes::Boolean => (is_text || *from == DataType::Boolean).then_some(DataType::Boolean),
            Takes::Int => (is_text || from.is_numeric()).then_some(DataType::Int32),
            Takes::Long => (is_text || from.is_numeric()).then_some(DataType::Int64),
            Takes::Double => (is_text || from.is_numeric()).then_some(DataType::Float64),
            Takes::DoubleOrInterval | Takes::NumberOrInterval if is_of_one_kind(from) => same(),
            Takes::DoubleOrInterval => Takes::Double.target(from),
            Takes::NumberOrInterval => Takes::Number.target(from),
            Takes::Decimal(digits, scale) => {
                let to = DataType::Decimal128(digits, scale);
                (is_text || from.is_numeric()).then_some(to)
            }
            Takes::Number if is_text => Some(DataType::Float64),
            Takes::Number => from.is_numeric().then(|| from.clone()),
            Takes::Numeric => (from.is_numeric() || from.is_null()).then(|| from.clone()),
            Takes::Whole if is_text => Some(DataType::Int64),
            Takes::Whole => from.is_integer().then(|| from.clone()),
            Takes::Date => (is_text || is_time).then_some(DataType::Date32),
            Takes::Timestamp => (is_text || is_time).then(timestamp_type),
            Takes::Array if from.is_null() => Some(DataType::new_list(DataType::Null, true)),
            Takes::Array => matches!(from, DataType::List(_)).then(|| from.clone()),
            Takes::Map => matches!(from, DataType::Map(..) | DataType::Null).then(|| from.clone()),
            Takes::Struct => {
                matches!(from, DataType::Struct(_) | DataType::Null).then(|| from.clone())
            }
        }
    }
}

/// The type of two that has room for both without a text being read as something else, as for a
/// value and the values of an array. DECIMALs have to be wide enough as they are, unless they may be
/// widened.
pub(crate) fn tightest(left: &DataType, right: &DataType, widens: bool) -> Option<DataType> {
    use DataType::{Decimal128, List, Map, Null, Struct};
    let field = |left: &FieldRef, right: &FieldRef| {
        let kind = tightest(left.data_type(), right.data_type(), widens)?;
        Some(Arc::new(Field::new(left.name(), kind, left.is_nullable() || right.is_nullable())))
    };
    match (left, right) {
        (left, right) if left == right => Some(left.clone()),
        (Null, other) | (other, Null) => Some(other.clone()),
        (List(left), List(right)) => Some(List(field(left, right)?)),
        (Map(left, sorted), Map(right, _)) => Some(Map(field(left, right)?, *sorted)),
        (Struct(left), Struct(right)) if left.len() == right.len() => {
            let fields = left.iter().zip(right).map(|(left, right)| field(left, right));
            Some(Struct(fields.collect::<Option<_>>()?))
        }
        (left, right) if left.is_string() || right.is_string() => None,
        (Decimal128(..), _) | (_, Decimal128(..)) if !widens => {
            let common = tidemill_types::wider(left, right)?;
            (common == *left || common == *right)
                .then_some(common)
                .filter(|common| !common.is_floating())
                .filter(|_| left.is_integer() || right.is_integer())
        }
        (left, right) => tidemill_types::wider(left, right),
    }
}

/// Casts the arguments of a call to what its function takes.
///
/// # Errors
/// There are too few or too many, or one of another kind.
pub(crate) fn coerced(
    function: &Function,
    arguments: Vec<(Expr, DataType)>,
) -> Result<Vec<(Expr, DataType)>> {
    let parameters = function.parameters;
    let least = parameters.iter().filter(|parameter| parameter.is_required()).count();
    let is_open = parameters.last().is_some_and(Parameter::is_repeated);
    let found = arguments.len();
    if found < least || (found > parameters.len() && !is_open) {
        let most = parameters.len();
        let wanted = match (is_open, least == most) {
            (true, _) => format!("> {}", least.saturating_sub(1)),
            (false, true) => least.to_string(),
            (false, false) => format!("[{least}, {most}]"),
        };
        return plan_err!(
            "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] The `{}` requires {wanted} parameters but the actual number is {found}; write {}",
            function.name,
            function.synopsis()
        );
    }
    let last = parameters.len().saturating_sub(1);
    let cast = |(place, (argument, from)): (usize, (Expr, DataType))| {
        let parameter = &parameters[place.min(last)];
        match parameter.takes.target(&from) {
            Some(to) if to == from => Ok((argument, from)),
            Some(to) => Ok((cast_of(argument, &from, &to)?, to)),
            None => Err(unexpected(function.name, place, parameter.takes.told(), &from)),
        }
    };
    arguments.into_iter().enumerate().map(cast).collect()
}

/// A value as a condition; nothing, if its type is none of a condition.
#[must_use]
pub fn as_condition(value: Expr, kind: &DataType) -> Option<Expr> {
    match kind {
        DataType::Boolean => Some(value),
        DataType::Null => Some(match value {
            Expr::Literal(..) => Expr::Literal(ScalarValue::Boolean(None), None),
            other => cast_to(other, &DataType::Boolean),
        }),
        _ => None,
    }
}

/// An argument as a plugin declares it, which is cast where nothing is lost by it, and where it is a
/// text; none where it does not fit.
#[must_use]
pub fn assigned(argument: Expr, from: &DataType, to: &DataType) -> Option<Expr> {
    let fits = from == to
        || from.is_null()
        || (from.is_string() && !to.is_nested())
        || (to.is_string() && !from.is_nested())
        || tidemill_types::wider(from, to).as_ref() == Some(to);
    match from == to {
        true => Some(argument),
        false => fits.then(|| cast_of(argument, from, to).ok()).flatten(),
    }
}

/// An argument as one of a type. There is no text for the type of an array of nothing, and so no cast
/// to it.
pub(crate) fn cast_of(argument: Expr, from: &DataType, to: &DataType) -> Result<Expr> {
    match from.is_null() && to.is_nested() {
        true => Ok(Expr::Literal(ScalarValue::try_from(to)?, None)),
        false => Ok(cast_to(argument, to)),
    }
}

/// Spark's words for an argument of the wrong type. `place` counts from 0.
pub(crate) fn unexpected(
    function: &str,
    place: usize,
    wanted: &str,
    found: &DataType,
) -> DataFusionError {
    const ORDINALS: [&str; 4] = ["first", "second", "third", "fourth"];
    let place = ORDINALS.get(place).copied().unwrap_or("next");
    DataFusionError::Plan(format!(
        "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {function}(): the {place} parameter requires the \"{wanted}\" type, and has the type \"{}\"; cast it",
        format_type(found).to_uppercase()
    ))
}
