//! What is wrong with a place is named: a partition, a record, a broker that is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use serde_json::Value;
use tidemill_connectors::contract::delivery;
use tidemill_connectors::{
    OptionText, SinkConfig, SinkContext, SourceConfig, plan_sink, plan_source,
};
use tidemill_core::{ConnectorError, QueryId, ReadLimit, Sink, Slice, Source, SourceRange};
use tidemill_tests::Workbench;

use super::broker::{Instance, Plain, Topic};
use crate::observe::Observed;

/// Longer than anything here takes, and far shorter than what used to hang.
const SOON: Duration = Duration::from_secs(30);

fn named(
    bootstrap: &str,
    options: &[(&str, &str)],
) -> std::collections::BTreeMap<String, OptionText> {
    let servers = ("kafka.bootstrap.servers", bootstrap);
    options.iter().chain([&servers]).map(|(k, v)| ((*k).to_owned(), (*v).into())).collect()
}

/// Rows for partitions of a topic, which the rows name.
fn rows(topic: &Topic, partitions: &[Option<i32>]) -> RecordBatch {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["v"; partitions.len()]));
    let topics: ArrayRef = Arc::new(StringArray::from(vec![topic.name.as_str(); partitions.len()]));
    let partitions: ArrayRef = Arc::new(Int32Array::from(partitions.to_vec()));
    RecordBatch::try_from_iter_with_nullable([
        ("value", values, true),
        ("topic", topics, true),
        ("partition", partitions, true),
    ])
    .unwrap()
}

fn deliver(sink: &mut dyn Sink, rows: &RecordBatch) -> Result<(), ConnectorError> {
    sink.begin(delivery(0, 0, 1))?;
    sink.write(rows)?;
    sink.prepare()?;
    sink.commit()
}

#[test]
fn a_row_for_a_partition_that_is_not_there_fails_by_name_and_the_sink_goes_on() {
    let Some(topic) = Topic::new(3) else { return };
    let good = rows(&topic, &[Some(2), None]);
    let config = SinkConfig {
        name: "out".to_owned(),
        format: "kafka".to_owned(),
        options: named(&topic.bootstrap, &[]),
        schema: Some(good.schema()),
        ..SinkConfig::default()
    };
    let context = SinkContext::new(QueryId("tests".to_owned()));
    let mut sink = plan_sink(config).unwrap().open(&context).unwrap();
    deliver(sink.as_mut(), &good).unwrap();
    let begun = Instant::now();
    for bad in [3, 99] {
        let error = deliver(sink.as_mut(), &rows(&topic, &[Some(0), Some(bad)])).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&format!("partition {bad} of topic \"{}\"", topic.name)));
        assert!(message.contains("it has 3 partitions, 0 to 2"), "{message}");
        assert!(!error.is_retryable());
        sink.abort().unwrap();
    }
    assert!(begun.elapsed() < SOON);
    topic.add_partitions(4);
    // The brokers tell of it in their time.
    while let Err(error) = deliver(sink.as_mut(), &rows(&topic, &[Some(3)])) {
        sink.abort().unwrap();
        assert!(begun.elapsed() < SOON, "{error}");
    }
    let written = topic.read();
    assert_eq!(written.iter().filter(|record| record.partition == 3).count(), 1);
}

#[test]
fn a_job_whose_rows_name_a_partition_that_is_not_there_ends() {
    let (Some(input), Some(output)) = (Topic::new(1), Topic::new(1)) else { return };
    input.write(&[Plain::value(0, "v")]);
    for with_headers in [false, true] {
        let bench = Workbench::new();
        let headers = if with_headers { ", headers" } else { "" };
        bench.write(
            "job.toml",
            format!(
                r#"
trigger = {{ available_now = true }}
[source.t]
format = "kafka"
options = {{ "kafka.bootstrap.servers" = "{0}", subscribe = "{1}", startingOffsets = "earliest", includeHeaders = true }}
[[step]]
name = "records"
sql = "SELECT value, 99 AS `partition`{headers} FROM t"
[sink]
format = "kafka"
options = {{ "kafka.bootstrap.servers" = "{0}", topic = "{2}" }}
"#,
                input.bootstrap, input.name, output.name
            ),
        );
        let begun = Instant::now();
        let words = ["partition 99", output.name.as_str(), "partition 0 alone"];
        bench.run(&["run", "job.toml"]).expect_failure(1, &words);
        assert!(begun.elapsed() < SOON);
    }
}

