//! Puts nodes for `window(…)` and `session_window(…)` into a plan.
//!
//! An aggregation groups by the bounds of the windows, which are plain columns; the struct that
//! Spark groups by is made again above it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, Result, ScalarValue, plan_err};
use datafusion::functions_aggregate::grouping::grouping_udaf;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Extension, Filter, GroupingSet, LogicalPlan,
    LogicalPlanBuilder, Projection, Union,
};
use tidemill_types::Interval;

use super::event_time::is_event_time;
use super::session_window::{SESSION_END, SESSION_START, SessionWindow, holds_sessions};
use super::time_window::{START, TimeWindow, WindowShape, micros_literal};
use tidemill_functions::{cast_to, timestamp_type};

use super::{
    SESSION_WINDOW, WINDOW, bounds_struct, plain_time, session_bound, window_struct, window_time,
};

/// What rows are cut into.
enum Windows {
    Fixed(WindowShape),
    /// The gap.
    Sessions(Expr),
    /// Sessions that a column has already, and that may become longer ones.
    Made,
}

/// The window of some expressions.
struct WindowCall {
    /// As it stands there.
    call: Expr,
    time: Expr,
    windows: Windows,
}

/// Replaces `window(…)` and `session_window(…)` in the projections, filters and aggregations of a plan
/// by nodes below them. The result has the same columns under the same names, and columns have the
/// tags of event time that follow.
pub(crate) fn expand_windows(plan: LogicalPlan) -> Result<LogicalPlan> {
    // What is below may have other fields now: sessions are known by theirs.
    let expanded = plan.transform_up(|node| match node.recompute_schema()? {
        LogicalPlan::Projection(projection) => expand_projection(projection),
        LogicalPlan::Aggregate(aggregate) => expand_aggregate(aggregate),
        LogicalPlan::Filter(filter) => expand_filter(filter),
        other => match calls_in(&other.expressions()) {
            calls if calls.is_empty() => Ok(Transformed::no(other)),
            _ => plan_err!(
                "window() belongs into GROUP BY or SELECT, and stands in {}",
                other.display()
            ),
        },
    })?;
    let unites = expanded.data.exists(|node| Ok(matches!(node, LogicalPlan::Union(_))))?;
    if !expanded.transformed && !unites {
        return Ok(expanded.data);
    }
    // The windows have the tag of event time, which the call did not have.
    expanded.data.transform_up(with_tags).map(|tagged| tagged.data)
}

/// A node with the tags of event time that its inputs have. A union keeps the fields that it has,
/// whatever became of those of its inputs, so it is made anew.
fn with_tags(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let node = match node {
        LogicalPlan::Union(union) => LogicalPlan::Union(united(union)?),
        other => other.recompute_schema()?,
    };
    Ok(Transformed::yes(node))
}

/// A union has event time where its first input has it, as in Spark, and the tag of another input
/// alone does not count.
fn united(union: Union) -> Result<Union> {
    let Some(first) = union.inputs.first().cloned() else {
        return Ok(union);
    };
    let is_stray = |place: usize, field: &Field| {
        is_event_time(field) && !is_event_time(first.schema().field(place))
    };
    let inputs = union.inputs.into_iter().map(|input| {
        let fields = || input.schema().fields().iter().enumerate();
        if !fields().any(|(place, field)| is_stray(place, field)) {
            return Ok(input);
        }
        let columns = input.schema().columns().into_iter().zip(fields());
        let columns = columns.map(|(column, (place, field))| match is_stray(place, field) {
            true => plain_time(Expr::Column(column)).alias(field.name()),
            false => Expr::Column(column),
        });
        let columns: Vec<Expr> = columns.collect();
        Ok(LogicalPlanBuilder::from(input.as_ref().clone()).project(columns)?.build()?.into())
    });
    Union::try_new_with_loose_types(inputs.collect::<Result<_>>()?)
}

