//! One batch of an aggregation over sessions.
//!
//! Every row is a session of its own at first; sessions of a key that overlap or touch are one
//! (Spark's MergingSessionsIterator). As elsewhere: drop what is late by its own end, merge with
//! the state, emit, evict. The state has the sessions of a key as members of its group, by their
//! starts, in the buckets of their ends.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::interleave;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::row::Rows;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use hashbrown::HashMap;
use tidemill_core::{Bucket, OutputMode, Reservation, ShardId, split_member};

use super::super::held::{BOX_BYTES, Held, grow};
use super::super::stateful::{OUTPUT_ROWS, OperatorState, Placement, StateCounts};
use super::groups::GroupLayout;
use super::merge::{Results, result};
use crate::RunningBatch;

/// Spark's name for the operator.
pub(super) const OPERATOR_NAME: &str = "sessionWindowStateStoreSaveExec";

/// Memory of a key beside its bytes, which are there twice.
const KEY_BYTES: usize = size_of::<Key>() + size_of::<(Box<[u8]>, usize)>();
/// Memory of a session of the state beside the bytes of its value.
const OLD_BYTES: usize = size_of::<Piece>() + size_of::<(usize, Bucket, u64)>();

pub(super) struct Sessions {
    layout: Arc<GroupLayout>,
    /// The key columns with the start and the end.
    bounds: (usize, usize),
    placement: Placement,
    state: OperatorState,
}

/// A session on its way into another: one of the state, or a partial group.
struct Piece {
    start: i64,
    end: i64,
    from: Origin,
}

#[derive(Clone, Copy)]
enum Origin {
    /// Its place among the old states.
    State(usize),
    /// Block and row.
    Partial(usize, usize),
}

/// The sessions of one key.
struct Key {
    bytes: Box<[u8]>,
    shard: ShardId,
    pieces: Vec<Piece>,
}

/// A session of the new state.
struct Session {
    key: usize,
    start: i64,
    end: i64,
}

/// What becomes of the pieces.
#[derive(Default)]
struct Joined {
    changed: Vec<Session>,
    /// How many stay as they are.
    unchanged: u64,
    /// The pieces of changed sessions, session by session, by their starts: so `first` and
    /// `collect_list` go by time, as in Spark, which sorts before it merges.
    pieces: Vec<Origin>,
    /// The session of each piece.
    sessions: Vec<usize>,
    /// Of which changed session each old state is a part.
    of_old: Vec<Option<usize>>,
}

/// What the merge works on.
struct Work {
    keys: Vec<Key>,
    index: HashMap<Box<[u8]>, usize>,
    /// States that the touched keys had, and their places.
    old_states: Vec<Box<[u8]>>,
    old_places: Vec<(usize, Bucket, u64)>,
    dropped: u64,
    held: Held,
}

impl Work {
    fn new(memory: &Reservation) -> Work {
        let (keys, index) = (Vec::new(), HashMap::new());
        let (old_states, old_places) = (Vec::new(), Vec::new());
        let held = Held::new(memory.part());
        Work { keys, index, old_states, old_places, dropped: 0, held }
    }
}

/// Sessions with their states, on their way out.
struct Emitted {
    keys: Vec<Box<[u8]>>,
    bounds: Vec<(i64, i64)>,
    states: Vec<Box<[u8]>>,
    /// Whether the state has a key that no session has.
    is_damaged: bool,
    held: Held,
}

impl Emitted {
    fn new(memory: &Reservation) -> Emitted {
        let (keys, bounds, states) = (Vec::new(), Vec::new(), Vec::new());
        let held = Held::new(memory.part());
        Emitted { keys, bounds, states, is_damaged: false, held }
    }

    fn push(&mut self, bucket: Bucket, key: &[u8], state: &[u8]) {
        let Some((group, member)) = split_member(key) else {
            self.is_damaged = true;
            return;
        };
        if !self.held.add(group.len() + state.len() + 2 * BOX_BYTES + size_of::<(i64, i64)>()) {
            return;
        }
        self.keys.push(group.into());
        self.bounds.push((start_of(member), bucket.0));
        self.states.push(state.into());
    }
}

/// The number of a session among those of its key: its start, in the order of starts.
fn member_of(start: i64) -> u64 {
    u64::from_ne_bytes(start.to_ne_bytes()) ^ (1 << 63)
}

fn start_of(member: u64) -> i64 {
    i64::from_ne_bytes((member ^ (1 << 63)).to_ne_bytes())
}

impl Sessions {
    pub(super) fn new(
        layout: Arc<GroupLayout>,
        bounds: (usize, usize),
        placement: Placement,
        batch: &RunningBatch,
    ) -> Sessions {
        Sessions { layout, bounds, placement, state: placement.open(batch) }
    }

