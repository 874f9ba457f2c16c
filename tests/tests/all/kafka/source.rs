//! What the source reads, asked of the source itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use rdkafka::producer::Producer;
use serde_json::json;
use tidemill_connectors::contract::{Input, check_source};
use tidemill_connectors::{Clock, ConfigError, PlannedSource, SourceConfig, plan_source};
use tidemill_core::{AskAgain, ConnectorError, ReadLimit, Slice, Source, SourceRange};

use super::broker::{Plain, Topic};

const WAIT: Duration = Duration::from_secs(30);

fn plan(bootstrap: &str, options: &[(&str, &str)]) -> Result<PlannedSource, ConfigError> {
    let servers = ("kafka.bootstrap.servers", bootstrap);
    let options = options.iter().chain([&servers]);
    plan_source(SourceConfig {
        name: "s".to_owned(),
        format: "kafka".to_owned(),
        options: options.map(|(k, v)| ((*k).to_owned(), (*v).into())).collect(),
        ..SourceConfig::default()
    })
}

fn open(topic: &Topic, options: &[(&str, &str)]) -> Box<dyn Source> {
    open_at(topic, options, Arc::new(|| 0))
}

fn open_at(topic: &Topic, options: &[(&str, &str)], clock: Clock) -> Box<dyn Source> {
    let mut all = vec![("subscribe", topic.name.as_str()), ("startingOffsets", "earliest")];
    for option in options {
        all.retain(|(name, _)| *name != option.0 && (option.0 != "assign" || *name != "subscribe"));
        all.push(*option);
    }
    plan(&topic.bootstrap, &all).unwrap().open(clock).unwrap()
}

fn read(source: &dyn Source, range: &SourceRange) -> Result<RecordBatch, ConnectorError> {
    let schema = source.schema();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let rows = source.reader().read(range, Slice { index: 0, count: 1 }, &all)?;
    Ok(concat_batches(&schema, &rows.collect::<Result<Vec<_>, _>>()?).unwrap())
}

fn next(source: &mut dyn Source) -> SourceRange {
    source.next_range(ReadLimit::Limited).unwrap().unwrap()
}

/// Values of the next range, as texts.
fn values(source: &mut dyn Source) -> Vec<String> {
    let range = next(source);
    texts(&read(source, &range).unwrap())
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let values = rows.column(1).as_binary::<i32>();
    values.iter().map(|v| String::from_utf8(v.unwrap().to_vec()).unwrap()).collect()
}

/// Waits for the source to call, and asks it until it has a range.
fn woken(source: &mut dyn Source, calls: &Receiver<()>) -> SourceRange {
    loop {
        if let Some(range) = source.next_range(ReadLimit::Limited).unwrap() {
            return range;
        }
        calls.recv_timeout(WAIT).expect("the source calls when there are records");
    }
}

fn called(source: &mut dyn Source) -> Receiver<()> {
    let (call, calls) = sync_channel(1);
    source.notify(Arc::new(move || {
        let _ = call.try_send(());
    }));
    calls
}

fn numbered(partition: i32, range: std::ops::Range<u32>) -> Vec<Plain> {
    range.map(|n| Plain::value(partition, n.to_string())).collect()
}

#[test]
fn it_keeps_the_contract_of_sources() {
    let Some(topic) = Topic::new(3) else { return };
    let mut records: Vec<Plain> = (0..25_000).map(|n| Plain::value(n % 2, n.to_string())).collect();
    records[7].value = None;
    records[8].key = Some(b"key".to_vec());
    topic.write(&records);
    let limits = [
        ("maxOffsetsPerTrigger", "9000"),
        ("includeHeaders", "true"),
        // The suite goes back and forth, and each time an unanswered request has to end first.
        ("kafka.fetch.max.wait.ms", "10"),
    ];
    let ranges = check_source(&Input { open: &|| open(&topic, &limits), before_range: &|_| {} });
    let rows: usize = ranges.iter().map(RecordBatch::num_rows).sum();
    assert_eq!((ranges.len(), rows), (3, 25_000));
}

