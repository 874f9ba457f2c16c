//! What the host does for a foreach_batch handler during one call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use tidemill_checkpoint::Checkpoint;
use tidemill_core::{
    Abandoned, BatchHost, Begin, BoxFuture, CallFailure, ConnectorError, Delivered, Delivery,
    FrameHandle, Secrets,
};
use tidemill_plan::{
    CallMemory, FrameRows, FrameTable, Frames, PlanError, block_bytes, spawn_blocking,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::phase::Planned;
use crate::rows::{RowsBuilder, StoredRows};
use crate::{EngineError, TargetFactory};

/// What one call may use.
pub(crate) struct HandlerCall {
    pub(crate) planned: Planned,
    pub(crate) targets: BTreeMap<String, Arc<dyn TargetFactory>>,
    pub(crate) checkpoint: Arc<Mutex<Checkpoint>>,
    pub(crate) frames: Arc<Frames>,
    /// What guests are not told.
    pub(crate) secrets: Arc<Secrets>,
    /// Set once nobody reads a target any more, to what was found: no failure of the handler.
    pub(crate) is_unread: Arc<OnceLock<String>>,
    /// The last write that each target holds, by its name.
    pub(crate) delivered: Arc<Mutex<BTreeMap<String, Delivered>>>,
    pub(crate) memory: Arc<CallMemory>,
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

    /// What the guest is told of a place that could not do what it was asked.
    fn failure(&self, error: EngineError) -> CallFailure {
        if error.is_unread() {
            // The first one is the reason; the others follow from it.
            let _ = self.call.is_unread.set(error.to_string());
        }
        failure(&error, &self.call.secrets)
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
            let (plans, memory) = (Arc::clone(&self.call.frames), Arc::clone(&self.call.memory));
            let rows =
                on_its_own_thread(async move { select(&plans, query, frames, &memory).await });
            Ok(self.add(rows.await?))
        })
    }

    fn add_frame(
        &self,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<FrameHandle, CallFailure> {
        let mut rows = RowsBuilder::new(schema, &self.call.memory);
        batches.into_iter().try_for_each(|block| rows.push(block)).map_err(fatal)?;
        Ok(self.add(Arc::new(rows.finish().map_err(fatal)?)))
    }

    fn collect(
        &self,
        of: FrameHandle,
        first: u32,
        max_bytes: u64,
    ) -> BoxFuture<'_, Result<Vec<RecordBatch>, CallFailure>> {
        Box::pin(async move {
            let rows = self.frame(of)?;
            blocking(move || page(&rows, first as usize, max_bytes)).await
        })
    }

    fn write(&self, of: FrameHandle, target: String) -> BoxFuture<'_, Result<u64, CallFailure>> {
        Box::pin(async move {
            let rows = self.frame(of)?;
            let factory = self.target(&target)?;
            let call = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
            let delivery = self.call.planned.delivery(call);
            let delivered = Arc::clone(&self.call.delivered);
            let abandoned = Abandoned::default();
            // As with a statement: the deadline drops this future, and not the thread's work.
            let _waiting = abandoned.on_drop();
            let written = blocking(move || {
                let written = deliver(factory.as_ref(), &rows, delivery.clone(), &abandoned);
                if let Ok((_, place)) = &written {
                    let mut delivered = delivered.lock().unwrap_or_else(PoisonError::into_inner);
                    delivered.insert(target, Delivered::of(place.clone(), &delivery));
                }
                Ok(written)
            });
            let (rows, _) = written.await?.map_err(|error| self.failure(error))?;
            Ok(rows)
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
            let executed =
                blocking(move || Ok(factory.execute(&statement, parameters.as_ref(), &abandoned)));
            let changed = executed.await?.map_err(|error| self.failure(error.into()))?;
            changed.ok_or_else(|| {
                CallFailure::BadInput(format!("target \"{target}\" takes no statements"))
            })
        })
    }

    fn is_processed(&self, name: &str) -> Result<bool, CallFailure> {
        let checkpoint = self.call.checkpoint.lock().unwrap_or_else(|e| e.into_inner());
        Ok(checkpoint.is_processed(self.call.planned.spec.batch, name))
    }

    fn mark_processed(&self, name: String) -> BoxFuture<'_, Result<(), CallFailure>> {
        let checkpoint = Arc::clone(&self.call.checkpoint);
        let batch = self.call.planned.spec.batch;
        Box::pin(blocking(move || {
            let mut checkpoint = checkpoint.lock().unwrap_or_else(|e| e.into_inner());
            checkpoint
                .append_mark(batch, &name)
                .and_then(|()| checkpoint.sync())
                .map_err(|error| CallFailure::Fatal(error.to_string()))
        }))
    }
}

