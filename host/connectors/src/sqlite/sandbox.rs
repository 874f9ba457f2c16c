//! What a handler's statement may do: change the one database that its job grants, and nothing
//! else.
//!
//! SQLite asks an authorizer for each thing that a statement would do, before it does any. What
//! would reach another file, the settings of the connection, the host's own table of marks or the
//! host's own writes is refused there, by name. Limits keep a statement small, a cap on its memory
//! keeps the process alive, and the statement ends soon after nobody waits for it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, params};
use tidemill_core::Abandoned;

use super::{BUSY_TIMEOUT, MARKS};

/// Memory that SQLite may have in the whole process. The caches of its connections take two
/// megabytes each; the rest is for the values of one statement.
const HEAP_BYTES_MAX: i64 = 512 << 20;

/// Bytes of a value or a row. A function of SQLite over two texts of this length takes half a
/// minute at worst, and cannot be interrupted; larger values are for `write`.
const VALUE_BYTES_MAX: i32 = 1 << 20;

/// Bytes of a statement, which the plugin's side bounds as well.
pub(super) const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// What a connection for handlers may do less of than SQLite allows by default.
const LIMITS: [(Limit, i32); 7] = [
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, STATEMENT_BYTES_MAX as i32),
    (Limit::SQLITE_LIMIT_VDBE_OP, 1_000_000),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 32),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Steps of SQLite's machine between two looks at whether somebody still waits: some microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;

/// How long a locked database is left alone between two tries.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Kinds of virtual tables that keep their rows in the database itself.
const VIRTUAL_TABLES: [&str; 5] = ["fts3", "fts4", "fts5", "rtree", "rtree_i32"];

/// Functions that reach out of the database.
const FUNCTIONS: [&str; 5] = ["load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"];

/// The bounds around one connection.
pub(super) struct Sandbox {
    refusals: Arc<Mutex<Refusals>>,
}

#[derive(Default)]
struct Refusals {
    /// The statement at work is a handler's, and not the host's own.
    is_guest: bool,
    /// What the handler's statement was refused.
    refused: Option<String>,
}

impl Sandbox {
    /// Puts bounds around what `connection` runs for handlers.
    pub(super) fn around(connection: &mut Connection) -> rusqlite::Result<Sandbox> {
        for (limit, value) in LIMITS {
            connection.set_limit(limit, value)?;
        }
        // For the process; SQLite has no such cap for a connection.
        connection.pragma_update_and_check(None, "hard_heap_limit", HEAP_BYTES_MAX, |_| Ok(()))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false)?;
        let refusals = Arc::<Mutex<Refusals>>::default();
        let asked = Arc::clone(&refusals);
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            let mut refusals = asked.lock();
            match refusal(&context).filter(|_| refusals.is_guest) {
                None => Authorization::Allow,
                Some(reason) => {
                    refusals.refused.get_or_insert(reason);
                    Authorization::Deny
                }
            }
        }))?;
        Ok(Sandbox { refusals })
    }

    /// Runs what a handler wrote. The host's own statements stay outside.
    pub(super) fn guest<T>(&self, work: impl FnOnce() -> T) -> T {
        self.refusals.lock().is_guest = true;
        let done = work();
        self.refusals.lock().is_guest = false;
        done
    }

    /// Why the last statement of a handler was refused, if it was.
    pub(super) fn refused(&self) -> Option<String> {
        self.refusals.lock().refused.take()
    }
}

/// Lets statements end, and waits for locks, only while somebody waits for them.
pub(super) fn while_wanted(
    connection: &mut Connection,
    abandoned: &Abandoned,
) -> rusqlite::Result<()> {
    let wanted = abandoned.clone();
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || wanted.is_set()))?;
    let wanted = abandoned.clone();
    let until = Instant::now() + BUSY_TIMEOUT;
    connection.busy_handler(Some(move |_| {
        thread::sleep(BUSY_PAUSE);
        !wanted.is_set() && Instant::now() < until
    }))
}

