//! A small query over a checkpoint: the only place of these tests that knows the API.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_checkpoint::{
    Change, Checkpoint, CheckpointError, MemoryDisk, MemoryStateStore, OpenOptions, Opened,
    Recovered, Resume, SnapshotReport, StateBackend,
};
use tidemill_core::{
    Attempt, AttemptSpec, BatchId, BatchSpec, Bucket, Delivered, Digest, OperatorId, ShardId,
    SourceRange, StateStore, Watermark,
};

pub(crate) const ROOT: &str = "/checkpoint";
pub(crate) const PLUGIN: &[u8] = b"the plugin's bytes";

pub(crate) fn root() -> &'static Path {
    Path::new(ROOT)
}

/// Segments so short that a run of 20 batches has several, and retention that removes some.
pub(crate) fn options() -> OpenOptions {
    OpenOptions {
        pinned: BTreeMap::from([("shuffle_partitions".into(), "4".into())]),
        segment_bytes: 4_000,
        keep: tidemill_checkpoint::Keep { batches: 4, age_ms: 1, bytes: 1 << 20 },
        ..OpenOptions::default()
    }
}

/// All state, as (operator, shard, bucket, key) -> value.
pub(crate) type Entries = BTreeMap<(u32, u32, i64, Vec<u8>), Vec<u8>>;

/// A query whose batch N reads the numbers `10 N .. 10 N + 10`, counts each modulo 7, and keeps a
/// window for each batch that a later batch evicts.
pub(crate) struct Query {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) state: Arc<MemoryStateStore>,
    pub(crate) recovered: Recovered,
    pub(crate) watermark: Watermark,
    pub(crate) late_watermark: Watermark,
    /// Where the next new range begins.
    pub(crate) position: u64,
    /// Where the range of the last batch that was committed ends.
    pub(crate) committed: u64,
    /// Whether it closes segments and makes snapshots by itself.
    pub(crate) rolls: bool,
    /// Whether some of its batches change what it fixes.
    pub(crate) renews: bool,
}

/// Batches that change what the query fixes.
const RENEWING: [u64; 3] = [4, 5, 13];

/// What a query that renews fixes after this batch.
pub(crate) fn renewed(committed: Option<BatchId>) -> BTreeMap<String, String> {
    let mut batches = RENEWING.into_iter();
    let last = batches.rfind(|batch| committed.is_some_and(|last| *batch <= last.0));
    let mut pinned = options().pinned;
    pinned.extend(last.map(|batch| ("form".to_owned(), batch.to_string())));
    pinned
}

impl Query {
    pub(crate) fn open(disk: &MemoryDisk) -> Result<Query, CheckpointError> {
        Query::open_with(disk, options())
    }

    pub(crate) fn open_with(
        disk: &MemoryDisk,
        options: OpenOptions,
    ) -> Result<Query, CheckpointError> {
        let Opened { checkpoint, recovered, state, .. } =
            Checkpoint::open(Arc::new(disk.clone()), root(), options)?;
        checkpoint.store_plugin(tidemill_core::Digest::of(PLUGIN), PLUGIN)?;
        let mut position = recovered.positions.get("numbers").map_or(0, |at| at.as_u64().unwrap());
        for ranges in &recovered.ranges_since {
            let range = &ranges["numbers"];
            assert_eq!(range.start, json!(position), "ranges join without gap or overlap");
            position = range.end.as_u64().unwrap();
        }
        let (watermark, late_watermark) = (recovered.watermark, recovered.late_watermark);
        let committed = recovered.committed().map_or(0, |batch| batch.0 * 10 + 10);
        Ok(Query {
            checkpoint,
            state,
            recovered,
            watermark,
            late_watermark,
            position,
            committed,
            rolls: true,
            renews: false,
        })
    }

    /// Runs batches until `last` is committed, each with one sync.
    pub(crate) fn run_through(&mut self, last: u64) -> Result<(), CheckpointError> {
        let mut spec = match self.recovered.next.clone() {
            Resume::Start(batch) => self.plan(batch)?,
            Resume::Replay { spec, attempt } => {
                for &digest in attempt.plugins.values() {
                    self.checkpoint.plugin_bytes(digest)?;
                }
                spec
            }
            Resume::Retry { spec, last_attempt } => {
                self.checkpoint.append_planned(&spec, &attempt(last_attempt.next().0))?;
                spec
            }
        };
        self.checkpoint.sync()?;
        while spec.batch.0 <= last {
            self.compute(&spec);
            self.commit(&spec)?;
            if spec.batch.0 == last {
                self.checkpoint.sync()?;
                self.recovered.next = Resume::Start(spec.batch.next());
                break;
            }
            spec = self.plan(spec.batch.next())?;
            self.checkpoint.sync()?;
            self.roll_if_wanted()?;
        }
        Ok(())
    }

