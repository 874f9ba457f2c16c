//! The partitions of a plan, computed side by side and read one after the other.

use arrow::array::RecordBatch;
use futures::{Stream, StreamExt};
use std::error::Error;
use tidemill_core::{BatchId, TRACE_TARGET};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::EngineError;

/// Record batches that a partition may be ahead of its reader. A partition that waits for its turn
/// fills this and stops, so that memory stays bounded: 64 blocks of 8,192 rows.
const QUEUE_BLOCKS: usize = 64;

/// Running partitions, in the order of the query's rows.
pub(crate) struct Partitions {
    runtime: Handle,
    waiting: std::vec::IntoIter<Partition>,
    current: Option<Partition>,
}

struct Partition {
    queue: Receiver<Result<RecordBatch, EngineError>>,
    task: JoinHandle<()>,
}

impl Partitions {
    /// Starts to compute every partition of a batch.
    pub(crate) fn spawn<S, E>(runtime: &Handle, streams: Vec<S>, batch: BatchId) -> Partitions
    where
        S: Stream<Item = Result<RecordBatch, E>> + Send + Unpin + 'static,
        E: Error + Send + 'static,
    {
        let partitions: Vec<Partition> = streams
            .into_iter()
            .enumerate()
            .map(|(partition, mut stream)| {
                let (sender, queue) = channel(QUEUE_BLOCKS);
                let span = tracing::debug_span!(
                    target: TRACE_TARGET, "partition", batch = batch.0, partition
                );
                let compute = async move {
                    while let Some(block) = stream.next().await {
                        let block = block.map_err(|error| EngineError::from_plan(&error));
                        let is_last = block.is_err();
                        if sender.send(block).await.is_err() || is_last {
                            return;
                        }
                    }
                };
                let task = runtime.spawn(compute.instrument(span));
                Partition { queue, task }
            })
            .collect();
        Partitions { runtime: runtime.clone(), waiting: partitions.into_iter(), current: None }
    }

    /// The next block; blocks until there is one. `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Result<RecordBatch, EngineError>> {
        loop {
            if let Some(mut current) = self.current.take() {
                if let Some(block) = current.queue.blocking_recv() {
                    self.current = Some(current);
                    return Some(block);
                }
                // A queue ends when its task does; a task that panicked has not given all rows.
                if let Err(error) = self.runtime.block_on(&mut current.task) {
                    let reason = format!("a part of the plan ended early: {error}");
                    return Some(Err(EngineError::Execution(reason)));
                }
            }
            self.current = Some(self.waiting.next()?);
        }
    }
}

impl Drop for Partitions {
    /// A batch that failed must not go on computing.
    fn drop(&mut self) {
        self.current.iter().chain(self.waiting.as_slice()).for_each(|p| p.task.abort());
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::*;

    #[test]
    fn a_partition_that_panics_is_an_error_and_not_an_end() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let broken = stream::iter(0..3).map(|block| -> Result<RecordBatch, Infallible> {
            assert!(block < 1, "block {block} cannot be computed");
            Ok(RecordBatch::new_empty(std::sync::Arc::new(arrow::datatypes::Schema::empty())))
        });
        let mut partitions = Partitions::spawn(runtime.handle(), vec![broken], BatchId::FIRST);
        assert!(partitions.next().is_some_and(|block| block.is_ok()));
        assert!(partitions.next().is_some_and(|block| block.is_err()));
        assert!(partitions.next().is_none());
    }
}
