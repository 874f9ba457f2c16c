//! Values that are written out.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use tidemill_functions::{cast_to, interval_literal, is_of_type};
use tidemill_types::{IntervalError, WrittenInterval};

use crate::error::{Error, Result, refuse};
use crate::spec::Literal;
use crate::types;

/// The most digits that a DECIMAL has.
const DIGITS_MAX: usize = 38;

pub(super) fn value(literal: &Literal) -> Result<Expr> {
    Ok(Expr::Literal(
        match literal {
            Literal::Null => ScalarValue::Null,
            Literal::Boolean(value) => ScalarValue::Boolean(Some(*value)),
            Literal::Number(digits) => number(digits, false)?,
            Literal::TypedNumber { digits, kind } => typed_number(digits, kind, false)?,
            Literal::String(text) => ScalarValue::Utf8(Some(text.clone())),
            Literal::Binary(digits) => ScalarValue::Binary(Some(bytes(digits)?)),
            Literal::Typed { kind, text } => return typed(kind, text),
            Literal::Interval(text) => return interval(text),
        },
        None,
    ))
}

/// An interval of Spark's two kinds: of years and months, or of days and shorter units.
fn interval(text: &str) -> Result<Expr> {
    let written: WrittenInterval = match text.parse() {
        Ok(written) => written,
        // Of a text whose units are in it, which is a literal of a type.
        Err(IntervalError {
            class: "INVALID_UNIT" | "MISSING_UNIT" | "INVALID_VALUE" | "INPUT_IS_EMPTY",
            reason,
            ..
        }) => refuse!(
            "[INVALID_TYPED_LITERAL] The value of the typed literal \"INTERVAL\" is invalid: '{text}'. {reason}; units are year, month, week, day, hour, minute, second, millisecond and microsecond"
        ),
        Err(IntervalError { class, reason, .. }) => {
            refuse!("[INVALID_INTERVAL_FORMAT.{class}] INTERVAL '{text}' is no interval: {reason}")
        }
    };
    match (written.fields.months, written.day_time_micros(), interval_literal(&written)) {
        (_, _, Some(literal)) => Ok(literal),
        (None, None, _) => refuse!(
            "[INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION] INTERVAL '{text}' is too long for 64 bits of microseconds"
        ),
        _ => refuse!(
            "[INVALID_INTERVAL_FORMAT] INTERVAL '{text}' is of months and of days, and nobody knows how many days a month has; write one of days, or one of months, or make_interval(…)"
        ),
    }
}

/// A number with a minus before it; nothing, if it is no number.
pub(super) fn negative(literal: &Literal) -> Result<Option<Expr>> {
    let value = match literal {
        Literal::Number(digits) => number(digits, true)?,
        Literal::TypedNumber { digits, kind } => typed_number(digits, kind, true)?,
        _ => return Ok(None),
    };
    Ok(Some(Expr::Literal(value, None)))
}

/// A number without a letter: an INT, a BIGINT or a DECIMAL, whatever fits; with an exponent a
/// DOUBLE (AstBuilder.visitIntegerLiteral and its neighbours).
fn number(digits: &str, is_negative: bool) -> Result<ScalarValue> {
    if digits.contains(['e', 'E']) {
        return typed_number(digits, "DOUBLE", is_negative);
    }
    if digits.contains('.') {
        return decimal(digits, is_negative);
    }
    let signed = signed(digits, is_negative);
    if let Ok(value) = signed.parse::<i32>() {
        return Ok(ScalarValue::Int32(Some(value)));
    }
    match signed.parse::<i64>() {
        Ok(value) => Ok(ScalarValue::Int64(Some(value))),
        Err(_) => decimal(digits, is_negative),
    }
}

fn signed(digits: &str, is_negative: bool) -> String {
    format!("{}{digits}", if is_negative { "-" } else { "" })
}

