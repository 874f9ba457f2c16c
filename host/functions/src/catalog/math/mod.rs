//! Numbers.

mod build;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::plan_err;
use datafusion::functions::math as df;
use datafusion::logical_expr::{ScalarUDF, lit, when};
use datafusion_spark::function::math as spark;

use self::build::{absolute, limited, logarithm, negative, operated, ordered, rounded, with_zero};
use super::{of, optional, required};
use crate::call::called;
use crate::function::{Determinism, Function};
use crate::kernels::arithmetic::Operation;
use crate::kernels::cast::cast_to;
use crate::kernels::digits::{self, Rounding};
use crate::kernels::logarithm::Logarithm;
use crate::kernels::{interval_arithmetic, java_math, logarithms, whole};
use crate::parameters::Takes::{
    Any, Double, DoubleOrInterval, Int, Long, Number, NumberOrInterval, Text,
};

/// Spark calls columns of its functions of doubles so.
fn in_capitals(name: &str, arguments: Vec<String>) -> String {
    format!("{}({})", name.to_ascii_uppercase(), arguments.join(", "))
}

/// Columns of other functions have the name that was written.
fn as_called(name: &str, arguments: Vec<String>) -> String {
    format!("{name}({})", arguments.join(", "))
}

/// A function of one DOUBLE.
macro_rules! of_double {
    ($name:literal, $usage:literal, $kernel:expr, $query:literal, $cell:literal) => {
        Function::scalar($name, $usage, &[required("expr", Double)], of!($kernel))
            .null_intolerant()
            .spelled(in_capitals)
            .example($query, $cell)
    };
}

/// Arithmetic of two numbers.
macro_rules! of_two {
    ($name:literal, $usage:literal, $operation:expr, $tolerant:expr) => {
        Function::scalar($name, $usage, &[required("left", Any), required("right", Any)], |call| {
            operated(call, $operation, $tolerant)
        })
        .null_intolerant()
    };
}

/// The operator `-` of one operand.
pub const NEGATIVE: Function = Function::scalar(
    "negative",
    "A number with the other sign.",
    &[required("expr", NumberOrInterval)],
    negative,
)
.null_intolerant()
.example("SELECT negative(1)", "-1");

