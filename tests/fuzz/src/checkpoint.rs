//! A checkpoint of which one file was changed.
//!
//! The bytes are edits of a file that is whole. So a fuzzer gets behind the checksums' first look,
//! and what comes out can be compared with what was written: a checkpoint opens as it was at the
//! end of one of its batches, or says that it is damaged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::json;
use tidemill_checkpoint::{Checkpoint, MemoryDisk, OpenOptions, Opened, StateBackend};
use tidemill_core::{
    Attempt, AttemptSpec, BatchId, BatchSpec, Bucket, Digest, OperatorId, ShardId, SourceRange,
    StateStore, Watermark,
};

const ROOT: &str = "/checkpoint";
const BATCHES: u64 = 12;
/// The batch before which everything is folded into a snapshot.
const FOLDED: u64 = 6;

/// Edits the log's last segment.
pub(crate) fn segment(bytes: &[u8]) {
    edited(bytes, |path| path.extension().is_some_and(|end| end == "log"));
}

/// Edits the snapshot.
pub(crate) fn snapshot(bytes: &[u8]) {
    edited(bytes, |path| path.extension().is_some_and(|end| end == "snapshot"));
}

/// Edits the file that says whose checkpoint it is.
pub(crate) fn head(bytes: &[u8]) {
    edited(bytes, |path| path.ends_with("head"));
}

/// Edits the file that says how far the log was.
pub(crate) fn tail(bytes: &[u8]) {
    edited(bytes, |path| path.ends_with("tail"));
}

/// Makes edits of four bytes each: what, where (two bytes), and the new byte.
pub(crate) fn edit(edits: &[u8], bytes: &mut Vec<u8>) {
    for edit in edits.chunks_exact(4) {
        let place = usize::from(u16::from_le_bytes([edit[1], edit[2]]));
        let at = place % (bytes.len() + 1);
        match edit[0] % 4 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, edit[3]),
            _ if at < bytes.len() => bytes[at] = edit[3],
            _ => bytes.push(edit[3]),
        }
    }
}

fn edited(edits: &[u8], is_it: fn(&Path) -> bool) {
    let disk = whole().after(tidemill_checkpoint::Crash::Kill);
    let path = disk.paths().into_iter().rfind(|path| is_it(path)).expect("there is one");
    let mut bytes = disk.bytes(&path).expect("it is there");
    edit(edits, &mut bytes);
    disk.put(&path, &bytes);
    if let Ok(opened) = open(&disk) {
        let batches = count(&opened);
        assert!(batches <= BATCHES, "{batches} batches were counted, and {BATCHES} ran");
        drop(opened);
        let again = open(&disk).expect("what opened once opens again");
        assert_eq!(count(&again), batches);
    }
}

fn open(disk: &MemoryDisk) -> Result<Opened, tidemill_checkpoint::CheckpointError> {
    // Short segments, so that the few batches are worth a snapshot.
    let options = OpenOptions { segment_bytes: 100, ..OpenOptions::default() };
    Checkpoint::open(Arc::new(disk.clone()), Path::new(ROOT), options)
}

/// What the state says of how many batches ran.
fn count(opened: &Opened) -> u64 {
    let shard = opened.state.shard(OperatorId(0), ShardId(0));
    let shard = shard.lock().expect("nobody else has it");
    shard.get(Bucket::FOREVER, b"batches").map_or(0, |held| held.len() as u64)
}

/// A checkpoint with a snapshot and log after it, in which batch n leaves n + 1 bytes of state.
fn whole() -> &'static MemoryDisk {
    static DISK: OnceLock<MemoryDisk> = OnceLock::new();
    DISK.get_or_init(|| {
        let disk = MemoryDisk::new();
        let Opened { mut checkpoint, state, .. } = open(&disk).expect("a new checkpoint");
        for batch in 0..BATCHES {
            if batch == FOLDED {
                checkpoint.roll(BTreeMap::new()).expect("a new segment");
                let task = checkpoint.snapshot_task().expect("a task");
                task.expect("something to fold").run().expect("a snapshot");
            }
            checkpoint.append_planned(&spec(batch), &attempt()).expect("a plan");
            let shard = state.shard(OperatorId(0), ShardId(0));
            let count = vec![b'x'; usize::try_from(batch).expect("a few") + 1];
            let mut shard = shard.lock().expect("nobody else has it");
            shard.put(Bucket::FOREVER, b"batches", &count).expect("it fits");
            drop(shard);
            let commit = checkpoint.append_committed(
                BatchId(batch),
                Watermark { millis: 0 },
                &*state,
                BTreeMap::new(),
            );
            commit.expect("a commit");
            checkpoint.sync().expect("a disk");
            state.apply();
        }
        disk
    })
}

fn spec(batch: u64) -> BatchSpec {
    let range = SourceRange { start: json!(batch), end: json!(batch + 1), parts: json!(null) };
    BatchSpec {
        batch: BatchId(batch),
        batch_time_ms: 0,
        watermark: Watermark { millis: 0 },
        late_watermark: Watermark { millis: 0 },
        ranges: BTreeMap::from([("numbers".to_owned(), range)]),
    }
}

fn attempt() -> AttemptSpec {
    AttemptSpec {
        attempt: Attempt(0),
        plugins: BTreeMap::new(),
        job: Digest([7; 32]),
        statics: BTreeMap::new(),
    }
}
