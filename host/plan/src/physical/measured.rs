//! Keeps what expressions make of a block of rows within a bound, all columns together.
//!
//! DataFusion's operators compute as many columns as they are asked for, whatever comes of it. A
//! projection is computed here instead, column by column with a count. Filters and aggregations stay
//! DataFusion's: they are put between two edges, where the account of a block begins and ends.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::internal_datafusion_err;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, RecordBatchStream,
    SendableRecordBatchStream, replace_children_if_necessary,
};
use futures::{Stream, StreamExt};

use super::properties::{debug_as_shown, one_input};
use tidemill_functions::{is_bounded, made};

/// A plan whose operators count what their expressions make.
pub(crate) fn measured(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let measured = plan.transform_up(|node| {
        if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            let is_computed = |column: &ProjectionExpr| !column.expr.is::<Column>();
            return match projection.expr().iter().any(is_computed) {
                true => Ok(Transformed::yes(ProjectedExec::over(Arc::clone(&node)))),
                false => Ok(Transformed::no(node)),
            };
        }
        let counts = node.is::<FilterExec>() || node.is::<AggregateExec>();
        if !counts || !calls_bounded(node.as_ref())? {
            return Ok(Transformed::no(node));
        }
        let inputs = node.children().into_iter().map(|input| Edge::at(input, true)).collect();
        let node = replace_children_if_necessary(node, inputs)?;
        Ok(Transformed::yes(Edge::at(&node, false)))
    })?;
    Ok(measured.data)
}

/// Whether an operator calls a function that makes a lot of a little.
fn calls_bounded(node: &dyn ExecutionPlan) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(&mut |expr| {
        found |= expr.exists(|expr| {
            let call = expr.downcast_ref::<ScalarFunctionExpr>();
            Ok(call.is_some_and(|call| is_bounded(call.fun())))
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// DataFusion's projection, computed with a count.
struct ProjectedExec {
    projection: Arc<dyn ExecutionPlan>,
}

impl ProjectedExec {
    fn over(projection: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(ProjectedExec { projection })
    }
}

fn projected(
    columns: &[ProjectionExpr],
    schema: &SchemaRef,
    rows: &RecordBatch,
) -> Result<RecordBatch> {
    let count = rows.num_rows();
    let mut arrays = Vec::with_capacity(columns.len());
    for ProjectionExpr { expr, .. } in columns {
        let value = expr.evaluate(rows)?;
        if !expr.is::<Column>() {
            made::keep(&value, count)?;
        }
        arrays.push(value.into_array(count)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

debug_as_shown!(ProjectedExec);

impl DisplayAs for ProjectedExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.projection.fmt_as(format, f)
    }
}

impl ExecutionPlan for ProjectedExec {
    fn name(&self) -> &str {
        "Projected"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.projection.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.projection.children()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.projection.maintains_input_order()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.projection.apply_expressions(f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = Arc::clone(&self.projection);
        Ok(ProjectedExec::over(replace_children_if_necessary(projection, children)?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let projection = self
            .projection
            .downcast_ref::<ProjectionExec>()
            .ok_or_else(|| internal_datafusion_err!("a projection became another operator"))?;
        let columns = projection.expr().to_vec();
        let limit = made::limit(&context);
        let input = projection.input().execute(partition, context)?;
        let schema = self.schema();
        let output = Arc::clone(&schema);
        let rows = input.map(move |rows| {
            let rows = rows?;
            made::open(limit);
            let projected = projected(&columns, &output, &rows);
            made::close();
            projected
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// A side of an operator: where a block goes in, its account begins, and where the operator gives
/// something, or waits, it ends.
struct Edge {
    input: Arc<dyn ExecutionPlan>,
    begins: bool,
    properties: Arc<PlanProperties>,
}

impl Edge {
    fn at(input: &Arc<dyn ExecutionPlan>, begins: bool) -> Arc<dyn ExecutionPlan> {
        let properties = Arc::clone(input.properties());
        Arc::new(Edge { input: Arc::clone(input), begins, properties })
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Edge {
        let properties = Arc::clone(input.properties());
        Edge { input, begins: self.begins, properties }
    }
}

debug_as_shown!(Edge);

impl DisplayAs for Edge {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.begins { "Measured: from here" } else { "Measured" })
    }
}

impl ExecutionPlan for Edge {
    one_input!("Measured");

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let limit = self.begins.then(|| made::limit(&context));
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Passed { input, limit }))
    }
}

struct Passed {
    input: SendableRecordBatchStream,
    /// What the next operator may make of each block, if this is where it begins.
    limit: Option<u64>,
}

impl Stream for Passed {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.input.poll_next_unpin(context);
        match (&polled, self.limit) {
            (Poll::Ready(Some(Ok(_))), Some(limit)) => made::open(limit),
            _ => made::close(),
        }
        polled
    }
}

impl RecordBatchStream for Passed {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