#[test]
fn rows_have_sparks_columns() {
    let Some(topic) = Topic::new(2) else { return };
    let headers = vec![("h".to_owned(), Some(b"1".to_vec())), ("none".to_owned(), None)];
    topic.write(&[
        Plain { key: Some(b"k".to_vec()), value: None, partition: 1, headers },
        Plain::value(1, "v"),
    ]);
    let mut source = open(&topic, &[("includeHeaders", "true")]);
    let range = next(source.as_mut());
    let rows = read(source.as_ref(), &range).unwrap();
    let names: Vec<String> =
        rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    let expected =
        ["key", "value", "topic", "partition", "offset", "timestamp", "timestampType", "headers"];
    assert_eq!(names, expected);
    assert_eq!(
        rows.column(0).as_binary::<i32>().iter().collect::<Vec<_>>(),
        [Some(&b"k"[..]), None]
    );
    assert_eq!(
        rows.column(1).as_binary::<i32>().iter().collect::<Vec<_>>(),
        [None, Some(&b"v"[..])]
    );
    assert_eq!(rows.column(2).as_string::<i32>().value(0), topic.name);
    assert_eq!(rows.column(3).as_primitive::<Int32Type>().values(), &[1, 1]);
    assert_eq!(rows.column(4).as_primitive::<Int64Type>().values(), &[0, 1]);
    let micros = rows.column(5).as_primitive::<TimestampMicrosecondType>().value(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    assert!(now.abs_diff(micros.unsigned_abs().into()) < 600_000_000, "{micros}");
    // 0 is CreateTime, the topic's default.
    assert_eq!(rows.column(6).as_primitive::<Int32Type>().values(), &[0, 0]);
    let headers = rows.column(7).as_list::<i32>();
    assert!(headers.is_valid(0) && headers.is_null(1));
    let first = headers.value(0);
    let (keys, values) = (first.as_struct().column(0), first.as_struct().column(1));
    assert_eq!(keys.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("h"), Some("none")]);
    assert_eq!(values.as_binary::<i32>().iter().collect::<Vec<_>>(), [Some(&b"1"[..]), None]);
}

#[test]
fn a_query_begins_where_starting_offsets_say() {
    let Some(topic) = Topic::new(2) else { return };
    topic.write(&[numbered(0, 0..5), numbered(1, 10..15)].concat());
    let at = |json: serde_json::Value| json!({ &topic.name: json }).to_string();
    let mut from = open(&topic, &[("startingOffsets", &at(json!({ "0": 3, "1": -1 })))]);
    assert_eq!(values(from.as_mut()), ["3", "4"]);
    let mut latest = open(&topic, &[("startingOffsets", "latest")]);
    let first = next(latest.as_mut());
    assert_eq!(read(latest.as_ref(), &first).unwrap().num_rows(), 0);
    assert_eq!(first.end, json!({ &topic.name: { "0": 5, "1": 5 } }));
    let mut partial = open(&topic, &[("startingOffsets", &at(json!({ "0": 3 })))]);
    let message = partial.next_range(ReadLimit::Limited).unwrap_err().to_string();
    assert!(message.contains(&format!("it lacks [{}-1]", topic.name)), "{message}");
}

#[test]
fn assigned_partitions_are_read_and_no_others() {
    let Some(topic) = Topic::new(3) else { return };
    topic.write(&[numbered(0, 0..2), numbered(1, 2..4), numbered(2, 4..6)].concat());
    let assigned = json!({ &topic.name: [0, 2] }).to_string();
    let mut source = open(&topic, &[("assign", &assigned)]);
    assert_eq!(values(source.as_mut()), ["0", "1", "4", "5"]);
    let missing = json!({ &topic.name: [0, 9] }).to_string();
    let mut source = open(&topic, &[("assign", &missing)]);
    let message = source.next_range(ReadLimit::Limited).unwrap_err().to_string();
    assert!(message.contains("there is no partition"), "{message}");
}

