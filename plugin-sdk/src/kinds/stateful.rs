//! Stateful functions: rows for the rows and the timers of a key, with what is kept for it. They are written
//! for one key, and called for the keys of a batch.

use std::collections::{HashSet, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema, SchemaRef};

use crate::bindings::exports::tidemill::plugin::stateful::{BlockResult, Guest};
use crate::bindings::tidemill::plugin::types::{Failure, FunctionKind, RowError};
use crate::exports::{Exports, Functions, with};
use crate::kinds::{
    Body, Called, Declared, Opened, all_of, earlier_form, migrations, no_migration, written,
};
use crate::rows::{self, Given, Selection};
use crate::state::{State, Timers};
use crate::value::FromColumn;
use crate::{BatchContext, Error, Result, Row, Timestamp, crossing};

/// What `#[stateful]` makes of a type whose fields are what is kept for a key.
pub trait Stateful: State + 'static {
    /// A row of the input.
    type Input: Row;
    /// A row of the output.
    type Output: Row;

    /// Name in the plugin.
    const NAME: &'static str;

    /// The columns of a key.
    fn key() -> Vec<Field>;

    /// The columns of the initial state, if the function takes one.
    fn seed() -> Option<SchemaRef> {
        None
    }

    /// Handles the rows of a key.
    fn on_rows(
        &mut self,
        keys: &RecordBatch,
        key: usize,
        rows: Vec<Self::Input>,
        timers: &mut Timers,
        context: &BatchContext,
    ) -> Result<Vec<Self::Output>>;

    /// Handles a timer of a key.
    fn on_timer(
        &mut self,
        keys: &RecordBatch,
        key: usize,
        due: Timestamp,
        timers: &mut Timers,
        context: &BatchContext,
    ) -> Result<Vec<Self::Output>> {
        let _ = (keys, key, timers, context);
        let (name, at) = (Self::NAME, due.0);
        Err(Error::fatal(format!(
            "a timer of {name} is due (at {at} µs), and it has no `timer` that handles it"
        )))
    }

    /// Takes the initial state of a key.
    fn on_seed(
        &mut self,
        keys: &RecordBatch,
        key: usize,
        row: &RecordBatch,
        timers: &mut Timers,
        context: &BatchContext,
    ) -> Result<()> {
        let _ = (keys, key, row, timers, context);
        Err(Error::fatal(format!("{} takes no initial state", Self::NAME)))
    }

    /// The columns of each earlier form of the state that is taken over.
    fn migrations() -> Vec<SchemaRef> {
        Vec::new()
    }

    /// Takes over what an earlier form held of a key.
    fn on_migration(
        &mut self,
        migration: u32,
        keys: &RecordBatch,
        key: usize,
        kept: &RecordBatch,
        timers: &mut Timers,
        context: &BatchContext,
    ) -> Result<()> {
        let _ = (keys, key, kept, timers, context);
        Err(no_migration(Self::NAME, migration))
    }
}

/// What `rows` and `timer` of a stateful function may give back.
#[diagnostic::on_unimplemented(
    message = "`rows` and `timer` of a stateful function cannot return `{Self}`",
    label = "no rows",
    note = "return Vec<T> or Option<T> of a struct with #[derive(Row)], or a Result of one of them"
)]
pub trait Emitted {
    /// A row.
    type Row: Row;

    /// The rows.
    fn into_rows(self) -> Result<Vec<Self::Row>>;
}

impl<T: Row> Emitted for Vec<T> {
    type Row = T;

    fn into_rows(self) -> Result<Vec<T>> {
        Ok(self)
    }
}

impl<T: Row> Emitted for Option<T> {
    type Row = T;

    fn into_rows(self) -> Result<Vec<T>> {
        Ok(self.into_iter().collect())
    }
}

impl<E: Emitted> Emitted for Result<E> {
    type Row = E::Row;

    fn into_rows(self) -> Result<Vec<E::Row>> {
        self.and_then(E::into_rows)
    }
}

/// One column of a key, as `T` reads it.
pub fn key_part<'a, T: FromColumn<'a>>(
    keys: &'a RecordBatch,
    column: usize,
    key: usize,
) -> Result<T> {
    let values = super::scalar::argument::<T>(keys, column)?;
    if !T::NULLABLE && values.is_null(key) {
        let schema = keys.schema();
        let name = schema.field(column).name();
        return Err(Error::bad_row(format!(
            "the key's \"{name}\" is null, and the function has no place for it; make it an Option"
        )));
    }
    Ok(T::get(values, key))
}

