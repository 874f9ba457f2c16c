//! Aggregates over all values of a group, in their order and counted: `collect_set`,
//! `collect_union`, `mode`, and exact percentiles.
//!
//! Percentiles are Spark's: `percentile` and `percentile_cont` interpolate (Percentile.eval),
//! `percentile_disc` takes the first value that at least that share of the values does not exceed.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use hashbrown::HashMap;

use super::doubles::{doubles_of, of_doubles};
use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::lists::{list_of, lists, of_lists};
use super::types::{contains_map, count_of, double, ordered, unexpected};
use crate::column::Column;
use crate::kernels::interval_arithmetic::is_of_one_kind;

/// What is made of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bag {
    /// `collect_set(value)`
    Set,
    /// `collect_union(array)`
    Union,
    /// `mode(value[, descending])`: of the most frequent values the smallest, or the largest.
    Mode,
    /// `median(value)`
    Median,
    /// `percentile(value, share[, frequency])`
    Percentile,
    /// `percentile_cont(value, share[, descending])`
    Continuous,
    /// `percentile_disc(value, share[, descending])`
    Discrete,
}

impl Bag {
    fn is_percentile(self) -> bool {
        !matches!(self, Bag::Set | Bag::Union | Bag::Mode)
    }
}

impl Aggregate for Bag {
    fn name(&self) -> &'static str {
        match self {
            Bag::Set => "collect_set",
            Bag::Union => "collect_union",
            Bag::Mode => "mode",
            Bag::Median => "median",
            Bag::Percentile => "percentile",
            Bag::Continuous => "percentile_cont",
            Bag::Discrete => "percentile_disc",
        }
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let counts = match self {
            Bag::Set | Bag::Union | Bag::Median => 1..=1,
            Bag::Mode => 1..=2,
            Bag::Percentile | Bag::Continuous | Bag::Discrete => 2..=3,
        };
        count_of(self.name(), arguments, counts)?;
        let mut types = arguments.to_vec();
        match self {
            Bag::Set | Bag::Union if contains_map(&types[0]) => {
                return plan_err!(
                    "[DATATYPE_MISMATCH.UNSUPPORTED_INPUT_TYPE] The input of `{}` can't be \"MAP\" type data",
                    self.name()
                );
            }
            Bag::Union if !matches!(types[0], DataType::List(_)) => {
                return Err(unexpected(self.name(), "ARRAY", &types[0]));
            }
            Bag::Set | Bag::Union => {}
            Bag::Mode => ordered(self.name(), &types[0])?,
            _ if is_of_one_kind(&types[0]) => {}
            _ => types[0] = double(self.name(), &types[0])?,
        }
        if let Some(share) = types.get_mut(1).filter(|_| self.is_percentile()) {
            *share = shares_type(share);
        }
        if let (Bag::Percentile, Some(frequency)) = (self, types.get_mut(2)) {
            *frequency = DataType::Int64;
        }
        Ok(types)
    }

    fn result(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match self {
            Bag::Set => list_of(&arguments[0]),
            Bag::Union => list_of(item_of(&arguments[0])),
            Bag::Mode => arguments[0].clone(),
            Bag::Median => arguments[0].clone(),
            _ if matches!(arguments[1], DataType::List(_)) => list_of(&arguments[0]),
            _ => arguments[0].clone(),
        })
    }

    fn states(&self, arguments: &[DataType]) -> Vec<(&'static str, DataType)> {
        let value = if *self == Bag::Union { item_of(&arguments[0]) } else { &arguments[0] };
        vec![("values", list_of(value)), ("counts", list_of(&DataType::Int64))]
    }

    fn is_nullable(&self) -> bool {
        !matches!(self, Bag::Set | Bag::Union)
    }

    fn fold(&self, call: &Call) -> Result<Box<dyn Accumulators>> {
        let flag = |at: usize| {
            matches!(call.literals.get(at), Some(Some(ScalarValue::Boolean(Some(true)))))
        };
        let shares = match self {
            Bag::Set | Bag::Union | Bag::Mode => Vec::new(),
            Bag::Median => vec![0.5],
            _ => shares(self.name(), call.literals.get(1).and_then(Option::as_ref))?,
        };
        let value = match self {
            Bag::Union => item_of(&call.types[0]),
            _ => &call.types[0],
        };
        Ok(Box::new(Counting {
            bag: *self,
            value: Column::new(value)?,
            shares,
            descending: flag(if *self == Bag::Mode { 1 } else { 2 }),
            is_list: matches!(call.result, DataType::List(_)),
        }))
    }
}

