//! On the machine's own file system.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_checkpoint::{Checkpoint, CheckpointError, Disk, OpenOptions, RealDisk, Resume};
use tidemill_core::{Attempt, AttemptSpec, BatchId, BatchSpec, Digest, Watermark};

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some/query");
    let open = || Checkpoint::open(Arc::new(RealDisk), &path, OpenOptions::default());
    let first = open().unwrap();
    let refused = open().map(drop).unwrap_err();
    let ours = std::process::id();
    assert!(matches!(&refused, CheckpointError::Locked { pid: Some(pid), .. } if *pid == ours));
    let message = refused.to_string();
    assert!(message.contains(&path.display().to_string()), "{message}");
    assert!(message.contains(&format!("process {ours}")), "{message}");
    drop(first);
    open().unwrap();
}

#[test]
fn to_look_at_a_checkpoint_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("query");
    assert_eq!(Checkpoint::peek(&RealDisk, &path).unwrap(), None);
    assert!(!path.exists());
    let opened = Checkpoint::open(Arc::new(RealDisk), &path, OpenOptions::default()).unwrap();
    let seen = Checkpoint::peek(&RealDisk, &path).unwrap().unwrap();
    assert_eq!(seen.query_id, opened.recovered.query_id);
}

#[test]
fn a_batch_survives_a_restart_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Checkpoint::open(Arc::new(RealDisk), dir.path(), OpenOptions::default()).unwrap();
    let mut opened = open();
    let spec = BatchSpec {
        batch: BatchId(0),
        batch_time_ms: 1_000,
        watermark: Watermark::default(),
        late_watermark: Watermark::default(),
        ranges: BTreeMap::new(),
    };
    let attempt = AttemptSpec {
        attempt: Attempt::FIRST,
        plugins: BTreeMap::new(),
        job: Digest([0; 32]),
        statics: BTreeMap::new(),
    };
    opened.checkpoint.append_planned(&spec, &attempt).unwrap();
    opened.checkpoint.sync().unwrap();
    drop(opened);
    let mut opened = open();
    assert_eq!(opened.recovered.next, Resume::Replay { spec, attempt });
    let state = Arc::clone(&opened.state);
    opened
        .checkpoint
        .append_committed(BatchId(0), Watermark::at_millis(5), &*state, BTreeMap::new())
        .unwrap();
    opened.checkpoint.roll(BTreeMap::new()).unwrap();
    drop(opened);
    assert_eq!(open().recovered.next, Resume::Start(BatchId(1)));
    assert_eq!(open().recovered.watermark.millis, 5);
}

#[test]
fn who_waits_for_a_lock_has_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (lock, count) = (dir.path().join("lock"), dir.path().join("count"));
    std::fs::write(&count, "0").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let _ours = RealDisk.lock_after(&lock).unwrap();
                    let counted: u32 = std::fs::read_to_string(&count).unwrap().parse().unwrap();
                    std::fs::write(&count, (counted + 1).to_string()).unwrap();
                }
            });
        }
    });
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "200");
}
