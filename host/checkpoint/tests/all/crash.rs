//! The machine stops at any operation on the disk; the next start goes on as if it had not.

use tidemill_checkpoint::{Checkpoint, CheckpointError, Crash, MemoryDisk, Resume};
use tidemill_core::BatchId;

use crate::support::{self, Entries, Query, entries, root};

const LAST: u64 = 20;

const CRASHES: [Crash; 7] = [
    Crash::PowerCut,
    Crash::Kill,
    Crash::TornWrite { numerator: 0 },
    Crash::TornWrite { numerator: 1 },
    Crash::TornWrite { numerator: 2 },
    Crash::TornWrite { numerator: 3 },
    Crash::TornWrite { numerator: 4 },
];

#[test]
fn a_crash_at_any_operation_loses_nothing_and_repeats_nothing() {
    let (wanted, operations) = undisturbed();
    assert!(operations > 80, "the run has rolls and snapshots: {operations} operations");
    for crash in CRASHES {
        for at in 0..operations {
            let disk = MemoryDisk::new();
            disk.crash_at(at);
            assert!(run(&disk).is_err());
            let after = disk.after(crash);
            let (state, _) = run(&after).unwrap_or_else(|error| {
                panic!("{crash:?} at operation {at}: the next start fails: {error}")
            });
            assert_eq!(state, wanted, "{crash:?} at operation {at}");
        }
    }
}

#[test]
fn a_crash_during_the_start_after_a_crash_is_survived_too() {
    let (wanted, operations) = undisturbed();
    for first in (0..operations).step_by(7) {
        for second in 0..12 {
            let disk = MemoryDisk::new();
            disk.crash_at(first);
            assert!(run(&disk).is_err());
            let disk = disk.after(Crash::TornWrite { numerator: 2 });
            disk.crash_at(second);
            // A run that has little left to do may end before that.
            let _ = run(&disk);
            let disk = disk.after(Crash::PowerCut);
            assert_eq!(run(&disk).unwrap().0, wanted, "crashes at {first} and {second}");
        }
    }
}

#[test]
fn a_batch_whose_sync_returned_is_never_run_again() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(5).unwrap();
    drop(query);
    let query = Query::open(&disk.after(Crash::PowerCut)).unwrap();
    assert_eq!(query.recovered.next, Resume::Start(BatchId(6)));
}

#[test]
fn a_plan_is_replayed_with_the_same_ranges_watermarks_and_time() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(5).unwrap();
    let planned = query.plan(BatchId(6)).unwrap();
    query.checkpoint.sync().unwrap();
    query.compute(&planned);
    drop(query);
    let query = Query::open(&disk.after(Crash::PowerCut)).unwrap();
    let replay = Resume::Replay { spec: planned, attempt: support::attempt(0) };
    assert_eq!(query.recovered.next, replay);
    assert_eq!(query.position, 70, "the source stands behind the batch that is replayed");
}

#[test]
fn a_sync_that_failed_is_not_repeated() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.plan(BatchId(0)).unwrap();
    disk.crash_at(disk.operations() + 1);
    assert!(matches!(query.checkpoint.sync(), Err(CheckpointError::SyncFailed { .. })));
    let operations = disk.operations();
    disk.crash_at(u64::MAX);
    assert!(matches!(query.checkpoint.sync(), Err(CheckpointError::Ended { .. })));
    let more = query.checkpoint.append_mark(BatchId(0), "name");
    assert!(matches!(more, Err(CheckpointError::Ended { .. })));
    assert_eq!(disk.operations(), operations, "the disk is left alone");
}

#[test]
fn a_checkpoint_that_was_only_begun_is_none_yet() {
    let disk = MemoryDisk::new();
    drop(Query::open(&disk).unwrap());
    for at in 0..=disk.operations() {
        let disk = MemoryDisk::new();
        disk.crash_at(at);
        let is_made = Query::open(&disk).is_ok();
        let found = Checkpoint::peek(&disk.after(Crash::PowerCut), root()).unwrap();
        assert!(found.is_some() || !is_made, "a crash at operation {at}");
    }
}

fn undisturbed() -> (Entries, u64) {
    let disk = MemoryDisk::new();
    let (state, _) = run(&disk).unwrap();
    assert_eq!(state.keys().filter(|(operator, ..)| *operator == 0).count(), 7);
    (state, disk.operations())
}

/// Runs from wherever the disk is to batch `LAST`.
fn run(disk: &MemoryDisk) -> Result<(Entries, BatchId), CheckpointError> {
    let mut query = Query::open(disk)?;
    let next = match &query.recovered.next {
        Resume::Start(batch) => *batch,
        Resume::Replay { spec, .. } | Resume::Retry { spec, .. } => spec.batch,
    };
    if next.0 <= LAST {
        query.run_through(LAST)?;
    }
    Ok((entries(&query.state), next))
}
