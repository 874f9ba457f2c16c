//! How far event time has advanced.
//!
//! Every watermark of a plan (one for each `watermark = …` of a job) tracks the largest event
//! time that it saw, less its delay. The query's watermark is the smallest of these (or the
//! largest, by policy): Spark's WatermarkTracker.
//!
//! Beyond Spark, an input may be idle: one that had no rows for a span that the job sets is left
//! out of the smallest until it has rows again. Spans are measured in the batches' times, never by
//! a clock, so that a batch that is replayed moves the watermark as it would have the first time.
//!
//! **Invariant:** the query's watermark never moves back. Rows of an input that was idle may
//! therefore be late when it comes back.

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

/// A watermark of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatermarkNode {
    /// How far it stays behind the largest event time.
    pub delay_ms: i64,
    /// How long it may see no event time, from one batch's time to another's, before it no longer
    /// holds the query's watermark back; `None`: it always does.
    pub idle_ms: Option<i64>,
}

/// What a node of a plan has reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reached {
    watermark: Watermark,
    /// Time of the last batch in which it saw an event time, or of the first batch at all.
    active_ms: Option<i64>,
}

/// Follows the watermarks of a plan from batch to batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatermarkTracker {
    policy: WatermarkPolicy,
    nodes: Vec<WatermarkNode>,
    reached: Vec<Reached>,
    query: Watermark,
}

impl WatermarkTracker {
    /// A tracker for these nodes. `start` is the query's watermark from the log; what single nodes
    /// had reached, and since when they are idle, is not restored (as in Spark).
    #[must_use]
    pub fn new(
        policy: WatermarkPolicy,
        nodes: Vec<WatermarkNode>,
        start: Watermark,
    ) -> WatermarkTracker {
        let nothing = Reached { watermark: Watermark::default(), active_ms: None };
        let reached = vec![nothing; nodes.len()];
        WatermarkTracker { policy, nodes, reached, query: start }
    }

    /// The query's watermark.
    #[must_use]
    pub fn current(&self) -> Watermark {
        self.query
    }

