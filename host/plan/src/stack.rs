//! A thread with a deep stack, for work that goes as deep as a query is.
//!
//! Parser, planner and optimiser go down a tree by calls. A query may be deeper (see the front end's `sql/limits.rs`)
//! than the stack of a thread that serves a runtime, or of a plugin's fibre, has room for.

use std::io;
use std::thread;

use tokio::runtime::Handle;

use crate::PlanError;

/// Bytes of address space; memory is taken as far as the stack is used.
const STACK_BYTES: usize = 256 << 20;

/// Does work on a thread of its own, and waits for it.
///
/// # Errors
/// There is no such thread to be had.
pub(crate) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, PlanError> {
    let runtime = Handle::try_current().ok();
    let work = move || {
        let _entered = runtime.as_ref().map(Handle::enter);
        work()
    };
    let none = |error: io::Error| {
        PlanError::Engine(format!(
            "no thread to plan on (of {STACK_BYTES} bytes of stack): {error}"
        ))
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("tidemill-planning".to_owned());
        let thread = builder.stack_size(STACK_BYTES).spawn_scoped(scope, work).map_err(none)?;
        match thread.join() {
            Ok(done) => Ok(done),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
