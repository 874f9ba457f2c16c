//! Bytes as texts, and back.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, Operator, binary_expr, lit};

use super::{of, optional, repeated, required};
use crate::call::Call;
use crate::function::Function;
use crate::kernels::cast::cast_to;
use crate::kernels::encodings;
use crate::parameters::Takes::{Any, Bytes, Text, TextOrBytes};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar("base64", "Bytes in base 64.", &[required("bin", Bytes)], of!(encodings::base64))
        .null_intolerant()
        .example("SELECT base64('Spark SQL')", "U3BhcmsgU1FM"),
    Function::scalar(
        "decode",
        "Bytes as a text of a character set; or, of more arguments, the value behind the first that is equal to one.",
        &[required("bin", Any), required("charset", Any), repeated("values", Any)],
        decoded,
    )
    .example("SELECT decode(encode('abc', 'utf-8'), 'utf-8')", "abc"),
    Function::scalar(
        "encode",
        "A text as bytes of a character set.",
        &[required("str", Text), required("charset", Text)],
        |call| {
            if let Some(charset) = call.text(1) {
                encodings::check_charset(charset, "encode")?;
            }
            Ok(call.of(&encodings::encode()))
        },
    )
    .example("SELECT hex(encode('abc', 'utf-16be'))", "006100620063"),
    Function::scalar(
        "from_base32",
        "Bytes of a text in base 32.",
        &[required("str", Text)],
        of!(encodings::from_base32),
    )
    .null_intolerant()
    .example("SELECT string(from_base32('ME======'))", "a"),
    Function::scalar(
        "to_base32",
        "Bytes in base 32.",
        &[required("bin", Bytes)],
        of!(encodings::to_base32),
    )
    .null_intolerant()
    .example("SELECT to_base32('a')", "ME======"),
    Function::scalar(
        "to_binary",
        "Bytes of a text in hex, utf-8 or base64; hex where nothing is said.",
        &[required("str", Text), optional("fmt", Text)],
        |call| binary_of(call, false),
    )
    .example("SELECT hex(to_binary('abc', 'utf-8'))", "616263"),
    Function::scalar(
        "try_to_binary",
        "As `to_binary`; null where a text is malformed.",
        &[required("str", Text), optional("fmt", Text)],
        |call| binary_of(call, true),
    )
    .example("SELECT try_to_binary('a!', 'base64')", "NULL"),
    Function::scalar(
        "try_validate_utf8",
        "A text, or null where it is no UTF-8.",
        &[required("str", TextOrBytes)],
        |call| Ok(validated(call, true)),
    )
    .null_intolerant()
    .example("SELECT try_validate_utf8('Spark')", "Spark"),
    Function::scalar(
        "unbase64",
        "Bytes of a text in base 64.",
        &[required("str", Text)],
        of!(encodings::unbase64),
    )
    .null_intolerant()
    .example("SELECT string(unbase64('U3BhcmsgU1FM'))", "Spark SQL"),
    Function::scalar(
        "validate_utf8",
        "A text, or an error where it is no UTF-8.",
        &[required("str", TextOrBytes)],
        |call| Ok(validated(call, false)),
    )
    .null_intolerant()
    .example("SELECT validate_utf8('Spark')", "Spark"),
];

fn validated(call: &Call, tolerant: bool) -> Expr {
    let bytes = cast_to(call.argument(0), &DataType::Binary);
    encodings::validate_utf8(tolerant).call(vec![bytes])
}

fn binary_of(call: &mut Call, tolerant: bool) -> Result<Expr> {
    if call.count() == 1 {
        call.set(1, lit("hex"), DataType::Utf8);
    }
    if call.is_null(1) {
        return Ok(Expr::Literal(ScalarValue::Binary(None), None));
    }
    let format = call.constant_text(1)?;
    if !encodings::is_binary_format(format) && !tolerant {
        return plan_err!(
            "[DATATYPE_MISMATCH.INVALID_ARG_VALUE] to_binary(): The fmt value must to be a case-insensitive \"STRING\" literal of 'hex', 'utf-8', 'utf8', or 'base64', but got '{format}'"
        );
    }
    Ok(call.of(&encodings::to_binary(tolerant)))
}

/// Two arguments are bytes and a character set; more are pairs of a value and a result, and maybe
/// a last result. Null is equal to null.
fn decoded(call: &mut Call) -> Result<Expr> {
    if call.count() == 2 {
        let bytes = cast_to(call.argument(0), &DataType::Binary);
        let charset = cast_to(call.argument(1), &DataType::Utf8);
        if let Some(charset) = call.text(1) {
            encodings::check_charset(charset, "decode")?;
        }
        return Ok(encodings::decode().call(vec![bytes, charset]));
    }
    let kinds = |places: &mut dyn Iterator<Item = usize>| -> Result<DataType> {
        let kinds: Vec<DataType> = places.map(|place| call.kind(place).clone()).collect();
        match tidemill_types::wider_of(&kinds) {
            Some(kind) => Ok(kind),
            None => plan_err!(
                "[DATATYPE_MISMATCH.DATA_DIFF_TYPES] decode(): the results should all be of one type; cast them"
            ),
        }
    };
    let count = call.count();
    let is_result = |place: usize| place > 1 && (place.is_multiple_of(2) || place + 1 == count);
    let of_results = kinds(&mut (2..count).filter(|place| is_result(*place)))?;
    let cast = |place: usize, kind: &DataType| match call.kind(place) == kind {
        true => call.argument(place),
        false => cast_to(call.argument(place), kind),
    };
    let mut otherwise = match count.is_multiple_of(2) {
        true => cast(count - 1, &of_results),
        false => Expr::Literal(ScalarValue::try_from(&of_results)?, None),
    };
    let pairs = (count - 1) / 2;
    for pair in (0..pairs).rev() {
        let (value, result) = (1 + 2 * pair, 2 + 2 * pair);
        let kind = kinds(&mut [0, value].into_iter())?;
        let is_equal = binary_expr(cast(0, &kind), Operator::IsNotDistinctFrom, cast(value, &kind));
        otherwise = datafusion::logical_expr::when(is_equal, cast(result, &of_results))
            .otherwise(otherwise)?;
    }
    Ok(otherwise)
}
