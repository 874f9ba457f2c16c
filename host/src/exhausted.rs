//! What the machine lacks, as against what is wrong with a job.

use std::io::{Error, ErrorKind};

/// Whether the system has no handles, threads, memory or room left. Who starts us again later may find
/// some; nobody has to mend the job.
pub(crate) fn is_exhausted(error: &Error) -> bool {
    // EMFILE and ENFILE have no kind of their own. They are 24 and 23 on every Unix.
    const TOO_MANY_HANDLES: [i32; 2] = [23, 24];
    let is_handles = error.raw_os_error().is_some_and(|code| TOO_MANY_HANDLES.contains(&code));
    // A thread that cannot be started is EAGAIN.
    is_handles
        || matches!(
            error.kind(),
            ErrorKind::OutOfMemory
                | ErrorKind::WouldBlock
                | ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
        )
}
