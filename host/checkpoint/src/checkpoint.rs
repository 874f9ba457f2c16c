//! The checkpoint of a query that runs.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use tidemill_core::{
    Attempt, AttemptSpec, BatchId, BatchSpec, Delivered, Digest, MemoryBudget, QueryId,
    Reservation, Watermark,
};

use crate::CheckpointError;
use crate::disk::{Disk, Locked};
use crate::head::{Head, Tail, TailWriter};
use crate::log::LogSummary;
use crate::log::frame::Salt;
use crate::log::record::{Committed, Created, Failed, Mark, Planned, Positions, Record, kind};
use crate::log::segment::{Header, SegmentWriter};
use crate::names::{Layout, TEMPORARY, segment_number, snapshot_number};
use crate::plugins::Plugins;
use crate::recover::{self, Leftover, Loaded, Recovered};
use crate::snapshot::{Keep, RunningFlag, SnapshotTask};
use crate::state::{CHUNK_BYTES, Change, Loading, MemoryStateStore, StateBackend};

/// Bytes after which [`Checkpoint::wants_roll`] asks for a new segment.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of changes that the making of a snapshot holds in memory, by default: about what a
/// segment's are, so that a query with little state needs no temporary files.
pub const FOLD_BYTES: u64 = 64 * 1024 * 1024;

/// Batches, and closed segments, after which the log is shortened however few bytes they have:
/// queries that are started for a batch or two leave one segment each, and all that was read since
/// positions were last logged.
const SHORT_RUNS: usize = 100;

/// Bytes of state that one batch may change, by default.
pub const OVERLAY_BYTES: u64 = 256 * 1024 * 1024;

/// How a checkpoint is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenOptions {
    /// Options that a new checkpoint fixes for good. What an existing one fixed is in
    /// [`Recovered::pinned`].
    pub pinned: BTreeMap<String, String>,
    /// Bytes of state that one batch may change.
    pub overlay_bytes_max: u64,
    /// Bytes after which a segment is closed.
    pub segment_bytes: u64,
    /// What is kept for replays.
    pub keep: Keep,
    /// Bytes of changes that the making of a snapshot holds in memory.
    pub fold_bytes: u64,
    /// What the caller saw of the checkpoint before.
    pub seen: Seen,
}

/// What a caller of [`Checkpoint::open`] saw of the checkpoint, and relies on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Seen {
    /// It did not look.
    #[default]
    Unlooked,
    /// [`Checkpoint::identify`] found none.
    Nothing,
    /// [`Checkpoint::identify`] found the one of this query.
    Query(QueryId),
}

/// What a checkpoint is told by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Made when the checkpoint was.
    pub query_id: QueryId,
    /// Options that were fixed when the checkpoint was made, as far as no batch has changed them.
    pub pinned: BTreeMap<String, String>,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions {
            pinned: BTreeMap::new(),
            overlay_bytes_max: OVERLAY_BYTES,
            segment_bytes: SEGMENT_BYTES,
            keep: Keep::default(),
            fold_bytes: FOLD_BYTES,
            seen: Seen::Unlooked,
        }
    }
}

/// A checkpoint that was opened.
pub struct Opened {
    /// To write to.
    pub checkpoint: Checkpoint,
    /// What it said.
    pub recovered: Recovered,
    /// The state after the last committed batch.
    pub state: Arc<MemoryStateStore>,
    /// What the state takes of the budget.
    pub state_memory: Reservation,
}

/// A checkpoint that was locked and read. Nothing was written to it yet, so whoever finds that it
/// does not fit lets go of it, and it is as it was.
pub struct Found {
    disk: Arc<dyn Disk>,
    layout: Layout,
    options: OpenOptions,
    head: Option<Head>,
    tail: Option<Tail>,
    loaded: Loaded,
    lock: Arc<dyn Any + Send + Sync>,
    state: Arc<MemoryStateStore>,
    state_memory: Reservation,
}

impl Found {
    /// What it says; `None`: there is no checkpoint yet.
    pub fn recovered(&self) -> Result<Option<Recovered>, CheckpointError> {
        match self.head {
            Some(_) => Ok(Recovered::of(&self.loaded.summary, false)?),
            None => Ok(None),
        }
    }