/// The type of an array's values.
fn item_of(array: &DataType) -> &DataType {
    match array {
        DataType::List(item) => item.data_type(),
        other => other,
    }
}

/// The type of one share, or of an array of them.
pub(super) fn shares_type(argument: &DataType) -> DataType {
    match argument {
        DataType::List(_) => list_of(&DataType::Float64),
        _ => DataType::Float64,
    }
}

/// The literal shares of a percentile, one or an array: from 0 to 1.
///
/// # Errors
/// They are no literal, null, or out of that range.
pub(super) fn shares(name: &str, literal: Option<&ScalarValue>) -> Result<Vec<f64>> {
    let shares = match literal {
        Some(ScalarValue::Float64(Some(share))) => vec![*share],
        Some(ScalarValue::List(list)) if list.len() == 1 && list.values().null_count() == 0 => {
            list.values().as_primitive::<Float64Type>().values().to_vec()
        }
        _ => {
            return plan_err!(
                "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] {name}(): the input `percentage` should be a foldable \"DOUBLE\" expression; give a number, or an array of numbers"
            );
        }
    };
    match shares.iter().find(|share| !(0.0..=1.0).contains(*share)) {
        Some(share) => plan_err!(
            "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] {name}(): The percentage must be between [0.0, 1.0] (current value = {share})"
        ),
        None => Ok(shares),
    }
}

struct Counting {
    bag: Bag,
    value: Column,
    shares: Vec<f64>,
    descending: bool,
    /// Whether the result is one for each of an array of shares.
    is_list: bool,
}

/// How often each value was there.
type Counts = HashMap<Box<[u8]>, i64>;

/// The values and their counts, in the order of the values.
fn in_order(counts: &Counts) -> Vec<(&[u8], i64)> {
    let mut all: Vec<(&[u8], i64)> = counts.iter().map(|(v, count)| (&**v, *count)).collect();
    all.sort_unstable_by_key(|(value, _)| *value);
    all
}

fn add(counts: &mut Counts, value: &[u8], count: i64) {
    match counts.get_mut(value) {
        Some(old) => *old = old.saturating_add(count),
        None => {
            counts.insert(value.into(), count);
        }
    }
}

impl Counting {
    fn mode<'a>(&self, counts: &'a Counts) -> Option<&'a [u8]> {
        let most = counts.values().max()?;
        let tied = counts.iter().filter(|(_, count)| *count == most).map(|(value, _)| &**value);
        if self.descending { tied.max() } else { tied.min() }
    }

    /// The percentiles of a group; `values` are its values in order, beside their counts.
    fn percentiles(&self, values: &[f64], counts: &[(&[u8], i64)]) -> Option<Vec<f64>> {
        let mut upto = Vec::with_capacity(values.len());
        let mut total = 0_i64;
        for (_, count) in counts {
            total = total.saturating_add(*count);
            upto.push(total);
        }
        if total == 0 {
            return None;
        }
        // The value with this number, from 0.
        let at = |number: i64| values[upto.partition_point(|upto| *upto <= number)];
        let one = |share: f64| {
            if self.bag == Bag::Discrete {
                let number = ((total as f64 * share).ceil() as i64 - 1).max(0);
                return at(if self.descending { total - 1 - number } else { number });
            }
            let share = if self.descending { 1.0 - share } else { share };
            let position = (total - 1) as f64 * share;
            let (lower, higher) = (position.floor(), position.ceil());
            let (low, high) = (at(lower as i64), at(higher as i64));
            if lower == higher || low == high {
                return low;
            }
            (higher - position) * low + (position - lower) * high
        };
        Some(self.shares.iter().map(|share| one(*share)).collect())
    }

    fn all_percentiles(&self, kept: &[Counts]) -> Result<ArrayRef> {
        let kept: Vec<_> = kept.iter().map(in_order).collect();
        let values = self.value.values(kept.iter().flatten().map(|(value, _)| Some(*value)))?;
        let kind = values.data_type().clone();
        let values = doubles_of(&values)?;
        let mut rest = values.as_primitive::<Float64Type>().values().as_ref();
        let mut results = Vec::with_capacity(kept.len());
        for counts in &kept {
            let (mine, others) = rest.split_at(counts.len());
            results.push(self.percentiles(mine, counts));
            rest = others;
        }
        let flat = results.iter().flat_map(|all| match all {
            Some(all) => all.iter().copied().map(Some).collect(),
            None => vec![None; self.shares.len()],
        });
        let flat = of_doubles(&flat.collect(), &kind)?;
        if !self.is_list {
            return Ok(flat);
        }
        let all = lists(results.iter().map(|_| self.shares.len()), flat)?;
        let without: BooleanArray = results.iter().map(|all| Some(all.is_none())).collect();
        Ok(arrow::compute::nullif(&all, &without)?)
    }
}

