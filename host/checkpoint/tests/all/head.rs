//! The head and the tail know of a log that lost its end.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use tidemill_checkpoint::{
    Checkpoint, CheckpointError, Crash, Disk, DiskFile, FileEntry, Keep, Locked, MemoryDisk,
    OpenOptions, Resume, Seen, Slot,
};
use tidemill_core::{BatchId, QueryId};

use crate::support::{self, Query, last_segment, options, root};

/// Two lives of a query: batches 0 to 3, then 4 to 7.
fn two_lives() -> MemoryDisk {
    let disk = MemoryDisk::new();
    Query::open_with(&disk, long()).unwrap().run_through(3).unwrap();
    Query::open_with(&disk, long()).unwrap().run_through(7).unwrap();
    disk
}

/// A segment for each life.
fn long() -> OpenOptions {
    OpenOptions { segment_bytes: u64::MAX, ..options() }
}

fn refusal(disk: &MemoryDisk) -> CheckpointError {
    Query::open(disk).map(drop).expect_err("batches that were delivered would run again")
}

#[test]
fn a_newest_segment_that_lost_its_end_is_refused_wherever_it_was_cut() {
    let disk = two_lives();
    let path = last_segment(&disk);
    let whole = disk.bytes(&path).unwrap();
    for len in 0..whole.len() {
        let disk = disk.after(Crash::Kill);
        disk.put(&path, &whole[..len]);
        match refusal(&disk) {
            CheckpointError::Shortened { path: file, len: found, durable } => {
                assert_eq!((file, found, durable), (path.clone(), len as u64, whole.len() as u64));
            }
            CheckpointError::Damaged { file, .. } => assert_eq!(file, path),
            other => panic!("cut at {len}: {other:?}"),
        }
    }
    assert_eq!(Query::open(&disk).unwrap().recovered.next, Resume::Start(BatchId(8)));
}

#[test]
fn a_newest_segment_that_is_gone_is_refused_even_without_the_tail() {
    for has_tail in [true, false] {
        let disk = two_lives();
        if !has_tail {
            disk.remove(&support::tail()).unwrap();
        }
        let path = last_segment(&disk);
        disk.put(&path, b"");
        assert!(matches!(refusal(&disk), CheckpointError::Damaged { file, .. } if file == path));
        disk.remove(&path).unwrap();
        let error = refusal(&disk);
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(matches!(error, CheckpointError::Missing { path: file, .. } if file == path));
    }
}

#[test]
fn a_closed_segment_that_lost_whole_records_is_refused() {
    let disk = two_lives();
    let first = support::segments(&disk)[0].clone();
    let whole = disk.bytes(&first).unwrap();
    for len in 0..whole.len() {
        let disk = disk.after(Crash::Kill);
        disk.put(&first, &whole[..len]);
        refusal(&disk);
    }
    let mut longer = whole.clone();
    longer.extend(&whole[60..]);
    disk.put(&first, &longer);
    assert!(matches!(refusal(&disk), CheckpointError::Damaged { .. }));
}

#[test]
fn an_older_copy_of_the_newest_segment_is_refused() {
    let disk = MemoryDisk::new();
    Query::open_with(&disk, long()).unwrap().run_through(3).unwrap();
    let other = disk.after(Crash::Kill);
    Query::open_with(&disk, long()).unwrap().run_through(7).unwrap();
    Query::open_with(&other, long()).unwrap().run_through(9).unwrap();
    let path = last_segment(&disk);
    disk.put(&path, &other.bytes(&path).unwrap());
    assert!(matches!(refusal(&disk), CheckpointError::Damaged { file, .. } if file == path));
}

#[test]
fn a_damaged_head_is_refused_and_a_damaged_tail_says_nothing() {
    let disk = two_lives();
    let head = disk.bytes(&support::head()).unwrap();
    for at in 0..head.len() {
        let disk = disk.after(Crash::Kill);
        let mut bytes = head.clone();
        bytes[at] ^= 0x01;
        disk.put(&support::head(), &bytes);
        let is_named = |error: CheckpointError| match error {
            CheckpointError::Damaged { file, .. } | CheckpointError::Version { file, .. } => {
                file == support::head()
            }
            _ => false,
        };
        assert!(is_named(refusal(&disk)), "byte {at}");
        assert!(is_named(Checkpoint::peek(&disk, root()).unwrap_err()), "byte {at}");
        disk.put(&support::head(), &head[..at]);
        assert!(is_named(refusal(&disk)), "cut at {at}");
    }
    let tail = disk.bytes(&support::tail()).unwrap();
    for at in 0..tail.len() {
        let disk = disk.after(Crash::Kill);
        let mut bytes = tail.clone();
        bytes[at] ^= 0x01;
        disk.put(&support::tail(), &bytes);
        assert_eq!(Query::open(&disk).unwrap().recovered.next, Resume::Start(BatchId(8)));
        disk.put(&support::tail(), &tail[..at]);
        assert_eq!(Query::open(&disk).unwrap().recovered.next, Resume::Start(BatchId(8)));
    }
}

