//! Copies that are put back, and places that lost what they held: log and place are compared at
//! each start. Either every row is there once in the end, or the start is refused and nothing is
//! touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tidemill_tests::{Finished, Workbench, write_orders};

use crate::orders;

const JOB: &str = r#"
name = "numbers"
output_mode = "append"
checkpoint = "state"
trigger = { available_now = true }
[source.s]
format = "json"
path = "input"
schema = "n BIGINT"
options = { maxFilesPerTrigger = 1 }
[sink]
format = "sqlite"
path = "out.db"
options = { dbtable = "t" }
"#;

/// Sums over all batches: what a batch that runs twice, or not at all, would show in.
const SUMS: &str = r#"
name = "numbers"
output_mode = "update"
checkpoint = "state"
trigger = { available_now = true }
[source.s]
format = "json"
path = "input"
schema = "n BIGINT"
options = { maxFilesPerTrigger = 1 }
[[step]]
name = "sums"
sql = "SELECT n % 2 AS odd, sum(n) AS n FROM s GROUP BY n % 2"
[sink]
format = "sqlite"
path = "out.db"
options = { dbtable = "t", key = "odd" }
"#;

fn bench(job: &str) -> Workbench {
    let bench = Workbench::new();
    bench.write("job.toml", job);
    bench
}

/// Adds the files with these numbers, each a batch of one row.
fn add(bench: &Workbench, numbers: std::ops::RangeInclusive<i64>) {
    for n in numbers {
        bench.write_input(&format!("input/{n}.json"), n, format!("{{\"n\":{n}}}\n"));
    }
}

fn run(bench: &Workbench) -> Finished {
    bench.run(&["run", "job.toml"])
}

/// Files, and runs over them.
fn ran(bench: &Workbench, numbers: std::ops::RangeInclusive<i64>) {
    add(bench, numbers);
    run(bench).expect_success();
}

/// Neither the checkpoint nor the place is touched by who finds that they do not fit.
#[track_caller]
fn refused(bench: &Workbench, words: &[&str]) {
    let before = contents(&bench.path(""));
    for verb in ["check", "run"] {
        bench.run(&[verb, "job.toml"]).expect_failure(2, words);
        assert!(contents(&bench.path("")) == before, "{verb} changed what is there");
    }
}

/// All files and what is in them, but for those that only say who is at work.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let counts = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name != "lock" && !name.ends_with("-shm") && !name.ends_with("-wal")
    };
    let files = files.filter(|entry| entry.file_type().is_file() && counts(entry.path()));
    files.map(|entry| (entry.path().to_owned(), std::fs::read(entry.path()).unwrap())).collect()
}

fn numbers(bench: &Workbench) -> Vec<i64> {
    let database = Connection::open(bench.path("out.db")).unwrap();
    let mut query = database.prepare("SELECT n FROM t ORDER BY n").unwrap();
    let rows = query.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn sql(bench: &Workbench, statement: &str) {
    Connection::open(bench.path("out.db")).unwrap().execute_batch(statement).unwrap();
}

/// Copies a file or a directory over what is there.
fn copy(bench: &Workbench, from: &str, to: &str) {
    remove(&bench.path(to));
    copy_all(&bench.path(from), &bench.path(to));
}

fn remove(path: &Path) {
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap();
    } else if path.exists() {
        std::fs::remove_file(path).unwrap();
    }
}

fn copy_all(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        copy_all(&from.join(&name), &to.join(&name));
    }
}

