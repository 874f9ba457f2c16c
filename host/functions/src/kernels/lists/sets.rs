//! Arrays as sets. A null is equal to another one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use arrow::row::{Row, Rows};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use hashbrown::HashSet;

use super::order::comparable;
use super::{Lists, Picked, as_first_list, item};
use crate::kernels::kernel::{boolean, kernel};

/// Two columns of arrays, with values to compare.
struct Pair {
    left: Lists,
    right: Lists,
    left_rows: Rows,
    right_rows: Rows,
}

impl Pair {
    fn of(columns: &[ArrayRef], kind: &DataType) -> Result<Pair> {
        let (left, right) = (Lists::of(&columns[0], kind)?, Lists::of(&columns[1], kind)?);
        let [left_rows, right_rows] = comparable([&left.values, &right.values])?;
        Ok(Pair { left, right, left_rows, right_rows })
    }

    fn is_null(&self, row: usize) -> bool {
        self.left.is_null(row) || self.right.is_null(row)
    }
}

/// Lists of values of two lists, of which `keep` says for each whether it is one of them.
fn of_both(
    columns: &[ArrayRef],
    kind: &DataType,
    take_right: bool,
    keep: impl for<'a> Fn(&HashSet<Row<'a>>, &mut HashSet<Row<'a>>, Row<'a>) -> bool,
) -> Result<ArrayRef> {
    let pair = Pair::of(columns, item(kind)?.data_type())?;
    let mut lists = Picked::new(pair.left.len());
    let (mut others, mut seen) = (HashSet::new(), HashSet::new());
    for row in 0..pair.left.len() {
        if pair.is_null(row) {
            lists.close_null()?;
            continue;
        }
        others.clear();
        seen.clear();
        if !take_right {
            others.extend(pair.right.range(row).map(|place| pair.right_rows.row(place)));
        }
        for place in pair.left.range(row) {
            if keep(&others, &mut seen, pair.left_rows.row(place)) {
                lists.push((0, place));
            }
        }
        if take_right {
            for place in pair.right.range(row) {
                if keep(&others, &mut seen, pair.right_rows.row(place)) {
                    lists.push((1, place));
                }
            }
        }
        lists.close()?;
    }
    lists.finish(kind, &[&pair.left.values, &pair.right.values])
}

/// `array_union(array, array)`.
pub(crate) fn array_union() -> Arc<ScalarUDF> {
    kernel("array_union", as_first_list, |columns, kind| {
        of_both(columns, kind, true, |_, seen, value| seen.insert(value))
    })
}

/// `array_except(array, array)`.
pub(crate) fn array_except() -> Arc<ScalarUDF> {
    kernel("array_except", as_first_list, |columns, kind| {
        of_both(columns, kind, false, |others, seen, value| {
            !others.contains(&value) && seen.insert(value)
        })
    })
}

/// `array_intersect(array, array)`.
pub(crate) fn array_intersect() -> Arc<ScalarUDF> {
    kernel("array_intersect", as_first_list, |columns, kind| {
        of_both(columns, kind, false, |others, seen, value| {
            others.contains(&value) && seen.insert(value)
        })
    })
}

/// `array_distinct(array)`.
pub(crate) fn array_distinct() -> Arc<ScalarUDF> {
    kernel("array_distinct", as_first_list, |columns, kind| {
        let lists = Lists::of(&columns[0], item(kind)?.data_type())?;
        let [rows] = comparable([&lists.values])?;
        let mut distinct = Picked::new(lists.len());
        let mut seen = HashSet::new();
        for row in 0..lists.len() {
            if lists.is_null(row) {
                distinct.close_null()?;
                continue;
            }
            seen.clear();
            distinct.extend(0, lists.range(row).filter(|place| seen.insert(rows.row(*place))));
            distinct.close()?;
        }
        distinct.finish(kind, &[&lists.values])
    })
}

/// `arrays_overlap(array, array)`: null where a null may be what both have.
pub(crate) fn arrays_overlap() -> Arc<ScalarUDF> {
    kernel("arrays_overlap", boolean, |columns, _| {
        let kind = item(columns[0].data_type())?.data_type().clone();
        let pair = Pair::of(columns, &kind)?;
        let (left_nulls, right_nulls) =
            (pair.left.values.logical_nulls(), pair.right.values.logical_nulls());
        let mut known = HashSet::new();
        let overlaps = (0..pair.left.len()).map(|row| {
            if pair.is_null(row) {
                return None;
            }
            let (left, right) = (pair.left.range(row), pair.right.range(row));
            let is_null = |nulls: &Option<arrow::buffer::NullBuffer>, place: usize| {
                nulls.as_ref().is_some_and(|nulls| nulls.is_null(place))
            };
            known.clear();
            let values = left.clone().filter(|place| !is_null(&left_nulls, *place));
            known.extend(values.map(|place| pair.left_rows.row(place)));
            let is_known = |place: &usize| {
                !is_null(&right_nulls, *place) && known.contains(&pair.right_rows.row(*place))
            };
            if right.clone().any(|place| is_known(&place)) {
                return Some(true);
            }
            let has_null = left.clone().any(|place| is_null(&left_nulls, place))
                || right.clone().any(|place| is_null(&right_nulls, place));
            (left.is_empty() || right.is_empty() || !has_null).then_some(false)
        });
        Ok(Arc::new(overlaps.collect::<BooleanArray>()))
    })
}
