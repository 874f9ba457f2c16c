//! Makes dead letters of rows with which an expression of the operator above fails: a cast, an overflow, a
//! division by zero.
//!
//! The expressions are computed here once more, for that alone: for all rows of a block, and where that fails,
//! for its halves, down to single rows. The parts with which they could be computed go on, each as a block of
//! its own: some rows fail beside certain others only, as where `AND` need not look at its right side.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr,
    PlanProperties, SendableRecordBatchStream, replace_children_if_necessary,
};
use futures::{StreamExt, TryStreamExt, stream};
use tidemill_core::RefusedRow;

use super::evaluate::EvaluateExec;
use super::properties::{debug_as_shown, one_input, plain};
use crate::RunningBatch;
use crate::letters::Refusals;

type Expressions = Arc<[Arc<dyn PhysicalExpr>]>;

/// A plan in which rows leave with which SELECT, WHERE, arguments of functions, or what is folded and grouped
/// by cannot be computed.
pub(crate) fn without_failing_rows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let guarded = plan.transform_up(|node| {
        let expressions = expressions_of(&node)?;
        let [input] = node.children()[..] else { return Ok(Transformed::no(node)) };
        if expressions.is_empty() {
            return Ok(Transformed::no(node));
        }
        let guarded = FailingRowsExec::new(Arc::clone(input), expressions.into());
        let guarded: Arc<dyn ExecutionPlan> = Arc::new(guarded);
        Ok(Transformed::yes(replace_children_if_necessary(node, vec![guarded])?))
    })?;
    Ok(guarded.data)
}

/// What an operator computes of a row of its input, and may fail.
fn expressions_of(node: &Arc<dyn ExecutionPlan>) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
    let is_plain =
        |expression: &dyn PhysicalExpr| expression.is::<Column>() || expression.is::<Literal>();
    let mut found: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    if let Some(evaluate) = node.downcast_ref::<EvaluateExec>() {
        found.extend(evaluate.arguments().cloned());
    } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        found.extend(projection.expr().iter().map(|column| Arc::clone(&column.expr)));
    } else if let Some(filter) = node.downcast_ref::<FilterExec>() {
        found.push(Arc::clone(filter.predicate()));
    } else if let Some(aggregate) = node.downcast_ref::<AggregateExec>()
        && *aggregate.mode() == AggregateMode::Partial
    {
        found.extend(aggregate.group_expr().expr().iter().map(|(group, _)| Arc::clone(group)));
        found.extend(aggregate.aggr_expr().iter().flat_map(|call| call.expressions()));
        found.extend(aggregate.filter_expr().iter().flatten().cloned());
    }
    found.retain(|expression| !is_plain(expression.as_ref()));
    Ok(found)
}

/// Lets rows pass with which all expressions can be computed.
struct FailingRowsExec {
    input: Arc<dyn ExecutionPlan>,
    expressions: Expressions,
    properties: Arc<PlanProperties>,
}

impl FailingRowsExec {
    fn new(input: Arc<dyn ExecutionPlan>, expressions: Expressions) -> FailingRowsExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(input.schema(), partitions, EmissionType::Incremental);
        FailingRowsExec { input, expressions, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> FailingRowsExec {
        FailingRowsExec::new(input, Arc::clone(&self.expressions))
    }
}

debug_as_shown!(FailingRowsExec);

impl DisplayAs for FailingRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expressions: Vec<String> = self.expressions.iter().map(ToString::to_string).collect();
        write!(f, "FailingRows: {}", expressions.join(", "))
    }
}

impl ExecutionPlan for FailingRowsExec {
    one_input!("FailingRows");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch = RunningBatch::of(&context)?;
        let input = self.input.execute(partition, context)?;
        if batch.letters().is_none() {
            return Ok(input);
        }
        let expressions = Arc::clone(&self.expressions);
        let mut refusals = Refusals::of_failing_rows(&batch, partition);
        let rows = input.map(move |rows| {
            let rows = rows?;
            let mut found = Found::default();
            find(&expressions, &rows, 0, &mut found, &refusals)?;
            refusals.take(&rows, found.failing)?;
            let parts =
                found.passing.into_iter().map(move |part| rows.slice(part.start, part.len()));
            Ok::<_, DataFusionError>(stream::iter(parts.map(Ok)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows.try_flatten())))
    }
}

/// What was found of the rows of a block.
#[derive(Default)]
struct Found {
    failing: Vec<RefusedRow>,
    /// Rows with which all expressions were computed together.
    passing: Vec<Range<usize>>,
}

/// Looks for the rows of a part of a block with which an expression fails; its first row is number `from`.
fn find(
    expressions: &[Arc<dyn PhysicalExpr>],
    rows: &RecordBatch,
    from: usize,
    found: &mut Found,
    refusals: &Refusals,
) -> Result<()> {
    if rows.num_rows() == 0 {
        return Ok(());
    }
    let Err(error) = expressions.iter().try_for_each(|each| each.evaluate(rows).map(drop)) else {
        found.passing.push(from..from + rows.num_rows());
        return Ok(());
    };
    if !is_about_rows(&error) {
        return Err(error);
    }
    if rows.num_rows() == 1 {
        // Fewer than 2^32: it is of a record batch.
        found.failing.push(RefusedRow { row: from as u32, reason: reason(&error) });
        return refusals.check(found.failing.len());
    }
    let middle = rows.num_rows() / 2;
    find(expressions, &rows.slice(0, middle), from, found, refusals)?;
    let rest = rows.slice(middle, rows.num_rows() - middle);
    find(expressions, &rest, from + middle, found, refusals)
}

fn reason(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::Execution(reason) => reason.clone(),
        DataFusionError::ArrowError(error, _) => error.to_string(),
        other => other.strip_backtrace(),
    }
}

/// Whether other rows may be well.
fn is_about_rows(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::Execution(_) | DataFusionError::ArrowError(..))
}
