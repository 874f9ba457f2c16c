//! Which batch the aggregates of plugins are opened for.
//!
//! DataFusion makes accumulators within `execute`, and some more while rows are taken, and asks for them
//! without a task: so the thread knows meanwhile what it executes. Ours are made within [`during`] too.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{exec_datafusion_err, internal_datafusion_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, RecordBatchStream,
    SendableRecordBatchStream,
};
use futures::{Stream, StreamExt};
use tidemill_core::PluginError;

use super::aggregate::PluginAggregate;
use crate::RunningBatch;
use crate::physical::{debug_as_shown, one_input};

thread_local! {
    static RUNNING: RefCell<Option<(Arc<RunningBatch>, u32)>> = const { RefCell::new(None) };
}

/// Calls something that makes accumulators, for one partition of a batch.
pub(crate) fn during<T>(batch: &Arc<RunningBatch>, partition: u32, call: impl FnOnce() -> T) -> T {
    /// Puts back what was there before, also where the call panics.
    struct Before(Option<(Arc<RunningBatch>, u32)>);
    impl Drop for Before {
        fn drop(&mut self) {
            RUNNING.replace(self.0.take());
        }
    }
    let _before = Before(RUNNING.replace(Some((Arc::clone(batch), partition))));
    call()
}

/// The batch and the partition that accumulators are made for.
pub(super) fn running() -> Result<(Arc<RunningBatch>, u32)> {
    let running = RUNNING.with_borrow(Option::clone);
    running.ok_or_else(|| {
        internal_datafusion_err!("an aggregate of a plugin was made outside of a batch")
    })
}

pub(super) fn failed(error: PluginError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A plan whose aggregations know which batch they make accumulators for, where these are plugins'.
pub(crate) fn with_scopes(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let scoped = plan.transform_up(|node| {
        let aggregation = node.downcast_ref::<AggregateExec>();
        let calls_plugin = aggregation.is_some_and(|aggregation| {
            aggregation.aggr_expr().iter().any(|call| call.fun().inner().is::<PluginAggregate>())
        });
        Ok(match calls_plugin {
            true => Transformed::yes(Arc::new(Scoped::at(node)) as Arc<dyn ExecutionPlan>),
            false => Transformed::no(node),
        })
    })?;
    Ok(scoped.data)
}

/// An aggregation whose accumulators are made for the batch that it is executed for.
struct Scoped {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl Scoped {
    fn at(input: Arc<dyn ExecutionPlan>) -> Scoped {
        let properties = Arc::clone(input.properties());
        Scoped { input, properties }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Scoped {
        Scoped::at(input)
    }
}

debug_as_shown!(Scoped);

impl DisplayAs for Scoped {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PluginAggregates")
    }
}

impl ExecutionPlan for Scoped {
    one_input!("PluginAggregates");

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch = RunningBatch::of(&context)?;
        let number = u32::try_from(partition);
        let number = number.map_err(|_| exec_datafusion_err!("partition {partition}"))?;
        let input = during(&batch, number, || self.input.execute(partition, context))?;
        Ok(Box::pin(Polled { input, batch, partition: number }))
    }
}

/// The rows of an aggregation: where groups are too many to be worth it, accumulators are made while
/// they are taken.
struct Polled {
    input: SendableRecordBatchStream,
    batch: Arc<RunningBatch>,
    partition: u32,
}

impl Stream for Polled {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Polled { input, batch, partition } = self.get_mut();
        during(batch, *partition, || input.poll_next_unpin(context))
    }
}

impl RecordBatchStream for Polled {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
