//! Values of several types that meet: they are cast to the type that is wide enough for all, by
//! Spark's rules in ANSI mode.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{
    Case, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Union, Values,
};
use tidemill_functions::{cast_to, interval_fields_of};
use tidemill_types::{IntervalFields, format_type, wider_of};

use crate::error::{Error, Result, refuse};

/// The class of the error of values that are compared.
const COMPARED: &str = "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES";

/// A type as errors spell it.
pub(super) fn spelled(kind: &DataType) -> String {
    format_type(kind).to_uppercase()
}

/// Casts values to one type.
///
/// # Errors
/// There is no type for all.
pub(super) fn meet(values: &mut [&mut Expr], schema: &DFSchema) -> Result<()> {
    let kinds = values.iter().map(|value| value.get_type(schema));
    let kinds: Vec<DataType> = kinds.collect::<datafusion::common::Result<_>>()?;
    let Some(common) = common_of(&kinds)? else { return Ok(()) };
    for (value, kind) in values.iter_mut().zip(&kinds) {
        if *kind != common && !kind.is_null() {
            let inner = std::mem::replace(*value, Expr::Literal(ScalarValue::Null, None));
            **value = widened(inner, &common);
        }
    }
    Ok(())
}

/// Casts values that are compared to one type; names of fields do not matter.
///
/// # Errors
/// There is no type for all.
pub(super) fn meet_to_compare(values: &mut [&mut Expr], schema: &DFSchema) -> Result<()> {
    let kinds = values.iter().map(|value| value.get_type(schema));
    let kinds: Vec<DataType> = kinds.collect::<datafusion::common::Result<_>>()?;
    match alike(&kinds) {
        Some(first) => {
            for (value, kind) in values.iter_mut().zip(&kinds) {
                if *kind != first && !kind.is_null() {
                    let inner = std::mem::replace(*value, Expr::Literal(ScalarValue::Null, None));
                    **value = cast_to(inner, &first);
                }
            }
            Ok(())
        }
        None => meet(values, schema),
    }
}

/// The type that values are compared as; none where they need none.
///
/// # Errors
/// There is no type for all.
pub(super) fn compared_as(kinds: &[DataType]) -> Result<Option<DataType>> {
    match alike(kinds) {
        Some(first) => Ok(Some(first)),
        None => common_of(kinds),
    }
}

/// The first of several types that are the same but for the names of fields.
fn alike(kinds: &[DataType]) -> Option<DataType> {
    let mut others = kinds.iter().filter(|kind| !kind.is_null());
    let first = others.next()?;
    others.all(|kind| is_like(first, kind)).then(|| first.clone())
}

fn is_like(one: &DataType, other: &DataType) -> bool {
    match (one, other) {
        (DataType::Struct(one), DataType::Struct(other)) => {
            let mut each = one.iter().zip(other);
            one.len() == other.len() && each.all(|(a, b)| is_like(a.data_type(), b.data_type()))
        }
        (DataType::List(one), DataType::List(other)) => is_like(one.data_type(), other.data_type()),
        (one, other) => one == other,
    }
}

pub(super) fn meet_in_case(case: &mut Case, schema: &DFSchema) -> Result<()> {
    if let Some(value) = &mut case.expr {
        let mut values: Vec<&mut Expr> = vec![value];
        values.extend(case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut()));
        meet(&mut values, schema)?;
    }
    let mut results: Vec<&mut Expr> =
        case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut()).collect();
    results.extend(case.else_expr.as_deref_mut());
    meet(&mut results, schema)
        .map_err(|error| error.reclassified(COMPARED, "DATATYPE_MISMATCH.DATA_DIFF_TYPES"))
}

/// A value cast to a type that is wide enough for it.
fn widened(value: Expr, to: &DataType) -> Expr {
    match &value {
        Expr::Literal(number, metadata) if number.data_type().is_integer() && to.is_integer() => {
            match number.cast_to(to) {
                Ok(number) => Expr::Literal(number, metadata.clone()),
                Err(_) => cast_to(value, to),
            }
        }
        _ => cast_to(value, to),
    }
}

/// The type for all; none where they need none, or are of types that Spark's schemas have no name
/// for.
///
/// # Errors
/// There is no type for all.
pub(super) fn common_of(kinds: &[DataType]) -> Result<Option<DataType>> {
    let mut others = kinds.iter().filter(|kind| !kind.is_null());
    let Some(first) = others.next() else { return Ok(None) };
    if others.all(|kind| kind == first) {
        return Ok(None);
    }
    if let Some(common) = wider_of(kinds) {
        return Ok(Some(common));
    }
    if kinds.iter().any(is_without_name) {
        return Ok(None);
    }
    let mut names: Vec<String> = kinds
        .iter()
        .filter(|kind| !kind.is_null())
        .map(|kind| format!("\"{}\"", spelled(kind)))
        .collect();
    names.dedup();
    refuse!(
        "[{COMPARED}] values are compared, or stand for each other, that have the types {}; cast them to one",
        names.join(" and ")
    )
}

