//! A job that changed since its checkpoint was made: what goes on, and what is refused before
//! anything is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidemill_tests::Workbench;

const SUMS: &str = r#"
name = "sums"
output_mode = "append"
checkpoint = "state"
trigger = { available_now = true }

[source.orders]
format = "json"
path = "orders"
schema = "item STRING, n INT, at TIMESTAMP"
options = { maxFilesPerTrigger = 1 }
watermark = { column = "at", delay = "1 minute" }

[[step]]
name = "sums"
sql = """
SELECT window.start AS start, item, sum(n) AS total
FROM orders WHERE n > 0 GROUP BY window(at, '5 minutes'), item
"""

[sink]
format = "json"
path = "out"
"#;

const PAIRS: &str = r#"
name = "pairs"
output_mode = "append"
checkpoint = "state"
trigger = { available_now = true }

[source.orders]
format = "json"
path = "orders"
schema = "item STRING, n INT, at TIMESTAMP"

[source.prices]
format = "json"
path = "prices"
schema = "item STRING, n INT, price INT"

[[step]]
name = "pairs"
sql = "SELECT o.item, p.price FROM orders o JOIN prices p ON o.item = p.item"

[sink]
format = "console"
"#;

/// A bench on which `job` has run.
fn began(job: &str) -> Workbench {
    let bench = Workbench::new();
    let orders = r#"{"item":"cup","n":2,"at":"2026-01-01T00:00:00Z"}"#;
    bench.write_input("orders/0.json", 0, format!("{orders}\n"));
    bench.write_input("prices/0.json", 0, "{\"item\":\"cup\",\"n\":2,\"price\":7}\n");
    bench.write("job.toml", job);
    bench.run(&["run", "job.toml"]).expect_success();
    bench
}

