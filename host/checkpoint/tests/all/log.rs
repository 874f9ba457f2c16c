//! What the log takes, what it refuses, and what it makes of damaged bytes.

use std::collections::BTreeMap;

use tidemill_checkpoint::{
    Checkpoint, CheckpointError, Crash, MemoryDisk, OpenOptions, Resume, StateBackend, resume,
};
use tidemill_core::{Attempt, BatchId, Digest, Watermark};

use crate::support::{self, Query, attempt, entries, last_segment, root, spec};

const NONE: Watermark = Watermark { millis: 0 };

#[test]
fn everything_comes_back() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    assert!(query.recovered.is_new);
    assert_eq!(query.recovered.next, Resume::Start(BatchId(0)));
    query.run_through(9).unwrap();
    let (state, query_id) = (entries(&query.state), query.checkpoint.query_id().clone());
    drop(query);

    let again = Query::open(&disk).unwrap();
    assert!(!again.recovered.is_new);
    assert_eq!(again.recovered.query_id, query_id);
    assert_eq!(again.recovered.next, Resume::Start(BatchId(10)));
    assert_eq!(again.recovered.watermark.millis, 7, "after batch 9");
    assert_eq!(again.recovered.late_watermark.millis, 6, "of batch 9");
    assert_eq!(again.recovered.pinned["shuffle_partitions"], "4");
    assert_eq!(again.position, 100);
    assert_eq!(entries(&again.state), state);
}

#[test]
fn pinned_options_are_those_of_the_first_start() {
    let disk = MemoryDisk::new();
    drop(Query::open(&disk).unwrap());
    let pinned = BTreeMap::from([("shuffle_partitions".into(), "200".into())]);
    let query = Query::open_with(&disk, OpenOptions { pinned, ..OpenOptions::default() }).unwrap();
    assert_eq!(query.recovered.pinned["shuffle_partitions"], "4");
}

#[test]
fn a_batch_takes_one_sync() {
    let disk = MemoryDisk::new();
    let options = OpenOptions { segment_bytes: u64::MAX, ..support::options() };
    let mut query = Query::open_with(&disk, options).unwrap();
    query.run_through(0).unwrap();
    let (syncs, disk_syncs) = (query.checkpoint.syncs(), disk.syncs());
    query.run_through(100).unwrap();
    // The first batch's plan had no commit to go with; the others shared theirs.
    assert_eq!(query.checkpoint.syncs() - syncs, 100 + 1);
    assert_eq!(disk.syncs() - disk_syncs, 100 + 1);
}

#[test]
fn a_torn_last_record_is_cut_off_wherever_it_was_torn() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(3).unwrap();
    let before = disk.bytes(&last_segment(&disk)).unwrap().len();
    let planned = query.plan(BatchId(4)).unwrap();
    query.checkpoint.sync().unwrap();
    drop(query);
    let path = last_segment(&disk);
    let whole = disk.bytes(&path).unwrap();
    for len in before..=whole.len() {
        let disk = disk.after(Crash::Kill);
        disk.put(&path, &whole[..len]);
        disk.put(&support::tail(), b"lost in the same power cut");
        let next = Checkpoint::peek(&disk, root()).unwrap().unwrap().next;
        let mut query = Query::open(&disk).unwrap();
        assert_eq!(query.recovered.next, next);
        if len == whole.len() {
            assert_eq!(next, Resume::Replay { spec: planned.clone(), attempt: attempt(0) });
        } else {
            assert_eq!(next, Resume::Start(BatchId(4)), "{len} of {} bytes", whole.len());
        }
        query.run_through(6).unwrap();
        drop(query);
        assert_eq!(Query::open(&disk).unwrap().recovered.next, Resume::Start(BatchId(7)));
    }
}

