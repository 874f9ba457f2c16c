//! What the host does for a foreach_batch handler.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::BoxFuture;

/// A table that the host holds while a foreach_batch handler runs.
pub type FrameHandle = u64;

/// A host call of a handler failed. The handler is told and may go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The request makes no sense: wrong SQL, an unknown handle, a target that is not granted.
    #[error("{0}")]
    BadInput(String),
    /// The same call may succeed later.
    #[error("{0}")]
    Retryable(String),
    /// It will not.
    #[error("{0}")]
    Fatal(String),
}

/// What the host does for a foreach_batch handler during one call. Frames die with it.
pub trait BatchHost: Send + Sync {
    /// Schema of a frame.
    fn schema(&self, of: FrameHandle) -> Result<SchemaRef, CallFailure>;

    /// Rows of a frame.
    fn count(&self, of: FrameHandle) -> BoxFuture<'_, Result<u64, CallFailure>>;

    /// Batch SQL over the named frames, and nothing else.
    fn sql(
        &self,
        query: String,
        tables: Vec<(String, FrameHandle)>,
    ) -> BoxFuture<'_, Result<FrameHandle, CallFailure>>;

    /// A frame of the handler's own rows.
    fn add_frame(
        &self,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<FrameHandle, CallFailure>;

    /// The record batches from number `first` on, as many as fit `max_bytes` (at least one);
    /// empty at the end.
    fn collect(
        &self,
        of: FrameHandle,
        first: u32,
        max_bytes: u64,
    ) -> BoxFuture<'_, Result<Vec<RecordBatch>, CallFailure>>;

    /// Writes all rows to a granted target, once per batch and call. Gives the rows written, 0 if
    /// they were there already.
    fn write(&self, of: FrameHandle, target: String) -> BoxFuture<'_, Result<u64, CallFailure>>;

    /// Forgets a frame.
    fn release(&self, of: FrameHandle);

    /// Runs a statement on a granted SQL target, once for each row of `parameters`. No guarantee
    /// beyond what the target gives.
    fn execute(
        &self,
        target: String,
        statement: String,
        parameters: Option<RecordBatch>,
    ) -> BoxFuture<'_, Result<u64, CallFailure>>;

    /// Whether this batch was marked under `name`.
    fn is_processed(&self, name: &str) -> Result<bool, CallFailure>;

    /// Marks this batch under `name`. Durable when it returns.
    fn mark_processed(&self, name: String) -> BoxFuture<'_, Result<(), CallFailure>>;
}
