//! Jobs that read and write topics, run as a user runs them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;
use tidemill_tests::Workbench;

use super::broker::{Instance, Plain, Topic};

/// Orders in, the same orders out, keyed by their ids.
fn forwarding(input: &Topic, output: &Topic, trigger: &str) -> String {
    format!(
        r#"
name = "forward"
trigger = {trigger}

[source.orders]
format = "kafka"
options = {{ "kafka.bootstrap.servers" = "{}", subscribe = "{}", startingOffsets = "earliest" }}
value = {{ format = "json", schema = "order_id BIGINT, amount DOUBLE" }}

[[step]]
name = "records"
sql = "SELECT CAST(order_id AS STRING) AS key, to_json(struct(*)) AS value FROM orders"

[sink]
format = "kafka"
options = {{ "kafka.bootstrap.servers" = "{}", topic = "{}" }}
"#,
        input.bootstrap, input.name, output.bootstrap, output.name
    )
}

const AVAILABLE_NOW: &str = "{ available_now = true }";
const AT_ONCE: &str = "{ processing_time = \"0 seconds\" }";

fn orders(ids: std::ops::Range<u32>) -> Vec<Plain> {
    ids.map(|id| {
        Plain::value(
            i32::try_from(id % 2).unwrap(),
            format!("{{\"order_id\":{id},\"amount\":0.5}}"),
        )
    })
    .collect()
}

/// Ids of what was forwarded, sorted.
fn ids(records: &[Plain]) -> Vec<u32> {
    let id = |record: &Plain| {
        let value: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let id = value["order_id"].as_u64().unwrap();
        assert_eq!(record.key.as_deref(), Some(id.to_string().as_bytes()));
        u32::try_from(id).unwrap()
    };
    let mut ids: Vec<u32> = records.iter().map(id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn what_was_read_is_not_read_again_after_a_restart() {
    let (Some(input), Some(output)) = (Topic::new(2), Topic::new(2)) else { return };
    let bench = Workbench::new();
    bench.write("job.toml", forwarding(&input, &output, AVAILABLE_NOW));
    for round in 0..3 {
        input.write(&orders(round * 100..(round + 1) * 100));
        bench.run(&["run", "job.toml"]).expect_success();
    }
    assert_eq!(ids(&output.read()), (0..300).collect::<Vec<_>>());
}

#[test]
fn a_backlog_is_read_ahead_and_arrives_once_and_in_order() {
    let (Some(input), Some(output)) = (Topic::new(2), Topic::new(1)) else { return };
    input.write(&orders(0..1_000));
    let bench = Workbench::new();
    let job = forwarding(&input, &output, AVAILABLE_NOW);
    bench.write("job.toml", job.replace("subscribe =", "maxOffsetsPerTrigger = 100, subscribe ="));
    let finished = bench.run(&["run", "job.toml", "--progress", "json", "--trace", "trace.json"]);
    let rows = finished.expect_success().progress();
    let rows: Vec<_> = rows.iter().map(|progress| progress["numInputRows"].as_u64()).collect();
    assert_eq!(rows, [Some(100); 10]);
    let written = output.read();
    assert_eq!(ids(&written), (0..1_000).collect::<Vec<_>>());
    let of_partition = |parity| -> Vec<u32> {
        let id = |record: &Plain| ids(std::slice::from_ref(record))[0];
        written.iter().map(id).filter(|id| id % 2 == parity).collect()
    };
    assert!(of_partition(0).is_sorted() && of_partition(1).is_sorted());
    let trace = std::fs::read_to_string(bench.path("trace.json")).unwrap();
    assert!(trace.contains("\"read_ahead\""), "batches were read while others were delivered");
}

#[test]
fn values_that_are_no_json_have_null_columns() {
    let Some(input) = Topic::new(1) else { return };
    let values =
        ["{\"order_id\":1,\"amount\":2}", "{broken", "", "{\"amount\":4,\"order_id\":\"x\"}"];
    let mut records: Vec<Plain> = values.iter().map(|value| Plain::value(0, *value)).collect();
    records.push(Plain::default());
    input.write(&records);
    let bench = Workbench::new();
    let job = forwarding(&input, &input, AVAILABLE_NOW);
    let (head, _) = job.split_once("[[step]]").unwrap();
    bench.write(
        "job.toml",
        format!("{head}[sink]\nformat = \"console\"\noptions = {{ format = \"json\" }}\n"),
    );
    let finished = bench.run(&["run", "job.toml"]).expect_success();
    let rows: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["row"].clone())
        .collect();
    let expected: Vec<Value> =
        [r#"{"order_id":1,"amount":2.0}"#, "{}", "{}", r#"{"amount":4.0}"#, "{}"]
            .iter()
            .map(|row| serde_json::from_str(row).unwrap())
            .collect();
    let stripped: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            row.as_object()
                .unwrap()
                .iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()
        })
        .collect();
    assert_eq!(stripped, expected);
    let warning = format!("the first is at offset 1 of partition 0 of the topic {}", input.name);
    assert!(finished.stderr.contains("2 malformed rows of "), "{}", finished.stderr);
    assert!(finished.stderr.contains(&warning), "{}", finished.stderr);
}

