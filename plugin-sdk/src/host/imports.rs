//! The imports, with rows as record batches.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

use crate::bindings::tidemill::plugin::dataframe::{self, Handle};
use crate::bindings::tidemill::plugin::types::{BlockParam, ColumnParam};
use crate::bindings::tidemill::plugin::{ledger, state, target};
use crate::{Error, Response, Result, crossing};

/// Bytes of rows that one call fetches from the host: a few record batches, so that collecting a
/// large table needs little more memory than the table itself.
const COLLECT_BYTES: u64 = 8 << 20;

pub(crate) fn schema_of(table: Handle) -> Result<SchemaRef> {
    let schema = dataframe::schema_of(table).map_err(Error::from_host)?;
    Ok(tidemill_block::read_schema(&schema)?)
}

pub(crate) fn count(table: Handle) -> Result<u64> {
    dataframe::count(table).map_err(Error::from_host)
}

pub(crate) fn sql(query: &str, tables: &[(&str, Handle)]) -> Result<Handle> {
    dataframe::sql(query, tables).map_err(Error::from_host)
}

/// Each batch has the columns of the schema.
pub(crate) fn from_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Handle> {
    let width = schema.fields().len();
    let schema = tidemill_block::write_schema(schema)?;
    let columns: Vec<&ArrayRef> = batches.iter().flat_map(RecordBatch::columns).collect();
    let made = crossing::lend(columns, |columns| {
        let blocks = batches.iter().enumerate().map(|(number, batch)| BlockParam {
            // Fewer than 2^32: they are in 32-bit memory.
            rows: batch.num_rows() as u32,
            columns: &columns[number * width..(number + 1) * width],
        });
        dataframe::from_rows(&schema, &blocks.collect::<Vec<_>>())
    });
    made?.map_err(Error::from_host)
}

pub(crate) fn collect(table: Handle) -> Result<Vec<RecordBatch>> {
    let schema = schema_of(table)?;
    let mut batches = Vec::new();
    loop {
        let first = u32::try_from(batches.len())?;
        let blocks = dataframe::collect(table, first, COLLECT_BYTES).map_err(Error::from_host)?;
        if blocks.is_empty() {
            return Ok(batches);
        }
        for block in blocks {
            batches.push(crossing::arrived(&schema, block)?);
        }
    }
}

pub(crate) fn write(table: Handle, target: &str) -> Result<u64> {
    dataframe::write(table, target).map_err(Error::from_host)
}

pub(crate) fn release(table: Handle) {
    dataframe::release(table);
}

pub(crate) fn execute(
    target: &str,
    statement: &str,
    parameters: Option<&RecordBatch>,
) -> Result<u64> {
    let Some(rows) = parameters else {
        return target::execute(target, statement, None).map_err(Error::from_host);
    };
    let schema = tidemill_block::write_schema(&rows.schema())?;
    let executed = crossing::lend(rows.columns(), |columns| {
        // Fewer than 2^32: they are in 32-bit memory.
        let rows = BlockParam { rows: rows.num_rows() as u32, columns };
        let parameters = target::Parameters { schema: &schema, rows };
        target::execute(target, statement, Some(parameters))
    });
    executed?.map_err(Error::from_host)
}

pub(crate) fn command(target: &str, arguments: &[&[u8]]) -> Result<String> {
    target::command(target, arguments).map_err(Error::from_host)
}

pub(crate) fn request(
    target: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let response =
        target::request(target, method, path, headers, body).map_err(Error::from_host)?;
    Ok(Response { status: response.status, headers: response.headers, body: response.body })
}

pub(crate) fn is_processed(name: &str) -> Result<bool> {
    ledger::is_processed(name).map_err(Error::from_host)
}

pub(crate) fn mark_processed(name: &str) -> Result<()> {
    ledger::mark_processed(name).map_err(Error::from_host)
}

/// What a variable holds for these keys, a row a key.
pub(crate) fn read_state(variable: u32, keys: &[u32], data_type: &DataType) -> Result<ArrayRef> {
    Ok(crossing::array(data_type, state::read(variable, keys))?)
}

/// The value of one entry of each of these keys.
pub(crate) fn find_entries(
    variable: u32,
    keys: &[u32],
    entries: &ArrayRef,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let found = crossing::lend([entries], |entries| state::find(variable, keys, one(entries)))?;
    Ok(crossing::array(data_type, found)?)
}

pub(crate) fn write_state(variable: u32, keys: &[u32], values: &ArrayRef) -> Result<()> {
    crossing::lend([values], |values| state::write(variable, keys, one(values)))
}

pub(crate) fn append_items(variable: u32, keys: &[u32], items: &ArrayRef) -> Result<()> {
    crossing::lend([items], |items| state::append(variable, keys, one(items)))
}

pub(crate) fn put_entries(
    variable: u32,
    keys: &[u32],
    entries: &ArrayRef,
    values: &ArrayRef,
) -> Result<()> {
    crossing::lend([entries, values], |columns| {
        let [entries, values] = [0, 1].map(|column: usize| columns[column].clone());
        state::put(variable, keys, entries, values);
    })
}

pub(crate) fn remove_entries(variable: u32, keys: &[u32], entries: &ArrayRef) -> Result<()> {
    crossing::lend([entries], |entries| state::remove(variable, keys, one(entries)))
}

/// The column that was lent, where it lies.
fn one<'a>(columns: &[ColumnParam<'a>]) -> ColumnParam<'a> {
    columns[0].clone()
}

/// When the timers of each of these keys are due.
pub(crate) fn timers(keys: &[u32]) -> Result<Vec<Vec<i64>>> {
    Ok(state::timers(keys))
}

pub(crate) fn set_timers(keys: &[u32], times: &[i64]) -> Result<()> {
    state::set_timers(keys, times);
    Ok(())
}

pub(crate) fn delete_timers(keys: &[u32], times: &[i64]) -> Result<()> {
    state::delete_timers(keys, times);
    Ok(())
}
