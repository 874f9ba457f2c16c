//! SQLite as a sink and a target. Rows and the mark of their delivery are one transaction.
//!
//! | SQL type | column | value |
//! |---|---|---|
//! | BOOLEAN, TINYINT … BIGINT | INTEGER | true is 1 |
//! | FLOAT, DOUBLE | REAL | NaN as the text `NaN`, which SQLite has no number for |
//! | STRING | TEXT | |
//! | DECIMAL | TEXT | all digits; REAL would round them |
//! | DATE | TEXT | `2026-01-31` |
//! | TIMESTAMP | TEXT | `2026-01-31T09:30:00.000Z`, microseconds where there are any, as the console prints them; sorts by time, and SQLite's date functions read it. TIMESTAMP_NTZ without the `Z` |
//! | BINARY | BLOB | |
//! | STRUCT, ARRAY, MAP | TEXT | JSON |
//!
//! A table that is there already keeps its own column types.

mod marks;
mod sandbox;
mod sink;
mod statements;
mod target;
mod values;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tidemill_core::{ConnectorError, Held, OutputMode, QueryId};

use crate::options::{Known, Options};
use crate::{ConfigError, SinkConfig};
use marks::MarkKey;
use sink::SqliteSink;
use statements::Statements;
use target::SqliteTarget;

const OPTIONS: Known = Known {
    built: &["path", "url", "dbtable", "key"],
    later: &[
        "driver",
        "user",
        "password",
        "batchsize",
        "isolationLevel",
        "truncate",
        "createTableOptions",
        "createTableColumnTypes",
        "queryTimeout",
        "numPartitions",
    ],
};

/// The table that says which batches were delivered.
const MARKS: &str = "tidemill_marks";

/// A URL may have a name and a password in it, in whatever form it was meant to have.
pub(crate) const SECRETS: [&str; 1] = ["url"];

/// How long another writer may hold the database before a batch gives up for now.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a statement, or of what SQLite says about it, that an error shows.
const SHOWN_BYTES: usize = 1_000;

/// A SQLite sink that could be opened.
#[derive(Clone, Debug)]
pub(crate) struct SqlitePlan {
    path: PathBuf,
    table: String,
    /// Columns by which rows are the same; empty: rows are only ever added.
    key: Vec<String>,
    replaces: bool,
    schema: Option<SchemaRef>,
    target: String,
}