    /// Makes durable what was read, clears what a crash left, and begins a segment of this
    /// process; with it the checkpoint, if there is none.
    pub fn begin(self) -> Result<Opened, CheckpointError> {
        let (disk, layout, is_new) = (self.disk, self.layout, self.head.is_none());
        remove_unfinished(&*disk, &layout)?;
        recover::settle(&*disk, &layout, self.head.as_ref(), self.tail.as_ref())?;
        clear(&*disk, self.loaded.leftover.as_ref())?;
        let mut checkpoint = Checkpoint::begin(disk, layout, self.options, self.loaded, self.lock)?;
        let recovered = Recovered::of(&checkpoint.summary, is_new)?;
        let recovered = recovered.expect("a log that lacked its first record was just given one");
        checkpoint.forget_ranges();
        let (state, state_memory) = (self.state, self.state_memory);
        Ok(Opened { checkpoint, recovered, state, state_memory })
    }
}

/// The checkpoint of a query that runs. Only one process has it at a time.
///
/// ```text
/// append_planned(0) sync | run batch 0 | append_committed(0) append_planned(1) sync | run batch 1 | …
/// ```
///
/// What was appended is durable when the next [`Checkpoint::sync`] has returned, and only then may
/// anybody outside see anything of the batch. A record that does not follow from those before it
/// is refused. After an error of the disk nothing more is taken: see
/// [`CheckpointError::SyncFailed`].
pub struct Checkpoint {
    disk: Arc<dyn Disk>,
    layout: Layout,
    options: OpenOptions,
    plugins: Plugins,
    summary: LogSummary,
    fencing: u64,
    segment_number: u64,
    segment: SegmentWriter,
    tail: TailWriter,
    /// Syncs of closed segments.
    syncs_before: u64,
    /// Batches that were planned by earlier processes since the positions of sources were logged.
    batches_before: usize,
    is_folding: Arc<AtomicBool>,
    /// Shared with the task that makes a snapshot.
    lock: Arc<dyn Any + Send + Sync>,
}

impl Checkpoint {
    /// Which checkpoint is at `path`; `None` if there is none. Makes nothing, takes no lock, and
    /// reads one small file, and the log where what the query fixes was changed in it: it may be asked
    /// beside a query that runs.
    pub fn identify(disk: &dyn Disk, path: &Path) -> Result<Option<Identity>, CheckpointError> {
        let layout = Layout::new(path);
        let identity = |head: Head| {
            let renewed = match head.renews {
                true => recover::look(disk, &layout)?,
                false => None,
            };
            let pinned = renewed.map_or(head.pinned, |summary| summary.pinned);
            Ok(Some(Identity { query_id: head.query_id, pinned }))
        };
        if let Some(head) = Head::read(disk, &layout)? {
            return identity(head);
        }
        match recover::unbegun(disk, &layout) {
            Ok(_) => Ok(None),
            // A query that was started meanwhile may have made it.
            Err(error) => match Head::read(disk, &layout)? {
                Some(head) => identity(head),
                None => Err(error),
            },
        }
    }

    /// What the checkpoint at `path` says, without its state; `None` if there is none. Makes
    /// nothing, and takes no lock: a query that runs may be writing to it.
    pub fn peek(disk: &dyn Disk, path: &Path) -> Result<Option<Recovered>, CheckpointError> {
        let summary = recover::look(disk, &Layout::new(path))?;
        Ok(summary.map(|summary| Recovered::of(&summary, false)).transpose()?.flatten())
    }

    /// Takes the lock of the checkpoint at `path`, which is there, and reads nothing: until it is
    /// dropped nobody runs the query.
    pub fn lock(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<Arc<dyn Any + Send + Sync>, CheckpointError> {
        take_lock(disk, &Layout::new(path))
    }

    /// Opens the checkpoint at `path`, or makes it.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: OpenOptions,
    ) -> Result<Opened, CheckpointError> {
        let memory = MemoryBudget::unlimited().reserve("the state");
        Checkpoint::find(disk, path, options, memory)?.begin()
    }

    /// Locks and reads the checkpoint at `path`, and writes nothing but its directories, if they
    /// are not there. Its state is counted in `memory` while it is loaded.
    pub fn find(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: OpenOptions,
        memory: Reservation,
    ) -> Result<Found, CheckpointError> {
        let layout = Layout::new(path);
        for dir in layout.directories() {
            disk.create_dir(&dir).map_err(CheckpointError::io("create", &dir))?;
        }
        let lock = take_lock(&*disk, &layout)?;
        let head = Head::read(&*disk, &layout)?;
        check_seen(&layout, &options.seen, head.as_ref())?;
        let tail = Tail::read(&*disk, &layout)?;
        let mut loading = Loading::new(options.overlay_bytes_max, memory);
        let mut add = |change: Change<'_>| loading.add(change);
        let loaded = recover::load(&*disk, &layout, head.as_ref(), tail.as_ref(), Some(&mut add))?;
        let segment = layout.segment(loaded.last_segment);
        let damaged = |found: String| CheckpointError::damaged(&segment, 0, found);
        let (state, state_memory) = loading.finish(&loaded.summary.state_rows, damaged)?;
        Ok(Found { disk, layout, options, head, tail, loaded, lock, state, state_memory })
    }