#[test]
fn a_range_may_end_in_aborted_records_and_in_markers() {
    let Some(topic) = Topic::new(1) else { return };
    let producer = topic.producer(&[("transactional.id", &topic.name)]);
    producer.init_transactions(WAIT).unwrap();
    let transact = |values, commits| {
        producer.begin_transaction().unwrap();
        topic.write_by(&producer, &numbered(0, values));
        if commits {
            producer.commit_transaction(WAIT).unwrap();
        } else {
            producer.abort_transaction(WAIT).unwrap();
        }
    };
    transact(0..3, true);
    transact(3..6, false);
    let mut committed = open(&topic, &[("kafka.isolation.level", "read_committed")]);
    let calls = called(committed.as_mut());
    assert_eq!(values(committed.as_mut()), ["0", "1", "2"]);
    // Records and markers: three, one, three, one.
    assert_eq!(committed.position(), json!({ &topic.name: { "0": 8 } }));
    let mut uncommitted = open(&topic, &[]);
    assert_eq!(values(uncommitted.as_mut()).len(), 6);
    // What comes after a range without records is read by the next one.
    transact(6..8, true);
    let mut got = Vec::new();
    while got.len() < 2 {
        let range = woken(committed.as_mut(), &calls);
        got.extend(texts(&read(committed.as_ref(), &range).unwrap()));
    }
    assert_eq!(got, ["6", "7"]);
}

#[test]
fn an_open_transaction_is_not_read_before_it_is_committed() {
    let Some(topic) = Topic::new(1) else { return };
    let producer = topic.producer(&[("transactional.id", &topic.name)]);
    producer.init_transactions(WAIT).unwrap();
    producer.begin_transaction().unwrap();
    topic.write_by(&producer, &numbered(0, 0..3));
    let mut source = open(&topic, &[("kafka.isolation.level", "read_committed")]);
    assert!(values(source.as_mut()).is_empty());
    assert_eq!(source.next_range(ReadLimit::Limited).unwrap(), None);
    producer.commit_transaction(WAIT).unwrap();
    let mut all = open(&topic, &[("kafka.isolation.level", "read_committed")]);
    assert_eq!(values(all.as_mut()), ["0", "1", "2"]);
}

#[test]
fn records_that_come_later_call_the_query() {
    let Some(topic) = Topic::new(2) else { return };
    let mut source = open(&topic, &[]);
    let calls = called(source.as_mut());
    assert!(values(source.as_mut()).is_empty(), "the first range fixes where the query began");
    for round in 0..3 {
        topic.write(&numbered(round % 2, 0..2));
        let mut got = Vec::new();
        while got.len() < 2 {
            let range = woken(source.as_mut(), &calls);
            got.extend(texts(&read(source.as_ref(), &range).unwrap()));
        }
        assert_eq!(got, ["0", "1"]);
    }
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let Some(topic) = Topic::new(1) else { return };
    topic.write(&numbered(0, 0..2));
    let mut source = open(&topic, &[("startingOffsets", "latest")]);
    let calls = called(source.as_mut());
    next(source.as_mut());
    topic.add_partitions(2);
    topic.write(&numbered(1, 5..7));
    let mut got = Vec::new();
    while got.len() < 2 {
        let range = woken(source.as_mut(), &calls);
        got.extend(texts(&read(source.as_ref(), &range).unwrap()));
    }
    assert_eq!(got, ["5", "6"]);
    assert_eq!(source.position(), json!({ &topic.name: { "0": 2, "1": 2 } }));
}

