//! `stddev*`, `var*`, `skewness` and `kurtosis`.
//!
//! The central moments are updated and merged as Spark does (CentralMomentAgg).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result;

use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::types::{count_of, double};

/// Which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Moment {
    StddevSamp,
    StddevPop,
    VarSamp,
    VarPop,
    Skewness,
    Kurtosis,
}

impl Moment {
    /// Columns of the state: the higher moments are kept where they are needed.
    fn parts(self) -> usize {
        if matches!(self, Moment::Skewness | Moment::Kurtosis) { 5 } else { 3 }
    }
}

impl Aggregate for Moment {
    fn name(&self) -> &'static str {
        match self {
            Moment::StddevSamp => "stddev",
            Moment::StddevPop => "stddev_pop",
            Moment::VarSamp => "variance",
            Moment::VarPop => "var_pop",
            Moment::Skewness => "skewness",
            Moment::Kurtosis => "kurtosis",
        }
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 1..=1)?;
        Ok(vec![double(self.name(), &arguments[0])?])
    }

    fn result(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn states(&self, _: &[DataType]) -> Vec<(&'static str, DataType)> {
        let names = ["n", "avg", "m2", "m3", "m4"];
        names.into_iter().take(self.parts()).map(|name| (name, DataType::Float64)).collect()
    }

    fn fold(&self, _: &Call) -> Result<Box<dyn Accumulators>> {
        Ok(Box::new(*self))
    }
}

/// Number of values, their mean, and sums of powers of the distances from it.
#[derive(Default, Clone, Copy)]
pub(super) struct Moments {
    n: f64,
    avg: f64,
    m2: f64,
    m3: f64,
    m4: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.n += 1.0;
        let delta = value - self.avg;
        let delta_n = delta / self.n;
        self.avg += delta_n;
        self.m2 += delta * (delta - delta_n);
        let (delta2, delta_n2) = (delta * delta, delta_n * delta_n);
        self.m3 = self.m3 - 3.0 * delta_n * self.m2 + delta * (delta2 - delta_n2);
        self.m4 = self.m4 - 4.0 * delta_n * self.m3 - 6.0 * delta_n2 * self.m2
            + delta * (delta * delta2 - delta_n * delta_n2);
    }

    fn merge(&mut self, other: &Moments) {
        let (n1, n2) = (self.n, other.n);
        let n = n1 + n2;
        if n2 == 0.0 {
            return;
        }
        let delta = other.avg - self.avg;
        let delta_n = delta / n;
        self.m4 = self.m4
            + other.m4
            + delta_n * delta_n * delta_n * delta * n1 * n2 * (n1 * n1 - n1 * n2 + n2 * n2)
            + delta_n * delta_n * 6.0 * (n1 * n1 * other.m2 + n2 * n2 * self.m2)
            + 4.0 * delta_n * (n1 * other.m3 - n2 * self.m3);
        self.m3 = self.m3
            + other.m3
            + delta_n * delta_n * delta * n1 * n2 * (n1 - n2)
            + 3.0 * delta_n * (n1 * other.m2 - n2 * self.m2);
        self.m2 = self.m2 + other.m2 + delta * delta_n * n1 * n2;
        self.avg += delta_n * n2;
        self.n = n;
    }
}

impl Fold for Moment {
    type Kept = Moments;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Moments]) -> Result<()> {
        let values = arguments[0].as_primitive::<Float64Type>();
        for (row, group) in rows.iter().filter(|(row, _)| values.is_valid(*row)) {
            kept[group].add(values.value(row));
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Moments]) -> Result<()> {
        let parts: Vec<_> =
            states.iter().map(|state| state.as_primitive::<Float64Type>()).collect();
        for (row, group) in rows.iter() {
            let part = |part: usize| parts.get(part).map_or(0.0, |part| part.value(row));
            let [n, avg, m2, m3, m4] = [0, 1, 2, 3, 4].map(part);
            kept[group].merge(&Moments { n, avg, m2, m3, m4 });
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Moments>) -> Result<Vec<ArrayRef>> {
        let part = |part: fn(&Moments) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(kept.iter().map(part)))
        };
        let mut states =
            vec![part(|m| m.n), part(|m| m.avg), part(|m| m.m2), part(|m| m.m3), part(|m| m.m4)];
        states.truncate(self.parts());
        Ok(states)
    }

    fn evaluate(&self, kept: Vec<Moments>) -> Result<ArrayRef> {
        let result = |m: &Moments| match self {
            _ if m.n == 0.0 => None,
            Moment::StddevPop => Some((m.m2 / m.n).sqrt()),
            Moment::VarPop => Some(m.m2 / m.n),
            // A sample of one has no deviation.
            Moment::StddevSamp => (m.n > 1.0).then(|| (m.m2 / (m.n - 1.0)).sqrt()),
            Moment::VarSamp => (m.n > 1.0).then(|| m.m2 / (m.n - 1.0)),
            // Without any spread there is no shape.
            _ if m.m2 == 0.0 => None,
            Moment::Skewness => Some(m.n.sqrt() * m.m3 / (m.m2 * m.m2 * m.m2).sqrt()),
            Moment::Kurtosis => Some(m.n * m.m4 / (m.m2 * m.m2) - 3.0),
        };
        Ok(Arc::new(kept.iter().map(result).collect::<Float64Array>()))
    }
}
