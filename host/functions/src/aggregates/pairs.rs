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

/// In which order Spark computes. The orders differ by what is rounded.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Order {
    /// The sum of products takes y's distance from the mean before a pair, and x's from the one after
    /// it; otherwise it is the other way round.
    y_before: bool,
    /// The sums of squares do so too. Otherwise they are those of Spark's central moments.
    squares_alike: bool,
}

impl Sums {
    /// One pair more, as Spark's `updateExpressions` have it, operation by operation.
    fn add(&mut self, y: f64, x: f64, order: Order) {
        self.n += 1.0;
        let (dy, dx) = (y - self.y, x - self.x);
        let (dy_n, dx_n) = (dy / self.n, dx / self.n);
        self.y += dy_n;
        self.x += dx_n;
        let (syy, sxx) = match order.squares_alike {
            true => (dy * (y - self.y), dx * (x - self.x)),
            false => (dy * (dy - dy_n), dx * (dx - dx_n)),
        };
        self.syy += syy;
        self.sxx += sxx;
        self.sxy += if order.y_before { dy * (x - self.x) } else { dx * (y - self.y) };
    }

    /// As Spark's `mergeExpressions`.
    fn merge(&mut self, other: &Sums, order: Order) {
        if other.n == 0.0 {
            return;
        }
        let n = self.n + other.n;
        let (dy, dx) = (other.y - self.y, other.x - self.x);
        let (dy_n, dx_n) = (dy / n, dx / n);
        let product = if order.y_before { dy * dx_n } else { dx * dy_n };
        self.syy = self.syy + other.syy + dy * dy_n * self.n * other.n;
        self.sxx = self.sxx + other.sxx + dx * dx_n * self.n * other.n;
        self.sxy = self.sxy + other.sxy + product * self.n * other.n;
        self.y += dy_n * other.n;
        self.x += dx_n * other.n;
        self.n = n;
    }
}

fn divided(dividend: f64, divisor: f64) -> Option<f64> {
    (divisor != 0.0).then(|| dividend / divisor)
}

impl Pairs {
    /// Spark makes `regr_slope` and `regr_intercept` of its covariance of the independent variable with
    /// the other one, `regr_r2` of its correlation, and the squares of others of its moments.
    fn order(self) -> Order {
        Order {
            y_before: !matches!(self, Pairs::Slope | Pairs::Intercept),
            squares_alike: matches!(self, Pairs::Corr | Pairs::R2),
        }
    }

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
            Pairs::R2 => {
                let correlation = sums.sxy / (sums.syy * sums.sxx).sqrt();
                Some(correlation * correlation)
            }
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
            kept[group].add(y.value(row), x.value(row), self.order());
        }
        Ok(())
    }

    fn merge(&self, states: &[ArrayRef], rows: &Rows<'_>, kept: &mut [Sums]) -> Result<()> {
        let parts: Vec<_> =
            states.iter().map(|state| state.as_primitive::<Float64Type>()).collect();
        for (row, group) in rows.iter() {
            let [n, y, x, syy, sxx, sxy] = [0, 1, 2, 3, 4, 5].map(|part| parts[part].value(row));
            kept[group].merge(&Sums { n, y, x, syy, sxx, sxy }, self.order());
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
