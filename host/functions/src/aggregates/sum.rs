//! `sum`, `avg` and their `try_` forms.
//!
//! Spark's Sum and Average: whole numbers add up to BIGINT, DECIMAL(p, s) to DECIMAL(p + 10, s),
//! all else to DOUBLE. What does not fit is an error (ANSI), or null for the `try_` form. An
//! average is a DOUBLE; of DECIMAL(p, s) it is DECIMAL(p + 4, s + 4), rounded half up. Sum and average
//! of intervals are intervals of the same kind; the average is rounded half up, too.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal128Type, DecimalType, DurationMicrosecondType, Float64Type, Int64Type,
    IntervalYearMonthType, i256,
};
use datafusion::common::{Result, exec_datafusion_err, internal_err};
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::AggregateUDF;

use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::types::{count_of, numeric};
use crate::kernels::interval_arithmetic::is_of_one_kind;

/// The most digits of a DECIMAL.
const PRECISION_MAX: u8 = 38;
/// The most of them behind the point.
const SCALE_MAX: i8 = 38;

/// `sum` or `avg`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sum {
    /// Whether the sum is divided by the number of rows.
    pub(crate) mean: bool,
    /// Whether an overflow gives null.
    pub(crate) tolerant: bool,
}

impl Sum {
    /// Columns of the state: a plain sum is null without rows, and does not outlive an overflow.
    fn parts(&self) -> usize {
        match (self.mean, self.tolerant) {
            (false, false) => 1,
            (true, false) => 2,
            (_, true) => 3,
        }
    }

    fn summing<T: Number>(
        &self,
        sum: DataType,
        result: DataType,
        overflow: Option<String>,
    ) -> Box<dyn Accumulators> {
        let (mean, parts) = (self.mean, self.parts());
        Box::new(Summing::<T> { mean, sum, result, overflow, parts, number: PhantomData })
    }
}

impl Aggregate for Sum {
    fn name(&self) -> &'static str {
        match (self.mean, self.tolerant) {
            (false, false) => "sum",
            (false, true) => "try_sum",
            (true, false) => "avg",
            (true, true) => "try_avg",
        }
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 1..=1)?;
        if is_of_one_kind(&arguments[0]) {
            return Ok(arguments.to_vec());
        }
        Ok(vec![match numeric(self.name(), &arguments[0])? {
            DataType::Decimal128(precision, scale) => DataType::Decimal128(precision, scale),
            whole if whole.is_integer() && !self.mean => DataType::Int64,
            _ => DataType::Float64,
        }])
    }

    fn result(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match &arguments[0] {
            DataType::Decimal128(precision, scale) if self.mean => {
                DataType::Decimal128(PRECISION_MAX.min(precision + 4), SCALE_MAX.min(scale + 4))
            }
            other => sum_type(other),
        })
    }

    fn states(&self, arguments: &[DataType]) -> Vec<(&'static str, DataType)> {
        let all = [
            ("sum", sum_type(&arguments[0])),
            ("count", DataType::Int64),
            ("overflow", DataType::Boolean),
        ];
        all.into_iter().take(self.parts()).collect()
    }

    fn sliding(&self) -> Option<Arc<AggregateUDF>> {
        Some(if self.mean { avg_udaf() } else { sum_udaf() })
    }

    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>> {
        let sum = sum_type(&call.types[0]);
        let overflow = match (&sum, self.mean) {
            (DataType::Decimal128(..), mean) => {
                let instead = if mean { "try_avg" } else { "try_sum" };
                format!("[ARITHMETIC_OVERFLOW] Overflow in sum of decimals. Use '{instead}' to tolerate overflow and return NULL instead")
            }
            (kind, mean) if is_of_one_kind(kind) => {
                let instead = if mean { "try_avg" } else { "try_sum" };
                format!("[INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION] Integer overflow while operating with intervals. Use `{instead}` to tolerate overflow and return NULL instead")
            }
            _ => "[ARITHMETIC_OVERFLOW] overflow. Use 'try_sum' to tolerate overflow and return NULL instead".to_owned(),
        };
        let overflow = (!self.tolerant).then_some(overflow);
        let result = call.result.clone();
        Ok(match sum {
            DataType::Int64 => self.summing::<Int64Type>(sum, result, overflow),
            DataType::Float64 => self.summing::<Float64Type>(sum, result, overflow),
            DataType::Decimal128(..) => self.summing::<Decimal128Type>(sum, result, overflow),
            DataType::Interval(_) => self.summing::<IntervalYearMonthType>(sum, result, overflow),
            DataType::Duration(_) => self.summing::<DurationMicrosecondType>(sum, result, overflow),
            other => return internal_err!("a sum of {other}"),
        })
    }
}