/// What DataFusion compares by its own rules.
fn is_without_name(kind: &DataType) -> bool {
    matches!(kind, DataType::Time64(_))
}

/// A union of inputs that have as many columns each, which are cast to one type each.
///
/// # Errors
/// There is no type for all.
pub(super) fn united(inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    let commons = commons(&inputs)?;
    let cast = inputs.into_iter().map(|input| with_types(input, &commons).map(Arc::new));
    let inputs = cast.collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

/// The type of each column that several inputs have, where theirs differ.
pub(super) fn commons(inputs: &[LogicalPlan]) -> Result<Vec<Option<DataType>>> {
    let count = inputs.iter().map(|input| input.schema().fields().len()).min().unwrap_or(0);
    let kind = |input: &LogicalPlan, place| input.schema().field(place).data_type().clone();
    let common = |place| {
        let kinds: Vec<DataType> = inputs.iter().map(|input| kind(input, place)).collect();
        compared_as(&kinds).map_err(|_| {
            let names: Vec<String> = kinds.iter().map(|kind| format!("\"{}\"", spelled(kind))).collect();
            Error::new(
                format!(
                    "[INCOMPATIBLE_COLUMN_TYPE] A set operation can only be performed on inputs with compatible column types. Column {} has the types {}; cast them to one",
                    place + 1,
                    names.join(" and ")
                ),
                None,
            )
        })
    };
    (0..count).map(common).collect()
}

/// A plan whose columns have these types.
pub(super) fn with_types(input: LogicalPlan, commons: &[Option<DataType>]) -> Result<LogicalPlan> {
    let schema = Arc::clone(input.schema());
    let differs = |(place, common): (usize, &Option<DataType>)| match common {
        Some(common) => schema.field(place).data_type() != common,
        None => false,
    };
    if !commons.iter().enumerate().any(differs) {
        return Ok(input);
    }
    let columns = schema.columns().into_iter().enumerate().map(|(place, column)| {
        let name = column.name.clone();
        match commons.get(place).and_then(Option::as_ref) {
            Some(common) if schema.field(place).data_type() != common => {
                cast_to(Expr::Column(column), common).alias(name)
            }
            _ => Expr::Column(column),
        }
    });
    let columns: Vec<Expr> = columns.collect();
    Ok(LogicalPlanBuilder::from(input).project(columns)?.build()?)
}

/// VALUES, whose columns have one type each.
///
/// # Errors
/// There is no type for all values of a column.
pub(super) fn listed(mut rows: Vec<Vec<Expr>>) -> Result<LogicalPlan> {
    let none = DFSchema::empty();
    let count = rows.first().map_or(0, Vec::len);
    let mut fields = Vec::with_capacity(count);
    for place in 0..count {
        let mut column: Vec<&mut Expr> =
            rows.iter_mut().filter_map(|row| row.get_mut(place)).collect();
        let written = column.iter().map(|value| value.get_type(&none));
        let written = written.collect::<datafusion::common::Result<Vec<_>>>()?;
        let is_text = |kind: &DataType| kind.is_string();
        if written.iter().any(is_text) && !written.iter().all(|k| is_text(k) || k.is_null()) {
            refuse!(
                "[INVALID_INLINE_TABLE.INCOMPATIBLE_TYPES_IN_INLINE_TABLE] Invalid inline table. Found incompatible types in the column `col{}`; cast them to one",
                place + 1
            );
        }
        let mut intervals = IntervalFields::default();
        for value in &column {
            intervals = intervals.and(interval_fields_of(value, &none)?);
        }
        meet(&mut column, &none)?;
        let kinds = column.iter().map(|value| value.get_type(&none));
        let kinds = kinds.collect::<datafusion::common::Result<Vec<_>>>()?;
        let kind = kinds.iter().find(|kind| !kind.is_null()).unwrap_or(&DataType::Null);
        for (value, own) in column.iter_mut().zip(&kinds) {
            if own != kind && !own.is_null() {
                // Equal but for the names of items.
                let inner = std::mem::replace(*value, Expr::Literal(ScalarValue::Null, None));
                **value = datafusion::logical_expr::cast(inner, kind.clone());
            }
            if matches!(value, Expr::Literal(literal, _) if literal.is_null()) {
                **value = Expr::Literal(ScalarValue::try_from(kind)?, None);
            }
        }
        let mut field = Field::new(format!("col{}", place + 1), kind.clone(), true);
        if intervals != IntervalFields::all_of(kind) {
            field = intervals.said_by(field);
        }
        fields.push((None, Arc::new(field)));
    }
    let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
    Ok(LogicalPlan::Values(Values { schema, values: rows }))
}
