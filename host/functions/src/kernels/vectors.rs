//! `vector_*` of arrays of FLOAT. Sums are of DOUBLE, and eight products are added before they go
//! into one, as in Spark's VectorFunctionImplUtils: so that the last bit is the same.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float32Builder, ListArray, ListBuilder,
};
use arrow::datatypes::{DataType, Float32Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::kernel::kernel;
use super::rows::{are_present, numbers, rows_of};

/// What is made of two vectors.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pair {
    Cosine,
    Product,
    Distance,
}

/// What is made of a vector and a degree.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Norm {
    Length,
    Normalized,
}

/// Terms that are added before they go into a sum.
const LANES: usize = 8;

fn float(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Float32)
}

/// A sum of the terms of so many places.
fn sum(places: usize, term: impl Fn(usize) -> f64) -> f64 {
    let (mut all, lanes) = (0.0, places / LANES * LANES);
    for from in (0..lanes).step_by(LANES) {
        let first = term(from);
        all += (from + 1..from + LANES).fold(first, |lane, place| lane + term(place));
    }
    (lanes..places).for_each(|place| all += term(place));
    all
}

/// Vectors of a column.
struct Vectors<'a> {
    lists: &'a ListArray,
    values: &'a Float32Array,
}

impl<'a> Vectors<'a> {
    fn of(column: &'a ArrayRef) -> Vectors<'a> {
        let lists = column.as_list::<i32>();
        Vectors { lists, values: lists.values().as_primitive::<Float32Type>() }
    }

    /// The numbers of a row, and whether none is null.
    fn row(&self, row: usize) -> (&'a [f32], bool) {
        let offsets = self.lists.value_offsets();
        let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
        let is_whole =
            self.values.null_count() == 0 || (from..to).all(|place| self.values.is_valid(place));
        (&self.values.values()[from..to], is_whole)
    }
}

fn of_pair(pair: Pair, left: &[f32], right: &[f32]) -> Option<f32> {
    let (l, r) = (|at: usize| f64::from(left[at]), |at: usize| f64::from(right[at]));
    let places = left.len();
    let product = || sum(places, |at| l(at) * r(at));
    match pair {
        Pair::Product => Some(product() as f32),
        Pair::Distance => {
            let squares = sum(places, |at| (l(at) - r(at)) * (l(at) - r(at)));
            Some(squares.sqrt() as f32)
        }
        Pair::Cosine => {
            let squares = sum(places, |at| l(at) * l(at)) * sum(places, |at| r(at) * r(at));
            let lengths = squares.sqrt();
            (lengths != 0.0).then(|| (product() / lengths) as f32)
        }
    }
}

/// A kernel of two vectors of as many numbers each.
pub(crate) fn paired(pair: Pair) -> Arc<ScalarUDF> {
    fn run(name: &str, pair: Pair, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let (left, right) = (Vectors::of(&columns[0]), Vectors::of(&columns[1]));
        numbers::<Float32Type>(columns, |row| {
            let ((left, is_left), (right, is_right)) = (left.row(row), right.row(row));
            if left.len() != right.len() {
                return exec_err!(
                    "[VECTOR_DIMENSION_MISMATCH] Vectors passed to `{name}` must have the same dimension, but got {} and {}",
                    left.len(),
                    right.len()
                );
            }
            Ok((is_left && is_right).then(|| of_pair(pair, left, right)).flatten())
        })
    }
    match pair {
        Pair::Cosine => kernel("vector_cosine_similarity", float, |columns, _| {
            run("vector_cosine_similarity", Pair::Cosine, columns)
        }),
        Pair::Product => kernel("vector_inner_product", float, |columns, _| {
            run("vector_inner_product", Pair::Product, columns)
        }),
        Pair::Distance => kernel("vector_l2_distance", float, |columns, _| {
            run("vector_l2_distance", Pair::Distance, columns)
        }),
    }
}

fn length(name: &str, vector: &[f32], degree: f32) -> Result<f64> {
    let at = |place: usize| f64::from(vector[place]);
    Ok(match degree {
        1.0 => sum(vector.len(), |place| at(place).abs()),
        2.0 => sum(vector.len(), |place| at(place) * at(place)).sqrt(),
        f32::INFINITY => vector.iter().fold(0.0, |most: f64, number| match number.is_nan() {
            true => f64::NAN,
            // Java's, for which NaN is the largest.
            false if most.is_nan() => most,
            false => most.max(f64::from(number.abs())),
        }),
        other => {
            return exec_err!(
                "[INVALID_VECTOR_NORM_DEGREE] For the `{name}` function, degree must be 1.0, 2.0, or float('inf'), but got {other:?}"
            );
        }
    })
}

fn degree(columns: &[ArrayRef], row: usize) -> f32 {
    columns[1].as_primitive::<Float32Type>().value(row)
}

/// A kernel of a vector and a degree.
pub(crate) fn normed(norm: Norm) -> Arc<ScalarUDF> {
    match norm {
        Norm::Length => kernel("vector_norm", float, |columns, _| {
            let vectors = Vectors::of(&columns[0]);
            numbers::<Float32Type>(columns, |row| {
                let (vector, is_whole) = vectors.row(row);
                let length = length("vector_norm", vector, degree(columns, row))?;
                Ok(is_whole.then_some(length as f32))
            })
        }),
        Norm::Normalized => {
            let gives = |_: &[DataType]| Ok(DataType::new_list(DataType::Float32, true));
            kernel("vector_normalize", gives, |columns, _| {
                let vectors = Vectors::of(&columns[0]);
                let mut lists = ListBuilder::with_capacity(Float32Builder::new(), columns[0].len());
                for row in 0..rows_of(columns) {
                    if !are_present(columns, row) {
                        lists.append_null();
                        continue;
                    }
                    let (vector, is_whole) = vectors.row(row);
                    let length = length("vector_normalize", vector, degree(columns, row))?;
                    if !is_whole || (length == 0.0 && !vector.is_empty()) {
                        lists.append_null();
                        continue;
                    }
                    for number in vector {
                        lists.values().append_value((f64::from(*number) / length) as f32);
                    }
                    lists.append(true);
                }
                Ok(Arc::new(lists.finish()))
            })
        }
    }
}
