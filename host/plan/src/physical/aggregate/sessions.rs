//! One batch of an aggregation over sessions.
//!
//! Every row is a session of its own at first; sessions of a key that overlap or touch are one
//! (Spark's MergingSessionsIterator). As elsewhere: drop what is late by its own end, merge with
//! the state, emit, evict. The state has the sessions of a key as members of its group, by their
//! starts, in the buckets of their ends.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use hashbrown::HashMap;
use tidemill_core::{Bucket, OutputMode, ShardId, split_member};

use super::super::stateful::{OperatorState, Placement, StateCounts};
use super::groups::{GroupLayout, RowsAndGroups};
use super::merge::result;
use crate::RunningBatch;

/// Spark's name for the operator.
pub(super) const OPERATOR_NAME: &str = "sessionWindowStateStoreSaveExec";

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

/// What the merge works on.
#[derive(Default)]
struct Work {
    keys: Vec<Key>,
    index: HashMap<Box<[u8]>, usize>,
    /// States that the touched keys had, and their places.
    old_states: Vec<Box<[u8]>>,
    old_places: Vec<(usize, Bucket, u64)>,
    dropped: u64,
}

/// Sessions with their states, on their way out.
#[derive(Default)]
struct Emitted {
    keys: Vec<Box<[u8]>>,
    bounds: Vec<(i64, i64)>,
    states: Vec<Box<[u8]>>,
}