#[test]
fn a_commit_counts_only_as_a_whole() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(3).unwrap();
    let state = entries(&query.state);
    let planned = query.plan(BatchId(4)).unwrap();
    query.checkpoint.sync().unwrap();
    let before = disk.bytes(&last_segment(&disk)).unwrap().len();
    query.compute(&planned);
    query.commit(&planned).unwrap();
    query.checkpoint.sync().unwrap();
    drop(query);
    let path = last_segment(&disk);
    let whole = disk.bytes(&path).unwrap();
    for len in before..whole.len() {
        let disk = disk.after(Crash::Kill);
        disk.put(&path, &whole[..len]);
        disk.put(&support::tail(), b"lost in the same power cut");
        let query = Query::open(&disk).unwrap();
        assert!(matches!(&query.recovered.next, Resume::Replay { spec, .. } if *spec == planned));
        assert_eq!(entries(&query.state), state, "{len} of {} bytes", whole.len());
    }
}

#[test]
fn damage_before_the_last_sync_is_refused_with_file_and_offset() {
    for has_tail in [true, false] {
        damage_before_the_last_sync_is_refused(has_tail);
    }
}

fn damage_before_the_last_sync_is_refused(has_tail: bool) {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(2).unwrap();
    let durable = disk.bytes(&last_segment(&disk)).unwrap().len();
    query.plan(BatchId(3)).unwrap();
    query.checkpoint.sync().unwrap();
    drop(query);
    let path = last_segment(&disk);
    let whole = disk.bytes(&path).unwrap();
    for at in 0..durable {
        let disk = disk.after(Crash::Kill);
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        disk.put(&path, &bytes);
        if !has_tail {
            disk.put(&support::tail(), b"");
        }
        match Query::open(&disk).map(drop) {
            Err(CheckpointError::Damaged { file, offset, .. }) => {
                assert_eq!(file, path);
                assert!(offset <= at as u64, "{offset} is after the damage at {at}");
            }
            other => panic!("damage at byte {at} of {durable}: {other:?}"),
        }
    }
}

#[test]
fn damage_in_a_closed_segment_is_refused_even_at_its_end() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(2).unwrap();
    query.roll().unwrap();
    drop(query);
    let path = support::segments(&disk)[0].clone();
    let bytes = disk.bytes(&path).unwrap();
    disk.put(&path, &bytes[..bytes.len() - 1]);
    assert!(matches!(Query::open(&disk).map(drop), Err(CheckpointError::Damaged { .. })));
}

/// The value of a user holds a whole frame of this very segment, written after a sync.
#[test]
fn a_frame_in_a_value_does_not_make_damage_of_a_torn_write() {
    use tidemill_core::{Bucket, OperatorId, ShardId, StateStore};

    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(2).unwrap();
    let durable = disk.bytes(&last_segment(&disk)).unwrap();
    let planned = query.plan(BatchId(3)).unwrap();
    query.checkpoint.sync().unwrap();
    let with_plan = disk.bytes(&last_segment(&disk)).unwrap();
    let plan = &with_plan[durable.len()..];
    let shard = query.state.shard(OperatorId(2), ShardId(0));
    shard.lock().unwrap().put(Bucket::FOREVER, b"key", plan).unwrap();
    query.commit(&planned).unwrap();
    query.checkpoint.sync().unwrap();
    drop(query);
    let path = last_segment(&disk);
    let mut bytes = disk.bytes(&path).unwrap();
    let value = bytes.windows(plan.len()).rposition(|window| window == plan).unwrap();
    assert!(value > with_plan.len());
    // The sector before the value did not reach the disk.
    bytes[with_plan.len() + 1] ^= 0xff;
    disk.put(&path, &bytes);
    disk.put(&support::tail(), b"");
    let query = Query::open(&disk).unwrap();
    assert!(matches!(&query.recovered.next, Resume::Replay { spec, .. } if *spec == planned));
}