fn sum_type(argument: &DataType) -> DataType {
    match argument {
        DataType::Decimal128(precision, scale) => {
            DataType::Decimal128(PRECISION_MAX.min(precision + 10), *scale)
        }
        other => other.clone(),
    }
}

/// Numbers that are summed.
trait Number: ArrowPrimitiveType + Send + Sync {
    /// The sum; none if it does not fit into a type.
    fn add(left: Self::Native, right: Self::Native, to: &DataType) -> Option<Self::Native>;

    /// `sum / count`, of one type in another; none if it does not fit.
    fn mean(sum: Self::Native, count: i64, from: &DataType, to: &DataType) -> Option<Self::Native>;
}

impl Number for Int64Type {
    fn add(left: i64, right: i64, _: &DataType) -> Option<i64> {
        left.checked_add(right)
    }

    fn mean(sum: i64, count: i64, _: &DataType, _: &DataType) -> Option<i64> {
        sum.checked_div(count)
    }
}

impl Number for IntervalYearMonthType {
    fn add(left: i32, right: i32, _: &DataType) -> Option<i32> {
        left.checked_add(right)
    }

    fn mean(sum: i32, count: i64, _: &DataType, _: &DataType) -> Option<i32> {
        i32::try_from(whole_mean(sum.into(), count)).ok()
    }
}

impl Number for DurationMicrosecondType {
    fn add(left: i64, right: i64, _: &DataType) -> Option<i64> {
        left.checked_add(right)
    }

    fn mean(sum: i64, count: i64, _: &DataType, _: &DataType) -> Option<i64> {
        Some(whole_mean(sum, count))
    }
}

/// `sum / count`, rounded half up: away from zero. The count is not 0.
fn whole_mean(sum: i64, count: i64) -> i64 {
    let (mean, rest) = (sum / count.max(1), sum % count.max(1));
    match rest.unsigned_abs() >= count.unsigned_abs() - rest.unsigned_abs() {
        true => mean + sum.signum(),
        false => mean,
    }
}

impl Number for Float64Type {
    fn add(left: f64, right: f64, _: &DataType) -> Option<f64> {
        Some(left + right)
    }

    fn mean(sum: f64, count: i64, _: &DataType, _: &DataType) -> Option<f64> {
        Some(sum / count as f64)
    }
}

impl Number for Decimal128Type {
    fn add(left: i128, right: i128, to: &DataType) -> Option<i128> {
        let DataType::Decimal128(precision, _) = to else {
            return None;
        };
        left.checked_add(right).filter(|sum| Self::is_valid_decimal_precision(*sum, *precision))
    }

    fn mean(sum: i128, count: i64, from: &DataType, to: &DataType) -> Option<i128> {
        decimal_mean(sum, count, from, to)
    }
}

/// `sum / count` in the result's type, rounded half up; none if it has too many digits.
fn decimal_mean(sum: i128, count: i64, from: &DataType, to: &DataType) -> Option<i128> {
    let (DataType::Decimal128(_, from_scale), DataType::Decimal128(precision, scale)) = (from, to)
    else {
        return None;
    };
    let shift = u32::try_from(scale - from_scale).ok()?;
    let ten = i256::from_i128(10);
    let dividend = i256::from_i128(sum).checked_mul(ten.checked_pow(shift)?)?;
    let count = i256::from_i128(i128::from(count));
    let (quotient, rest) = (dividend.checked_div(count)?, dividend.checked_rem(count)?);
    let two = i256::from_i128(2);
    let up = rest.wrapping_abs().checked_mul(two)? >= count;
    let step = i256::from_i128(if !up {
        0
    } else if dividend.is_negative() {
        -1
    } else {
        1
    });
    let mean = quotient.checked_add(step)?.to_i128()?;
    Decimal128Type::is_valid_decimal_precision(mean, *precision).then_some(mean)
}

/// A sum as a group keeps it.
#[derive(Default, Clone)]
struct Kept<N> {
    sum: N,
    /// Rows that were added.
    count: i64,
    overflow: bool,
}

struct Summing<T> {
    /// Whether the sum is divided by the count.
    mean: bool,
    sum: DataType,
    result: DataType,
    /// The error that an overflow is; none if it gives null.
    overflow: Option<String>,
    /// Columns of the state.
    parts: usize,
    number: PhantomData<T>,
}

