//! The SQLite sink: one transaction a delivery.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use rusqlite::{Connection, params_from_iter};
use tidemill_core::{Begin, ConnectorError, Delivery, Held, Mark, Sink};

use super::marks::{self, MarkKey};
use super::statements::{Statements, quote};
use super::values::Values;
use super::{SqlitePlan, has_table};
use crate::mark::not_begun;

/// A running SQLite sink.
pub(crate) struct SqliteSink {
    plan: SqlitePlan,
    key: MarkKey,
    connection: Connection,
    /// For the columns of the last rows; a target may be given others with every call.
    statements: Option<(SchemaRef, Statements)>,
    open: Option<Delivery>,
}

impl SqliteSink {
    pub(super) fn new(plan: SqlitePlan, key: MarkKey, connection: Connection) -> SqliteSink {
        SqliteSink { plan, key, connection, statements: None, open: None }
    }

    /// Takes the write lock at once: a transaction that began by reading could not be sure to get
    /// it later.
    fn begin_transaction(&self) -> rusqlite::Result<Option<Mark>> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        marks::make_ready(&self.connection)?;
        marks::read(&self.connection, &self.key)
    }

    /// Creates the table where it is missing, and in complete mode takes out what it holds.
    fn make_ready(&mut self) -> Result<(), ConnectorError> {
        if let Some(schema) = self.plan.schema.clone() {
            self.learn(&schema)?;
        }
        let clear = || -> rusqlite::Result<()> {
            if self.plan.replaces && has_table(&self.connection, &self.plan.table)? {
                let clear = format!("DELETE FROM {}", quote(&self.plan.table));
                self.connection.execute(&clear, [])?;
            }
            Ok(())
        };
        clear().map_err(|error| self.plan.failed("clear", error))
    }

    /// Prepares for rows with these columns.
    fn learn(&mut self, schema: &SchemaRef) -> Result<Statements, ConnectorError> {
        match &self.statements {
            Some((known, statements)) if known == schema => return Ok(statements.clone()),
            _ => {}
        }
        let statements = Statements::new(&self.plan.table, schema, &self.plan.key)?;
        self.connection
            .execute(&statements.create, [])
            .map_err(|error| self.plan.failed("create", error))?;
        self.statements = Some((schema.clone(), statements.clone()));
        Ok(statements)
    }

    fn write_rows(
        &self,
        statements: &Statements,
        rows: usize,
        values: &[Values],
    ) -> rusqlite::Result<()> {
        let mut write = self.connection.prepare_cached(&statements.write)?;
        for row in 0..rows {
            let parameters = || params_from_iter(values.iter().map(|values| values.value(row)));
            if statements.key.iter().any(|&column| values[column].is_null(row)) {
                self.write_null_key(statements, row, values)?;
            } else {
                write.execute(parameters())?;
            }
        }
        Ok(())
    }

    fn write_null_key(
        &self,
        statements: &Statements,
        row: usize,
        values: &[Values],
    ) -> rusqlite::Result<()> {
        let parameters = || params_from_iter(values.iter().map(|values| values.value(row)));
        let replaces = !statements.replace_null_key.starts_with("DELETE");
        let replaced =
            self.connection.prepare_cached(&statements.replace_null_key)?.execute(parameters())?;
        if replaced == 0 || !replaces {
            self.connection.prepare_cached(&statements.insert)?.execute(parameters())?;
        }
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), ConnectorError> {
        self.open = None;
        // A table that was created in the transaction is gone with it.
        self.statements = None;
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection
            .execute_batch("ROLLBACK")
            .map_err(|error| self.plan.failed("roll back", error))
    }
}

impl Sink for SqliteSink {
    fn description(&self) -> String {
        self.plan.description()
    }

    fn held(&mut self) -> Result<Held, ConnectorError> {
        self.plan.held_in(&self.connection, &self.key)
    }

    fn begin(&mut self, delivery: Delivery) -> Result<Begin, ConnectorError> {
        self.roll_back()?;
        let begun = self.begin_transaction().map_err(|error| self.plan.failed("write", error));
        let ready = begun.and_then(|mark| {
            let begun = Mark::begin(mark.as_ref(), &delivery)?;
            if begun == Begin::Wanted {
                self.make_ready()?;
            }
            Ok(begun)
        });
        match ready {
            Ok(Begin::Wanted) => self.open = Some(delivery),
            Ok(Begin::Landed) | Err(_) => self.roll_back()?,
        }
        ready
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        self.open.as_ref().ok_or_else(not_begun)?;
        let statements = self.learn(&rows.schema())?;
        let values = Values::of(rows)?;
        self.write_rows(&statements, rows.num_rows(), &values)
            .map_err(|error| self.plan.failed("write", error))
    }

    fn prepare(&mut self) -> Result<(), ConnectorError> {
        let delivery = self.open.as_ref().ok_or_else(not_begun)?;
        marks::write(&self.connection, &self.key, delivery)
            .map_err(|error| self.plan.failed("mark", error))
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        self.open.take().ok_or_else(not_begun)?;
        self.connection.execute_batch("COMMIT").map_err(|error| self.plan.failed("commit", error))
    }

    fn abort(&mut self) -> Result<(), ConnectorError> {
        self.roll_back()
    }
}