/// A type with `#[stateful]`.
pub struct Keeping<S>(PhantomData<S>);

impl<S> Keeping<S> {
    /// Of the type.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "the attribute's, not the author's")]
    pub fn new() -> Keeping<S> {
        Keeping(PhantomData)
    }
}

/// Names of properties that the host knows.
const KEY: &str = "key";
const INITIAL_STATE: &str = "initial-state";

impl<S: Stateful> Body for Keeping<S> {
    fn declared(&self) -> Declared {
        let key = (KEY.to_owned(), written(&Schema::new(S::key())));
        let seed = S::seed().map(|seed| (INITIAL_STATE.to_owned(), written(&seed)));
        Declared {
            input: Some(S::Input::schema()),
            output: Some(S::Output::schema()),
            state: S::variables(),
            properties: std::iter::once(key)
                .chain(seed)
                .chain(migrations(S::migrations()))
                .collect(),
            ..Declared::of(FunctionKind::Stateful)
        }
    }

    fn open(self: Box<Keeping<S>>, input: &SchemaRef) -> Result<Opened> {
        let keys = Keys {
            state: S::new(),
            timers: Timers::new(),
            key: Arc::new(Schema::new(S::key())),
            input: nullable(input),
            given: Vec::new(),
        };
        let keys: Box<dyn Keyed> = Box::new(keys);
        Ok(Opened::making(S::Output::schema(), all_of(input), keys))
    }
}

/// The keys of a shard of a batch.
pub(crate) trait Keyed {
    /// Columns of the keys.
    fn key(&self) -> &SchemaRef;

    /// Columns of the input.
    fn input(&self) -> &SchemaRef;

    /// Columns of the initial state.
    fn seed(&self) -> SchemaRef;

    fn rows(
        &mut self,
        keys: &RecordBatch,
        counts: &[u32],
        rows: &RecordBatch,
        context: &BatchContext,
        give: &mut dyn FnMut(Given) -> Result<()>,
    ) -> Result<Vec<RowError>>;

    fn timers(
        &mut self,
        keys: &RecordBatch,
        owners: &[u32],
        times: &[i64],
        context: &BatchContext,
        give: &mut dyn FnMut(Given) -> Result<()>,
    ) -> Result<()>;

    /// Takes the initial state, a row a key. Each column may have nulls.
    fn initial(
        &mut self,
        keys: &RecordBatch,
        rows: &RecordBatch,
        context: &BatchContext,
    ) -> Result<()>;

    /// Columns of an earlier form of the state.
    fn earlier(&self, migration: u32) -> Result<SchemaRef>;

    /// Takes over what an earlier form held, a row a key. Each column may have nulls.
    fn migrate(
        &mut self,
        migration: u32,
        keys: &RecordBatch,
        kept: &RecordBatch,
        context: &BatchContext,
    ) -> Result<()>;
}

/// Rows that are given to the host at a time.
const GIVEN_ROWS: usize = 8_192;

struct Keys<S: Stateful> {
    state: S,
    timers: Timers,
    key: SchemaRef,
    input: SchemaRef,
    /// Rows on their way to the host.
    given: Vec<S::Output>,
}

impl<S: Stateful> Keys<S> {
    fn begin_call(&mut self, keys: &RecordBatch) {
        // Fewer than 2^32: they came through 32-bit memory.
        let count = keys.num_rows() as u32;
        self.state.each().into_iter().for_each(|field| field.begin_call(count));
        self.timers.begin_call(count);
    }

    /// Works with the state of one key. What it changed stays, unless the rows of the key are refused.
    fn with_key<T>(
        &mut self,
        key: u32,
        work: impl FnOnce(&mut S, &mut Timers) -> Result<T>,
    ) -> Result<Result<T, String>> {
        self.state.each().into_iter().for_each(|field| field.begin_key(key));
        self.timers.begin_key(key);
        let done = match work(&mut self.state, &mut self.timers) {
            Ok(done) => Ok(done),
            Err(Error::BadRow(reason)) => Err(reason),
            Err(error) => return Err(error),
        };
        let keeps = done.is_ok();
        self.state.each().into_iter().for_each(|field| field.end_key(keeps));
        self.timers.end_key(keeps);
        Ok(done)
    }

