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

mod sandbox;
mod sink;
mod statements;
mod target;
mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tidemill_core::{ConnectorError, OutputMode, QueryId};

use crate::options::{Known, Options};
use crate::{ConfigError, SinkConfig};
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

/// How long another writer may hold the database before a batch gives up for now.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

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
        // Immutable: reads without making the files that SQLite keeps beside a database.
        let text = self.path.to_string_lossy();
        let encoded = percent_encoding::utf8_percent_encode(&text, URI_RESERVED);
        let uri = format!("file:{encoded}?immutable=1");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection =
            Connection::open_with_flags(uri, flags).map_err(|error| self.failed("open", error))?;
        let is_there =
            has_table(&connection, &self.table).map_err(|error| self.failed("read", error))?;
        if let (true, Some(schema)) = (is_there, &self.schema) {
            let statements = Statements::new(&self.table, schema, &self.key)?;
            connection.prepare(&statements.write).map_err(|error| self.failed("write", error))?;
        }
        Ok(())
    }

    pub(crate) fn open(&self, query_id: &QueryId) -> Result<SqliteSink, ConnectorError> {
        Ok(SqliteSink::new(self.clone(), query_id.clone(), self.connect()?))
    }

    pub(crate) fn open_sql(&self) -> Result<SqliteTarget, ConnectorError> {
        SqliteTarget::new(self.clone(), self.connect()?)
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
        connect().map_err(|error| self.failed("open", error))
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

/// What a URI may not have in its path as it is.
const URI_RESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b'%').add(b'?').add(b'#');

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
