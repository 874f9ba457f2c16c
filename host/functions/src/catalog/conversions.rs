//! Casts by name.

use arrow::datatypes::DataType;

use super::required;
use crate::function::Function;
use crate::kernels::cast::cast_to;
use crate::parameters::Takes::Any;
use crate::timestamp_type;

macro_rules! cast_named {
    ($name:literal, $kind:expr, $query:literal, $cell:literal) => {
        Function::scalar(
            $name,
            concat!("A value cast to ", $name, "."),
            &[required("expr", Any)],
            |call| Ok(cast_to(call.argument(0), &$kind)),
        )
        .null_intolerant()
        .spelled(|_, arguments| arguments.join(", "))
        .example($query, $cell)
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    cast_named!("bigint", DataType::Int64, "SELECT bigint('7')", "7"),
    cast_named!("binary", DataType::Binary, "SELECT hex(binary('a'))", "61"),
    cast_named!("boolean", DataType::Boolean, "SELECT boolean('yes')", "true"),
    cast_named!("date", DataType::Date32, "SELECT date('2026-01-31')", "2026-01-31"),
    cast_named!("decimal", DataType::Decimal128(10, 0), "SELECT decimal('7.5')", "8"),
    cast_named!("double", DataType::Float64, "SELECT double('1.5')", "1.5"),
    cast_named!("float", DataType::Float32, "SELECT float('1.5')", "1.5"),
    cast_named!("int", DataType::Int32, "SELECT int(3.9)", "3"),
    cast_named!("smallint", DataType::Int16, "SELECT smallint('7')", "7"),
    cast_named!("string", DataType::Utf8, "SELECT string(1.0)", "1.0"),
    cast_named!(
        "timestamp",
        timestamp_type(),
        "SELECT timestamp('2026-01-31 10:00:00')",
        "2026-01-31 10:00:00"
    ),
    cast_named!("tinyint", DataType::Int8, "SELECT tinyint('7')", "7"),
];
