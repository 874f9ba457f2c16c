//! Calls that are built by the types of their arguments.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, ScalarUDF, lit, when};
use datafusion_spark::function::collection;
use tidemill_types::format_type;

use crate::aggregates::contains_map;
use crate::call::{Call, called};
use crate::kernels::cast::cast_to;
use crate::kernels::elements::{Access, element};
use crate::kernels::lists::{edit, item, list_of, maps, sequence, shape, shuffle};
use crate::parameters::{Takes, tightest};

type Made = fn() -> Arc<ScalarUDF>;

fn name(kind: &DataType) -> String {
    format_type(kind).to_uppercase()
}

/// Refuses arrays whose values cannot be compared.
fn ordered(call: &Call, place: usize) -> Result<()> {
    if contains_map(call.kind(place)) {
        return plan_err!(
            "[DATATYPE_MISMATCH.INVALID_ORDERING_TYPE] The `{}` does not support ordering on type \"{}\"",
            call.name(),
            name(call.kind(place))
        );
    }
    Ok(())
}

/// `array_sort(array)`, of what is no NULL.
pub(super) fn array_sort(call: &mut Call, kernel: Made) -> Result<Expr> {
    if call.is_null(0) && item(call.kind(0))?.data_type().is_null() {
        return Err(call.wrong(0, "ARRAY"));
    }
    of_ordered(call, kernel)
}

/// A kernel of arrays with an order.
pub(super) fn of_ordered(call: &mut Call, kernel: Made) -> Result<Expr> {
    ordered(call, 0)?;
    Ok(call.of(&kernel()))
}

/// Casts an array and a value to types that are one.
fn unite_with(call: &mut Call, value: usize, widens: bool) -> Result<()> {
    let of = item(call.kind(0))?.data_type().clone();
    if of.is_null() && call.is_null(0) {
        return Err(call.wrong(0, "ARRAY"));
    }
    let Some(common) = tightest(&of, call.kind(value), widens) else {
        return plan_err!(
            "[DATATYPE_MISMATCH.ARRAY_FUNCTION_DIFF_TYPES] Input to `{}` should have been \"ARRAY\" followed by a value with same element type, but it's [\"{}\", \"{}\"]; cast one of them",
            call.name(),
            name(call.kind(0)),
            name(call.kind(value))
        );
    };
    if of != common {
        let list = list_of(common.clone());
        call.set(0, cast_to(call.argument(0), &list), list);
    }
    if *call.kind(value) != common {
        call.set(value, cast_to(call.argument(value), &common), common);
    }
    Ok(())
}

/// An array and a value that is added to it.
pub(super) fn with_value(call: &mut Call, kernel: Made) -> Result<Expr> {
    unite_with(call, 1, false)?;
    Ok(call.of(&kernel()))
}

pub(super) fn array_insert(call: &mut Call) -> Result<Expr> {
    whole(call, 1)?;
    unite_with(call, 2, false)?;
    Ok(call.of(&edit::array_insert()))
}

/// An array, and a value that is looked for in it.
pub(super) fn searched(call: &mut Call, kernel: Made) -> Result<Expr> {
    ordered(call, 0)?;
    unite_with(call, 1, false)?;
    Ok(call.of(&kernel()))
}

pub(super) fn array_contains(call: &mut Call, kernel: Made) -> Result<Expr> {
    ordered(call, 0)?;
    let is_nothing = item(call.kind(0))?.data_type().is_null() && call.is_null(0);
    if is_nothing || call.kind(1).is_null() {
        return plan_err!(
            "[DATATYPE_MISMATCH.NULL_TYPE] Null typed values cannot be used as arguments of `{}`; cast NULL to a type",
            call.name()
        );
    }
    unite_with(call, 1, true)?;
    Ok(call.of(&kernel()))
}