#[test]
fn a_log_without_its_head_is_refused() {
    let disk = two_lives();
    disk.remove(&support::head()).unwrap();
    let error = refusal(&disk);
    assert!(matches!(error, CheckpointError::Missing { path, .. } if path == support::head()));
    let peeked = Checkpoint::identify(&disk, root()).unwrap_err();
    assert!(matches!(peeked, CheckpointError::Missing { path, .. } if path == support::head()));
}

#[test]
fn the_head_of_another_checkpoint_is_refused() {
    let (disk, other) = (two_lives(), two_lives());
    disk.put(&support::head(), &other.bytes(&support::head()).unwrap());
    let error = refusal(&disk);
    assert!(matches!(error, CheckpointError::Damaged { file, .. } if file == support::head()));
}

#[test]
fn to_identify_a_checkpoint_reads_its_head_alone() {
    let disk = two_lives();
    let query_id = Query::open(&disk).unwrap().recovered.query_id.clone();
    for path in disk.paths().into_iter().filter(|path| *path != support::head()) {
        disk.remove(&path).unwrap();
    }
    let operations = disk.operations();
    let seen = Checkpoint::identify(&disk, root()).unwrap().unwrap();
    assert_eq!(seen.query_id, query_id);
    assert_eq!(seen.pinned, options().pinned);
    assert_eq!(disk.operations(), operations);
}

/// A disk on which another process goes on when somebody reads or lists for the so manieth time.
struct Restless<'a> {
    disk: &'a MemoryDisk,
    reads_before: Mutex<u64>,
    other: Box<dyn Fn() + Send + Sync + 'a>,
}

impl Restless<'_> {
    fn look(&self) {
        let mut reads = self.reads_before.lock().unwrap();
        if *reads == 0 {
            (self.other)();
        }
        *reads = reads.wrapping_sub(1);
    }
}

impl Disk for Restless<'_> {
    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
        self.look();
        self.disk.list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        self.look();
        self.disk.read(path)
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        panic!("who looks changes nothing")
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        panic!("who looks changes nothing")
    }

    fn slot(&self, _: &Path) -> io::Result<Box<dyn Slot>> {
        panic!("who looks changes nothing")
    }

    fn rewrite(&self, _: &Path, _: u64) -> io::Result<()> {
        panic!("who looks changes nothing")
    }

    fn truncate(&self, _: &Path, _: u64) -> io::Result<()> {
        panic!("who looks changes nothing")
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        panic!("who looks changes nothing")
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        panic!("who looks changes nothing")
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        panic!("who looks changes nothing")
    }

    fn lock(&self, _: &Path) -> io::Result<Locked> {
        panic!("who looks takes no lock")
    }

    fn lock_after(&self, _: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        panic!("who looks takes no lock")
    }
}

/// The query removes snapshots and segments while somebody looks.
#[test]
fn to_look_beside_a_query_that_makes_snapshots_is_no_damage() {
    let keep = Keep { batches: 0, age_ms: 0, bytes: 0 };
    for reads_before in 0..14 {
        let disk = MemoryDisk::new();
        let folds = OpenOptions { segment_bytes: 1, keep, ..options() };
        let mut query = Query::open_with(&disk, folds).unwrap();
        query.rolls = false;
        for batch in 0..4 {
            query.run_through(batch).unwrap();
            query.roll().unwrap();
        }
        let query_id = query.recovered.query_id.clone();
        let query = Mutex::new(query);
        let go_on = || {
            let mut query = query.lock().unwrap();
            query.run_through(5).unwrap();
            assert!(query.snapshot().removed > 3);
            query.run_through(7).unwrap();
        };
        let restless = Restless {
            disk: &disk,
            reads_before: Mutex::new(reads_before),
            other: Box::new(go_on),
        };
        let seen = Checkpoint::peek(&restless, root());
        let seen = seen.unwrap_or_else(|error| panic!("after {reads_before} reads: {error}"));
        assert_eq!(seen.unwrap().query_id, query_id);
    }
}

