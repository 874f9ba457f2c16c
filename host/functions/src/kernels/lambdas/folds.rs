//! `aggregate`, and `array_sort` by a comparison.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::compute::{concat, take, take_arrays};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::LambdaArgument;

use super::Argument;
use super::values::{Places, first_lambda, lambda, list, value};
use crate::kernels::lists::aligned;

/// Comparisons of one array: of 1,400 values or so.
const COMPARISONS_MAX: usize = 2_000_000;

/// A step for each place: all rows that have a value there take it together. Rows are in the order
/// of their lengths, so that those that go on are always the first ones.
pub(super) fn aggregate(arguments: &[Argument], rows: usize) -> Result<ArrayRef> {
    let (list, _) = list(arguments, 0, rows)?;
    let start = value(arguments, 1, rows)?;
    let kind = start.data_type().clone();
    let merge = first_lambda(arguments)?;
    let offsets = list.value_offsets();
    let mut order: Vec<u32> =
        (0..list.len() as u32).filter(|row| list.is_valid(*row as usize)).collect();
    order.sort_by_key(|row| std::cmp::Reverse(list.value_length(*row as usize)));
    let mut taking = order.len();
    let mut kept = take(&start, &UInt32Array::from(order.clone()), None)?;
    // What is ready, of the rows behind those that go on: the last ones first.
    let mut ready: Vec<ArrayRef> = Vec::new();
    for place in 0.. {
        let going = order[..taking].partition_point(|r| list.value_length(*r as usize) > place);
        ready.push(kept.slice(going, taking - going));
        taking = going;
        if taking == 0 {
            break;
        }
        let before = kept.slice(0, taking);
        let who = UInt32Array::from(order[..taking].to_vec());
        let sources: UInt32Array =
            order[..taking].iter().map(|row| (offsets[*row as usize] + place) as u32).collect();
        let values = || Ok(take(list.values(), &sources, None)?);
        let spread = |captures: &[ArrayRef]| Ok(take_arrays(captures, &who, None)?);
        let given = merge.evaluate(&[&|| Ok(Arc::clone(&before)), &values], spread)?;
        kept = aligned(&given.into_array(taking)?, &kind)?;
    }
    ready.reverse();
    let ready: Vec<&dyn Array> = ready.iter().map(AsRef::as_ref).collect();
    let mut result = concat(&ready)?;
    if let Some(finish) = lambda(arguments, 1) {
        let who = UInt32Array::from(order.clone());
        let spread = |captures: &[ArrayRef]| Ok(take_arrays(captures, &who, None)?);
        let all = || Ok(Arc::clone(&result));
        let given = finish.evaluate(&[&all], spread)?.into_array(order.len())?;
        result = given;
    }
    let mut places: Vec<Option<u32>> = vec![None; list.len()];
    for (place, row) in order.iter().enumerate() {
        places[*row as usize] = Some(place as u32);
    }
    Ok(take(&result, &UInt32Array::from(places), None)?)
}

/// All pairs of values of an array are compared at once, and then it is sorted by what came out.
pub(super) fn sort(arguments: &[Argument], rows: usize) -> Result<ArrayRef> {
    let (list, places) = list(arguments, 0, rows)?;
    let values = places.of(list.values())?;
    let by = first_lambda(arguments)?;
    let mut order: Vec<u32> = Vec::with_capacity(values.len());
    let bounds: Vec<(usize, usize)> =
        places.offsets.windows(2).map(|b| (b[0] as usize, b[1] as usize)).collect();
    let mut row = 0;
    while row < bounds.len() {
        // As many rows as have a bounded number of pairs together.
        let (first, mut pairs) = (row, 0);
        while row < bounds.len() {
            let count = bounds[row].1 - bounds[row].0;
            let own = count.saturating_mul(count);
            if own > COMPARISONS_MAX {
                return exec_err!(
                    "array_sort() compares each value of an array with each other by its lambda, and an array has {count}; sort_array() takes longer ones"
                );
            }
            if row > first && pairs + own > COMPARISONS_MAX {
                break;
            }
            (pairs, row) = (pairs + own, row + 1);
        }
        sort_rows(by, &values, &bounds[first..row], first, &mut order)?;
    }
    let values = take(&values, &UInt32Array::from(order), None)?;
    let DataType::List(item) = list.data_type() else {
        return exec_err!("array_sort() takes an array");
    };
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), places.offsets, values, places.nulls)?))
}

/// Puts the values of some rows, of which `first` is the number of the first, in order.
fn sort_rows(
    by: &LambdaArgument,
    values: &ArrayRef,
    bounds: &[(usize, usize)],
    first: usize,
    order: &mut Vec<u32>,
) -> Result<()> {
    let (mut lefts, mut rights, mut of_rows) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (from, to)) in bounds.iter().enumerate() {
        for left in *from..*to {
            for right in *from..*to {
                lefts.push(left as u32);
                rights.push(right as u32);
                of_rows.push((first + number) as u32);
            }
        }
    }
    let pairs = Places::of_rows(of_rows);
    let (lefts, rights) = (UInt32Array::from(lefts), UInt32Array::from(rights));
    let left = || Ok(take(values, &lefts, None)?);
    let right = || Ok(take(values, &rights, None)?);
    let compared = pairs.evaluate(by, &[&left, &right])?;
    if compared.logical_null_count() > 0 {
        return exec_err!(
            "[COMPARATOR_RETURNS_NULL] The comparator of array_sort() has returned a NULL for a comparison; it should return a positive number for greater, 0 for equal and a negative one for less"
        );
    }
    let compared = aligned(&compared, &DataType::Int64)?;
    let compared = compared.as_primitive::<Int64Type>();
    let mut begin = 0;
    for (from, to) in bounds {
        let count = to - from;
        let of = |left: usize, right: usize| -> Ordering {
            compared.value(begin + left * count + right).cmp(&0)
        };
        let sorted = merge_sorted((0..count).collect(), &of);
        order.extend(sorted.into_iter().map(|place| (from + place) as u32));
        begin += count * count;
    }
    Ok(())
}

/// A stable sort that takes any comparison, also one that contradicts itself: the standard
/// library's may panic at that.
fn merge_sorted(places: Vec<usize>, of: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    if places.len() < 2 {
        return places;
    }
    let (left, right) = places.split_at(places.len() / 2);
    let (left, right) = (merge_sorted(left.to_vec(), of), merge_sorted(right.to_vec(), of));
    let mut merged = Vec::with_capacity(places.len());
    let (mut l, mut r) = (0, 0);
    while l < left.len() && r < right.len() {
        if of(left[l], right[r]) == Ordering::Greater {
            merged.push(right[r]);
            r += 1;
        } else {
            merged.push(left[l]);
            l += 1;
        }
    }
    merged.extend_from_slice(&left[l..]);
    merged.extend_from_slice(&right[r..]);
    merged
}