    /// Takes a row of `what` a key, before there are rows of a batch.
    fn take(
        &mut self,
        what: &str,
        keys: &RecordBatch,
        fields: &Schema,
        rows: &RecordBatch,
        mut take: impl FnMut(&mut S, usize, &RecordBatch, &mut Timers) -> Result<()>,
    ) -> Result<()> {
        self.begin_call(keys);
        // There is no place for refused rows of what is no batch.
        let refused = |key: usize, reason: &str| {
            Error::fatal(format!("{what}, of the key {}: {reason}", shown(keys, key)))
        };
        if let Some(unfit) = without_a_place(fields, rows).first() {
            return Err(refused(unfit.row as usize, &unfit.reason));
        }
        for key in 0..keys.num_rows() {
            let row = rows.slice(key, 1);
            let done = self.with_key(key as u32, |state, timers| take(state, key, &row, timers))?;
            done.map_err(|reason| refused(key, &reason))?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.state.each().into_iter().try_for_each(|field| field.flush())?;
        self.timers.flush()
    }

    fn give(&mut self, give: &mut dyn FnMut(Given) -> Result<()>) -> Result<()> {
        if self.given.is_empty() {
            return Ok(());
        }
        let rows = S::Output::to_batch(&std::mem::take(&mut self.given))?;
        let selection = Selection::Fresh(rows.num_rows() as u32);
        give(Given { selection, columns: rows.columns().to_vec() })
    }

    fn keep(
        &mut self,
        rows: Vec<S::Output>,
        give: &mut dyn FnMut(Given) -> Result<()>,
    ) -> Result<()> {
        self.given.extend(rows);
        if self.given.len() >= GIVEN_ROWS { self.give(give) } else { Ok(()) }
    }
}

/// A key, for a message: texts and whole numbers, as keys mostly are. To print all types would make every
/// plugin larger.
fn shown(keys: &RecordBatch, key: usize) -> String {
    let part = |column: &ArrayRef| {
        if column.is_null(key) {
            return "NULL".to_owned();
        }
        let text = column.as_string_opt::<i32>().map(|texts| format!("\"{}\"", texts.value(key)));
        let long = || Some(column.as_primitive_opt::<Int64Type>()?.value(key).to_string());
        let int = || Some(column.as_primitive_opt::<Int32Type>()?.value(key).to_string());
        text.or_else(long).or_else(int).unwrap_or_else(|| format!("number {key} of the call"))
    };
    keys.columns().iter().map(part).collect::<Vec<_>>().join(", ")
}

/// The same columns, each of which may be null: what has no place for a null is refused row by row.
fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The rows that have a null in a column whose field has no place for it, in order.
fn without_a_place(fields: &Schema, rows: &RecordBatch) -> Vec<RowError> {
    let strict = fields.fields().iter().zip(rows.columns());
    let strict = strict.filter(|(field, column)| !field.is_nullable() && column.null_count() > 0);
    let strict: Vec<_> = strict.collect();
    let refused = |row: usize| {
        let (field, _) = strict.iter().find(|(_, column)| column.is_null(row))?;
        let name = field.name();
        let reason = format!(
            "the column \"{name}\" is null, and the field has no place for it; make it an Option"
        );
        Some(RowError { row: row as u32, reason })
    };
    match strict.is_empty() {
        true => Vec::new(),
        false => (0..rows.num_rows()).filter_map(refused).collect(),
    }
}

impl<S: Stateful> Keyed for Keys<S> {
    fn key(&self) -> &SchemaRef {
        &self.key
    }

    fn input(&self) -> &SchemaRef {
        &self.input
    }

    fn seed(&self) -> SchemaRef {
        S::seed().unwrap_or_else(|| Arc::new(Schema::empty()))
    }

    fn rows(
        &mut self,
        keys: &RecordBatch,
        counts: &[u32],
        rows: &RecordBatch,
        context: &BatchContext,
        give: &mut dyn FnMut(Given) -> Result<()>,
    ) -> Result<Vec<RowError>> {
        self.begin_call(keys);
        let mut refused = without_a_place(&S::Input::schema(), rows);
        let fits = |row: &u32| refused.binary_search_by_key(row, |refused| refused.row).is_err();
        // Fewer than 2^32: they came through 32-bit memory.
        let fitting: Vec<u32> = (0..rows.num_rows() as u32).filter(fits).collect();
        let rows = match refused.is_empty() {
            true => rows.clone(),
            false => take_record_batch(rows, &UInt32Array::from(fitting.clone()))?,
        };
        let mut left: VecDeque<S::Input> = S::Input::from_batch(&rows)?.into();
        let mut fitting = fitting.into_iter().peekable();
        let mut end = 0;
        for (key, count) in (0..).zip(counts) {
            end += count;
            let own: Vec<u32> = std::iter::from_fn(|| fitting.next_if(|row| *row < end)).collect();
            if own.is_empty() {
                continue;
            }
            let of_key = left.drain(..own.len().min(left.len())).collect();
            let done = self.with_key(key, |state, timers| {
                state.on_rows(keys, key as usize, of_key, timers, context)
            })?;
            match done {
                Ok(given) => self.keep(given, give)?,
                // It does not say which one it was.
                Err(reason) => refused
                    .extend(own.into_iter().map(|row| RowError { row, reason: reason.clone() })),
            }
        }
        self.flush()?;
        self.give(give)?;
        Ok(refused)
    }