/// The host's table of marks as the database has it, with what hangs on it: a statement has to
/// leave it so.
pub(super) fn marks_table(connection: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    const QUERY: &str = "SELECT type || ' ' || name || ' ' || coalesce(sql, ''), rootpage \
                         FROM sqlite_master WHERE tbl_name = ?1 COLLATE NOCASE ORDER BY 1";
    let mut query = connection.prepare_cached(QUERY)?;
    let rows = query.query_map(params![MARKS], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Why a handler may not do this; `None` if it may.
fn refusal(context: &AuthContext<'_>) -> Option<String> {
    let one_database = "a target is one database, and a statement stays in it";
    let marks = || format!("the table {MARKS} is the host's: it says which batches were delivered");
    match context.action {
        AuthAction::Attach { filename } => {
            Some(format!("ATTACH of \"{filename}\": {one_database} (VACUUM attaches, too)"))
        }
        AuthAction::Detach { database_name } => {
            Some(format!("DETACH of \"{database_name}\": {one_database}"))
        }
        // Virtual tables ask for these themselves.
        AuthAction::Pragma { pragma_name: "page_size" | "data_version", pragma_value: None } => {
            None
        }
        AuthAction::Pragma { pragma_name, .. } => Some(format!(
            "PRAGMA {pragma_name}: the settings of the connection are the host's; set what stays \
             with the database where it is made"
        )),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Some(
            "a transaction of its own: each call is one, over all rows of its parameters"
                .to_owned(),
        ),
        AuthAction::CreateTrigger { trigger_name, .. }
        | AuthAction::CreateTempTrigger { trigger_name, .. } => Some(format!(
            "CREATE TRIGGER {trigger_name}: it would run in the host's own writes, too; make it \
             where the database is made"
        )),
        AuthAction::Function { function_name }
            if FUNCTIONS.iter().any(|known| function_name.eq_ignore_ascii_case(known)) =>
        {
            Some(format!("the function {function_name}: {one_database}"))
        }
        AuthAction::CreateVtable { module_name, .. }
            if !VIRTUAL_TABLES.iter().any(|known| module_name.eq_ignore_ascii_case(known)) =>
        {
            Some(format!(
                "a virtual table of the kind {module_name}: {one_database}; the kinds that keep \
                 their rows in it are {}",
                VIRTUAL_TABLES.join(", ")
            ))
        }
        AuthAction::Unknown { code, .. } => {
            Some(format!("an action that this host does not know (number {code})"))
        }
        action => {
            table_of(action).filter(|table| table.eq_ignore_ascii_case(MARKS)).map(|_| marks())
        }
    }
}

/// The table that an action is about.
fn table_of(action: AuthAction<'_>) -> Option<&str> {
    match action {
        AuthAction::CreateIndex { table_name, .. }
        | AuthAction::CreateTable { table_name }
        | AuthAction::CreateTempIndex { table_name, .. }
        | AuthAction::CreateTempTable { table_name }
        | AuthAction::Delete { table_name }
        | AuthAction::DropIndex { table_name, .. }
        | AuthAction::DropTable { table_name }
        | AuthAction::DropTempIndex { table_name, .. }
        | AuthAction::DropTempTable { table_name }
        | AuthAction::DropTempTrigger { table_name, .. }
        | AuthAction::DropTrigger { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Read { table_name, .. }
        | AuthAction::Update { table_name, .. }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::Analyze { table_name }
        | AuthAction::CreateVtable { table_name, .. }
        | AuthAction::DropVtable { table_name, .. }
        | AuthAction::CreateView { view_name: table_name }
        | AuthAction::CreateTempView { view_name: table_name }
        | AuthAction::DropView { view_name: table_name }
        | AuthAction::DropTempView { view_name: table_name } => Some(table_name),
        _ => None,
    }
}
