//! The rows of an operator that needs all partitions of its input.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;

/// Record batches that a partition is ahead of its reader, at most.
const AHEAD: usize = 4;

/// All partitions of a plan, which run side by side, as one sequence: the first block of each, then
/// the second of each, and so on. What the blocks are depends on the input alone, so the order
/// does, too.
pub(super) struct Inputs {
    partitions: Vec<Option<SendableRecordBatchStream>>,
    next: usize,
}

impl Inputs {
    pub(super) fn start(
        plan: &Arc<dyn ExecutionPlan>,
        context: &Arc<TaskContext>,
    ) -> Result<Inputs> {
        let partitions = (0..plan.output_partitioning().partition_count())
            .map(|partition| {
                let mut ahead = RecordBatchReceiverStream::builder(plan.schema(), AHEAD);
                let mut rows = plan.execute(partition, Arc::clone(context))?;
                let sender = ahead.tx();
                ahead.spawn(async move {
                    // Who does not want the rows any more hangs up.
                    while let Some(block) = rows.next().await {
                        if sender.send(block).await.is_err() {
                            break;
                        }
                    }
                    Ok(())
                });
                Ok(Some(ahead.build()))
            })
            .collect::<Result<_>>()?;
        Ok(Inputs { partitions, next: 0 })
    }

    /// The next block with rows, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        Ok(self.next_numbered().await?.map(|(_, rows)| rows))
    }

    /// The same with the number of the partition that it is of.
    pub(super) async fn next_numbered(&mut self) -> Result<Option<(usize, RecordBatch)>> {
        let mut ended = 0;
        while ended < self.partitions.len() {
            let turn = self.next;
            self.next = (turn + 1) % self.partitions.len();
            let Some(partition) = &mut self.partitions[turn] else {
                ended += 1;
                continue;
            };
            match partition.next().await.transpose()? {
                Some(rows) if rows.num_rows() > 0 => return Ok(Some((turn, rows))),
                Some(_) => ended = 0,
                None => {
                    self.partitions[turn] = None;
                    ended += 1;
                }
            }
        }
        Ok(None)
    }
}
