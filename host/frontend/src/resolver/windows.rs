//! Functions over windows of rows: `sum(v) OVER (PARTITION BY k ORDER BY t)`.

use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit};
use datafusion::common::Column;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{NullTreatment, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::utils::find_window_exprs;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TypeSignature, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowFunctionDefinition, WindowUDF, cast,
};
use tidemill_functions::{Function, Rows, Shape, cast_to, find, with_interval_fields};
use tidemill_types::{IntervalField, IntervalFields};

use super::aggregates::{Folded, as_spark_compares, null_treatment};
use super::calls::in_order;
use super::expressions::Context;
use super::{Resolver, literals};
use crate::catalog::CatalogFunction;
use crate::error::{Result, refuse};
use crate::spec::{Call, Frame, FrameBound, FrameUnits, WindowSpec};

impl Resolver<'_> {
    pub(super) fn over(
        &mut self,
        call: &Call,
        window: &WindowSpec,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        if !context.allows_windows || context.inside_aggregate.is_some() {
            refuse!(
                "[UNSUPPORTED_EXPR_FOR_OPERATOR] {}() OVER (…) stands in {}; use it in a SELECT, and its column in the next",
                call.name,
                context.clause
            );
        }
        if call.is_distinct {
            refuse!(
                "[DISTINCT_WINDOW_FUNCTION_UNSUPPORTED] Distinct window functions are not supported: {}(DISTINCT …) OVER (…)",
                call.name
            );
        }
        let before = std::mem::replace(&mut context.is_in_window, true);
        let over = self.over_inside(call, window, context);
        context.is_in_window = before;
        over
    }

    fn over_inside(
        &mut self,
        call: &Call,
        window: &WindowSpec,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let function = find(&call.name);
        if function.is_some_and(Function::is_left_out) {
            return Err(super::calls::missing(&call.name, function));
        }
        let Some(function) = function else {
            if let Some(CatalogFunction::Aggregate(known)) = self.catalog.function(&call.name) {
                refuse!(
                    "{}() of a plugin folds groups and is no function of windows of rows; GROUP BY what the window is partitioned by, and join",
                    known.name()
                );
            }
            refuse!(
                "[UNSUPPORTED_EXPR_FOR_WINDOW] {}() is no function of windows of rows",
                call.name
            );
        };
        let called = match function.shape {
            Shape::Window(rows, make) => {
                let has_order = !window.order.is_empty() || rows == Rows::Frame;
                check_form(call, function, has_order)?;
                let fun = make();
                let args = self.window_arguments(call, function, rows, &fun, context)?;
                let fun = WindowFunctionDefinition::WindowUDF(fun);
                Called { fun, args, filter: None, nulls: null_treatment(call) }
            }
            _ if function.is_aggregate() => {
                let folded = self.folded(call, function, context, false)?;
                let Folded { function, arguments: args, filter, nulls, .. } =
                    as_spark_compares(folded, context)?;
                let fun = WindowFunctionDefinition::AggregateUDF(function);
                Called { fun, args, filter, nulls }
            }
            _ => refuse!(
                "[UNSUPPORTED_EXPR_FOR_WINDOW] {}() is no function of windows of rows",
                call.name
            ),
        };
        self.windowed(called, call.is_distinct, window, context)
    }

    /// The arguments of a function that is of windows alone.
    fn window_arguments(
        &mut self,
        call: &Call,
        function: &Function,
        rows: Rows,
        over: &WindowUDF,
        context: &mut Context<'_>,
    ) -> Result<Vec<Expr>> {
        let mut arguments = self.expressions(in_order(call, function)?, context)?;
        if function.parameters.is_empty() && !arguments.is_empty() {
            refuse!(
                "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] The `{}` requires 0 parameters but the actual number is {}",
                function.name,
                arguments.len()
            );
        }
        let place = arguments.get(1).and_then(|place| match place {
            Expr::Literal(ScalarValue::Int32(place), _) => place.map(i64::from),
            Expr::Literal(ScalarValue::Int64(place), _) => *place,
            _ => None,
        });
        if let Some(place @ ..=0) = place.filter(|_| rows == Rows::Frame) {
            refuse!(
                "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] {}(): The offset must be between (0, 9223372036854775807] (current value = {place})",
                function.name
            );
        }
        if matches!(over.signature().type_signature, TypeSignature::Nullary) {
            // Ranks go by the order of the window, whatever they are called with.
            arguments.clear();
        }
        Ok(arguments)
    }

    /// A call over its window.
    fn windowed(
        &mut self,
        called: Called,
        is_distinct: bool,
        window: &WindowSpec,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let Called { fun, args, filter, nulls } = called;
        let partition_by = self.expressions(&window.partition, context)?;
        let mut order_by = Vec::with_capacity(window.order.len());
        for by in &window.order {
            let value = self.expression(&by.value, context)?;
            // By its number: DataFusion has no ranges of intervals.
            let value = match context.type_of(&value)? {
                DataType::Duration(_) => cast(value, DataType::Int64),
                kind @ DataType::Interval(IntervalUnit::YearMonth) => {
                    let months = with_interval_fields(value, IntervalFields::all_of(&kind));
                    cast_to(months, &DataType::Int64)
                }
                _ => value,
            };
            let nulls_first = by.has_nulls_first();
            order_by.push(Sort::new(value, !by.is_descending, nulls_first));
        }
        let window_frame = match &window.frame {
            Some(frame) => self.frame(frame, context)?,
            None => WindowFrame::new((!order_by.is_empty()).then_some(false)),
        };
        self.check_range(&window_frame, &order_by, context)?;
        window_frame.regularize_order_bys(&mut order_by)?;
        let params = WindowFunctionParams {
            args,
            partition_by,
            order_by,
            window_frame,
            filter: filter.map(Box::new),
            null_treatment: nulls,
            distinct: is_distinct,
        };
        let over = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
        // Spark's ranks are signed.
        Ok(match context.type_of(&over)? {
            DataType::UInt64 => cast_to(over, &DataType::Int32),
            _ => over,
        })
    }

    /// A distance from a row's value needs one value that has distances.
    fn check_range(
        &self,
        frame: &WindowFrame,
        order: &[Sort],
        context: &Context<'_>,
    ) -> Result<()> {
        let is_far = |bound: &WindowFrameBound| match bound {
            WindowFrameBound::CurrentRow => false,
            WindowFrameBound::Preceding(by) | WindowFrameBound::Following(by) => !by.is_null(),
        };
        let is_range = frame.units == WindowFrameUnits::Range;
        if !is_range || !(is_far(&frame.start_bound) || is_far(&frame.end_bound)) {
            return Ok(());
        }
        let [by] = order else {
            refuse!(
                "[DATATYPE_MISMATCH.RANGE_FRAME_MULTI_ORDER] A range window frame with value boundaries is ordered by one expression, and not by {}",
                order.len()
            );
        };
        let kind = context.type_of(&by.expr)?;
        if kind.is_numeric() || kind.is_temporal() || kind.is_null() {
            return Ok(());
        }
        refuse!(
            "[DATATYPE_MISMATCH.SPECIFIED_WINDOW_FRAME_UNACCEPTED_TYPE] The data type of the window's ORDER BY, \"{}\", has no distances for a frame of RANGE",
            super::coercion::spelled(&kind)
        );
    }

    fn frame(&mut self, frame: &Frame, context: &mut Context<'_>) -> Result<WindowFrame> {
        let units = match frame.units {
            FrameUnits::Rows => WindowFrameUnits::Rows,
            FrameUnits::Range => WindowFrameUnits::Range,
        };
        let start = match &frame.start {
            FrameBound::Unbounded => WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
            bound => self.bound(bound, context)?,
        };
        let end = match &frame.end {
            FrameBound::Unbounded => WindowFrameBound::Following(ScalarValue::UInt64(None)),
            bound => self.bound(bound, context)?,
        };
        Ok(WindowFrame::new_bounds(units, start, end))
    }

    fn bound(&mut self, bound: &FrameBound, context: &mut Context<'_>) -> Result<WindowFrameBound> {
        let (value, is_following) = match bound {
            FrameBound::CurrentRow | FrameBound::Unbounded => {
                return Ok(WindowFrameBound::CurrentRow);
            }
            FrameBound::Preceding(value) => (value, false),
            FrameBound::Following(value) => (value, true),
        };
        let resolved = self.expression(value, context)?;
        let Some(value) = literals::constant(&resolved)? else {
            refuse!(
                "[DATATYPE_MISMATCH.SPECIFIED_WINDOW_FRAME_WITHOUT_FOLDABLE] a bound of a window of rows has to be the same for all rows"
            );
        };
        // As a text it becomes whatever the order has.
        let value = match value {
            ScalarValue::IntervalMonthDayNano(_) => value,
            ScalarValue::IntervalYearMonth(Some(months)) => {
                ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, 0, 0)))
            }
            ScalarValue::DurationMicrosecond(Some(micros)) => {
                ScalarValue::IntervalMonthDayNano(Some(days_and_nanos(micros)))
            }
            number => ScalarValue::Utf8(Some(number.to_string())),
        };
        Ok(match is_following {
            true => WindowFrameBound::Following(value),
            false => WindowFrameBound::Preceding(value),
        })
    }
}

