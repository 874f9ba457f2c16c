//! Values that are looked for in arrays.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use arrow::row::Rows;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::order::comparable;
use super::{Lists, Picked, aligned, as_first_list, item};
use crate::kernels::kernel::{boolean, kernel, long};

/// Arrays, and for each of them a value.
struct Search {
    lists: Lists,
    rows: Rows,
    nulls: Option<NullBuffer>,
    wanted: Rows,
    wanted_nulls: Option<NullBuffer>,
}

impl Search {
    fn of(columns: &[ArrayRef]) -> Result<Search> {
        let kind = item(columns[0].data_type())?.data_type().clone();
        let lists = Lists::of(&columns[0], &kind)?;
        let wanted = aligned(&columns[1], &kind)?;
        let [rows, wanted_rows] = comparable([&lists.values, &wanted])?;
        let nulls = lists.values.logical_nulls();
        let wanted_nulls = wanted.logical_nulls();
        Ok(Search { lists, rows, nulls, wanted: wanted_rows, wanted_nulls })
    }

    /// Whether there is an array, and a value to look for.
    fn is_one(&self, row: usize) -> bool {
        let is_null = self.wanted_nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        !is_null && !self.lists.is_null(row)
    }

    fn is_null(&self, place: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(place))
    }

    fn is_it(&self, row: usize, place: usize) -> bool {
        !self.is_null(place) && self.rows.row(place) == self.wanted.row(row)
    }
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
            if places.clone().any(|place| search.is_it(row, place)) {
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
            let position = places.position(|place| search.is_it(row, place));
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
            lists.extend(0, places.filter(|place| !search.is_it(row, *place)));
            lists.close()?;
        }
        finish(lists, kind, &search.lists)
    })
}

fn finish(picked: Picked, kind: &DataType, lists: &Lists) -> Result<ArrayRef> {
    let values = aligned(&lists.values, item(kind)?.data_type())?;
    picked.finish(kind, &[&values])
}
