//! What ends the waits of a query: a request to stop, or word that there may be work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tidemill_core::Wake;

/// A request to end after the batch in flight, for all queries that it was given to.
#[derive(Clone, Default)]
pub struct StopSignal {
    shared: Arc<Shared>,
    /// Of the queries that this is one of.
    of_all: Option<Arc<Shared>>,
}

#[derive(Default)]
struct Shared {
    is_set: AtomicBool,
    bells: Mutex<Vec<Weak<Bell>>>,
}

impl StopSignal {
    /// A signal that is not set.
    #[must_use]
    pub fn new() -> StopSignal {
        StopSignal::default()
    }

    /// Asks the queries to end: set once, from any thread or signal handler's thread. Every wait
    /// ends at once.
    pub fn stop(&self) {
        self.shared.is_set.store(true, Ordering::SeqCst);
        locked(&self.shared.bells).iter().filter_map(Weak::upgrade).for_each(|bell| bell.ring());
    }

    /// Whether the queries were asked to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.parts().any(|shared| shared.is_set.load(Ordering::SeqCst))
    }

    /// A signal for one of the queries alone, which this one sets too.
    #[must_use]
    pub fn of_one(&self) -> StopSignal {
        StopSignal { shared: Arc::default(), of_all: Some(Arc::clone(&self.shared)) }
    }

    fn parts(&self) -> impl Iterator<Item = &Arc<Shared>> {
        std::iter::once(&self.shared).chain(&self.of_all)
    }

    /// The waits of one query, which this signal ends too.
    pub(crate) fn waiting(&self) -> Waiting {
        let bell = Arc::new(Bell::default());
        for shared in self.parts() {
            let mut bells = locked(&shared.bells);
            // Those of queries that have ended.
            bells.retain(|bell| bell.strong_count() > 0);
            bells.push(Arc::downgrade(&bell));
        }
        Waiting { stop: self.clone(), bell }
    }
}

/// A flag that a thread waits at. Rung while nobody waits, it ends the next wait.
#[derive(Default)]
struct Bell {
    is_rung: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    fn ring(&self) {
        *locked(&self.is_rung) = true;
        self.rung.notify_all();
    }
}

/// How one query waits.
pub(crate) struct Waiting {
    stop: StopSignal,
    bell: Arc<Bell>,
}

impl Waiting {
    /// What ends a wait for work, from any thread.
    pub(crate) fn wake(&self) -> Wake {
        let bell = Arc::clone(&self.bell);
        Arc::new(move || bell.ring())
    }

    /// Waits for work: until somebody wakes the query, for `longest` at most. Returns at once if
    /// that happened since the last call. Gives whether the query was asked to stop.
    pub(crate) fn for_work(&self, longest: Duration) -> bool {
        let mut is_rung = locked(&self.bell.is_rung);
        if !*is_rung && !self.stop.is_set() {
            let waited = self.bell.rung.wait_timeout_while(is_rung, longest, |rung| !*rung);
            is_rung = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        *is_rung = false;
        self.stop.is_set()
    }

    /// Waits for so long, whether there is work or not. Gives whether the query was asked to stop,
    /// which ends the wait.
    pub(crate) fn for_time(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        let mut has_work = false;
        while !self.stop.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.for_work(left);
            has_work |= Instant::now() < until;
        }
        if has_work {
            // Whoever woke the query in between means the next wait for work.
            self.bell.ring();
        }
        self.stop.is_set()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_wait_ends_when_work_came_before_it() {
        let waiting = StopSignal::new().waiting();
        waiting.wake()();
        assert!(!waiting.for_work(LONG));
    }

    #[test]
    fn work_that_comes_during_a_wait_for_time_ends_the_next_wait_for_work() {
        let waiting = StopSignal::new().waiting();
        waiting.wake()();
        assert!(!waiting.for_time(Duration::from_millis(5)));
        assert!(!waiting.for_work(LONG));
    }

    #[test]
    fn one_query_ends_alone_and_with_all() {
        let all = StopSignal::new();
        let (one, other) = (all.of_one(), all.of_one());
        let waiting = other.waiting();
        one.stop();
        assert!(one.is_set() && !other.is_set() && !all.is_set());
        all.stop();
        assert!(other.is_set() && waiting.for_work(LONG));
    }

    #[test]
    fn every_wait_ends_when_the_query_is_asked_to_stop() {
        let stop = StopSignal::new();
        let waiting = stop.waiting();
        std::thread::scope(|scope| {
            let work = scope.spawn(|| waiting.for_work(LONG));
            stop.stop();
            assert!(work.join().is_ok_and(|stopped| stopped));
        });
        assert!(waiting.for_time(LONG));
        assert!(waiting.for_work(LONG));
    }
}
