//! One batch of a join of streams.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{filter_record_batch, not, take_arrays};
use datafusion::common::{JoinType, exec_err};
use datafusion::error::Result;
use tidemill_core::{Bucket, Reservation, ShardId};
use tokio::task::coop::consume_budget;

use super::super::held::{BOX_BYTES, Held};
use super::super::join_keys::fulfils;
use super::super::output::Output;
use super::super::stateful::{OUTPUT_ROWS, OperatorState, Placement, StateCounts, rows_of};
use super::side::{ALONE, MATCHED, Prepared, Side};
use super::{JoinPlan, NAME};
use crate::RunningBatch;

/// Rows of a batch that can have a number of their own.
const ROWS_OF_A_BATCH: u64 = 1 << 32;

/// Memory of a pair beside the bytes of the kept row.
const CANDIDATE_BYTES: usize = size_of::<u32>() + size_of::<(Bucket, u64)>() + size_of::<usize>();

/// A block with fewer rows is joined by one task: it would take longer to start others.
const ROWS_SIDE_BY_SIDE: usize = 512;

/// Which side a block is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Left,
    Right,
}

/// A batch of a join. Its shards work side by side.
pub(super) struct Run {
    plan: Arc<JoinPlan>,
    placement: Placement,
    state: Arc<OperatorState>,
    batch: Arc<RunningBatch>,
    counts: StateCounts,
    shards: Vec<ShardRun>,
}

/// What a batch does to one shard.
struct ShardRun {
    plan: Arc<JoinPlan>,
    state: Arc<OperatorState>,
    shard: ShardId,
    batch: Arc<RunningBatch>,
    /// At or before this bucket, rows leave at the end of the batch.
    evicts: i64,
    counts: StateCounts,
    /// Number of the next row that is kept. Rows of a key are in one shard.
    next_row: u64,
    /// Left rows of the state that met a right row of this block, in a left semi join: they leave
    /// once.
    given: HashSet<u64>,
    memory: Reservation,
}

/// Pairs of a row of the block and one of the other side with an equal key.
struct Candidates {
    rows: Vec<u32>,
    /// Where each kept row is in the state.
    places: Vec<(Bucket, u64)>,
    /// The bytes of the kept rows, one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    held: Held,
}

impl Candidates {
    fn new(memory: &Reservation) -> Candidates {
        let (rows, places, bytes, ends) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Candidates { rows, places, bytes, ends, held: Held::new(memory.part()) }
    }

    fn push(&mut self, row: u32, bucket: Bucket, member: u64, kept: &[u8]) {
        // Twice, as the vectors grow by doubling.
        if !self.held.add(2 * (kept.len() + CANDIDATE_BYTES)) {
            return;
        }
        self.rows.push(row);
        self.places.push((bucket, member));
        self.bytes.extend(kept);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn kept(&self, candidate: usize) -> &[u8] {
        let begin = if candidate == 0 { 0 } else { self.ends[candidate - 1] };
        &self.bytes[begin..self.ends[candidate]]
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.places.clear();
        self.bytes.clear();
        self.ends.clear();
        self.held.clear();
    }
}

/// A block that may meet rows of the other side.
struct Block {
    of: Of,
    rows: RecordBatch,
    prepared: Prepared,
}

/// A block while a shard joins the rows of it that are its own.
struct Part<'a> {
    block: &'a Block,
    /// Of each row of the block: whether it met one of the other side.
    matched: Vec<bool>,
}

impl Run {
    pub(super) fn new(plan: Arc<JoinPlan>, placement: Placement, batch: Arc<RunningBatch>) -> Run {
        let state = Arc::new(placement.open(&batch));
        let memory = batch.memory().reserve("rows that meet in a join, or leave it");
        let shard = |shard| ShardRun {
            plan: Arc::clone(&plan),
            state: Arc::clone(&state),
            shard,
            batch: Arc::clone(&batch),
            evicts: placement.evict(batch.spec()).unwrap_or(i64::MIN),
            counts: StateCounts::default(),
            next_row: batch.spec().batch.0.wrapping_mul(ROWS_OF_A_BATCH),
            given: HashSet::new(),
            memory: memory.part(),
        };
        let shards = state.all_shards().map(shard).collect();
        let counts = StateCounts::default();
        Run { plan, placement, state, batch, counts, shards }
    }