    /// Whether the plan has a watermark at all.
    #[must_use]
    pub fn is_tracking(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Takes the largest event time, in microseconds, that each node saw in a finished batch
    /// (`None`: no row with a time), and gives the query's watermark for the next.
    ///
    /// A node that has seen nothing yet counts as 0, so that with the policy `min` nothing moves
    /// before every input had rows, or is idle. If all are idle, none is left out.
    pub fn observe(&mut self, largest_micros: &[Option<i64>], batch_time_ms: i64) -> Watermark {
        debug_assert_eq!(largest_micros.len(), self.nodes.len());
        let nodes = self.reached.iter_mut().zip(&self.nodes).zip(largest_micros);
        for ((reached, node), largest) in nodes {
            if let Some(largest) = largest {
                let millis = largest.div_euclid(1_000).saturating_sub(node.delay_ms);
                reached.watermark = reached.watermark.max(Watermark::at_millis(millis));
                reached.active_ms = Some(batch_time_ms);
            } else {
                reached.active_ms.get_or_insert(batch_time_ms);
            }
        }
        let all = || self.reached.iter().map(|reached| reached.watermark);
        let combined = match self.policy {
            WatermarkPolicy::Min => {
                self.slowest_active(largest_micros, batch_time_ms).or(all().min())
            }
            WatermarkPolicy::Max => all().max(),
        };
        if let Some(combined) = combined {
            self.query = self.query.max(combined);
        }
        self.query
    }

    /// `None` if all nodes are idle.
    fn slowest_active(&self, largest: &[Option<i64>], batch_time_ms: i64) -> Option<Watermark> {
        let nodes = self.reached.iter().zip(&self.nodes).zip(largest);
        let active = nodes.filter(|((reached, node), largest)| {
            let (Some(idle_ms), Some(active_ms), None) = (node.idle_ms, reached.active_ms, largest)
            else {
                return true;
            };
            batch_time_ms.saturating_sub(active_ms) < idle_ms
        });
        active.map(|((reached, _), _)| reached.watermark).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn tracker(policy: WatermarkPolicy) -> WatermarkTracker {
        WatermarkTracker::new(policy, vec![node(10, None); 2], Watermark::default())
    }

    fn node(delay_s: i64, idle_s: Option<i64>) -> WatermarkNode {
        WatermarkNode { delay_ms: delay_s * 1_000, idle_ms: idle_s.map(|s| s * 1_000) }
    }

    #[test]
    fn the_slowest_input_holds_the_watermark_back() {
        let mut tracker = tracker(WatermarkPolicy::Min);
        assert_eq!(tracker.observe(&[Some(100 * SECOND), None], 0).millis, 0);
        assert_eq!(tracker.observe(&[None, Some(50 * SECOND)], 0).millis, 40_000);
        assert_eq!(tracker.observe(&[None, Some(200 * SECOND)], 0).millis, 90_000);
    }

    #[test]
    fn the_fastest_input_leads_under_max() {
        let mut tracker = tracker(WatermarkPolicy::Max);
        assert_eq!(tracker.observe(&[Some(100 * SECOND), None], 0).millis, 90_000);
    }

    #[test]
    fn the_watermark_never_moves_back() {
        let start = Watermark::at_millis(60_000);
        let mut tracker = WatermarkTracker::new(WatermarkPolicy::Min, vec![node(0, None)], start);
        assert_eq!(tracker.observe(&[Some(10 * SECOND)], 0), start);
        assert_eq!(tracker.observe(&[Some(70 * SECOND)], 0).millis, 70_000);
        assert_eq!(tracker.observe(&[Some(65 * SECOND)], 0).millis, 70_000);
    }

    #[test]
    fn microseconds_are_cut_to_whole_milliseconds() {
        let mut tracker =
            WatermarkTracker::new(WatermarkPolicy::Min, vec![node(0, None)], Watermark::default());
        assert_eq!(tracker.observe(&[Some(1_999)], 0).millis, 1);
    }

    fn idle(spans: [Option<i64>; 2]) -> WatermarkTracker {
        let nodes = spans.map(|span| node(10, span)).to_vec();
        WatermarkTracker::new(WatermarkPolicy::Min, nodes, Watermark::default())
    }

    #[test]
    fn an_idle_input_does_not_hold_the_watermark_back() {
        let mut tracker = idle([None, Some(60)]);
        let both = [Some(100 * SECOND), Some(50 * SECOND)];
        assert_eq!(tracker.observe(&both, 1_000).millis, 40_000);
        assert_eq!(tracker.observe(&[Some(200 * SECOND), None], 60_999).millis, 40_000);
        assert_eq!(tracker.observe(&[Some(210 * SECOND), None], 61_000).millis, 200_000);
        // It comes back, and counts; the watermark stays.
        let late = [Some(220 * SECOND), Some(60 * SECOND)];
        assert_eq!(tracker.observe(&late, 62_000).millis, 200_000);
        assert_eq!(tracker.observe(&[Some(300 * SECOND), None], 63_000).millis, 200_000);
        assert_eq!(tracker.observe(&[None, Some(280 * SECOND)], 64_000).millis, 270_000);
    }

    #[test]
    fn an_input_that_never_had_rows_is_idle_from_the_first_batch_on() {
        let mut tracker = idle([None, Some(60)]);
        assert_eq!(tracker.observe(&[Some(100 * SECOND), None], 5_000_000).millis, 0);
        assert_eq!(tracker.observe(&[Some(100 * SECOND), None], 5_059_999).millis, 0);
        assert_eq!(tracker.observe(&[Some(100 * SECOND), None], 5_060_000).millis, 90_000);
    }

    #[test]
    fn only_inputs_with_a_span_become_idle() {
        let mut tracker = idle([None, None]);
        tracker.observe(&[Some(100 * SECOND), None], 0);
        assert_eq!(tracker.observe(&[Some(100 * SECOND), None], i64::MAX).millis, 0);
    }

    #[test]
    fn if_all_inputs_are_idle_none_is_left_out() {
        let mut tracker = idle([Some(60), Some(60)]);
        let both = [Some(100 * SECOND), Some(50 * SECOND)];
        assert_eq!(tracker.observe(&both, 0).millis, 40_000);
        assert_eq!(tracker.observe(&[None, None], 600_000).millis, 40_000);
    }

    #[test]
    fn an_input_with_rows_in_the_batch_is_never_idle() {
        let mut tracker = idle([None, Some(0)]);
        let both = [Some(100 * SECOND), Some(50 * SECOND)];
        assert_eq!(tracker.observe(&both, 0).millis, 40_000);
        assert_eq!(tracker.observe(&[Some(100 * SECOND), None], 0).millis, 90_000);
    }
}