/// The DECIMAL that has just the digits of a number.
fn decimal(digits: &str, is_negative: bool) -> Result<ScalarValue> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{}{fraction}", whole.trim_start_matches('0'));
    let significant = all.trim_start_matches('0').len().max(1);
    let precision = significant.max(fraction.len());
    if precision > DIGITS_MAX {
        refuse!(
            "[DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION] Decimal precision {precision} exceeds max precision {DIGITS_MAX}: {digits}"
        );
    }
    let value: i128 = if all.is_empty() { 0 } else { all.parse().unwrap_or_default() };
    let value = if is_negative { -value } else { value };
    // A precision of at most 38, and a scale that is not above it.
    Ok(ScalarValue::Decimal128(Some(value), precision as u8, fraction.len() as i8))
}

fn typed_number(digits: &str, kind: &str, is_negative: bool) -> Result<ScalarValue> {
    let text = signed(digits, is_negative);
    let value = match kind.to_ascii_uppercase().as_str() {
        "TINYINT" => text.parse().ok().map(|value| ScalarValue::Int8(Some(value))),
        "SMALLINT" => text.parse().ok().map(|value| ScalarValue::Int16(Some(value))),
        "BIGINT" => text.parse().ok().map(|value| ScalarValue::Int64(Some(value))),
        "FLOAT" => text
            .parse::<f32>()
            .ok()
            .filter(|value| value.is_finite())
            .map(|value| ScalarValue::Float32(Some(value))),
        "DOUBLE" => text
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite())
            .map(|value| ScalarValue::Float64(Some(value))),
        "DECIMAL" => match plain(digits) {
            Some(digits) => return decimal(&digits, is_negative),
            None => None,
        },
        _ => None,
    };
    value.ok_or_else(|| {
        Error::new(
            format!(
                "[INVALID_NUMERIC_LITERAL_RANGE] Numeric literal {text} is outside the valid range for {}; write it without its letter, or cast it",
                kind.to_lowercase()
            ),
            None,
        )
    })
}

/// A number without its exponent: `1.5e3` is `1500`.
fn plain(digits: &str) -> Option<String> {
    let Some((number, exponent)) = digits.split_once(['e', 'E']) else {
        return Some(digits.to_owned());
    };
    let exponent: i32 = exponent.parse().ok().filter(|e: &i32| e.unsigned_abs() <= 100)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all = format!("{whole}{fraction}");
    let point = whole.len() as i32 + exponent;
    Some(match usize::try_from(point) {
        Ok(point) if point >= all.len() => format!("{all:0<point$}"),
        Ok(point) => format!("{}.{}", &all[..point], &all[point..]),
        Err(_) => format!("0.{}{all}", "0".repeat(point.unsigned_abs() as usize)),
    })
}

fn bytes(digits: &str) -> Result<Vec<u8>> {
    // Of an odd number, the first stands alone.
    let even = format!("{}{digits}", if digits.len() % 2 == 1 { "0" } else { "" });
    let pairs = (0..even.len()).step_by(2).map(|at| {
        let pair = even.get(at..at + 2).filter(|p| !p.starts_with('+'))?;
        u8::from_str_radix(pair, 16).ok()
    });
    match pairs.collect::<Option<Vec<u8>>>() {
        Some(bytes) => Ok(bytes),
        None => refuse!(
            "[INVALID_TYPED_LITERAL] The value of the typed literal \"X\" is invalid: '{digits}'"
        ),
    }
}

fn typed(kind: &str, text: &str) -> Result<Expr> {
    if !is_of_type(text, kind) {
        refuse!(
            "[INVALID_TYPED_LITERAL] The value of the typed literal \"{kind}\" is invalid: '{text}'"
        );
    }
    let (to, _) = types::named(kind)?;
    Ok(cast_to(Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None), &to))
}

/// The value of an expression that reads nothing; nothing, if it reads a row.
pub(super) fn constant(value: &Expr) -> Result<Option<ScalarValue>> {
    use datafusion::logical_expr::simplify::SimplifyContext;
    use datafusion::optimizer::simplify_expressions::ExprSimplifier;
    if let Expr::Literal(value, _) = value {
        return Ok(Some(value.clone()));
    }
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    match simplifier.simplify(value.clone())? {
        Expr::Literal(value, _) => Ok(Some(value)),
        _ => Ok(None),
    }
}