/// Writes a frame to a target as one delivery, unless nobody waits for it any more: then nothing of
/// it is kept. Gives the rows written, and the place.
fn deliver(
    factory: &dyn TargetFactory,
    rows: &StoredRows,
    delivery: Delivery,
    abandoned: &Abandoned,
) -> Result<(u64, String), EngineError> {
    let mut sink = factory.open(rows.schema())?;
    let place = sink.description();
    if sink.begin(delivery)? == Begin::Landed {
        factory.keep(rows.schema(), sink);
        return Ok((0, place));
    }
    let mut written = || -> Result<(), ConnectorError> {
        for block in rows.read() {
            still_wanted(abandoned)?;
            let block = block.map_err(|error| {
                ConnectorError::fatal("the batch's rows could not be read again").caused_by(error)
            })?;
            sink.write(&block)?;
        }
        sink.prepare()?;
        // What lands after its batch has failed is exact, and stands in the way of another plan.
        still_wanted(abandoned)?;
        sink.commit()
    };
    match written() {
        Ok(()) => {
            factory.keep(rows.schema(), sink);
            Ok((rows.count(), place))
        }
        // A sink that could not drop the write is not kept: the next one opens the target anew.
        Err(error) => match sink.abort() {
            Ok(()) => Err(error.into()),
            Err(abort) => Err(EngineError::NotUndone { reason: Box::new(error.into()), abort }),
        },
    }
}

fn still_wanted(abandoned: &Abandoned) -> Result<(), ConnectorError> {
    match abandoned.is_set() {
        true => Err(ConnectorError::fatal("the write was abandoned at the deadline of its call")),
        false => Ok(()),
    }
}

/// The rows of a SELECT.
async fn select(
    plans: &Frames,
    query: String,
    tables: Vec<FrameTable>,
    memory: &Arc<CallMemory>,
) -> Result<Arc<StoredRows>, CallFailure> {
    let failed = |error: PlanError| match error {
        PlanError::Memory(reason) => CallFailure::Fatal(reason),
        error => CallFailure::BadInput(error.to_string()),
    };
    let mut result = plans.sql(&query, &tables, memory).await.map_err(failed)?;
    let mut rows = RowsBuilder::new(result.schema, memory);
    while let Some(block) = result.rows.next().await {
        rows.push(block.map_err(failed)?).map_err(fatal)?;
    }
    Ok(Arc::new(rows.finish().map_err(fatal)?))
}

/// Blocks from one on, as many as go into so many bytes; at least one, if there is one.
fn page(rows: &StoredRows, first: usize, max_bytes: u64) -> Result<Vec<RecordBatch>, CallFailure> {
    let mut taken: Vec<RecordBatch> = Vec::new();
    let mut bytes = 0;
    for block in rows.read_from(first) {
        let block = block.map_err(|error| CallFailure::Fatal(error.to_string()))?;
        bytes += block_bytes(&block);
        if !taken.is_empty() && bytes > max_bytes {
            break;
        }
        taken.push(block);
    }
    Ok(taken)
}

fn fatal(error: EngineError) -> CallFailure {
    CallFailure::Fatal(error.to_string())
}

fn failure(error: &EngineError, secrets: &Secrets) -> CallFailure {
    let message = secrets.conceal(&error.to_string()).into_owned();
    let is_retryable = error.is_retryable();
    if is_retryable { CallFailure::Retryable(message) } else { CallFailure::Fatal(message) }
}

/// Work that blocks goes where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallFailure> + Send + 'static,
) -> Result<T, CallFailure> {
    let (done, result) = oneshot::channel();
    // Who does not wait for it any more has hung up.
    let work = move || done.send(work()).unwrap_or_else(drop);
    spawn_blocking(work).map_err(|error| CallFailure::Retryable(error.to_string()))?;
    let ended_early = |_| CallFailure::Fatal("a host call ended early: it panicked".to_owned());
    result.await.map_err(ended_early)?
}

/// A future that computes for long goes where it holds nobody up. Dropped, it ends where it next
/// waits or yields; the caller's deadline does not depend on that.
pub(crate) async fn on_its_own_thread<T: Send + 'static>(
    work: impl Future<Output = Result<T, CallFailure>> + Send + 'static,
) -> Result<T, CallFailure> {
    let runtime = Handle::current();
    let (_alive, dropped) = oneshot::channel::<()>();
    let driven = move || {
        runtime.block_on(async {
            tokio::select! {
                result = work => result,
                _ = dropped => Err(CallFailure::Fatal("the call was abandoned".to_owned())),
            }
        })
    };
    blocking(driven).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_told_what_failed_without_the_places_secrets() {
        let mut secrets = Secrets::default();
        secrets.add("hunter2", None);
        let cause = std::io::Error::other("no such user u:hunter2");
        let error = ConnectorError::retryable("the place is away").caused_by(cause);
        let told = failure(&error.into(), &secrets);
        assert_eq!(told, CallFailure::Retryable("the place is away: no such user u:…".to_owned()));
    }
}
