//! `window(time, size[, slide[, start]])`: rows by the windows that they fall into.
//!
//! Spark's ResolveTimeWindows: a row belongs to `ceil(size / slide)` windows at most; the last
//! begins at `time - (time - start) mod slide`, the others each a slide earlier, and a window is
//! kept only if it contains the time. Rows without a time belong to none.

use std::collections::BTreeMap;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::FieldMetadata;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};
use tidemill_types::Interval;

use super::windows::literal_interval;
use super::{WINDOW, tagged_field, with_event_time_of};

/// Name of the column that holds the starts.
pub(super) const START: &str = "__window_start";

/// Windows that a row may be in: a day's windows that begin each second. Each is a row of its own
/// for all that comes after, so more of them is a slip of the unit and not a query.
const WINDOWS_A_ROW_MAX: usize = 100_000;

/// Sizes of windows in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct WindowShape {
    pub(crate) size: i64,
    pub(crate) slide: i64,
    pub(crate) start: i64,
}

impl WindowShape {
    /// From the arguments after the time: `size[, slide[, start]]`. The rules are Spark's
    /// (TimeWindow.checkInputDataTypes).
    pub(super) fn from_arguments(arguments: &[Expr]) -> Result<WindowShape> {
        let mut intervals = Vec::new();
        for argument in arguments {
            intervals.push(literal_interval(WINDOW, argument)?.micros);
        }
        let (size, slide, start) = match intervals[..] {
            [size] => (size, size, 0),
            [size, slide] => (size, slide, 0),
            [size, slide, start] => (size, slide, start),
            _ => {
                return plan_err!(
                    "window() takes a time, a size, and optionally a slide and a start"
                );
            }
        };
        if size <= 0 || slide <= 0 {
            return plan_err!("window(): the size and the slide have to be greater than 0");
        }
        if slide > size {
            return plan_err!(
                "window(): the slide_duration ({slide} microseconds) must be <= the window_duration ({size} microseconds)"
            );
        }
        if start.unsigned_abs() >= slide.unsigned_abs() {
            return plan_err!("window(): the start has to be smaller than the slide");
        }
        let shape = WindowShape { size, slide, start };
        if shape.windows_a_time() > WINDOWS_A_ROW_MAX {
            return plan_err!(
                "window(): a row would be in {} windows of {}, one every {}; at most {WINDOWS_A_ROW_MAX} are possible, so take a longer slide or shorter windows",
                shape.windows_a_time(),
                Interval { micros: size },
                Interval { micros: slide }
            );
        }
        Ok(shape)
    }

    /// How many windows a time is in, at most.
    pub(crate) fn windows_a_time(self) -> usize {
        let most = self.size / self.slide + i64::from(self.size % self.slide != 0);
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

/// Adds a column with the start of each window that a row falls into; a row in n windows becomes
/// n rows.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct TimeWindow {
    pub(crate) input: LogicalPlan,
    pub(crate) time: Expr,
    pub(crate) shape: WindowShape,
    schema: DFSchemaRef,
}

impl TimeWindow {
    /// The time has to be a TIMESTAMP.
    pub(super) fn try_new(
        input: LogicalPlan,
        time: Expr,
        shape: WindowShape,
    ) -> Result<TimeWindow> {
        let (_, time_field) = time.to_field(input.schema())?;
        if !matches!(time_field.data_type(), DataType::Timestamp(_, _)) {
            return plan_err!(
                "window(): {time} is {}, and a window needs a TIMESTAMP",
                tidemill_types::format_type(time_field.data_type())
            );
        }
        let zone = match time_field.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let mut field =
            Arc::new(Field::new(START, DataType::Timestamp(TimeUnit::Microsecond, zone), false));
        if let Some(tagged) = tagged_field(&time, input.schema())? {
            field = with_event_time_of(&field, &tagged, Some(shape.size));
        }
        let mut fields: Vec<_> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        fields.push((None, field));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(TimeWindow { input, time, shape, schema })
    }
}

impl fmt::Debug for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl PartialOrd for TimeWindow {
    fn partial_cmp(&self, other: &TimeWindow) -> Option<std::cmp::Ordering> {
        self.shape.partial_cmp(&other.shape)
    }
}

impl UserDefinedLogicalNodeCore for TimeWindow {
    fn name(&self) -> &str {
        "TimeWindow"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([START.to_owned()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WindowShape { size, slide, start } = self.shape;
        let text = |micros| Interval { micros };
        write!(f, "TimeWindow: {}, size={}", self.time, text(size))?;
        if slide != size {
            write!(f, ", slide={}", text(slide))?;
        }
        if start != 0 {
            write!(f, ", start={}", text(start))?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<TimeWindow> {
        TimeWindow::try_new(inputs.swap_remove(0), exprs.swap_remove(0), self.shape)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        let mut wanted: Vec<usize> =
            output_columns.iter().copied().filter(|column| *column < width).collect();
        for column in self.time.column_refs() {
            wanted.push(self.input.schema().maybe_index_of_column(column)?);
        }
        wanted.sort_unstable();
        wanted.dedup();
        Some(vec![wanted])
    }
}

/// Size of a window as a literal. It is none that a user wrote, and keeps its type.
pub(crate) fn micros_literal(micros: i64) -> Expr {
    let unit = BTreeMap::from([("unit".to_owned(), "microseconds".to_owned())]);
    Expr::Literal(ScalarValue::Int64(Some(micros)), Some(FieldMetadata::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(arguments: &[&str]) -> Result<WindowShape> {
        let text = |text: &&str| Expr::Literal(ScalarValue::Utf8(Some((*text).to_owned())), None);
        WindowShape::from_arguments(&arguments.iter().map(text).collect::<Vec<_>>())
    }

    #[test]
    fn a_row_is_not_in_more_windows_than_can_be_meant() {
        assert_eq!(shape(&["1 day", "1 second"]).unwrap().windows_a_time(), 86_400);
        assert_eq!(shape(&["100 seconds", "1 millisecond"]).unwrap().windows_a_time(), 100_000);
        let refused = shape(&["365 days", "1 millisecond"]).unwrap_err().to_string();
        for words in ["31536000000 windows", "365 days", "1 millisecond", "at most 100000"] {
            assert!(refused.contains(words), "no \"{words}\" in {refused}");
        }
    }

    #[test]
    fn the_smallest_start_there_is_has_no_absolute_value_and_is_refused_all_the_same() {
        let start = format!("{} microseconds", i64::MIN);
        let refused = shape(&["2 seconds", "1 second", &start]).unwrap_err().to_string();
        assert!(refused.contains("start has to be smaller"), "{refused}");
    }
}
