//! Dead letters: rows that functions of plugins refused, that are late, or whose value cannot be read, on their
//! way out of a batch.
//!
//! ```text
//! who refuses rows of a partition ──Refusals──▶ Letters of the batch ──blocks──▶ the place for them
//! ```
//!
//! Partitions run side by side, and yet an attempt that runs again gives the same letters in the same
//! order: each who refuses rows of a partition has a list of its own, with the rows in their order, and the
//! lists are put one after the other by partition, step and function.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use tidemill_codec::{EncodeOptions, JsonEncoder, WrittenTimes};
use tidemill_core::{
    BatchSpec, Digest, OutOfMemory, PluginError, PluginFailure, PluginModule, RefusedRow,
    Reservation,
};
use tidemill_time::Zone;
use tidemill_types::UTC;

use crate::RunningBatch;
use crate::logical::CALL_COLUMN;

/// Letters of one record batch of them, at most: as many as of other rows.
const BLOCK_ROWS: usize = 8_192;
/// Bytes of the rows of one record batch of them, about.
const BLOCK_BYTES: usize = 16 << 20;
/// What a letter takes beside its texts.
const LETTER_BYTES: u64 = 64;

/// A batch has more dead letters than its job allows.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TooManyLetters {
    /// More than so many.
    #[error(
        "at least {found} rows were refused, and dead_letters.max_rows is {max}; {first}. Mend what refuses them, or raise the bound"
    )]
    Rows {
        /// Letters when the batch was given up.
        found: u64,
        /// The bound.
        max: u64,
        /// One of them.
        first: String,
    },
    /// More than such a share of the rows that the batch read.
    #[error(
        "{found} rows were refused of {input} that the batch read, and dead_letters.max_share is {max}; {first}. Mend what refuses them, or raise the bound"
    )]
    Share {
        /// Letters of the batch.
        found: u64,
        /// Rows that it read.
        input: u64,
        /// The bound.
        max: f64,
        /// One of them.
        first: String,
    },
}

/// Columns of dead letters.
#[must_use]
pub fn letter_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    Arc::new(Schema::new(vec![
        Field::new("batch_id", DataType::Int64, true),
        Field::new("batch_time", time, true),
        text("step"),
        text("plugin"),
        text("function"),
        text("digest"),
        text("reason"),
        text("row"),
    ]))
}

/// What leaves a batch as a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LetterRules {
    /// So many rows; with more the batch fails.
    pub max_rows: u64,
    /// Whether the rows are looked for with which a function of a plugin traps.
    pub isolates_traps: bool,
}

/// The dead letters of one attempt at a batch.
#[derive(Debug)]
pub struct Letters {
    rules: LetterRules,
    /// Of the times in rows.
    zone: Zone,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    count: u64,
    lists: Vec<List>,
    reservation: Reservation,
}

/// What of one partition was refused by one, in the order of its rows. Two lists that differ in
/// nothing can change places.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct List {
    partition: usize,
    refuser: Arc<Refuser>,
    letters: Vec<Letter>,
}

/// Who refuses rows.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Refuser {
    /// A function of a plugin.
    Function { step: String, plugin: String, function: String, digest: String },
    /// The decoder of a source's values.
    Source(String),
    /// Something of the query itself.
    Query(&'static str),
}

impl Refuser {
    fn step(&self) -> Option<&str> {
        match self {
            Refuser::Function { step, .. } | Refuser::Source(step) => Some(step),
            Refuser::Query(_) => None,
        }
    }

    /// The plugin, its function, and the digest.
    fn function(&self) -> Option<[&str; 3]> {
        match self {
            Refuser::Function { plugin, function, digest, .. } => Some([plugin, function, digest]),
            Refuser::Source(_) | Refuser::Query(_) => None,
        }
    }
}

impl fmt::Display for Refuser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refuser::Function { step, plugin, function, .. } => {
                write!(f, "step \"{step}\", plugin \"{plugin}\", function \"{function}\"")
            }
            Refuser::Source(source) => write!(f, "source \"{source}\""),
            Refuser::Query(what) => f.write_str(what),
        }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Letter {
    reason: String,
    /// JSON.
    row: String,
}

/// A letter, and who refused it.
type Signed = (Arc<Refuser>, Letter);

impl Letters {
    pub(crate) fn new(rules: LetterRules, zone: Zone, reservation: Reservation) -> Letters {
        let held = Mutex::new(Held { count: 0, lists: Vec::new(), reservation });
        Letters { rules, zone, held }
    }

    /// By which rules.
    pub(crate) fn rules(&self) -> LetterRules {
        self.rules
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.held().count
    }