    /// Joins the blocks of partial sessions with those of the state. `memory` is for what is held
    /// meanwhile.
    pub(super) fn run(
        self,
        batch: &Arc<RunningBatch>,
        blocks: &[RecordBatch],
        schema: &SchemaRef,
        memory: &Reservation,
    ) -> Result<Results> {
        let mut work = self.gather(batch, blocks, memory)?;
        let joined = join_pieces(&mut work);
        let mut of_new = memory.part();
        grow(&mut of_new, joined.bytes())?;
        let states = self.merge(&work, &joined, blocks, batch, memory)?;
        let bytes: u64 = states.iter().map(|state| state.get_array_memory_size() as u64).sum();
        grow(&mut of_new, bytes)?;
        let states = self.layout.states_to_bytes(&states, joined.changed.len())?;
        grow(&mut of_new, states.size() as u64)?;
        let replaced = self.replace(&work, &joined, &states)?;
        let mode = self.placement.mode;
        let mut leaving = Emitted::new(memory);
        let evicted = match mode {
            OutputMode::Complete => {
                self.state.visit_all(&mut |at, key, state| leaving.push(at, key, state))?;
                0
            }
            OutputMode::Append | OutputMode::Update => {
                self.state.evict(batch, &mut |at, key, state| leaving.push(at, key, state))?
            }
        };
        leaving.held.check()?;
        let counts = StateCounts {
            // Spark puts all sessions of a key that had a row.
            updated: joined.changed.len() as u64 + joined.unchanged,
            removed: replaced + evicted,
            dropped: work.dropped,
            ..StateCounts::default()
        };
        self.state.report(batch, OPERATOR_NAME, counts)?;
        if leaving.is_damaged {
            return exec_err!("the state of sessions is damaged: a key has no start");
        }
        Ok(self.emit(leaving, Arc::clone(schema), Arc::clone(batch)))
    }

    /// The states of the changed sessions.
    fn merge(
        &self,
        work: &Work,
        joined: &Joined,
        blocks: &[RecordBatch],
        batch: &Arc<RunningBatch>,
        memory: &Reservation,
    ) -> Result<Vec<ArrayRef>> {
        let mut merging = self.layout.merging(batch, memory.part())?;
        let pieces = joined.pieces.chunks(OUTPUT_ROWS).zip(joined.sessions.chunks(OUTPUT_ROWS));
        for (pieces, sessions) in pieces {
            // The old states of the chunk are the first of the sources, the blocks the others.
            let (mut old, mut places) = (Vec::new(), Vec::with_capacity(pieces.len()));
            for piece in pieces {
                places.push(match piece {
                    Origin::State(place) => {
                        old.push(work.old_states[*place].as_ref());
                        (0, old.len() - 1)
                    }
                    Origin::Partial(block, row) => (block + 1, *row),
                });
            }
            let old = self.layout.states_from_bytes(old.into_iter())?;
            let states: Vec<ArrayRef> = (0..self.layout.states.fields().len())
                .map(|column| {
                    let of_blocks = blocks.iter().map(|b| &self.layout.state_columns(b)[column]);
                    let sources = std::iter::once(&old[column]).chain(of_blocks);
                    let sources: Vec<&dyn Array> = sources.map(AsRef::as_ref).collect();
                    Ok(interleave(&sources, &places)?)
                })
                .collect::<Result<_>>()?;
            merging.add(&states, sessions)?;
        }
        merging.finish()
    }

    /// Finds the keys of all partial groups that are not late, and the sessions that they have.
    fn gather(
        &self,
        batch: &RunningBatch,
        blocks: &[RecordBatch],
        memory: &Reservation,
    ) -> Result<Work> {
        let lateness = self.placement.lateness(batch.spec());
        let mut work = Work::new(memory);
        for (number, block) in blocks.iter().enumerate() {
            let keys = self.layout.key_bytes(block)?;
            let (starts, ends) = (times(block, self.bounds.0)?, times(block, self.bounds.1)?);
            for (row, key) in keys.iter().enumerate() {
                let (start, end) = (starts.value(row), ends.value(row));
                if lateness.is_late(end) {
                    work.dropped += 1;
                    continue;
                }
                let key = self.key(&mut work, key.as_ref())?;
                let from = Origin::Partial(number, row);
                work.keys[key].pieces.push(Piece { start, end, from });
                work.held.add(size_of::<Piece>());
            }
            work.held.check()?;
        }
        Ok(work)
    }

    /// The number of a key, with its sessions of the state.
    fn key(&self, work: &mut Work, bytes: &[u8]) -> Result<usize> {
        if let Some(key) = work.index.get(bytes) {
            return Ok(*key);
        }
        let number = work.keys.len();
        let shard = self.state.shard_of(bytes);
        let mut pieces = Vec::new();
        let (old_states, old_places) = (&mut work.old_states, &mut work.old_places);
        let held = &mut work.held;
        held.add(2 * (bytes.len() + BOX_BYTES) + KEY_BYTES);
        self.state.shard(shard, |state| {
            state.members(bytes, &mut |bucket, member, value| {
                if !held.add(value.len() + BOX_BYTES + OLD_BYTES) {
                    return;
                }
                let from = Origin::State(old_states.len());
                pieces.push(Piece { start: start_of(member), end: bucket.0, from });
                old_states.push(value.into());
                old_places.push((number, bucket, member));
            });
            Ok(())
        })?;
        work.keys.push(Key { bytes: bytes.into(), shard, pieces });
        work.index.insert(bytes.into(), number);
        Ok(number)
    }

