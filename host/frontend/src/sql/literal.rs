//! Values that are written out.

use datafusion::sql::sqlparser::ast::{DataType, Interval, TimezoneInfo, TypedString, Value};

use super::expression::known_type;
use crate::Result;
use crate::error::refuse;
use crate::spec::{Expression, Literal};

/// A number, a text, TRUE, FALSE, NULL or `X'…'`.
pub(super) fn value(value: Value) -> Result<Expression> {
    Ok(Expression::Literal(match value {
        Value::Number(digits, _) => Literal::Number(digits),
        Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Literal::String(text),
        Value::HexStringLiteral(digits) => Literal::Binary(digits),
        Value::Boolean(value) => Literal::Boolean(value),
        Value::Null => Literal::Null,
        Value::Placeholder(name) => {
            refuse!("{name}: parameters in a text are not supported; write the value")
        }
        other => refuse!("the literal {other} is not supported; write a text in quotes"),
    }))
}

/// `DATE'…'`, a number with the letter of its type, and a text of any other type.
pub(super) fn typed(typed: TypedString) -> Result<Expression> {
    let at = super::position::of_span(typed.value.span);
    let (Value::SingleQuotedString(text) | Value::DoubleQuotedString(text)) = typed.value.value
    else {
        refuse!("a literal of a type is a text");
    };
    let kind = match &typed.data_type {
        DataType::Date => "DATE",
        DataType::Timestamp(None, TimezoneInfo::None) => "TIMESTAMP",
        DataType::TimestampNtz(None) => "TIMESTAMP_NTZ",
        other => {
            return match number(other) {
                Some(kind) => Ok(Expression::Literal(Literal::TypedNumber {
                    digits: text,
                    kind: kind.to_owned(),
                })),
                None => Ok(Expression::Cast {
                    kind: known_type(other).map_err(|error| error.or_at(at))?,
                    value: Box::new(Expression::Literal(Literal::String(text))),
                    is_try: false,
                    at,
                }),
            };
        }
    };
    Ok(Expression::Literal(Literal::Typed { kind: kind.to_owned(), text }))
}

/// The type of a number by its letter. Its digits say what DECIMAL it is.
fn number(kind: &DataType) -> Option<&'static str> {
    Some(match kind {
        DataType::TinyInt(None) => "TINYINT",
        DataType::SmallInt(None) => "SMALLINT",
        DataType::BigInt(None) => "BIGINT",
        DataType::Float(_) => "FLOAT",
        DataType::Double(_) => "DOUBLE",
        DataType::Decimal(_) => "DECIMAL",
        _ => return None,
    })
}

/// An interval, which `intervals` made one text of.
pub(super) fn interval(interval: Interval) -> Result<Expression> {
    match *interval.value {
        datafusion::sql::sqlparser::ast::Expr::Value(value) if interval.leading_field.is_none() => {
            match value.value {
                Value::SingleQuotedString(text) => Ok(Expression::Literal(Literal::Interval(text))),
                other => refuse!("INTERVAL {other} is not supported; write a number and its unit"),
            }
        }
        other => refuse!("INTERVAL {other} is not supported; write a number and its unit"),
    }
}
