//! A query's plan, which is kept, and a run of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream, displayable,
};
use datafusion::prelude::SessionContext;
use tidemill_core::{BatchId, MemoryBudget, SourceRange};

use tidemill_time::Zone;
use tidemill_types::IntervalFields;

use crate::definition::WatermarkSpec;
use crate::physical::{OperatorForm, ReadAhead, StreamScanExec};
use crate::plugins::{PluginUse, plugin_uses};
use crate::{BatchRun, PlanError, RunningBatch, StatefulOperator};

/// A query, ready to run any number of micro-batches.
pub struct PlannedQuery {
    pub(crate) context: SessionContext,
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) logical: LogicalPlan,
    pub(crate) sources: Vec<String>,
    pub(crate) watermarks: Vec<WatermarkSpec>,
    pub(crate) operators: Vec<StatefulOperator>,
    pub(crate) key: Vec<String>,
    /// The session's.
    pub(crate) zone: Zone,
}

impl PlannedQuery {
    /// Schema of the result.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let plain: Vec<_> = self.plan.schema().fields().iter().map(without_tags).collect();
        Arc::new(Schema::new(plain))
    }

    /// Columns of the result that identify a row over batches: those that the query groups by.
    /// Empty where it does not group, or does not keep the groups in its result.
    #[must_use]
    pub fn key(&self) -> &[String] {
        &self.key
    }

    /// The plan's watermarks, in the order of [`crate::BatchReport::event_times`].
    #[must_use]
    pub fn watermarks(&self) -> &[WatermarkSpec] {
        &self.watermarks
    }

    /// The plan's stateful operators, the sink's side first.
    #[must_use]
    pub fn operators(&self) -> &[StatefulOperator] {
        &self.operators
    }

    /// The forms in which it keeps the state of its operators, in their order.
    #[must_use]
    pub fn forms(&self) -> Vec<OperatorForm> {
        self.operators.iter().map(StatefulOperator::form).collect()
    }

    /// The plugins' functions that the plan calls.
    pub fn uses(&self) -> Result<Vec<PluginUse>, PlanError> {
        Ok(plugin_uses(&self.logical)?)
    }

    /// Both plans as text.
    #[must_use]
    pub fn explain(&self) -> String {
        format!(
            "{}\n\n{}",
            self.logical.display_indent(),
            displayable(self.plan.as_ref()).indent(false)
        )
    }

    /// Begins to read ranges, by source, of `batch`, which has not begun.
    ///
    /// # Errors
    /// There is no thread to read on.
    pub fn read_ahead(
        &self,
        batch: BatchId,
        ranges: &BTreeMap<String, SourceRange>,
        memory: &MemoryBudget,
    ) -> Result<ReadAhead> {
        let ahead = ReadAhead::default();
        self.plan.apply(|node| {
            if let Some(scan) = node.downcast_ref::<StreamScanExec>()
                && let Some(range) = ranges.get(scan.source())
            {
                scan.read_ahead(batch, range, &ahead, memory)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(ahead)
    }

    /// A batch to run on this plan.
    #[must_use]
    pub fn batch(&self, run: BatchRun) -> Arc<RunningBatch> {
        Arc::new(RunningBatch::new(run, &self.sources, self.watermarks.len(), self.zone))
    }

    /// Starts a batch. Gives one stream a partition of the result; rows are in the query's order
    /// when the partitions are read one after the other.
    pub fn run(&self, batch: &Arc<RunningBatch>) -> Result<Vec<SendableRecordBatchStream>> {
        let plan = reset_plan_states(Arc::clone(&self.plan))?;
        let state = self.context.task_ctx();
        let config = state.session_config().clone().with_extension(Arc::clone(batch));
        let task = TaskContext::default().with_session_config(config);
        let task = Arc::new(task.with_runtime(batch.runtime()));
        let partitions = plan.output_partitioning().partition_count();
        (0..partitions).map(|partition| plan.execute(partition, Arc::clone(&task))).collect()
    }
}

/// A column that says nothing of itself but the fields of its intervals.
fn without_tags(field: &FieldRef) -> FieldRef {
    let said = field.metadata().get_key_value(IntervalFields::KEY);
    let said = said.map(|(key, fields)| (key.clone(), fields.clone()));
    Arc::new(field.as_ref().clone().with_metadata(said.into_iter().collect()))
}
