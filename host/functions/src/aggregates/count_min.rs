//! `count_min_sketch(value, eps, confidence, seed)`: Spark's CountMinSketch, in its bytes.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};

use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::java_random::JavaRandom;
use super::lists::binaries;
use super::types::{count_of, unexpected};
use crate::kernels::hashes::murmur3_of_bytes;

/// Of the format.
const VERSION: i32 = 1;
/// Bytes of a group's counters: an `eps` of 0.00001 with a `confidence` of 0.99 takes 11 MiB.
const TABLE_BYTES_MAX: usize = 16 << 20;
/// Sums of hashes are taken modulo this prime, by its bits.
const PRIME: i64 = (1 << 31) - 1;

/// The aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CountMin;

impl Aggregate for CountMin {
    fn name(&self) -> &'static str {
        "count_min_sketch"
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 4..=4)?;
        let value = match &arguments[0] {
            whole if whole.is_integer() || whole.is_null() => DataType::Int64,
            bytes if bytes.is_binary() || bytes.is_string() => DataType::Binary,
            other => {
                return Err(unexpected(self.name(), "INTEGRAL\" or \"STRING\" or \"BINARY", other));
            }
        };
        for share in &arguments[1..3] {
            if !share.is_null() && *share != DataType::Float64 {
                return Err(unexpected(self.name(), "DOUBLE", share));
            }
        }
        if !matches!(arguments[3], DataType::Null | DataType::Int32 | DataType::Int64) {
            return Err(unexpected(self.name(), "INT\" or \"BIGINT", &arguments[3]));
        }
        Ok(vec![value, DataType::Float64, DataType::Float64, DataType::Int64])
    }

    fn result(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn states(&self, _: &[DataType]) -> Vec<(&'static str, DataType)> {
        vec![("sketch", DataType::Binary)]
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>> {
        let eps = share(call, 1, "eps")?;
        if !eps.is_finite() || eps <= 0.0 {
            return plan_err!(
                "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] count_min_sketch(): The eps must be between (0.0, 1.7976931348623157E308] (current value = {eps})"
            );
        }
        let confidence = share(call, 2, "confidence")?;
        if confidence.is_nan() || confidence <= 0.0 || confidence >= 1.0 {
            return plan_err!(
                "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] count_min_sketch(): The confidence must be between (0.0, 1.0] (current value = {confidence}); it is less than 1"
            );
        }
        let seed = match call.literals.get(3) {
            Some(Some(ScalarValue::Int64(Some(seed)))) => *seed,
            other => return Err(no_constant(other.and_then(Option::as_ref), "seed", "BIGINT")),
        };
        let width = (2.0 / eps).ceil() as usize;
        let depth = (-(1.0 - confidence).ln() / 2.0_f64.ln()).ceil() as usize;
        let depth = depth.max(1);
        let bytes = width.saturating_mul(depth).saturating_mul(8);
        if bytes > TABLE_BYTES_MAX {
            return plan_err!(
                "[UNSUPPORTED_FEATURE] count_min_sketch() with eps = {eps} and confidence = {confidence} takes {bytes} bytes a group, and may take {TABLE_BYTES_MAX}; give a larger eps"
            );
        }
        // Spark takes the lower half of it.
        let mut random = JavaRandom::new(i64::from(seed as i32));
        let factors = (0..depth).map(|_| random.below_max()).collect();
        Ok(Box::new(Counting { width, factors, are_bytes: call.types[0].is_binary() }))
    }
}

fn share(call: &Call, place: usize, name: &str) -> Result<f64> {
    match call.literals.get(place) {
        Some(Some(ScalarValue::Float64(Some(share)))) => Ok(*share),
        other => Err(no_constant(other.and_then(Option::as_ref), name, "DOUBLE")),
    }
}

/// What an argument is that has to be written out and is not.
fn no_constant(
    found: Option<&ScalarValue>,
    name: &str,
    kind: &str,
) -> datafusion::error::DataFusionError {
    let reason = match found {
        Some(value) if value.is_null() => {
            format!(
                "[DATATYPE_MISMATCH.UNEXPECTED_NULL] count_min_sketch(): The {name} must not be null"
            )
        }
        _ => format!(
            "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] count_min_sketch(): the input `{name}` should be a foldable \"{kind}\" expression; write it out"
        ),
    };
    datafusion::error::DataFusionError::Plan(reason)
}

struct Counting {
    /// Counters of a row of the table.
    width: usize,
    /// For each row, what a number is multiplied by.
    factors: Vec<i64>,
    are_bytes: bool,
}

/// How many values there were, and the counters, row by row; no counters before the first value.
#[derive(Default, Clone)]
struct Sketch {
    total: i64,
    counters: Vec<i64>,
}

impl Counting {
    fn place_of_number(&self, value: i64, row: usize) -> usize {
        let hash = self.factors[row].wrapping_mul(value);
        let hash = hash.wrapping_add(hash >> 32) & PRIME;
        hash as usize % self.width
    }

    fn place_of_bytes(&self, (first, second): (i32, i32), row: usize) -> usize {
        let hash = first.wrapping_add((row as i32).wrapping_mul(second));
        i64::from(hash).unsigned_abs() as usize % self.width
    }

    fn add(&self, sketch: &mut Sketch, place: impl Fn(usize) -> usize) {
        sketch.total = sketch.total.wrapping_add(1);
        sketch.counters.resize(self.width * self.factors.len(), 0);
        for row in 0..self.factors.len() {
            let counter = &mut sketch.counters[row * self.width + place(row)];
            *counter = counter.wrapping_add(1);
        }
    }

    fn bytes_of(&self, sketch: &Sketch) -> Vec<u8> {
        let cells = self.width * self.factors.len();
        let mut bytes = Vec::with_capacity(20 + 8 * (self.factors.len() + cells));
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(sketch.total.to_be_bytes());
        bytes.extend((self.factors.len() as i32).to_be_bytes());
        bytes.extend((self.width as i32).to_be_bytes());
        self.factors.iter().for_each(|factor| bytes.extend(factor.to_be_bytes()));
        let counters = sketch.counters.iter().copied().chain(std::iter::repeat(0));
        counters.take(cells).for_each(|counter| bytes.extend(counter.to_be_bytes()));
        bytes
    }
}

impl Fold for Counting {
    type Kept = Sketch;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Sketch]) -> Result<()> {
        let rows = rows.iter().filter(|(row, _)| arguments[0].is_valid(*row));
        if self.are_bytes {
            let values = arguments[0].as_binary::<i32>();
            for (row, group) in rows {
                let first = murmur3_of_bytes(values.value(row), 0);
                let hashes = (first, murmur3_of_bytes(values.value(row), first));
                self.add(&mut kept[group], |row| self.place_of_bytes(hashes, row));
            }
            return Ok(());
        }
        let values = arguments[0].as_primitive::<Int64Type>();
        for (row, group) in rows {
            let value = values.value(row);
            self.add(&mut kept[group], |row| self.place_of_number(value, row));
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Sketch]) -> Result<()> {
        let others = states[0].as_binary::<i32>();
        for (row, group) in rows.iter().filter(|(row, _)| !others.value(*row).is_empty()) {
            let (words, rest) = others.value(row).as_chunks::<8>();
            let cells = self.width * self.factors.len();
            let [total, counters @ ..] = words else {
                return exec_err!("the state of count_min_sketch() is empty");
            };
            if counters.len() != cells || !rest.is_empty() {
                return exec_err!("the state of count_min_sketch() is of another sketch");
            }
            let sketch = &mut kept[group];
            sketch.total = sketch.total.wrapping_add(i64::from_be_bytes(*total));
            sketch.counters.resize(cells, 0);
            for (mine, other) in sketch.counters.iter_mut().zip(counters) {
                *mine = mine.wrapping_add(i64::from_be_bytes(*other));
            }
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Sketch>) -> Result<Vec<ArrayRef>> {
        let bytes = kept.iter().map(|sketch| -> Vec<u8> {
            if sketch.counters.is_empty() {
                return Vec::new();
            }
            let words = std::iter::once(&sketch.total).chain(&sketch.counters);
            words.flat_map(|word| word.to_be_bytes()).collect()
        });
        Ok(vec![binaries(&bytes.collect::<Vec<_>>())?])
    }

    fn evaluate(&self, kept: Vec<Sketch>) -> Result<ArrayRef> {
        let bytes = kept.iter().map(|sketch| self.bytes_of(sketch));
        binaries(&bytes.collect::<Vec<_>>())
    }

    fn bytes(&self, kept: &Sketch) -> usize {
        kept.counters.capacity() * size_of::<i64>()
    }
}
