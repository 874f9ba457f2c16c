//! How far event time has advanced.
//!
//! Every watermark of a plan (one for each `watermark = …` of a job) tracks the largest event
//! time that it saw, less its delay. The query's watermark is the smallest of these (or the
//! largest, by policy): Spark's WatermarkTracker.
//!
//! **Invariant:** the query's watermark never moves back.

use serde::{Deserialize, Serialize};

/// Event time up to which a query is complete, in milliseconds since 1970-01-01 UTC. Rows at or
/// before it are late.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Watermark {
    /// Milliseconds since 1970-01-01 UTC. 0 where nothing was seen yet, as in Spark.
    pub millis: i64,
}

impl Watermark {
    /// A watermark at `millis` since 1970-01-01 UTC.
    #[must_use]
    pub fn at_millis(millis: i64) -> Watermark {
        Watermark { millis }
    }

    /// In the unit of event times.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.millis.saturating_mul(1_000)
    }
}

/// How the watermarks of several inputs make the query's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WatermarkPolicy {
    /// The slowest input counts.
    #[default]
    Min,
    /// The fastest input counts; rows of the others may be late.
    Max,
}

/// Follows the watermarks of a plan from batch to batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatermarkTracker {
    policy: WatermarkPolicy,
    delays_ms: Vec<i64>,
    by_node: Vec<Watermark>,
    query: Watermark,
}

impl WatermarkTracker {
    /// A tracker for nodes with these delays. `start` is the query's watermark from the log; what
    /// single nodes had reached is not restored (as in Spark).
    #[must_use]
    pub fn new(policy: WatermarkPolicy, delays_ms: Vec<i64>, start: Watermark) -> WatermarkTracker {
        let by_node = vec![Watermark::default(); delays_ms.len()];
        WatermarkTracker { policy, delays_ms, by_node, query: start }
    }

    /// The query's watermark.
    #[must_use]
    pub fn current(&self) -> Watermark {
        self.query
    }

    /// Whether the plan has a watermark at all.
    #[must_use]
    pub fn is_tracking(&self) -> bool {
        !self.delays_ms.is_empty()
    }

    /// Takes the largest event time, in microseconds, that each node saw in a finished batch
    /// (`None`: no row with a time), and gives the query's watermark for the next.
    ///
    /// A node that has seen nothing yet counts as 0, so that with the policy `min` nothing moves
    /// before every input had rows.
    pub fn observe(&mut self, largest_micros: &[Option<i64>]) -> Watermark {
        debug_assert_eq!(largest_micros.len(), self.by_node.len());
        let nodes = self.by_node.iter_mut().zip(&self.delays_ms).zip(largest_micros);
        for ((node, delay_ms), largest) in nodes {
            if let Some(largest) = largest {
                let reached = largest.div_euclid(1_000).saturating_sub(*delay_ms);
                node.millis = node.millis.max(reached);
            }
        }
        let combined = match self.policy {
            WatermarkPolicy::Min => self.by_node.iter().min(),
            WatermarkPolicy::Max => self.by_node.iter().max(),
        };
        if let Some(combined) = combined {
            self.query = self.query.max(*combined);
        }
        self.query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn tracker(policy: WatermarkPolicy) -> WatermarkTracker {
        WatermarkTracker::new(policy, vec![10_000, 10_000], Watermark::default())
    }

    #[test]
    fn the_slowest_input_holds_the_watermark_back() {
        let mut tracker = tracker(WatermarkPolicy::Min);
        assert_eq!(tracker.observe(&[Some(100 * SECOND), None]).millis, 0);
        assert_eq!(tracker.observe(&[None, Some(50 * SECOND)]).millis, 40_000);
        assert_eq!(tracker.observe(&[None, Some(200 * SECOND)]).millis, 90_000);
    }

    #[test]
    fn the_fastest_input_leads_under_max() {
        let mut tracker = tracker(WatermarkPolicy::Max);
        assert_eq!(tracker.observe(&[Some(100 * SECOND), None]).millis, 90_000);
    }

    #[test]
    fn the_watermark_never_moves_back() {
        let start = Watermark::at_millis(60_000);
        let mut tracker = WatermarkTracker::new(WatermarkPolicy::Min, vec![0], start);
        assert_eq!(tracker.observe(&[Some(10 * SECOND)]), start);
        assert_eq!(tracker.observe(&[Some(70 * SECOND)]).millis, 70_000);
        assert_eq!(tracker.observe(&[Some(65 * SECOND)]).millis, 70_000);
    }

    #[test]
    fn microseconds_are_cut_to_whole_milliseconds() {
        let mut tracker =
            WatermarkTracker::new(WatermarkPolicy::Min, vec![0], Watermark::default());
        assert_eq!(tracker.observe(&[Some(1_999)]).millis, 1);
    }
}