fn files(below: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else {
            into.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
}

#[track_caller]
fn refused(bench: &Workbench, job: &str, words: &[&str]) {
    let all = || {
        let mut all = BTreeMap::new();
        files(&bench.path(""), &mut all);
        all
    };
    bench.write("job.toml", job);
    let before = all();
    for verb in ["check", "run"] {
        bench.run(&[verb, "job.toml"]).expect_failure(2, words);
        assert!(all() == before, "`{verb}` touched something");
    }
}

#[track_caller]
fn accepted(bench: &Workbench, job: &str) {
    bench.write("job.toml", job);
    bench.run(&["run", "job.toml"]).expect_success();
}

#[test]
fn another_aggregate_or_grouping_is_refused_by_the_operators_name() {
    let bench = began(SUMS);
    let words = ["operator 0 (stateStoreSave)", "checkpoint: ", "job: "];
    let job = SUMS.replace("sum(n) AS total", "sum(n) AS total, count(*) AS rows");
    refused(&bench, &job, &[&words[..], &["values differ"]].concat());
    let job = SUMS.replace("sum(n) AS total", "sum(CAST(n AS DOUBLE)) AS total");
    refused(&bench, &job, &[&words[..], &["values differ"]].concat());
    let job = SUMS.replace("'5 minutes'), item", "'5 minutes'), item, n");
    refused(&bench, &job, &[&words[..], &["keys differ", "n int"]].concat());
    let job = SUMS.replace("item, sum(n) AS total", "item, n AS total");
    let job = job
        .replace("GROUP BY window(at, '5 minutes'), item", "")
        .replace("SELECT window.start AS start, ", "SELECT at AS start, ");
    refused(&bench, &job, &[&words[..1], &["was removed", "none"]].concat());
    accepted(&bench, SUMS);
}

#[test]
fn what_state_is_evicted_by_is_fixed() {
    const UPDATED: &str = "SELECT window.start AS start, item, sum(n) AS total";
    let updating = SUMS
        .replace("output_mode = \"append\"", "output_mode = \"update\"")
        .replace("format = \"json\"\npath = \"out\"", "format = \"console\"");
    assert!(updating.contains(UPDATED));
    let bench = began(&updating);
    let without = updating.replace("watermark = { column = \"at\", delay = \"1 minute\" }", "");
    refused(&bench, &without, &["operator 0 (stateStoreSave)", "are kept for ever", "leave"]);
    refused(&bench, &updating.replace("'5 minutes'", "'10 minutes'"), &["600000000"]);
    accepted(&bench, &updating.replace("delay = \"1 minute\"", "delay = \"2 minutes\""));

    const ONCE: &str =
        "[[step]]\nname = \"once\"\ndrop_duplicates = { columns = [\"item\", \"at\"] }\n";
    let (head, tail) = SUMS.split_once("[[step]]").unwrap();
    let (_, sink) = tail.split_once("[sink]").unwrap();
    let once = format!("{head}{ONCE}[sink]{sink}");
    let bench = began(&once);
    let without = once.replace("watermark = { column = \"at\", delay = \"1 minute\" }", "");
    refused(&bench, &without, &["operator 0 (dedupe)", "kept for ever", "at their event time"]);
    accepted(&bench, &once);
}

#[test]
fn another_range_of_a_join_is_refused() {
    let watermark = "schema = \"item STRING, n INT, at TIMESTAMP\"\nwatermark = { column = \"at\", delay = \"1 minute\" }\n";
    let ranged = PAIRS
        .replace("schema = \"item STRING, n INT, at TIMESTAMP\"\n", watermark)
        .replace("schema = \"item STRING, n INT, price INT\"\n", watermark)
        .replace(
            "SELECT o.item, p.price FROM orders o JOIN prices p ON o.item = p.item",
            "SELECT o.item, p.n FROM orders o JOIN prices p ON o.item = p.item AND p.at BETWEEN o.at AND o.at + INTERVAL 5 SECONDS",
        );
    let bench = began(&ranged);
    let words = ["operator 0 (symmetricHashJoin)", "leave 5001000", "leave 9001000"];
    refused(&bench, &ranged.replace("5 SECONDS", "9 SECONDS"), &words);
    accepted(&bench, &ranged);
}

#[test]
fn another_key_of_a_join_is_refused() {
    let bench = began(PAIRS);
    let job = PAIRS.replace("o.item = p.item", "o.item = p.item AND o.n = p.n");
    refused(&bench, &job, &["operator 0 (symmetricHashJoin)", "keys differ"]);
    accepted(&bench, PAIRS);
}

#[test]
fn another_number_or_format_of_sources_is_refused() {
    let bench = began(PAIRS);
    let fewer = PAIRS
        .replace(" JOIN prices p ON o.item = p.item", "")
        .replace("p.price", "o.n")
        .replace("[source.prices]", "[static.prices]");
    refused(&bench, &fewer, &["other sources", "orders, prices"]);
    let other = PAIRS.replacen("format = \"json\"", "format = \"csv\"", 1);
    refused(&bench, &other, &["another format of source \"orders\"", "json", "csv"]);
    accepted(&bench, PAIRS);
}

#[test]
fn filters_triggers_limits_and_projections_may_change() {
    let bench = began(SUMS);
    accepted(&bench, &SUMS.replace("n > 0", "n > 1 AND item <> 'lid'"));
    accepted(&bench, &SUMS.replace("available_now = true", "once = true"));
    accepted(&bench, &SUMS.replace("maxFilesPerTrigger = 1", "maxFilesPerTrigger = 3"));
    accepted(&bench, &SUMS.replace("sum(n) AS total", "sum(n) + 1 AS total, upper(item) AS name"));
}

#[test]
fn the_directory_of_a_file_sink_is_fixed() {
    let bench = began(SUMS);
    refused(
        &bench,
        &SUMS.replace("path = \"out\"", "path = \"elsewhere\""),
        &["another directory of its sink", "elsewhere"],
    );
    accepted(&bench, &SUMS.replace("path = \"out\"", "path = \"./out/\""));
    let console = SUMS.replace("format = \"json\"\npath = \"out\"", "format = \"console\"");
    accepted(&bench, &console);
}
