//! Aggregates over pairs of numbers: `corr`, `covar_*` and `regr_*`. A pair with a null does not
//! count.
//!
//! As Spark's Covariance, PearsonCorrelation and linearRegression: where it divides by zero, the
//! result is null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result;

use super::fold::{Accumulators, Aggregate, Call, Fold, Rows};
use super::types::{count_of, double};

/// What is made of the pairs. `regr_` functions take the dependent variable first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pairs {
    Corr,
    CovarPop,
    CovarSamp,
    Slope,
    Intercept,
    R2,
    Sxx,
    Sxy,
    Syy,
}

impl Pairs {}

impl Aggregate for Pairs {
    fn name(&self) -> &'static str {
        match self {
            Pairs::Corr => "corr",
            Pairs::CovarPop => "covar_pop",
            Pairs::CovarSamp => "covar_samp",
            Pairs::Slope => "regr_slope",
            Pairs::Intercept => "regr_intercept",
            Pairs::R2 => "regr_r2",
            Pairs::Sxx => "regr_sxx",
            Pairs::Sxy => "regr_sxy",
            Pairs::Syy => "regr_syy",
        }
    }

    fn coerce(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        count_of(self.name(), arguments, 2..=2)?;
        arguments.iter().map(|argument| double(self.name(), argument)).collect()
    }

    fn result(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn states(&self, _: &[DataType]) -> Vec<(&'static str, DataType)> {
        ["n", "avg_y", "avg_x", "syy", "sxx", "sxy"].map(|name| (name, DataType::Float64)).to_vec()
    }

    fn fold(&self, _: &Call) -> Result<Box<dyn Accumulators>> {
        Ok(Box::new(*self))
    }
}

/// Number of pairs, means, and sums of products of the distances from them.
#[derive(Default, Clone, Copy)]
pub(super) struct Sums {
    n: f64,
    y: f64,
    x: f64,
    syy: f64,
    sxx: f64,
    sxy: f64,
}

impl Sums {
    fn merge(&mut self, other: &Sums) {
        if other.n == 0.0 {
            return;
        }
        let n = self.n + other.n;
        let (dy, dx) = (other.y - self.y, other.x - self.x);
        let weight = self.n * other.n / n;
        self.syy += other.syy + dy * dy * weight;
        self.sxx += other.sxx + dx * dx * weight;
        self.sxy += other.sxy + dx * dy * weight;
        self.y += dy * other.n / n;
        self.x += dx * other.n / n;
        self.n = n;
    }
}

fn divided(dividend: f64, divisor: f64) -> Option<f64> {
    (divisor != 0.0).then(|| dividend / divisor)
}

impl Pairs {
    fn result_of(self, sums: &Sums) -> Option<f64> {
        if sums.n == 0.0 {
            return None;
        }
        let slope = divided(sums.sxy, sums.sxx);
        match self {
            Pairs::Corr => divided(sums.sxy, (sums.sxx * sums.syy).sqrt()),
            Pairs::CovarPop => Some(sums.sxy / sums.n),
            Pairs::CovarSamp => divided(sums.sxy, sums.n - 1.0),
            Pairs::Slope => slope,
            Pairs::Intercept => slope.map(|slope| sums.y - slope * sums.x),
            Pairs::R2 if sums.sxx == 0.0 => None,
            Pairs::R2 if sums.syy == 0.0 => Some(1.0),
            Pairs::R2 => Some(sums.sxy * sums.sxy / (sums.sxx * sums.syy)),
            Pairs::Sxx => Some(sums.sxx),
            Pairs::Sxy => Some(sums.sxy),
            Pairs::Syy => Some(sums.syy),
        }
    }
}

impl Fold for Pairs {
    type Kept = Sums;

    fn update(&self, arguments: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Sums]) -> Result<()> {
        let [y, x] = [0, 1].map(|number: usize| arguments[number].as_primitive::<Float64Type>());
        for (row, group) in rows.iter().filter(|(row, _)| y.is_valid(*row) && x.is_valid(*row)) {
            let pair = Sums { n: 1.0, y: y.value(row), x: x.value(row), ..Sums::default() };
            kept[group].merge(&pair);
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Sums]) -> Result<()> {
        let parts: Vec<_> =
            states.iter().map(|state| state.as_primitive::<Float64Type>()).collect();
        for (row, group) in rows.iter() {
            let [n, y, x, syy, sxx, sxy] = [0, 1, 2, 3, 4, 5].map(|part| parts[part].value(row));
            kept[group].merge(&Sums { n, y, x, syy, sxx, sxy });
        }
        Ok(())
    }

    fn states(&self, kept: Vec<Sums>) -> Result<Vec<ArrayRef>> {
        let part = |part: fn(&Sums) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(kept.iter().map(part)))
        };
        let parts: [fn(&Sums) -> f64; 6] =
            [|s| s.n, |s| s.y, |s| s.x, |s| s.syy, |s| s.sxx, |s| s.sxy];
        Ok(parts.into_iter().map(part).collect())
    }

    fn evaluate(&self, kept: Vec<Sums>) -> Result<ArrayRef> {
        let results = kept.iter().map(|sums| self.result_of(sums));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }
}