    /// Begins this process's own segment, and with it the log, if there is none.
    fn begin(
        disk: Arc<dyn Disk>,
        layout: Layout,
        options: OpenOptions,
        loaded: Loaded,
        lock: Arc<dyn Any + Send + Sync>,
    ) -> Result<Checkpoint, CheckpointError> {
        let (fencing, segment_number) = (loaded.chain.fencing + 1, loaded.last_segment + 1);
        let header = Header {
            fencing,
            number: segment_number,
            first_batch: loaded.summary.next_batch().0,
            salt: Salt::new(),
            previous_len: loaded.chain.len(),
        };
        let mut checkpoint = Checkpoint {
            plugins: Plugins::open(Arc::clone(&disk), layout.clone())?,
            segment: SegmentWriter::create(&*disk, &layout, header)?,
            tail: TailWriter::open(&*disk, &layout)?,
            disk,
            layout,
            options,
            batches_before: loaded.summary.ranges_since.len(),
            summary: loaded.summary,
            fencing,
            segment_number,
            syncs_before: 0,
            is_folding: Arc::default(),
            lock,
        };
        if checkpoint.summary.query_id.is_none() {
            checkpoint.create()?;
        }
        checkpoint.write_head(segment_number, false)?;
        checkpoint.write_tail()?;
        Ok(checkpoint)
    }

    /// Identity of the query.
    #[must_use]
    pub fn query_id(&self) -> &QueryId {
        self.summary.query_id.as_ref().expect("an open log has its first record")
    }

    /// An attempt at a batch begins. Its plugins have to be in the checkpoint.
    pub fn append_planned(
        &mut self,
        spec: &BatchSpec,
        attempt: &AttemptSpec,
    ) -> Result<(), CheckpointError> {
        self.plan(Planned { spec: spec.clone(), attempt: attempt.clone(), replanned: false })
    }

    /// As [`Checkpoint::append_planned`], of a batch whose last attempt failed, with a spec that
    /// takes the place of the one that it had. Nobody outside may hold rows of the old one.
    pub fn append_replanned(
        &mut self,
        spec: &BatchSpec,
        attempt: &AttemptSpec,
    ) -> Result<(), CheckpointError> {
        self.plan(Planned { spec: spec.clone(), attempt: attempt.clone(), replanned: true })
    }

    /// The attempt that runs has failed.
    pub fn append_failed(
        &mut self,
        batch: BatchId,
        attempt: Attempt,
        reason: &str,
    ) -> Result<(), CheckpointError> {
        self.append(Record::Failed(Failed { batch, attempt, reason: reason.to_owned() }))
    }

    /// A handler calls the batch that runs processed, under a name of its choice.
    pub fn append_mark(&mut self, batch: BatchId, name: &str) -> Result<(), CheckpointError> {
        self.append(Record::Mark(Mark { batch, name: name.to_owned() }))
    }

    /// The batch that runs has ended, with the changes that it made in `state`. `delivered` says
    /// which places with marks hold what of it, by the names of sink and targets. Call
    /// [`StateBackend::apply`] next: should the changes not become durable, the process ends.
    pub fn append_committed(
        &mut self,
        batch: BatchId,
        next_watermark: Watermark,
        state: &dyn StateBackend,
        delivered: BTreeMap<String, Delivered>,
    ) -> Result<(), CheckpointError> {
        self.append_committed_renewing(batch, next_watermark, state, delivered, BTreeMap::new())
    }