impl<T: Number> Summing<T> {
    fn add(&self, kept: &mut Kept<T::Native>, value: T::Native, count: i64) -> Result<()> {
        kept.count += count;
        if kept.overflow {
            return Ok(());
        }
        match T::add(kept.sum, value, &self.sum) {
            Some(sum) => {
                kept.sum = sum;
                Ok(())
            }
            None => self.overflow(kept),
        }
    }

    fn overflow(&self, kept: &mut Kept<T::Native>) -> Result<()> {
        kept.overflow = true;
        match &self.overflow {
            Some(error) => Err(DataFusionError::Execution(error.clone())),
            None => Ok(()),
        }
    }

    fn result_of(&self, kept: &Kept<T::Native>) -> Result<Option<T::Native>> {
        if kept.count == 0 || kept.overflow {
            return Ok(None);
        }
        if !self.mean {
            return Ok(Some(kept.sum));
        }
        let result = T::mean(kept.sum, kept.count, &self.sum, &self.result);
        match (&self.overflow, result) {
            (Some(error), None) => Err(exec_datafusion_err!("{error}")),
            (_, result) => Ok(result),
        }
    }
}

impl<T: Number> Fold for Summing<T> {
    type Kept = Kept<T::Native>;

    fn update(
        &self,
        arguments: &[ArrayRef],
        rows: &Rows<'_>,
        kept: &mut [Self::Kept],
    ) -> Result<()> {
        let values = arguments[0].as_primitive::<T>();
        if values.null_count() == 0 {
            let values = values.values();
            return rows
                .iter()
                .try_for_each(|(row, group)| self.add(&mut kept[group], values[row], 1));
        }
        rows.iter()
            .filter(|(row, _)| values.is_valid(*row))
            .try_for_each(|(row, group)| self.add(&mut kept[group], values.value(row), 1))
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Self::Kept]) -> Result<()> {
        let sums = states[0].as_primitive::<T>();
        let counts = states.get(1).map(|counts| counts.as_primitive::<Int64Type>());
        let overflows = states.get(2).map(|overflows| overflows.as_boolean());
        for (row, group) in rows.iter() {
            let kept = &mut kept[group];
            let count = match counts {
                Some(counts) => counts.value(row),
                None => i64::from(sums.is_valid(row)),
            };
            if overflows.is_some_and(|overflows| overflows.value(row)) {
                kept.count += count;
                self.overflow(kept)?;
            } else if count > 0 {
                self.add(kept, sums.value(row), count)?;
            }
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Self::Kept>) -> Result<Vec<ArrayRef>> {
        let sums: PrimitiveArray<T> = kept
            .iter()
            .map(|kept| (kept.count > 0 && !kept.overflow).then_some(kept.sum))
            .collect();
        let counts = PrimitiveArray::<Int64Type>::from_iter_values(kept.iter().map(|k| k.count));
        let overflows: BooleanArray = kept.iter().map(|kept| Some(kept.overflow)).collect();
        let mut states: Vec<ArrayRef> = vec![
            Arc::new(sums.with_data_type(self.sum.clone())),
            Arc::new(counts),
            Arc::new(overflows),
        ];
        states.truncate(self.parts);
        Ok(states)
    }

    fn evaluate(&self, kept: Vec<Self::Kept>) -> Result<ArrayRef> {
        let results = kept.iter().map(|kept| self.result_of(kept)).collect::<Result<Vec<_>>>()?;
        let results: PrimitiveArray<T> = results.into_iter().collect();
        Ok(Arc::new(results.with_data_type(self.result.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_of_intervals_is_rounded_half_up() {
        assert_eq!(whole_mean(3, 2), 2);
        assert_eq!(whole_mean(-3, 2), -2);
        assert_eq!(whole_mean(4, 3), 1);
        assert_eq!(whole_mean(-48, 3), -16);
        assert_eq!(whole_mean(0, 5), 0);
    }

    #[test]
    fn an_average_of_decimals_is_rounded_half_up() {
        let (from, to) = (DataType::Decimal128(20, 2), DataType::Decimal128(14, 6));
        let mean = |sum, count| decimal_mean(sum, count, &from, &to);
        assert_eq!(mean(2800, 3), Some(9_333_333));
        assert_eq!(mean(200, 3), Some(666_667));
        assert_eq!(mean(-200, 3), Some(-666_667));
        assert_eq!(mean(10_i128.pow(19), 1), None);
    }
}