#[test]
fn failfast_names_topic_partition_and_offset() {
    let Some(input) = Topic::new(1) else { return };
    input.write(&[Plain::value(0, "{\"order_id\":1}"), Plain::value(0, "{broken")]);
    let bench = Workbench::new();
    let job = forwarding(&input, &input, AVAILABLE_NOW);
    let job =
        job.replace("amount DOUBLE\" }", "amount DOUBLE\", options = { mode = \"FAILFAST\" } }");
    let (head, _) = job.split_once("[[step]]").unwrap();
    bench.write("job.toml", format!("{head}[sink]\nformat = \"noop\"\n"));
    let place = format!("the value of {}-0 at offset 1 cannot be taken apart", input.name);
    bench.run(&["run", "job.toml"]).expect_failure(1, &[&place, "[MALFORMED_RECORD_IN_PARSING."]);
}

#[test]
fn bytes_that_are_no_text_do_not_stop_a_query() {
    let Some(input) = Topic::new(1) else { return };
    input.write(&[Plain::value(0, "good"), Plain::value(0, b"b\xffd"), Plain::default()]);
    let bench = Workbench::new();
    let job = format!(
        "trigger = {AVAILABLE_NOW}\n[source.t]\nformat = \"kafka\"\noptions = {{ \"kafka.bootstrap.servers\" = \"{}\", subscribe = \"{}\", startingOffsets = \"earliest\" }}\n[[step]]\nname = \"texts\"\nsql = \"SELECT CAST(value AS STRING) AS text FROM t\"\n[sink]\nformat = \"console\"\noptions = {{ format = \"json\" }}\n",
        input.bootstrap, input.name
    );
    bench.write("job.toml", job);
    let rows = bench.run(&["run", "job.toml"]).expect_success().stdout;
    let texts: Vec<Value> = rows
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["row"]["text"].clone())
        .collect();
    assert_eq!(texts, [Value::from("good"), Value::from("b\u{fffd}d"), Value::Null]);
}

#[test]
fn a_topic_that_is_not_there_is_the_jobs_fault_and_not_a_failed_query() {
    let Some(there) = Topic::new(1) else { return };
    let bench = Workbench::new();
    let job = forwarding(&there, &there, AT_ONCE);
    let source = format!("subscribe = \"{}\"", there.name);
    let sink = format!(" topic = \"{}\"", there.name);
    for (wrong, of) in [(&source, "subscribe"), (&sink, " topic")] {
        bench.write("job.toml", job.replace(wrong, &format!("{of} = \"no-such-topic\"")));
        let words = ["there is no topic \"no-such-topic\"", "create it"];
        bench.run(&["run", "job.toml"]).expect_failure(2, &words);
    }
}

