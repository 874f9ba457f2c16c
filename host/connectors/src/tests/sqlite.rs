//! What is particular to SQLite.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use rusqlite::Connection;
use rusqlite::types::Value;
use tidemill_codec::{JsonDecoder, JsonOptions};
use tidemill_core::{Abandoned, OutputMode, Sink};
use tidemill_types::parse_schema;

use super::{context, sink_config, sink_refusal, temp};
use crate::contract::delivery;
use crate::{SinkConfig, plan_sink};

fn config(path: &Path, mode: OutputMode, given: &[(&str, &str)]) -> SinkConfig {
    SinkConfig {
        path: Some(path.to_owned()),
        output_mode: mode,
        ..sink_config("sqlite", &[&[("dbtable", "t")], given].concat())
    }
}

fn deliver(sink: &mut dyn Sink, batch: u64, rows: &RecordBatch) {
    sink.begin(delivery(batch, 2, 1)).unwrap();
    sink.write(rows).unwrap();
    sink.prepare().unwrap();
    sink.commit().unwrap();
}

fn json_rows(schema: &str, lines: &str) -> RecordBatch {
    let schema = parse_schema(schema).unwrap();
    let mut decoder = JsonDecoder::new(schema, JsonOptions::default()).unwrap();
    decoder.decode_lines(lines.as_bytes()).unwrap();
    decoder.finish()
}

