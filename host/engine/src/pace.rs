//! When the next batch may start: the trigger's grid, walked by a clock that never steps.

use std::sync::Arc;
use std::time::Duration;

use tidemill_core::Trigger;

use crate::Clock;

/// What the machine's clock may differ from one that never steps without having been set: time
/// servers slew by half a thousandth, which over a long interval is more than the grid's precision.
const SLEW_MIN: Duration = Duration::from_secs(1);
const SLEW_SHARE: u32 = 1_000;

/// The triggers of one run.
///
/// The grid is one of the machine's clock, as in Spark (multiples of the interval since 1970). But
/// the wait for its next point goes by the steady clock: a clock that is set back by an hour must
/// not stop the query for an hour.
pub(crate) struct Pace {
    trigger: Trigger,
    clock: Arc<dyn Clock>,
    last: Option<Triggered>,
}

/// The last trigger, by both clocks.
struct Triggered {
    at_ms: i64,
    at: Duration,
    /// When the next one is due, in milliseconds since 1970; `None`: at once.
    due_ms: Option<i64>,
}

impl Pace {
    pub(crate) fn new(trigger: Trigger, clock: Arc<dyn Clock>) -> Pace {
        Pace { trigger, clock, last: None }
    }

    /// Begins a trigger. Gives its time in milliseconds since 1970.
    pub(crate) fn trigger(&mut self) -> i64 {
        let (at_ms, at) = (self.clock.now_ms(), self.clock.steady());
        if let Some(last) = &self.last {
            last.warn_of_step(at_ms, at);
        }
        let due_ms = self.trigger.next_due_ms(at_ms);
        self.last = Some(Triggered { at_ms, at, due_ms });
        at_ms
    }

    /// How long it is until the next trigger: nothing before the first one, and nothing once the
    /// next point of the grid has passed.
    pub(crate) fn left(&self) -> Duration {
        let Some(Triggered { at_ms, at, due_ms: Some(due_ms) }) = &self.last else {
            return Duration::ZERO;
        };
        let by_clock = millis(due_ms.saturating_sub(self.clock.now_ms()));
        let passed = self.clock.steady().saturating_sub(*at);
        let steady = millis(due_ms.saturating_sub(*at_ms)).saturating_sub(passed);
        match by_clock <= slew(passed) {
            // The steady clock is early by what the other one was slewed; the grid is the other's.
            true => by_clock,
            false => steady,
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.left().is_zero()
    }
}

impl Triggered {
    /// Says it where the clock was set since: what follows the clock, as `rate` does, stands still
    /// or hurries.
    fn warn_of_step(&self, now_ms: i64, now: Duration) {
        let passed = now.saturating_sub(self.at);
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let step = now_ms.saturating_sub(self.at_ms).saturating_sub(passed_ms);
        let seconds = step.unsigned_abs() as f64 / 1_000.0;
        if Duration::from_millis(step.unsigned_abs()) > slew(passed) {
            let way = if step < 0 { "back" } else { "forward" };
            tracing::warn!(
                "the machine's clock went {way} by {seconds} s while the query ran; batch times and sources that follow the clock go with it, the trigger's intervals do not"
            );
        }
    }
}

fn slew(passed: Duration) -> Duration {
    SLEW_MIN.max(passed / SLEW_SHARE)
}

/// Nothing where they are negative.
fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use tidemill_types::Interval;

    use super::*;

    /// A clock that may be set, and the time that really passes.
    #[derive(Default)]
    struct Clocks {
        set_ms: AtomicI64,
        passed_ms: AtomicI64,
    }

    impl Clock for Clocks {
        fn now_ms(&self) -> i64 {
            self.set_ms.load(Ordering::Relaxed) + self.passed_ms.load(Ordering::Relaxed)
        }

        fn steady(&self) -> Duration {
            millis(self.passed_ms.load(Ordering::Relaxed))
        }
    }

    const HOUR_MS: i64 = 3_600_000;

    fn pace(interval_ms: i64) -> (Pace, Arc<Clocks>) {
        let clocks = Arc::new(Clocks::default());
        let trigger = Trigger::ProcessingTime(Interval::from_millis(interval_ms));
        (Pace::new(trigger, Arc::clone(&clocks) as Arc<dyn Clock>), clocks)
    }

    fn pass(clocks: &Clocks, millis: i64) {
        clocks.passed_ms.fetch_add(millis, Ordering::Relaxed);
    }

    fn set(clocks: &Clocks, millis: i64) {
        clocks.set_ms.fetch_add(millis, Ordering::Relaxed);
    }

    #[test]
    fn the_first_trigger_is_due_at_once_and_the_next_on_the_grid() {
        let (mut pace, clocks) = pace(10_000);
        pass(&clocks, 12_345);
        assert!(pace.is_due());
        assert_eq!(pace.trigger(), 12_345);
        assert_eq!(pace.left(), millis(7_655));
        pass(&clocks, 7_655);
        assert!(pace.is_due());
        // A batch that ran over points of the grid is followed at once, and then the grid goes on.
        pass(&clocks, 25_001);
        assert_eq!(pace.trigger(), 45_001);
        assert_eq!(pace.left(), millis(4_999));
    }

    #[test]
    fn a_clock_that_is_set_does_not_hold_the_grid_up() {
        for step in [-HOUR_MS, HOUR_MS, -1_500, 30 * 24 * HOUR_MS] {
            let (mut pace, clocks) = pace(500);
            set(&clocks, 100 * 24 * HOUR_MS);
            pace.trigger();
            set(&clocks, step);
            assert!(pace.left() <= millis(500), "{step}: {:?}", pace.left());
            pass(&clocks, 500);
            assert!(pace.is_due(), "{step}");
        }
        // Triggered while the clock was an hour ahead, it does not wait for that hour to come.
        let (mut pace, clocks) = pace(500);
        set(&clocks, HOUR_MS);
        pace.trigger();
        set(&clocks, -HOUR_MS);
        pass(&clocks, 500);
        assert!(pace.is_due());
    }

    #[test]
    fn a_clock_that_is_slewed_keeps_the_grid() {
        let (mut pace, clocks) = pace(HOUR_MS);
        pace.trigger();
        pass(&clocks, HOUR_MS);
        set(&clocks, -1_800);
        assert_eq!(pace.left(), millis(1_800), "the point of the grid is not there yet");
        set(&clocks, 1_800);
        assert!(pace.is_due());
    }

    #[test]
    fn without_a_grid_a_batch_is_always_due() {
        let clocks = Arc::new(Clocks::default());
        let mut pace = Pace::new(Trigger::AsSoonAsPossible, clocks);
        pace.trigger();
        assert!(pace.is_due());
    }
}