#[test]
fn an_older_checkpoint_beside_a_newer_sink_is_refused() {
    let bench = bench(JOB);
    ran(&bench, 1..=2);
    copy(&bench, "state", "copy");
    ran(&bench, 3..=4);
    copy(&bench, "state", "newer");
    copy(&bench, "copy", "state");
    add(&bench, 5..=7);
    let words = ["out.db", "batches up to 3", "knows of batches up to 1 only", "Put back"];
    refused(&bench, &words);
    assert_eq!(numbers(&bench), [1, 2, 3, 4]);
    // What the message says to do.
    copy(&bench, "newer", "state");
    run(&bench).expect_success();
    assert_eq!(numbers(&bench), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn an_older_checkpoint_beside_newer_files_is_refused() {
    let files = JOB.replace(
        "\"sqlite\"\npath = \"out.db\"\noptions = { dbtable = \"t\" }",
        "\"json\"\npath = \"out\"",
    );
    assert!(!files.contains("sqlite"));
    let bench = bench(&files);
    ran(&bench, 1..=2);
    copy(&bench, "state", "copy");
    ran(&bench, 3..=4);
    copy(&bench, "copy", "state");
    add(&bench, 5..=7);
    let before = bench.names("out");
    refused(&bench, &["/out]", "batches up to 3", "knows of batches up to 1 only"]);
    assert_eq!(bench.names("out"), before);
}

#[test]
fn a_checkpoint_that_is_one_batch_old_takes_the_batch_from_the_place() {
    for job in [JOB, SUMS] {
        let bench = bench(job);
        ran(&bench, 1..=2);
        copy(&bench, "state", "copy");
        ran(&bench, 3..=3);
        copy(&bench, "copy", "state");
        add(&bench, 4..=5);
        // A batch that is made anew would take all three files.
        bench.write("job.toml", job.replace("maxFilesPerTrigger = 1", "maxFilesPerTrigger = 9"));
        let again = bench.run(&["run", "job.toml", "--progress", "json"]).expect_success();
        assert!(again.stderr.contains("batch 2 is in SqliteSink["), "{}", again.stderr);
        let read: Vec<_> = again.progress().iter().map(|p| p["numInputRows"].clone()).collect();
        assert_eq!(read, [1, 2], "the third file is a batch of its own, as it was");
        let expected: &[i64] = if job == JOB { &[1, 2, 3, 4, 5] } else { &[6, 9] };
        assert_eq!(numbers(&bench), expected);
    }
}

#[test]
fn a_place_with_another_batch_of_the_same_number_is_refused() {
    let bench = bench(JOB);
    ran(&bench, 1..=1);
    copy(&bench, "state", "copy");
    copy(&bench, "out.db", "copy.db");
    ran(&bench, 2..=2);
    copy(&bench, "out.db", "other.db");
    // The same again from the copies, at another time.
    copy(&bench, "copy", "state");
    copy(&bench, "copy.db", "out.db");
    ran(&bench, 2..=2);
    copy(&bench, "other.db", "out.db");
    add(&bench, 3..=3);
    refused(&bench, &["out.db", "another batch 1", "not of one piece"]);
    assert_eq!(numbers(&bench), [1, 2]);
    // The copy, which knows of batch 0 alone, takes what the place says of batch 1.
    copy(&bench, "copy", "state");
    run(&bench).expect_success();
    assert_eq!(numbers(&bench), [1, 2, 3]);
}

#[test]
fn a_database_that_lost_rows_or_its_mark_is_refused() {
    let bench = bench(JOB);
    ran(&bench, 1..=2);
    copy(&bench, "out.db", "older.db");
    ran(&bench, 3..=3);
    copy(&bench, "out.db", "whole.db");
    add(&bench, 4..=4);
    let none = "holds none of this query's batches";
    let damages: [(&str, &dyn Fn(), &str); 11] = [
        ("deleted", &|| remove(&bench.path("out.db")), none),
        ("emptied", &|| drop(bench.write("out.db", "")), none),
        ("older", &|| copy(&bench, "older.db", "out.db"), "batches up to 1 only"),
        ("no table", &|| sql(&bench, "DROP TABLE t"), "its table was removed"),
        ("no mark", &|| sql(&bench, "DELETE FROM tidemill_marks"), none),
        ("no marks", &|| sql(&bench, "DROP TABLE tidemill_marks"), none),
        ("another's", &|| sql(&bench, "UPDATE tidemill_marks SET query_id = 'x'"), none),
        ("behind", &|| sql(&bench, "UPDATE tidemill_marks SET batch = 0"), "up to 0 only"),
        ("ahead", &|| sql(&bench, "UPDATE tidemill_marks SET batch = 9"), "batches up to 9"),
        ("a text", &|| sql(&bench, "UPDATE tidemill_marks SET batch = 'ten'"), "the mark"),
        ("negative", &|| sql(&bench, "UPDATE tidemill_marks SET batch = -1"), "the mark"),
    ];
    for (name, damage, words) in damages {
        println!("{name}");
        damage();
        refused(&bench, &["out.db", words]);
        copy(&bench, "whole.db", "out.db");
    }
    run(&bench).expect_success();
    assert_eq!(numbers(&bench), [1, 2, 3, 4]);
}

#[test]
fn folders_that_were_moved_together_are_compared_as_before() {
    let bench = bench(JOB);
    ran(&bench, 1..=2);
    let moved = Workbench::new();
    copy_all(&bench.path(""), &moved.path(""));
    remove(&moved.path("out.db"));
    // Files are known by their whole paths, as in Spark: in the other folder they would be new.
    [1, 2].iter().for_each(|n| remove(&moved.path(&format!("input/{n}.json"))));
    add(&moved, 3..=3);
    refused(&moved, &["out.db", "holds none of this query's batches"]);
    copy_all(&bench.path("out.db"), &moved.path("out.db"));
    run(&moved).expect_success();
    assert_eq!(numbers(&moved), [1, 2, 3]);
}

#[test]
fn another_table_that_the_job_names_begins_at_the_present_batch() {
    let bench = bench(JOB);
    ran(&bench, 1..=2);
    bench.write("job.toml", JOB.replace("dbtable = \"t\"", "dbtable = \"u\""));
    ran(&bench, 3..=3);
    sql(&bench, "DROP TABLE t; ALTER TABLE u RENAME TO t");
    assert_eq!(numbers(&bench), [3]);
    // From here on it is the place that must not lose anything.
    refused(&bench, &["out.db, u]", "its table was removed"]);
}

#[test]
fn a_dropped_table_of_a_complete_result_comes_back_with_the_next_batch() {
    let complete = SUMS.replace("\"update\"", "\"complete\"").replace(", key = \"odd\"", "");
    let bench = bench(&complete);
    ran(&bench, 1..=2);
    sql(&bench, "DROP TABLE t");
    ran(&bench, 3..=3);
    assert_eq!(numbers(&bench), [2, 4]);
}

/// The main job, whose handler writes to a target, with a batch for each file.
fn handler() -> Workbench {
    let bench = orders::bench();
    let job = orders::JOB
        .replace("[plugin.orders]", "[options]\nno_data_batches = false\n\n[plugin.orders]");
    bench.write("job.toml", job);
    bench
}

#[test]
fn the_mark_of_a_handlers_target_is_compared_too() {
    let undisturbed = handler();
    write_orders(&undisturbed, 0, 6, 100);
    run(&undisturbed).expect_success();
    let expected = orders::revenue(&undisturbed.path("revenue.db"));

    let bench = handler();
    let wrote = |first, files| {
        write_orders(&bench, first, files, 100);
        run(&bench).expect_success();
    };
    wrote(0, 2);
    copy(&bench, ".tidemill/orders", "copy");
    wrote(2, 1);
    copy(&bench, "revenue.db", "third.db");
    wrote(3, 1);
    copy(&bench, ".tidemill/orders", "newer");
    copy(&bench, "copy", ".tidemill/orders");
    write_orders(&bench, 4, 2, 100);
    refused(&bench, &["revenue.db", "batches up to 3", "knows of batches up to 1 only"]);
    // One batch behind: the target's mark says what it was.
    copy(&bench, "third.db", "revenue.db");
    let again = run(&bench).expect_success();
    assert!(again.stderr.contains("batch 2 is in SqliteSink["), "{}", again.stderr);
    assert_eq!(orders::revenue(&bench.path("revenue.db")), expected);

    remove(&bench.path("revenue.db"));
    refused(&bench, &["revenue.db", "holds none of this query's batches"]);
}

#[test]
fn a_check_beside_a_query_that_runs_is_not_misled() {
    let bench = bench(&JOB.replace("trigger = { available_now = true }\n", ""));
    add(&bench, 1..=60);
    let mut child = bench.spawn(&["run", "job.toml", "--progress", "json"]);
    let mut lines = crate::reload::lines(child.stderr.take().unwrap());
    lines.next().unwrap();
    for _ in 0..8 {
        bench.run(&["check", "job.toml"]).expect_success();
    }
    crate::reload::interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
