//! `transform`, `filter`, `exists`, `forall` and `zip_with`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{filter as select, prep_null_mask_filter, take};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::Argument;
use super::values::{Places, first_lambda, list};
use crate::kernels::lists::{aligned, item};

pub(super) fn transform(arguments: &[Argument], rows: usize, to: &DataType) -> Result<ArrayRef> {
    let (list, places) = list(arguments, 0, rows)?;
    let values = || places.of(list.values());
    let indexes = || Ok(Arc::new(places.indexes.clone()) as ArrayRef);
    let given = places.evaluate(first_lambda(arguments)?, &[&values, &indexes])?;
    let item = Arc::clone(item(to)?);
    let given = aligned(&given, item.data_type())?;
    Ok(Arc::new(ListArray::try_new(item, places.offsets, given, places.nulls)?))
}

pub(super) fn filter(arguments: &[Argument], rows: usize) -> Result<ArrayRef> {
    let (list, places) = list(arguments, 0, rows)?;
    let values = places.of(list.values())?;
    let column = || Ok(Arc::clone(&values));
    let indexes = || Ok(Arc::new(places.indexes.clone()) as ArrayRef);
    let given = places.evaluate(first_lambda(arguments)?, &[&column, &indexes])?;
    let is_kept = kept(&given)?;
    let offsets = kept_offsets(&places.offsets, &is_kept);
    let values = select(&values, &is_kept)?;
    let item = Arc::clone(item(list.data_type())?);
    Ok(Arc::new(ListArray::try_new(item, offsets, values, places.nulls)?))
}

/// Which values a condition is true for. Null is not true.
pub(super) fn kept(given: &ArrayRef) -> Result<BooleanArray> {
    let given = aligned(given, &DataType::Boolean)?;
    let given = given.as_boolean();
    Ok(if given.null_count() > 0 { prep_null_mask_filter(given) } else { given.clone() })
}

/// The offsets of lists of which some values are kept.
pub(super) fn kept_offsets(
    offsets: &OffsetBuffer<i32>,
    is_kept: &BooleanArray,
) -> OffsetBuffer<i32> {
    let lengths = offsets.windows(2).map(|bounds| {
        let (from, to) = (bounds[0] as usize, bounds[1] as usize);
        (from..to).filter(|value| is_kept.value(*value)).count()
    });
    OffsetBuffer::from_lengths(lengths)
}

/// Whether the lambda is `decisive` for any value of each array: true for `exists`, false for
/// `forall`. If it is for none, and null for some, nobody knows (Spark's three-valued logic).
pub(super) fn any(arguments: &[Argument], rows: usize, decisive: bool) -> Result<ArrayRef> {
    let (list, places) = list(arguments, 0, rows)?;
    let values = || places.of(list.values());
    let given = places.evaluate(first_lambda(arguments)?, &[&values])?;
    let given = aligned(&given, &DataType::Boolean)?;
    let given = given.as_boolean();
    let is_valid = |row: usize| places.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let answer = |(row, bounds): (usize, &[i32])| {
        if !is_valid(row) {
            return None;
        }
        let mut answer = Some(!decisive);
        for value in bounds[0] as usize..bounds[1] as usize {
            match given.is_valid(value) {
                true if given.value(value) == decisive => return Some(decisive),
                true => {}
                false => answer = None,
            }
        }
        answer
    };
    Ok(Arc::new(places.offsets.windows(2).enumerate().map(answer).collect::<BooleanArray>()))
}

/// The shorter array is filled up with nulls.
pub(super) fn zip_with(arguments: &[Argument], rows: usize, to: &DataType) -> Result<ArrayRef> {
    let (left, right) = (list(arguments, 0, rows)?.0, list(arguments, 1, rows)?.0);
    let nulls = NullBuffer::union(left.nulls(), right.nulls());
    let lengths = (0..left.len()).map(|row| {
        let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let longest = left.value_length(row).max(right.value_length(row));
        if is_null { 0 } else { longest as usize }
    });
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let places = Places::new(&offsets, nulls.as_ref());
    let filled = |list: &ListArray| -> Result<ArrayRef> {
        let from = list.value_offsets();
        let sources = (0..list.len()).flat_map(|row| {
            let count = offsets[row + 1] - offsets[row];
            let (start, length) = (from[row], list.value_length(row));
            (0..count).map(move |place| (place < length).then_some((start + place) as u32))
        });
        Ok(take(list.values(), &sources.collect::<UInt32Array>(), None)?)
    };
    let (lefts, rights) = (filled(&left)?, filled(&right)?);
    let given = places.evaluate(
        first_lambda(arguments)?,
        &[&|| Ok(Arc::clone(&lefts)), &|| Ok(Arc::clone(&rights))],
    )?;
    let item = Arc::clone(item(to)?);
    let given = aligned(&given, item.data_type())?;
    Ok(Arc::new(ListArray::try_new(item, places.offsets, given, places.nulls)?))
}
