//! Bits of numbers.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::required;
use crate::call::Call;
use crate::function::Function;
use crate::kernels::bits;
use crate::parameters::Takes::{Any, Int};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "bit_count",
        "How many bits of a whole number or a BOOLEAN are set.",
        &[required("expr", Any)],
        |call| match call.kind(0) {
            DataType::Null => {
                call.coerce(0, Int)?;
                Ok(call.of(&bits::bit_count()))
            }
            DataType::Boolean => Ok(call.of(&bits::bit_count())),
            kind if kind.is_integer() => Ok(call.of(&bits::bit_count())),
            _ => Err(call.wrong(0, "INTEGRAL\" or \"BOOLEAN")),
        },
    )
    .null_intolerant()
    .example("SELECT bit_count(7)", "3"),
    Function::scalar(
        "bit_get",
        "The bit at a place, counted from the right and from 0.",
        &[required("expr", Any), required("pos", Int)],
        |call| match call.kind(0) {
            DataType::Null => {
                call.coerce(0, Int)?;
                Ok(call.of(&bits::bit_get()))
            }
            kind if kind.is_integer() => Ok(call.of(&bits::bit_get())),
            _ => Err(call.wrong(0, "INTEGRAL")),
        },
    )
    .called(&["getbit"])
    .null_intolerant()
    .example("SELECT bit_get(11, 2)", "0"),
    Function::scalar(
        "shiftleft",
        "A number with its bits moved to the left.",
        &[required("base", Any), required("expr", Int)],
        |call| moved(call, bits::shiftleft),
    )
    .called(&["<<"])
    .null_intolerant()
    .example("SELECT shiftleft(2, 1)", "4"),
    Function::scalar(
        "shiftright",
        "A number with its bits moved to the right; the sign stays.",
        &[required("base", Any), required("expr", Int)],
        |call| moved(call, bits::shiftright),
    )
    .called(&[">>"])
    .null_intolerant()
    .example("SELECT shiftright(4, 1)", "2"),
    Function::scalar(
        "shiftrightunsigned",
        "A number with its bits moved to the right; zeros come from the left.",
        &[required("base", Any), required("expr", Int)],
        |call| moved(call, bits::shiftrightunsigned),
    )
    .called(&[">>>"])
    .null_intolerant()
    .example("SELECT shiftrightunsigned(4, 1)", "2"),
];

/// A number that is no BIGINT is moved as an INT.
fn moved(call: &mut Call, kernel: fn() -> Arc<ScalarUDF>) -> Result<Expr> {
    match call.kind(0) {
        DataType::Int64 => {}
        DataType::Int32 | DataType::Int16 | DataType::Int8 | DataType::Utf8 | DataType::Null => {
            call.coerce(0, Int)?;
        }
        _ => return Err(call.wrong(0, "INT\" or \"BIGINT")),
    }
    Ok(call.of(&kernel()))
}
