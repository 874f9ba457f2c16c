//! Texts and bytes.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::functions::string as df;
use datafusion::logical_expr::{Expr, ScalarUDF, lit, when};
use datafusion_spark::function::string as spark;

use super::{of, optional, repeated, required};
use crate::call::{Call, called};
use crate::function::Function;
use crate::kernels::cast::cast_to;
use crate::kernels::{substrings, words};
use crate::parameters::Takes::{Any, Int, Long, Text, TextOrBytes};

/// The operator `||`.
pub const CONCAT: Function = Function::scalar(
    "concat",
    "Texts, bytes or arrays one after the other; null if one is.",
    &[repeated("exprs", Any)],
    concatenated,
)
.example("SELECT concat('Spark', 'SQL')", "SparkSQL");

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "ascii",
        "The number of a text's first character.",
        &[required("str", Text)],
        of!(spark::ascii),
    )
    .null_intolerant()
    .example("SELECT ascii('222')", "50"),
    Function::scalar(
        "bit_length",
        "How many bits a text or bytes have.",
        &[required("expr", TextOrBytes)],
        |call| Ok(length_in(call, 8)),
    )
    .null_intolerant()
    .example("SELECT bit_length('Spark SQL')", "72"),
    Function::scalar(
        "btrim",
        "A text without spaces, or without some characters, at both ends.",
        &[required("str", Text), optional("trimStr", Text)],
        of!(df::btrim),
    )
    .null_intolerant()
    .example("SELECT btrim('    SparkSQL   ')", "SparkSQL"),
    Function::scalar(
        "char",
        "The character of a number, of which the last 8 bits count.",
        &[required("expr", Long)],
        of!(words::char_of),
    )
    .called(&["chr"])
    .null_intolerant()
    .example("SELECT char(65)", "A"),
    Function::scalar(
        "char_length",
        "How many characters a text has, or bytes.",
        &[required("expr", TextOrBytes)],
        of!(spark::length),
    )
    .called(&["character_length"])
    .null_intolerant()
    .example("SELECT char_length('Spark SQL ')", "10"),
    Function::scalar(
        "collate",
        "A text in a collation, which has to be UTF8_BINARY.",
        &[required("expr", Text), required("collationName", Text)],
        |call| {
            let name = call.constant_text(1)?.to_ascii_uppercase();
            match name.trim_start_matches("SYSTEM.BUILTIN.") {
                "UTF8_BINARY" => Ok(call.argument(0)),
                _ => plan_err!("[UNSUPPORTED_FEATURE] collate(): the collation {name} is not supported; only UTF8_BINARY is"),
            }
        },
    )
    .null_intolerant()
    .example("SELECT collate('a', 'UTF8_BINARY')", "a"),
    Function::scalar(
        "collation",
        "The collation of a text: there is one.",
        &[required("expr", Text)],
        |_| Ok(lit("SYSTEM.BUILTIN.UTF8_BINARY")),
    )
    .example("SELECT collation('Spark SQL')", "SYSTEM.BUILTIN.UTF8_BINARY"),
    CONCAT,
    Function::scalar(
        "concat_ws",
        "Texts, and arrays of texts, with a text between them; nulls are left out.",
        &[required("sep", Text), repeated("str", Any)],
        |call| {
            for place in 1..call.count() {
                if !call.kind(place).is_nested() {
                    call.coerce(place, Text)?;
                }
            }
            Ok(call.of(&spark::concat_ws()))
        },
    )
    .example("SELECT concat_ws(' ', 'Spark', 'SQL')", "Spark SQL"),
    Function::scalar(
        "contains",
        "Whether a text, or bytes, are within others.",
        &[required("left", TextOrBytes), required("right", TextOrBytes)],
        |call| Ok(compared(call, &df::contains(), &substrings::contains_bytes())),
    )
    .null_intolerant()
    .example("SELECT contains('Spark SQL', 'Spark')", "true"),
    Function::scalar(
        "elt",
        "The argument of a number, counted from 1.",
        &[required("n", Int), repeated("inputs", TextOrBytes)],
        |call| {
            let is_binary = (1..call.count()).all(|place| call.kind(place).is_binary());
            if !is_binary {
                as_texts(call, 1);
            }
            Ok(call.of(&words::elt()))
        },
    )
    .example("SELECT elt(1, 'scala', 'java')", "scala"),
    Function::scalar(
        "endswith",
        "Whether a text, or bytes, end with others.",
        &[required("left", TextOrBytes), required("right", TextOrBytes)],
        |call| Ok(compared(call, &df::ends_with(), &substrings::ends_with_bytes())),
    )
    .null_intolerant()
    .example("SELECT endswith('Spark SQL', 'SQL')", "true"),
    Function::scalar(
        "find_in_set",
        "The place of a text in a list with commas, counted from 1; 0 where it is not there.",
        &[required("str", Text), required("str_array", Text)],
        of!(substrings::find_in_set),
    )
    .null_intolerant()
    .example("SELECT find_in_set('ab','abc,b,ab,c,def')", "3"),
    Function::scalar(
        "initcap",
        "A text in lower case, and the first letter of each word in upper case.",
        &[required("str", Text)],
        of!(words::initcap),
    )
    .null_intolerant()
    .example("SELECT initcap('sPark sql')", "Spark Sql"),
    Function::scalar(
        "instr",
        "The place of a text in another, counted from 1; 0 where it is not there. From a place on, or back from one by negative places, and of so many occurrences.",
        &[required("str", Text), required("substr", Text), optional("position", Int), optional("occurrence", Int)],
        |call| {
            let (from, occurrence) = (call.argument_or(2, 1_i32), call.argument_or(3, 1_i32));
            let arguments = vec![call.argument(0), call.argument(1), from, occurrence];
            Ok(called(&substrings::instr(), arguments))
        },
    )
    .null_intolerant()
    .spelled(|name, mut arguments| {
        if arguments.len() == 3 {
            arguments.push("1".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT instr('SparkSQL', 'SQL')", "6"),
    Function::scalar(
        "is_valid_utf8",
        "Whether a text is UTF-8.",
        &[required("str", TextOrBytes)],
        of!(spark::is_valid_utf8),
    )
    .null_intolerant()
    .example("SELECT is_valid_utf8('Spark')", "true"),
    Function::scalar(
        "jaro_winkler_similarity",
        "How much alike two texts are, from 0 to 1.",
        &[required("str1", Text), required("str2", Text)],
        of!(words::jaro_winkler),
    )
    .null_intolerant()
    .example("SELECT jaro_winkler_similarity('a', '')", "0.0"),
    Function::scalar(
        "left",
        "So many characters from the beginning of a text, or bytes.",
        &[required("str", TextOrBytes), required("len", Int)],
        |call| {
            let arguments = vec![call.argument(0), lit(1_i32), call.argument(1)];
            Ok(called(&substrings::substring(), arguments))
        },
    )
    .example("SELECT left('Spark SQL', 3)", "Spa"),
    Function::scalar(
        "length",
        "How many characters a text has, or bytes.",
        &[required("expr", TextOrBytes)],
        of!(spark::length),
    )
    .called(&["len"])
    .null_intolerant()
    .example("SELECT length('Spark SQL ')", "10"),
    Function::scalar(
        "levenshtein",
        "How many characters have to be changed to make one text another; -1 where that is more than the third argument.",
        &[required("str1", Text), required("str2", Text), optional("threshold", Int)],
        of!(words::levenshtein),
    )
    .null_intolerant()
    .example("SELECT levenshtein('kitten', 'sitting')", "3"),
    Function::scalar(
        "locate",
        "The place of a text in another from a place on, counted from 1; 0 where it is not there.",
        &[required("substr", Text), required("str", Text), optional("pos", Int)],
        |call| {
            let arguments = vec![call.argument(0), call.argument(1), call.argument_or(2, 1_i32)];
            let found = called(&substrings::locate(), arguments);
            // A place that is not known finds nothing (Spark's StringLocate).
            match call.count() {
                3 => when(call.argument(2).is_null(), lit(0_i32)).otherwise(found),
                _ => Ok(found),
            }
        },
    )
    .called(&["position"])
    .spelled(|name, mut arguments| {
        if arguments.len() == 2 {
            arguments.push("1".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT locate('bar', 'foobarbar')", "4"),
    Function::scalar("lower", "A text in lower case.", &[required("str", Text)], of!(df::lower))
        .called(&["lcase"])
        .null_intolerant()
        .example("SELECT lower('SparkSql')", "sparksql"),
    Function::scalar(
        "lpad",
        "A text of so many characters, or so many bytes: others stand before it, or its end is cut.",
        &[required("str", TextOrBytes), required("len", Int), optional("pad", TextOrBytes)],
        |call| Ok(padded(call, &substrings::lpad())),
    )
    .null_intolerant()
    .spelled(with_space)
    .example("SELECT lpad('hi', 5, '??')", "???hi"),
    Function::scalar(
        "ltrim",
        "A text without spaces, or without the characters of the first of two arguments, at its beginning.",
        &[required("trimStr", Text), optional("str", Text)],
        |call| trimmed(call, &df::ltrim()),
    )
    .null_intolerant()
    .spelled(|name, arguments| spelled_trim(name, "LEADING", &arguments))
    .example("SELECT ltrim('    SparkSQL   ')", "SparkSQL   "),
    Function::scalar(
        "luhn_check",
        "Whether digits have the check digit that Luhn's rule wants.",
        &[required("str", Text)],
        of!(spark::luhn_check),
    )
    .null_intolerant()
    .example("SELECT luhn_check('8112189876')", "true"),
    Function::scalar(
        "make_valid_utf8",
        "A text with U+FFFD in the place of what is no UTF-8.",
        &[required("str", TextOrBytes)],
        of!(spark::make_valid_utf8),
    )
    .null_intolerant()
    .example("SELECT make_valid_utf8('Spark')", "Spark"),
    Function::scalar(
        "mask",
        "A text with other characters in the place of its letters and digits, and of the rest if the last argument says so.",
        &[required("input", Text), optional("upperChar", Text), optional("lowerChar", Text), optional("digitChar", Text), optional("otherChar", Text)],
        masked,
    )
    .spelled(|name, mut arguments| {
        let defaults = ["X", "x", "n", "NULL"];
        let given = arguments.len().saturating_sub(1);
        arguments.extend(defaults.iter().skip(given).map(|text| (*text).to_owned()));
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT mask('abcd-EFGH-8765-4321')", "xxxx-XXXX-nnnn-nnnn"),
    Function::scalar(
        "octet_length",
        "How many bytes a text or bytes have.",
        &[required("expr", TextOrBytes)],
        |call| Ok(length_in(call, 1)),
    )
    .null_intolerant()
    .example("SELECT octet_length('Spark SQL')", "9"),
    Function::scalar(
        "overlay",
        "A text, or bytes, with others in the place of a part.",
        &[required("input", TextOrBytes), required("replace", TextOrBytes), required("pos", Int), optional("len", Int)],
        |call| {
            let kinds = (call.kind(0).clone(), call.kind(1).clone());
            if kinds.0 != kinds.1 {
                return Err(call.wrong(1, if kinds.0.is_binary() { "BINARY" } else { "STRING" }));
            }
            let mut arguments = call.arguments();
            if arguments.len() == 3 {
                arguments.push(lit(-1_i32));
            }
            Ok(called(&substrings::overlay(), arguments))
        },
    )
    .spelled(|name, mut arguments| {
        if arguments.len() == 3 {
            arguments.push("-1".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT overlay('Spark SQL', '_', 6)", "Spark_SQL"),
    Function::scalar(
        "quote",
        "A text in quotes, as it is written in SQL.",
        &[required("str", Text)],
        of!(spark::quote),
    )
    .null_intolerant()
    .example("SELECT quote('Don\\'t')", "'Don\\'t'"),
    Function::scalar(
        "repeat",
        "A text so many times.",
        &[required("str", Text), required("n", Int)],
        |call| {
            let times = cast_to(call.argument(1), &DataType::Int64);
            Ok(called(&df::repeat(), vec![call.argument(0), times]))
        },
    )
    .null_intolerant()
    .example("SELECT repeat('123', 2)", "123123"),
    Function::scalar(
        "replace",
        "A text with one in the place of another wherever that is.",
        &[required("str", Text), required("search", Text), optional("replace", Text)],
        |call| {
            let arguments = vec![call.argument(0), call.argument(1), call.argument_or(2, "")];
            Ok(called(&words::replace(), arguments))
        },
    )
    .null_intolerant()
    .spelled(|name, mut arguments| {
        if arguments.len() == 2 {
            arguments.push(String::new());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT replace('ABCabc', 'abc', 'DEF')", "ABCDEF"),
    Function::scalar(
        "reverse",
        "A text, bytes or an array, the other way round.",
        &[required("array", Any)],
        |call| {
            if matches!(call.kind(0), DataType::List(_)) {
                return Ok(call.of(&words::reverse_array()));
            }
            if call.kind(0).is_binary() {
                return Ok(call.of(&words::reverse_bytes()));
            }
            if call.kind(0).is_nested() {
                return Err(call.wrong(0, "STRING\" or \"ARRAY"));
            }
            as_texts(call, 0);
            Ok(call.of(&words::reverse_text()))
        },
    )
    .null_intolerant()
    .example("SELECT reverse('Spark SQL')", "LQS krapS"),
    Function::scalar(
        "right",
        "So many characters from the end of a text.",
        &[required("str", Text), required("len", Int)],
        of!(substrings::right),
    )
    .example("SELECT right('Spark SQL', 3)", "SQL"),
    Function::scalar(
        "rpad",
        "A text of so many characters, or so many bytes: others stand after it, or its end is cut.",
        &[required("str", TextOrBytes), required("len", Int), optional("pad", TextOrBytes)],
        |call| Ok(padded(call, &substrings::rpad())),
    )
    .null_intolerant()
    .spelled(with_space)
    .example("SELECT rpad('hi', 5, '??')", "hi???"),
    Function::scalar(
        "rtrim",
        "A text without spaces, or without the characters of the first of two arguments, at its end.",
        &[required("trimStr", Text), optional("str", Text)],
        |call| trimmed(call, &df::rtrim()),
    )
    .null_intolerant()
    .spelled(|name, arguments| spelled_trim(name, "TRAILING", &arguments))
    .example("SELECT rtrim('    SparkSQL   ')", "    SparkSQL"),
    Function::scalar(
        "sentences",
        "Sentences of a text, each an array of its words.",
        &[required("str", Text), optional("lang", Text), optional("country", Text)],
        of!(words::sentences),
    )
    .spelled(|name, mut arguments| {
        arguments.resize(3, String::new());
        format!("{name}({})", arguments.join(", "))
    }),
    Function::scalar(
        "soundex",
        "The code by which an English name sounds.",
        &[required("str", Text)],
        of!(spark::soundex),
    )
    .null_intolerant()
    .example("SELECT soundex('Miller')", "M460"),
    Function::scalar("space", "So many spaces.", &[required("n", Int)], of!(spark::space))
        .null_intolerant()
        .example("SELECT concat(space(2), '1')", "  1"),
    Function::scalar(
        "split_part",
        "The part of a text between separators of a number, counted from 1, or from the end by negative ones.",
        &[required("str", Text), required("delimiter", Text), required("partNum", Int)],
        of!(substrings::split_part),
    )
    .null_intolerant()
    .example("SELECT split_part('11.12.13', '.', 3)", "13"),
    Function::scalar(
        "startswith",
        "Whether a text, or bytes, begin with others.",
        &[required("left", TextOrBytes), required("right", TextOrBytes)],
        |call| Ok(compared(call, &df::starts_with(), &substrings::starts_with_bytes())),
    )
    .null_intolerant()
    .example("SELECT startswith('Spark SQL', 'Spark')", "true"),
    Function::scalar(
        "substring",
        "So many characters of a text, or bytes, or all, from a place on, counted from 1, or from the end by negative ones.",
        &[required("str", TextOrBytes), required("pos", Int), optional("len", Int)],
        |call| {
            let arguments = vec![call.argument(0), call.argument(1), call.argument_or(2, i32::MAX)];
            Ok(called(&substrings::substring(), arguments))
        },
    )
    .called(&["substr"])
    .null_intolerant()
    .spelled(|name, mut arguments| {
        if arguments.len() == 2 {
            arguments.push(i32::MAX.to_string());
        }

        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT substring('Spark SQL', 5, 1)", "k"),
    Function::scalar(
        "substring_index",
        "What is before a separator of a number, or after it by negative ones.",
        &[required("str", Text), required("delim", Text), required("count", Int)],
        of!(substrings::substring_index),
    )
    .null_intolerant()
    .example("SELECT substring_index('www.apache.org', '.', 2)", "www.apache"),
    Function::scalar(
        "translate",
        "A text with each character of one list replaced by that of another.",
        &[required("input", Text), required("from", Text), required("to", Text)],
        of!(words::translate),
    )
    .null_intolerant()
    .example("SELECT translate('AaBbCc', 'abc', '123')", "A1B2C3"),
    Function::scalar(
        "trim",
        "A text without spaces, or without the characters of the first of two arguments, at both ends.",
        &[required("trimStr", Text), optional("str", Text)],
        |call| trimmed(call, &df::btrim()),
    )
    .null_intolerant()
    .spelled(|name, arguments| spelled_trim(name, "BOTH", &arguments))
    .example("SELECT trim('    SparkSQL   ')", "SparkSQL"),
    Function::scalar("upper", "A text in upper case.", &[required("str", Text)], of!(df::upper))
        .called(&["ucase"])
        .null_intolerant()
        .example("SELECT upper('SparkSql')", "SPARKSQL"),
];

/// A text comes before the characters in SQL's TRIM, and so it arrives here.
fn trimmed(call: &mut Call, kernel: &Arc<ScalarUDF>) -> Result<Expr> {
    Ok(match call.count() {
        2 => called(kernel, vec![call.argument(1), call.argument(0)]),
        _ => call.of(kernel),
    })
}

fn spelled_trim(name: &str, side: &str, arguments: &[String]) -> String {
    match arguments {
        [characters, text] => format!("TRIM({side} {characters} FROM {text})"),
        _ => format!("{name}({})", arguments.join(", ")),
    }
}

/// Bytes of a text or of bytes, each as so many.
fn length_in(call: &Call, unit: i32) -> Expr {
    let bytes = cast_to(call.argument(0), &DataType::Binary);
    let length = called(&spark::length(), vec![bytes]);
    if unit == 1 { length } else { length * lit(unit) }
}

/// Casts the arguments from one on to texts.
fn as_texts(call: &mut Call, from: usize) {
    for place in from..call.count() {
        if *call.kind(place) != DataType::Utf8 {
            let text = cast_to(call.argument(place), &DataType::Utf8);
            call.set(place, text, DataType::Utf8);
        }
    }
}

/// Two texts, or bytes where both are.
fn compared(call: &mut Call, of_texts: &Arc<ScalarUDF>, of_bytes: &Arc<ScalarUDF>) -> Expr {
    if call.kind(0).is_binary() && call.kind(1).is_binary() {
        return call.of(of_bytes);
    }
    as_texts(call, 0);
    call.of(of_texts)
}

/// Bytes are padded with zeros where nothing else is said, and texts with spaces.
fn padded(call: &mut Call, kernel: &Arc<ScalarUDF>) -> Expr {
    let is_binary = call.kind(0).is_binary() && (call.count() == 2 || call.kind(2).is_binary());
    if call.count() == 2 {
        match is_binary {
            true => call.set(2, lit(ScalarValue::Binary(Some(vec![0]))), DataType::Binary),
            false => call.set(2, lit(" "), DataType::Utf8),
        }
    }
    if !is_binary {
        for place in [0, 2] {
            let text = cast_to(call.argument(place), &DataType::Utf8);
            call.set(place, text, DataType::Utf8);
        }
    }
    call.of(kernel)
}

/// Arrays, bytes, or what is written as texts.
fn concatenated(call: &mut Call) -> Result<Expr> {
    let kinds: Vec<DataType> = (0..call.count()).map(|place| call.kind(place).clone()).collect();
    if kinds.iter().any(DataType::is_nested) {
        if let DataType::List(_) = call.unite(0)? {
            return call.of_present(&datafusion::functions_nested::concat::array_concat_udf());
        }
        return Err(call.wrong(0, "STRING\" or \"BINARY\" or \"ARRAY"));
    }
    if !kinds.is_empty() && kinds.iter().all(DataType::is_binary) {
        return Ok(call.of(&words::concat_bytes()));
    }
    as_texts(call, 0);
    Ok(call.of(&spark::concat()))
}

/// What stands for letters and digits has one character, or is null.
fn masked(call: &mut Call) -> Result<Expr> {
    let names = ["upperChar", "lowerChar", "digitChar", "otherChar"];
    for (place, (name, default)) in
        names.iter().zip(["X", "x", "n"].iter().map(Some).chain([None])).enumerate()
    {
        let place = place + 1;
        if call.count() <= place {
            let default = ScalarValue::Utf8(default.map(|default| (*default).to_owned()));
            call.set(place, Expr::Literal(default, None), DataType::Utf8);
        } else if let Some(text) = call.text(place)
            && text.chars().count() != 1
        {
            return plan_err!(
                "[DATATYPE_MISMATCH.INPUT_SIZE_NOT_ONE] mask(): Length of {name} should be 1"
            );
        }
    }
    Ok(call.of(&words::mask()))
}

fn with_space(name: &str, mut arguments: Vec<String>) -> String {
    if arguments.len() == 2 {
        arguments.push(" ".to_owned());
    }
    format!("{name}({})", arguments.join(", "))
}