    /// As [`Checkpoint::append_committed`], of a batch that brought the state into another form: `pinned`
    /// is what the query fixes from here on in place of what it fixed before.
    pub fn append_committed_renewing(
        &mut self,
        batch: BatchId,
        next_watermark: Watermark,
        state: &dyn StateBackend,
        delivered: BTreeMap<String, Delivered>,
        pinned: BTreeMap<String, String>,
    ) -> Result<(), CheckpointError> {
        if !pinned.is_empty() {
            // Who reads the head alone has to know before the log says something else.
            self.write_head(self.segment_number, true)?;
        }
        let state_rows = state.rows().into_iter().filter(|(_, rows)| *rows > 0);
        let state_rows = state_rows.map(|(operator, rows)| (operator.0, rows)).collect();
        let mut committed =
            Committed { batch, next_watermark, chunks: 0, state_rows, delivered, pinned };
        // Checked before the changes go out, so that a refusal leaves the log as it was.
        self.summary.check(&Record::Committed(committed.clone()))?;
        committed.chunks = self.append_changes(state).inspect_err(|_| self.segment.give_up())?;
        self.append(Record::Committed(committed))
    }

    /// Makes everything durable that was appended. Does nothing if nothing was.
    pub fn sync(&mut self) -> Result<(), CheckpointError> {
        if self.segment.sync()? {
            self.write_tail().inspect_err(|_| self.segment.give_up())?;
        }
        Ok(())
    }

    /// Syncs of the log since it was opened, those of rolls included.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs_before + self.segment.syncs()
    }

    /// Whether `batch` was marked under `name`. A mark names one batch, so only the batch that
    /// runs can have any.
    #[must_use]
    pub fn is_processed(&self, batch: BatchId, name: &str) -> bool {
        self.summary.open_batch().is_some_and(|open| open.spec.batch == batch)
            && self.summary.marks.contains(name)
    }

    /// Whether the next batch should begin a new segment: this one has grown long, or a start has
    /// to read the ranges of many batches to know where the sources stand.
    #[must_use]
    pub fn wants_roll(&self) -> bool {
        self.segment.len() >= self.options.segment_bytes || self.batches_before >= SHORT_RUNS
    }

    /// Closes the segment and begins the next. `positions` are those of all sources after the
    /// last batch that was committed: the one after it, if it is planned, may have to be planned
    /// anew. Syncs.
    pub fn roll(&mut self, positions: BTreeMap<String, Value>) -> Result<(), CheckpointError> {
        let after = self.summary.committed;
        self.append(Record::Positions(Positions { after, positions }))?;
        self.batches_before = 0;
        self.segment.sync()?;
        let number = self.segment_number + 1;
        let header = Header {
            fencing: self.fencing,
            number,
            first_batch: self.summary.next_batch().0,
            salt: Salt::new(),
            previous_len: self.segment.len(),
        };
        let next = SegmentWriter::create(&*self.disk, &self.layout, header);
        // No record is written before the head says that its segment is there.
        let next = next.and_then(|next| self.write_head(number, false).map(|()| next));
        let next = next.inspect_err(|_| self.segment.give_up())?;
        self.syncs_before += self.segment.syncs();
        self.segment = next;
        self.segment_number = number;
        self.write_tail().inspect_err(|_| self.segment.give_up())
    }

    /// A task that makes a snapshot, when enough segments were closed since the last one: as many
    /// bytes as a segment has, and half as many as the last snapshot, so that snapshots write at
    /// most about three times what the log does; or many, however short. `None` too while one is at
    /// work. To be asked after a roll, and at the start, which closes the segment of the process
    /// before.
    pub fn snapshot_task(&self) -> Result<Option<SnapshotTask>, CheckpointError> {
        let Some(running) = RunningFlag::raise(&self.is_folding) else {
            return Ok(None);
        };
        let list = |dir: &Path| self.disk.list(dir).map_err(CheckpointError::io("list", dir));
        let snapshots = list(&self.layout.snapshots())?;
        let snapshots =
            snapshots.iter().filter_map(|file| Some((snapshot_number(&file.name)?, file.len)));
        let (base, base_bytes) = snapshots.max().unwrap_or((0, 0));
        let closed = list(&self.layout.log())?.into_iter().filter(|file| {
            segment_number(&file.name).is_some_and(|at| base < at && at < self.segment_number)
        });
        let (count, bytes) = closed.fold((0, 0), |(count, sum), file| (count + 1, sum + file.len));
        if bytes < self.options.segment_bytes.max(base_bytes / 2) && count < SHORT_RUNS {
            return Ok(None);
        }
        Ok(Some(SnapshotTask {
            disk: Arc::clone(&self.disk),
            layout: self.layout.clone(),
            plugins: self.plugins.clone(),
            keep: self.options.keep,
            base,
            through: self.segment_number - 1,
            bytes_max: self.options.fold_bytes,
            running,
            _lock: Arc::clone(&self.lock),
        }))
    }

    /// Keeps the bytes of a plugin, durably. To be called before an attempt names it; does
    /// nothing if the checkpoint has them.
    pub fn store_plugin(&self, digest: Digest, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.plugins.store(digest, bytes)
    }

    /// The bytes of a plugin that some attempt named.
    pub fn plugin_bytes(&self, digest: Digest) -> Result<Vec<u8>, CheckpointError> {
        self.plugins.bytes(digest)
    }

    fn create(&mut self) -> Result<(), CheckpointError> {
        let query_id = QueryId(uuid::Uuid::new_v4().to_string());
        let pinned = self.options.pinned.clone();
        self.append(Record::Created(Created { query_id, pinned }))?;
        self.segment.sync().map(drop)
    }

    fn write_head(&self, segment: u64, renews: bool) -> Result<(), CheckpointError> {
        let (query_id, pinned) = (self.query_id().clone(), self.summary.pinned.clone());
        Head { query_id, pinned, segment, renews }.write(&*self.disk, &self.layout)
    }

    fn write_tail(&mut self) -> Result<(), CheckpointError> {
        let (salt, len) = (self.segment.salt(), self.segment.len());
        self.tail.write(Tail { segment: self.segment_number, salt, len })
    }

    fn plan(&mut self, planned: Planned) -> Result<(), CheckpointError> {
        let plugins = &planned.attempt.plugins;
        plugins.values().try_for_each(|digest| self.plugins.take_into_use(digest))?;
        self.append(Record::Planned(planned))
    }

    fn append(&mut self, record: Record) -> Result<(), CheckpointError> {
        let (kind, payload) = (record.kind(), record.payload());
        self.summary.check(&record)?;
        self.segment.append(kind, |bytes| bytes.extend(payload))?;
        self.summary.fold(record)?;
        self.forget_ranges();
        Ok(())
    }

    /// Appends the changes of the running batch in chunks, and gives their number.
    fn append_changes(&mut self, state: &dyn StateBackend) -> Result<u64, CheckpointError> {
        let segment = &mut self.segment;
        let mut chunk = Vec::new();
        let mut chunks = 0;
        let mut close = |chunk: &mut Vec<u8>| {
            chunks += 1;
            segment.append(kind::STATE_CHANGES, |bytes| bytes.append(chunk))
        };
        state.changes(&mut |change| {
            change.encode(&mut chunk);
            if chunk.len() < CHUNK_BYTES { Ok(()) } else { close(&mut chunk) }
        })?;
        if !chunk.is_empty() {
            close(&mut chunk)?;
        }
        Ok(chunks)
    }

    /// Ranges are for who opens the log; kept here they would grow until the next roll.
    fn forget_ranges(&mut self) {
        self.summary.ranges_since.clear();
    }
}

