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
    digest TEXT NOT NULL,
    spec TEXT NOT NULL,
    PRIMARY KEY (query_id, target)
) WITHOUT ROWID";
const IS_THERE: &str =
    "SELECT count(*) > 0 FROM pragma_table_list WHERE schema = 'main' AND name = 'tidemill_marks'";
const READ: &str =
    "SELECT batch, calls, digest, spec FROM tidemill_marks WHERE query_id = ?1 AND target = ?2";
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
    if !connection.prepare_cached(IS_THERE)?.query_row([], |row| row.get(0))? {
        return Ok(None);
    }
    connection.prepare_cached(READ)?.query_row(params![key.query_id.0, key.target], mark).optional()
}

/// Makes the table as it has to be for [`write`].
pub(super) fn make_ready(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(CREATE)
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

fn mark(row: &Row<'_>) -> rusqlite::Result<Mark> {
    let batch: i64 = row.get(0)?;
    let batch =
        u64::try_from(batch).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, batch))?;
    let (digest, spec): (String, String) = (row.get(2)?, row.get(3)?);
    let spec = EncodedSpec::from_text(spec);
    if spec.digest().to_string() != digest {
        let changed = "its digest is not that of its spec: the mark was changed";
        return Err(rusqlite::Error::FromSqlConversionFailure(2, Type::Text, changed.into()));
    }
    Ok(Mark { batch: BatchId(batch), calls: row.get(1)?, spec })
}
