//! What a plugin may use.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// What a job allows one plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of memory that one instance may hold.
    pub memory: u64,
    /// How long one call may take, with what the host does for it.
    pub deadline: Duration,
}

impl Default for Limits {
    /// 256 MiB and 30 seconds: room for hundreds of record batches, and longer than any call that
    /// was not written by mistake.
    fn default() -> Limits {
        Limits { memory: 256 << 20, deadline: Duration::from_secs(30) }
    }
}

/// How often the clock behind the deadlines ticks. A deadline is kept to within one tick; a
/// hundred ticks a second cost nothing that can be measured.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Bytes that one call may give to the host: some two hundred times a usual record batch. The
/// host holds them beside the guest's own copy, which the memory limit bounds.
pub(crate) const OUTPUT_BYTES_MAX: usize = 256 << 20;

/// Rows in one record batch that comes back. Columns of nulls have no bytes that would bound it.
pub(crate) const OUTPUT_ROWS_MAX: i64 = 1 << 26;

/// Lines that one call may log: enough to debug with, too few to fill a disk.
pub(crate) const LOG_LINES_MAX: u32 = 1_000;

/// Bytes of one logged line. Longer ones are cut.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 16 << 10;

/// Tables that a handler may hold at a time. Each keeps its rows in the host.
pub(crate) const FRAMES_MAX: usize = 256;

/// Bytes of rows that one `collect` hands over, whatever the guest asks for.
pub(crate) const COLLECT_BYTES_MAX: u64 = 64 << 20;

/// Entries of a module's function tables. A module of 2 MB has some thousand.
const TABLE_ELEMENTS_MAX: usize = 1 << 20;

/// Ticks after which a call that began now has passed its deadline.
pub(crate) fn ticks(deadline: Duration) -> u64 {
    let ticks = deadline.as_nanos().div_ceil(EPOCH_TICK.as_nanos());
    // One more, as the current tick may be nearly over. A deadline of centuries is none.
    u64::try_from(ticks).unwrap_or(u64::MAX / 2).min(u64::MAX / 2) + 1
}

/// Keeps an instance to its memory.
pub(crate) struct MemoryLimit(pub(crate) u64);

/// The instance wanted more. It is stopped at once: a Rust guest could only abort, and would hide
/// the reason.
#[derive(Debug, thiserror::Error)]
#[error("more memory than its limit")]
pub(crate) struct OutOfMemory;

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired as u64 > self.0 { Err(OutOfMemory.into()) } else { Ok(true) }
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}
