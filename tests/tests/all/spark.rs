//! The same rows in the same batches as Spark, and the same jobs refused.

use std::path::PathBuf;

use serde_json::Value;
use tidemill_tests::{
    Golden, Rows, StateFigure, Workbench, compare_rows, plugin, printed_rows, repository,
};

/// All that a recording says of a stateful operator.
const FIGURES: [StateFigure; 4] =
    [StateFigure::ROWS, StateFigure::UPDATED, StateFigure::REMOVED, StateFigure::DROPPED];

fn cases() -> Vec<PathBuf> {
    let folder = repository().join("tests/goldens");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.join("job.toml").exists()).collect();
    cases.sort();
    cases
}

#[test]
fn recorded_jobs_give_what_spark_gave() {
    let cases = cases();
    assert!(cases.len() >= 50, "the recorded jobs are missing");
    let mut failed = Vec::new();
    for case in cases {
        let differences = Golden::read(&case).differences(&[], &FIGURES);
        if !differences.is_empty() {
            let name = case.file_name().unwrap().to_string_lossy().into_owned();
            failed.push(format!("{name}:\n  {}", differences.join("\n  ")));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn two_weeks_of_flights_give_what_spark_gave() {
    let example = repository().join("examples/flights");
    let bench = Workbench::new();
    bench.write("job.toml", std::fs::read(example.join("job.toml")).unwrap());
    bench.write("plugins/flights.wasm", std::fs::read(plugin("flights")).unwrap());
    let days = std::fs::read_dir(example.join("input")).unwrap().map(|day| day.unwrap().path());
    let mut days: Vec<PathBuf> = days.collect();
    days.sort();
    assert_eq!(days.len(), 14);
    for (order, day) in days.iter().enumerate() {
        let name = day.file_name().unwrap().to_string_lossy().into_owned();
        bench.write_input(&format!("input/{name}"), order as i64, std::fs::read(day).unwrap());
    }
    let finished =
        bench.run(&["run", "job.toml", "--set", "sink.options.format=json"]).expect_success();

    let text = std::fs::read_to_string(example.join("expected.json")).unwrap();
    let lines: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut expected = Rows::new();
    for line in &lines {
        let batch = line["batch_id"].as_u64().unwrap();
        expected.entry(batch).or_default().push(line["row"].clone());
    }
    assert!(lines.len() > 100);
    let differences = compare_rows(&expected, &printed_rows(&finished.stdout));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A job that Spark refuses, by its id in `refused.json`, and the words of Spark's message that
/// ours has to have too.
const REFUSED: [(&str, &[&str]); 32] = [
    (
        "append-agg-no-watermark",
        &["append", "not supported for streaming aggregations without watermark"],
    ),
    (
        "append-global-agg",
        &["append", "not supported for streaming aggregations without watermark"],
    ),
    ("complete-no-agg", &["complete", "not supported for no streaming aggregations"]),
    (
        "append-session-no-watermark",
        &["append", "not supported for streaming aggregations without watermark"],
    ),
    ("complete-session-without-key", &["global aggregation with session window"]),
    ("sort-append-agg", &["sorting is not supported", "complete"]),
    ("limit-update", &["limits are not supported", "update"]),
    ("offset-append", &["offset is not supported"]),
    ("window-slide-longer", &["slide", "window"]),
    ("window-month", &["month"]),
    ("window-over-string", &["'x'", "cannot be cast", "timestamp"]),
    ("chained-agg-complete", &["correctness", "watermark"]),
    ("over-window", &["window function is not supported", "row_number"]),
    ("intersect-two-streams", &["intersect of streaming"]),
    ("scalar-subquery-of-stream", &["streaming query is not allowed in subquery"]),
    ("complete-join", &["complete", "not supported for no streaming aggregations"]),
    (
        "right-outer-wrong-side",
        &["RightOuter", "without a watermark in the join keys", "appropriate range condition"],
    ),
    (
        "left-outer-no-time-bound",
        &["LeftOuter", "without a watermark in the join keys", "appropriate range condition"],
    ),
    ("cross-streams", &["join without equality predicate is not supported"]),
    ("agg-then-join-update", &["correctness", "watermark"]),
    ("static-full-outer", &["FullOuter", "static", "not supported"]),
    (
        "within-watermark-no-watermark",
        &["dropDuplicatesWithinWatermark is not supported", "without watermark"],
    ),
    ("watermark-on-string", &["event time", "string", "TIMESTAMP"]),
    ("two-watermark-columns-one-operator", &["more than one event time column"]),
    ("unknown-function", &["frobnicate"]),
    ("not-grouped", &["v\"", "GROUP BY"]),
    ("ambiguous-column", &["id", "ambiguous"]),
    ("divide-by-zero", &["by zero"]),
    ("overflow-sum", &["overflow"]),
    ("array-index", &["index 3 is out of bounds"]),
    ("from-json-dropmalformed", &["from_json", "DROPMALFORMED", "PERMISSIVE and FAILFAST"]),
    ("corrupt-column-only", &["_corrupt_record"]),
];

#[test]
fn jobs_that_spark_refuses_are_refused_for_the_same_reason() {
    let text = std::fs::read_to_string(repository().join("tests/goldens/refused.json")).unwrap();
    let jobs: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(jobs.len(), REFUSED.len(), "each recorded job has its words");
    let mut accepted = Vec::new();
    for job in &jobs {
        let id = job["id"].as_str().unwrap();
        let (_, words) = REFUSED.iter().find(|(known, _)| *known == id).expect("its words");
        if let Err(reason) = refuse(job, words) {
            accepted.push(format!("{id}: {reason}\n  Spark: {}", job["message"]));
        }
    }
    assert!(accepted.is_empty(), "{} of {}\n{}", accepted.len(), jobs.len(), accepted.join("\n"));
}

/// What Spark finds before the query runs is found before anything is created. What it finds while
/// the query runs may be found at any time.
fn refuse(job: &Value, words: &[&str]) -> Result<(), String> {
    let bench = Workbench::new();
    bench.write("job.toml", job["job"].as_str().unwrap());
    let files = job["input"].as_object().unwrap();
    for (order, (name, content)) in files.iter().enumerate() {
        bench.write_input(name, order as i64, content.as_str().unwrap());
    }
    let before = bench.names("");
    let finished = bench.run(&["run", "job.toml"]);
    let message = finished.stderr.trim().to_owned();
    let is_before_the_run = job["stage"] != "run";
    match finished.code {
        Some(2) if bench.names("") != before => {
            return Err(format!("it created something: {message}"));
        }
        Some(2) => {}
        Some(1) if !is_before_the_run => {}
        code => return Err(format!("exit {code:?}: {message}")),
    }
    let has = |word: &&str| message.to_lowercase().contains(&word.to_lowercase());
    match words.iter().find(|word| !has(word)) {
        None => Ok(()),
        Some(word) => Err(format!("no \"{word}\" in: {message}")),
    }
}
