//! `map_filter`, `transform_keys`, `transform_values` and `map_zip_with`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{filter as select, interleave, take};
use arrow::datatypes::DataType;
use arrow::row::Row;
use datafusion::common::Result;

use super::Argument;
use super::arrays::{kept, kept_offsets};
use super::values::{Places, first_lambda, map};
use crate::kernels::lists::aligned;
use crate::kernels::lists::maps::{checked, entry, of_columns};
use crate::kernels::lists::order::comparable;

/// A map of keys and values, which become those of its type.
fn made(
    to: &DataType,
    offsets: OffsetBuffer<i32>,
    keys: &ArrayRef,
    values: &ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let (key, value) = entry(to)?;
    let columns = (aligned(keys, key.data_type())?, aligned(values, value.data_type())?);
    of_columns(to, offsets, columns, nulls)
}

pub(super) fn filter(arguments: &[Argument], rows: usize) -> Result<ArrayRef> {
    let (map, places) = map(arguments, 0, rows)?;
    let (keys, values) = (places.of(map.keys())?, places.of(map.values())?);
    let given = places.evaluate(
        first_lambda(arguments)?,
        &[&|| Ok(Arc::clone(&keys)), &|| Ok(Arc::clone(&values))],
    )?;
    let is_kept = kept(&given)?;
    let offsets = kept_offsets(&places.offsets, &is_kept);
    let (keys, values) = (select(&keys, &is_kept)?, select(&values, &is_kept)?);
    made(map.data_type(), offsets, &keys, &values, places.nulls)
}

/// Other keys, or other values.
pub(super) fn transform(
    arguments: &[Argument],
    rows: usize,
    to: &DataType,
    is_of_keys: bool,
) -> Result<ArrayRef> {
    let (map, places) = map(arguments, 0, rows)?;
    let (keys, values) = (places.of(map.keys())?, places.of(map.values())?);
    let given = places.evaluate(
        first_lambda(arguments)?,
        &[&|| Ok(Arc::clone(&keys)), &|| Ok(Arc::clone(&values))],
    )?;
    match is_of_keys {
        true => checked(to, places.offsets, (given, values), places.nulls),
        false => made(to, places.offsets, &keys, &given, places.nulls),
    }
}

/// All keys of both maps: those of the first one as it has them, then the others.
pub(super) fn zip_with(arguments: &[Argument], rows: usize, to: &DataType) -> Result<ArrayRef> {
    let (left, left_places) = map(arguments, 0, rows)?;
    let (right, right_places) = map(arguments, 1, rows)?;
    let nulls = NullBuffer::union(left.nulls(), right.nulls());
    let (left_keys, right_keys) = (left_places.of(left.keys())?, right_places.of(right.keys())?);
    let [left_rows, right_rows] = comparable([&left_keys, &right_keys])?;
    let mut keys: Vec<(usize, usize)> = Vec::new();
    let (mut lefts, mut rights) = (Vec::new(), Vec::new());
    let mut lengths = Vec::with_capacity(left.len());
    for row in 0..left.len() {
        let before = keys.len();
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            let of =
                |places: &Places| places.offsets[row] as usize..places.offsets[row + 1] as usize;
            let mut others: HashMap<Row<'_>, usize> =
                of(&right_places).map(|place| (right_rows.row(place), place)).collect();
            for place in of(&left_places) {
                keys.push((0, place));
                lefts.push(Some(place as u32));
                rights.push(others.remove(&left_rows.row(place)).map(|place| place as u32));
            }
            for place in of(&right_places).filter(|p| others.contains_key(&right_rows.row(*p))) {
                keys.push((1, place));
                lefts.push(None);
                rights.push(Some(place as u32));
            }
        }
        lengths.push(keys.len() - before);
    }
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let keys = interleave(&[left_keys.as_ref(), right_keys.as_ref()], &keys)?;
    let lefts = take(&left_places.of(left.values())?, &UInt32Array::from(lefts), None)?;
    let rights = take(&right_places.of(right.values())?, &UInt32Array::from(rights), None)?;
    let places = Places::new(&offsets, None);
    let given = places.evaluate(
        first_lambda(arguments)?,
        &[&|| Ok(Arc::clone(&keys)), &|| Ok(Arc::clone(&lefts)), &|| Ok(Arc::clone(&rights))],
    )?;
    made(to, offsets, &keys, &given, nulls)
}
