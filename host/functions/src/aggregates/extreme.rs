//! `min` and `max` of FLOAT and DOUBLE, for which NaN is the largest number (Spark's ordering). What
//! DataFusion has passes over NaN, and does not know negative infinity.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowNativeTypeOp, ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use datafusion::common::{Result, internal_err};

use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::types::{count_of, unexpected};

/// The aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Extreme {
    pub(super) max: bool,
}

impl Aggregate for Extreme {
    fn name(&self) -> &'static str {
        if self.max { "max_of_reals" } else { "min_of_reals" }
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 1..=1)?;
        match &arguments[0] {
            real if real.is_floating() => Ok(arguments.to_vec()),
            other => Err(unexpected(self.name(), "DOUBLE", other)),
        }
    }

    fn result(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn states(&self, arguments: &[DataType]) -> Vec<(&'static str, DataType)> {
        vec![("value", arguments[0].clone())]
    }

    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>> {
        let max = self.max;
        Ok(match &call.types[0] {
            DataType::Float64 => Box::new(Comparing::<Float64Type> { max, number: PhantomData }),
            DataType::Float32 => Box::new(Comparing::<Float32Type> { max, number: PhantomData }),
            other => return internal_err!("an extreme of {other}"),
        })
    }
}

struct Comparing<T> {
    max: bool,
    number: PhantomData<fn() -> T>,
}

impl<T: ArrowPrimitiveType> Fold for Comparing<T> {
    /// The best so far.
    type Kept = Option<T::Native>;

    fn update(
        &self,
        arguments: &[ArrayRef],
        rows: &Rows<'_>,
        kept: &mut [Self::Kept],
    ) -> Result<()> {
        let values = arguments[0].as_primitive::<T>();
        for (row, group) in rows.iter().filter(|(row, _)| values.is_valid(*row)) {
            let value = values.value(row);
            // Of the two zeros, which are equal, the first one stays.
            let is_better = |best: T::Native| match value.is_zero() && best.is_zero() {
                true => false,
                false if self.max => value.is_gt(best),
                false => value.is_lt(best),
            };
            if kept[group].is_none_or(is_better) {
                kept[group] = Some(value);
            }
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Self::Kept]) -> Result<()> {
        self.update(states, rows, kept)
    }

    fn states(&self, kept: Vec<Self::Kept>) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(kept)?])
    }

    fn evaluate(&self, kept: Vec<Self::Kept>) -> Result<ArrayRef> {
        Ok(Arc::new(kept.into_iter().collect::<PrimitiveArray<T>>()))
    }
}
