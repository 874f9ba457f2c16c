//! Malformed rows leave a trace: in the progress record, in the log and in the metrics.

use tidemill_tests::Workbench;

use crate::observe::Observed;

const JOB: &str = r#"
name = "readings"
trigger = { TRIGGER }
[source.t]
format = "json"
path = "input"
schema = "n INT, s STRING"
options = { maxFilesPerTrigger = 1, mode = "MODE" }
[sink]
format = "console"
options = { format = "json" }
"#;

const LINES: &[u8] =
    b"{\"n\":1,\"s\":\"a\"}\n{\"n\":\"2\"}\n{\"n\":3,\"s\":\"caf\xe9\"}\n{\"n\":4,\n";

fn bench(trigger: &str, mode: &str) -> Workbench {
    let bench = Workbench::new();
    bench.write("job.toml", JOB.replace("TRIGGER", trigger).replace("MODE", mode));
    bench.write_input("input/0.json", 0, LINES);
    bench.write_input("input/1.json", 1, "{\"n\":5}\n");
    bench
}

#[test]
fn malformed_rows_are_counted_and_the_first_one_is_named() {
    for (mode, rows) in [("PERMISSIVE", 5), ("DROPMALFORMED", 2)] {
        let bench = bench("available_now = true", mode);
        let finished = bench.run(&["run", "job.toml", "--progress", "json"]).expect_success();
        assert_eq!(finished.stdout.lines().count(), rows, "{mode}");
        let records = finished.progress();
        let counted =
            |batch: usize| records[batch]["sources"][0]["metrics"]["malformedRows"].clone();
        assert_eq!(counted(0), "3", "{mode}");
        assert!(counted(1).is_null(), "{mode}: a clean batch says nothing");
        let warnings: Vec<&str> =
            finished.stderr.lines().filter(|line| line.contains("malformed row")).collect();
        assert_eq!(warnings.len(), 1, "one warning a batch: {warnings:?}");
        assert!(warnings[0].contains("3 malformed rows of FileStreamSource"), "{}", warnings[0]);
        assert!(warnings[0].contains("the first is at line 2 of the file"), "{}", warnings[0]);
    }
}

#[test]
fn failfast_ends_the_query_with_file_and_line() {
    let bench = bench("available_now = true", "FAILFAST");
    bench
        .run(&["run", "job.toml"])
        .expect_failure(1, &["line 2 of the file", "0.json: [MALFORMED_RECORD_IN_PARSING."]);
}

#[test]
fn the_metric_counts_from_the_first_batch_on() {
    let bench = bench("processing_time = \"0 seconds\"", "PERMISSIVE");
    let mut job = Observed::start(&bench, &[]);
    job.wait_for_batch(1);
    let series = "tidemill_malformed_rows_total{query=\"readings\",source=\"t\"}";
    assert_eq!(job.metric(series), 3.0);
    job.stop();
}

#[test]
fn malformed_rows_of_a_static_table_are_told_once() {
    let bench = bench("available_now = true", "PERMISSIVE");
    bench.write("names.csv", "1,one\nx,two\n3\n");
    let job = std::fs::read_to_string(bench.path("job.toml")).unwrap();
    let (head, sink) = job.split_once("[sink]").unwrap();
    let table = r#"
[static.names]
format = "csv"
path = "names.csv"
schema = "id INT, name STRING"
[[step]]
name = "named"
sql = "SELECT n, name FROM t LEFT JOIN names ON n = id"
[sink]"#;
    bench.write("job.toml", format!("{head}{table}{sink}"));
    let finished = bench.run(&["run", "job.toml"]).expect_success();
    let told = |line: &&str| line.contains("2 malformed rows") && line.contains("names.csv");
    assert_eq!(finished.stderr.lines().filter(told).count(), 1, "{}", finished.stderr);
}
