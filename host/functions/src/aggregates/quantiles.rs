//! `approx_percentile(value, share[, accuracy])`, also called `percentile_approx`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, plan_err};

use super::bag::{shares, shares_type};
use super::doubles::{doubles_of, of_doubles};
use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::lists::{list_of, lists, of_lists};
use super::summary::{Sample, Summary};
use super::types::{count_of, numeric};
use crate::kernels::interval_arithmetic::is_of_one_kind;

/// Spark's default: a rank is off by 1 in 10,000 at most.
const ACCURACY: i64 = 10_000;

/// The aggregate. Numbers, dates, timestamps and intervals are compared as DOUBLE, and come back as what they
/// were.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ApproxPercentile;

impl Aggregate for ApproxPercentile {
    fn name(&self) -> &'static str {
        "approx_percentile"
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 2..=3)?;
        let value = match &arguments[0] {
            time @ (DataType::Timestamp(..) | DataType::Date32) => time.clone(),
            interval if is_of_one_kind(interval) => interval.clone(),
            other => numeric(self.name(), other)?,
        };
        let mut types = vec![value, shares_type(&arguments[1])];
        types.extend(arguments.get(2).map(|_| DataType::Int64));
        Ok(types)
    }

    fn result(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match &arguments[1] {
            DataType::List(_) => list_of(&arguments[0]),
            _ => arguments[0].clone(),
        })
    }

    fn states(&self, _: &[DataType]) -> Vec<(&'static str, DataType)> {
        vec![
            ("values", list_of(&DataType::Float64)),
            ("g", list_of(&DataType::Int64)),
            ("delta", list_of(&DataType::Int64)),
            ("count", DataType::Int64),
        ]
    }

    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>> {
        let accuracy = match call.literals.get(2) {
            None => ACCURACY,
            Some(Some(ScalarValue::Int64(Some(accuracy)))) => *accuracy,
            Some(_) => {
                return plan_err!(
                    "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] approx_percentile(): the input `accuracy` should be a foldable \"INTEGRAL\" expression"
                );
            }
        };
        if !(1..=i64::from(i32::MAX)).contains(&accuracy) {
            return plan_err!(
                "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] approx_percentile(): The accuracy must be between (0, 2147483647] (current value = {accuracy})"
            );
        }
        Ok(Box::new(Sampling {
            value: call.types[0].clone(),
            shares: shares(self.name(), call.literals.get(1).and_then(Option::as_ref))?,
            is_list: matches!(call.result, DataType::List(_)),
            error: 1.0 / accuracy as f64,
        }))
    }
}

struct Sampling {
    value: DataType,
    shares: Vec<f64>,
    is_list: bool,
    error: f64,
}

impl Fold for Sampling {
    type Kept = Summary;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Summary]) -> Result<()> {
        let values = doubles_of(&arguments[0])?;
        let values = values.as_primitive::<Float64Type>();
        for (row, group) in rows.iter().filter(|(row, _)| values.is_valid(*row)) {
            kept[group].insert(values.value(row), self.error);
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Summary]) -> Result<()> {
        let (values, range) = of_lists(&states[0]);
        let ((g, _), (delta, _)) = (of_lists(&states[1]), of_lists(&states[2]));
        let values = values.as_primitive::<Float64Type>();
        let (g, delta) = (g.as_primitive::<Int64Type>(), delta.as_primitive::<Int64Type>());
        let counts = states[3].as_primitive::<Int64Type>();
        for (row, group) in rows.iter() {
            let sample =
                |i| Sample { value: values.value(i), g: g.value(i), delta: delta.value(i) };
            let samples: Vec<Sample> = range(row).map(sample).collect();
            kept[group].merge(Summary::of(samples, counts.value(row)), self.error);
        }
        Ok(())
    }

    fn states(&self, mut kept: Vec<Summary>) -> Result<Vec<ArrayRef>> {
        let lengths: Vec<usize> = kept.iter_mut().map(|k| k.samples(self.error).len()).collect();
        let samples: Vec<Sample> =
            kept.iter_mut().flat_map(|kept| kept.samples(self.error).to_vec()).collect();
        let list = |values: ArrayRef| lists(lengths.iter().copied(), values);
        let values = Float64Array::from_iter_values(samples.iter().map(|sample| sample.value));
        let g = Int64Array::from_iter_values(samples.iter().map(|sample| sample.g));
        let delta = Int64Array::from_iter_values(samples.iter().map(|sample| sample.delta));
        let counts = Int64Array::from_iter_values(kept.iter().map(Summary::count));
        Ok(vec![
            list(Arc::new(values))?,
            list(Arc::new(g))?,
            list(Arc::new(delta))?,
            Arc::new(counts),
        ])
    }

    fn evaluate(&self, mut kept: Vec<Summary>) -> Result<ArrayRef> {
        let mut results = Vec::new();
        for kept in &mut kept {
            results.extend(self.shares.iter().map(|share| kept.quantile(*share, self.error)));
        }
        let results = of_doubles(&results.into_iter().collect(), &self.value)?;
        if !self.is_list {
            return Ok(results);
        }
        let nulls = arrow::buffer::NullBuffer::from(
            kept.iter().map(|kept| kept.count() > 0).collect::<Vec<_>>(),
        );
        let lists = lists(kept.iter().map(|_| self.shares.len()), results)?;
        let lists = lists.as_list::<i32>().clone().into_parts();
        Ok(Arc::new(arrow::array::ListArray::try_new(lists.0, lists.1, lists.2, Some(nulls))?))
    }

    fn bytes(&self, kept: &Summary) -> usize {
        kept.bytes()
    }
}