/// An INT, or a smaller number, as an INT.
fn whole(call: &mut Call, place: usize) -> Result<()> {
    match call.kind(place) {
        DataType::Int32 => Ok(()),
        DataType::Int8 | DataType::Int16 => call.coerce(place, Takes::Int),
        _ => Err(call.wrong(place, "INT")),
    }
}

pub(super) fn array_repeat(call: &mut Call) -> Result<Expr> {
    match call.kind(1) {
        DataType::Null => call.coerce(1, Takes::Int)?,
        _ => whole(call, 1)?,
    }
    Ok(call.of(&edit::array_repeat()))
}

/// Two arrays of one type.
pub(super) fn both(call: &mut Call, kernel: Made) -> Result<Expr> {
    ordered(call, 0)?;
    let common = match call.is_null(0) || call.is_null(1) {
        true => None,
        false => tightest(call.kind(0), call.kind(1), false),
    };
    let Some(common) = common else {
        return plan_err!(
            "[DATATYPE_MISMATCH.BINARY_ARRAY_DIFF_TYPES] Input to function `{}` should have been two \"ARRAY\" with same element type, but it's [\"{}\", \"{}\"]; cast one of them",
            call.name(),
            name(call.kind(0)),
            name(call.kind(1))
        );
    };
    for place in 0..2 {
        if format_type(call.kind(place)) != format_type(&common) {
            call.set(place, cast_to(call.argument(place), &common), common.clone());
        }
    }
    Ok(call.of(&kernel()))
}

pub(super) fn flatten(call: &mut Call) -> Result<Expr> {
    match item(call.kind(0))?.data_type() {
        DataType::List(_) => Ok(call.of(&shape::flatten())),
        _ => Err(call.wrong(0, "ARRAY\" of \"ARRAY")),
    }
}

/// An array in an order by chance.
pub(super) fn shuffle(call: &mut Call) -> Result<Expr> {
    Ok(call.of(&shuffle::shuffle()))
}

/// The structs' fields are named as the columns that the arrays are, else by numbers.
pub(super) fn arrays_zip(call: &mut Call) -> Result<Expr> {
    if call.count() == 0 {
        return plan_err!("arrays_zip() takes one array or more");
    }
    let name = |(place, argument): (usize, Expr)| match argument {
        Expr::Column(column) => column.name,
        Expr::ScalarFunction(call) if call.func.name() == "get_field" => match call.args.last() {
            Some(Expr::Literal(field, _)) => field.to_string(),
            _ => place.to_string(),
        },
        _ => place.to_string(),
    };
    let names = call.arguments().into_iter().enumerate().map(name).collect();
    Ok(call.of(&shape::arrays_zip(names)))
}

pub(super) fn array_join(call: &mut Call, kernel: Made) -> Result<Expr> {
    let of = item(call.kind(0))?.data_type().clone();
    if of.is_nested() {
        return Err(call.wrong(0, "ARRAY<STRING>"));
    }
    // Here the fields of intervals are known, which their texts depend on.
    if matches!(of, DataType::Interval(_) | DataType::Duration(_)) {
        let texts = DataType::new_list(DataType::Utf8, true);
        call.set(0, cast_to(call.argument(0), &texts), texts);
    }
    for place in 1..call.count() {
        if !call.kind(place).is_string() && !call.kind(place).is_null() {
            return Err(call.wrong(place, "STRING"));
        }
        call.coerce(place, Takes::Text)?;
    }
    Ok(call.of(&kernel()))
}

pub(super) fn size(call: &mut Call) -> Result<Expr> {
    match call.kind(0) {
        DataType::Null => Ok(lit(ScalarValue::Int32(None))),
        DataType::List(_) | DataType::Map(..) => {
            when(call.argument(0).is_not_null(), call.of(&collection::size())).end()
        }
        _ => Err(call.wrong(0, "ARRAY\" or \"MAP")),
    }
}

