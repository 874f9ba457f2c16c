//! A handler's own statements.

use arrow::array::RecordBatch;
use rusqlite::{Connection, params_from_iter};
use tidemill_core::{Abandoned, ConnectorError};

use super::sandbox::{STATEMENT_BYTES_MAX, Sandbox, marks_table, while_wanted};
use super::values::Values;
use super::{MARKS, SqlitePlan, beginning, failure};
use crate::SqlTarget;

/// A connection for statements.
pub(crate) struct SqliteTarget {
    plan: SqlitePlan,
    connection: Connection,
    sandbox: Sandbox,
}

impl SqliteTarget {
    pub(super) fn new(
        plan: SqlitePlan,
        mut connection: Connection,
    ) -> Result<SqliteTarget, ConnectorError> {
        let sandbox = Sandbox::around(&mut connection);
        let sandbox =
            sandbox.map_err(|error| plan.failed("set bounds for statements on", error))?;
        Ok(SqliteTarget { plan, connection, sandbox })
    }

    /// Runs the statement in one transaction: all of it, or nothing.
    fn run(
        &self,
        statement: &str,
        columns: Option<&[Values]>,
        rows: usize,
        abandoned: &Abandoned,
    ) -> Outcome {
        // The write lock at once, as for a delivery: one that began by reading might not get it.
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = self.run_in_transaction(statement, columns, rows, abandoned);
        if done.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        done
    }

    fn run_in_transaction(
        &self,
        statement: &str,
        columns: Option<&[Values]>,
        rows: usize,
        abandoned: &Abandoned,
    ) -> Outcome {
        let marks = marks_table(&self.connection)?;
        let changed = self.sandbox.guest(|| -> Outcome {
            let mut prepared = self.connection.prepare(statement)?;
            let Some(columns) = columns else {
                return Ok(prepared.execute([])? as u64);
            };
            let mut changed = 0;
            for row in 0..rows {
                // A statement of few steps never comes to where SQLite looks.
                if abandoned.is_set() {
                    return Err(Stopped::Abandoned);
                }
                let cells = columns.iter().map(|values| values.value(row));
                changed += prepared.execute(params_from_iter(cells))? as u64;
            }
            Ok(changed)
        })?;
        if marks_table(&self.connection)? != marks {
            return Err(Stopped::Marks);
        }
        if abandoned.is_set() {
            return Err(Stopped::Abandoned);
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(changed)
    }
}

type Outcome = Result<u64, Stopped>;

/// Why a statement changed nothing.
enum Stopped {
    Sqlite(rusqlite::Error),
    /// Nobody waits for it any more.
    Abandoned,
    /// It changed what the host keeps its marks in.
    Marks,
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Stopped {
        Stopped::Sqlite(error)
    }
}

impl SqlTarget for SqliteTarget {
    fn execute(
        &mut self,
        statement: &str,
        parameters: Option<&RecordBatch>,
        abandoned: &Abandoned,
    ) -> Result<u64, ConnectorError> {
        let place = self.plan.path.display().to_string();
        let message =
            format!("the database {place} could not run the statement {}", beginning(statement));
        if statement.len() > STATEMENT_BYTES_MAX {
            return Err(ConnectorError::fatal(format!(
                "{message}: a statement of {} bytes is too big, and the limit is \
                 {STATEMENT_BYTES_MAX}; give values as parameters",
                statement.len()
            )));
        }
        let columns = parameters.map(Values::of).transpose()?;
        let rows = parameters.map_or(0, RecordBatch::num_rows);
        let ready = while_wanted(&mut self.connection, abandoned).map_err(Stopped::from);
        let done = ready.and_then(|()| self.run(statement, columns.as_deref(), rows, abandoned));
        let refused = self.sandbox.refused();
        let reason = match (done, refused) {
            (Ok(changed), _) => return Ok(changed),
            (Err(Stopped::Sqlite(error)), None) if !abandoned.is_set() => {
                return Err(failure(message, error));
            }
            (Err(Stopped::Sqlite(_)), Some(refused)) => {
                format!("refused is {}", beginning(&refused))
            }
            (Err(Stopped::Marks), _) => {
                format!("refused is a change to the table {MARKS}, which is the host's")
            }
            (Err(Stopped::Abandoned | Stopped::Sqlite(_)), _) => {
                "it was stopped, as its call had ended; nothing was changed".to_owned()
            }
        };
        Err(ConnectorError::fatal(format!("{message}: {reason}")))
    }
}
