//! `window(time, size[, slide[, start]])`: rows by the windows that they fall into.
//!
//! Spark's ResolveTimeWindows: a row belongs to `ceil(size / slide)` windows at most; the last
//! begins at `time - (time - start) mod slide`, the others each a slide earlier, and a window is
//! kept only if it contains the time. Rows without a time belong to none.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder, Projection,
    UserDefinedLogicalNodeCore, col,
};
use tidemill_core::Interval;

use super::{is_event_time, with_event_time};
use crate::sql::{WINDOW, window_struct};

/// Name of the column that holds the starts.
const START: &str = "__window_start";

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
    fn from_arguments(arguments: &[Expr]) -> Result<WindowShape> {
        let mut intervals = Vec::new();
        for argument in arguments {
            intervals.push(interval(argument)?.micros);
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
            return plan_err!("window(): the slide must not be greater than the size");
        }
        if start.abs() >= slide {
            return plan_err!("window(): the start has to be smaller than the slide");
        }
        Ok(WindowShape { size, slide, start })
    }
}

fn interval(argument: &Expr) -> Result<Interval> {
    let text = match argument {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    };
    match text.map(|text| text.parse::<Interval>()) {
        Some(Ok(interval)) => Ok(interval),
        Some(Err(error)) => plan_err!("window(): {error}"),
        None => plan_err!("window(): sizes are texts like '5 minutes', found {argument}"),
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
    fn try_new(input: LogicalPlan, time: Expr, shape: WindowShape) -> Result<TimeWindow> {
        let (_, time_field) = time.to_field(input.schema())?;
        if !matches!(time_field.data_type(), DataType::Timestamp(_, _)) {
            return plan_err!(
                "window(): {time} is {}, and a window needs a TIMESTAMP",
                tidemill_codec::format_type(time_field.data_type())
            );
        }
        let zone = match time_field.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let mut field =
            Arc::new(Field::new(START, DataType::Timestamp(TimeUnit::Microsecond, zone), false));
        if is_event_time(&time_field) {
            field = with_event_time(&field, Some(shape.size));
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

/// Replaces `window(…)` in the projections and aggregations of a plan by a [`TimeWindow`] below
/// them. The result has the same columns under the same names.
pub(crate) fn expand_windows(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|node| match node {
        LogicalPlan::Projection(projection) => expand_projection(projection),
        LogicalPlan::Aggregate(aggregate) => expand_aggregate(aggregate),
        other => match window_calls(&other.expressions()) {
            calls if calls.is_empty() => Ok(Transformed::no(other)),
            _ => plan_err!(
                "window() belongs into GROUP BY or SELECT, and stands in {}",
                other.display()
            ),
        },
    })
    .map(|transformed| transformed.data)
}

fn expand_projection(projection: Projection) -> Result<Transformed<LogicalPlan>> {
    let Some((call, shape)) = the_window(&projection.expr)? else {
        return Ok(Transformed::no(LogicalPlan::Projection(projection)));
    };
    let input = windowed(projection.input.as_ref().clone(), &call, shape)?;
    let mut expressions = Vec::new();
    for expression in projection.expr {
        let name = expression.qualified_name();
        expressions.push(replace_call(expression, &call, shape)?.alias_qualified(name.0, name.1));
    }
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(
        expressions,
        Arc::new(input),
    )?)))
}

/// Groups by the start, which is a plain column, and makes the struct again above the aggregation.
fn expand_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut all = aggregate.group_expr.clone();
    all.extend(aggregate.aggr_expr.iter().cloned());
    let Some((call, shape)) = the_window(&all)? else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    if !window_calls(&aggregate.aggr_expr).is_empty() {
        return plan_err!("window() cannot be the argument of an aggregate");
    }
    let old_schema = Arc::clone(&aggregate.schema);
    let input = windowed(aggregate.input.as_ref().clone(), &call, shape)?;
    let mut groups = Vec::new();
    for group in &aggregate.group_expr {
        groups.push(if *group == call { col(START) } else { group.clone() });
        if *group != call && !window_calls(std::slice::from_ref(group)).is_empty() {
            return plan_err!("GROUP BY takes window() alone, not within {group}");
        }
    }
    let grouped =
        LogicalPlanBuilder::from(input).aggregate(groups, aggregate.aggr_expr.clone())?.build()?;
    let columns = grouped.schema().columns();
    let mut expressions = Vec::new();
    for ((qualifier, field), column) in old_schema.iter().zip(columns) {
        let value = if column.name == START {
            window_struct(Expr::Column(Column::from_name(START)), shape.size)
        } else {
            Expr::Column(column)
        };
        expressions.push(value.alias_qualified(qualifier.cloned(), field.name()));
    }
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(
        expressions,
        Arc::new(grouped),
    )?)))
}

fn windowed(input: LogicalPlan, call: &Expr, shape: WindowShape) -> Result<LogicalPlan> {
    let Expr::ScalarFunction(ScalarFunction { args, .. }) = call else {
        return plan_err!("not a call of window(): {call}");
    };
    let node = TimeWindow::try_new(input, args[0].clone(), shape)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

fn replace_call(expression: Expr, call: &Expr, shape: WindowShape) -> Result<Expr> {
    expression
        .transform_up(|e| {
            Ok(if e == *call {
                Transformed::yes(window_struct(col(START), shape.size))
            } else {
                Transformed::no(e)
            })
        })
        .map(|transformed| transformed.data)
}

/// The one window that these expressions use.
fn the_window(expressions: &[Expr]) -> Result<Option<(Expr, WindowShape)>> {
    let calls = window_calls(expressions);
    match calls.as_slice() {
        [] => Ok(None),
        [call] => {
            let Expr::ScalarFunction(ScalarFunction { args, .. }) = call else {
                return Ok(None);
            };
            if args.len() < 2 {
                return plan_err!(
                    "window() takes a time, a size, and optionally a slide and a start"
                );
            }
            Ok(Some((call.clone(), WindowShape::from_arguments(&args[1..])?)))
        }
        _ => plan_err!(
            "Multiple time/session window expressions would result in a cartesian product of rows, therefore they are currently not supported"
        ),
    }
}

fn window_calls(expressions: &[Expr]) -> Vec<Expr> {
    let mut found: Vec<Expr> = Vec::new();
    for expression in expressions {
        // Visiting cannot fail: the closure never does.
        let _ = expression.apply(|e| {
            if let Expr::ScalarFunction(function) = e
                && function.func.name() == WINDOW
                && !found.contains(e)
            {
                found.push(e.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }
    found
}

/// Size of a window as a literal.
pub(crate) fn micros_literal(micros: i64) -> Expr {
    Expr::Literal(ScalarValue::Int64(Some(micros)), None)
}