/// `element_at(array, index)`, or `element_at(map, key)`.
pub(super) fn element_at(call: &mut Call, access: Access) -> Result<Expr> {
    match call.kind(0).clone() {
        DataType::List(_) => {
            whole(call, 1)?;
            Ok(element(access, call.argument(0), call.argument(1)))
        }
        map @ DataType::Map(..) => {
            let key = map_key(call, &map)?;
            Ok(element(access, call.argument(0), key))
        }
        _ => Err(call.wrong(0, "ARRAY\" or \"MAP")),
    }
}

/// A key of the type that it and those of a map have in common.
fn map_key(call: &Call, map: &DataType) -> Result<Expr> {
    let key = maps::entry(map)?.0.data_type();
    match tightest(key, call.kind(1), false) {
        Some(common) if common == *call.kind(1) => Ok(call.argument(1)),
        Some(common) => Ok(cast_to(call.argument(1), &common)),
        None => plan_err!(
            "[DATATYPE_MISMATCH.MAP_FUNCTION_DIFF_TYPES] Input to `{}` should have been \"MAP\" followed by a value with same key type, but it's [\"{}\", \"{}\"]; cast the key",
            call.name(),
            name(map),
            name(call.kind(1))
        ),
    }
}

pub(super) fn sort_array(call: &mut Call, kernel: Made) -> Result<Expr> {
    ordered(call, 0)?;
    let ascends = call.argument_or(1, true);
    if !matches!(ascends, Expr::Literal(..)) {
        return plan_err!(
            "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] sort_array(): \"ascendingOrder\" has to be a BOOLEAN that is written out"
        );
    }
    let ascends = cast_to(ascends, &DataType::Boolean);
    Ok(called(&kernel(), vec![call.argument(0), ascends]))
}

pub(super) fn sequence(call: &mut Call) -> Result<Expr> {
    let is_time = |kind: &DataType| matches!(kind, DataType::Date32 | DataType::Timestamp(..));
    let is_known = |kind: &DataType| kind.is_integer() || is_time(kind) || kind.is_null();
    let are_known = is_known(call.kind(0)) && is_known(call.kind(1));
    let common = tightest(call.kind(0), call.kind(1), false).filter(|_| are_known);
    let Some(common) = common.filter(|kind| !kind.is_null()) else { return no_sequence(call) };
    if !is_time(&common) {
        let step = if call.count() > 2 { call.kind(2).clone() } else { DataType::Null };
        let Some(common) = tightest(&common, &step, false).filter(DataType::is_integer) else {
            return no_sequence(call);
        };
        return Ok(called(&sequence::sequence(), cast_all(call, &common)));
    }
    let step = match (call.count(), call.kind(2)) {
        (2, _) => {
            let day = |days| {
                lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, 0))))
            };
            let [start, stop] = [0, 1].map(|place| cast_to(call.argument(place), &common));
            when(start.gt(stop), day(-1)).otherwise(day(1))?
        }
        (_, DataType::Interval(_) | DataType::Duration(_)) => call.argument(2),
        _ => return no_sequence(call),
    };
    let mut arguments = cast_all(call, &common);
    arguments.truncate(2);
    arguments.push(step);
    Ok(called(&sequence::sequence(), arguments))
}

fn cast_all(call: &Call, to: &DataType) -> Vec<Expr> {
    call.arguments().into_iter().map(|argument| cast_to(argument, to)).collect()
}

fn no_sequence<T>(call: &Call) -> Result<T> {
    plan_err!(
        "[DATATYPE_MISMATCH.SEQUENCE_WRONG_INPUT_TYPES] `sequence` uses the wrong parameter type: \"{}\" and \"{}\". The parameter type must conform to: 1. The start and stop expressions must resolve to the same type. 2. If these are \"TIMESTAMP\" or \"DATE\", the step has to be an INTERVAL. 3. Otherwise it has to be of their type, which is a whole number",
        name(call.kind(0)),
        name(call.kind(1))
    )
}
