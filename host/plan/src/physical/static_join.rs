//! Joins a stream with a table that does not change.
//!
//! The table is read when the first batch needs it, and kept by its keys for the life of the plan.
//! Each batch only looks its rows up.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_arrays};
use arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::{EmissionType, reset_plan_states};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr,
    PlanProperties, SendableRecordBatchStream, execute_stream,
};
use futures::StreamExt;
use hashbrown::HashMap;
use tidemill_core::Reservation;
use tokio::sync::OnceCell;
use tokio::task::coop::consume_budget;

use super::held::{BOX_BYTES, grow, resize};
use super::join_keys::{JoinKeys, KeyRows, fulfils};
use super::output::Output;
use super::properties::{debug_as_shown, one_input, plain};
use super::stateful::{OUTPUT_ROWS, in_blocks, rows_of};
use crate::RunningBatch;
use crate::logical::spark_name;
use crate::memory::block_bytes;

/// Rows of a table whose keys are looked up at a time.
const INDEXED_ROWS: usize = 64 * 1024;
/// Memory of a key beside its bytes: the two boxes, and its place in the index.
const KEY_BYTES: usize = 2 * BOX_BYTES + 48;
/// Memory of a row's number in the list of its key, which grows by doubling.
const ROW_BYTES: usize = 8;

/// How rows of the stream find those of the table.
pub(super) struct StaticJoinPlan {
    /// Inner, or Left, LeftSemi, LeftAnti or LeftMark (all rows, and whether each met one) with the
    /// stream for the left side.
    pub(super) kind: JoinType,
    pub(super) stream_is_left: bool,
    /// Of the stream and of the table. There may be none: then each row meets all.
    pub(super) stream_keys: JoinKeys,
    pub(super) table_keys: JoinKeys,
    /// What rows of the stream, of the table, and of both have to fulfil.
    pub(super) stream_only: Option<Arc<dyn PhysicalExpr>>,
    pub(super) table_only: Option<Arc<dyn PhysicalExpr>>,
    pub(super) both: Option<Arc<dyn PhysicalExpr>>,
    pub(super) null_aware: bool,
    /// The columns of both, in the order of the query.
    pub(super) pair: SchemaRef,
    pub(super) output: SchemaRef,
    /// The table.
    pub(super) table: Arc<dyn ExecutionPlan>,
}

/// The table by its keys.
struct Lookup {
    rows: RecordBatch,
    by_key: HashMap<Box<[u8]>, Vec<u32>>,
    /// All rows, where there is no key.
    all: Vec<u32>,
    has_null_key: bool,
    /// Memory of all of it.
    held: Reservation,
}

/// Joins a stream with a table.
pub(super) struct StaticJoinExec {
    input: Arc<dyn ExecutionPlan>,
    plan: Arc<StaticJoinPlan>,
    lookup: Arc<OnceCell<Lookup>>,
    properties: Arc<PlanProperties>,
}

impl StaticJoinExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, plan: StaticJoinPlan) -> StaticJoinExec {
        StaticJoinExec::with(input, Arc::new(plan), Arc::default())
    }

    fn with(
        input: Arc<dyn ExecutionPlan>,
        plan: Arc<StaticJoinPlan>,
        lookup: Arc<OnceCell<Lookup>>,
    ) -> StaticJoinExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = plain(Arc::clone(&plan.output), partitions, EmissionType::Incremental);
        StaticJoinExec { input, plan, lookup, properties }
    }

    /// The input may have another number of partitions.
    fn over(&self, input: Arc<dyn ExecutionPlan>) -> StaticJoinExec {
        StaticJoinExec::with(input, Arc::clone(&self.plan), Arc::clone(&self.lookup))
    }
}

