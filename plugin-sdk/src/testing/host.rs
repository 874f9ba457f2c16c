//! The host that a handler has in a unit test.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use crate::host::Handle;
use crate::{Error, Response, Result};

/// The table of the batch.
pub(super) const BATCH: Handle = 0;

type OnSql = dyn FnMut(&str, &[(&str, RecordBatch)]) -> Result<RecordBatch>;
type OnExecute = dyn FnMut(&str, &str, Option<&RecordBatch>) -> Result<u64>;
type OnCommand = dyn FnMut(&str, &[&[u8]]) -> Result<String>;
type OnRequest = dyn FnMut(&str, &str, &str, &[(&str, &str)], &[u8]) -> Result<Response>;

/// What a job's host holds, and what the test says that it answers.
#[derive(Default)]
pub(super) struct State {
    tables: BTreeMap<Handle, (SchemaRef, Vec<RecordBatch>)>,
    /// Writes of the running call.
    writes: usize,
    pub(super) written: Vec<Written>,
    pub(super) marks: BTreeSet<String>,
    pub(super) failing: BTreeMap<String, Error>,
    pub(super) on_sql: Option<Box<OnSql>>,
    pub(super) on_execute: Option<Box<OnExecute>>,
    pub(super) on_command: Option<Box<OnCommand>>,
    pub(super) on_request: Option<Box<OnRequest>>,
}

/// Rows in a target: those of write number `call` of the handler.
pub(super) struct Written {
    call: usize,
    pub(super) target: String,
    pub(super) rows: RecordBatch,
}

thread_local! {
    /// While a handler runs.
    static HOST: RefCell<Option<State>> = const { RefCell::new(None) };
}

impl State {
    pub(super) fn of(schema: &SchemaRef, batches: &[RecordBatch]) -> State {
        let batch = (Arc::clone(schema), batches.to_vec());
        State { tables: [(BATCH, batch)].into(), ..State::default() }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.tables[&BATCH].0)
    }

    fn table(&self, table: Handle) -> Result<&(SchemaRef, Vec<RecordBatch>)> {
        let gone = || Error::fatal("the table was made by an earlier call of the handler");
        self.tables.get(&table).ok_or_else(gone)
    }

    fn whole(&self, table: Handle) -> Result<RecordBatch> {
        let (schema, batches) = self.table(table)?;
        Ok(concat_batches(schema, batches)?)
    }

    fn add(&mut self, schema: SchemaRef, batches: Vec<RecordBatch>) -> Handle {
        let handle = self.tables.keys().next_back().map_or(BATCH, |last| last + 1);
        self.tables.insert(handle, (schema, batches));
        handle
    }
}

/// Calls a handler, with this host.
pub(super) fn during<T>(state: &mut State, call: impl FnOnce() -> T) -> T {
    state.writes = 0;
    HOST.set(Some(mem::take(state)));
    let result = call();
    *state = HOST.take().expect("it is there until it is taken");
    state.tables.retain(|handle, _| *handle == BATCH);
    result
}

fn with<T>(asked: &str, answer: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
    HOST.with_borrow_mut(|host| match host {
        Some(state) => answer(state),
        None => Err(Error::fatal(format!(
            "{asked} was asked for, and a unit test has no host; call the handler with \
             tidemill_plugin::testing::Job"
        ))),
    })
}

fn unsaid(asked: &str, method: &str) -> Error {
    Error::fatal(format!(
        "{asked}: the test does not say what comes of it; say it with Job::{method}"
    ))
}

pub(crate) fn schema_of(table: Handle) -> Result<SchemaRef> {
    with("a table's schema", |state| Ok(Arc::clone(&state.table(table)?.0)))
}

pub(crate) fn count(table: Handle) -> Result<u64> {
    with("a table's count", |state| {
        Ok(state.table(table)?.1.iter().map(|batch| batch.num_rows() as u64).sum())
    })
}

pub(crate) fn sql(query: &str, tables: &[(&str, Handle)]) -> Result<Handle> {
    with("a query", |state| {
        let tables = tables.iter().map(|(name, table)| Ok((*name, state.whole(*table)?)));
        let tables = tables.collect::<Result<Vec<_>>>()?;
        let answer = state.on_sql.as_mut();
        let answer = answer.ok_or_else(|| unsaid(&format!("the query {query}"), "on_sql"))?;
        let rows = answer(query, &tables)?;
        Ok(state.add(rows.schema(), vec![rows]))
    })
}

pub(crate) fn from_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Handle> {
    with("a table of rows", |state| Ok(state.add(Arc::clone(schema), batches.to_vec())))
}

pub(crate) fn collect(table: Handle) -> Result<Vec<RecordBatch>> {
    with("a table's rows", |state| Ok(state.table(table)?.1.clone()))
}

pub(crate) fn write(table: Handle, target: &str) -> Result<u64> {
    with("a write", |state| {
        if let Some(error) = state.failing.get(target) {
            return Err(error.clone());
        }
        let rows = state.whole(table)?;
        let call = state.writes;
        state.writes += 1;
        // A call that runs again makes the same writes in the same order, each once for the batch.
        if state.written.iter().any(|written| written.call == call) {
            return Ok(0);
        }
        let count = rows.num_rows() as u64;
        state.written.push(Written { call, target: target.to_owned(), rows });
        Ok(count)
    })
}

pub(crate) fn release(table: Handle) {
    // A table that outlives the call is gone with it.
    HOST.with_borrow_mut(|host| host.as_mut().map(|state| state.tables.remove(&table)));
}

pub(crate) fn execute(
    target: &str,
    statement: &str,
    parameters: Option<&RecordBatch>,
) -> Result<u64> {
    with("a target", |state| {
        let answer = state.on_execute.as_mut();
        let answer = answer.ok_or_else(|| unsaid(statement, "on_execute"))?;
        answer(target, statement, parameters)
    })
}

pub(crate) fn command(target: &str, arguments: &[&[u8]]) -> Result<String> {
    with("a target", |state| {
        let answer = state.on_command.as_mut();
        let answer =
            answer.ok_or_else(|| unsaid(&format!("a command for \"{target}\""), "on_command"))?;
        answer(target, arguments)
    })
}

pub(crate) fn request(
    target: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    with("a target", |state| {
        let answer = state.on_request.as_mut();
        let answer = answer.ok_or_else(|| unsaid(&format!("{method} {path}"), "on_request"))?;
        answer(target, method, path, headers, body)
    })
}

pub(crate) fn is_processed(name: &str) -> Result<bool> {
    with("a mark", |state| Ok(state.marks.contains(name)))
}

pub(crate) fn mark_processed(name: &str) -> Result<()> {
    with("a mark", |state| {
        state.marks.insert(name.to_owned());
        Ok(())
    })
}