#[test]
fn deleted_records_fail_the_query_unless_it_may_lose_them() {
    let Some(topic) = Topic::new(1) else { return };
    topic.write(&numbered(0, 0..4));
    let position = json!({ &topic.name: { "0": 1 } });
    topic.delete_before(0, 3);
    let mut strict = open(&topic, &[]);
    strict.restore(&position).unwrap();
    let range = strict.next_range(ReadLimit::Limited);
    let error = range.and_then(|range| read(strict.as_ref(), &range.unwrap())).unwrap_err();
    assert!(error.to_string().contains("offset 1"), "{error}");
    assert!(!error.is_retryable());

    let mut lenient = open(&topic, &[("failOnDataLoss", "false")]);
    lenient.restore(&position).unwrap();
    assert_eq!(values(lenient.as_mut()), ["3"]);
    // What a partition ends before is not read again, as in Spark.
    let beyond = json!({ &topic.name: { "0": 100 } });
    lenient.restore(&beyond).unwrap();
    assert_eq!(values(lenient.as_mut()), Vec::<String>::new());
    assert_eq!(lenient.position(), json!({ &topic.name: { "0": 4 } }));
}

#[test]
fn a_range_that_the_topic_no_longer_reaches_ends_where_that_is_allowed() {
    let Some(topic) = Topic::new(1) else { return };
    topic.write(&numbered(0, 0..4));
    // As the log has it of a topic that was cut, or made anew, since.
    let logged = SourceRange {
        start: json!({ &topic.name: { "0": 2 } }),
        end: json!({ &topic.name: { "0": 9 } }),
        parts: serde_json::Value::Null,
    };
    let soon = ("kafkaConsumer.pollTimeoutMs", "1000");
    let strict = open(&topic, &[soon]);
    let error = read(strict.as_ref(), &logged).unwrap_err();
    assert!(error.to_string().contains("begins at 0 and ends at 4"), "{error}");
    assert!(!error.is_retryable());
    let lenient = open(&topic, &[soon, ("failOnDataLoss", "false")]);
    assert_eq!(texts(&read(lenient.as_ref(), &logged).unwrap()), ["2", "3"]);
}

#[test]
fn a_new_partition_that_lost_its_first_records_is_data_loss() {
    let Some(topic) = Topic::new(2) else { return };
    topic.write(&numbered(1, 0..4));
    topic.delete_before(1, 3);
    // The query has not seen partition 1 yet.
    let position = json!({ &topic.name: { "0": 0 } });
    let mut strict = open(&topic, &[]);
    strict.restore(&position).unwrap();
    let error = strict.next_range(ReadLimit::Limited).unwrap_err().to_string();
    assert!(error.contains(&format!("{}-1 is new and begins at offset 3", topic.name)), "{error}");
    let mut lenient = open(&topic, &[("failOnDataLoss", "false")]);
    lenient.restore(&position).unwrap();
    assert_eq!(values(lenient.as_mut()), ["3"]);
}

#[test]
fn lag_is_reported_by_partition() {
    let Some(topic) = Topic::new(2) else { return };
    topic.write(&[numbered(0, 0..10), numbered(1, 0..4)].concat());
    let mut source = open(&topic, &[("maxOffsetsPerTrigger", "7")]);
    let range = next(source.as_mut());
    assert_eq!(range.end, json!({ &topic.name: { "0": 5, "1": 2 } }));
    assert_eq!(source.latest(), json!({ &topic.name: { "0": 10, "1": 4 } }));
    let figures = [
        ("minOffsetsBehindLatest", "2"),
        ("maxOffsetsBehindLatest", "5"),
        ("avgOffsetsBehindLatest", "3.5"),
    ];
    let figures: BTreeMap<String, String> =
        figures.map(|(name, figure)| (name.to_owned(), figure.to_owned())).into();
    assert_eq!(source.metrics(&range.end), figures);
}