/// Whole days apart from what is below them: a DATE is as far as these say.
fn days_and_nanos(micros: i64) -> IntervalMonthDayNano {
    let day = IntervalField::Day.size();
    // As many days as 64 bits of microseconds have fit, and so do the nanoseconds of one.
    IntervalMonthDayNano::new(0, (micros / day) as i32, micros % day * 1_000)
}

/// A function over a window, with its arguments.
struct Called {
    fun: WindowFunctionDefinition,
    args: Vec<Expr>,
    filter: Option<Expr>,
    nulls: Option<NullTreatment>,
}

/// Refuses what a function of windows alone has not, and a window without the order that it takes.
fn check_form(call: &Call, function: &Function, has_order: bool) -> Result<()> {
    if call.filter.is_some() || !call.within_group.is_empty() {
        refuse!(
            "[INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX] The function `{}` does not support DISTINCT, FILTER and WITHIN GROUP: it is no aggregate",
            call.name
        );
    }
    if !has_order {
        refuse!(
            "[WINDOW_FUNCTION_FRAME_NOT_ORDERED] Window function {0} requires the window to be ordered. You need to add an ORDER BY clause. For example: {0}() OVER (PARTITION BY … ORDER BY …)",
            function.name
        );
    }
    Ok(())
}

/// A plan that has what values read of windows of rows; the values read its columns then.
pub(super) fn planned<'v>(
    plan: LogicalPlan,
    values: impl Iterator<Item = &'v mut Expr>,
) -> Result<LogicalPlan> {
    let values: Vec<&mut Expr> = values.collect();
    let windows = find_window_exprs(values.iter().map(|value| &**value));
    if windows.is_empty() {
        return Ok(plan);
    }
    let plan = LogicalPlanBuilder::window_plan(plan, windows)?;
    for value in values {
        let before = std::mem::replace(value, Expr::Literal(ScalarValue::Null, None));
        let read = before.transform_down(|e| match &e {
            Expr::WindowFunction(_) => {
                let column = Column::new_unqualified(e.schema_name().to_string());
                Ok(Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump))
            }
            _ => Ok(Transformed::no(e)),
        })?;
        *value = read.data;
    }
    Ok(plan)
}
