//! A handler's own statements.

use arrow::array::RecordBatch;
use rusqlite::{Connection, params_from_iter};
use tidemill_core::ConnectorError;

use super::values::Values;
use super::{SqlitePlan, failure};
use crate::SqlTarget;

/// A connection for statements.
pub(crate) struct SqliteTarget {
    plan: SqlitePlan,
    connection: Connection,
}

impl SqliteTarget {
    pub(super) fn new(plan: SqlitePlan, connection: Connection) -> SqliteTarget {
        SqliteTarget { plan, connection }
    }
}

impl SqlTarget for SqliteTarget {
    fn execute(
        &mut self,
        statement: &str,
        parameters: Option<&RecordBatch>,
    ) -> Result<u64, ConnectorError> {
        let failed = |error: rusqlite::Error| {
            let place = self.plan.path.display();
            let message = format!("the database {place} could not run the statement {statement}");
            failure(message, error)
        };
        let Some(parameters) = parameters else {
            return self
                .connection
                .execute(statement, [])
                .map(|changed| changed as u64)
                .map_err(failed);
        };
        let values = Values::of(parameters)?;
        let run = || -> rusqlite::Result<u64> {
            let transaction = self.connection.unchecked_transaction()?;
            let mut changed = 0;
            {
                let mut prepared = transaction.prepare_cached(statement)?;
                for row in 0..parameters.num_rows() {
                    let cells = values.iter().map(|values| values.value(row));
                    changed += prepared.execute(params_from_iter(cells))? as u64;
                }
            }
            transaction.commit()?;
            Ok(changed)
        };
        run().map_err(failed)
    }
}
