//! A batch that fails at each start has a way out: it is skipped, or planned anew over the input as
//! it is now.

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
schema = "n STRING"
options = { maxFilesPerTrigger = 1 }
[[step]]
name = "numbers"
sql = "SELECT CAST(n AS BIGINT) AS n FROM s"
[sink]
format = "sqlite"
path = "out.db"
options = { dbtable = "t" }
"#;

const POISON: &str = "{\"n\":\"two\"}\n";

fn put(bench: &Workbench, n: i64, text: &str) {
    bench.write_input(&format!("input/{n}.json"), n, text);
}

/// Three files, of which the second cannot be computed, after a run over them with these arguments.
fn poisoned(arguments: &[&str]) -> Workbench {
    let bench = Workbench::new();
    bench.write("job.toml", JOB);
    put(&bench, 1, "{\"n\":\"1\"}\n");
    put(&bench, 2, POISON);
    put(&bench, 3, "{\"n\":\"3\"}\n");
    let batch = if arguments.is_empty() { 1 } else { 0 };
    let (failed, skip, replan) = (
        format!("batch {batch} failed"),
        format!("tidemill skip JOB --batch {batch}"),
        format!("--replan-batch {batch}"),
    );
    run(&bench, arguments).expect_failure(1, &[&failed, "'two'", &skip, &replan]);
    bench
}

fn run(bench: &Workbench, arguments: &[&str]) -> Finished {
    bench.run(&[&["run", "job.toml"], arguments].concat())
}

fn skip(bench: &Workbench, batch: &str) -> Finished {
    bench.run(&["skip", "job.toml", "--batch", batch])
}

