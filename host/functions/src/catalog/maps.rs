//! Maps.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, lit};
use tidemill_types::format_type;

use super::{optional, repeated, required};
use crate::aggregates::contains_map;
use crate::call::{Call, called};
use crate::function::Function;
use crate::kernels::cast::cast_to;
use crate::kernels::lists::{find, item, list_of, maps, text_maps};
use crate::parameters::Takes::{Any, Array, Map, Text};
use crate::parameters::tightest;

/// What options are written with.
pub const MAP: Function = Function::scalar(
    "map",
    "A map of keys and values in turn.",
    &[repeated("key, value", Any)],
    map,
)
.example("SELECT map('a', 1, 'b', 2)['b']", "2");

pub(super) const FUNCTIONS: &[Function] = &[
    MAP,
    Function::scalar(
        "map_concat",
        "The entries of all maps, whose keys differ.",
        &[repeated("map", Any)],
        map_concat,
    )
    .null_intolerant()
    .example("SELECT map_concat(map(1, 'a'), map(2, 'b'))[2]", "b"),
    Function::scalar(
        "map_contains_key",
        "Whether a map has a key.",
        &[required("map", Map), required("key", Any)],
        map_contains_key,
    )
    .null_intolerant()
    .example("SELECT map_contains_key(map(1, 'a'), 1)", "true"),
    Function::scalar(
        "map_entries",
        "The entries of a map, an array of structs.",
        &[required("map", Map)],
        |call| taken_apart(call, maps::map_entries),
    )
    .null_intolerant()
    .example("SELECT size(map_entries(map(1, 'a')))", "1"),
    Function::scalar(
        "map_from_arrays",
        "A map of an array of keys and one of values.",
        &[required("keys", Array), required("values", Array)],
        |call| {
            check_key(item(call.kind(0))?.data_type())?;
            Ok(call.of(&maps::map_from_arrays()))
        },
    )
    .null_intolerant()
    .example("SELECT map_from_arrays(array(1, 2), array('a', 'b'))[2]", "b"),
    Function::scalar(
        "map_from_entries",
        "A map of an array of structs of a key and a value.",
        &[required("arrayOfEntries", Array)],
        map_from_entries,
    )
    .null_intolerant()
    .example("SELECT map_from_entries(array(struct(1, 'a'), struct(2, 'b')))[2]", "b"),
    Function::scalar("map_keys", "The keys of a map.", &[required("map", Map)], |call| {
        taken_apart(call, maps::map_keys)
    })
    .null_intolerant()
    .example("SELECT map_keys(map(1, 'a'))[0]", "1"),
    Function::scalar("map_values", "The values of a map.", &[required("map", Map)], |call| {
        taken_apart(call, maps::map_values)
    })
    .null_intolerant()
    .example("SELECT map_values(map(1, 'a'))[0]", "a"),
    Function::scalar(
        "str_to_map",
        "A map of a text: pairs have one text between them, key and value another.",
        &[required("text", Text), optional("pairDelim", Text), optional("keyValueDelim", Text)],
        |call| {
            let arguments =
                vec![call.argument(0), call.argument_or(1, ","), call.argument_or(2, ":")];
            Ok(called(&text_maps::str_to_map(), arguments))
        },
    )
    .null_intolerant()
    .spelled(|name, mut arguments| {
        let defaults = [",", ":"].into_iter().skip(arguments.len().saturating_sub(1));
        arguments.extend(defaults.map(str::to_owned));
        format!("{name}({})", arguments.join(", "))
    })
    .example("SELECT str_to_map('a:1,b:2')['b']", "2"),
];

/// Refuses keys that cannot be compared.
fn check_key(key: &DataType) -> Result<()> {
    if contains_map(key) {
        return plan_err!(
            "[DATATYPE_MISMATCH.INVALID_MAP_KEY_TYPE] The key of map cannot be/contain \"{}\"",
            format_type(key).to_uppercase()
        );
    }
    Ok(())
}