impl SqlitePlan {
    pub(crate) fn new(config: &SinkConfig, place: &str) -> Result<SqlitePlan, ConfigError> {
        let options = Options::check(place, &config.options, &[OPTIONS])?;
        let missing = |what: &str, hint: &str| ConfigError::Missing {
            place: place.to_owned(),
            what: what.to_owned(),
            hint: hint.to_owned(),
        };
        let path = match options.text("url") {
            Some(_) if config.path.is_some() || options.text("path").is_some() => {
                return Err(options.bad("url", "the path is given too: keep one"));
            }
            Some(url) => path_of_url(url)
                .ok_or_else(|| options.bad("url", "it has to be like sqlite:some/file.db"))?,
            None => options.path(config.path.as_deref())?,
        };
        let path =
            std::path::absolute(&path).map_err(|error| options.bad("path", &error.to_string()))?;
        let table = options.text("dbtable").filter(|table| !table.is_empty());
        let table = table.ok_or_else(|| {
            missing("option dbtable", "write options = { dbtable = \"some_table\" }")
        })?;
        let key = match (options.text("key"), config.output_mode) {
            (Some(key), _) => split_key(key),
            (None, OutputMode::Update) if config.key.is_empty() => {
                return Err(missing(
                    "key",
                    "output mode update replaces rows by their key; write options = { key = \"column, …\" }",
                ));
            }
            (None, OutputMode::Update) => config.key.clone(),
            (None, OutputMode::Append | OutputMode::Complete) => Vec::new(),
        };
        if let Some(schema) = &config.schema {
            for column in &key {
                if !schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case(column)) {
                    let names = schema.fields().iter().map(|field| field.name().as_str());
                    return Err(ConfigError::Schema {
                        place: place.to_owned(),
                        reason: format!(
                            "the key column \"{column}\" is none of the rows' columns, which are {}; select it, or name the key in the options",
                            names.collect::<Vec<_>>().join(", ")
                        ),
                    });
                }
            }
        }
        Ok(SqlitePlan {
            path,
            table: table.to_owned(),
            key,
            replaces: config.output_mode == OutputMode::Complete,
            schema: config.schema.clone(),
            target: config.name.clone(),
        })
    }

    pub(crate) fn check(&self) -> Result<(), ConnectorError> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        if !folder.is_dir() {
            return Err(ConnectorError::fatal(format!(
                "the directory {} of the database {} does not exist; create it first",
                folder.display(),
                self.path.display()
            )));
        }
        crate::place::check_writable_directory(folder)?;
        if !self.path.exists() {
            return Ok(());
        }
        crate::place::check_writable_file(&self.path)?;
        let connection = self.connect_to_read()?;
        let is_there =
            has_table(&connection, &self.table).map_err(|error| self.failed("read", error))?;
        if let (true, Some(schema)) = (is_there, &self.schema) {
            let statements = Statements::new(&self.table, schema, &self.key)?;
            connection.prepare(&statements.write).map_err(|error| self.failed("write", error))?;
        }
        Ok(())
    }

    pub(crate) fn description(&self) -> String {
        format!("SqliteSink[{}, {}]", self.path.display(), self.table)
    }

    /// What the database holds of a query. Creates nothing.
    pub(crate) fn held(&self, query_id: &QueryId) -> Result<Held, ConnectorError> {
        if !self.path.exists() {
            return Ok(Held::Nothing);
        }
        self.held_in(&self.connect_to_read()?, &self.mark_key(query_id))
    }

    /// In complete mode a table that is gone comes back with the next batch.
    fn held_in(&self, connection: &Connection, key: &MarkKey) -> Result<Held, ConnectorError> {
        let mark = marks::read(connection, key)
            .map_err(|error| self.failed("read the mark of this query beside", error))?;
        let has_table =
            || has_table(connection, &self.table).map_err(|error| self.failed("read", error));
        match mark {
            Some(mark) if !self.replaces && !has_table()? => Ok(Held::MarkAlone(mark)),
            mark => Ok(mark.into()),
        }
    }

    pub(crate) fn open(&self, query_id: &QueryId) -> Result<SqliteSink, ConnectorError> {
        Ok(SqliteSink::new(self.clone(), self.mark_key(query_id), self.connect()?))
    }

    fn mark_key(&self, query_id: &QueryId) -> MarkKey {
        MarkKey { query_id: query_id.clone(), target: self.target.clone() }
    }

    pub(crate) fn open_sql(&self) -> Result<SqliteTarget, ConnectorError> {
        SqliteTarget::new(self.clone(), self.connect()?)
    }

    /// A connection to a database that is there. SQLite may have to play back a journal before it
    /// reads, which a connection that may not write could not do; what it says is then as of the
    /// last commit, even beside a writer.
    fn connect_to_read(&self) -> Result<Connection, ConnectorError> {
        let connect = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "query_only", true)?;
            Ok(connection)
        };
        connect().map_err(|error| self.unopened(error))
    }

    /// A connection whose commits are durable when they return.
    fn connect(&self) -> Result<Connection, ConnectorError> {
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&self.path)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            Ok(connection)
        };
        connect().map_err(|error| self.unopened(error))
    }

    /// SQLite has one word for every file that it cannot open. Where there could be one, it is for
    /// want of a permission, of handles or of room.
    fn unopened(&self, error: rusqlite::Error) -> ConnectorError {
        let is_unopened = error.sqlite_error_code() == Some(ErrorCode::CannotOpen);
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        if !is_unopened || !directory.is_dir() || self.path.is_dir() {
            return self.failed("open", error);
        }
        let message = format!("could not open the database {}", self.path.display());
        let failed = ConnectorError::retryable(message);
        match OpenOptions::new().append(true).open(&self.path) {
            // The system's own reason says more.
            Err(reason) if reason.kind() != ErrorKind::NotFound => failed.caused_by(reason),
            _ => failed.caused_by(shortened(error)),
        }
    }

    fn failed(&self, what: &str, error: rusqlite::Error) -> ConnectorError {
        failure(
            format!(
                "could not {what} the table \"{}\" of the database {}",
                self.table,
                self.path.display()
            ),
            error,
        )
    }
}

/// Whether another try may help is SQLite's to say.
fn failure(message: String, error: rusqlite::Error) -> ConnectorError {
    let error = shortened(error);
    let may_pass = matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
        )
    );
    if may_pass {
        ConnectorError::retryable(message).caused_by(error)
    } else {
        ConnectorError::fatal(message).caused_by(error)
    }
}

/// SQLite repeats the statement and names from it, which can be as long as a statement may be.
fn shortened(error: rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqlInputError { error, msg, sql, offset } => {
            let (msg, sql) = (beginning(&msg), beginning(&sql));
            rusqlite::Error::SqlInputError { error, msg, sql, offset }
        }
        rusqlite::Error::SqliteFailure(error, Some(told)) => {
            rusqlite::Error::SqliteFailure(error, Some(beginning(&told)))
        }
        other => other,
    }
}

/// As much of a text as an error shows.
fn beginning(text: &str) -> String {
    let (shown, rest) = text.split_at(text.floor_char_boundary(SHOWN_BYTES));
    if rest.is_empty() { shown.to_owned() } else { format!("{shown}… ({} bytes)", text.len()) }
}

fn has_table(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    const QUERY: &str = "SELECT count(*) FROM sqlite_master WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view')";
    connection.query_row(QUERY, [table], |row| row.get::<_, i64>(0)).map(|count| count > 0)
}

fn path_of_url(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("jdbc:").unwrap_or(url);
    let path = rest.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

fn split_key(key: &str) -> Vec<String> {
    let columns = key.split(',').map(str::trim).filter(|column| !column.is_empty());
    columns.map(str::to_owned).collect()
}
