//! A request to end after the batch in flight.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Set once, from any thread or signal handler's thread; ends every wait of the query at once.
#[derive(Clone, Default)]
pub struct StopSignal {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl StopSignal {
    /// A signal that is not set.
    #[must_use]
    pub fn new() -> StopSignal {
        StopSignal::default()
    }

    /// Asks the query to end.
    pub fn stop(&self) {
        let (stopped, wake) = &*self.shared;
        *stopped.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
        wake.notify_all();
    }

    /// Whether the query was asked to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.shared.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for so long, or until the signal is set. Returns whether it is.
    pub(crate) fn wait(&self, duration: Duration) -> bool {
        let (stopped, wake) = &*self.shared;
        let guard = stopped.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let outcome = wake.wait_timeout_while(guard, duration, |stopped| !*stopped);
        *outcome.unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }
}