#[test]
fn a_range_is_settled_where_the_limit_is_reached_or_the_end_is_fixed() {
    let Some(topic) = Topic::new(1) else { return };
    topic.write(&numbered(0, 0..9));
    let mut source = open(&topic, &[("maxOffsetsPerTrigger", "4")]);
    let mut ends = Vec::new();
    for settled_after in [true, false] {
        let range = next(source.as_mut());
        read(source.as_ref(), &range).unwrap();
        ends.push(range.end[&topic.name]["0"].clone());
        assert_eq!(source.is_next_settled(), settled_after, "after {ends:?}");
    }
    assert_eq!(ends, [json!(4), json!(8)]);
    source.stop_at_present_end().unwrap();
    assert!(source.is_next_settled(), "one record, and no further");
}

#[test]
fn large_records_make_short_record_batches() {
    let Some(topic) = Topic::new(1) else { return };
    let large = vec![b'x'; 900_000];
    topic.write(&vec![Plain::value(0, large); 40]);
    let mut source = open(&topic, &[]);
    let range = next(source.as_mut());
    let rows = source.reader().read(&range, Slice { index: 0, count: 1 }, &[1]).unwrap();
    let rows: Vec<usize> = rows.map(|block| block.unwrap().num_rows()).collect();
    // 4 MiB each.
    assert_eq!(rows, [5; 8]);
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let Some(topic) = Topic::new(1) else { return };
    let mut source = open(&topic, &[("subscribe", "no-such-topic")]);
    let error = source.next_range(ReadLimit::Limited).unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no topic \"no-such-topic\" on the Kafka cluster; create it, or correct its name"
    );
}

#[test]
fn options_that_contradict_or_are_missing_are_refused() {
    let refused =
        |options: &[(&str, &str)]| plan("localhost:1", options).err().unwrap().to_string();
    assert!(refused(&[]).contains("no option subscribe or assign"));
    assert!(refused(&[("subscribe", "t"), ("assign", "{\"t\":[0]}")]).contains("keep one"));
    assert!(refused(&[("subscribe", "t"), ("startingOffsets", "soon")]).contains("earliest"));
    assert!(refused(&[("subscribePattern", "t.*")]).contains("not supported yet"));
    assert!(refused(&[("subscribe", "t"), ("maxOffsetPerTrigger", "5")]).contains("did you mean"));
}

/// Asks until the source has heard of all records, and has a range if it is to have one.
fn heard(source: &mut dyn Source, latest: &serde_json::Value) -> Option<SourceRange> {
    let (mut wait, step) = (WAIT, Duration::from_millis(20));
    loop {
        let range = source.next_range(ReadLimit::Limited).unwrap();
        if range.is_some() || source.latest() == *latest {
            return range;
        }
        wait = wait.checked_sub(step).expect("the source hears of the records");
        std::thread::sleep(step);
    }
}

/// Spark: KafkaMicroBatchSourceSuite: minOffsetsPerTrigger.
#[test]
fn few_records_wait_for_more_or_for_the_end_of_the_delay() {
    let Some(topic) = Topic::new(3) else { return };
    let ends = |a: u32, b: u32, c: u32| json!({ &topic.name: { "0": a, "1": b, "2": c } });
    topic.write(&[numbered(0, 100..110), numbered(1, 10..15), numbered(2, 1..2)].concat());
    let time = Arc::new(AtomicI64::new(1_000_000));
    let clock = Arc::clone(&time);
    let clock: Clock = Arc::new(move || clock.load(Ordering::Relaxed));
    let pass = |millis| time.fetch_add(millis, Ordering::Relaxed);
    let options = [("minOffsetsPerTrigger", "15"), ("maxTriggerDelay", "5s")];
    let mut source = open_at(&topic, &options, Arc::clone(&clock));
    assert_eq!(values(source.as_mut()).len(), 16);
    // Nothing is there, so nothing is to be looked for before the delay is over.
    assert_eq!(source.ask_again(), AskAgain::After(Duration::from_secs(5)));

    topic.write(&numbered(1, 15..21));
    pass(100);
    assert_eq!(heard(source.as_mut(), &ends(10, 11, 1)), None, "6 are fewer than 15");
    assert_eq!(source.position(), ends(10, 5, 1));
    assert_eq!(source.ask_again(), AskAgain::After(Duration::from_secs(1)));
    // Who asks for everything does not wait.
    let mut once = open_at(&topic, &options, Arc::clone(&clock));
    once.restore(&ends(10, 5, 1)).unwrap();
    assert_eq!(once.next_range(ReadLimit::Unlimited).unwrap().unwrap().end, ends(10, 11, 1));

    topic.write(&[numbered(0, 110..121), numbered(2, 2..3)].concat());
    pass(100);
    let range = loop {
        if let Some(range) = heard(source.as_mut(), &ends(21, 11, 2)) {
            break range;
        }
    };
    assert_eq!(range.end, ends(21, 11, 2), "18 are enough");

    topic.write(&[numbered(0, 121..126), numbered(1, 21..26)].concat());
    pass(100);
    assert_eq!(heard(source.as_mut(), &ends(26, 16, 2)), None, "10 are fewer than 15");
    pass(4_899);
    assert_eq!(source.next_range(ReadLimit::Limited).unwrap(), None);
    assert_eq!(source.ask_again(), AskAgain::After(Duration::from_millis(1)));
    pass(1);
    let range = next(source.as_mut());
    assert_eq!(range.end, ends(26, 16, 2), "the delay is over");
    assert_eq!(read(source.as_ref(), &range).unwrap().num_rows(), 10);
}

