//! `vector_sum` and `vector_avg` of arrays of FLOAT, place by place. A vector that is null, or has a
//! null in it, does not count.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Int64Array, ListArray};
use arrow::datatypes::{DataType, Float32Type, Int64Type};
use datafusion::common::{Result, exec_err};

use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::lists::{list_of, lists};
use super::types::{count_of, unexpected};

/// `vector_sum`, or `vector_avg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct VectorSum {
    pub(crate) mean: bool,
}

impl Aggregate for VectorSum {
    fn name(&self) -> &'static str {
        if self.mean { "vector_avg" } else { "vector_sum" }
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 1..=1)?;
        match &arguments[0] {
            DataType::List(item) if *item.data_type() == DataType::Float32 => {
                Ok(arguments.to_vec())
            }
            other => Err(unexpected(self.name(), "ARRAY<FLOAT>", other)),
        }
    }

    fn result(&self, _: &[DataType]) -> Result<DataType> {
        Ok(list_of(&DataType::Float32))
    }

    fn states(&self, _: &[DataType]) -> Vec<(&'static str, DataType)> {
        vec![("vector", list_of(&DataType::Float32)), ("count", DataType::Int64)]
    }

    fn fold(&self, _: &Call) -> Result<Box<dyn Accumulators>> {
        Ok(Box::new(Summing(*self)))
    }
}

struct Summing(VectorSum);

/// The sum or the mean so far, of so many vectors.
#[derive(Default, Clone)]
struct Kept {
    vector: Vec<f32>,
    count: i64,
}

/// The numbers of a vector; none if one of them is null.
fn numbers<'a>(vectors: &ListArray, all: &'a Float32Array, row: usize) -> Option<&'a [f32]> {
    let offsets = vectors.value_offsets();
    let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
    let is_whole = all.null_count() == 0 || (from..to).all(|place| all.is_valid(place));
    (vectors.is_valid(row) && is_whole).then(|| &all.values()[from..to])
}

impl Summing {
    /// Adds a row's vector, or the one of a state, which is of `count` rows.
    fn add(&self, kept: &mut Kept, vector: &[f32], count: Option<i64>) -> Result<()> {
        let rows = count.unwrap_or(1);
        if kept.count == 0 {
            *kept = Kept { vector: vector.to_vec(), count: rows };
            return Ok(());
        }
        if kept.vector.len() != vector.len() {
            return exec_err!(
                "[VECTOR_DIMENSION_MISMATCH] Vectors passed to `{}` must have the same dimension, but got {} and {}",
                self.0.name(),
                kept.vector.len(),
                vector.len()
            );
        }
        let before = kept.count as f32;
        kept.count += rows;
        let pairs = kept.vector.iter_mut().zip(vector);
        if !self.0.mean {
            pairs.for_each(|(mine, other)| *mine += other);
        } else if count.is_none() {
            let share = 1.0 / kept.count as f32;
            pairs.for_each(|(mine, other)| *mine += share * (other - *mine));
        } else {
            let all = kept.count as f32;
            let (mine_of, other_of) = (before / all, rows as f32 / all);
            pairs.for_each(|(mine, other)| *mine = *mine * mine_of + other * other_of);
        }
        Ok(())
    }
}

impl Fold for Summing {
    type Kept = Kept;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Kept]) -> Result<()> {
        let vectors = arguments[0].as_list::<i32>();
        let all = vectors.values().as_primitive::<Float32Type>();
        for (row, group) in rows.iter() {
            if let Some(vector) = numbers(vectors, all, row) {
                self.add(&mut kept[group], vector, None)?;
            }
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Kept]) -> Result<()> {
        let vectors = states[0].as_list::<i32>();
        let all = vectors.values().as_primitive::<Float32Type>();
        let counts = states[1].as_primitive::<Int64Type>();
        for (row, group) in rows.iter().filter(|(row, _)| counts.value(*row) > 0) {
            if let Some(vector) = numbers(vectors, all, row) {
                self.add(&mut kept[group], vector, Some(counts.value(row)))?;
            }
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Kept>) -> Result<Vec<ArrayRef>> {
        let numbers = kept.iter().flat_map(|kept| kept.vector.iter().copied());
        let numbers = Float32Array::from_iter_values(numbers);
        let vectors = lists(kept.iter().map(|kept| kept.vector.len()), Arc::new(numbers))?;
        let counts = Int64Array::from_iter_values(kept.iter().map(|kept| kept.count));
        Ok(vec![vectors, Arc::new(counts)])
    }

    fn evaluate(&self, kept: Vec<Kept>) -> Result<ArrayRef> {
        let vectors = kept.into_iter().map(|kept| {
            (kept.count > 0).then(|| kept.vector.into_iter().map(Some).collect::<Vec<_>>())
        });
        Ok(Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vectors)))
    }

    fn bytes(&self, kept: &Kept) -> usize {
        kept.vector.capacity() * size_of::<f32>()
    }
}
