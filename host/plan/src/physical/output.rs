//! The rows of an operator that works in a task of its own.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use tokio::sync::mpsc::{Sender, channel};

use super::stateful::{OUTPUT_ROWS, in_blocks};

/// Record batches that wait for their reader, at most.
const OUTPUT_BLOCKS: usize = 4;

/// Where the task puts its rows.
pub(super) struct Output(Sender<Result<RecordBatch>>);

impl Output {
    /// Starts the task. Its rows, and its error, are the stream's.
    pub(super) fn of<F, T>(schema: SchemaRef, task: T) -> SendableRecordBatchStream
    where
        T: FnOnce(Output) -> F,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut stream = RecordBatchReceiverStream::builder(schema, OUTPUT_BLOCKS);
        let output = Output(stream.tx());
        stream.spawn(task(output));
        stream.build()
    }

    /// Runs tasks side by side. Their rows go on one task after the other, and what they give comes
    /// in their order.
    pub(super) async fn of_tasks<W, F, T>(&self, tasks: Vec<W>) -> Result<Vec<T>>
    where
        W: FnOnce(Output) -> F,
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let started = tasks.into_iter().map(|task| {
            let (sender, rows) = channel(OUTPUT_BLOCKS);
            (SpawnedTask::spawn(task(Output(sender))), rows)
        });
        let started: Vec<_> = started.collect();
        let mut done = Vec::with_capacity(started.len());
        for (task, mut rows) in started {
            while let Some(block) = rows.recv().await {
                self.hand_over(block).await?;
            }
            done.push(task.join_unwind().await.map_err(|e| exec_datafusion_err!("{e}"))??);
        }
        Ok(done)
    }

    /// Hands rows over, in blocks of the usual size, and waits while the reader is behind.
    ///
    /// # Errors
    /// Nobody reads any more: the batch is given up.
    pub(super) async fn send(&self, rows: &RecordBatch) -> Result<()> {
        for block in in_blocks(rows, OUTPUT_ROWS) {
            self.hand_over(Ok(block)).await?;
        }
        Ok(())
    }

    async fn hand_over(&self, block: Result<RecordBatch>) -> Result<()> {
        match self.0.send(block).await {
            Ok(()) => Ok(()),
            Err(_) => exec_err!("nobody reads the rows of a stateful operator any more"),
        }
    }
}
