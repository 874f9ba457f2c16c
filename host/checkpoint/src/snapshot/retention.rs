//! What stays of a log after a snapshot.
//!
//! To restart, the newest snapshot and the segments after it are enough. To replay older batches,
//! an older snapshot (or the log's beginning) and all segments after that have to stay too.

/// How much of the past a checkpoint keeps for replays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// At least this many batches, …
    pub batches: u64,
    /// … and at least the batches of this time before the last one, in milliseconds of batch
    /// time, …
    pub age_ms: i64,
    /// … unless that takes more than this many bytes of snapshots and segments. What a restart
    /// needs is kept in any case.
    pub bytes: u64,
}

impl Default for Keep {
    /// 100 batches (as many as Spark keeps), one hour, 1 GiB.
    fn default() -> Keep {
        Keep { batches: 100, age_ms: 60 * 60 * 1_000, bytes: 1024 * 1024 * 1024 }
    }
}

/// A place in the log that a replay can begin at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Base {
    /// The snapshot of that segment, or 0 for the beginning of the log.
    pub(crate) through: u64,
    /// Batches that were committed by then.
    pub(crate) batches: u64,
    /// Time of the last one of them.
    pub(crate) time_ms: i64,
    /// Bytes that stay if this is the oldest base.
    pub(crate) bytes: u64,
}

/// The oldest base to keep, of `bases` from old to new. The last one, that of the newest
/// snapshot, is where a restart begins.
pub(crate) fn oldest_to_keep(bases: &[Base], keep: &Keep) -> Option<Base> {
    let newest = bases.last()?;
    let is_old_enough = |base: &Base| {
        base.batches.saturating_add(keep.batches) <= newest.batches
            && base.time_ms.saturating_add(keep.age_ms) <= newest.time_ms
    };
    let wanted = bases.iter().rposition(is_old_enough).unwrap_or(0);
    let affordable = bases[wanted..].iter().find(|base| base.bytes <= keep.bytes);
    Some(*affordable.unwrap_or(newest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const KEEP: Keep = Keep { batches: 100, age_ms: 1_000, bytes: 50 };

    fn oldest(bases: &[(u64, u64, i64, u64)]) -> u64 {
        let base = |&(through, batches, time_ms, bytes)| Base { through, batches, time_ms, bytes };
        let bases: Vec<Base> = bases.iter().map(base).collect();
        oldest_to_keep(&bases, &KEEP).unwrap().through
    }

    #[test]
    fn everything_stays_while_no_base_is_old_enough() {
        assert_eq!(oldest(&[(0, 0, 0, 9), (4, 60, 600, 5), (8, 99, 990, 2)]), 0);
    }

    #[test]
    fn the_latest_base_behind_both_limits_is_the_oldest_kept() {
        let by_batches = [(1, 50, 0, 9), (2, 100, 10, 8), (3, 150, 9_000, 7), (4, 200, 9_999, 6)];
        assert_eq!(oldest(&by_batches), 2);
        let by_time = [(1, 50, 0, 9), (2, 100, 9_500, 8), (3, 300, 10_000, 7)];
        assert_eq!(oldest(&by_time), 1);
    }

    #[test]
    fn bytes_are_limited_but_a_restart_is_always_possible() {
        assert_eq!(oldest(&[(1, 50, 0, 90), (2, 70, 10, 51), (3, 80, 20, 50), (4, 90, 30, 40)]), 3);
        assert_eq!(oldest(&[(1, 50, 0, 900), (2, 70, 10, 800)]), 2);
    }
}