    /// Joins rows of one side with what the state has of the other, and keeps them.
    pub(super) async fn join(&mut self, of: Of, rows: &RecordBatch, output: &Output) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let (side, _) = plan.sides(of);
        let in_time = side.in_time(rows, self.placement.lateness(self.batch.spec()))?;
        let rows = match in_time {
            Some(in_time) if in_time.true_count() < rows.num_rows() => {
                self.counts.dropped += (rows.num_rows() - in_time.true_count()) as u64;
                &filter_record_batch(rows, &in_time)?
            }
            _ => rows,
        };
        let rows = match side.may_meet(rows)? {
            Some(may_meet) if may_meet.true_count() < rows.num_rows() => {
                if side.is_preserved {
                    let alone = filter_record_batch(rows, &not(&may_meet)?)?;
                    output.send(&plan.alone(of, alone.columns(), alone.num_rows())?).await?;
                }
                &filter_record_batch(rows, &may_meet)?
            }
            _ => rows,
        };
        let prepared = side.prepare(rows)?;
        let mut own = vec![Vec::new(); self.shards.len()];
        for (row, key) in prepared.keys.bytes.iter().enumerate() {
            own[self.state.shard_of(key.as_ref()).0 as usize].push(row as u32);
        }
        let block = Arc::new(Block { of, rows: rows.clone(), prepared });
        if self.shards.len() == 1 || rows.num_rows() < ROWS_SIDE_BY_SIDE {
            for (shard, own) in self.shards.iter_mut().zip(own) {
                shard.join(&block, &own, output).await?;
            }
            return Ok(());
        }
        let shards = std::mem::take(&mut self.shards).into_iter().zip(own);
        let task = |(mut shard, own): (ShardRun, Vec<u32>)| {
            let block = Arc::clone(&block);
            async move |output: Output| {
                shard.join(&block, &own, &output).await?;
                Ok(shard)
            }
        };
        self.shards = output.of_tasks(shards.map(task).collect()).await?;
        Ok(())
    }

    /// Evicts what the watermark has passed; gives those that met nothing, where the kind of join
    /// wants them; reports.
    pub(super) async fn finish(mut self, output: &Output) -> Result<()> {
        let shards = self.shards.into_iter();
        let task = |shard: ShardRun| async move |output: Output| shard.finish(&output).await;
        for counts in output.of_tasks(shards.map(task).collect()).await? {
            self.counts.add(counts);
        }
        self.state.report(&self.batch, NAME, self.counts)
    }
}