fn map(call: &mut Call) -> Result<Expr> {
    if !call.count().is_multiple_of(2) {
        return plan_err!(
            "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] The `map` requires 2n (n > 0) parameters but the actual number is {}",
            call.count()
        );
    }
    if call.count() == 0 {
        return Ok(lit(ScalarValue::try_from_array(&maps::empty()?, 0)?));
    }
    for (first, class) in [(0, "CREATE_MAP_KEY_DIFF_TYPES"), (1, "CREATE_MAP_VALUE_DIFF_TYPES")] {
        let places: Vec<usize> = (first..call.count()).step_by(2).collect();
        let kinds: Vec<DataType> = places.iter().map(|place| call.kind(*place).clone()).collect();
        let Some(common) = tidemill_types::wider_of(&kinds) else {
            return plan_err!(
                "[DATATYPE_MISMATCH.{class}] The given keys or values of function `map` should all be the same type, but they are [{}]; cast them",
                kinds.iter().map(format_type).collect::<Vec<_>>().join(", ").to_uppercase()
            );
        };
        if first == 0 {
            check_key(&common)?;
        }
        for place in places {
            if *call.kind(place) != common {
                call.set(place, cast_to(call.argument(place), &common), common.clone());
            }
        }
    }
    Ok(call.of(&maps::map()))
}

fn map_concat(call: &mut Call) -> Result<Expr> {
    if call.count() == 0 {
        return plan_err!("map_concat() takes one map or more");
    }
    for place in 0..call.count() {
        if !matches!(call.kind(place), DataType::Map(..)) {
            return plan_err!(
                "[DATATYPE_MISMATCH.MAP_CONCAT_DIFF_TYPES] The `map_concat` should all be of type map, but argument {} is \"{}\"",
                place + 1,
                format_type(call.kind(place)).to_uppercase()
            );
        }
    }
    let mut common = call.kind(0).clone();
    for place in 1..call.count() {
        let Some(kind) = tightest(&common, call.kind(place), true) else {
            return plan_err!(
                "[DATATYPE_MISMATCH.DATA_DIFF_TYPES] Input to `map_concat` should all be the same type, but it's [\"{}\", \"{}\"]; cast them",
                format_type(&common).to_uppercase(),
                format_type(call.kind(place)).to_uppercase()
            );
        };
        common = kind;
    }
    let (key, value) = maps::entry(&common)?;
    let common = maps::map_of(key.data_type().clone(), value.data_type().clone());
    for place in 0..call.count() {
        if format_type(call.kind(place)) != format_type(&common) {
            call.set(place, cast_to(call.argument(place), &common), common.clone());
        }
    }
    Ok(call.of(&maps::map_concat()))
}

fn map_contains_key(call: &mut Call) -> Result<Expr> {
    if call.kind(1).is_null() {
        return plan_err!(
            "[DATATYPE_MISMATCH.NULL_TYPE] Null typed values cannot be used as arguments of `map_contains_key`; cast NULL to a type"
        );
    }
    let common = match call.kind(0) {
        map @ DataType::Map(..) => tightest(maps::entry(map)?.0.data_type(), call.kind(1), true),
        _ => None,
    };
    let Some(common) = common else {
        return plan_err!(
            "[DATATYPE_MISMATCH.MAP_FUNCTION_DIFF_TYPES] Input to `map_contains_key` should have been \"MAP\" followed by a value with same key type, but it's [\"{}\", \"{}\"]; cast the key",
            format_type(call.kind(0)).to_uppercase(),
            format_type(call.kind(1)).to_uppercase()
        );
    };
    let keys = called(&maps::map_keys(), vec![call.argument(0)]);
    let arguments =
        vec![cast_to(keys, &list_of(common.clone())), cast_to(call.argument(1), &common)];
    Ok(called(&find::array_contains(), arguments))
}

fn map_from_entries(call: &mut Call) -> Result<Expr> {
    match item(call.kind(0))?.data_type() {
        DataType::Struct(fields) if fields.len() == 2 => check_key(fields[0].data_type())?,
        _ => return Err(call.wrong(0, "ARRAY\" of pair \"STRUCT")),
    }
    Ok(call.of(&maps::map_from_entries()))
}

/// What a map has; of NULL, an array that is null.
fn taken_apart(
    call: &Call,
    kernel: fn() -> std::sync::Arc<datafusion::logical_expr::ScalarUDF>,
) -> Result<Expr> {
    match call.kind(0) {
        DataType::Null => Ok(lit(ScalarValue::try_from(list_of(DataType::Null))?)),
        _ => Ok(call.of(&kernel())),
    }
}
