//! The machine stops at any operation on the disk; the next start goes on as if it had not.

use tidemill_checkpoint::{Checkpoint, CheckpointError, Crash, MemoryDisk, OpenOptions, Resume};
use tidemill_core::BatchId;

use crate::support::{self, Entries, Query, entries, root};

const LAST: u64 = 20;

const CRASHES: [Crash; 11] = [
    Crash::PowerCut,
    Crash::Kill,
    Crash::Scattered { seed: 1 },
    Crash::Scattered { seed: 2 },
    Crash::Scattered { seed: 3 },
    Crash::Scattered { seed: 4 },
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
        for second in 0..24 {
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

/// A process that is killed leaves frames that are whole and not durable. The next one goes on from
/// them; should the power go then, what it made must not be there without them.
#[test]
fn a_power_cut_after_a_kill_and_a_start_loses_nothing() {
    let (wanted, operations) = undisturbed();
    let mut played = 0;
    for killed_at in 0..operations {
        let disk = MemoryDisk::new();
        disk.crash_at(killed_at);
        assert!(run(&disk).is_err());
        for cut_at in 0..STARTED {
            let crash = match (killed_at + cut_at) % 3 {
                0 => Crash::Scattered { seed: killed_at * STARTED + cut_at },
                _ => Crash::PowerCut,
            };
            let started = disk.after(Crash::Kill);
            started.crash_at(cut_at);
            // A run that has little left to do may end before that.
            let _ = run(&started);
            let (state, _) = run(&started.after(crash)).unwrap_or_else(|error| {
                panic!("a kill at {killed_at}, then {crash:?} at {cut_at}: {error}")
            });
            assert_eq!(state, wanted, "a kill at {killed_at}, then {crash:?} at {cut_at}");
            played += 1;
        }
    }
    println!("{played} pairs");
}

/// Operations of the disk from a start on, some batches among them.
const STARTED: u64 = 36;

#[test]
fn frames_that_a_killed_process_did_not_sync_are_durable_before_a_new_segment_is() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(5).unwrap();
    query.plan(BatchId(6)).unwrap();
    // It was written, and the sync did not come.
    disk.crash_at(disk.operations() + 1);
    assert!(query.checkpoint.sync().is_err());
    drop(query);
    let disk = disk.after(Crash::Kill);
    let query = Query::open(&disk).unwrap();
    assert!(matches!(&query.recovered.next, Resume::Replay { spec, .. } if spec.batch.0 == 6));
    drop(query);
    let query = Query::open(&disk.after(Crash::PowerCut)).unwrap();
    assert!(matches!(&query.recovered.next, Resume::Replay { spec, .. } if spec.batch.0 == 6));
}

/// A system whose sync failed may show bytes that are lost, and sync again without an error.
#[test]
fn a_failed_sync_loses_nothing_that_a_later_start_relies_on() {
    let disk = MemoryDisk::new();
    let (wanted, _) = run(&disk).unwrap();
    let mut failed = 0;
    for sync in 0..disk.syncs() {
        let disk = MemoryDisk::new();
        disk.fail_sync(sync);
        let ended = run(&disk);
        failed += u64::from(ended.is_err());
        let disk = disk.after(Crash::Kill);
        let next = Query::open(&disk).map(drop);
        next.unwrap_or_else(|error| panic!("sync {sync}, then a start: {error}"));
        let disk = disk.after(Crash::PowerCut);
        let (state, _) = run(&disk).unwrap_or_else(|error| {
            panic!("sync {sync}, a start, a power cut and a start: {error}")
        });
        assert_eq!(state, wanted, "sync {sync}");
    }
    assert!(failed > 20, "syncs of files: {failed}");
}

#[test]
fn a_full_disk_ends_the_run_with_an_error_and_the_next_one_goes_on() {
    let (wanted, operations) = undisturbed();
    for full_at in 0..operations {
        let disk = MemoryDisk::new();
        disk.full_at(full_at);
        let error = run(&disk).map(drop);
        let is_full = |error: &CheckpointError| {
            matches!(error, CheckpointError::Io { source, .. }
                if source.kind() == std::io::ErrorKind::StorageFull)
        };
        // Nothing that needs room may be left to do.
        if let Err(error) = error {
            assert!(is_full(&error) && error.is_of_the_place(), "full at {full_at}: {error:?}");
        }
        for next in 0..3 {
            // It stays full for a start or two.
            let still = disk.after(Crash::Kill);
            still.full_at(next);
            let _ = run(&still);
            let disk = still.after(Crash::Kill);
            let (state, _) =
                run(&disk).unwrap_or_else(|error| panic!("full at {full_at}: {error}"));
            assert_eq!(state, wanted, "full at {full_at}");
        }
    }
}

#[test]
fn a_snapshot_that_found_no_room_leaves_none_of_it_behind() {
    let disk = MemoryDisk::new();
    let options = OpenOptions { segment_bytes: 1, fold_bytes: 500, ..support::options() };
    let mut query = Query::open_with(&disk, options).unwrap();
    query.rolls = false;
    query.run_through(8).unwrap();
    query.roll().unwrap();
    let before = disk.paths();
    for room in 0.. {
        let task = query.checkpoint.snapshot_task().unwrap().unwrap();
        let begin = disk.operations();
        disk.full_at(begin + room);
        let made = task.run();
        disk.full_at(u64::MAX);
        if made.is_ok() {
            assert!(room > 10, "it needs room {room} times");
            break;
        }
        assert_eq!(disk.paths(), before, "room for {room} operations");
    }
    query.run_through(9).unwrap();
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
    let seen = Checkpoint::identify(disk, root())?;
    let mut query = Query::open(disk)?;
    query.renews = true;
    let fixed = support::renewed(query.recovered.committed());
    assert_eq!(query.recovered.pinned, fixed, "the log says what the query fixes");
    assert!(seen.is_none_or(|seen| seen.pinned == fixed), "it is known without the log's state");
    let next = match &query.recovered.next {
        Resume::Start(batch) => *batch,
        Resume::Replay { spec, .. } | Resume::Retry { spec, .. } => spec.batch,
    };
    if next.0 <= LAST {
        query.run_through(LAST)?;
    }
    Ok((entries(&query.state), next))
}
