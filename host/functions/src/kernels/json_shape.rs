//! What `to_json` makes of values before they are written: texts of the keys of maps, as Spark's rows
//! write themselves, and names in order.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StringArray, StructArray, UInt32Array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, IntervalYearMonthType};
use datafusion::common::{Result, plan_err};
use tidemill_codec::format_cell;
use tidemill_time::UTC;
use tidemill_types::format_type;

use super::kernel::written;

/// What is asked for by options.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// Whether names in objects are in order.
    pub(super) sorts: bool,
}

/// Checks that keys of maps have a text. Java writes bytes by where they are in memory.
///
/// # Errors
/// There are bytes in a key.
pub(super) fn check_keys(kind: &DataType) -> Result<()> {
    match kind {
        DataType::List(item) => check_keys(item.data_type()),
        DataType::Struct(fields) => {
            fields.iter().try_for_each(|field| check_keys(field.data_type()))
        }
        DataType::Map(entries, _) => {
            let (key, value) = key_and_value(entries);
            if has_bytes(key.data_type()) {
                return plan_err!(
                    "[UNSUPPORTED_FEATURE] to_json(): keys of the type {} are not supported; make texts of them",
                    format_type(key.data_type())
                );
            }
            check_keys(value.data_type())
        }
        _ => Ok(()),
    }
}

fn has_bytes(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) => has_bytes(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_bytes(field.data_type())),
        other => other.is_binary(),
    }
}

fn key_and_value(entries: &FieldRef) -> (FieldRef, FieldRef) {
    match entries.data_type() {
        DataType::Struct(pair) if pair.len() == 2 => (Arc::clone(&pair[0]), Arc::clone(&pair[1])),
        _ => (Arc::clone(entries), Arc::clone(entries)),
    }
}

/// Values as they are written.
pub(super) fn shaped(values: &ArrayRef, shape: &Shape) -> Result<ArrayRef> {
    if is_plain(values.data_type(), shape) {
        return Ok(Arc::clone(values));
    }
    Ok(match values.data_type() {
        DataType::Struct(_) => Arc::new(structs(values.as_struct(), shape)?),
        DataType::List(_) => {
            let (field, offsets, items, nulls) = values.as_list::<i32>().clone().into_parts();
            let items = shaped(&items, shape)?;
            let field = retyped(&field, &items);
            Arc::new(ListArray::try_new(field, offsets, items, nulls)?)
        }
        DataType::Map(..) => Arc::new(maps(values.as_map(), shape)?),
        _ => Arc::clone(values),
    })
}

/// Whether values of a type are written as they are.
fn is_plain(kind: &DataType, shape: &Shape) -> bool {
    match kind {
        DataType::Struct(fields) => {
            !shape.sorts && fields.iter().all(|field| is_plain(field.data_type(), shape))
        }
        DataType::List(item) => is_plain(item.data_type(), shape),
        DataType::Map(entries, _) => {
            let (key, value) = key_and_value(entries);
            let key = key.data_type();
            let is_simple = key.is_string() || key.is_numeric() || *key == DataType::Boolean;
            !shape.sorts && is_simple && is_plain(value.data_type(), shape)
        }
        _ => true,
    }
}

fn retyped(field: &FieldRef, values: &ArrayRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(values.data_type().clone()))
}

/// Names in the order of Java's texts, which is that of their UTF-16 units.
fn compared(one: &str, other: &str) -> std::cmp::Ordering {
    one.encode_utf16().cmp(other.encode_utf16())
}

fn structs(structs: &StructArray, shape: &Shape) -> Result<StructArray> {
    let mut columns: Vec<(FieldRef, ArrayRef)> = Vec::with_capacity(structs.num_columns());
    for (field, column) in structs.fields().iter().zip(structs.columns()) {
        let column = shaped(column, shape)?;
        columns.push((retyped(field, &column), column));
    }
    if shape.sorts {
        columns.sort_by(|(one, _), (other, _)| compared(one.name(), other.name()));
    }
    let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let nulls = structs.nulls().cloned();
    Ok(StructArray::try_new_with_length(fields.into(), columns, nulls, structs.len())?)
}

