//! A snapshot of much state is made with little memory.

use tidemill_checkpoint::{MemoryDisk, OpenOptions, StateBackend};
use tidemill_core::{BatchId, Bucket, OperatorId, ShardId, StateStore};

use crate::support::{Query, entries, options};

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
