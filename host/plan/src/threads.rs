//! Threads for work that may block: reading from a place, computing for a handler.
//!
//! An async runtime's own blocking pool keeps work for later when the system has no thread to give,
//! and then nobody may ever come back for it. Here it is an error at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread waits for more work before it ends. A batch follows the last one sooner.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The system gives the process no more threads. It may do so later.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the system gives no more threads ({0}); raise the limit of processes (ulimit -u, or pids.max of the control group), or lower options.scan_partitions"
)]
pub struct NoThread(
    /// What the system says.
    pub String,
);

/// Bytes of a thread's stack: of address space, memory is taken as far as it is used. Expressions go
/// as deep as a handler's query, which has a bound.
const STACK_BYTES: usize = 16 << 20;

type Work = Box<dyn FnOnce() + Send>;

/// A thread that waits for work.
struct Idle {
    number: u64,
    sender: SyncSender<Work>,
}

static IDLE: Mutex<Vec<Idle>> = Mutex::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Runs work on a thread that may block for as long as it takes. Where it panics, only the work
/// ends.
///
/// # Errors
/// The system gives no thread; the work is dropped.
pub fn spawn_blocking(work: impl FnOnce() + Send + 'static) -> Result<(), NoThread> {
    let mut work: Work = Box::new(work);
    loop {
        let Some(thread) = idle().pop() else { return start(work) };
        match thread.sender.send(work) {
            Ok(()) => return Ok(()),
            // It ended all the same.
            Err(SendError(back)) => work = back,
        }
    }
}

fn idle() -> MutexGuard<'static, Vec<Idle>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(work: Work) -> Result<(), NoThread> {
    let thread = thread::Builder::new().name("tidemill-blocking".to_owned());
    let thread = thread.stack_size(STACK_BYTES);
    thread.spawn(move || serve(work)).map(drop).map_err(|error| NoThread(error.to_string()))
}

fn serve(first: Work) {
    let mut work = first;
    loop {
        // Who hands in work that may panic learns of it by what the work was to send.
        let _ = catch_unwind(AssertUnwindSafe(work));
        let (number, (sender, receiver)) = (NEXT.fetch_add(1, Ordering::Relaxed), sync_channel(1));
        idle().push(Idle { number, sender });
        let Some(next) = wait(number, &receiver) else { return };
        work = next;
    }
}

/// The next work; `None` if none came in time.
fn wait(number: u64, receiver: &Receiver<Work>) -> Option<Work> {
    if let Ok(next) = receiver.recv_timeout(IDLE_MAX) {
        return Some(next);
    }
    let mut idle = idle();
    match idle.iter().position(|thread| thread.number == number) {
        Some(place) => {
            idle.swap_remove(place);
            None
        }
        // Somebody took it out a moment ago, and is about to send.
        None => {
            drop(idle);
            receiver.recv().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_thread_whose_work_panicked_takes_more() {
        let (sender, ended) = sync_channel(1);
        for round in 0..100 {
            let sender = sender.clone();
            let work = move || {
                sender.send(round).unwrap();
                assert!(round % 10 > 0, "round {round} was to fail");
            };
            spawn_blocking(work).unwrap();
            assert_eq!(ended.recv().unwrap(), round);
        }
    }
}
