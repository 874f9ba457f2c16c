//! Values that are looked for in arrays.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, downcast_primitive_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowNativeTypeOp, DataType};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::order::{comparable, normal};
use super::{Lists, Picked, aligned, as_first_list, item};
use crate::kernels::kernel::{boolean, kernel, long};

/// Arrays, and for each of them a value.
struct Search {
    lists: Lists,
    /// Which values of the arrays have the bits of the one that is looked for; nulls have any.
    alike: Vec<bool>,
    nulls: Option<NullBuffer>,
    wanted_nulls: Option<NullBuffer>,
}

impl Search {
    fn of(columns: &[ArrayRef]) -> Result<Search> {
        let kind = item(columns[0].data_type())?.data_type().clone();
        let lists = Lists::of(&columns[0], &kind)?;
        let wanted = aligned(&columns[1], &kind)?;
        let alike = alike(&lists, &wanted)?;
        let nulls = lists.values.logical_nulls();
        let wanted_nulls = wanted.logical_nulls();
        Ok(Search { lists, alike, nulls, wanted_nulls })
    }

    /// Whether there is an array, and a value to look for.
    fn is_one(&self, row: usize) -> bool {
        let is_null = self.wanted_nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        !is_null && !self.lists.is_null(row)
    }

    fn is_null(&self, place: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(place))
    }

    fn is_it(&self, place: usize) -> bool {
        self.alike[place] && !self.is_null(place)
    }
}

/// Numbers and times are compared as they are, all others by their rows: to write these takes longer
/// than to look at them.
fn alike(lists: &Lists, wanted: &ArrayRef) -> Result<Vec<bool>> {
    let (values, wanted) = (normal(&lists.values)?, normal(wanted)?);
    let (values, wanted) = (&values, &wanted);
    Ok(downcast_primitive_array!(
        (values, wanted) => each(lists, |row, places, alike| {
            let wanted = wanted.value(row);
            for (alike, value) in alike.iter_mut().zip(&values.values()[places]) {
                *alike = value.is_eq(wanted);
            }
        }),
        _ => {
            let [values, wanted] = comparable([values, wanted])?;
            each(lists, |row, places, alike| {
                let wanted = wanted.row(row);
                for (alike, place) in alike.iter_mut().zip(places) {
                    *alike = values.row(place) == wanted;
                }
            })
        }
    ))
}

/// Something of each value, written for all of a row together.
fn each(lists: &Lists, write: impl Fn(usize, Range<usize>, &mut [bool])) -> Vec<bool> {
    let mut all = vec![false; lists.values.len()];
    for row in 0..lists.len() {
        let places = lists.range(row);
        write(row, places.clone(), &mut all[places]);
    }
    all
}

/// `array_contains(array, value)`: null where it is not there and a null is.
pub(crate) fn array_contains() -> Arc<ScalarUDF> {
    kernel("array_contains", boolean, |columns, _| {
        let search = Search::of(columns)?;
        let contains = (0..search.lists.len()).map(|row| {
            if !search.is_one(row) {
                return None;
            }
            let mut places = search.lists.range(row);
            if places.clone().any(|place| search.is_it(place)) {
                return Some(true);
            }
            (!places.any(|place| search.is_null(place))).then_some(false)
        });
        Ok(Arc::new(contains.collect::<BooleanArray>()))
    })
}

/// `array_position(array, value)`: from 1, and 0 where it is not there.
pub(crate) fn array_position() -> Arc<ScalarUDF> {
    kernel("array_position", long, |columns, _| {
        let search = Search::of(columns)?;
        let positions = (0..search.lists.len()).map(|row| {
            let mut places = search.lists.range(row);
            if !search.is_one(row) {
                return None;
            }
            let position = places.position(|place| search.is_it(place));
            Some(position.map_or(0, |place| place as i64 + 1))
        });
        Ok(Arc::new(positions.collect::<Int64Array>()))
    })
}

/// `array_remove(array, value)`.
pub(crate) fn array_remove() -> Arc<ScalarUDF> {
    kernel("array_remove", as_first_list, |columns, kind| {
        let search = Search::of(columns)?;
        let mut lists = Picked::new(search.lists.len());
        for row in 0..search.lists.len() {
            if !search.is_one(row) {
                lists.close_null()?;
                continue;
            }
            let places = search.lists.range(row);
            lists.extend(0, places.filter(|place| !search.is_it(*place)));
            lists.close()?;
        }
        finish(lists, kind, &search.lists)
    })
}

fn finish(picked: Picked, kind: &DataType, lists: &Lists) -> Result<ArrayRef> {
    let values = aligned(&lists.values, item(kind)?.data_type())?;
    picked.finish(kind, &[&values])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use arrow::array::{Float64Array, ListArray, StringArray};
    use arrow::buffer::OffsetBuffer;

    use super::super::list_of;
    use super::*;

    fn alike_in(sizes: [usize; 2], values: ArrayRef, wanted: ArrayRef) -> Vec<bool> {
        let kind = list_of(values.data_type().clone());
        let field = Arc::clone(item(&kind).unwrap());
        let offsets = OffsetBuffer::from_lengths(sizes);
        let lists: ArrayRef = Arc::new(ListArray::new(field, offsets, values, None));
        alike(&Lists::as_they_are(&lists).unwrap(), &wanted).unwrap()
    }

    #[test]
    fn values_are_alike_as_spark_compares_them_whatever_their_type() {
        let numbers = Arc::new(Float64Array::from(vec![0.0, 1.0, -0.0, f64::NAN, 2.0]));
        let wanted = Arc::new(Float64Array::from(vec![-0.0, -f64::NAN]));
        assert_eq!(alike_in([3, 2], numbers, wanted), [true, false, true, true, false]);
        let texts = Arc::new(StringArray::from(vec!["a", "b", "b"]));
        let wanted = Arc::new(StringArray::from(vec!["b", "a"]));
        assert_eq!(alike_in([2, 1], texts, wanted), [false, true, false]);
    }
}