/// FLOAT and DOUBLE in which -0.0 is 0.0, as they are one value in a set.
fn without_minus_zero(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => {
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(|v| v + 0.0))
        }
        DataType::Float32 => {
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(|v| v + 0.0))
        }
        _ => Arc::clone(values),
    }
}

impl Fold for Counting {
    type Kept = Counts;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Counts]) -> Result<()> {
        // Arrow does not say of a column of NULL that its values are null.
        if arguments[0].data_type().is_null() {
            return Ok(());
        }
        if self.bag == Bag::Union {
            let (items, range) = of_lists(&arguments[0]);
            if items.data_type().is_null() {
                return Ok(());
            }
            let bytes = self.value.bytes(&without_minus_zero(items))?;
            for (row, group) in rows.iter() {
                for item in range(row).filter(|item| items.is_valid(*item)) {
                    add(&mut kept[group], bytes.row(item), 1);
                }
            }
            return Ok(());
        }
        let values = match self.bag {
            Bag::Set => self.value.bytes(&without_minus_zero(&arguments[0]))?,
            _ => self.value.bytes(&arguments[0])?,
        };
        let frequencies = match (self.bag, arguments.get(2)) {
            (Bag::Percentile, Some(column)) => Some(column.as_primitive::<Int64Type>()),
            _ => None,
        };
        for (row, group) in rows.iter().filter(|(row, _)| arguments[0].is_valid(*row)) {
            let count = match frequencies {
                None => 1,
                Some(counts) if counts.is_null(row) => 0,
                Some(counts) => counts.value(row),
            };
            if count < 0 {
                return exec_err!("percentile(): Negative values found in frequency: {count}");
            }
            if count > 0 {
                add(&mut kept[group], values.row(row), count);
            }
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Counts]) -> Result<()> {
        let (values, values_of) = of_lists(&states[0]);
        let (counts, counts_of) = of_lists(&states[1]);
        let (values, counts) = (self.value.bytes(values)?, counts.as_primitive::<Int64Type>());
        for (row, group) in rows.iter() {
            for (value, count) in values_of(row).zip(counts_of(row)) {
                add(&mut kept[group], values.row(value), counts.value(count));
            }
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Counts>) -> Result<Vec<ArrayRef>> {
        let kept: Vec<_> = kept.iter().map(in_order).collect();
        let lengths = || kept.iter().map(Vec::len);
        let values = self.value.values(kept.iter().flatten().map(|(value, _)| Some(*value)))?;
        let counts = kept.iter().flatten().map(|(_, count)| *count);
        let counts = Int64Array::from_iter_values(counts);
        Ok(vec![lists(lengths(), values)?, lists(lengths(), Arc::new(counts))?])
    }

    fn evaluate(&self, kept: Vec<Counts>) -> Result<ArrayRef> {
        match self.bag {
            Bag::Set | Bag::Union => Ok(self.states(kept)?.swap_remove(0)),
            Bag::Mode => self.value.values(kept.iter().map(|counts| self.mode(counts))),
            _ => self.all_percentiles(&kept),
        }
    }

    fn bytes(&self, kept: &Counts) -> usize {
        kept.keys().map(|value| value.len() + size_of::<(Box<[u8]>, i64)>()).sum()
    }
}
