//! What belongs nowhere else.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit, when};
use datafusion_spark::function::bitmap;
use tidemill_types::format_type_with;

use super::{of, optional, required};
use crate::function::{Determinism, Function};
use crate::interval_fields::fields_here;
use crate::kernels::asserting;
use crate::parameters::Takes::{Any, Boolean, Bytes, Long, Text};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "assert_true",
        "Null where a condition is true, and else an error.",
        &[required("expr", Boolean), optional("message", Text)],
        |call| {
            let text = call.argument_or(1, "the condition of assert_true() is not true!");
            let failure = asserting::raise().call(vec![text]);
            when(call.argument(0).is_true(), Expr::Literal(ScalarValue::Utf8(None), None))
                .otherwise(failure)
        },
    )
    .example("SELECT assert_true(0 < 1)", "NULL"),
    Function::scalar(
        "bitmap_bit_position",
        "The place of a number's bit in its bucket.",
        &[required("child", Long)],
        of!(bitmap::bitmap_bit_position),
    )
    .null_intolerant()
    .example("SELECT bitmap_bit_position(1)", "0"),
    Function::scalar(
        "bitmap_bucket_number",
        "The bucket of a number's bit.",
        &[required("child", Long)],
        of!(bitmap::bitmap_bucket_number),
    )
    .null_intolerant()
    .example("SELECT bitmap_bucket_number(123)", "1"),
    Function::scalar(
        "bitmap_count",
        "How many bits of a bitmap are set.",
        &[required("child", Bytes)],
        of!(bitmap::bitmap_count),
    )
    .null_intolerant()
    .example("SELECT bitmap_count(X'FFFF')", "16"),
    Function::scalar("current_catalog", "The name of the catalog: there is one.", &[], |_| {
        Ok(lit("spark_catalog"))
    })
    .example("SELECT current_catalog()", "spark_catalog"),
    Function::scalar("current_database", "The name of the schema: there is one.", &[], |_| {
        Ok(lit("default"))
    })
    .called(&["current_schema"])
    .spelled(|_, _| "current_schema()".to_owned())
    .example("SELECT current_database()", "default"),
    Function::scalar(
        "raise_error",
        "An error with a text.",
        &[required("errorMessage", Text)],
        |call| Ok(call.of(&asserting::raise())),
    ),
    Function::scalar("typeof", "The type of a value.", &[required("expr", Any)], |call| {
        let intervals = fields_here(&call.argument(0), call.kind(0));
        Ok(lit(format_type_with(call.kind(0), intervals)))
    })
    .example("SELECT typeof(1)", "int"),
    Function::scalar(
        "uuid",
        "A random UUID of its own for each row.",
        &[],
        of!(datafusion::functions::string::uuid),
    )
    .determined(Determinism::Volatile),
];
