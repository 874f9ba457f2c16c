//! The marks of a database: a table with one row for each query and target that write to it.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tidemill_core::{BatchId, Delivery, EncodedSpec, Mark, QueryId};

const CREATE: &str = "CREATE TABLE IF NOT EXISTS tidemill_marks (
    query_id TEXT NOT NULL,
    target TEXT NOT NULL,
    batch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    digest TEXT,
    spec TEXT,
    PRIMARY KEY (query_id, target)
) WITHOUT ROWID";
/// A database from before marks had a spec.
const ADD_SPEC: &str = "ALTER TABLE tidemill_marks ADD COLUMN digest TEXT;
    ALTER TABLE tidemill_marks ADD COLUMN spec TEXT;";
const COLUMNS: &str = "SELECT name FROM pragma_table_info('tidemill_marks')";
const READ: &str =
    "SELECT batch, calls, digest, spec FROM tidemill_marks WHERE query_id = ?1 AND target = ?2";
const READ_WITHOUT_SPEC: &str =
    "SELECT batch, calls FROM tidemill_marks WHERE query_id = ?1 AND target = ?2";
const WRITE: &str = "INSERT OR REPLACE INTO tidemill_marks
    (query_id, target, batch, attempt, calls, digest, spec) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// Whose mark it is: the database may be the place of several.
#[derive(Clone, Debug)]
pub(super) struct MarkKey {
    pub(super) query_id: QueryId,
    pub(super) target: String,
}

/// The mark, in a database that may not have any. Changes nothing.
pub(super) fn read(connection: &Connection, key: &MarkKey) -> rusqlite::Result<Option<Mark>> {
    let columns = columns(connection)?;
    if columns.is_empty() {
        return Ok(None);
    }
    let has_spec = columns.iter().any(|column| column == "spec");
    connection
        .prepare_cached(if has_spec { READ } else { READ_WITHOUT_SPEC })?
        .query_row(params![key.query_id.0, key.target], |row| mark(row, has_spec))
        .optional()
}

/// Makes the table as it has to be for [`write`].
pub(super) fn make_ready(connection: &Connection) -> rusqlite::Result<()> {
    let columns = columns(connection)?;
    if columns.is_empty() {
        return connection.execute_batch(CREATE);
    }
    if columns.iter().any(|column| column == "spec") {
        return Ok(());
    }
    connection.execute_batch(ADD_SPEC)
}

/// Writes the mark of a delivery, in the transaction of its rows.
pub(super) fn write(
    connection: &Connection,
    key: &MarkKey,
    delivery: &Delivery,
) -> rusqlite::Result<()> {
    connection.prepare_cached(WRITE)?.execute(params![
        key.query_id.0,
        key.target,
        i64::try_from(delivery.batch.0).unwrap_or(i64::MAX),
        delivery.attempt.0,
        delivery.call,
        delivery.spec.digest().to_string(),
        delivery.spec.text(),
    ])?;
    Ok(())
}

/// Empty where there is no such table.
fn columns(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare_cached(COLUMNS)?.query_map([], |row| row.get(0))?.collect()
}

fn mark(row: &Row<'_>, has_spec: bool) -> rusqlite::Result<Mark> {
    const DIGEST: usize = 2;
    let (mut digest, mut spec) = (None, None);
    if has_spec {
        digest =
            row.get::<_, Option<String>>(DIGEST)?.map(|text| text.parse()).transpose().map_err(
                |error| {
                    rusqlite::Error::FromSqlConversionFailure(DIGEST, Type::Text, Box::new(error))
                },
            )?;
        spec = row.get::<_, Option<String>>(DIGEST + 1)?.map(EncodedSpec::from_text);
    }
    let batch: i64 = row.get(0)?;
    let batch =
        u64::try_from(batch).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, batch))?;
    Ok(Mark { batch: BatchId(batch), calls: row.get(1)?, digest, spec })
}
