//! A snapshot of much state is made with little memory.

use std::sync::Arc;

use tidemill_checkpoint::{Checkpoint, CheckpointError, MemoryDisk, OpenOptions, StateBackend};
use tidemill_core::{BatchId, Bucket, MemoryBudget, OperatorId, ShardId, StateStore};

use crate::support::{Query, entries, options, root};

const KEYS: u64 = 400;
const VALUE_BYTES: usize = 100;

/// Puts, changes and removes entries all over the keys, in an order that is not theirs.
fn churn(query: &Query, batch: u64) {
    for shard in 0..4 {
        let shard = query.state.shard(OperatorId(2), ShardId(shard));
        let mut shard = shard.lock().unwrap();
        for step in 0..KEYS / 8 {
            let number = (batch * 7_919 + step * 31) % KEYS;
            let (bucket, key) = (Bucket(number as i64 % 5), number.to_be_bytes());
            if (batch + step).is_multiple_of(3) {
                shard.remove(bucket, &key).unwrap();
            } else {
                shard.put(bucket, &key, &[batch as u8; VALUE_BYTES]).unwrap();
            }
        }
    }
}

/// Runs batches `batches` with a snapshot of them all at the end.
fn folded(disk: &MemoryDisk, fold_bytes: u64, batches: std::ops::Range<u64>) -> (u64, u64) {
    let options = OpenOptions { segment_bytes: 1, fold_bytes, ..options() };
    let mut query = Query::open_with(disk, options).unwrap();
    query.rolls = false;
    for batch in batches {
        let planned = query.plan(BatchId(batch)).unwrap();
        query.compute(&planned);
        churn(&query, batch);
        query.commit(&planned).unwrap();
        query.checkpoint.sync().unwrap();
    }
    let report = query.snapshot();
    let state = entries(&query.state);
    assert_eq!(report.entries, query.state.rows().values().sum::<u64>());
    drop(query);
    assert!(disk.paths().iter().all(|path| !path.to_string_lossy().ends_with(".tmp")));
    assert_eq!(entries(&Query::open(disk).unwrap().state), state);
    (report.held_bytes_max, report.runs)
}

#[test]
fn memory_for_a_snapshot_is_bounded_however_many_changes_there_are() {
    let disk = MemoryDisk::new();
    let (all, runs) = folded(&disk, u64::MAX, 0..60);
    assert_eq!(runs, 0);
    let largest = 8 + VALUE_BYTES as u64 + 200;
    // So little that runs of runs are made, and that the base is merged with many.
    for bytes in [20_000, 3_000, 1_000] {
        let disk = MemoryDisk::new();
        folded(&disk, bytes, 0..30);
        let (held, runs) = folded(&disk, bytes, 30..60);
        assert!(held < bytes + largest, "{held} bytes were held, {bytes} are allowed");
        assert!(all > 5 * bytes && runs > 5, "{all} bytes in {runs} runs");
        if bytes == 1_000 {
            assert!(runs > 300, "runs of runs of runs: {runs}");
        }
    }
}

#[test]
fn the_last_change_of_a_key_counts_whichever_run_it_is_in() {
    let disk = MemoryDisk::new();
    let mut query =
        Query::open_with(&disk, OpenOptions { segment_bytes: 1, fold_bytes: 600, ..options() })
            .unwrap();
    query.rolls = false;
    // Eight batches come after the last of the snapshots: so many that one more is due.
    for batch in 0..44 {
        let planned = query.plan(BatchId(batch)).unwrap();
        let shard = query.state.shard(OperatorId(2), ShardId(1));
        let mut shard = shard.lock().unwrap();
        shard.put(Bucket(0), b"always", &batch.to_be_bytes()).unwrap();
        match batch % 4 {
            0 => shard.put(Bucket(0), b"sometimes", &batch.to_be_bytes()).unwrap(),
            _ => assert!(shard.remove(Bucket(0), b"sometimes").unwrap() || batch % 4 > 1),
        }
        shard.put(Bucket(1), &batch.to_be_bytes(), &[7; 90]).unwrap();
        drop(shard);
        query.commit(&planned).unwrap();
        query.checkpoint.sync().unwrap();
        if batch % 9 == 8 {
            query.snapshot();
        }
    }
    assert!(query.snapshot().runs > 0);
    let state = entries(&query.state);
    assert_eq!(state[&(2, 1, 0, b"always".to_vec())], 43_u64.to_be_bytes());
    assert!(!state.contains_key(&(2, 1, 0, b"sometimes".to_vec())));
    drop(query);
    assert_eq!(entries(&Query::open(&disk).unwrap().state), state);
}

/// One batch a start, as a query is run by a timer, with segments that never grow long.
#[test]
fn a_log_of_short_runs_is_folded_too() {
    let disk = MemoryDisk::new();
    let long = || OpenOptions { segment_bytes: u64::MAX, ..options() };
    let (mut segments_max, mut ranges_max) = (0, 0);
    for batch in 0..450 {
        let mut query = Query::open_with(&disk, long()).unwrap();
        ranges_max = ranges_max.max(query.recovered.ranges_since.len());
        // As the engine does at its start.
        if let Some(task) = query.checkpoint.snapshot_task().unwrap() {
            task.run().unwrap();
        }
        query.run_through(batch).unwrap();
        if query.checkpoint.wants_roll() {
            query.roll().unwrap();
        }
        let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "log");
        segments_max = segments_max.max(disk.paths().into_iter().filter(is_segment).count());
    }
    // Those of the last snapshot stay until the next one is there.
    assert!(segments_max < 210, "{segments_max} segments");
    assert!(ranges_max < 110, "{ranges_max} ranges are read at a start");
    assert_eq!(Query::open(&disk).unwrap().recovered.committed(), Some(BatchId(449)));
}

#[test]
fn state_is_counted_while_it_is_loaded() {
    let disk = MemoryDisk::new();
    folded(&disk, u64::MAX, 0..30);
    let find = |limit| {
        let memory = MemoryBudget::new(limit).reserve("the state of q");
        Checkpoint::find(Arc::new(disk.clone()), root(), options(), memory)
    };
    let bytes = find(u64::MAX).unwrap().begin().unwrap().state_memory.bytes();
    let refused = find(bytes / 2).err().unwrap();
    assert!(matches!(refused, CheckpointError::Memory(_)), "{refused}");
    assert!(refused.to_string().contains("the state of q needs"), "{refused}");
    assert!(find(bytes).is_ok());
}
