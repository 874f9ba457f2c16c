//! Counts planning work, so that a test can show that a batch does none.

use std::sync::atomic::{AtomicU64, Ordering};

static PARSED: AtomicU64 = AtomicU64::new(0);
static OPTIMISED: AtomicU64 = AtomicU64::new(0);
static PLANNED: AtomicU64 = AtomicU64::new(0);

/// Planning work of this process so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlanningWork {
    /// SQL texts parsed.
    pub parsed: u64,
    /// Logical plans optimised.
    pub optimised: u64,
    /// Physical plans made.
    pub planned: u64,
}

/// Reads the counters.
#[must_use]
pub fn planning_work() -> PlanningWork {
    PlanningWork {
        parsed: PARSED.load(Ordering::Relaxed),
        optimised: OPTIMISED.load(Ordering::Relaxed),
        planned: PLANNED.load(Ordering::Relaxed),
    }
}

pub(crate) fn count_parsed() {
    PARSED.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_optimised() {
    OPTIMISED.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_planned() {
    PLANNED.fetch_add(1, Ordering::Relaxed);
}