#[test]
fn a_value_that_cannot_be_read_is_named_by_topic_partition_and_offset() {
    let Some(input) = Topic::new(2) else { return };
    input.write(&[Plain::value(1, "{\"n\":1}"), Plain::value(1, "{\"n\":2}")]);
    input.write(&[Plain::value(1, "{\"n\":"), Plain::value(0, "{\"n\":3}")]);
    let bench = Workbench::new();
    bench.write(
        "job.toml",
        format!(
            r#"
trigger = {{ available_now = true }}
[options]
retries = 0
[source.t]
format = "kafka"
options = {{ "kafka.bootstrap.servers" = "{}", subscribe = "{}", startingOffsets = "earliest" }}
value = {{ format = "json", schema = "n BIGINT", options = {{ mode = "FAILFAST" }} }}
[sink]
format = "noop"
"#,
            input.bootstrap, input.name
        ),
    );
    let place = format!("{}-1 at offset 2", input.name);
    bench.run(&["run", "job.toml"]).expect_failure(1, &[&place]);
}

#[test]
fn a_source_is_asked_while_one_of_its_partitions_is_waited_for() {
    let Some(topic) = Topic::new(2) else { return };
    let patient = ("kafkaConsumer.pollTimeoutMs", "120000");
    let config = SourceConfig {
        name: "s".to_owned(),
        format: "kafka".to_owned(),
        options: named(
            &topic.bootstrap,
            &[("subscribe", &topic.name), ("startingOffsets", "earliest"), patient],
        ),
        ..SourceConfig::default()
    };
    let mut source: Box<dyn Source> = plan_source(config).unwrap().open(Arc::new(|| 0)).unwrap();
    source.next_range(ReadLimit::Limited).unwrap().expect("the first range fixes the beginning");
    // A record that is not there yet: its reader holds the partition until it comes.
    let offsets = |first: i64| serde_json::json!({ &topic.name: { "0": first, "1": 0 } });
    let range = SourceRange { start: offsets(0), end: offsets(1), parts: Value::Null };
    let reader = source.reader();
    let waiting = std::thread::spawn(move || {
        let rows = reader.read(&range, Slice { index: 0, count: 1 }, &[1])?;
        rows.map(|rows| Ok(rows?.num_rows())).sum::<Result<usize, ConnectorError>>()
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        source.next_range(ReadLimit::Limited).unwrap();
        assert!(asked.elapsed() < SOON, "it waited for the partition's reader");
    }
    assert!(!waiting.is_finished());
    topic.write(&[Plain::value(0, "v")]);
    assert_eq!(waiting.join().unwrap().unwrap(), 1);
}

#[test]
fn a_broker_that_is_away_shows_since_when_until_it_is_back() {
    if super::broker::bootstrap().is_none() {
        return;
    }
    let instance = Instance::start(19_792);
    let input = Topic::on(&instance.bootstrap(), 1, &[]);
    let bench = Workbench::new();
    bench.write(
        "job.toml",
        format!(
            r#"
name = "q"
[source.orders]
format = "kafka"
options = {{ "kafka.bootstrap.servers" = "{}", subscribe = "{}", startingOffsets = "earliest" }}
[sink]
format = "noop"
"#,
            input.bootstrap, input.name
        ),
    );
    let mut observed = Observed::start(&bench, &[]);
    input.write(&[Plain::value(0, "1")]);
    let unanswered = |observed: &Observed| observed.status()["queries"][0]["unanswered"].clone();
    let wait_until = |observed: &Observed, wanted: &dyn Fn(&Value) -> bool| {
        let begun = Instant::now();
        loop {
            let shown = unanswered(observed);
            if wanted(&shown) {
                return shown;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{shown}");
        }
    };
    let mut batches = 0..;
    let mut wait_for_a_row = |observed: &mut Observed| {
        // A batch that fixes where reading begins has none.
        let mut rows = |batch| observed.wait_for_batch(batch)["numInputRows"].as_u64().unwrap();
        assert_eq!(batches.by_ref().map(&mut rows).find(|rows| *rows > 0), Some(1));
    };
    // A source that has never read does not wait for its broker.
    wait_for_a_row(&mut observed);
    assert_eq!(unanswered(&observed), Value::Null);
    instance.xtask("stop");
    let shown = wait_until(&observed, &|shown| !shown.is_null());
    assert_eq!(shown[0]["source"], "orders");
    assert!(shown[0]["since"].as_str().unwrap().starts_with("20"), "{shown}");
    let series = "tidemill_source_unanswered_seconds{query=\"q\",source=\"orders\"}";
    let begun = Instant::now();
    // It counts whole milliseconds, and the first one may not be over.
    while observed.metric(series) == 0.0 {
        assert!(begun.elapsed() < SOON, "the series does not count");
    }
    instance.xtask("start");
    wait_until(&observed, &Value::is_null);
    assert_eq!(observed.metric(series).to_string(), "0");
    input.write(&[Plain::value(0, "2")]);
    wait_for_a_row(&mut observed);
    observed.stop();
}