#[test]
fn a_missing_segment_is_refused() {
    for missing in 0..3 {
        let disk = MemoryDisk::new();
        let mut query = Query::open(&disk).unwrap();
        query.run_through(1).unwrap();
        query.roll().unwrap();
        query.roll().unwrap();
        query.roll().unwrap();
        drop(query);
        let path = support::segments(&disk)[missing].clone();
        tidemill_checkpoint::Disk::remove(&disk, &path).unwrap();
        let found = Query::open(&disk).map(drop);
        assert!(matches!(found, Err(CheckpointError::Missing { path: at, .. }) if at == path));
    }
}

#[test]
fn records_that_do_not_follow_are_refused_and_leave_the_log_as_it_was() {
    let disk = MemoryDisk::new();
    let Query { mut checkpoint, state, .. } = Query::open(&disk).unwrap();
    let plan = |checkpoint: &mut Checkpoint, batch, number| {
        checkpoint.append_planned(&spec(batch, NONE, NONE), &attempt(number))
    };
    let is_refused = |result| assert!(matches!(result, Err(CheckpointError::Gap(_))), "{result:?}");
    is_refused(plan(&mut checkpoint, 1, 0));
    is_refused(plan(&mut checkpoint, 0, 1));
    is_refused(checkpoint.append_committed(BatchId(0), NONE, &*state, BTreeMap::new()));
    is_refused(checkpoint.append_failed(BatchId(0), Attempt(0), "reason"));
    is_refused(checkpoint.append_mark(BatchId(0), "name"));
    plan(&mut checkpoint, 0, 0).unwrap();
    is_refused(plan(&mut checkpoint, 1, 0));
    is_refused(plan(&mut checkpoint, 0, 1));
    is_refused(checkpoint.append_mark(BatchId(1), "name"));
    is_refused(checkpoint.append_committed(BatchId(1), NONE, &*state, BTreeMap::new()));
    is_refused(checkpoint.append_failed(BatchId(0), Attempt(1), "reason"));
    checkpoint.append_failed(BatchId(0), Attempt(0), "reason").unwrap();
    is_refused(checkpoint.append_committed(BatchId(0), NONE, &*state, BTreeMap::new()));
    is_refused(checkpoint.append_planned(&spec(0, Watermark::at_millis(1), NONE), &attempt(1)));
    plan(&mut checkpoint, 0, 1).unwrap();
    checkpoint.append_committed(BatchId(0), NONE, &*state, BTreeMap::new()).unwrap();
    is_refused(plan(&mut checkpoint, 0, 2));
    checkpoint.sync().unwrap();
    drop(checkpoint);
    assert_eq!(Query::open(&disk).unwrap().recovered.next, Resume::Start(BatchId(1)));
}

#[test]
fn a_failed_attempt_is_followed_by_another_with_the_same_spec() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    query.run_through(3).unwrap();
    let state = entries(&query.state);
    let planned = query.plan(BatchId(4)).unwrap();
    query.compute(&planned);
    query.state.discard();
    assert_eq!(support::changed(&query.state), 0);
    query.checkpoint.append_failed(BatchId(4), Attempt(0), "the plugin panicked").unwrap();
    query.checkpoint.sync().unwrap();
    assert_eq!(entries(&query.state), state);
    drop(query);

    let mut query = Query::open(&disk).unwrap();
    let retry = Resume::Retry { spec: planned, last_attempt: Attempt(0) };
    assert_eq!(query.recovered.next, retry);
    query.run_through(5).unwrap();
    assert_eq!(query.position, 60);
}

