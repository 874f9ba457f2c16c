//! `tidemill test`: rows in, batch by batch, and the rows that the sink has to get.

use serde_json::{Value, json};
use tidemill_tests::{Finished, Workbench, plugin, repository};

/// Windows of an hour that leave when they are over, out of a directory that is not there.
const JOB: &str = r#"
name = "hours"
output_mode = "append"
trigger = { processing_time = "1 hour" }
[source.s]
format = "json"
path = "not/there"
schema = "n BIGINT, at TIMESTAMP"
watermark = { column = "at", delay = "1 minute" }
[[step]]
name = "hours"
sql = "SELECT window.start AS hour, sum(n) AS n FROM s GROUP BY window(at, '1 hour')"
[sink]
format = "sqlite"
path = "out.db"
options = { dbtable = "t" }
"#;

fn bench(job: &str) -> Workbench {
    let bench = Workbench::new();
    bench.write("job.toml", job);
    bench
}

fn row(n: i64, time: &str) -> String {
    format!("{}\n", json!({ "n": n, "at": format!("2026-01-01T{time}:00Z") }))
}

fn test(bench: &Workbench, arguments: &[&str]) -> Finished {
    bench.run(&[&["test", "job.toml"], arguments].concat())
}

fn expected(bench: &Workbench, case: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(bench.path(&format!("job.test/{case}/expected.jsonl")));
    text.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn hour(batch: u64, hour: u64, n: i64) -> Value {
    json!({"batch_id": batch, "row": {"hour": format!("2026-01-01T{hour:02}:00:00.000Z"), "n": n}})
}

#[test]
fn moments_are_batches_and_those_without_data_are_numbered_among_them() {
    let bench = bench(JOB);
    bench.write("job.test/late/batches/0/s.jsonl", row(1, "09:10") + &row(2, "09:20"));
    bench.write("job.test/late/batches/1/s.jsonl", row(4, "10:30"));
    // Nothing comes, and the watermark has moved: the first window leaves in a batch of its own.
    std::fs::create_dir_all(bench.path("job.test/late/batches/2")).unwrap();
    // Too late for its window.
    bench.write("job.test/late/batches/3/s.jsonl", row(8, "09:59") + &row(16, "12:00"));
    test(&bench, &[]).expect_failure(1, &[]);
    let told = test(&bench, &["--bless"]).expect_success().stdout;
    assert_eq!(told, "late: written; look at what changed\n1 case, 0 failed\n");
    // Batch 4 is without data, too, after the last moment.
    assert_eq!(expected(&bench, "late"), [hour(2, 9, 3), hour(4, 10, 4)]);
    assert_eq!(test(&bench, &[]).expect_success().stdout, "late: ok\n1 case, 0 failed\n");
    assert_eq!(bench.names(""), ["job.test", "job.toml"], "nothing else is touched");
}

#[test]
fn what_is_not_as_expected_is_shown_batch_by_batch() {
    let bench = bench(&JOB.replace("append", "update").replace(", 'key'", ""));
    bench.write("job.test/a/batches/0/s.jsonl", row(1, "09:10") + &row(2, "11:10"));
    bench.write("job.test/b/batches/0/s.jsonl", row(1, "09:10"));
    test(&bench, &["--bless"]).expect_success();
    let lines = format!("{}\n{}\n{}\n", hour(0, 9, 7), hour(0, 11, 2), hour(3, 9, 1));
    bench.write("job.test/a/expected.jsonl", lines);
    let failed = test(&bench, &[]).expect_failure(1, &[]);
    let wanted = [
        "a: failed".to_owned(),
        "  batch 0".to_owned(),
        format!("    - {}", hour(0, 9, 7)),
        format!("    + {}", hour(0, 9, 1)),
        "  batch 3".to_owned(),
        format!("    - {}", hour(3, 9, 1)),
        "  - expected, and not given; + given, and not expected".to_owned(),
        "b: ok".to_owned(),
        "2 cases, 1 failed".to_owned(),
    ];
    assert_eq!(failed.stdout.lines().collect::<Vec<_>>(), wanted);
    assert_eq!(test(&bench, &["b"]).expect_success().stdout, "b: ok\n1 case, 0 failed\n");
    test(&bench, &["c"]).expect_failure(2, &["no case \"c\""]);
}

#[test]
fn the_order_of_rows_counts_where_the_case_says_so() {
    let job = JOB
        .replace("append", "complete")
        .replace("window(at, '1 hour')\"", "window(at, '1 hour') ORDER BY n DESC\"");
    let bench = bench(&job);
    bench.write("job.test/a/batches/0/s.jsonl", row(1, "09:10") + &row(2, "11:10"));
    bench.write("job.test/a/expected.jsonl", format!("{}\n{}\n", hour(0, 9, 1), hour(0, 11, 2)));
    test(&bench, &[]).expect_success();
    bench.write("job.test/a/case.toml", "ordered = true\n");
    let failed = test(&bench, &[]).expect_failure(1, &[]);
    assert!(failed.stdout.contains("their order is not"), "{}", failed.stdout);
}

#[test]
fn time_goes_on_by_a_step_for_each_moment() {
    let bench = bench(
        &JOB.replace("sum(n) AS n", "max(current_timestamp()) AS n").replace("append", "update"),
    );
    for moment in 0..2 {
        bench.write(&format!("job.test/a/batches/{moment}/s.jsonl"), row(1, "09:10"));
    }
    bench.write(
        "job.test/a/case.toml",
        "begins = \"2030-05-06T07:00:00Z\"\nevery = \"10 seconds\"\n",
    );
    test(&bench, &["--bless"]).expect_success();
    let times: Vec<Value> =
        expected(&bench, "a").iter().map(|line| line["row"]["n"].clone()).collect();
    assert_eq!(times, ["2030-05-06T07:00:00.000Z", "2030-05-06T07:00:10.000Z"]);
}

/// A topic, a plugin that refuses rows, a table, and a handler: none of the places is there.
#[test]
fn no_place_is_touched_and_plugins_run() {
    let job = r#"
name = "orders"
[source.orders]
format = "kafka"
options = { "kafka.bootstrap.servers" = "no.such.host:9092", subscribe = "orders" }
value = { format = "json", schema = "id BIGINT, text STRING", keep = ["partition", "offset"] }
[static.names]
format = "csv"
path = "names.csv"
schema = "id BIGINT, name STRING"
[plugin.p]
path = "p.wasm"
targets = ["nowhere"]
[target.nowhere]
format = "sqlite"
path = "no/such/directory/out.db"
options = { dbtable = "t" }
[[step]]
name = "numbers"
sql = "SELECT o.id, o.partition, parsed(text) AS n, name FROM orders o JOIN names USING (id)"
[sink]
format = "foreach_batch"
plugin = "p"
function = "handles"
[dead_letters]
path = "dead"
"#;
    let bench = bench(job);
    std::fs::copy(plugin("faulty"), bench.path("p.wasm")).unwrap();
    bench.write("names.csv", "1,the job's\n2,the job's\n");
    let rows =
        "{\"id\":1,\"text\":\"7\",\"partition\":3}\n{\"id\":2,\"text\":\"two\",\"partition\":3}\n";
    bench.write("job.test/a/batches/0/orders.jsonl", rows);
    bench.write("job.test/b/batches/0/orders.jsonl", rows);
    bench.write("job.test/b/static/names.jsonl", "{\"id\":1,\"name\":\"the case's\"}\n");
    test(&bench, &["--bless"]).expect_success();
    let given =
        |name: &str| json!({"batch_id": 0, "row": {"id": 1, "partition": 3, "n": 7, "name": name}});
    let found = expected(&bench, "a");
    assert_eq!(found[0], given("the job's"));
    assert_eq!(found[1]["refused"]["reason"], "\"two\" is not a number");
    assert_eq!(expected(&bench, "b")[0], given("the case's"));
    assert_eq!(bench.names(""), ["job.test", "job.toml", "names.csv", "p.wasm"]);
    test(&bench, &[]).expect_success();
}

#[test]
fn a_batch_that_fails_fails_its_case_and_the_others_are_played() {
    let job = JOB.replace("sum(n) AS n", "sum(n / (n - 1)) AS n").replace("append", "update");
    let bench = bench(&job);
    bench.write("job.test/a/batches/0/s.jsonl", row(1, "09:10"));
    bench.write("job.test/b/batches/0/s.jsonl", row(2, "09:10"));
    let failed = test(&bench, &["--bless"]).expect_failure(1, &[]);
    assert!(failed.stdout.contains("a: failed\n  batch 0 failed: "), "{}", failed.stdout);
    assert!(failed.stdout.ends_with("b: written; look at what changed\n2 cases, 1 failed\n"));
}

#[test]
fn what_is_wrong_in_a_case_is_told_by_its_place() {
    let bench = bench(JOB);
    test(&bench, &[]).expect_failure(2, &["no cases in job.test", "first/batches/0/s.jsonl"]);
    let refused = |file: &str, content: &str, words: &[&str]| {
        let path = bench.write(file, content);
        test(&bench, &[]).expect_failure(2, words);
        std::fs::remove_file(path).unwrap();
    };
    bench.write("job.test/a/batches/0/s.jsonl", row(1, "09:10"));
    test(&bench, &["--bless"]).expect_success();
    refused("job.test/a/batches/0/t.jsonl", "{}\n", &["0/t.jsonl", "s.jsonl"]);
    refused("job.test/a/static/s.jsonl", "{}\n", &["static/s.jsonl", "none"]);
    refused("job.test/a/batches/first", "", &["batches/first", "0, 1, 2"]);
    refused("job.test/a/case.toml", "begin = 1\n", &["case.toml", "begin", "begins, every"]);
    refused("job.test/a/case.toml", "every = \"soon\"\n", &["every = \"soon\""]);
    refused("job.test/b/expected.jsonl", "", &["no batches in job.test/b/batches"]);
    std::fs::remove_dir(bench.path("job.test/b")).unwrap();
    bench.write("job.test/a/expected.jsonl", "\n{\"row\":{}}\n");
    test(&bench, &[]).expect_failure(2, &["expected.jsonl:2: a line is {\"batch_id\": 0, \"row\""]);
    bench.write("job.test/a/batches/2/s.jsonl", row(1, "09:10"));
    test(&bench, &[]).expect_failure(2, &["there is no job.test/a/batches/1"]);
}

#[test]
fn a_member_that_is_no_column_is_told_with_its_line() {
    let bench = bench(JOB);
    bench.write("job.test/a/batches/0/s.jsonl", row(1, "09:10") + "{\"nn\":2}\n");
    let words = ["s.jsonl:2: there is no column \"nn\"; there are n, at"];
    test(&bench, &["--bless"]).expect_failure(2, &words);
}

#[test]
fn a_value_of_another_type_is_a_mistake_in_the_case_and_told_with_its_line() {
    let bench = bench(JOB);
    bench.write("job.test/a/batches/0/s.jsonl", row(1, "09:10") + "{\"n\":\"many\"}\n");
    let words = ["a: ", "s.jsonl:2: n is \"many\", which is no BIGINT"];
    test(&bench, &[]).expect_failure(2, &words);
}

#[test]
fn a_case_that_is_wrong_hides_no_other() {
    let bench = bench(&JOB.replace("append", "update").replace(", 'key'", ""));
    for case in ["a", "b", "c", "d"] {
        bench.write(&format!("job.test/{case}/batches/0/s.jsonl"), row(1, "09:10"));
    }
    test(&bench, &["--bless"]).expect_success();
    bench.write("job.test/a/case.toml", "every = \"now and then\"");
    bench.write("job.test/b/batches/0/s.jsonl", "{\"m\":1}\n");
    bench.write("job.test/c/batches/0/s.jsonl", row(2, "09:10"));
    let told = test(&bench, &[]).expect_failure(2, &["a: ", "now and then", "b: ", "column \"m\""]);
    assert!(told.stdout.starts_with("c: failed\n"), "{}", told.stdout);
    assert!(told.stdout.ends_with("d: ok\n4 cases, 1 failed, 2 not played\n"), "{}", told.stdout);
    // Who asks for one is not told of others.
    test(&bench, &["d"]).expect_success();
}

#[test]
fn the_example_of_orders_can_be_tested() {
    let bench = Workbench::new();
    let job = std::fs::read_to_string(repository().join("examples/orders/job.toml")).unwrap();
    bench.write("job.toml", job.replace("plugins/orders.wasm", "orders.wasm"));
    std::fs::copy(plugin("orders"), bench.path("orders.wasm")).unwrap();
    let order = json!({"order_id": "1", "amount": 2.5, "category": " Music", "order_time": "2026-01-01T09:10:00Z"});
    bench.write("job.test/a/batches/0/orders.jsonl", format!("{order}\n"));
    test(&bench, &["--bless"]).expect_success();
    let row = json!({"window_start": "2026-01-01T09:10:00.000Z", "category": "music", "total_revenue": 2.5});
    assert_eq!(expected(&bench, "a"), [json!({"batch_id": 0, "row": row})]);
}