    fn roll_if_wanted(&mut self) -> Result<(), CheckpointError> {
        if self.rolls && self.checkpoint.wants_roll() {
            self.roll()?;
            if let Some(task) = self.checkpoint.snapshot_task()? {
                task.run()?;
            }
        }
        Ok(())
    }

    pub(crate) fn roll(&mut self) -> Result<(), CheckpointError> {
        self.checkpoint.roll(BTreeMap::from([("numbers".into(), json!(self.committed))]))
    }

    /// Closes the segment and makes a snapshot.
    pub(crate) fn snapshot(&mut self) -> SnapshotReport {
        self.roll().unwrap();
        self.checkpoint.snapshot_task().unwrap().unwrap().run().unwrap()
    }

    pub(crate) fn plan(&mut self, batch: BatchId) -> Result<BatchSpec, CheckpointError> {
        let range = self.position..self.position + 10;
        assert_eq!(range.start, batch.0 * 10, "no number is read twice or left out");
        self.position = range.end;
        let spec = spec(batch.0, self.watermark, self.late_watermark);
        self.checkpoint.append_planned(&spec, &attempt(0))?;
        Ok(spec)
    }

    /// Changes state as batch `spec` does.
    pub(crate) fn compute(&self, spec: &BatchSpec) {
        let range = &spec.ranges["numbers"];
        for number in range.start.as_u64().unwrap()..range.end.as_u64().unwrap() {
            let key = format!("counter {}", number % 7);
            let shard = self.state.shard(OperatorId(0), ShardId::of_key(key.as_bytes(), 4));
            let mut shard = shard.lock().unwrap();
            let count = shard.get(Bucket::FOREVER, key.as_bytes()).map_or(0, |held| held.len());
            shard.put(Bucket::FOREVER, key.as_bytes(), &vec![b'x'; count + 1]).unwrap();
        }
        let windows = self.state.shard(OperatorId(1), ShardId(0));
        let mut windows = windows.lock().unwrap();
        windows.evict(Bucket(spec.watermark.millis), &mut |_, _, _| {}).unwrap();
        windows.put(Bucket(spec.batch.0 as i64), b"window", b"value").unwrap();
    }

    pub(crate) fn commit(&mut self, spec: &BatchSpec) -> Result<(), CheckpointError> {
        self.commit_to(spec, BTreeMap::new())
    }

    pub(crate) fn commit_to(
        &mut self,
        spec: &BatchSpec,
        delivered: BTreeMap<String, Delivered>,
    ) -> Result<(), CheckpointError> {
        self.late_watermark = spec.watermark;
        self.watermark = Watermark::at_millis(spec.batch.0 as i64 - 2);
        let renews = self.renews && RENEWING.contains(&spec.batch.0);
        let pinned = renews.then(|| ("form".to_owned(), spec.batch.to_string()));
        self.checkpoint.append_committed_renewing(
            spec.batch,
            self.watermark,
            &*self.state,
            delivered,
            pinned.into_iter().collect(),
        )?;
        self.state.apply();
        self.committed = spec.ranges["numbers"].end.as_u64().unwrap();
        Ok(())
    }
}

pub(crate) fn spec(batch: u64, watermark: Watermark, late_watermark: Watermark) -> BatchSpec {
    BatchSpec {
        batch: BatchId(batch),
        batch_time_ms: batch as i64 * 1_000,
        watermark,
        late_watermark,
        ranges: BTreeMap::from([(
            "numbers".into(),
            SourceRange {
                start: json!(batch * 10),
                end: json!(batch * 10 + 10),
                parts: Value::Null,
            },
        )]),
    }
}

pub(crate) fn attempt(attempt: u32) -> AttemptSpec {
    AttemptSpec {
        attempt: Attempt(attempt),
        plugins: BTreeMap::from([("numbers".into(), tidemill_core::Digest::of(PLUGIN))]),
        job: Digest([7; 32]),
        statics: BTreeMap::new(),
    }
}

/// Everything that a store holds, the running batch included.
pub(crate) fn entries(state: &MemoryStateStore) -> Entries {
    let mut entries = Entries::new();
    for operator in 0..3 {
        for shard in 0..4 {
            let held = state.shard(OperatorId(operator), ShardId(shard));
            held.lock().unwrap().scan(Bucket::FOREVER, &mut |bucket, key, value| {
                entries.insert((operator, shard, bucket.0, key.to_vec()), value.to_vec());
            });
        }
    }
    entries
}

/// The changes of the running batch.
pub(crate) fn changed(state: &MemoryStateStore) -> usize {
    let mut count = 0;
    let visit = &mut |_: Change<'_>| {
        count += 1;
        Ok(())
    };
    state.changes(visit).unwrap();
    count
}

pub(crate) fn head() -> PathBuf {
    root().join("head")
}

pub(crate) fn tail() -> PathBuf {
    root().join("tail")
}

/// The newest segment of the log.
pub(crate) fn last_segment(disk: &MemoryDisk) -> PathBuf {
    segments(disk).pop().unwrap()
}

pub(crate) fn segments(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.paths()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect()
}
