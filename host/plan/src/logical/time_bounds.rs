//! How long the rows of one side of a join can still meet rows of the other.
//!
//! From a condition like `r.at >= l.at - INTERVAL 10 SECONDS` over the event times of both sides
//! follows, as later rows of `r` are later than the watermark, up to which `l.at` a row of `l` is
//! of no use any more (Spark's StreamingJoinHelper.getStateValueWatermark).

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator};
use tidemill_functions::{
    TIMESTAMP_MINUS, TIMESTAMP_PLUS, day_time_micros, without_interval_fields,
};

/// Spark counts in milliseconds, and lets rows at an inclusive bound stay for one more.
const MILLISECOND: i64 = 1_000;
const DAY: i64 = 86_400_000_000;
const NANOS: i64 = 1_000;

/// What the conditions of a join say of the rows of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeBound {
    /// A row may go once the watermark has reached its event time and so many microseconds.
    Watermark(i64),
    /// A condition compares a column of numbers of the side with a constant. Spark takes the constant
    /// for a bound of event time, and as the loosest bound counts, rows stay for ever.
    Constant,
}

/// What binds the rows of one side, if anything does. Several conditions bind as the loosest of
/// them does, as in Spark. `state`: whether a column is of the side; `other`: whether it is the
/// event time of the other side.
pub(super) fn time_bound(
    conditions: &[Expr],
    schema: &DFSchema,
    state: impl Fn(usize) -> bool,
    other: impl Fn(usize) -> bool,
) -> Option<TimeBound> {
    let mut loosest: Option<i64> = None;
    for (smaller, larger, is_strict) in conditions.iter().flat_map(comparisons) {
        if is_constant(smaller) && number_of(larger, schema).is_some_and(&state) {
            return Some(TimeBound::Constant);
        }
        let (Some(smaller), Some(larger)) = (linear(smaller, schema), linear(larger, schema))
        else {
            continue;
        };
        let Some(difference) = larger.minus(&smaller) else { continue };
        if let [(plus, 1), (minus, -1)] = difference.sorted()[..]
            && state(plus)
            && other(minus)
        {
            let bound = difference.constant.saturating_add(if is_strict { 0 } else { MILLISECOND });
            loosest = loosest.max(Some(bound));
        }
    }
    loosest.map(TimeBound::Watermark)
}

fn is_constant(expression: &Expr) -> bool {
    expression.column_refs().is_empty()
}

/// The column of numbers that an expression is, casts aside.
fn number_of(expression: &Expr, schema: &DFSchema) -> Option<usize> {
    match expression {
        Expr::Column(column) => {
            let is_number = |place: &usize| schema.field(*place).data_type().is_numeric();
            place(column, schema).filter(is_number)
        }
        Expr::Alias(alias) => number_of(&alias.expr, schema),
        Expr::Cast(Cast { expr, .. }) => number_of(expr, schema),
        _ => None,
    }
}

/// A sum of times (by their columns, with their signs) and microseconds.
struct Linear {
    times: Vec<(usize, i64)>,
    constant: i64,
}

impl Linear {
    fn minus(&self, other: &Linear) -> Option<Linear> {
        let mut times = self.times.clone();
        for (column, sign) in &other.times {
            match times.iter_mut().find(|(known, _)| known == column) {
                Some((_, known)) => *known -= sign,
                None => times.push((*column, -sign)),
            }
        }
        times.retain(|(_, sign)| *sign != 0);
        Some(Linear { times, constant: self.constant.checked_sub(other.constant)? })
    }

    fn plus(&self, other: &Linear) -> Option<Linear> {
        let negative = Linear {
            times: other.times.iter().map(|(column, sign)| (*column, -sign)).collect(),
            constant: other.constant.checked_neg()?,
        };
        self.minus(&negative)
    }

    /// Its times, those that count positive first.
    fn sorted(&self) -> Vec<(usize, i64)> {
        let mut times = self.times.clone();
        times.sort_by_key(|(_, sign)| -sign);
        times
    }
}

/// The comparisons that a condition consists of, as (smaller, larger, strict).
fn comparisons(condition: &Expr) -> Vec<(&Expr, &Expr, bool)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Lt => vec![(left.as_ref(), right.as_ref(), true)],
            Operator::LtEq => vec![(left.as_ref(), right.as_ref(), false)],
            Operator::Gt => vec![(right.as_ref(), left.as_ref(), true)],
            Operator::GtEq => vec![(right.as_ref(), left.as_ref(), false)],
            Operator::And => [comparisons(left), comparisons(right)].concat(),
            _ => Vec::new(),
        },
        Expr::Between(between) if !between.negated => vec![
            (between.low.as_ref(), between.expr.as_ref(), false),
            (between.expr.as_ref(), between.high.as_ref(), false),
        ],
        _ => Vec::new(),
    }
}