impl Emitted {
    fn push(&mut self, bucket: Bucket, key: &[u8], state: &[u8]) {
        let Some((group, member)) = split_member(key) else { return };
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

    pub(super) fn run(
        &self,
        batch: &RunningBatch,
        blocks: &[RecordBatch],
        schema: &SchemaRef,
    ) -> Result<Vec<RecordBatch>> {
        let mut work = self.gather(batch, blocks)?;
        let (sessions, groups_of_old, groups_of_rows) = join_pieces(&mut work, blocks);
        let states =
            self.layout.merge(&work.old_states, &groups_of_old, blocks, &groups_of_rows)?;
        let states = self.layout.states_to_bytes(&states, sessions.len())?;
        let replaced = self.replace(&work, &sessions, &groups_of_old, &states)?;
        let mut expired = Emitted::default();
        let evicted =
            self.state.evict(batch, &mut |at, key, state| expired.push(at, key, state))?;
        let counts = StateCounts {
            updated: sessions.len() as u64,
            removed: replaced + evicted,
            dropped: work.dropped,
            ..StateCounts::default()
        };
        let rows = match self.placement.mode {
            OutputMode::Complete => {
                let mut all = Emitted::default();
                self.state.visit_all(&mut |at, key, state| all.push(at, key, state))?;
                self.emit(&all, schema)?
            }
            OutputMode::Append | OutputMode::Update => self.emit(&expired, schema)?,
        };
        self.state.report(batch, OPERATOR_NAME, counts)?;
        Ok(rows)
    }

    /// Finds the keys of all partial groups that are not late, and the sessions that they have.
    fn gather(&self, batch: &RunningBatch, blocks: &[RecordBatch]) -> Result<Work> {
        let late = self.placement.late(batch.spec());
        let mut work = Work::default();
        for (number, block) in blocks.iter().enumerate() {
            let keys = self.layout.key_bytes(block)?;
            let (starts, ends) = (times(block, self.bounds.0)?, times(block, self.bounds.1)?);
            for (row, key) in keys.iter().enumerate() {
                let (start, end) = (starts.value(row), ends.value(row));
                if late.is_some_and(|late| end <= late) {
                    work.dropped += 1;
                    continue;
                }
                let key = self.key(&mut work, key.as_ref())?;
                let from = Origin::Partial(number, row);
                work.keys[key].pieces.push(Piece { start, end, from });
            }
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
        self.state.shard(shard, |state| {
            state.members(bytes, &mut |bucket, member, value| {
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
    fn replace(
        &self,
        work: &Work,
        sessions: &[Session],
        groups_of_old: &[usize],
        states: &arrow::row::Rows,
    ) -> Result<u64> {
        let mut replaced = 0;
        for ((key, bucket, member), group) in work.old_places.iter().zip(groups_of_old) {
            let session = &sessions[*group];
            let is_kept = member_of(session.start) == *member;
            if is_kept && bucket.0 == session.end {
                continue;
            }
            replaced += u64::from(!is_kept);
            let key = &work.keys[*key];
            self.state
                .shard(key.shard, |state| state.remove_member(*bucket, &key.bytes, *member))?;
        }
        for (session, state) in sessions.iter().zip(states.iter()) {
            let key = &work.keys[session.key];
            self.state.shard(key.shard, |shard| {
                let member = member_of(session.start);
                shard.put_member(Bucket(session.end), &key.bytes, member, state.as_ref())
            })?;
        }
        Ok(replaced)
    }

    fn emit(&self, emitted: &Emitted, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        if emitted.keys.is_empty() {
            return Ok(Vec::new());
        }
        let states = self.layout.states_from_bytes(emitted.states.iter().map(AsRef::as_ref))?;
        let mut keys =
            self.layout.keys_from_bytes(emitted.keys.iter().map(AsRef::as_ref))?.into_iter();
        let bound = |column: usize, of: &dyn Fn(&(i64, i64)) -> i64| -> ArrayRef {
            let times = TimestampMicrosecondArray::from_iter_values(emitted.bounds.iter().map(of));
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
        columns.extend(self.layout.evaluate(&states, emitted.keys.len())?);
        result(schema, columns, emitted.keys.len())
    }
}

/// The new sessions, and of which of them each old state and each partial row is a part. Sessions
/// are numbered as accumulators want it: those with an old state first, then as rows come.
fn join_pieces(
    work: &mut Work,
    blocks: &[RecordBatch],
) -> (Vec<Session>, Vec<usize>, Vec<RowsAndGroups>) {
    let mut found: Vec<Session> = Vec::new();
    let mut of_old = vec![0; work.old_states.len()];
    let mut of_rows: Vec<Vec<Option<usize>>> =
        blocks.iter().map(|block| vec![None; block.num_rows()]).collect();
    for (number, key) in work.keys.iter_mut().enumerate() {
        key.pieces.sort_by_key(|piece| (piece.start, piece.end));
        let first = found.len();
        for piece in &key.pieces {
            match found[first..].last_mut() {
                Some(session) if piece.start <= session.end => {
                    session.end = session.end.max(piece.end);
                }
                _ => found.push(Session { key: number, start: piece.start, end: piece.end }),
            }
            let session = found.len() - 1;
            match piece.from {
                Origin::State(place) => of_old[place] = session,
                Origin::Partial(block, row) => of_rows[block][row] = Some(session),
            }
        }
    }
    let mut numbers: Vec<Option<usize>> = vec![None; found.len()];
    let mut next = 0;
    let mut number = |session: usize| {
        *numbers[session].get_or_insert_with(|| {
            next += 1;
            next - 1
        })
    };
    let of_old: Vec<usize> = of_old.into_iter().map(&mut number).collect();
    let of_rows = of_rows
        .into_iter()
        .map(|rows| {
            let kept = rows.into_iter().enumerate();
            let kept = kept.filter_map(|(row, session)| Some((row as u64, number(session?))));
            kept.unzip()
        })
        .collect();
    let mut sessions: Vec<(usize, Session)> =
        numbers.into_iter().map(Option::unwrap_or_default).zip(found).collect();
    sessions.sort_unstable_by_key(|(number, _)| *number);
    (sessions.into_iter().map(|(_, session)| session).collect(), of_old, of_rows)
}

fn times(block: &RecordBatch, column: usize) -> Result<&TimestampMicrosecondArray> {
    block
        .column(column)
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| exec_datafusion_err!("the bounds of sessions have to be microseconds"))
}
