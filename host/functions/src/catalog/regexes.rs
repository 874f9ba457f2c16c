//! Regular expressions, which are Java's, and patterns of LIKE.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, lit};

use super::{optional, required};
use crate::call::{Call, called};
use crate::function::Function;
use crate::kernels::{like, regexes};
use crate::parameters::Takes::{Int, Text};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "ilike",
        "Whether a text is as a pattern says, whatever its case: `_` is a character, and `%` any number of them.",
        &[required("str", Text), required("pattern", Text), optional("escape", Text)],
        |call| {
            for place in [0, 1] {
                let lower = called(&datafusion::functions::string::lower(), vec![call.argument(place)]);
                call.set(place, lower, DataType::Utf8);
            }
            liked(call)
        },
    )
    .null_intolerant()
    .example("SELECT ilike('Spark', '_PARK')", "true"),
    Function::scalar(
        "like",
        "Whether a text is as a pattern says: `_` is a character, and `%` any number of them.",
        &[required("str", Text), required("pattern", Text), optional("escape", Text)],
        liked,
    )
    .null_intolerant()
    .spelled(|_, arguments| match arguments.as_slice() {
        [text, pattern, escape] => format!("{text} LIKE {pattern} ESCAPE '{escape}'"),
        _ => arguments.join(" LIKE "),
    })
    .example("SELECT like('Spark', '_park')", "true"),
    Function::scalar(
        "regexp_count",
        "How often a regular expression matches in a text.",
        &[required("str", Text), required("regexp", Text)],
        |call| {
            checked(call, "regexp_count")?;
            Ok(call.of(&regexes::count()))
        },
    )
    .null_intolerant()
    .example("SELECT regexp_count('Steven Jones and Stephen Smith', 'Ste(v|ph)en')", "2"),
    Function::scalar(
        "regexp_extract",
        "The first match of a regular expression, or a group of it; an empty text where there is none.",
        &[required("str", Text), required("regexp", Text), optional("idx", Int)],
        |call| {
            checked(call, "regexp_extract")?;
            with_group(call);
            Ok(call.of(&regexes::extract()))
        },
    )
    .null_intolerant()
    .spelled(with_one)
    .example("SELECT regexp_extract('100-200', '([0-9]+)-([0-9]+)', 1)", "100"),
    Function::scalar(
        "regexp_extract_all",
        "All matches of a regular expression, or a group of each.",
        &[required("str", Text), required("regexp", Text), optional("idx", Int)],
        |call| {
            checked(call, "regexp_extract_all")?;
            with_group(call);
            Ok(call.of(&regexes::extract_all()))
        },
    )
    .null_intolerant()
    .spelled(with_one)
    .example("SELECT regexp_extract_all('100-200, 300-400', '([0-9]+)-([0-9]+)', 1)", "[100, 300]"),
    Function::scalar(
        "regexp_instr",
        "The place of the first match of a regular expression, counted from 1; 0 where there is none.",
        &[required("str", Text), required("regexp", Text), optional("idx", Int)],
        |call| {
            checked(call, "regexp_instr")?;
            Ok(call.of(&regexes::instr()))
        },
    )
    .null_intolerant()
    .spelled(|name, mut arguments| {
        if arguments.len() == 2 {
            arguments.push("0".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT regexp_instr('user@spark.apache.org', '@[^.]*')", "5"),
    Function::scalar(
        "regexp_replace",
        "A text with another one in the place of each match of a regular expression, from a place on.",
        &[required("str", Text), required("regexp", Text), required("rep", Text), optional("position", Int)],
        |call| {
            checked(call, "regexp_replace")?;
            if call.count() == 3 {
                call.set(3, lit(1_i32), DataType::Int32);
            }
            if let Expr::Literal(ScalarValue::Int32(Some(position @ ..1)), _) = call.argument(3) {
                return plan_err!(
                    "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] regexp_replace(): The position must be between (0, 2147483647] (current value = {position})"
                );
            }
            Ok(call.of(&regexes::replace()))
        },
    )
    .null_intolerant()
    .spelled(|name, mut arguments| {
        if arguments.len() == 3 {
            arguments.push("1".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT regexp_replace('100-200', '([0-9]+)', 'num')", "num-num"),
    Function::scalar(
        "regexp_substr",
        "The first match of a regular expression; null where there is none.",
        &[required("str", Text), required("regexp", Text)],
        |call| {
            checked(call, "regexp_substr")?;
            Ok(call.of(&regexes::substr()))
        },
    )
    .null_intolerant()
    .example("SELECT regexp_substr('Steven Jones and Stephen Smith', 'Ste(v|ph)en')", "Steven"),
    Function::scalar(
        "rlike",
        "Whether a regular expression of Java matches somewhere in a text.",
        &[required("str", Text), required("regexp", Text)],
        |call| {
            checked(call, "rlike")?;
            Ok(call.of(&regexes::rlike()))
        },
    )
    .called(&["regexp", "regexp_like"])
    .spelled(|name, arguments| match name {
        // As an operator.
        "rlike" => format!("RLIKE({})", arguments.join(", ")),
        _ => format!("{name}({})", arguments.join(", ")),
    })
    .null_intolerant()
    .example("SELECT rlike('Tidemill', 'm.l+')", "true"),
    Function::scalar(
        "split",
        "The parts of a text around matches of a regular expression, so many at most where a limit is positive.",
        &[required("str", Text), required("regex", Text), optional("limit", Int)],
        |call| {
            checked(call, "split")?;
            if call.count() == 2 {
                call.set(2, lit(-1_i32), DataType::Int32);
            }
            Ok(call.of(&regexes::split()))
        },
    )
    .null_intolerant()
    .spelled(|name, mut arguments| {
        if arguments.len() == 2 {
            arguments.push("-1".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT split('oneAtwoBthreeC', '[ABC]')", "[one, two, three, ]"),
];

/// A pattern that is written out is looked at before there are rows.
fn checked(call: &Call, function: &str) -> Result<()> {
    call.text(1).map_or(Ok(()), |pattern| regexes::check(function, pattern))
}

fn with_group(call: &mut Call) {
    if call.count() == 2 {
        call.set(2, lit(1_i32), DataType::Int32);
    }
}

fn with_one(name: &str, mut arguments: Vec<String>) -> String {
    if arguments.len() == 2 {
        arguments.push("1".to_owned());
    }
    format!("{name}({})", arguments.join(", "))
}

fn liked(call: &mut Call) -> Result<Expr> {
    if call.count() == 2 {
        call.set(2, lit("\\"), DataType::Utf8);
    }
    let escape = call.constant_text(2)?;
    if escape.chars().count() != 1 {
        return plan_err!(
            "[INVALID_ESCAPE_CHAR] `EscapeChar` should be a string literal of length one, but got \"{escape}\""
        );
    }
    Ok(call.of(&like::like()))
}
