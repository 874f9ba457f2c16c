//! The main job: JSON files, a transform, a window, a handler that writes to SQLite.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use tidemill_tests::{Workbench, plugin};

/// A line of the table that the handler fills: window's start, category, revenue.
pub(crate) type Line = (String, String, f64);

/// A workbench with the main job and the plugin.
pub(crate) fn bench() -> Workbench {
    let bench = Workbench::new();
    std::fs::copy(plugin("orders"), bench.path("orders.wasm")).unwrap();
    bench.write("job.toml", JOB);
    std::fs::create_dir(bench.path("input")).unwrap();
    bench
}

pub(crate) const JOB: &str = r#"
name = "orders"
output_mode = "update"
trigger = { available_now = true }

[source.orders]
format = "json"
path = "input"
schema = "order_id STRING, user_id STRING, amount DOUBLE, category STRING, order_time TIMESTAMP"
options = { maxFilesPerTrigger = 1 }
watermark = { column = "order_time", delay = "5 minutes" }

[plugin.orders]
path = "orders.wasm"
targets = ["summary"]

[[step]]
name = "clean"
plugin = "orders"
function = "normalise"

[[step]]
name = "revenue"
sql = """
SELECT window.start AS window_start, category, sum(amount) AS revenue
FROM clean GROUP BY window(order_time, '5 minutes'), category
"""

[sink]
format = "foreach_batch"
plugin = "orders"
function = "deliver"

[target.summary]
format = "sqlite"
path = "revenue.db"
options = { dbtable = "revenue", key = "window_start,category" }
"#;