fn linear(expression: &Expr, schema: &DFSchema) -> Option<Linear> {
    match without_interval_fields(expression) {
        Expr::Column(column) => {
            Some(Linear { times: vec![(place(column, schema)?, 1)], constant: 0 })
        }
        Expr::Alias(alias) => linear(&alias.expr, schema),
        Expr::Cast(Cast { expr, field })
            if matches!(
                field.data_type(),
                DataType::Timestamp(_, _) | DataType::Interval(_) | DataType::Duration(_)
            ) =>
        {
            linear(expr, schema)
        }
        Expr::Literal(value, _) => Some(Linear { times: Vec::new(), constant: micros(value)? }),
        Expr::ScalarFunction(call) => {
            let [time, interval] = call.args.as_slice() else { return None };
            let (time, interval) = (linear(time, schema)?, linear(interval, schema)?);
            match call.name() {
                TIMESTAMP_PLUS => time.plus(&interval),
                TIMESTAMP_MINUS if interval.times.is_empty() => time.minus(&interval),
                _ => None,
            }
        }
        // Of times without a zone.
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (left, right) = (linear(left, schema)?, linear(right, schema)?);
            match op {
                Operator::Plus => left.plus(&right),
                // Spark does not look into the difference of two times.
                Operator::Minus if right.times.is_empty() => left.minus(&right),
                _ => None,
            }
        }
        _ => None,
    }
}

fn place(column: &Column, schema: &DFSchema) -> Option<usize> {
    schema.maybe_index_of_column(column)
}

fn micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(span)) if span.months == 0 => day_time_micros(*span),
        ScalarValue::IntervalDayTime(Some(span)) => i64::from(span.days)
            .checked_mul(DAY)?
            .checked_add(i64::from(span.milliseconds) * MILLISECOND),
        ScalarValue::DurationMicrosecond(Some(span)) => Some(*span),
        ScalarValue::DurationMillisecond(Some(span)) => span.checked_mul(MILLISECOND),
        ScalarValue::DurationSecond(Some(span)) => span.checked_mul(1_000_000),
        ScalarValue::DurationNanosecond(Some(span)) => Some(span / NANOS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use arrow::datatypes::{Field, IntervalMonthDayNano, Schema, TimeUnit};
    use datafusion::logical_expr::{col, lit};

    use super::*;

    const LEFT: usize = 0;
    const RIGHT: usize = 1;
    /// Of the left side.
    const NUMBER: usize = 3;

    fn seconds(n: i64) -> Expr {
        lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(
            0,
            0,
            n * 1_000_000_000,
        ))))
    }

    /// The bounds of the left and of the right side, in milliseconds.
    fn bounds(condition: &Expr) -> (Option<i64>, Option<i64>) {
        let time = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true);
        let number = Field::new("n", DataType::Int64, true);
        let schema = Schema::new(vec![time("l"), time("r"), time("x"), number]);
        let schema = DFSchema::try_from(schema).unwrap();
        let conditions = [condition.clone()];
        let left = time_bound(&conditions, &schema, |c| c == LEFT || c == NUMBER, |c| c == RIGHT);
        let right = time_bound(&conditions, &schema, |c| c == RIGHT, |c| c == LEFT);
        (left.map(millis), right.map(millis))
    }

    fn millis(bound: TimeBound) -> i64 {
        match bound {
            TimeBound::Watermark(micros) => micros / 1_000,
            TimeBound::Constant => i64::MAX,
        }
    }

    #[test]
    fn a_strict_condition_lets_rows_at_the_bound_go() {
        // Spark: left < right - 5 seconds; right rows <= W + 5 go, left rows are never of no use.
        assert_eq!(bounds(&col("l").lt(col("r") - seconds(5))), (None, Some(-5_000)));
    }

    #[test]
    fn an_inclusive_condition_keeps_rows_at_the_bound() {
        let between = col("l").between(col("r") - seconds(5), col("r") + seconds(5));
        assert_eq!(bounds(&between), (Some(5_001), Some(5_001)));
        let later = col("r").gt_eq(col("l")).and(col("r").lt_eq(col("l") + seconds(30)));
        assert_eq!(bounds(&later), (Some(30_001), Some(1)));
    }

    #[test]
    fn other_conditions_bind_nothing() {
        assert_eq!(bounds(&col("l").lt(col("x"))), (None, None));
        assert_eq!(bounds(&col("l").eq(col("r"))), (None, None));
        assert_eq!(bounds(&col("l").lt(seconds(1))), (None, None));
    }

    #[test]
    fn a_lower_bound_of_a_number_that_is_constant_keeps_rows_for_ever() {
        let range = || col("l").lt_eq(col("r"));
        assert_eq!(bounds(&range().and(col("n").gt(lit(1_i64)))).0, Some(i64::MAX));
        assert_eq!(bounds(&range().and(col("n").lt(lit(1_i64)))), bounds(&range()));
        assert_eq!(bounds(&range().and(col("l").gt(seconds(1)))), bounds(&range()));
    }
}