fn select(path: &PathBuf, query: &str) -> Vec<Vec<Value>> {
    let connection = Connection::open(path).unwrap();
    let mut query = connection.prepare(query).unwrap();
    let columns = query.column_count();
    let rows = query.query_map([], |row| (0..columns).map(|i| row.get(i)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn every_type_has_its_column() {
    let dir = temp();
    let path = dir.path().join("a.db");
    let schema = "b BOOLEAN, i INT, d DOUBLE, m DECIMAL(20,2), s STRING, day DATE, at TIMESTAMP, x BINARY, l ARRAY<INT>, o STRUCT<p: INT, q: STRING>";
    let rows = json_rows(
        schema,
        r#"{"b":true,"i":7,"d":1.5,"m":123456789012345678.90,"s":"q","day":"2026-01-31","at":"2026-01-31T09:30:00Z","x":"AQI=","l":[1,2],"o":{"p":1}}
{}"#,
    );
    let mut sink =
        plan_sink(config(&path, OutputMode::Append, &[])).unwrap().open(&context()).unwrap();
    deliver(&mut *sink, 0, &rows);
    let found = select(&path, "SELECT * FROM t");
    assert_eq!(
        found[0],
        [
            Value::Integer(1),
            Value::Integer(7),
            Value::Real(1.5),
            text("123456789012345678.90"),
            text("q"),
            text("2026-01-31"),
            text("2026-01-31T09:30:00.000Z"),
            Value::Blob(vec![1, 2]),
            text("[1,2]"),
            text("{\"p\":1,\"q\":null}"),
        ]
    );
    assert!(found[1].iter().all(|value| *value == Value::Null));
    let mark = select(&path, "SELECT * FROM tidemill_marks");
    let query = text(&context().query_id.0);
    let spec = delivery(0, 2, 1).spec;
    let (digest, spec) = (text(&spec.digest().to_string()), text(spec.text()));
    let counts = [0, 2, 1].map(Value::Integer);
    assert_eq!(mark, [[vec![query, text("out")], counts.to_vec(), vec![digest, spec]].concat()]);
}

#[test]
fn a_null_in_the_key_is_a_key_like_any_other() {
    let dir = temp();
    let path = dir.path().join("a.db");
    let given = [("key", "k, h")];
    for (schema, column) in [("k STRING, h INT, n INT", "n"), ("k STRING, h INT", "h")] {
        let _ = std::fs::remove_file(&path);
        let mut sink =
            plan_sink(config(&path, OutputMode::Update, &given)).unwrap().open(&context()).unwrap();
        deliver(
            &mut *sink,
            0,
            &json_rows(schema, "{\"h\":1,\"n\":1}\n{\"h\":1,\"n\":2}\n{\"h\":2,\"n\":3}"),
        );
        deliver(
            &mut *sink,
            1,
            &json_rows(schema, "{\"h\":1,\"n\":4}\n{\"k\":\"a\",\"h\":1,\"n\":5}"),
        );
        let found = select(&path, &format!("SELECT {column} FROM t ORDER BY k, h"));
        let expected = if column == "n" { [4, 3, 5] } else { [1, 2, 1] };
        assert_eq!(found, expected.map(|n| vec![Value::Integer(n)]));
    }
}

#[test]
fn what_a_handler_executes_runs_once_a_row() {
    let dir = temp();
    let path = dir.path().join("a.db");
    let planned = plan_sink(config(&path, OutputMode::Append, &[])).unwrap();
    let mut target = planned.open_sql().unwrap().unwrap();
    let wanted = Abandoned::default();
    assert_eq!(
        target.execute("CREATE TABLE own (k TEXT UNIQUE, n INTEGER)", None, &wanted).unwrap(),
        0
    );
    let rows = |keys: [&str; 2]| {
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values(keys));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        RecordBatch::try_from_iter([("k", keys), ("n", numbers)]).unwrap()
    };
    let insert = "INSERT INTO own VALUES (?1, ?2)";
    assert_eq!(target.execute(insert, Some(&rows(["a", "b"])), &wanted).unwrap(), 2);
    assert_eq!(target.execute("UPDATE own SET n = n + 1", None, &wanted).unwrap(), 2);
    // All or none: "c" is not there afterwards.
    let error = target.execute(insert, Some(&rows(["c", "a"])), &wanted).unwrap_err();
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("could not run the statement INSERT INTO own"), "{error}");
    assert_eq!(select(&path, "SELECT sum(n) FROM own"), [[Value::Integer(5)]]);
    assert!(plan_sink(sink_config("noop", &[])).unwrap().open_sql().is_none());
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_created() {
    let dir = temp();
    let path = dir.path().join("a.db");
    assert_eq!(
        sink_refusal(config(&path, OutputMode::Update, &[])),
        "sink \"out\" has no key; output mode update replaces rows by their key; write options = { key = \"column, …\" }"
    );
    let missing = SinkConfig {
        schema: Some(parse_schema("a INT, b INT").unwrap()),
        ..config(&path, OutputMode::Update, &[("key", "a, c")])
    };
    assert_eq!(
        sink_refusal(missing),
        "sink \"out\": the key column \"c\" is none of the rows' columns, which are a, b; select it, or name the key in the options"
    );
    let no_table = SinkConfig { path: Some(path.clone()), ..sink_config("sqlite", &[]) };
    assert_eq!(
        sink_refusal(no_table),
        "sink \"out\" has no option dbtable; write options = { dbtable = \"some_table\" }"
    );
    let nowhere = dir.path().join("no/where/a.db");
    let planned = plan_sink(config(&nowhere, OutputMode::Append, &[])).unwrap();
    assert!(planned.check().unwrap_err().to_string().contains("does not exist; create it first"));
    plan_sink(config(&path, OutputMode::Append, &[])).unwrap().check().unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_table_without_the_key_is_refused_by_the_check() {
    let dir = temp();
    let path = dir.path().join("a.db");
    Connection::open(&path).unwrap().execute("CREATE TABLE t (a INTEGER, b INTEGER)", []).unwrap();
    let with_key = |key| SinkConfig {
        schema: Some(parse_schema("a INT, b INT").unwrap()),
        ..config(&path, OutputMode::Update, &[("key", key)])
    };
    let error = plan_sink(with_key("a")).unwrap().check().unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("does not match any PRIMARY KEY or UNIQUE constraint"), "{cause}");
    Connection::open(&path).unwrap().execute("CREATE UNIQUE INDEX i ON t (a)", []).unwrap();
    plan_sink(with_key("a")).unwrap().check().unwrap();
}

#[test]
fn a_database_is_found_by_url_too() {
    let dir = temp();
    let path = dir.path().join("a.db");
    for url in [format!("sqlite:{}", path.display()), format!("jdbc:sqlite:{}", path.display())] {
        let config = sink_config("sqlite", &[("url", &url), ("dbtable", "t")]);
        plan_sink(config).unwrap().open(&context()).unwrap();
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
    }
}

/// A target over a database that holds the table `own` and a mark.
fn target(dir: &Path) -> (PathBuf, Box<dyn crate::SqlTarget>) {
    let path = dir.join("a.db");
    let planned = plan_sink(config(&path, OutputMode::Append, &[])).unwrap();
    let mut sink = planned.open(&context()).unwrap();
    deliver(&mut *sink, 0, &json_rows("n INT", "{\"n\":1}"));
    Connection::open(&path).unwrap().execute("CREATE TABLE own (n)", []).unwrap();
    (path, planned.open_sql().unwrap().unwrap())
}

fn refused(target: &mut dyn crate::SqlTarget, statement: &str) -> String {
    let error = target.execute(statement, None, &Abandoned::default()).unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn a_statement_stays_in_its_database() {
    let dir = temp();
    let other = dir.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE secret (x)").unwrap();
    let before = std::fs::read(&other).unwrap();
    let (path, mut target) = target(dir.path());
    let new = dir.path().join("new.db");
    let (other, new) = (other.display(), new.display());
    let cases = [
        (format!("ATTACH '{other}' AS o"), "ATTACH of"),
        (format!("ATTACH 'file:{other}?mode=ro' AS o"), "ATTACH of"),
        (format!("ATTACH '{new}' AS o"), "a target is one database"),
        ("DETACH main".to_owned(), "DETACH of"),
        (format!("VACUUM INTO '{new}'"), "VACUUM"),
        ("VACUUM".to_owned(), "VACUUM"),
        ("SELECT load_extension('x.so')".to_owned(), "the function load_extension"),
        ("INSERT INTO own SELECT load_extension('x')".to_owned(), "the function load_extension"),
        ("SELECT fts3_tokenizer('x', x'00')".to_owned(), "the function fts3_tokenizer"),
        (format!("SELECT readfile('{other}')"), "no such function"),
        (format!("CREATE VIRTUAL TABLE c USING csv(filename='{other}')"), "the kind csv"),
        ("PRAGMA writable_schema = ON".to_owned(), "PRAGMA writable_schema"),
        ("PRAGMA journal_mode = OFF".to_owned(), "PRAGMA journal_mode"),
        ("PRAGMA synchronous = OFF".to_owned(), "PRAGMA synchronous"),
        ("PRAGMA temp_store_directory = '/'".to_owned(), "PRAGMA temp_store_directory"),
        ("UPDATE sqlite_master SET sql = ''".to_owned(), "sqlite_master"),
        ("BEGIN IMMEDIATE".to_owned(), "a transaction of its own"),
        ("COMMIT".to_owned(), "a transaction of its own"),
        ("SAVEPOINT s".to_owned(), "a transaction of its own"),
        ("INSERT INTO own VALUES (1); DROP TABLE own".to_owned(), "Multiple statements"),
    ];
    for (statement, told) in &cases {
        let error = refused(&mut *target, statement);
        assert!(error.contains(told), "{statement}: {error}");
    }
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.retain(|name| !name.to_string_lossy().contains("a.db"));
    assert_eq!(names, ["other.db"]);
    assert_eq!(std::fs::read(dir.path().join("other.db")).unwrap(), before);
    assert_eq!(select(&path, "SELECT count(*) FROM own"), [[Value::Integer(0)]]);
    // What stays in it is taken.
    let wanted = Abandoned::default();
    for statement in [
        "CREATE TABLE more AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c \
         WHERE n < 9) SELECT n FROM c",
        "CREATE INDEX i ON more (n)",
        "ALTER TABLE more RENAME TO others",
        "CREATE VIRTUAL TABLE words USING fts5(word)",
        "INSERT INTO words VALUES ('a word')",
        "DROP TABLE others",
    ] {
        target.execute(statement, None, &wanted).unwrap();
    }
}

#[test]
fn the_table_of_marks_is_the_hosts() {
    let dir = temp();
    let (path, mut target) = target(dir.path());
    let mark = select(&path, "SELECT * FROM tidemill_marks");
    for statement in [
        "DELETE FROM tidemill_marks",
        "UPDATE Tidemill_Marks SET batch = 99",
        "INSERT OR REPLACE INTO main.tidemill_marks VALUES ('x', 'x', 99, 0, 1)",
        "DROP TABLE tidemill_marks",
        "ALTER TABLE tidemill_marks RENAME TO x",
        "ALTER TABLE own RENAME TO tidemill_marks",
        "CREATE TABLE stolen AS SELECT * FROM tidemill_marks",
        "CREATE UNIQUE INDEX i ON tidemill_marks (target)",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM tidemill_marks; END",
        "CREATE TEMP TRIGGER g AFTER INSERT ON own BEGIN DELETE FROM tidemill_marks; END",
    ] {
        let error = refused(&mut *target, statement);
        let told = ["is the host's", "CREATE TRIGGER", "there is already another table"];
        assert!(told.iter().any(|told| error.contains(told)), "{statement}: {error}");
    }
    assert_eq!(select(&path, "SELECT * FROM tidemill_marks"), mark);
    // Nor can a database that has none be given one.
    let fresh = dir.path().join("fresh.db");
    let planned = plan_sink(config(&fresh, OutputMode::Append, &[])).unwrap();
    let mut target = planned.open_sql().unwrap().unwrap();
    target.execute("CREATE TABLE own (n)", None, &Abandoned::default()).unwrap();
    for statement in [
        "CREATE TABLE tidemill_marks (n)",
        "CREATE VIEW tidemill_marks AS SELECT 1",
        "ALTER TABLE own RENAME TO tidemill_marks",
    ] {
        let error = refused(&mut *target, statement);
        assert!(error.contains("is the host's"), "{statement}: {error}");
    }
}

#[test]
fn a_statement_is_bounded() {
    let dir = temp();
    let (_, mut target) = target(dir.path());
    let error = refused(&mut *target, "INSERT INTO own SELECT zeroblob(100000000)");
    assert!(error.contains("too big"), "{error}");
    // A gigabyte, of values that are each small enough.
    let values = (0..1_000).map(|n| format!("hex(randomblob(500000)) AS c{n}"));
    let values = values.collect::<Vec<_>>().join(", ");
    let error = refused(&mut *target, &format!("CREATE TABLE wide AS SELECT {values}"));
    assert!(error.contains("out of memory"), "{error}");
    let error = refused(&mut *target, &format!("SELECT '{}'", "x".repeat(2 << 20)));
    assert!(error.contains("too big") && error.len() < 2_000, "{error}");
    assert!(error.contains("2097161 bytes") && error.contains("limit is 1048576"), "{error}");
}

#[test]
fn an_error_does_not_repeat_a_long_statement() {
    let dir = temp();
    let (_, mut target) = target(dir.path());
    let long = "x".repeat(1_000_000);
    for (statement, told) in [
        (format!("SELECT '{long}' FROM own WHERE"), "incomplete input"),
        (format!("SELECT {long} FROM own"), "no such column: xxx"),
        (format!("INSERT INTO \"{long}\" VALUES (1)"), "no such table: xxx"),
        (format!("PRAGMA {long}"), ""),
        (
            format!("CREATE TRIGGER {long} AFTER INSERT ON own BEGIN SELECT 1; END"),
            "CREATE TRIGGER",
        ),
        (format!("ATTACH '{long}' AS o"), "ATTACH"),
    ] {
        if let Err(error) = target.execute(&statement, None, &Abandoned::default()) {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let error = format!("{error}: {}", source.unwrap_or_default());
            assert!(error.contains(told), "{error}");
            assert!(error.len() < 5_000, "{} bytes: {}", error.len(), &error[..200]);
        } else {
            panic!("{}", &statement[..20]);
        }
    }
}

/// Abandons a call once its statement holds the database.
fn abandon_when_locked(path: &Path) -> (Abandoned, std::thread::JoinHandle<()>) {
    let abandoned = Abandoned::default();
    let (path, theirs) = (path.to_owned(), abandoned.clone());
    let thread = std::thread::spawn(move || {
        let other = Connection::open(path).unwrap();
        other.busy_timeout(std::time::Duration::ZERO).unwrap();
        while other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() {
            std::thread::yield_now();
        }
        theirs.set();
    });
    (abandoned, thread)
}

#[test]
fn a_statement_that_nobody_waits_for_ends_and_changes_nothing() {
    let dir = temp();
    let (path, mut target) = target(dir.path());
    let endless = "INSERT INTO own WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
                   SELECT n FROM c";
    let nulls: ArrayRef = Arc::new(arrow::array::NullArray::new(1 << 26));
    let nulls = RecordBatch::try_from_iter([("n", nulls)]).unwrap();
    for (statement, rows) in [(endless, None), ("INSERT INTO own VALUES (?1)", Some(&nulls))] {
        let (abandoned, thread) = abandon_when_locked(&path);
        let error = target.execute(statement, rows, &abandoned).unwrap_err();
        assert!(error.to_string().contains("as its call had ended"), "{error}");
        thread.join().unwrap();
        // The lock is free, and the rows are gone.
        Connection::open(&path).unwrap().execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
        assert_eq!(select(&path, "SELECT count(*) FROM own"), [[Value::Integer(0)]]);
    }
}

#[test]
fn a_statement_waits_for_a_lock_only_while_somebody_waits_for_it() {
    let dir = temp();
    let (path, mut target) = target(dir.path());
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let abandoned = Abandoned::default();
    abandoned.set();
    let error = target.execute("INSERT INTO own VALUES (1)", None, &abandoned).unwrap_err();
    assert!(error.to_string().contains("as its call had ended"), "{error}");
}