/// The operator `+` of one operand.
pub const POSITIVE: Function =
    Function::scalar("positive", "A number as it is.", &[required("expr", Number)], |call| {
        Ok(call.argument(0))
    })
    .null_intolerant()
    .spelled(|_, arguments| format!("(+ {})", arguments.join(", ")))
    .example("SELECT positive(1)", "1");

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "abs",
        "A number or an interval without its sign.",
        &[required("expr", Any)],
        absolute,
    )
    .null_intolerant()
    .example("SELECT abs(-1)", "1"),
    of_double!("acos", "The arc cosine, in radians.", java_math::acos, "SELECT acos(1)", "0.0"),
    of_double!("acosh", "The inverse hyperbolic cosine.", java_math::acosh, "SELECT acosh(1)", "0.0"),
    of_double!("asin", "The arc sine, in radians.", java_math::asin, "SELECT asin(0)", "0.0"),
    of_double!("asinh", "The inverse hyperbolic sine.", java_math::asinh, "SELECT asinh(0)", "0.0"),
    of_double!("atan", "The arc tangent, in radians.", java_math::atan, "SELECT atan(0)", "0.0"),
    Function::scalar(
        "atan2",
        "The angle between the x-axis and a point, in radians.",
        &[required("exprY", Double), required("exprX", Double)],
        of!(spark::atan2),
    )
    .null_intolerant()
    .spelled(in_capitals)
    .example("SELECT atan2(0, 0)", "0.0"),
    of_double!("atanh", "The inverse hyperbolic tangent.", java_math::atanh, "SELECT atanh(0)", "0.0"),
    Function::scalar(
        "bin",
        "A BIGINT in binary digits.",
        &[required("expr", Long)],
        of!(spark::bin),
    )
    .null_intolerant()
    .example("SELECT bin(13)", "1101"),
    Function::scalar(
        "bround",
        "A number with so many digits behind the point; halves go to the even neighbour.",
        &[required("expr", Number), optional("d", Int)],
        |call| rounded(call, "bround", Rounding::HalfEven),
    )
    .null_intolerant()
    .spelled(with_zero)
    .example("SELECT bround(2.5, 0)", "2"),
    of_double!("cbrt", "The cube root.", java_math::cbrt, "SELECT cbrt(27.0)", "3.0"),
    Function::scalar(
        "ceil",
        "The smallest whole number that is not less, or the smallest with so many digits behind the point.",
        &[required("expr", Number), optional("scale", Int)],
        |call| limited(call, "ceil", Rounding::Ceiling),
    )
    .called(&["ceiling"])
    .null_intolerant()
    .spelled(|name, arguments| match (name, arguments.len()) {
        ("ceil", 1) => format!("CEIL({})", arguments.join(", ")),
        _ => format!("{name}({})", arguments.join(", ")),
    })
    .example("SELECT ceil(-0.1)", "0"),
    Function::scalar(
        "conv",
        "A number from one base in another; digits that are none end it.",
        &[required("num", Text), required("from_base", Int), required("to_base", Int)],
        of!(digits::conv),
    )
    .null_intolerant()
    .example("SELECT conv('100', 2, 10)", "4"),
    of_double!("cos", "The cosine of radians.", df::cos, "SELECT cos(0)", "1.0"),
    of_double!("cosh", "The hyperbolic cosine.", java_math::cosh, "SELECT cosh(0)", "1.0"),
    of_double!("cot", "The cotangent of radians.", df::cot, "SELECT cot(1)", "0.6420926159343306"),
    of_double!("csc", "The cosecant of radians.", spark::csc, "SELECT csc(1)", "1.1883951057781212"),
    of_double!("degrees", "Radians as degrees.", df::degrees, "SELECT degrees(3.141592653589793)", "180.0"),
    Function::scalar("e", "Euler's number.", &[], |_| Ok(lit(std::f64::consts::E)))
        .spelled(|_, _| "E()".to_owned())
        .example("SELECT e()", "2.718281828459045"),
    of_double!("exp", "Euler's number to a power.", df::exp, "SELECT exp(0)", "1.0"),
    of_double!("expm1", "One less than `exp`.", java_math::expm1, "SELECT expm1(0)", "0.0"),
    Function::scalar(
        "factorial",
        "The product of the whole numbers up to one from 0 to 20; null for others.",
        &[required("expr", Int)],
        of!(spark::factorial),
    )
    .null_intolerant()
    .example("SELECT factorial(5)", "120"),
    Function::scalar(
        "floor",
        "The largest whole number that is not more, or the largest with so many digits behind the point.",
        &[required("expr", Number), optional("scale", Int)],
        |call| limited(call, "floor", Rounding::Floor),
    )
    .null_intolerant()
    .spelled(|name, arguments| match arguments.len() {
        1 => format!("FLOOR({})", arguments.join(", ")),
        _ => format!("{name}({})", arguments.join(", ")),
    })
    .example("SELECT floor(-0.1)", "-1"),
    Function::scalar(
        "greatest",
        "The largest of its arguments; nulls do not count.",
        &[required("expr", Any), required("expr", Any), super::repeated("exprs", Any)],
        |call| {
            ordered(call)?;
            Ok(call.of(&datafusion::functions::core::greatest()))
        },
    )
    .example("SELECT greatest(10, 9, 2, 4, 3)", "10"),
    Function::scalar(
        "hex",
        "A BIGINT, or bytes, in hexadecimal digits.",
        &[required("expr", Any)],
        |call| {
            let kind = call.kind(0).clone();
            let to = match kind {
                DataType::Boolean => DataType::Utf8,
                ref kind if kind.is_numeric() || kind.is_null() => DataType::Int64,
                _ => kind,
            };
            let value = if to == *call.kind(0) { call.argument(0) } else { cast_to(call.argument(0), &to) };
            Ok(called(&spark::hex(), vec![value]))
        },
    )
    .null_intolerant()
    .example("SELECT hex(17)", "11"),
    Function::scalar(
        "hypot",
        "The length of a vector.",
        &[required("expr1", Double), required("expr2", Double)],
        of!(spark::hypot),
    )
    .null_intolerant()
    .spelled(in_capitals)
    .example("SELECT hypot(3, 4)", "5.0"),
    Function::scalar(
        "least",
        "The smallest of its arguments; nulls do not count.",
        &[required("expr", Any), required("expr", Any), super::repeated("exprs", Any)],
        |call| {
            ordered(call)?;
            Ok(call.of(&datafusion::functions::core::least()))
        },
    )
    .example("SELECT least(10, 9, 2, 4, 3)", "2"),
    Function::scalar(
        "ln",
        "The natural logarithm; null where there is none.",
        &[required("expr", Double)],
        |call| Ok(logarithm(call, "ln")),
    )
    .null_intolerant()
    .example("SELECT ln(1)", "0.0"),
    Function::scalar(
        "log",
        "The logarithm of the second argument to the base of the first, or the natural one.",
        &[required("base", Double), optional("expr", Double)],
        |call| {
            if call.count() == 1 {
                return Ok(logarithm(call, "ln"));
            }
            let of = |argument| Arc::new(ScalarUDF::new_from_impl(Logarithm::named("ln"))).call(vec![argument]);
            let (base, value) = (of(call.argument(0)), of(call.argument(1)));
            Ok(value / base)
        },
    )
    .null_intolerant()
    .spelled(|_, arguments| match arguments.as_slice() {
        [value] => format!("LOG(E(), {value})"),
        _ => format!("LOG({})", arguments.join(", ")),
    })
    .example("SELECT log(10, 100)", "2.0"),
    Function::scalar(
        "log10",
        "The logarithm to base 10; null where there is none.",
        &[required("expr", Double)],
        |call| Ok(logarithm(call, "log10")),
    )
    .null_intolerant()
    .spelled(in_capitals)
    .example("SELECT log10(10)", "1.0"),
    Function::scalar(
        "log1p",
        "The natural logarithm of one more; null where there is none.",
        &[required("expr", Double)],
        |call| {
            let value = call.argument(0);
            let is_above = value.clone().gt(lit(-1.0));
            let logarithm = called(&logarithms::log1p(), vec![value.clone()]);
            when(is_above.or(called(&df::isnan(), vec![value])), logarithm).end()
        },
    )
    .null_intolerant()
    .spelled(in_capitals)
    .example("SELECT log1p(0)", "0.0"),
    Function::scalar(
        "log2",
        "The logarithm to base 2; null where there is none.",
        &[required("expr", Double)],
        |call| Ok(logarithm(call, "log2")),
    )
    .null_intolerant()
    .spelled(in_capitals)
    .example("SELECT log2(2)", "1.0"),
    of_two!("mod", "The remainder of a division; its sign is the dividend's.", Operation::Remainder, false)
        .example("SELECT mod(7, 4)", "3"),
    NEGATIVE,
    Function::scalar("pi", "The ratio of a circle's circumference to its diameter.", &[], |_| {
        Ok(lit(std::f64::consts::PI))
    })
    .spelled(|_, _| "PI()".to_owned())
    .example("SELECT pi()", "3.141592653589793"),
    of_two!("pmod", "The remainder of a division, which is not negative where the divisor is not.", Operation::PositiveRemainder, false)
        .example("SELECT pmod(-10, 3)", "2"),
    POSITIVE,
    Function::scalar(
        "power",
        "A number to a power, a DOUBLE.",
        &[required("expr1", Double), required("expr2", Double)],
        of!(spark::pow),
    )
    .called(&["pow"])
    .null_intolerant()
    .spelled(|name, arguments| {
        let name = if name == "pow" { "pow" } else { "POWER" };
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT power(2, 3)", "8.0"),
    of_double!("radians", "Degrees as radians.", df::radians, "SELECT radians(180)", "3.141592653589793"),
    Function::scalar(
        "rand",
        "A number of its own for each row, from 0 and below 1.",
        &[optional("seed", Long)],
        |call| match call.count() {
            0 => Ok(call.of(&df::random())),
            _ => plan_err!(
                "[UNSUPPORTED_FEATURE] rand(): a seed gives other numbers than in Spark, whose depend on partitions; leave it out"
            ),
        },
    )
    .called(&["random"])
    .determined(Determinism::Volatile),
    of_double!("rint", "The nearest whole number, and of two the even one, a DOUBLE.", spark::rint, "SELECT rint(12.3456)", "12.0")
        .spelled(as_called),
    Function::scalar(
        "round",
        "A number with so many digits behind the point; halves go away from zero.",
        &[required("expr", Number), optional("d", Int)],
        |call| rounded(call, "round", Rounding::HalfUp),
    )
    .null_intolerant()
    .spelled(with_zero)
    .example("SELECT round(2.5, 0)", "3"),
    of_double!("sec", "The secant of radians.", spark::sec, "SELECT sec(0)", "1.0"),
    Function::scalar(
        "signum",
        "-1, 0 or 1: the sign of a number or an interval.",
        &[required("expr", DoubleOrInterval)],
        |call| match interval_arithmetic::is_of_one_kind(call.kind(0)) {
            true => Ok(call.of(&interval_arithmetic::sign())),
            false => Ok(call.of(&df::signum())),
        },
    )
    .null_intolerant()
    .example("SELECT signum(40)", "1.0")
        .called(&["sign"])
        .spelled(|name, arguments| {
            let name = if name == "sign" { "sign" } else { "SIGNUM" };
            format!("{name}({})", arguments.join(", "))
        }),
    of_double!("sin", "The sine of radians.", df::sin, "SELECT sin(0)", "0.0"),
    of_double!("sinh", "The hyperbolic sine.", java_math::sinh, "SELECT sinh(0)", "0.0"),
    of_double!("sqrt", "The square root.", java_math::sqrt, "SELECT sqrt(4)", "2.0"),
    of_double!("tan", "The tangent of radians.", df::tan, "SELECT tan(0)", "0.0"),
    of_double!("tanh", "The hyperbolic tangent.", java_math::tanh, "SELECT tanh(0)", "0.0"),
    of_two!("try_add", "A sum; null where it does not fit.", Operation::Add, true)
        .example("SELECT try_add(1, 2)", "3"),
    of_two!("try_divide", "A quotient; null where the divisor is zero.", Operation::Divide, true)
        .example("SELECT try_divide(3, 2)", "1.5"),
    of_two!("try_mod", "A remainder; null where the divisor is zero.", Operation::Remainder, true)
        .example("SELECT try_mod(3, 2)", "1"),
    of_two!("try_multiply", "A product; null where it does not fit.", Operation::Multiply, true)
        .example("SELECT try_multiply(2, 3)", "6"),
    of_two!("try_subtract", "A difference; null where it does not fit.", Operation::Subtract, true)
        .example("SELECT try_subtract(2, 1)", "1"),
    Function::scalar(
        "unhex",
        "Bytes of hexadecimal digits; null where a text has others.",
        &[required("expr", Text)],
        of!(spark::unhex),
    )
    .null_intolerant()
    .example("SELECT string(unhex('537061726B2053514C'))", "Spark SQL"),
    Function::scalar(
        "width_bucket",
        "In which of so many equal parts of a range a value is.",
        &[
            required("value", Any),
            required("min_value", Any),
            required("max_value", Any),
            required("num_bucket", Long),
        ],
        |call| {
            let is_interval =
                |kind: &DataType| matches!(kind, DataType::Interval(_) | DataType::Duration(_));
            // One more bucket than there are has a number, too. What does not fit is null before the
            // kernel sees it, as constants are computed from within.
            let count = call.argument(3);
            let fitting = when(count.clone().lt(lit(i64::MAX)), count).end()?;
            call.set(3, fitting, DataType::Int64);
            if (0..3).all(|place| is_interval(call.kind(place))) {
                return Ok(call.of(&spark::width_bucket()));
            }
            for place in 0..3 {
                let kind = call.kind(place);
                if !(kind.is_numeric() || kind.is_string() || kind.is_null()) {
                    return Err(call.wrong(place, "DOUBLE\" or \"INTERVAL"));
                }
                let number = cast_to(call.argument(place), &DataType::Float64);
                call.set(place, number, DataType::Float64);
            }
            Ok(call.of(&whole::width_bucket()))
        },
    )
    .null_intolerant()
    .example("SELECT width_bucket(5.3, 0.2, 10.6, 5)", "3"),
];
