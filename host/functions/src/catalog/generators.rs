//! Functions that give several rows for one.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, lit};
use datafusion_spark::function::array::array;

use super::{optional, repeated, required};
use crate::call::{Call, called};
use crate::function::Function;
use crate::generator::{Generated, value_type};
use crate::kernels::cast::cast_to;
use crate::kernels::json_tuple::{fields, json_tuple};
use crate::kernels::lists::maps::map_entries;
use crate::parameters::Takes::{Any, Array};

/// What UNPIVOT becomes.
pub const STACK: Function = Function::generator(
    "stack",
    "So many rows of all other arguments, one after the other: `col0`, `col1` and so on.",
    &[required("n", Any), repeated("exprs", Any)],
    stacked,
);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::generator(
        "explode",
        "A row for each value of an array, `col`, or for each entry of a map, `key` and `value`.",
        &[required("collection", Any)],
        |call| exploded(call, false, false),
    ),
    Function::generator(
        "explode_outer",
        "As `explode`; what is null or empty gives a row of nulls.",
        &[required("collection", Any)],
        |call| exploded(call, true, false),
    ),
    Function::generator(
        "inline",
        "A row for each struct of an array; its fields are columns.",
        &[required("input", Array)],
        |call| inlined(call, false),
    ),
    Function::generator(
        "inline_outer",
        "As `inline`; what is null or empty gives a row of nulls.",
        &[required("input", Array)],
        |call| inlined(call, true),
    ),
    Function::generator(
        "json_tuple",
        "One row with the values of an object in JSON by their names, as texts: `c0`, `c1` and so on.",
        &[required("jsonStr", Any), required("p1", Any), repeated("p", Any)],
        tuple,
    ),
    Function::generator(
        "posexplode",
        "As `explode`, with the place of each value before it, `pos`, from 0.",
        &[required("collection", Any)],
        |call| exploded(call, false, true),
    ),
    Function::generator(
        "posexplode_outer",
        "As `posexplode`; what is null or empty gives a row of nulls.",
        &[required("collection", Any)],
        |call| exploded(call, true, true),
    ),
    Function::numbers(
        "range",
        "In FROM: the whole numbers from `start`, or 0, to below `end`, by `step`, as a column `id`.",
        &[
            required("start or end", Any),
            optional("end", Any),
            optional("step", Any),
            optional("numSlices", Any),
        ],
    ),
    STACK,
];

fn exploded(call: &mut Call, is_outer: bool, has_position: bool) -> Result<Generated> {
    let (values, kind, is_expanded) = match call.kind(0) {
        DataType::List(item) => (call.argument(0), item.data_type().clone(), false),
        DataType::Map(entries, _) => {
            let entries = entries.data_type().clone();
            (called(&map_entries(), vec![call.argument(0)]), entries, true)
        }
        _ => return Err(call.wrong(0, "ARRAY\" or \"MAP")),
    };
    Ok(Generated { values, kind, name: "col", is_outer, has_position, is_expanded })
}

fn inlined(call: &mut Call, is_outer: bool) -> Result<Generated> {
    let kind = value_type(call.kind(0))?;
    if !matches!(kind, DataType::Struct(_)) {
        return Err(call.wrong(0, "ARRAY<STRUCT>"));
    }
    Ok(Generated {
        values: call.argument(0),
        kind,
        name: "col",
        is_outer,
        has_position: false,
        is_expanded: true,
    })
}

/// Spark casts nothing to STRING here, and no NULL.
fn tuple(call: &mut Call) -> Result<Generated> {
    for place in 0..call.count() {
        if !call.kind(place).is_string() {
            return plan_err!(
                "[DATATYPE_MISMATCH.NON_STRING_TYPE] json_tuple(): all arguments of the function `json_tuple` must be strings, and one is of the type {}; cast it",
                tidemill_types::format_type(call.kind(place)).to_uppercase()
            );
        }
    }
    Ok(Generated {
        values: call.of(&json_tuple()),
        kind: DataType::Struct(fields(call.count() - 1)),
        name: "col",
        is_outer: false,
        has_position: false,
        is_expanded: true,
    })
}

/// An array of structs: the last row is filled up with nulls.
fn stacked(call: &mut Call) -> Result<Generated> {
    let rows = match call.argument(0) {
        Expr::Literal(ScalarValue::Int32(Some(rows)), _) if rows > 0 => rows as usize,
        _ => {
            return plan_err!(
                "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] stack(): the number of rows has to be a positive number that is written out"
            );
        }
    };
    let values: Vec<(Expr, DataType)> =
        (1..call.count()).map(|place| (call.argument(place), call.kind(place).clone())).collect();
    let width = values.len().div_ceil(rows).max(1);
    let mut kinds = Vec::with_capacity(width);
    for column in 0..width {
        let of: Vec<DataType> =
            values.iter().skip(column).step_by(width).map(|(_, kind)| kind.clone()).collect();
        match tidemill_types::wider_of(&of) {
            Some(kind) => kinds.push(kind),
            None => {
                return plan_err!(
                    "[DATATYPE_MISMATCH.STACK_COLUMN_DIFF_TYPES] stack(): the values of column {column} are not of one type; cast them"
                );
            }
        }
    }
    let structs = (0..rows).map(|row| {
        let fields = kinds.iter().enumerate().flat_map(|(column, kind)| {
            let value = match values.get(row * width + column) {
                Some((value, from)) if from == kind => value.clone(),
                Some((value, _)) => cast_to(value.clone(), kind),
                None => cast_to(lit(ScalarValue::Null), kind),
            };
            [lit(format!("col{column}")), value]
        });
        datafusion::functions::core::named_struct().call(fields.collect())
    });
    let values = called(&array(), structs.collect());
    let fields = kinds.iter().enumerate().map(|(column, kind)| {
        arrow::datatypes::Field::new(format!("col{column}"), kind.clone(), true)
    });
    Ok(Generated {
        values,
        kind: DataType::Struct(fields.collect()),
        name: "col",
        is_outer: false,
        has_position: false,
        is_expanded: true,
    })
}
