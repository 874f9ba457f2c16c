//! Types of arguments, and Spark's words for those that do not do.

use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use tidemill_types::format_type;

/// Checks the number of arguments.
pub(super) fn count_of(
    name: &str,
    arguments: &[DataType],
    allowed: std::ops::RangeInclusive<usize>,
) -> Result<()> {
    if allowed.contains(&arguments.len()) {
        return Ok(());
    }
    let (least, most) = (allowed.start(), allowed.end());
    let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
    plan_err!(
        "[WRONG_NUM_ARGS] The `{name}` requires {wanted} parameters but the actual number is {}",
        arguments.len()
    )
}

/// Numbers stay, texts are read as DOUBLE, all else is refused.
pub(super) fn numeric(name: &str, argument: &DataType) -> Result<DataType> {
    match argument {
        DataType::Null | DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            Ok(DataType::Float64)
        }
        number if number.is_numeric() => Ok(number.clone()),
        other => Err(unexpected(name, "NUMERIC", other)),
    }
}

/// As [`numeric`], for aggregates that compute with DOUBLE whatever they are given.
pub(super) fn double(name: &str, argument: &DataType) -> Result<DataType> {
    numeric(name, argument).map(|_| DataType::Float64)
}

/// Refuses types without an order.
pub(super) fn ordered(name: &str, argument: &DataType) -> Result<()> {
    if contains_map(argument) {
        return plan_err!(
            "[DATATYPE_MISMATCH.INVALID_ORDERING_TYPE] The `{name}` does not support ordering on type \"{}\"; take a field that has an order",
            format_type(argument).to_uppercase()
        );
    }
    Ok(())
}

/// Whether there is a MAP in a type, so that its values have no order and no equality.
pub fn contains_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::List(item) => contains_map(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| contains_map(field.data_type())),
        _ => false,
    }
}

pub(super) fn unexpected(
    name: &str,
    wanted: &str,
    found: &DataType,
) -> datafusion::error::DataFusionError {
    plan_datafusion_err!(
        "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {name}() requires the \"{wanted}\" type, and its argument has the type \"{}\"; cast it",
        format_type(found).to_uppercase()
    )
}