impl StaticJoinPlan {
    /// Reads the table.
    async fn read(&self, context: &Arc<TaskContext>) -> Result<Lookup> {
        let batch = RunningBatch::of(context)?;
        let mut held = batch.memory().reserve("a table that the stream is joined with");
        // Parts of it may keep what came of an earlier attempt, an error too.
        let table = reset_plan_states(Arc::clone(&self.table))?;
        let mut stream = execute_stream(table, Arc::clone(context))?;
        let mut blocks = Vec::new();
        while let Some(mut block) = stream.next().await.transpose()? {
            if let Some(only) = &self.table_only {
                block = filter_record_batch(&block, &fulfils(only, &block)?)?;
            }
            // Twice: for a moment there are the blocks, and the one that is made of them.
            grow(&mut held, 2 * block_bytes(&block))?;
            blocks.push(block);
        }
        let rows = concat_batches(&self.table.schema(), &blocks)?;
        drop(blocks);
        resize(&mut held, block_bytes(&rows))?;
        let (by_key, all) = (HashMap::new(), Vec::new());
        let mut lookup = Lookup { rows, by_key, all, has_null_key: false, held };
        if self.table_keys.expressions().is_empty() {
            grow(&mut lookup.held, 4 * lookup.rows.num_rows() as u64)?;
            lookup.all = (0..lookup.rows.num_rows() as u32).collect();
            return Ok(lookup);
        }
        self.index(&mut lookup)?;
        Ok(lookup)
    }

    /// Finds the rows of each key, some rows at a time.
    fn index(&self, lookup: &mut Lookup) -> Result<()> {
        let mut first = 0;
        for block in in_blocks(&lookup.rows, INDEXED_ROWS) {
            let keys = self.table_keys.of(&block)?;
            let mut bytes = 0;
            for (row, key) in keys.bytes.iter().enumerate().filter(|(row, _)| keys.can_meet[*row]) {
                let number = (first + row) as u32;
                match lookup.by_key.get_mut(key.as_ref()) {
                    Some(rows) => rows.push(number),
                    None => {
                        lookup.by_key.insert(key.as_ref().into(), vec![number]);
                        bytes += key.as_ref().len() + KEY_BYTES;
                    }
                }
                bytes += ROW_BYTES;
            }
            lookup.has_null_key |= keys.has_null;
            grow(&mut lookup.held, bytes as u64)?;
            first += block.num_rows();
        }
        Ok(())
    }

    /// Joins a block of the stream.
    async fn join(&self, block: &RecordBatch, lookup: &Lookup, output: &Output) -> Result<()> {
        let may_meet = match &self.stream_only {
            Some(only) => fulfils(only, block)?,
            None => BooleanArray::from(vec![true; block.num_rows()]),
        };
        let keys = match self.stream_keys.expressions().is_empty() {
            true => None,
            false => Some(self.stream_keys.of(block)?),
        };
        let mut matched = vec![false; block.num_rows()];
        let (mut mine, mut theirs): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for row in 0..block.num_rows() {
            let found = match &keys {
                None => lookup.all.as_slice(),
                Some(keys) if keys.can_meet[row] => {
                    lookup.by_key.get(keys.bytes.row(row).as_ref()).map_or(&[][..], Vec::as_slice)
                }
                Some(_) => &[],
            };
            if may_meet.value(row) {
                for found in found.chunks(OUTPUT_ROWS) {
                    mine.extend(std::iter::repeat_n(row as u32, found.len()));
                    theirs.extend(found);
                    if mine.len() >= OUTPUT_ROWS {
                        let pairs = self.pair(block, lookup, (&mine, &theirs), &mut matched)?;
                        output.send(&pairs).await?;
                        mine.clear();
                        theirs.clear();
                        // Pairs that do not fulfil the condition are not sent, and a table may have
                        // millions of rows: the task must end when nobody wants it any more.
                        consume_budget().await;
                    }
                }
            }
        }
        output.send(&self.pair(block, lookup, (&mine, &theirs), &mut matched)?).await?;
        output.send(&self.rest(block, lookup, keys.as_ref(), &matched)?).await
    }

