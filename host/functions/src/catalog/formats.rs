//! Numbers as texts by a pattern, and back.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, cast};
use datafusion_spark::function::string as spark;

use super::{repeated, required};
use crate::call::{Call, called};
use crate::function::Function;
use crate::kernels::cast::cast_to;
use crate::kernels::number_patterns::{self, Pattern};
use crate::kernels::{encodings, format_number};
use crate::parameters::Takes::{Any, Numeric, Text};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "format_number",
        "A number with commas between thousands and so many digits behind the point, or by a pattern of DecimalFormat.",
        &[required("expr1", Numeric), required("expr2", Any)],
        |call| {
            let to = match call.kind(1) {
                kind if kind.is_integer() || kind.is_null() => DataType::Int32,
                kind if kind.is_string() => DataType::Utf8,
                _ => return Err(call.wrong(1, "INT\" or \"STRING")),
            };
            let pattern = cast_to(call.argument(1), &to);
            call.set(1, pattern, to);
            if call.kind(0).is_null() {
                let number = cast_to(call.argument(0), &DataType::Float64);
                call.set(0, number, DataType::Float64);
            }
            Ok(call.of(&format_number::format_number()))
        },
    )
    .null_intolerant()
    .example("SELECT format_number(12332.123456, 4)", "12,332.1235"),
    Function::scalar(
        "format_string",
        "A text by a pattern of printf.",
        &[required("strfmt", Text), repeated("obj", Any)],
        |call| {
            // A NULL without a type is one for letters of texts and of whole numbers.
            for place in 1..call.count() {
                if call.kind(place).is_null() {
                    let null = cast_to(call.argument(place), &DataType::Int32);
                    call.set(place, null, DataType::Int32);
                }
                // As the number that it is.
                if matches!(call.kind(place), DataType::Duration(_)) {
                    let count = cast(call.argument(place), DataType::Int64);
                    call.set(place, count, DataType::Int64);
                }
                if matches!(call.kind(place), DataType::Interval(_)) {
                    return Err(call.wrong(place, "NUMERIC\" or \"STRING"));
                }
            }
            Ok(call.of(&spark::format_string()))
        },
    )
    .called(&["printf"])
    .example("SELECT format_string('Hello World %d %s', 100, 'days')", "Hello World 100 days"),
    Function::scalar(
        "to_char",
        "A number, a time or bytes as a text by a format.",
        &[required("expr", Any), required("format", Text)],
        written,
    )
    .called(&["to_varchar"])
    .spelled(|_, arguments| format!("to_char({})", arguments.join(", ")))
    .example("SELECT to_char(454, '999')", "454"),
    Function::scalar(
        "to_number",
        "A text as a DECIMAL, by a format that is written out.",
        &[required("expr", Text), required("fmt", Text)],
        |call| read(call, false),
    )
    .null_intolerant()
    .example("SELECT to_number('$78.12', '$99.99')", "78.12"),
    Function::scalar(
        "try_to_number",
        "As `to_number`; null where a text is not as the format says.",
        &[required("expr", Text), required("fmt", Text)],
        |call| read(call, true),
    )
    .null_intolerant()
    .example("SELECT try_to_number('$78.12', '999')", "NULL"),
];

fn read(call: &mut Call, tolerant: bool) -> Result<Expr> {
    if call.is_null(1) {
        return Ok(Expr::Literal(ScalarValue::Decimal128(None, 38, 0), None));
    }
    let pattern = Pattern::parse(call.constant_text(1)?)?;
    // The kernel gives the number without its point; what it is follows from the format.
    let unscaled = number_patterns::to_number(tolerant).call(call.arguments());
    let DataType::Decimal128(precision, scale) = pattern.kind() else {
        return Ok(unscaled);
    };
    let with_point = number_patterns::with_point(precision, scale);
    Ok(with_point.call(vec![unscaled]))
}

fn written(call: &mut Call) -> Result<Expr> {
    match call.kind(0).clone() {
        DataType::Date32 | DataType::Timestamp(..) => match super::find("date_format") {
            Some(function) => {
                let arguments = (0..2).map(|at| (call.argument(at), call.kind(at).clone()));
                crate::call::build(function, arguments.collect())
            }
            None => plan_err!("[UNSUPPORTED_FEATURE] to_char() of times is not supported"),
        },
        kind if kind.is_binary() => {
            let format = call.constant_text(1)?.to_ascii_lowercase();
            let bytes = vec![call.argument(0)];
            match format.as_str() {
                "base64" => Ok(called(&encodings::base64(), bytes)),
                "hex" => Ok(called(&datafusion_spark::function::math::hex(), bytes)),
                "utf-8" => Ok(encodings::decode()
                    .call(vec![call.argument(0), datafusion::logical_expr::lit("utf-8")])),
                _ => plan_err!(
                    "[INVALID_PARAMETER_VALUE.BINARY_FORMAT] The value of parameter(s) `format` in `to_char` is invalid: expects one of binary formats 'base64', 'hex', 'utf-8', but got '{format}'"
                ),
            }
        }
        kind => {
            let decimal = match &kind {
                DataType::Decimal128(..) => kind.clone(),
                DataType::Float32 => DataType::Decimal128(14, 7),
                DataType::Float64 => DataType::Decimal128(30, 15),
                DataType::Utf8 | DataType::Null => DataType::Decimal128(38, 18),
                whole => match tidemill_types::decimal_of_whole(whole) {
                    Some(decimal) => decimal,
                    None => {
                        return Err(
                            call.wrong(0, "NUMERIC\" or \"DATE\" or \"TIMESTAMP\" or \"BINARY")
                        );
                    }
                },
            };
            if let Some(format) = call.text(1) {
                Pattern::parse(format)?;
            }
            if kind != decimal {
                let number = cast_to(call.argument(0), &decimal);
                call.set(0, number, decimal);
            }
            Ok(call.of(&number_patterns::to_char()))
        }
    }
}