    /// Sees that they are no larger share of the rows that the batch read. A batch that read none has
    /// no share.
    ///
    /// # Errors
    /// They are.
    pub fn check_share(&self, input: u64, max: f64) -> std::result::Result<(), TooManyLetters> {
        let held = self.held();
        if input == 0 || held.count as f64 <= input as f64 * max {
            return Ok(());
        }
        let first = held.lists.iter().min().and_then(List::first).unwrap_or_default();
        Err(TooManyLetters::Share { found: held.count, input, max, first })
    }

    /// Takes the letters out, as rows in their order. `conceal` leaves out of a plugin's words what
    /// must not leave the process.
    pub fn blocks(
        &self,
        spec: &BatchSpec,
        conceal: impl Fn(&str) -> String,
    ) -> impl Iterator<Item = Result<RecordBatch>> {
        let mut lists = std::mem::take(&mut self.held().lists);
        lists.sort_unstable();
        let letters = lists.into_iter().flat_map(|List { refuser, letters, .. }| {
            letters.into_iter().map(move |letter| (Arc::clone(&refuser), letter))
        });
        let mut letters = letters.peekable();
        let (batch, time) = (spec.batch.0, spec.batch_time_ms);
        std::iter::from_fn(move || {
            letters.peek()?;
            let (mut block, mut bytes) = (Vec::new(), 0);
            while block.len() < BLOCK_ROWS && bytes < BLOCK_BYTES {
                let Some((refuser, letter)) = letters.next() else { break };
                let reason = conceal(&letter.reason);
                bytes += letter.row.len() + reason.len();
                block.push((refuser, Letter { reason, ..letter }));
            }
            Some(rows(batch, time, &block))
        })
    }

    /// Adds what a function refused of some rows to its list, which it is given where it has none.
    fn add(
        &self,
        partition: usize,
        refuser: &Arc<Refuser>,
        list: &mut Option<usize>,
        rows: &RecordBatch,
        refused: Vec<RefusedRow>,
    ) -> Result<()> {
        let letters = self.written(rows, refused)?;
        let bytes = letters
            .iter()
            .map(|letter| LETTER_BYTES + letter.reason.len() as u64 + letter.row.len() as u64);
        let bytes: u64 = bytes.sum();
        let mut held = self.held();
        held.count += letters.len() as u64;
        if held.count > self.rules.max_rows {
            let first = letters.first().map(|letter| told(refuser, letter));
            let (found, max) = (held.count, self.rules.max_rows);
            let first = first.unwrap_or_default();
            return Err(external(TooManyLetters::Rows { found, max, first }));
        }
        held.reservation.try_grow(bytes).map_err(|refused: OutOfMemory| external(refused))?;
        let number = *list.get_or_insert_with(|| {
            let refuser = Arc::clone(refuser);
            held.lists.push(List { partition, refuser, letters: Vec::new() });
            held.lists.len() - 1
        });
        held.lists[number].letters.extend(letters);
        Ok(())
    }

    /// The refused rows as JSON, in the order of the rows, each once.
    fn written(&self, rows: &RecordBatch, mut refused: Vec<RefusedRow>) -> Result<Vec<Letter>> {
        refused.sort_by_key(|refused| refused.row);
        refused.dedup_by_key(|refused| refused.row);
        let rows = take_record_batch(
            &shown(rows)?,
            &UInt32Array::from_iter_values(refused.iter().map(|refused| refused.row)),
        )?;
        let times = WrittenTimes::in_zone(self.zone);
        let options =
            EncodeOptions { ignore_null_fields: false, times, ..EncodeOptions::default() };
        let encoder = JsonEncoder::new(&rows.schema(), options).map_err(external)?;
        let written = encoder.rows(&rows).map_err(external)?;
        let letters = refused.into_iter().enumerate().map(|(place, RefusedRow { reason, .. })| {
            let mut row = Vec::new();
            written.write(place, &mut row);
            let row = String::from_utf8(row);
            let row = row.map_err(|_| exec_datafusion_err!("a row's JSON is no UTF-8"))?;
            Ok(Letter { reason, row })
        });
        letters.collect()
    }
}

impl List {
    fn first(&self) -> Option<String> {
        self.letters.first().map(|letter| told(&self.refuser, letter))
    }
}