fn expand_projection(projection: Projection) -> Result<Transformed<LogicalPlan>> {
    let Some(window) = WindowCall::of(&projection.expr)? else {
        return Ok(Transformed::no(LogicalPlan::Projection(projection)));
    };
    let input = window.over(projection.input.as_ref().clone())?;
    let mut expressions = Vec::new();
    for expression in projection.expr {
        let name = expression.qualified_name();
        expressions.push(window.put_into(expression)?.alias_qualified(name.0, name.1));
    }
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(
        expressions,
        Arc::new(input),
    )?)))
}

/// Rows are filtered by the bounds of their windows: a row is given once for each that passes.
fn expand_filter(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let Some(window) = WindowCall::of(std::slice::from_ref(&filter.predicate))? else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    let columns = filter.input.schema().columns().into_iter().map(Expr::Column);
    let columns: Vec<Expr> = columns.collect();
    let input = window.over(filter.input.as_ref().clone())?;
    let predicate = window.put_into(filter.predicate)?;
    let plan = LogicalPlanBuilder::from(input).filter(predicate)?.project(columns)?.build()?;
    Ok(Transformed::yes(plan))
}

fn expand_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut all = aggregate.group_expr.clone();
    all.extend(aggregate.aggr_expr.iter().cloned());
    let window = match WindowCall::of(&all)? {
        Some(window) => Some(window),
        None => WindowCall::of_sessions(&aggregate),
    };
    let Some(window) = window else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    let old_schema = Arc::clone(&aggregate.schema);
    let input = window.over(aggregate.input.as_ref().clone())?;
    let mut groups = Vec::new();
    for group in &aggregate.group_expr {
        groups.extend(window.groups(group)?);
    }
    let mut aggregates = Vec::new();
    for aggregate in aggregate.aggr_expr {
        aggregates.push(window.aggregated(aggregate)?);
    }
    let grouped = LogicalPlanBuilder::from(input).aggregate(groups, aggregates)?.build()?;
    // The columns are those of before, but for the bounds in the place of the window.
    let mut columns = grouped.schema().columns().into_iter();
    let bounds = window.columns();
    let mut expressions = Vec::new();
    for (qualifier, field) in old_schema.iter() {
        let Some(column) = columns.next() else { break };
        let value = if bounds.contains(&column) {
            bounds.iter().skip(1).for_each(|_| drop(columns.next()));
            window.bounds()
        } else {
            Expr::Column(column)
        };
        // Only the aggregation itself reads it, and loses it where grouping() is worked out.
        if field.name() != Aggregate::INTERNAL_GROUPING_ID {
            expressions.push(value.alias_qualified(qualifier.cloned(), field.name()));
        }
    }
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(
        expressions,
        Arc::new(grouped),
    )?)))
}

impl WindowCall {
    /// The one window that these expressions use.
    fn of(expressions: &[Expr]) -> Result<Option<WindowCall>> {
        let calls = calls_in(expressions);
        let call = match calls.as_slice() {
            [] => return Ok(None),
            [call] => call,
            _ => {
                return plan_err!(
                    "Multiple time/session window expressions would result in a cartesian product of rows, therefore they are currently not supported"
                );
            }
        };
        let Expr::ScalarFunction(ScalarFunction { func, args }) = call else {
            return Ok(None);
        };
        let (time, windows) = match (func.name(), args.as_slice()) {
            (WINDOW, [time, shape @ ..]) if !shape.is_empty() => {
                (time, Windows::Fixed(WindowShape::from_arguments(shape)?))
            }
            (WINDOW, _) => {
                return plan_err!(
                    "window() takes a time, a size, and optionally a slide and a start"
                );
            }
            (_, [time, gap]) => (time, Windows::Sessions(fixed_gap(gap)?)),
            _ => return plan_err!("session_window() takes a time and a gap"),
        };
        Ok(Some(WindowCall { call: call.clone(), time: time.clone(), windows }))
    }

