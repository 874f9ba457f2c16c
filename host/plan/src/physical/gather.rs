//! All partitions of its input as one, for operators of DataFusion that read a single one.
//!
//! DataFusion's own rules, which would put such a node in, are off: they do not keep rows in order.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, SendableRecordBatchStream, replace_children_if_necessary,
};
use futures::{StreamExt, TryStreamExt};

use super::held::grow;
use super::inputs::Inputs;
use super::properties::{debug_as_shown, one_input, plain};
use crate::RunningBatch;
use crate::memory::block_bytes;

/// Puts a [`GatherExec`] below every operator that wants one partition and would be given several:
/// it would read the first one, and leave the others and their state aside.
pub(crate) fn gather_partitions(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let gathered = plan.transform_up(|node| {
        let wanted = node.input_distribution_requirements();
        let is_torn = |number: usize, input: &Arc<dyn ExecutionPlan>| {
            matches!(wanted.child_distribution(number), Some(Distribution::SinglePartition))
                && input.output_partitioning().partition_count() > 1
        };
        let mut is_changed = false;
        let mut inputs = Vec::new();
        for (number, input) in node.children().into_iter().enumerate() {
            inputs.push(if is_torn(number, input) {
                is_changed = true;
                Arc::new(GatherExec::new(Arc::clone(input))) as Arc<dyn ExecutionPlan>
            } else {
                Arc::clone(input)
            });
        }
        match is_changed {
            true => Ok(Transformed::yes(replace_children_if_necessary(node, inputs)?)),
            false => Ok(Transformed::no(node)),
        }
    })?;
    Ok(gathered.data)
}

/// Gives all rows of its input in one partition. It reads the input to its end before it gives the
/// first row: a reader that wants few of them (a LIMIT) must not keep operators below from their
/// state. What is kept meanwhile is the result of a batch in complete mode.
struct GatherExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl GatherExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> GatherExec {
        let properties = plain(input.schema(), 1, EmissionType::Final);
        GatherExec { input, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> GatherExec {
        GatherExec { input, properties: Arc::clone(&self.properties) }
    }
}

debug_as_shown!(GatherExec);

impl DisplayAs for GatherExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gather")
    }
}

impl ExecutionPlan for GatherExec {
    one_input!("Gather");

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let memory = RunningBatch::of(&context)?.memory().reserve("rows that are gathered");
        let mut input = Inputs::start(&self.input, &context)?;
        let rows = async move {
            let mut blocks = Vec::new();
            while let Some(block) = input.next().await? {
                let mut held = memory.part();
                grow(&mut held, block_bytes(&block))?;
                blocks.push((block, held));
            }
            let blocks = blocks.into_iter().map(|(block, _)| Ok(block));
            Ok::<_, datafusion::error::DataFusionError>(futures::stream::iter(blocks))
        };
        let rows = futures::stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows.boxed())))
    }
}