/// One of the letters, for a message.
fn told(refuser: &Refuser, letter: &Letter) -> String {
    format!("one of them ({refuser}): {}", letter.reason)
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Without the columns that calls within calls gave: what they are made of stands beside them. Of two
/// columns of one name, as a join has them, the second has a number.
fn shown(rows: &RecordBatch) -> Result<RecordBatch> {
    let (mut fields, mut columns): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if field.name().starts_with(CALL_COLUMN) {
            continue;
        }
        let is_taken = |name: &String| fields.iter().any(|field| field.name() == name);
        let numbered = (2..).map(|number| format!("{}_{number}", field.name()));
        let mut names = std::iter::once(field.name().clone()).chain(numbered);
        let name = names.find(|name| !is_taken(name)).unwrap_or_default();
        fields.push(field.as_ref().clone().with_name(name));
        columns.push(Arc::clone(column));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

fn rows(batch: u64, time_ms: i64, letters: &[Signed]) -> Result<RecordBatch> {
    let batch = i64::try_from(batch).map_err(|_| exec_datafusion_err!("batch {batch}"))?;
    let text = |of: &dyn Fn(&Signed) -> Option<&str>| -> ArrayRef {
        Arc::new(letters.iter().map(of).collect::<StringArray>())
    };
    let of_function =
        |part: usize| text(&move |(refuser, _)| refuser.function().map(|parts| parts[part]));
    let times = TimestampMicrosecondArray::from_value(time_ms.saturating_mul(1_000), letters.len());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_value(batch, letters.len())),
        Arc::new(times.with_timezone(UTC)),
        text(&|(refuser, _)| refuser.step()),
        of_function(0),
        of_function(1),
        of_function(2),
        text(&|(_, letter)| Some(&letter.reason)),
        text(&|(_, letter)| Some(&letter.row)),
    ];
    Ok(RecordBatch::try_new(letter_schema(), columns)?)
}

/// What becomes of the rows that are refused by one in one partition of a batch.
pub(crate) struct Refusals {
    batch: Arc<RunningBatch>,
    partition: usize,
    refuser: Arc<Refuser>,
    /// Its list among the batch's letters, once it has one.
    list: Option<usize>,
}

impl Refusals {
    pub(crate) fn new(
        batch: &Arc<RunningBatch>,
        partition: usize,
        step: &str,
        module: &dyn PluginModule,
        function: &str,
    ) -> Refusals {
        let digest: Digest = module.digest();
        let refuser = Refuser::Function {
            step: step.to_owned(),
            plugin: module.name().to_owned(),
            function: function.to_owned(),
            digest: digest.to_string(),
        };
        Refusals::by(batch, partition, refuser)
    }

    /// Of values that cannot be read.
    pub(crate) fn of_source(batch: &Arc<RunningBatch>, partition: usize, source: &str) -> Refusals {
        Refusals::by(batch, partition, Refuser::Source(source.to_owned()))
    }

    /// Of rows that are late.
    pub(crate) fn of_late_rows(batch: &Arc<RunningBatch>, partition: usize) -> Refusals {
        Refusals::by(batch, partition, Refuser::Query("a late row"))
    }

    /// Of rows with which an expression fails.
    pub(crate) fn of_failing_rows(batch: &Arc<RunningBatch>, partition: usize) -> Refusals {
        Refusals::by(batch, partition, Refuser::Query("an expression that fails"))
    }

    fn by(batch: &Arc<RunningBatch>, partition: usize, refuser: Refuser) -> Refusals {
        Refusals { batch: Arc::clone(batch), partition, refuser: Arc::new(refuser), list: None }
    }

    /// The same for another instance of the function.
    pub(crate) fn again(&self) -> Refusals {
        let (batch, refuser) = (Arc::clone(&self.batch), Arc::clone(&self.refuser));
        Refusals { batch, partition: self.partition, refuser, list: None }
    }

    /// Sees that so many more rows than there are letters do not end the batch.
    pub(crate) fn check(&self, more: usize) -> Result<()> {
        let Some(letters) = self.batch.letters() else { return Ok(()) };
        let (found, max) = (letters.count() + more as u64, letters.rules.max_rows);
        if found <= max {
            return Ok(());
        }
        let first = format!("some of them: {}", self.refuser);
        Err(external(TooManyLetters::Rows { found, max, first }))
    }

    /// Takes what was refused of some rows: the rows leave the batch as dead letters. Where the job
    /// has no place for them, it fails.
    pub(crate) fn take(&mut self, rows: &RecordBatch, refused: Vec<RefusedRow>) -> Result<()> {
        let Some(first) = refused.first() else { return Ok(()) };
        match self.batch.letters() {
            Some(letters) => {
                letters.add(self.partition, &self.refuser, &mut self.list, rows, refused)
            }
            None => Err(match self.refuser.function() {
                Some([plugin, function, _]) => external(PluginError {
                    plugin: plugin.to_owned(),
                    function: function.to_owned(),
                    batch: Some(self.batch.spec().batch),
                    failure: PluginFailure::Refused {
                        row: first.row,
                        reason: first.reason.clone(),
                    },
                }),
                None => exec_datafusion_err!("{}: {}", self.refuser, first.reason),
            }),
        }
    }
}