#[test]
fn the_first_range_and_a_fixed_end_wait_for_nothing() {
    let Some(topic) = Topic::new(1) else { return };
    topic.write(&numbered(0, 0..3));
    let least = ("minOffsetsPerTrigger", "100");
    let mut first = open(&topic, &[least]);
    assert_eq!(values(first.as_mut()).len(), 3);
    topic.write(&numbered(0, 3..5));
    first.stop_at_present_end().unwrap();
    assert_eq!(values(first.as_mut()), ["3", "4"]);
    assert_eq!(first.next_range(ReadLimit::Limited).unwrap(), None);
    // After a restart the first range waits for nothing either.
    let mut again = open(&topic, &[least]);
    again.restore(&json!({ &topic.name: { "0": 3 } })).unwrap();
    assert_eq!(values(again.as_mut()), ["3", "4"]);
}

#[test]
fn a_range_that_waited_is_cut_by_the_limit() {
    let Some(topic) = Topic::new(1) else { return };
    let limits = [("minOffsetsPerTrigger", "4"), ("maxOffsetsPerTrigger", "5")];
    let mut source = open(&topic, &limits);
    assert!(values(source.as_mut()).is_empty());
    topic.write(&numbered(0, 0..8));
    let range = loop {
        if let Some(range) = heard(source.as_mut(), &json!({ &topic.name: { "0": 8 } })) {
            break range;
        }
    };
    assert_eq!(range.end, json!({ &topic.name: { "0": 5 } }));
    // Three are left.
    assert_eq!(source.next_range(ReadLimit::Limited).unwrap(), None);
}

#[test]
fn the_least_and_its_delay_have_to_make_sense() {
    let refused = |options: &[(&str, &str)], words: &[&str]| {
        let subscribed: Vec<_> = options.iter().copied().chain([("subscribe", "t")]).collect();
        let message = plan("127.0.0.1:1", &subscribed).err().unwrap().to_string();
        for word in words {
            assert!(message.contains(word), "{message}");
        }
    };
    refused(&[("maxTriggerDelay", "5m")], &["maxTriggerDelay", "minOffsetsPerTrigger"]);
    refused(&[("minOffsetsPerTrigger", "0")], &["at least 1"]);
    refused(
        &[("minOffsetsPerTrigger", "6"), ("maxOffsetsPerTrigger", "5")],
        &["minOffsetsPerTrigger", "must not be more"],
    );
    refused(
        &[("minOffsetsPerTrigger", "6"), ("maxTriggerDelay", "soon")],
        &["maxTriggerDelay", "a time"],
    );
}
