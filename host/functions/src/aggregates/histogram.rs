//! `histogram_numeric(value, bins)`: a histogram whose bins follow the values, by Ben-Haim and
//! Tom-Tov, "A streaming parallel decision tree algorithm" (2010), as Spark's NumericHistogram has it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Float64Type};
use datafusion::common::{Result, ScalarValue, plan_err};

use super::doubles::{doubles_of, of_doubles};
use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::java_random::JavaRandom;
use super::lists::{list_of, lists, of_lists};
use super::types::{count_of, numeric, unexpected};

/// With more bins, a row that is added would take milliseconds.
const BINS_MAX: i32 = 100_000;
/// Spark's seed for which of two pairs of bins that are equally near becomes one bin.
const SEED: i64 = 31_183;

/// The aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Histogram;

impl Aggregate for Histogram {
    fn name(&self) -> &'static str {
        "histogram_numeric"
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 2..=2)?;
        let value = match &arguments[0] {
            DataType::Date32 | DataType::Timestamp(..) => arguments[0].clone(),
            DataType::Interval(_) | DataType::Duration(_) => arguments[0].clone(),
            other => numeric(self.name(), other).map_err(|_| {
                unexpected(
                    self.name(),
                    "NUMERIC\" or \"DATE\" or \"TIMESTAMP\" or \"INTERVAL YEAR TO MONTH\" or \"INTERVAL DAY TO SECOND",
                    other,
                )
            })?,
        };
        Ok(vec![value, DataType::Int32])
    }

    fn result(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(list_of(&DataType::Struct(bin_fields(&arguments[0]))))
    }

    fn states(&self, _: &[DataType]) -> Vec<(&'static str, DataType)> {
        vec![("x", list_of(&DataType::Float64)), ("y", list_of(&DataType::Float64))]
    }

    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>> {
        let bins = match call.literals.get(1) {
            Some(Some(ScalarValue::Int32(Some(bins)))) => *bins,
            Some(Some(ScalarValue::Int32(None))) => {
                return plan_err!(
                    "[DATATYPE_MISMATCH.UNEXPECTED_NULL] histogram_numeric(): The nb must not be null"
                );
            }
            _ => {
                return plan_err!(
                    "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] histogram_numeric(): the input `nb` should be a foldable \"INT\" expression; write it out"
                );
            }
        };
        if bins < 2 {
            return plan_err!(
                "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] histogram_numeric(): The nb must be between [2, 2147483647] (current value = {bins})"
            );
        }
        if bins > BINS_MAX {
            return plan_err!(
                "[UNSUPPORTED_FEATURE] histogram_numeric() of {bins} bins is not supported: it may have {BINS_MAX}; ask for fewer"
            );
        }
        Ok(Box::new(Binning { value: call.types[0].clone(), bins: bins as usize }))
    }
}

fn bin_fields(value: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("x", value.clone(), true),
        Field::new("y", DataType::Float64, true),
    ])
}

struct Binning {
    value: DataType,
    bins: usize,
}

/// A bin: where it is, and how many values are in it.
#[derive(Debug, Clone, Copy)]
struct Bin {
    x: f64,
    y: f64,
}

/// The bins, by their places.
#[derive(Debug, Clone)]
struct Bins {
    bins: Vec<Bin>,
    random: JavaRandom,
}

impl Default for Bins {
    fn default() -> Bins {
        Bins { bins: Vec::new(), random: JavaRandom::new(SEED) }
    }
}

impl Bins {
    fn add(&mut self, value: f64, most: usize) {
        // A comparison with NaN ends the search where it is.
        let (mut place, mut from, mut to) = (0, 0, self.bins.len());
        while from < to {
            place = from.midpoint(to);
            let x = self.bins[place].x;
            if x > value {
                to = place;
            } else if x < value {
                place += 1;
                from = place;
            } else {
                break;
            }
        }
        match self.bins.get_mut(place) {
            Some(bin) if bin.x == value => bin.y += 1.0,
            _ => {
                self.bins.insert(place, Bin { x: value, y: 1.0 });
                self.trim(most);
            }
        }
    }

    fn merge(&mut self, others: impl Iterator<Item = Bin>, most: usize) {
        if self.bins.is_empty() {
            self.bins.extend(others);
            return;
        }
        self.bins.extend(others);
        // Java's order of doubles, which is stable.
        self.bins.sort_by(|one, other| one.x.total_cmp(&other.x));
        self.trim(most);
    }