    fn timers(
        &mut self,
        keys: &RecordBatch,
        owners: &[u32],
        times: &[i64],
        context: &BatchContext,
        give: &mut dyn FnMut(Given) -> Result<()>,
    ) -> Result<()> {
        self.begin_call(keys);
        let mut seen = HashSet::new();
        for (key, time) in owners.iter().zip(times) {
            if !seen.insert(*key) {
                // It has to see what its earlier timer changed.
                self.flush()?;
                seen = HashSet::from([*key]);
            }
            let due = Timestamp(*time);
            let done = self.with_key(*key, |state, timers| {
                state.on_timer(keys, *key as usize, due, timers, context)
            })?;
            // There is no row to refuse.
            let given = done.map_err(|reason| {
                Error::fatal(format!("the timer at {time} µs since 1970: {reason}"))
            })?;
            self.keep(given, give)?;
        }
        self.flush()?;
        self.give(give)
    }

    fn initial(
        &mut self,
        keys: &RecordBatch,
        rows: &RecordBatch,
        context: &BatchContext,
    ) -> Result<()> {
        let fields = self.seed();
        self.take("the initial state", keys, &fields, rows, |state, key, row, timers| {
            state.on_seed(keys, key, row, timers, context)
        })
    }

    fn earlier(&self, migration: u32) -> Result<SchemaRef> {
        earlier_form(S::NAME, S::migrations(), migration)
    }

    fn migrate(
        &mut self,
        migration: u32,
        keys: &RecordBatch,
        kept: &RecordBatch,
        context: &BatchContext,
    ) -> Result<()> {
        let fields = self.earlier(migration)?;
        self.take("an earlier form of the state", keys, &fields, kept, |state, key, row, timers| {
            state.on_migration(migration, keys, key, row, timers, context)
        })
    }
}

impl Called for Box<dyn Keyed> {
    const KIND: &'static str = "a stateful function";
}

impl<P: Functions> Guest for Exports<P> {
    fn rows(
        opened: u32,
        keys: BlockResult,
        counts: Vec<u32>,
        input: BlockResult,
    ) -> Result<Vec<RowError>, Failure> {
        with(opened, |held: &mut Box<dyn Keyed>, context| {
            let keys = crossing::arrived(held.key(), keys)?;
            let input = crossing::arrived(held.input(), input)?;
            held.rows(&keys, &counts, &input, context, &mut rows::give)
        })
    }

    fn timers(
        opened: u32,
        keys: BlockResult,
        owners: Vec<u32>,
        times: Vec<i64>,
    ) -> Result<(), Failure> {
        with(opened, |held: &mut Box<dyn Keyed>, context| {
            let keys = crossing::arrived(held.key(), keys)?;
            held.timers(&keys, &owners, &times, context, &mut rows::give)
        })
    }

    fn initial(opened: u32, keys: BlockResult, seeds: BlockResult) -> Result<(), Failure> {
        with(opened, |held: &mut Box<dyn Keyed>, context| {
            let keys = crossing::arrived(held.key(), keys)?;
            let seeds = crossing::arrived(&nullable(&held.seed()), seeds)?;
            held.initial(&keys, &seeds, context)
        })
    }

    fn migrate(
        opened: u32,
        migration: u32,
        keys: BlockResult,
        kept: BlockResult,
    ) -> Result<(), Failure> {
        with(opened, |held: &mut Box<dyn Keyed>, context| {
            let keys = crossing::arrived(held.key(), keys)?;
            let kept = crossing::arrived(&nullable(&*held.earlier(migration)?), kept)?;
            held.migrate(migration, &keys, &kept, context)
        })
    }
}