#[test]
fn a_checkpoint_that_was_replaced_since_it_was_looked_at_is_not_opened() {
    let disk = two_lives();
    let ours = Checkpoint::identify(&disk, root()).unwrap().unwrap().query_id;
    let open = |disk: &MemoryDisk, seen| {
        Query::open_with(disk, OpenOptions { seen, ..options() }).map(drop)
    };
    open(&disk, Seen::Query(ours.clone())).unwrap();
    for seen in [Seen::Nothing, Seen::Query(QueryId("another".to_owned()))] {
        let refused = open(&disk, seen).unwrap_err();
        assert!(matches!(refused, CheckpointError::Changed { .. }), "{refused}");
    }
    let fresh = MemoryDisk::new();
    let refused = open(&fresh, Seen::Query(ours)).unwrap_err();
    assert!(matches!(refused, CheckpointError::Changed { .. }), "{refused}");
    open(&fresh, Seen::Nothing).unwrap();
}

/// The first version of the format had no head.
#[test]
fn a_checkpoint_of_an_older_version_is_refused_by_its_version() {
    let mut header = b"TIDELOG\0".to_vec();
    header.extend(1_u32.to_le_bytes());
    header.extend([1_u64, 1, 0].iter().flat_map(|number| number.to_le_bytes()));
    header.extend(crc32fast::hash(&header).to_le_bytes());
    let mut snapshot = b"TIDESNAP".to_vec();
    snapshot.extend(1_u32.to_le_bytes());
    let segment = root().join("log/00000000000000000001.log");
    let folded = root().join("snapshots/00000000000000000001.snapshot");
    for (path, bytes) in [(segment, header), (folded, snapshot)] {
        let disk = MemoryDisk::new();
        disk.put(&path, &bytes);
        let identified = Checkpoint::identify(&disk, root()).unwrap_err();
        for error in [refusal(&disk), Checkpoint::peek(&disk, root()).unwrap_err(), identified] {
            let is_named = matches!(&error,
                CheckpointError::Version { file, found: 1, known: 2 } if *file == path);
            assert!(is_named, "{error:?}");
            assert!(error.to_string().contains("format version 1"), "{error}");
        }
    }
}

#[test]
fn a_batch_takes_no_sync_for_its_tail() {
    let disk = MemoryDisk::new();
    let mut query = Query::open_with(&disk, long()).unwrap();
    query.run_through(0).unwrap();
    let (syncs, operations) = (disk.syncs(), disk.operations());
    query.run_through(100).unwrap();
    assert_eq!(disk.syncs() - syncs, 101);
    // A write of the log, its sync, the tail.
    assert_eq!(disk.operations() - operations, 3 * 101);
}

#[test]
fn a_snapshot_is_not_made_of_a_segment_that_lost_records() {
    let disk = MemoryDisk::new();
    let options = OpenOptions { segment_bytes: 1, ..options() };
    let mut query = Query::open_with(&disk, options).unwrap();
    query.rolls = false;
    query.run_through(3).unwrap();
    query.roll().unwrap();
    let closed = support::segments(&disk)[0].clone();
    let whole = disk.bytes(&closed).unwrap();
    for len in 0..whole.len() {
        // It is due by the bytes that there were; of an empty segment none would be.
        let task = query.checkpoint.snapshot_task().unwrap().unwrap();
        disk.put(&closed, &whole[..len]);
        task.run().expect_err("it would be made of less than there was");
        disk.put(&closed, &whole);
    }
    query.checkpoint.snapshot_task().unwrap().unwrap().run().unwrap();
}

/// Who opens a checkpoint while a snapshot is made would take its files for left ones.
#[test]
fn a_checkpoint_stays_locked_until_its_snapshot_is_made() {
    let disk = MemoryDisk::new();
    let options = OpenOptions { segment_bytes: 1, ..options() };
    let mut query = Query::open_with(&disk, options).unwrap();
    query.rolls = false;
    query.run_through(3).unwrap();
    query.checkpoint.roll(BTreeMap::from([("numbers".into(), 40.into())])).unwrap();
    let task = query.checkpoint.snapshot_task().unwrap().unwrap();
    drop(query);
    let locked = Query::open(&disk).map(drop).unwrap_err();
    assert!(matches!(locked, CheckpointError::Locked { .. }), "{locked}");
    task.run().unwrap();
    Query::open(&disk).unwrap();
}