#[test]
fn a_mark_names_one_batch_and_outlives_its_attempts() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    let planned = query.plan(BatchId(0)).unwrap();
    query.checkpoint.sync().unwrap();
    assert!(!query.checkpoint.is_processed(BatchId(0), "deliver"));
    query.checkpoint.append_mark(BatchId(0), "deliver").unwrap();
    query.checkpoint.sync().unwrap();
    drop(query);
    let disk = disk.after(Crash::PowerCut);

    let mut query = Query::open(&disk).unwrap();
    assert!(query.checkpoint.is_processed(BatchId(0), "deliver"), "it was durable");
    assert!(!query.checkpoint.is_processed(BatchId(0), "another"));
    query.checkpoint.append_failed(BatchId(0), Attempt(0), "reason").unwrap();
    query.checkpoint.append_planned(&planned, &attempt(1)).unwrap();
    assert!(query.checkpoint.is_processed(BatchId(0), "deliver"));
    query.commit(&planned).unwrap();
    query.plan(BatchId(1)).unwrap();
    assert!(!query.checkpoint.is_processed(BatchId(1), "deliver"));
}

#[test]
fn where_to_go_on_follows_from_plan_failure_and_commit() {
    let batches = [None, Some(0), Some(1), Some(2), Some(3)];
    for planned in batches {
        for committed in batches {
            for has_failed in [false, true] {
                let plan = planned.map(|batch| (spec(batch, NONE, NONE), attempt(3)));
                let borrowed = plan.as_ref().map(|(spec, attempt)| (spec, attempt));
                let found = resume(borrowed, has_failed, committed.map(BatchId));
                let next = committed.map_or(0, |batch| batch + 1);
                match (planned, has_failed) {
                    (None, _) if committed.is_none() => {
                        assert_eq!(found, Ok(Resume::Start(BatchId(0))));
                    }
                    (Some(batch), false) if Some(batch) == committed => {
                        assert_eq!(found, Ok(Resume::Start(BatchId(next))));
                    }
                    (Some(batch), false) if batch == next => {
                        let (spec, attempt) = plan.clone().unwrap();
                        assert_eq!(found, Ok(Resume::Replay { spec, attempt }));
                    }
                    (Some(batch), true) if batch == next => {
                        let (spec, last_attempt) = (spec(batch, NONE, NONE), Attempt(3));
                        assert_eq!(found, Ok(Resume::Retry { spec, last_attempt }));
                    }
                    _ => assert!(found.is_err(), "{planned:?} {has_failed} {committed:?}"),
                }
            }
        }
    }
}

#[test]
fn an_attempt_with_a_plugin_that_is_not_kept_is_refused() {
    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    let mut unknown = attempt(0);
    unknown.plugins.insert("other".into(), Digest([1; 32]));
    let refused = query.checkpoint.append_planned(&spec(0, NONE, NONE), &unknown);
    assert!(matches!(refused, Err(CheckpointError::NoPlugin { .. })));
    let wrong = query.checkpoint.store_plugin(tidemill_core::Digest::of(b"these"), b"those");
    assert!(matches!(wrong, Err(CheckpointError::WrongPlugin { .. })));
    assert_eq!(
        query.checkpoint.plugin_bytes(tidemill_core::Digest::of(support::PLUGIN)).unwrap(),
        support::PLUGIN
    );
}

#[test]
fn a_large_batch_goes_out_in_chunks_and_comes_back() {
    use tidemill_core::{Bucket, OperatorId, ShardId, StateStore};

    let disk = MemoryDisk::new();
    let mut query = Query::open(&disk).unwrap();
    let planned = query.plan(BatchId(0)).unwrap();
    let shard = query.state.shard(OperatorId(2), ShardId(3));
    for key in 0..3_000_u32 {
        let mut shard = shard.lock().unwrap();
        shard.put(Bucket(i64::from(key % 3)), &key.to_be_bytes(), &[key as u8; 1_000]).unwrap();
    }
    shard.lock().unwrap().put(Bucket(0), b"very large", &vec![7; 3 << 20]).unwrap();
    query.commit(&planned).unwrap();
    query.checkpoint.sync().unwrap();
    let state = entries(&query.state);
    assert_eq!(state.len(), 3_001);
    drop(query);
    assert_eq!(entries(&Query::open(&disk).unwrap().state), state);
}
