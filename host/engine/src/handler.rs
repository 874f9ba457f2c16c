//! What the host does for a foreach_batch handler during one call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_checkpoint::Checkpoint;
use tidemill_core::{
    Abandoned, Attempt, BatchHost, BatchId, Begin, BoxFuture, CallFailure, ConnectorError,
    Delivery, FrameHandle,
};
use tidemill_plan::{FrameRows, FrameTable, Frames};

use crate::rows::{RowsBuilder, StoredRows};
use crate::{EngineError, TargetFactory};

/// What one call may use.
pub(crate) struct HandlerCall {
    pub(crate) batch: BatchId,
    pub(crate) attempt: Attempt,
    pub(crate) targets: BTreeMap<String, Arc<dyn TargetFactory>>,
    pub(crate) checkpoint: Arc<Mutex<Checkpoint>>,
    pub(crate) frames: Arc<Frames>,
}

impl HandlerCall {
    /// The host of the call, and the frame with the batch's rows.
    pub(crate) fn start(self, rows: Arc<StoredRows>) -> (Arc<dyn BatchHost>, FrameHandle) {
        let host = Handler {
            call: self,
            tables: Mutex::default(),
            next_frame: AtomicU64::new(1),
            writes: AtomicU32::new(0),
        };
        let frame = host.add(rows);
        (Arc::new(host), frame)
    }
}

struct Handler {
    call: HandlerCall,
    tables: Mutex<BTreeMap<FrameHandle, Arc<StoredRows>>>,
    next_frame: AtomicU64,
    /// Writes to targets so far. Their numbers tell a repeated handler's writes apart.
    writes: AtomicU32,
}

impl Handler {
    fn add(&self, rows: Arc<StoredRows>) -> FrameHandle {
        let handle = self.next_frame.fetch_add(1, Ordering::Relaxed);
        self.tables().insert(handle, rows);
        handle
    }

    fn frame(&self, handle: FrameHandle) -> Result<Arc<StoredRows>, CallFailure> {
        self.tables().get(&handle).cloned().ok_or_else(|| {
            CallFailure::BadInput(format!("there is no frame {handle}; frames die with the call"))
        })
    }

    fn target(&self, name: &str) -> Result<Arc<dyn TargetFactory>, CallFailure> {
        self.call.targets.get(name).cloned().ok_or_else(|| {
            let granted: Vec<&str> = self.call.targets.keys().map(String::as_str).collect();
            let granted = if granted.is_empty() { "none".to_owned() } else { granted.join(", ") };
            CallFailure::BadInput(format!(
                "target \"{name}\" is not granted to this plugin (granted: {granted}); add it to the plugin's `targets` in the job"
            ))
        })
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<FrameHandle, Arc<StoredRows>>> {
        self.tables.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl BatchHost for Handler {
    fn schema(&self, of: FrameHandle) -> Result<SchemaRef, CallFailure> {
        Ok(self.frame(of)?.schema())
    }

    fn count(&self, of: FrameHandle) -> BoxFuture<'_, Result<u64, CallFailure>> {
        Box::pin(async move { Ok(self.frame(of)?.count()) })
    }

    fn sql(
        &self,
        query: String,
        tables: Vec<(String, FrameHandle)>,
    ) -> BoxFuture<'_, Result<FrameHandle, CallFailure>> {
        Box::pin(async move {
            let mut frames = Vec::new();
            for (name, handle) in tables {
                let rows = self.frame(handle)?;
                frames.push(FrameTable { name, schema: rows.schema(), rows });
            }
            let (schema, blocks) = self
                .call
                .frames
                .sql(&query, &frames)
                .await
                .map_err(|error| CallFailure::BadInput(error.to_string()))?;
            Ok(self.add(store(schema, blocks)?))
        })
    }

    fn add_frame(
        &self,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<FrameHandle, CallFailure> {
        Ok(self.add(store(schema, batches)?))
    }

    fn collect(
        &self,
        of: FrameHandle,
        first: u32,
        max_bytes: u64,
    ) -> BoxFuture<'_, Result<Vec<RecordBatch>, CallFailure>> {
        Box::pin(async move {
            let rows = self.frame(of)?;
            let mut taken: Vec<RecordBatch> = Vec::new();
            let mut bytes = 0;
            for block in rows.read().skip(first as usize) {
                let block = block.map_err(|error| CallFailure::Fatal(error.to_string()))?;
                bytes += block.get_array_memory_size() as u64;
                if !taken.is_empty() && bytes > max_bytes {
                    break;
                }
                taken.push(block);
            }
            Ok(taken)
        })
    }

    fn write(&self, of: FrameHandle, target: String) -> BoxFuture<'_, Result<u64, CallFailure>> {
        Box::pin(async move {
            let rows = self.frame(of)?;
            let factory = self.target(&target)?;
            let call = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
            let HandlerCall { batch, attempt, .. } = self.call;
            let delivery = Delivery { batch, attempt, call };
            blocking(move || deliver(factory.as_ref(), &rows, delivery)).await
        })
    }

