//! The partitions of a plan, computed side by side and read one after the other.

use arrow::array::RecordBatch;
use futures::{Stream, StreamExt};
use std::error::Error;
use tidemill_core::{BatchId, MemoryBudget, Reservation, TRACE_TARGET};
use tidemill_plan::block_bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::EngineError;

/// Record batches that a partition may be ahead of its reader. A partition that waits for its turn
/// fills this and stops, so that memory stays bounded: 64 blocks of 8,192 rows, and none where the
/// budget is nearly used up.
const QUEUE_BLOCKS: usize = 64;

/// How errors about memory name rows that wait for their turn.
const HOLDER: &str = "rows that wait for the sink";

/// Running partitions, in the order of the query's rows.
pub(crate) struct Partitions {
    runtime: Handle,
    waiting: std::vec::IntoIter<Partition>,
    current: Option<Partition>,
}

/// A block on its way to its reader, and its memory. Where that could not be reserved, the block is
/// the only one on its way.
type Passed = (Result<RecordBatch, EngineError>, Option<Reservation>);

struct Partition {
    queue: Receiver<Passed>,
    task: JoinHandle<()>,
}

impl Partitions {
    /// Starts to compute every partition of a batch.
    pub(crate) fn spawn<S, E>(
        runtime: &Handle,
        streams: Vec<S>,
        batch: BatchId,
        memory: &MemoryBudget,
    ) -> Partitions
    where
        S: Stream<Item = Result<RecordBatch, E>> + Send + Unpin + 'static,
        E: Error + Send + 'static,
    {
        let memory = memory.reserve(HOLDER);
        let partitions: Vec<Partition> = streams
            .into_iter()
            .enumerate()
            .map(|(partition, mut stream)| {
                let (sender, queue) = channel(QUEUE_BLOCKS);
                let span = tracing::debug_span!(
                    target: TRACE_TARGET, "partition", batch = batch.0, partition
                );
                let memory = memory.part();
                let compute = async move {
                    while let Some(block) = stream.next().await {
                        let block = block.map_err(|error| EngineError::from_plan(&error));
                        let is_last = block.is_err();
                        if !pass(&sender, block, &memory).await || is_last {
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
                if let Some((block, _)) = current.queue.blocking_recv() {
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

/// Hands a block over. Whether anybody wants more.
async fn pass(
    sender: &Sender<Passed>,
    block: Result<RecordBatch, EngineError>,
    memory: &Reservation,
) -> bool {
    let mut part = memory.part();
    let held = match &block {
        Ok(rows) => part.try_grow_ahead(block_bytes(rows)).then_some(part),
        Err(_) => None,
    };
    // Without memory nothing is computed ahead: all other blocks have to be taken first.
    if held.is_none() && sender.reserve_many(QUEUE_BLOCKS).await.is_err() {
        return false;
    }
    sender.send((block, held)).await.is_ok()
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

    fn block(number: i64) -> RecordBatch {
        let numbers = arrow::array::Int64Array::from(vec![number; 1_000]);
        RecordBatch::try_from_iter([("n", std::sync::Arc::new(numbers) as _)]).unwrap()
    }

    #[test]
    fn a_partition_that_panics_is_an_error_and_not_an_end() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let broken = stream::iter(0..3).map(|number| -> Result<RecordBatch, Infallible> {
            assert!(number < 1, "block {number} cannot be computed");
            Ok(block(number))
        });
        let memory = MemoryBudget::unlimited();
        let mut partitions =
            Partitions::spawn(runtime.handle(), vec![broken], BatchId::FIRST, &memory);
        assert!(partitions.next().is_some_and(|block| block.is_ok()));
        assert!(partitions.next().is_some_and(|block| block.is_err()));
        assert!(partitions.next().is_none());
    }

    /// Blocks of 8,000 bytes, of which the budget has room for one beside those that cannot wait.
    #[test]
    fn without_memory_rows_come_all_the_same_and_one_at_a_time() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let memory = MemoryBudget::new(16_000);
        let streams: Vec<_> = (0..3)
            .map(|partition| {
                stream::iter(0..50).map(move |number| -> Result<RecordBatch, Infallible> {
                    Ok(block(partition * 50 + number))
                })
            })
            .collect();
        let mut partitions = Partitions::spawn(runtime.handle(), streams, BatchId::FIRST, &memory);
        let mut numbers = Vec::new();
        while let Some(rows) = partitions.next() {
            use arrow::array::AsArray;
            let rows = rows.unwrap();
            numbers.push(rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0));
            assert!(memory.used() <= 12_000);
        }
        assert_eq!(numbers, (0..150).collect::<Vec<_>>());
    }
}
