//! Says to work on another thread that nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the one who asked for something has gone. Cloning gives the same.
///
/// Work that blocks cannot be ended from outside. It looks here between its steps, ends early, and
/// leaves nothing half done.
#[derive(Clone, Debug, Default)]
pub struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    /// Whether the result is not wanted any more. Stays so.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The result is not wanted any more.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// A guard for the one who waits: when it is dropped, the work is abandoned.
    #[must_use]
    pub fn on_drop(&self) -> AbandonOnDrop {
        AbandonOnDrop(self.clone())
    }
}

/// Abandons work when it is dropped. See [`Abandoned::on_drop`].
#[derive(Debug)]
pub struct AbandonOnDrop(Abandoned);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}
