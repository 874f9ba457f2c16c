//! The same rows in the same batches as Spark.

use std::path::PathBuf;

use tidemill_tests::{Golden, repository};

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