    fn release(&self, of: FrameHandle) {
        self.tables().remove(&of);
    }

    fn execute(
        &self,
        target: String,
        statement: String,
        parameters: Option<RecordBatch>,
    ) -> BoxFuture<'_, Result<u64, CallFailure>> {
        Box::pin(async move {
            let factory = self.target(&target)?;
            let abandoned = Abandoned::default();
            // The deadline drops this future, and cannot end the thread that runs the statement.
            let _waiting = abandoned.on_drop();
            blocking(move || {
                let changed = factory.execute(&statement, parameters.as_ref(), &abandoned);
                let changed = changed.map_err(failure)?;
                changed.ok_or_else(|| {
                    CallFailure::BadInput(format!("target \"{target}\" takes no statements"))
                })
            })
            .await
        })
    }

    fn is_processed(&self, name: &str) -> Result<bool, CallFailure> {
        let checkpoint = self.call.checkpoint.lock().unwrap_or_else(|e| e.into_inner());
        Ok(checkpoint.is_processed(self.call.batch, name))
    }

    fn mark_processed(&self, name: String) -> BoxFuture<'_, Result<(), CallFailure>> {
        let checkpoint = Arc::clone(&self.call.checkpoint);
        let batch = self.call.batch;
        Box::pin(blocking(move || {
            let mut checkpoint = checkpoint.lock().unwrap_or_else(|e| e.into_inner());
            checkpoint
                .append_mark(batch, &name)
                .and_then(|()| checkpoint.sync())
                .map_err(|error| CallFailure::Fatal(error.to_string()))
        }))
    }
}

/// Writes a frame to a target as one delivery.
fn deliver(
    factory: &dyn TargetFactory,
    rows: &StoredRows,
    delivery: Delivery,
) -> Result<u64, CallFailure> {
    let mut sink = factory.open(rows.schema()).map_err(failure)?;
    if sink.begin(delivery).map_err(failure)? == Begin::Landed {
        factory.keep(rows.schema(), sink);
        return Ok(0);
    }
    let mut written = || -> Result<(), ConnectorError> {
        for block in rows.read() {
            let block = block.map_err(|error| {
                ConnectorError::fatal("the batch's rows could not be read again").caused_by(error)
            })?;
            sink.write(&block)?;
        }
        sink.prepare()?;
        sink.commit()
    };
    match written() {
        Ok(()) => {
            factory.keep(rows.schema(), sink);
            Ok(rows.count())
        }
        Err(error) => {
            if let Err(error) = sink.abort() {
                tracing::warn!(%error, "a target could not drop a failed write");
            }
            Err(failure(error))
        }
    }
}

fn store(schema: SchemaRef, blocks: Vec<RecordBatch>) -> Result<Arc<StoredRows>, CallFailure> {
    let fatal = |error: EngineError| CallFailure::Fatal(error.to_string());
    let mut rows = RowsBuilder::new(schema);
    blocks.into_iter().try_for_each(|block| rows.push(block)).map_err(fatal)?;
    Ok(Arc::new(rows.finish().map_err(fatal)?))
}

fn failure(error: ConnectorError) -> CallFailure {
    let message = EngineError::from(error);
    let is_retryable = message.is_retryable();
    let message = message.to_string();
    if is_retryable { CallFailure::Retryable(message) } else { CallFailure::Fatal(message) }
}

/// Work that blocks goes where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallFailure> + Send + 'static,
) -> Result<T, CallFailure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(CallFailure::Fatal(format!("a host call ended early: {error}")))
    })
}