    /// The pairs that fulfil the condition, of rows of the stream and of the table; none where the
    /// kind of join wants none.
    fn pair(
        &self,
        block: &RecordBatch,
        lookup: &Lookup,
        (mine, theirs): (&[u32], &[u32]),
        matched: &mut [bool],
    ) -> Result<RecordBatch> {
        let pairs = self.beside(block, mine, lookup, &UInt32Array::from(theirs.to_vec()))?;
        let fulfilled = match &self.both {
            Some(condition) => fulfils(condition, &pairs)?,
            None => BooleanArray::from(vec![true; mine.len()]),
        };
        for (row, _) in mine.iter().zip(fulfilled.values()).filter(|(_, fulfilled)| *fulfilled) {
            matched[*row as usize] = true;
        }
        if !matches!(self.kind, JoinType::Inner | JoinType::Left) {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.output)));
        }
        let pairs = filter_record_batch(&pairs, &fulfilled)?;
        rows_of(&self.output, pairs.columns().to_vec(), pairs.num_rows())
    }

    /// The rows of the stream that leave by themselves.
    fn rest(
        &self,
        block: &RecordBatch,
        lookup: &Lookup,
        keys: Option<&KeyRows>,
        matched: &[bool],
    ) -> Result<RecordBatch> {
        if self.kind == JoinType::LeftMark {
            let mark: ArrayRef = Arc::new(BooleanArray::from(matched.to_vec()));
            let columns = [block.columns(), &[mark]].concat();
            return rows_of(&self.output, columns, block.num_rows());
        }
        let leaves = |row: usize| match self.kind {
            JoinType::Left => !matched[row],
            JoinType::LeftSemi => matched[row],
            JoinType::LeftAnti if self.null_aware && lookup.rows.num_rows() > 0 => {
                !matched[row] && !lookup.has_null_key && keys.is_none_or(|keys| keys.can_meet[row])
            }
            JoinType::LeftAnti => !matched[row],
            _ => false,
        };
        let rows: Vec<u32> =
            (0..block.num_rows()).filter(|row| leaves(*row)).map(|row| row as u32).collect();
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.output)));
        }
        let count = rows.len();
        let columns = if self.kind == JoinType::Left {
            let nulls = UInt32Array::new_null(count);
            self.beside(block, &rows, lookup, &nulls)?.columns().to_vec()
        } else {
            take_arrays(block.columns(), &UInt32Array::from(rows), None)?
        };
        rows_of(&self.output, columns, count)
    }

    /// Rows of the stream beside rows of the table, or beside nulls.
    fn beside(
        &self,
        block: &RecordBatch,
        mine: &[u32],
        lookup: &Lookup,
        theirs: &UInt32Array,
    ) -> Result<RecordBatch> {
        let stream = take_arrays(block.columns(), &UInt32Array::from(mine.to_vec()), None)?;
        let table = take_arrays(lookup.rows.columns(), theirs, None)?;
        let columns =
            if self.stream_is_left { [stream, table].concat() } else { [table, stream].concat() };
        rows_of(&self.pair, columns, mine.len())
    }
}

debug_as_shown!(StaticJoinExec);

impl DisplayAs for StaticJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticJoin: {}", spark_name(self.plan.kind))?;
        let keys = [&self.plan.stream_keys, &self.plan.table_keys].map(JoinKeys::expressions);
        let mut pairs = keys[0].iter().zip(keys[1]);
        pairs.try_for_each(|(stream, table)| write!(f, ", {stream} = {table}"))
    }
}

impl ExecutionPlan for StaticJoinExec {
    one_input!("StaticJoin");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, Arc::clone(&context))?;
        let (plan, lookup) = (Arc::clone(&self.plan), Arc::clone(&self.lookup));
        Ok(Output::of(self.schema(), async move |output| {
            while let Some(block) = input.next().await.transpose()? {
                let lookup = lookup.get_or_try_init(|| plan.read(&context)).await?;
                plan.join(&block, lookup, &output).await?;
            }
            Ok(())
        }))
    }
}