    /// Puts the new sessions in the place of the old ones. Gives how many became part of another.
    fn replace(&self, work: &Work, joined: &Joined, states: &Rows) -> Result<u64> {
        let mut replaced = 0;
        for ((key, bucket, member), session) in work.old_places.iter().zip(&joined.of_old) {
            let Some(session) = session.map(|session| &joined.changed[session]) else { continue };
            let is_kept = member_of(session.start) == *member;
            if is_kept && bucket.0 == session.end {
                continue;
            }
            replaced += u64::from(!is_kept);
            let key = &work.keys[*key];
            self.state
                .shard(key.shard, |state| state.remove_member(*bucket, &key.bytes, *member))?;
        }
        for (session, state) in joined.changed.iter().zip(states.iter()) {
            let key = &work.keys[session.key];
            self.state.shard(key.shard, |shard| {
                let member = member_of(session.start);
                shard.put_member(Bucket(session.end), &key.bytes, member, state.as_ref())
            })?;
        }
        Ok(replaced)
    }

    fn emit(self, emitted: Emitted, schema: SchemaRef, batch: Arc<RunningBatch>) -> Results {
        let count = emitted.keys.len();
        let blocks = (0..count).step_by(OUTPUT_ROWS);
        Box::new(blocks.map(move |from| {
            self.block(&emitted, from..count.min(from + OUTPUT_ROWS), &schema, &batch)
        }))
    }

    fn block(
        &self,
        emitted: &Emitted,
        rows: Range<usize>,
        schema: &SchemaRef,
        batch: &Arc<RunningBatch>,
    ) -> Result<RecordBatch> {
        let count = rows.len();
        let states = emitted.states[rows.clone()].iter().map(AsRef::as_ref);
        let states = self.layout.states_from_bytes(states)?;
        let keys = emitted.keys[rows.clone()].iter().map(AsRef::as_ref);
        let mut keys = self.layout.keys_from_bytes(keys)?.into_iter();
        let bound = |column: usize, of: &dyn Fn(&(i64, i64)) -> i64| -> ArrayRef {
            let bounds = emitted.bounds[rows.clone()].iter();
            let times = TimestampMicrosecondArray::from_iter_values(bounds.map(of));
            Arc::new(times.with_data_type(self.layout.keys.field(column).data_type().clone()))
        };
        let mut columns = Vec::new();
        for column in 0..self.layout.keys.fields().len() {
            columns.push(match column {
                start if start == self.bounds.0 => bound(column, &|(start, _)| *start),
                end if end == self.bounds.1 => bound(column, &|(_, end)| *end),
                _ => keys.next().ok_or_else(|| exec_datafusion_err!("a key column is missing"))?,
            });
        }
        columns.extend(self.layout.evaluate(batch, &states, count)?);
        result(schema, columns, count)
    }
}

fn join_pieces(work: &mut Work) -> Joined {
    let mut joined = Joined { of_old: vec![None; work.old_states.len()], ..Joined::default() };
    for (number, key) in work.keys.iter_mut().enumerate() {
        key.pieces.sort_by_key(|piece| (piece.start, piece.end));
        let mut rest = key.pieces.as_slice();
        while let Some(first) = rest.first() {
            let mut end = first.end;
            let reaches = |piece: &&Piece| {
                let touches = piece.start <= end;
                end = end.max(piece.end);
                touches
            };
            let count = rest.iter().take_while(reaches).count();
            let (pieces, others) = rest.split_at(count);
            rest = others;
            joined.add(number, pieces);
        }
    }
    joined
}

impl Joined {
    /// Memory of it.
    fn bytes(&self) -> u64 {
        let pieces = self.pieces.len() * (size_of::<Origin>() + size_of::<usize>());
        let old = self.of_old.len() * size_of::<Option<usize>>();
        (pieces + old + self.changed.len() * size_of::<Session>()) as u64
    }

    /// A session of a key, made of these pieces.
    fn add(&mut self, key: usize, pieces: &[Piece]) {
        if let [Piece { from: Origin::State(_), .. }] = pieces {
            self.unchanged += 1;
            return;
        }
        let session = self.changed.len();
        for piece in pieces {
            if let Origin::State(place) = piece.from {
                self.of_old[place] = Some(session);
            }
            self.pieces.push(piece.from);
            self.sessions.push(session);
        }
        let start = pieces.iter().map(|piece| piece.start).min().unwrap_or_default();
        let end = pieces.iter().map(|piece| piece.end).max().unwrap_or_default();
        self.changed.push(Session { key, start, end });
    }
}

fn times(block: &RecordBatch, column: usize) -> Result<&TimestampMicrosecondArray> {
    block
        .column(column)
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| exec_datafusion_err!("the bounds of sessions have to be microseconds"))
}
