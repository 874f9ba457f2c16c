//! `approx_count_distinct(value[, deviation])`: HyperLogLog++ as Spark computes it.
//!
//! Values are hashed with Spark's xxhash64, seed 42. For the default deviation, 0.05, there are 2^9
//! registers, and estimate and corrections are Spark's (HyperLogLogPlusPlusHelper), so that results
//! are the same. For others Spark has tables of some 6,000 figures; here the estimate is that of
//! Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017), which needs none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::bias::BIAS;
use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::types::{contains_map, count_of};

/// Spark's default relative standard deviation.
const DEVIATION: f64 = 0.05;
/// Bits of a hash that choose a register, for that deviation.
const BIAS_BITS: u32 = 9;
/// Up to this many values a register, counting empty registers is better.
const LINEAR_MAX: f64 = 2.5;
/// Entries of the table that a bias is averaged over.
const NEIGHBOURS: usize = 6;

/// The aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ApproxCountDistinct;

impl Aggregate for ApproxCountDistinct {
    fn name(&self) -> &'static str {
        "approx_count_distinct"
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 1..=2)?;
        if contains_map(&arguments[0]) {
            return plan_err!(
                "[DATATYPE_MISMATCH.HASH_MAP_TYPE] Input to the function `approx_count_distinct` cannot contain elements of the \"MAP\" type"
            );
        }
        let mut types = vec![arguments[0].clone()];
        types.extend(arguments.get(1).map(|_| DataType::Float64));
        Ok(types)
    }

    fn result(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn states(&self, _: &[DataType]) -> Vec<(&'static str, DataType)> {
        vec![("registers", DataType::Binary)]
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>> {
        let deviation = match call.literals.get(1) {
            None => DEVIATION,
            Some(Some(ScalarValue::Float64(Some(deviation)))) => *deviation,
            Some(_) => {
                return plan_err!(
                    "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] approx_count_distinct(): the deviation has to be a number"
                );
            }
        };
        let bits = (2.0 * (1.106 / deviation).log2()).ceil();
        if !(4.0..=18.0).contains(&bits) {
            return plan_err!(
                "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] approx_count_distinct(): the deviation is {deviation}, and has to be between 0.0022 and 0.39"
            );
        }
        Ok(Box::new(Sketching {
            bits: bits as u32,
            hash: datafusion_spark::function::hash::xxhash64(),
        }))
    }
}

struct Sketching {
    bits: u32,
    hash: Arc<ScalarUDF>,
}

impl Sketching {
    fn hashes(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let rows = values.len();
        self.hash
            .invoke_with_args(ScalarFunctionArgs {
                args: vec![ColumnarValue::Array(Arc::clone(values))],
                arg_fields: vec![Arc::new(Field::new("value", values.data_type().clone(), true))],
                number_rows: rows,
                return_field: Arc::new(Field::new("hash", DataType::Int64, false)),
                config_options: Arc::new(ConfigOptions::default()),
            })?
            .into_array(rows)
    }

    fn add(&self, registers: &mut Vec<u8>, hash: u64) {
        registers.resize(1 << self.bits, 0);
        let index = (hash >> (64 - self.bits)) as usize;
        // The bit that is set ends the run of zeros where the hash ends.
        let rest = (hash << self.bits) | (1 << (self.bits - 1));
        let rank = rest.leading_zeros() as u8 + 1;
        registers[index] = registers[index].max(rank);
    }
}

/// Spark's estimate, for [`BIAS_BITS`].
fn estimate(registers: &[u8]) -> i64 {
    let m = registers.len() as f64;
    let sum: f64 = registers.iter().map(|rank| 0.5_f64.powi(i32::from(*rank))).sum();
    let zeros = registers.iter().filter(|rank| **rank == 0).count() as f64;
    let linear = m * (m / zeros).ln();
    if zeros > 0.0 && linear <= LINEAR_MAX * m {
        return linear.round() as i64;
    }
    let alpha = 0.7213 / (1.0 + 1.079 / m);
    let raw = alpha * m * m / sum;
    let corrected = if raw < 5.0 * m { raw - bias(raw) } else { raw };
    corrected.round() as i64
}

/// The mean bias of the nearest entries of the table.
fn bias(raw: f64) -> f64 {
    let distance = |i: usize| (raw - BIAS[i].0).powi(2);
    let nearest = BIAS.partition_point(|(estimate, _)| *estimate < raw);
    let mut low = (nearest + 1).saturating_sub(NEIGHBOURS);
    let mut high = (low + NEIGHBOURS).min(BIAS.len());
    while high < BIAS.len() && distance(high) < distance(low) {
        low += 1;
        high += 1;
    }
    let near = &BIAS[low..high];
    near.iter().map(|(_, bias)| bias).sum::<f64>() / near.len() as f64
}

/// Ertl's improved raw estimate, for any number of registers.
fn estimate_by_ertl(registers: &[u8], bits: u32) -> i64 {
    let m = registers.len() as f64;
    let q = 64 - bits as usize;
    let mut ranks = vec![0.0; q + 2];
    registers.iter().for_each(|rank| ranks[usize::from(*rank).min(q + 1)] += 1.0);
    let mut z = m * tau(1.0 - ranks[q + 1] / m);
    for rank in ranks[1..=q].iter().rev() {
        z = 0.5 * (z + rank);
    }
    z += m * sigma(ranks[0] / m);
    (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as i64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

impl Fold for Sketching {
    /// The registers; empty before the first value.
    type Kept = Vec<u8>;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Vec<u8>]) -> Result<()> {
        let hashes = self.hashes(&arguments[0])?;
        let hashes = hashes.as_primitive::<Int64Type>();
        for (row, group) in rows.iter().filter(|(row, _)| arguments[0].is_valid(*row)) {
            self.add(&mut kept[group], hashes.value(row) as u64);
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Vec<u8>]) -> Result<()> {
        let others = states[0].as_binary::<i32>();
        for (row, group) in rows.iter() {
            let (mine, other) = (&mut kept[group], others.value(row));
            if mine.is_empty() {
                mine.extend_from_slice(other);
            } else {
                mine.iter_mut().zip(other).for_each(|(mine, other)| *mine = (*mine).max(*other));
            }
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Vec<u8>>) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(BinaryArray::from_iter_values(kept))])
    }

    fn evaluate(&self, kept: Vec<Vec<u8>>) -> Result<ArrayRef> {
        let estimates = kept.iter().map(|registers| match registers.as_slice() {
            [] => 0,
            registers if self.bits == BIAS_BITS => estimate(registers),
            registers => estimate_by_ertl(registers, self.bits),
        });
        Ok(Arc::new(Int64Array::from_iter_values(estimates)))
    }

    fn bytes(&self, kept: &Vec<u8>) -> usize {
        kept.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_within_their_deviation() {
        for (deviation, bits) in [(0.05, 9), (0.01, 14)] {
            let sketching = Sketching { bits, hash: datafusion_spark::function::hash::xxhash64() };
            for count in [10_i64, 1_000, 100_000] {
                let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
                let groups = vec![0; values.len()];
                let mut kept = vec![Vec::new()];
                let rows = Rows::all(&groups);
                sketching.update(&[values], &rows, &mut kept).expect("values can be hashed");
                let estimate = sketching.evaluate(kept).expect("registers have an estimate");
                let estimate = estimate.as_primitive::<Int64Type>().value(0);
                let off = (estimate - count) as f64 / count as f64;
                assert!(off.abs() < 3.0 * deviation, "{estimate} for {count}");
            }
        }
    }
}