fn numbers(bench: &Workbench) -> Vec<i64> {
    let database = Connection::open(bench.path("out.db")).unwrap();
    let mut query = database.prepare("SELECT n FROM t ORDER BY n").unwrap();
    let rows = query.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_batch_is_skipped_by_its_number_and_by_no_other() {
    let bench = poisoned(&[]);
    let words = ["is not there to", "the one that failed or is pending is batch 1"];
    skip(&bench, "0").expect_failure(2, &words);
    skip(&bench, "2").expect_failure(2, &words);
    run(&bench, &["--replan-batch", "2"]).expect_failure(2, &words);
    run(&bench, &[]).expect_failure(1, &["batch 1 failed"]);
    let skipped = skip(&bench, "1").expect_success();
    for word in ["batch 1 is skipped", "2.json", "in no place"] {
        assert!(skipped.stderr.contains(word), "{}", skipped.stderr);
    }
    assert_eq!(numbers(&bench), [1], "no other batch runs");
    let words =
        ["batch 1 is not there to skip", "no batch failed or is pending, the next one is 2"];
    skip(&bench, "1").expect_failure(2, &words);
    run(&bench, &[]).expect_success();
    assert_eq!(numbers(&bench), [1, 3]);
    put(&bench, 4, "{\"n\":\"4\"}\n");
    run(&bench, &[]).expect_success();
    assert_eq!(numbers(&bench), [1, 3, 4]);
}

#[test]
fn a_batch_over_mended_input_is_planned_anew() {
    let bench = poisoned(&[]);
    put(&bench, 2, "{\"n\":\"2\"}\n{\"n\":\"22\"}\n");
    // Not read up to its old length, and not in silence.
    let words = ["2.json", "when its batch was planned", "--replan-batch"];
    run(&bench, &[]).expect_failure(1, &words);
    let again = run(&bench, &["--replan-batch", "1"]).expect_success();
    assert!(again.stderr.contains("batch 1 is planned anew"), "{}", again.stderr);
    assert_eq!(numbers(&bench), [1, 2, 3, 22]);
    run(&bench, &[]).expect_success();
}

#[test]
fn a_batch_whose_input_was_removed_is_planned_anew() {
    let bench = poisoned(&[]);
    std::fs::remove_file(bench.path("input/2.json")).unwrap();
    run(&bench, &[]).expect_failure(1, &["2.json", "is gone", "--replan-batch"]);
    run(&bench, &["--replan-batch", "1"]).expect_success();
    assert_eq!(numbers(&bench), [1, 3]);
}

#[test]
fn a_batch_without_input_left_is_planned_anew_and_is_empty() {
    let bench = poisoned(&[]);
    std::fs::remove_file(bench.path("input/2.json")).unwrap();
    std::fs::remove_file(bench.path("input/3.json")).unwrap();
    run(&bench, &["--replan-batch", "1"]).expect_success();
    assert_eq!(numbers(&bench), [1]);
    put(&bench, 4, "{\"n\":\"4\"}\n");
    let next = run(&bench, &["--progress", "json"]).expect_success();
    assert_eq!(next.progress()[0]["batchId"], 2);
    assert_eq!(numbers(&bench), [1, 4]);
}

/// How to lose the poison alone, and none of the rows around it.
#[test]
fn a_large_batch_is_cut_until_the_poison_stands_alone() {
    let large = "source.s.options.maxFilesPerTrigger=9";
    let bench = poisoned(&["--set", large]);
    run(&bench, &["--replan-batch", "0"])
        .expect_failure(1, &["batch 1 failed", "skip JOB --batch 1"]);
    skip(&bench, "1").expect_success();
    run(&bench, &[]).expect_success();
    assert_eq!(numbers(&bench), [1, 3]);
}

#[test]
fn neither_way_out_is_taken_where_nothing_is_left() {
    let bench = Workbench::new();
    bench.write("job.toml", JOB);
    put(&bench, 1, "{\"n\":\"1\"}\n");
    let words = ["there is no checkpoint", "state"];
    skip(&bench, "0").expect_failure(2, &words);
    run(&bench, &["--replan-batch", "0"]).expect_failure(2, &words);
    assert!(!bench.path("state").exists());
    bench.write("other.toml", JOB.replace("\"numbers\"\noutput", "\"other\"\noutput"));
    bench
        .run(&["run", "job.toml", "other.toml", "--replan-batch", "0"])
        .expect_failure(2, &["for one query"]);
    // The verb has taken the flag's place.
    run(&bench, &["--skip-batch", "0"]).expect_failure(2, &["unexpected argument"]);
}

/// A handler that writes to one target and fails at the next.
fn half_delivered() -> Workbench {
    let bench = orders::bench();
    let job = orders::JOB.replace(
        "targets = [\"summary\"]",
        "targets = [\"summary\", \"screen\"]\nconfig = { screen = true }",
    ) + "\n[target.screen]\nformat = \"sqlite\"\npath = \"screen.db\"\noptions = { dbtable = \"seen\", key = \"window_start,category\" }\n";
    bench.write("job.toml", job);
    write_orders(&bench, 0, 1, 20);
    // It has no such columns.
    let summary = Connection::open(bench.path("revenue.db")).unwrap();
    summary.execute_batch("CREATE TABLE revenue (other TEXT)").unwrap();
    run(&bench, &[]).expect_failure(1, &["batch 0 failed", "revenue"]);
    bench
}

fn seen(bench: &Workbench) -> i64 {
    let database = Connection::open(bench.path("screen.db")).unwrap();
    database.query_row("SELECT count(*) FROM seen", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_batch_that_a_target_holds_is_not_planned_anew() {
    let bench = half_delivered();
    let rows = seen(&bench);
    assert!(rows > 0);
    let words = ["screen.db", "holds rows of batch 0 already", "skip JOB --batch 0"];
    run(&bench, &["--replan-batch", "0"]).expect_failure(2, &words);
    let summary = Connection::open(bench.path("revenue.db")).unwrap();
    summary.execute_batch("DROP TABLE revenue").unwrap();
    run(&bench, &[]).expect_success();
    assert_eq!(seen(&bench), rows, "the target took the batch once");
    assert!(!orders::revenue(&bench.path("revenue.db")).is_empty());
}

#[test]
fn a_batch_that_a_target_holds_may_be_skipped_and_that_is_said() {
    let bench = half_delivered();
    let rows = seen(&bench);
    let skipped = skip(&bench, "0").expect_success();
    let words = "screen.db, seen] had its rows already and keeps them";
    assert!(skipped.stderr.contains(words), "{}", skipped.stderr);
    assert_eq!(seen(&bench), rows);
    // Log and target are of one piece.
    run(&bench, &[]).expect_success();
}
