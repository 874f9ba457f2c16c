//! The threads that compute a query's batches.

use std::ops::Deref;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::EngineError;

/// Bytes of a thread's stack: of address space, memory is taken as far as it is used. Expressions and
/// operators go as deep as the query does, which the plan bounds.
const STACK_BYTES: usize = 16 << 20;

/// A runtime that is left behind and not waited for: a thread may be waiting for a source that no
/// longer answers, for rows that nobody wants any more.
pub(crate) struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Threads {
    pub(crate) fn start(count: usize) -> Result<Threads, EngineError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name("tidemill-plan")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| EngineError::Execution(format!("no threads to run on: {error}")))?;
        Ok(Threads { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Deref for Threads {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