#[test]
fn progress_tells_how_far_the_query_is_behind() {
    let Some(input) = Topic::new(1) else { return };
    let records: Vec<Plain> =
        orders(0..10).into_iter().map(|o| Plain { partition: 0, ..o }).collect();
    input.write(&records);
    let bench = Workbench::new();
    let job = forwarding(&input, &input, "{ once = true }");
    let (head, _) = job.split_once("[[step]]").unwrap();
    bench.write("job.toml", format!("{head}[sink]\nformat = \"noop\"\n"));
    let finished = bench.run(&["run", "--progress", "json", "job.toml"]).expect_success();
    let progress = &finished.progress()[0];
    let source = &progress["sources"][0];
    assert_eq!(source["description"], format!("KafkaV2[Subscribe[{}]]", input.name));
    assert_eq!(source["numInputRows"], 10, "{progress}");
    assert_eq!(source["endOffset"][&input.name]["0"], 10, "{progress}");
    assert_eq!(source["latestOffset"][&input.name]["0"], 10, "{progress}");
    assert_eq!(source["metrics"]["maxOffsetsBehindLatest"], "0", "{progress}");
}

/// A query that runs until it is told to end.
struct Running(Child);

impl Running {
    fn start(bench: &Workbench) -> Running {
        let mut command = bench.command(&["run", "--progress", "json", "job.toml"]);
        Running(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits for a batch to end.
    fn first_batch(&mut self) {
        let mut lines = BufReader::new(self.0.stderr.as_mut().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap().contains("batchId")).unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_query_goes_on_when_the_broker_restarts() {
    if super::broker::bootstrap().is_none() {
        return;
    }
    let instance = Instance::start(19_592);
    let input = Topic::on(&instance.bootstrap(), 2, &[]);
    let output = Topic::on(&instance.bootstrap(), 2, &[]);
    let bench = Workbench::new();
    bench.write("job.toml", forwarding(&input, &output, AT_ONCE));
    let mut running = Running::start(&bench);
    input.write(&orders(0..50));
    running.first_batch();
    assert_eq!(ids(&output.read_at_least(50)), (0..50).collect::<Vec<_>>());
    instance.xtask("stop");
    instance.xtask("start");
    input.write(&orders(50..100));
    assert_eq!(ids(&output.read_at_least(100)), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_sink_of_files_may_become_a_topic_and_a_topic_no_files() {
    let (Some(input), Some(output)) = (Topic::new(2), Topic::new(1)) else { return };
    let to_topic = forwarding(&input, &output, AVAILABLE_NOW);
    let (before_sink, _) = to_topic.split_once("[sink]").unwrap();
    let to_files = format!("{before_sink}[sink]\nformat = \"json\"\npath = \"out\"\n");
    let run = |bench: &Workbench, job: &str| {
        bench.write("job.toml", job);
        bench.run(&["run", "job.toml"])
    };
    let bench = Workbench::new();
    input.write(&orders(0..2));
    run(&bench, &to_files).expect_success();
    input.write(&orders(2..4));
    run(&bench, &to_topic).expect_success();
    assert_eq!(ids(&output.read()), [2, 3]);

    let bench = Workbench::new();
    run(&bench, &to_topic).expect_success();
    run(&bench, &to_files).expect_failure(2, &["another sink", "kafka", "json"]);
    assert!(!bench.names("").contains(&"out".to_owned()), "nothing is created");
}

#[test]
fn a_batch_of_a_topic_is_replayed_and_nothing_is_sent() {
    let (Some(input), Some(output)) = (Topic::new(2), Topic::new(2)) else { return };
    let bench = Workbench::new();
    bench.write("job.toml", forwarding(&input, &output, AVAILABLE_NOW));
    for rows in [0..30, 30..50] {
        input.write(&orders(rows));
        bench.run(&["run", "job.toml"]).expect_success();
    }
    // What comes after the batch is not of it.
    input.write(&orders(50..60));
    for (batch, wanted) in [("0", 0..30), ("1", 30..50)] {
        let arguments = ["replay", "job.toml", "--batch", batch, "--format", "json"];
        let replayed = bench.run(&arguments).expect_success();
        let row = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let value = line["row"]["value"].as_str().unwrap().to_owned();
            Plain { key: line["row"]["key"].as_str().map(Into::into), ..Plain::value(0, value) }
        };
        let rows: Vec<Plain> = replayed.stdout.lines().map(row).collect();
        assert_eq!(ids(&rows), wanted.collect::<Vec<_>>());
    }
    assert_eq!(ids(&output.read()), (0..50).collect::<Vec<_>>());
}
