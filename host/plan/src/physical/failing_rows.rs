//! Makes dead letters of rows with which an expression of the operator above fails: a cast, an overflow, a
//! division by zero.
//!
//! The expressions are computed here once more, for that alone: for all rows of a block, and where that fails,
//! for its halves, down to single rows. What passes, the operator above computes without an error.

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
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
use futures::StreamExt;
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
            let mut failing = Vec::new();
            find(&expressions, &rows, 0, &mut failing, &refusals)?;
            if failing.is_empty() {
                return Ok(rows);
            }
            let mut marks = vec![true; rows.num_rows()];
            failing.iter().for_each(|refused| marks[refused.row as usize] = false);
            refusals.take(&rows, failing)?;
            Ok(filter_record_batch(&rows, &BooleanArray::from(marks))?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

/// Adds the rows of a block with which an expression fails; the first row is number `from`.
fn find(
    expressions: &[Arc<dyn PhysicalExpr>],
    rows: &RecordBatch,
    from: usize,
    failing: &mut Vec<RefusedRow>,
    refusals: &Refusals,
) -> Result<()> {
    let Err(error) = expressions.iter().try_for_each(|each| each.evaluate(rows).map(drop)) else {
        return Ok(());
    };
    if !is_about_rows(&error) {
        return Err(error);
    }
    if rows.num_rows() <= 1 {
        // Fewer than 2^32: it is of a record batch.
        failing.push(RefusedRow { row: from as u32, reason: error.strip_backtrace() });
        return refusals.check(failing.len());
    }
    let middle = rows.num_rows() / 2;
    find(expressions, &rows.slice(0, middle), from, failing, refusals)?;
    let rest = rows.slice(middle, rows.num_rows() - middle);
    find(expressions, &rest, from + middle, failing, refusals)
}

/// Whether other rows may be well.
fn is_about_rows(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::Execution(_) | DataFusionError::ArrowError(..))
}