fn maps(maps: &MapArray, shape: &Shape) -> Result<MapArray> {
    let keys: ArrayRef = Arc::new(texts_of(maps.keys())?);
    let values = shaped(maps.values(), shape)?;
    let offsets = maps.offsets().clone();
    let (keys, values) = match shape.sorts {
        false => (keys, values),
        true => {
            let order = sorted(keys.as_string::<i32>(), &offsets);
            (take(&keys, &order, None)?, take(&values, &order, None)?)
        }
    };
    let (key, value) = match maps.entries().fields().as_ref() {
        [key, value] => (retyped(key, &keys), retyped(value, &values)),
        _ => return plan_err!("a map has two columns"),
    };
    let entries = StructArray::try_new(vec![key, value].into(), vec![keys, values], None)?;
    let name = match maps.data_type() {
        DataType::Map(entries, _) => entries.name().clone(),
        _ => String::from("entries"),
    };
    let field = Arc::new(Field::new(name, entries.data_type().clone(), false));
    Ok(MapArray::try_new(field, offsets, entries, maps.nulls().cloned(), false)?)
}

/// Where the entries of each map are, by their keys.
fn sorted(keys: &StringArray, offsets: &[i32]) -> UInt32Array {
    let mut order: Vec<u32> = (0..keys.len() as u32).collect();
    for pair in offsets.windows(2) {
        let within = &mut order[pair[0] as usize..pair[1] as usize];
        within
            .sort_by(|one, other| compared(keys.value(*one as usize), keys.value(*other as usize)));
    }
    order.into()
}

fn texts_of(keys: &ArrayRef) -> Result<StringArray> {
    let texts = written(keys.len(), |row, text| {
        push(keys, row, text)?;
        Ok(true)
    })?;
    Ok(texts.as_string::<i32>().clone())
}

/// A value as Spark's internal row writes it: a date is a number of days, a time one of
/// microseconds, and a struct or an array has brackets.
fn push(values: &ArrayRef, row: usize, text: &mut String) -> Result<()> {
    if values.is_null(row) || values.data_type().is_null() {
        text.push_str("null");
        return Ok(());
    }
    match values.data_type() {
        DataType::Struct(_) => {
            let structs = values.as_struct();
            push_all(structs.columns().iter().map(|column| (column, row)), text)
        }
        DataType::List(_) => {
            let lists = values.as_list::<i32>();
            let offsets = lists.value_offsets();
            let items = offsets[row] as usize..offsets[row + 1] as usize;
            push_all(items.map(|item| (lists.values(), item)), text)
        }
        DataType::Utf8 => {
            text.push_str(values.as_string::<i32>().value(row));
            Ok(())
        }
        DataType::Date32 => {
            push_number(&cast(&values.slice(row, 1), &DataType::Int32)?, text);
            Ok(())
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = values.as_primitive::<IntervalYearMonthType>().value(row);
            // Writing to a String cannot fail.
            let _ = write!(text, "{months}");
            Ok(())
        }
        DataType::Timestamp(..) | DataType::Duration(_) => {
            push_number(&cast(&values.slice(row, 1), &DataType::Int64)?, text);
            Ok(())
        }
        _ => {
            text.push_str(&format_cell(values, row, UTC));
            Ok(())
        }
    }
}

fn push_number(number: &ArrayRef, text: &mut String) {
    text.push_str(&format_cell(number, 0, UTC));
}

fn push_all<'a>(
    values: impl Iterator<Item = (&'a ArrayRef, usize)>,
    text: &mut String,
) -> Result<()> {
    text.push('[');
    for (place, (values, row)) in values.enumerate() {
        if place > 0 {
            text.push(',');
        }
        push(values, row, text)?;
    }
    text.push(']');
    Ok(())
}