    /// The sessions that an aggregation groups by, where they are a column of its input.
    fn of_sessions(aggregate: &Aggregate) -> Option<WindowCall> {
        let holds = |group: &&Expr| match group {
            Expr::Column(column) => {
                aggregate.input.schema().field_from_column(column).is_ok_and(|f| holds_sessions(f))
            }
            _ => false,
        };
        let column = aggregate.group_expr.iter().find(holds)?;
        Some(WindowCall { call: column.clone(), time: column.clone(), windows: Windows::Made })
    }

    /// The node that adds the bounds.
    fn over(&self, input: LogicalPlan) -> Result<LogicalPlan> {
        if let Windows::Made = self.windows {
            let mut columns: Vec<Expr> =
                input.schema().columns().into_iter().map(Expr::Column).collect();
            for (bound, name) in [("start", SESSION_START), ("end", SESSION_END)] {
                columns.push(session_bound(self.call.clone(), bound).alias(name));
            }
            let present = self.call.clone().is_not_null();
            return LogicalPlanBuilder::from(input).filter(present)?.project(columns)?.build();
        }
        let time = as_time(&self.time, &input)?;
        // Rows without a time are in no window. Said as a filter, that goes down: through joins, so
        // that they do not wait there, and below the watermark of another column, which they do not
        // move then.
        let joins = input.exists(|node| Ok(matches!(node, LogicalPlan::Join(_))))?;
        let is_tagged = |column: &Column| {
            input.schema().field_from_column(column).is_ok_and(|field| is_event_time(field))
        };
        let input = match joins || !time.column_refs().into_iter().any(is_tagged) {
            true => LogicalPlanBuilder::from(input).filter(time.clone().is_not_null())?.build()?,
            false => input,
        };
        let node = match &self.windows {
            Windows::Fixed(shape) => {
                Extension { node: Arc::new(TimeWindow::try_new(input, time, *shape)?) }
            }
            Windows::Sessions(gap) => {
                Extension { node: Arc::new(SessionWindow::try_new(input, time, gap.clone())?) }
            }
            Windows::Made => return Ok(input),
        };
        Ok(LogicalPlan::Extension(node))
    }

    /// An expression above the node, with the bounds in the place of the call.
    fn put_into(&self, expression: Expr) -> Result<Expr> {
        let expression = expression.transform_up(|e| {
            Ok(if e == self.call { Transformed::yes(self.bounds()) } else { Transformed::no(e) })
        })?;
        Ok(expression.data)
    }

    /// The columns that the node adds.
    fn columns(&self) -> Vec<Column> {
        let names: &[&str] = match self.windows {
            Windows::Fixed(_) => &[START],
            Windows::Sessions(_) | Windows::Made => &[SESSION_START, SESSION_END],
        };
        names.iter().map(|name| Column::from_name(*name)).collect()
    }

