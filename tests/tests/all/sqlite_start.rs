//! A start on a SQLite database that another process has open, or whose last writer was killed:
//! what is in its log or journal counts.

use std::path::Path;

use rusqlite::Connection;
use tidemill_tests::Workbench;

const JOB: &str = r#"
name = "numbers"
output_mode = "append"
trigger = { available_now = true }
[source.s]
format = "json"
path = "input"
schema = "n BIGINT"
[sink]
format = "sqlite"
path = "out.db"
options = { dbtable = "t" }
"#;

fn bench() -> Workbench {
    let bench = Workbench::new();
    bench.write("job.toml", JOB);
    bench.write_input("input/1.json", 1, "{\"n\":1}\n");
    bench
}

/// A database of many pages: what is read of it without its log does not fit together.
fn fill(database: &Connection) {
    database
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS noise (k INTEGER PRIMARY KEY, v TEXT);
             WITH RECURSIVE k(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM k WHERE k < 3000)
             INSERT OR REPLACE INTO noise SELECT k, hex(randomblob(100)) FROM k;",
        )
        .unwrap();
}

fn starts(bench: &Workbench) {
    bench.run(&["check", "job.toml"]).expect_success();
    bench.run(&["run", "job.toml"]).expect_success();
    let database = Connection::open(bench.path("out.db")).unwrap();
    let rows: i64 = database.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    let found: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
}

#[test]
fn beside_a_writer_whose_log_is_not_folded_into_the_database() {
    let bench = bench();
    let writer = Connection::open(bench.path("out.db")).unwrap();
    writer.pragma_update(None, "journal_mode", "WAL").unwrap();
    fill(&writer);
    writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    // The database file is as long as before, and its pages are of two times.
    writer.execute_batch("DELETE FROM noise WHERE k % 3 <> 0; CREATE TABLE t (n INTEGER)").unwrap();
    fill(&writer);
    starts(&bench);
    drop(writer);
}

#[test]
fn the_columns_of_a_table_that_is_in_the_log_alone_are_compared() {
    let bench = bench();
    let writer = Connection::open(bench.path("out.db")).unwrap();
    writer.pragma_update(None, "journal_mode", "WAL").unwrap();
    writer.execute_batch("CREATE TABLE t (other INTEGER)").unwrap();
    bench.run(&["check", "job.toml"]).expect_failure(2, &["out.db", "no column named n"]);
    drop(writer);
}

/// Copies a database as a kill would leave it, with what lies beside it.
fn copy_as_killed(from: &Path, bench: &Workbench) {
    for beside in ["", "-wal", "-journal"] {
        let from = from.with_file_name(format!("writer.db{beside}"));
        if from.exists() {
            std::fs::copy(from, bench.path(&format!("out.db{beside}"))).unwrap();
        }
    }
}

#[test]
fn after_a_kill_that_left_a_journal_to_be_played_back() {
    let bench = bench();
    let path = bench.path("writer.db");
    let writer = Connection::open(&path).unwrap();
    fill(&writer);
    // So small a cache that the transaction writes to the file before it commits.
    writer
        .execute_batch("PRAGMA cache_size = 5; BEGIN; DELETE FROM noise WHERE k % 2 = 0")
        .unwrap();
    fill(&writer);
    copy_as_killed(&path, &bench);
    assert!(bench.path("out.db-journal").exists());
    starts(&bench);
}

#[test]
fn after_a_kill_that_left_a_log_to_be_folded() {
    let bench = bench();
    let path = bench.path("writer.db");
    let writer = Connection::open(&path).unwrap();
    writer.pragma_update(None, "journal_mode", "WAL").unwrap();
    writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    fill(&writer);
    copy_as_killed(&path, &bench);
    assert!(bench.path("out.db-wal").metadata().unwrap().len() > 0);
    starts(&bench);
}

#[test]
fn a_check_leaves_nothing_beside_the_database() {
    let bench = bench();
    bench.run(&["run", "job.toml"]).expect_success();
    let before = bench.names("");
    bench.run(&["check", "job.toml"]).expect_success();
    assert_eq!(bench.names(""), before);
}