/// The table that the handler filled.
pub(crate) fn revenue(database: &Path) -> Vec<Line> {
    let database = Connection::open(database).unwrap();
    let mut query = database
        .prepare("SELECT window_start, category, revenue FROM revenue ORDER BY 1, 2")
        .unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn orders_are_cleaned_summed_and_upserted_once() {
    let bench = bench();
    bench.write_input(
        "input/0.json",
        0,
        r#"{"order_id":"1","user_id":"u","amount":1.5,"category":" Books","order_time":"2026-01-01T00:01:00Z"}
{"order_id":"2","user_id":"u","amount":2.5,"category":"books","order_time":"2026-01-01T00:04:59Z"}
{"order_id":"3","user_id":"u","amount":-9,"category":"books","order_time":"2026-01-01T00:02:00Z"}
"#,
    );
    bench.write_input(
        "input/1.json",
        1,
        r#"{"order_id":"4","user_id":"u","amount":10,"category":"BOOKS ","order_time":"2026-01-01T00:00:00Z"}
{"order_id":"5","user_id":"u","amount":4,"category":"toys","order_time":"2026-01-01T00:05:00Z"}
"#,
    );
    bench.run(&["run", "job.toml"]).expect_success();
    let line =
        |start: &str, category: &str, revenue| (start.to_owned(), category.to_owned(), revenue);
    let expected = [
        line("2026-01-01T00:00:00.000Z", "books", 14.0),
        line("2026-01-01T00:05:00.000Z", "toys", 4.0),
    ];
    assert_eq!(revenue(&bench.path("revenue.db")), expected);
}

#[test]
fn a_query_goes_on_where_it_stopped() {
    let bench = bench();
    tidemill_tests::write_orders(&bench, 0, 3, 100);
    let first = bench.run(&["run", "job.toml", "--progress", "json"]).expect_success();
    tidemill_tests::write_orders(&bench, 3, 2, 100);
    let second = bench.run(&["run", "job.toml", "--progress", "json"]).expect_success();
    let ids = |records: Vec<serde_json::Value>| {
        records.iter().map(|record| record["batchId"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let (first, second) = (first.progress(), second.progress());
    assert_eq!(first[0]["id"], second[0]["id"], "the query keeps its id");
    let all: Vec<u64> = ids(first).into_iter().chain(ids(second)).collect();
    assert_eq!(all, (0..all.len() as u64).collect::<Vec<_>>(), "batch ids have no gaps");

    let undisturbed = self::bench();
    tidemill_tests::write_orders(&undisturbed, 0, 5, 100);
    undisturbed.run(&["run", "job.toml"]).expect_success();
    let expected = revenue(&undisturbed.path("revenue.db"));
    assert!(expected.len() > 3);
    assert_eq!(revenue(&bench.path("revenue.db")), expected);
}

const STATE_OPERATOR_KEYS: [&str; 12] = [
    "operatorName",
    "numRowsTotal",
    "numRowsUpdated",
    "allUpdatesTimeMs",
    "numRowsRemoved",
    "allRemovalsTimeMs",
    "commitTimeMs",
    "memoryUsedBytes",
    "numRowsDroppedByWatermark",
    "numShufflePartitions",
    "numStateStoreInstances",
    "customMetrics",
];

const SOURCE_KEYS: [&str; 8] = [
    "description",
    "startOffset",
    "endOffset",
    "latestOffset",
    "numInputRows",
    "inputRowsPerSecond",
    "processedRowsPerSecond",
    "metrics",
];

/// Spark's keys in Spark's order, of which some are left out when they have nothing to say.
#[track_caller]
fn assert_keys(record: &Value, spark: &[&str], may_lack: &[&str]) {
    let found: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    let has = |key: &&str| found.contains(key) || !may_lack.contains(key);
    let expected: Vec<&str> = spark.iter().copied().filter(has).collect();
    assert_eq!(found, expected);
}

#[test]
fn progress_has_sparks_fields_in_sparks_order() {
    let bench = bench();
    tidemill_tests::write_orders(&bench, 0, 1, 10);
    let finished = bench.run(&["run", "job.toml", "--progress", "json"]).expect_success();
    let first = &finished.progress()[0];
    let names: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "id",
        "runId",
        "name",
        "timestamp",
        "batchId",
        "batchDuration",
        "numInputRows",
        "processedRowsPerSecond",
        "durationMs",
        "eventTime",
        "stateOperators",
        "sources",
        "sink",
        "plugins",
    ];
    assert_eq!(names, expected);
    assert_keys(&first["stateOperators"][0], &STATE_OPERATOR_KEYS, &["customMetrics"]);
    assert_keys(&first["sources"][0], &SOURCE_KEYS, &["inputRowsPerSecond", "metrics"]);
    assert_keys(&first["sink"], &["description", "numOutputRows", "metrics"], &["metrics"]);
    assert_eq!(first["numInputRows"], 10);
    assert_eq!(first["stateOperators"][0]["operatorName"], "stateStoreSave");
    assert_eq!(first["plugins"][0]["name"], "orders");
    assert_eq!(finished.stdout, "", "nothing but sinks prints on standard output");
}

#[test]
fn sigint_finishes_the_batch_in_flight_and_ends_well() {
    let bench = bench();
    bench.write("job.toml", JOB.replace("trigger = { available_now = true }\n", ""));
    tidemill_tests::write_orders(&bench, 0, 3, 100);
    let mut child = bench.spawn(&["run", "job.toml", "--progress", "json"]);
    // The third batch has been reported, so the query is at work or idle.
    let mut lines = crate::reload::lines(child.stderr.take().unwrap());
    while !lines.next().unwrap().contains("\"batchId\":2") {}
    crate::reload::interrupt(&child);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!revenue(&bench.path("revenue.db")).is_empty());
}

#[test]
fn a_second_process_on_the_same_checkpoint_is_refused() {
    let bench = bench();
    bench.write("job.toml", JOB.replace("trigger = { available_now = true }\n", ""));
    tidemill_tests::write_orders(&bench, 0, 1, 10);
    let mut first = bench.spawn(&["run", "job.toml", "--progress", "json"]);
    let mut lines = crate::reload::lines(first.stderr.take().unwrap());
    while !lines.next().unwrap().contains("\"batchId\":0") {}
    let second = bench.run(&["run", "job.toml"]);
    crate::reload::interrupt(&first);
    first.wait().unwrap();
    second.expect_failure(2, &[".tidemill/orders", &first.id().to_string()]);
}
