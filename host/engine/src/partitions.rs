//! The partitions of a plan, computed side by side and read one after the other.

use arrow::array::RecordBatch;
use futures::{Stream, StreamExt};
use std::error::Error;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;

use crate::EngineError;

/// Record batches that a partition may be ahead of its reader. A partition that waits for its turn
/// fills this and stops, so that memory stays bounded: 64 blocks of 8,192 rows.
const QUEUE_BLOCKS: usize = 64;

/// Running partitions, in the order of the query's rows.
pub(crate) struct Partitions {
    queues: std::vec::IntoIter<Receiver<Result<RecordBatch, EngineError>>>,
    current: Option<Receiver<Result<RecordBatch, EngineError>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Partitions {
    /// Starts to compute every partition.
    pub(crate) fn spawn<S, E>(runtime: &Runtime, streams: Vec<S>) -> Partitions
    where
        S: Stream<Item = Result<RecordBatch, E>> + Send + Unpin + 'static,
        E: Error + Send + 'static,
    {
        let mut queues = Vec::new();
        let mut tasks = Vec::new();
        for mut stream in streams {
            let (sender, receiver) = channel(QUEUE_BLOCKS);
            queues.push(receiver);
            tasks.push(runtime.spawn(async move {
                while let Some(block) = stream.next().await {
                    let block = block.map_err(|error| EngineError::from_plan(&error));
                    let is_last = block.is_err();
                    if sender.send(block).await.is_err() || is_last {
                        return;
                    }
                }
            }));
        }
        Partitions { queues: queues.into_iter(), current: None, tasks }
    }

    /// The next block; blocks until there is one. `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Result<RecordBatch, EngineError>> {
        loop {
            if let Some(current) = &mut self.current
                && let Some(block) = current.blocking_recv()
            {
                return Some(block);
            }
            self.current = Some(self.queues.next()?);
        }
    }
}

impl Drop for Partitions {
    /// A batch that failed must not go on computing.
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