    /// What an expression of GROUP BY becomes: the bounds, where it is the window.
    fn groups(&self, group: &Expr) -> Result<Vec<Expr>> {
        let columns = || self.columns().into_iter().map(Expr::Column);
        let within = |exprs: &[Expr]| -> Result<Vec<Expr>> {
            let groups = exprs.iter().map(|expr| self.groups(expr)).collect::<Result<Vec<_>>>()?;
            Ok(groups.concat())
        };
        match group {
            call if *call == self.call => Ok(columns().collect()),
            Expr::Alias(alias) if *alias.expr == self.call => Ok(columns().collect()),
            other if calls_in(std::slice::from_ref(other)).is_empty() => Ok(vec![other.clone()]),
            Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
                let sets = sets.iter().map(|set| within(set)).collect::<Result<Vec<_>>>()?;
                Ok(vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets))])
            }
            // Both bounds of a session come and go together, which only sets can say.
            Expr::GroupingSet(_) if !matches!(self.windows, Windows::Fixed(_)) => plan_err!(
                "session_window() in ROLLUP or CUBE is not supported; write it before them, or GROUPING SETS"
            ),
            Expr::GroupingSet(GroupingSet::Rollup(exprs)) => {
                Ok(vec![Expr::GroupingSet(GroupingSet::Rollup(within(exprs)?))])
            }
            Expr::GroupingSet(GroupingSet::Cube(exprs)) => {
                Ok(vec![Expr::GroupingSet(GroupingSet::Cube(within(exprs)?))])
            }
            // Plain values: groups that never leave.
            other => Ok(vec![self.put_into(other.clone())?]),
        }
    }

    /// What an aggregate becomes: only `grouping(…)` may ask for the window.
    fn aggregated(&self, aggregate: Expr) -> Result<Expr> {
        match aggregate {
            Expr::AggregateFunction(call) if call.func == grouping_udaf() => {
                let start = self.columns().swap_remove(0);
                let asked = Expr::AggregateFunction(call).transform_up(|e| {
                    Ok(if e == self.call {
                        Transformed::yes(Expr::Column(start.clone()))
                    } else {
                        Transformed::no(e)
                    })
                })?;
                Ok(asked.data)
            }
            other => self.put_into(other),
        }
    }

    /// The struct that stands for the window above the node.
    fn bounds(&self) -> Expr {
        let column = |name: &str| Expr::Column(Column::from_name(name));
        match self.windows {
            Windows::Fixed(shape) => window_struct(column(START), shape.size),
            Windows::Sessions(_) | Windows::Made => {
                bounds_struct(column(SESSION_START), column(SESSION_END))
            }
        }
    }
}

/// A time as a TIMESTAMP: a window stands for its last microsecond, a text or date is cast.
fn as_time(time: &Expr, input: &LogicalPlan) -> Result<Expr> {
    Ok(match time.get_type(input.schema())? {
        DataType::Timestamp(_, _) => time.clone(),
        DataType::Struct(_) => window_time(time.clone()),
        _ => cast_to(time.clone(), &timestamp_type()),
    })
}

/// A gap that is a literal as microseconds; any other as it is.
fn fixed_gap(gap: &Expr) -> Result<Expr> {
    match gap {
        Expr::Literal(..) => Ok(micros_literal(literal_interval(SESSION_WINDOW, gap)?.micros)),
        other => Ok(other.clone()),
    }
}

/// The interval that an argument of `function` spells.
pub(super) fn literal_interval(function: &str, argument: &Expr) -> Result<Interval> {
    let text = match argument {
        // Spark takes a number for microseconds.
        Expr::Literal(ScalarValue::Int32(Some(micros)), _) => {
            return Ok(Interval { micros: i64::from(*micros) });
        }
        Expr::Literal(ScalarValue::Int64(Some(micros)), _) => {
            return Ok(Interval { micros: *micros });
        }
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    };
    match text.map(|text| text.parse::<Interval>()) {
        Some(Ok(interval)) => Ok(interval),
        Some(Err(error)) => plan_err!("{function}(): {error}"),
        None if matches!(
            argument,
            Expr::Literal(
                ScalarValue::DurationMicrosecond(_) | ScalarValue::IntervalYearMonth(_),
                _
            )
        ) =>
        {
            plan_err!(
                "{function}(): sizes are texts like '5 minutes', found an INTERVAL; write it in quotes, without INTERVAL before it"
            )
        }
        None => plan_err!("{function}(): sizes are texts like '5 minutes', found {argument}"),
    }
}

fn calls_in(expressions: &[Expr]) -> Vec<Expr> {
    let mut found: Vec<Expr> = Vec::new();
    for expression in expressions {
        // Visiting cannot fail: the closure never does.
        let _ = expression.apply(|e| {
            if let Expr::ScalarFunction(function) = e
                && [WINDOW, SESSION_WINDOW].contains(&function.func.name())
                && !found.contains(e)
            {
                found.push(e.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }
    found
}