fn take_lock(
    disk: &dyn Disk,
    layout: &Layout,
) -> Result<Arc<dyn Any + Send + Sync>, CheckpointError> {
    let path = layout.lock();
    match disk.lock(&path).map_err(CheckpointError::io("lock", &path))? {
        Locked::Ours(lock) => Ok(lock.into()),
        Locked::Others(pid) => Err(CheckpointError::Locked { path: layout.root.clone(), pid }),
    }
}

fn check_seen(layout: &Layout, seen: &Seen, head: Option<&Head>) -> Result<(), CheckpointError> {
    let is_it = match seen {
        Seen::Unlooked => true,
        Seen::Nothing => head.is_none(),
        Seen::Query(query_id) => head.is_some_and(|head| head.query_id == *query_id),
    };
    if is_it { Ok(()) } else { Err(CheckpointError::Changed { path: layout.root.clone() }) }
}

/// Removes files that a crash left half written.
fn remove_unfinished(disk: &dyn Disk, layout: &Layout) -> Result<(), CheckpointError> {
    for dir in layout.directories().into_iter().chain([layout.root.clone()]) {
        for file in disk.list(&dir).map_err(CheckpointError::io("list", &dir))? {
            if file.name.ends_with(TEMPORARY) {
                let path = dir.join(file.name);
                disk.remove(&path).map_err(CheckpointError::io("remove", &path))?;
            }
        }
    }
    Ok(())
}

fn clear(disk: &dyn Disk, leftover: Option<&Leftover>) -> Result<(), CheckpointError> {
    match leftover {
        None => Ok(()),
        Some(Leftover::Torn(path, at)) => {
            disk.truncate(path, *at).map_err(CheckpointError::io("truncate", path))
        }
        Some(Leftover::Unbegun(path)) => {
            disk.remove(path).map_err(CheckpointError::io("remove", path))
        }
    }
}
