//! When a micro-batch starts.

use tidemill_types::Interval;

/// Spark's triggers. What is not built is refused when the job is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Trigger {
    /// As soon as the last batch has ended and there are new rows.
    #[default]
    AsSoonAsPossible,
    /// On a grid of this interval since 1970-01-01.
    ProcessingTime(Interval),
    /// All that is there at the start, in batches by the sources' limits; then the query ends.
    AvailableNow,
    /// One batch of all that is there; then the query ends.
    Once,
}

impl Trigger {
    /// When the batch after one that was triggered at `triggered_at_ms` is due, in milliseconds
    /// since 1970-01-01; `None`: at once.
    ///
    /// Spark's rule (TriggerExecutor.scala): the next multiple of the interval after the last
    /// trigger. Multiples that passed while the batch ran are dropped, so a caller that finds the
    /// due time in the past starts at once and is back on the grid afterwards.
    #[must_use]
    pub fn next_due_ms(self, triggered_at_ms: i64) -> Option<i64> {
        match self {
            Trigger::ProcessingTime(interval) if interval.millis() > 0 => {
                let step = interval.millis();
                Some(triggered_at_ms.div_euclid(step) * step + step)
            }
            _ => None,
        }
    }

    /// Whether the query ends by itself when everything there at its start is processed.
    #[must_use]
    pub fn is_bounded(self) -> bool {
        matches!(self, Trigger::AvailableNow | Trigger::Once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Spark's ProcessingTimeExecutorSuite.
    #[test]
    fn the_next_trigger_is_the_next_multiple_of_the_interval() {
        let trigger = Trigger::ProcessingTime(Interval::from_millis(100));
        for (triggered, due) in [(0, 100), (1, 100), (99, 100), (100, 200), (101, 200), (150, 200)]
        {
            assert_eq!(trigger.next_due_ms(triggered), Some(due), "after {triggered}");
        }
        let tenth = (0..10).try_fold(0, |triggered, _| trigger.next_due_ms(triggered));
        assert_eq!(tenth, Some(1_000));
    }

    #[test]
    fn processing_time_is_a_grid_since_1970() {
        let trigger = Trigger::ProcessingTime(Interval::from_millis(10_000));
        assert_eq!(trigger.next_due_ms(12_345), Some(20_000));
        assert_eq!(trigger.next_due_ms(20_000), Some(30_000));
        assert_eq!(Trigger::ProcessingTime(Interval::from_millis(0)).next_due_ms(5), None);
        assert_eq!(Trigger::AsSoonAsPossible.next_due_ms(5), None);
    }
}
