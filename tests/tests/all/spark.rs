//! The same rows in the same batches as Spark.

use std::path::PathBuf;

use serde_json::Value;
use tidemill_tests::{Golden, Rows, Workbench, compare_rows, plugin, printed_rows, repository};

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
    assert!(cases.len() >= 20, "the recorded jobs are missing");
    let mut failed = Vec::new();
    for case in cases {
        let differences = Golden::read(&case).differences(&[]);
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