    /// Makes one of the two bins that are nearest, until there are no more than that.
    fn trim(&mut self, most: usize) {
        while self.bins.len() > most {
            let mut smallest = self.bins[1].x - self.bins[0].x;
            let (mut place, mut ties) = (0, 1);
            for (at, pair) in self.bins.windows(2).enumerate().skip(1) {
                let distance = pair[1].x - pair[0].x;
                if distance < smallest {
                    (smallest, place, ties) = (distance, at, 1);
                } else if distance == smallest {
                    ties += 1;
                    if self.random.real() <= 1.0 / f64::from(ties) {
                        place = at;
                    }
                }
            }
            let right = self.bins.remove(place + 1);
            let left = &mut self.bins[place];
            let both = left.y + right.y;
            left.x *= left.y / both;
            left.x += right.x / both * right.y;
            left.y = both;
        }
    }
}

impl Fold for Binning {
    type Kept = Bins;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Bins]) -> Result<()> {
        let values = doubles_of(&arguments[0])?;
        let values = values.as_primitive::<Float64Type>();
        for (row, group) in rows.iter().filter(|(row, _)| values.is_valid(*row)) {
            kept[group].add(values.value(row), self.bins);
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Bins]) -> Result<()> {
        let (places, range) = of_lists(&states[0]);
        let (heights, _) = of_lists(&states[1]);
        let places = places.as_primitive::<Float64Type>();
        let heights = heights.as_primitive::<Float64Type>();
        for (row, group) in rows.iter() {
            let bins = range(row).map(|at| Bin { x: places.value(at), y: heights.value(at) });
            kept[group].merge(bins, self.bins);
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Bins>) -> Result<Vec<ArrayRef>> {
        let lengths = || kept.iter().map(|kept| kept.bins.len());
        let bins = || kept.iter().flat_map(|kept| &kept.bins);
        let places = Float64Array::from_iter_values(bins().map(|bin| bin.x));
        let heights = Float64Array::from_iter_values(bins().map(|bin| bin.y));
        Ok(vec![lists(lengths(), Arc::new(places))?, lists(lengths(), Arc::new(heights))?])
    }

    fn evaluate(&self, kept: Vec<Bins>) -> Result<ArrayRef> {
        let bins = || kept.iter().flat_map(|kept| &kept.bins);
        let places = Float64Array::from_iter_values(bins().map(|bin| bin.x));
        let places = of_doubles(&places, &self.value)?;
        let heights = Float64Array::from_iter_values(bins().map(|bin| bin.y));
        let structs =
            StructArray::try_new(bin_fields(&self.value), vec![places, Arc::new(heights)], None)?;
        let all = lists(kept.iter().map(|kept| kept.bins.len()), Arc::new(structs))?;
        let without: BooleanArray = kept.iter().map(|kept| Some(kept.bins.is_empty())).collect();
        Ok(arrow::compute::nullif(&all, &without)?)
    }

    fn bytes(&self, kept: &Bins) -> usize {
        kept.bins.capacity() * size_of::<Bin>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(values: impl Iterator<Item = f64>, most: usize) -> Vec<(i64, f64)> {
        let mut bins = Bins::default();
        values.for_each(|value| bins.add(value, most));
        bins.bins.iter().map(|bin| (bin.x as i64, bin.y)).collect()
    }

    #[test]
    fn bins_become_one_where_they_do_in_spark() {
        let all = bins((0..100).map(f64::from), 4);
        assert_eq!(all, [(13, 28.0), (35, 16.0), (56, 27.0), (85, 29.0)]);
        let few = bins((0..100).map(|i| f64::from(i % 7)), 4);
        assert_eq!(few, [(0, 30.0), (2, 14.0), (3, 28.0), (5, 28.0)]);
    }

    #[test]
    fn nan_is_the_last_of_all() {
        let values = [f64::NAN, 1.0, f64::INFINITY, -0.0, 0.0];
        let mut bins = Bins::default();
        values.iter().for_each(|value| bins.add(*value, 5));
        let places: Vec<String> = bins.bins.iter().map(|bin| bin.x.to_string()).collect();
        assert_eq!(places, ["-0", "1", "inf", "NaN"]);
    }
}
