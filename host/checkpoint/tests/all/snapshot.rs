//! Snapshots hold what the query holds, and the log behind them goes.

use tidemill_checkpoint::{CheckpointError, Keep, MemoryDisk, OpenOptions, Resume};
use tidemill_core::BatchId;

use crate::support::{self, Query, entries, options, segments};

#[test]
fn a_snapshot_of_snapshots_is_the_state_that_the_query_holds() {
    let disk = MemoryDisk::new();
    let mut query = open(&disk, options());
    for batch in 0..30 {
        query.run_through(batch).unwrap();
        let report = query.snapshot();
        assert_eq!(report.committed, Some(BatchId(batch)));
        assert_eq!(report.entries, entries(&query.state).len() as u64);
    }
    let state = entries(&query.state);
    drop(query);
    assert_eq!(snapshots(&disk).len(), 5, "four batches can be replayed: {:?}", disk.paths());
    let again = Query::open(&disk).unwrap();
    assert_eq!(entries(&again.state), state);
    assert_eq!(again.recovered.next, Resume::Start(BatchId(30)));
    assert_eq!(again.position, 300);
    assert!(again.recovered.ranges_since.is_empty(), "the position says it all");
    assert_eq!(again.recovered.pinned, options().pinned);
}

#[test]
fn a_batch_that_is_planned_when_the_segment_closes_is_replayed_from_the_snapshot() {
    let disk = MemoryDisk::new();
    let mut query = open(&disk, options());
    query.run_through(3).unwrap();
    let planned = query.plan(BatchId(4)).unwrap();
    query.checkpoint.append_mark(BatchId(4), "deliver").unwrap();
    query.snapshot();
    let query_id = query.checkpoint.query_id().clone();
    drop(query);
    let mut again = Query::open(&disk).unwrap();
    assert_eq!(again.recovered.query_id, query_id);
    assert!(matches!(&again.recovered.next, Resume::Replay { spec, .. } if *spec == planned));
    assert!(again.checkpoint.is_processed(BatchId(4), "deliver"));
    assert_eq!(again.position, 50);
    again.run_through(6).unwrap();
}

#[test]
fn a_snapshot_is_made_beside_the_running_query() {
    let disk = MemoryDisk::new();
    let mut query = open(&disk, options());
    query.run_through(5).unwrap();
    query.roll().unwrap();
    let task = query.checkpoint.snapshot_task().unwrap().unwrap();
    assert!(query.checkpoint.snapshot_task().unwrap().is_none(), "one is enough");
    let beside = std::thread::spawn(move || task.run().unwrap());
    query.run_through(50).unwrap();
    let report = beside.join().unwrap();
    assert_eq!(report.committed, Some(BatchId(5)));
    let state = entries(&query.state);
    drop(query);
    assert_eq!(entries(&Query::open(&disk).unwrap().state), state);
}

#[test]
fn a_snapshot_waits_until_it_is_worth_it() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.rolls = false;
    query.run_through(0).unwrap();
    query.roll().unwrap();
    assert!(query.checkpoint.snapshot_task().unwrap().is_none());
    for batch in 1..10 {
        query.run_through(batch).unwrap();
        query.roll().unwrap();
    }
    assert!(query.checkpoint.snapshot_task().unwrap().is_some());
}

#[test]
fn segments_stay_for_as_long_as_replays_need_them() {
    let wide = Keep { batches: 100, age_ms: 3_600_000, bytes: u64::MAX };
    assert_eq!(segments_after(wide), 11, "nothing goes");
    let few_batches = Keep { batches: 3, age_ms: 0, bytes: u64::MAX };
    assert_eq!(segments_after(few_batches), 4);
    let little_time = Keep { batches: 0, age_ms: 5_000, bytes: u64::MAX };
    assert_eq!(segments_after(little_time), 6);
    let few_bytes = Keep { batches: 100, age_ms: 3_600_000, bytes: 0 };
    assert_eq!(segments_after(few_bytes), 1, "what a restart needs");
}

/// Segments that are there after ten batches, each with a snapshot: one for each batch that can
/// be replayed, and the open one.
fn segments_after(keep: Keep) -> usize {
    let disk = MemoryDisk::new();
    let mut query = open(&disk, OpenOptions { keep, ..options() });
    for batch in 0..10 {
        query.run_through(batch).unwrap();
        query.snapshot();
    }
    drop(query);
    let count = segments(&disk).len();
    Query::open(&disk).unwrap().run_through(12).unwrap();
    count
}

#[test]
fn plugins_stay_for_as_long_as_a_batch_that_can_be_replayed_names_them() {
    let disk = MemoryDisk::new();
    let keep = Keep { batches: 2, age_ms: 0, bytes: u64::MAX };
    let options = OpenOptions { keep, ..options() };
    let mut query = open(&disk, options.clone());
    let old = tidemill_core::Digest::of(b"old");
    query.checkpoint.store_plugin(old, b"old").unwrap();
    let mut attempt = support::attempt(0);
    attempt.plugins.insert("other".into(), old);
    let spec = support::spec(0, query.watermark, query.late_watermark);
    query.checkpoint.append_planned(&spec, &attempt).unwrap();
    query.commit(&spec).unwrap();
    query.checkpoint.sync().unwrap();
    drop(query);

    let mut query = open(&disk, options);
    let is_kept =
        || disk.paths().iter().any(|path| path.to_string_lossy().contains(&old.to_string()));
    for batch in 1..5 {
        assert!(is_kept() || batch > 3, "batch {batch}");
        query.run_through(batch).unwrap();
        query.snapshot();
    }
    assert!(!is_kept());
    let gone = query.checkpoint.plugin_bytes(old);
    assert!(matches!(gone, Err(CheckpointError::NoPlugin { .. })));
    query.checkpoint.plugin_bytes(tidemill_core::Digest::of(support::PLUGIN)).unwrap();
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let disk = MemoryDisk::new();
    let mut query = open(&disk, options());
    query.run_through(3).unwrap();
    query.snapshot();
    drop(query);
    let path = snapshots(&disk).pop().unwrap();
    let whole = disk.bytes(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x01;
        disk.put(&path, &bytes);
        match Query::open(&disk).map(drop) {
            Err(CheckpointError::Damaged { file, .. } | CheckpointError::Version { file, .. }) => {
                assert_eq!(file, path);
            }
            other => panic!("damage at byte {at}: {other:?}"),
        }
        disk.put(&path, &whole[..at]);
        assert!(Query::open(&disk).is_err(), "cut at byte {at}");
    }
}

/// A query that rolls when it is told to; a snapshot is due after every roll.
fn open(disk: &MemoryDisk, options: OpenOptions) -> Query {
    let mut query = Query::open_with(disk, OpenOptions { segment_bytes: 1, ..options }).unwrap();
    query.rolls = false;
    query
}

fn snapshots(disk: &MemoryDisk) -> Vec<std::path::PathBuf> {
    let is_snapshot = |path: &std::path::PathBuf| path.to_string_lossy().contains("/snapshots/");
    disk.paths().into_iter().filter(is_snapshot).collect()
}
