//! The threads that compute a query's batches.

use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tidemill_plan::NoThread;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads beside those that compute: one of the runtime for what blocks, and those of the first
/// reads.
const SPARE: usize = 4;

/// How long an idle thread of the runtime lives: as long as it.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

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
    /// Starts so many threads that compute, and one for work that blocks.
    ///
    /// # Errors
    /// The system has not so many threads left for this process.
    pub(crate) fn start(count: usize) -> Result<Threads, NoThread> {
        let refused = |error: io::Error| NoThread(error.to_string());
        // A runtime that gets no thread panics while it starts; so they are asked for before.
        try_threads(count + SPARE).map_err(refused)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name("tidemill-plan")
            .thread_stack_size(STACK_BYTES)
            .thread_keep_alive(FOR_EVER)
            .enable_all()
            .build()
            .map_err(refused)?;
        // DataFusion spills by the runtime's own pool, which keeps work for later when it gets no
        // thread: with one that never ends, later comes.
        runtime.spawn_blocking(|| ());
        Ok(Threads { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

/// Whether the system gives so many threads at once.
fn try_threads(count: usize) -> io::Result<()> {
    // They wait for each other here, so that all of them are there at the same time.
    let all = Arc::new(Mutex::new(()));
    let closed = all.lock();
    let mut threads = Vec::with_capacity(count);
    let started = (0..count).try_for_each(|_| {
        let all = Arc::clone(&all);
        threads.push(thread::Builder::new().spawn(move || drop(all.lock()))?);
        Ok(())
    });
    drop(closed);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    started
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
