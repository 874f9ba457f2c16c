//! The rows of an operator that works in a task of its own.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use tokio::sync::mpsc::Sender;

use super::stateful::in_blocks;

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

    /// Hands rows over, in blocks of the usual size, and waits while the reader is behind.
    ///
    /// # Errors
    /// Nobody reads any more: the batch is given up.
    pub(super) async fn send(&self, rows: &RecordBatch) -> Result<()> {
        for block in in_blocks(rows) {
            if self.0.send(Ok(block)).await.is_err() {
                return exec_err!("nobody reads the rows of a stateful operator any more");
            }
        }
        Ok(())
    }
}