impl ShardRun {
    /// Joins the rows of a block that are its own, by their places.
    async fn join(&mut self, block: &Block, own: &[u32], output: &Output) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let (side, other) = plan.sides(block.of);
        let mut part = Part { block, matched: vec![false; block.rows.num_rows()] };
        self.meet(&mut part, own, other, output).await?;
        self.keep(&part, own, side)
    }

    /// Finds the pairs of a block's rows with those that are kept of the other side.
    async fn meet(
        &mut self,
        part: &mut Part<'_>,
        own: &[u32],
        other: &Side,
        output: &Output,
    ) -> Result<()> {
        // Left rows that were given before have left the state.
        self.given.clear();
        let mut candidates = Candidates::new(&self.memory);
        let mut group = vec![other.tag];
        let keys = &part.block.prepared.keys;
        for &row in own {
            if !keys.can_meet[row as usize] {
                continue;
            }
            group.truncate(1);
            group.extend(keys.bytes.row(row as usize).as_ref());
            self.state.shard(self.shard, |state| {
                state.members(&group, &mut |bucket, member, kept| {
                    candidates.push(row, bucket, member, kept);
                });
                Ok(())
            })?;
            candidates.held.check()?;
            if candidates.len() >= OUTPUT_ROWS {
                self.pair_all(part, other, &candidates, output).await?;
                candidates.clear();
            }
        }
        self.pair_all(part, other, &candidates, output).await
    }

    /// Pairs candidates, of which one row can bring many, a block at a time.
    async fn pair_all(
        &mut self,
        part: &mut Part<'_>,
        other: &Side,
        candidates: &Candidates,
        output: &Output,
    ) -> Result<()> {
        for from in (0..candidates.len()).step_by(OUTPUT_ROWS) {
            let some = from..candidates.len().min(from + OUTPUT_ROWS);
            let pairs = self.pair(part, other, candidates, some)?;
            output.send(&pairs).await?;
            // Pairs that do not fulfil the condition are not sent: the task must end all the same
            // when nobody wants it any more.
            consume_budget().await;
        }
        Ok(())
    }

    /// Evaluates the condition over some candidates, and gives the rows of those that fulfil it.
    fn pair(
        &mut self,
        part: &mut Part<'_>,
        other: &Side,
        candidates: &Candidates,
        some: Range<usize>,
    ) -> Result<RecordBatch> {
        let block = part.block;
        let plan = Arc::clone(&self.plan);
        let kept = some.clone().map(|candidate| &candidates.kept(candidate)[1..]);
        let kept = other.columns(kept)?;
        let indices = UInt32Array::from(candidates.rows[some.clone()].to_vec());
        let mine = take_arrays(block.rows.columns(), &indices, None)?;
        let columns = match block.of {
            Of::Left => [mine, kept].concat(),
            Of::Right => [kept, mine].concat(),
        };
        let pairs = rows_of(&plan.pair, columns, some.len())?;
        let fulfilled = match &plan.condition {
            Some(condition) => fulfils(condition, &pairs)?,
            None => BooleanArray::from(vec![true; some.len()]),
        };
        let leaves = self.note(part, other, candidates, some, &fulfilled)?;
        let leaving = filter_record_batch(&pairs, &leaves)?;
        let columns = leaving.columns()[..plan.output.fields().len()].to_vec();
        rows_of(&plan.output, columns, leaving.num_rows())
    }

    /// Notes which rows met one, and says which pairs leave: all, or in a left semi join the first
    /// of each left row.
    fn note(
        &mut self,
        part: &mut Part<'_>,
        other: &Side,
        candidates: &Candidates,
        some: Range<usize>,
        fulfilled: &BooleanArray,
    ) -> Result<BooleanArray> {
        let block = part.block;
        let is_semi = self.plan.kind == JoinType::LeftSemi;
        let mut leaves = Vec::with_capacity(some.len());
        for (candidate, is_fulfilled) in some.zip(fulfilled.values()) {
            if !is_fulfilled {
                leaves.push(false);
                continue;
            }
            let row = candidates.rows[candidate] as usize;
            let was_matched = std::mem::replace(&mut part.matched[row], true);
            let (bucket, member) = candidates.places[candidate];
            let kept = candidates.kept(candidate);
            let is_first_of_other = kept[0] == ALONE;
            leaves.push(match (is_semi, block.of) {
                (false, _) => true,
                (true, Of::Left) => !was_matched,
                (true, Of::Right) => is_first_of_other && self.given.insert(member),
            });
            let is_noted = other.is_preserved && is_first_of_other;
            let leaves_state = is_semi && block.of == Of::Right;
            if !is_noted && !leaves_state {
                continue;
            }
            let group = [&[other.tag], block.prepared.keys.bytes.row(row).as_ref()].concat();
            self.counts.removed += self.state.shard(self.shard, |state| {
                if leaves_state {
                    return state.remove_member(bucket, &group, member).map(u64::from);
                }
                let value = [&[MATCHED], &kept[1..]].concat();
                state.put_member(bucket, &group, member, &value).map(|()| 0)
            })?;
        }
        Ok(BooleanArray::from(leaves))
    }

    /// Keeps the rows of a block that may meet later ones.
    ///
    /// Left rows are kept even if the watermark evicts them at the end of this batch. Of right rows
    /// that would be evicted then only those are kept that leave beside nulls. (Recorded from Spark
    /// 4.3, of left semi joins, too, where the right rows come first.)
    fn keep(&mut self, part: &Part<'_>, own: &[u32], side: &Side) -> Result<()> {
        let (block, evicts) = (part.block, self.evicts);
        let is_right = block.of == Of::Right;
        let leaves_once = self.plan.kind == JoinType::LeftSemi && block.of == Of::Left;
        let is_kept = |bucket: Bucket, matched: bool| {
            let may_meet = !is_right || bucket.0 > evicts;
            (may_meet || (side.is_preserved && !matched)) && !(leaves_once && matched)
        };
        let kept = |row: &usize| is_kept(block.prepared.buckets[*row], part.matched[*row]);
        let kept: Vec<usize> = own.iter().map(|row| *row as usize).filter(kept).collect();
        let rows = side.encoded(&block.rows, &kept)?;
        let first = self.next_row;
        self.next_row += kept.len() as u64;
        if first % ROWS_OF_A_BATCH + kept.len() as u64 >= ROWS_OF_A_BATCH {
            return exec_err!("a join keeps at most {ROWS_OF_A_BATCH} rows of one batch");
        }
        self.counts.updated += kept.len() as u64;
        self.state.shard(self.shard, |state| {
            let (mut group, mut value) = (vec![side.tag], Vec::new());
            for ((row, encoded), number) in kept.into_iter().zip(rows.iter()).zip(first..) {
                group.truncate(1);
                group.extend(block.prepared.keys.bytes.row(row).as_ref());
                value.clear();
                value.push(if part.matched[row] { MATCHED } else { ALONE });
                value.extend(encoded.as_ref());
                state.put_member(block.prepared.buckets[row], &group, number, &value)?;
            }
            Ok(())
        })
    }

    async fn finish(mut self, output: &Output) -> Result<StateCounts> {
        let plan = Arc::clone(&self.plan);
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let mut held = Held::new(self.memory.part());
        self.counts.removed +=
            self.state.evict_from(self.shard, &self.batch, &mut |_, key, kept| {
                let is_left = key.first() == Some(&plan.left.tag);
                let (side, rows) =
                    if is_left { (&plan.left, &mut left) } else { (&plan.right, &mut right) };
                if side.is_preserved && kept[0] == ALONE && held.add(kept.len() + BOX_BYTES) {
                    rows.push(Box::<[u8]>::from(&kept[1..]));
                }
            })?;
        held.check()?;
        for (of, side, rows) in [(Of::Left, &plan.left, left), (Of::Right, &plan.right, right)] {
            for rows in rows.chunks(OUTPUT_ROWS) {
                let columns = side.columns(rows.iter().map(AsRef::as_ref))?;
                output.send(&plan.alone(of, &columns, rows.len())?).await?;
            }
        }
        Ok(self.counts)
    }
}

impl JoinPlan {
    /// Whether the right rows of a batch come before the left ones. A left row of a left semi join
    /// need not be kept if the batch has what it waits for.
    pub(super) fn right_is_first(&self) -> bool {
        self.kind == JoinType::LeftSemi
    }

    /// A side and the other one.
    fn sides(&self, of: Of) -> (&Side, &Side) {
        match of {
            Of::Left => (&self.left, &self.right),
            Of::Right => (&self.right, &self.left),
        }
    }

    /// Rows of one side beside nulls.
    fn alone(&self, of: Of, columns: &[ArrayRef], rows: usize) -> Result<RecordBatch> {
        let (_, other) = self.sides(of);
        let nulls = other.schema.fields().iter();
        let nulls: Vec<ArrayRef> =
            nulls.map(|field| new_null_array(field.data_type(), rows)).collect();
        let columns = match of {
            Of::Left => [columns.to_vec(), nulls].concat(),
            Of::Right => [nulls, columns.to_vec()].concat(),
        };
        rows_of(&self.output, columns, rows)
    }
}
