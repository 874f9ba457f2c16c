//! What the sink writes, asked of the sink itself.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, Int32Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, StructBuilder,
};
use arrow::datatypes::{DataType, Field, Fields};
use tidemill_connectors::contract::delivery;
use tidemill_connectors::{SinkConfig, SinkContext, plan_sink};
use tidemill_core::{Begin, ConnectorError, OutputMode, QueryId, Sink};

use super::broker::{Plain, Topic};

fn open(topic: &Topic, rows: &RecordBatch, options: &[(&str, &str)]) -> Box<dyn Sink> {
    let mut all = vec![("kafka.bootstrap.servers", topic.bootstrap.as_str())];
    all.extend(options);
    let config = SinkConfig {
        name: "out".to_owned(),
        format: "kafka".to_owned(),
        options: all.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect(),
        schema: Some(rows.schema()),
        output_mode: OutputMode::Append,
        ..SinkConfig::default()
    };
    plan_sink(config).unwrap().open(&SinkContext::new(QueryId("tests".to_owned()))).unwrap()
}

fn deliver(sink: &mut dyn Sink, rows: &RecordBatch) -> Result<(), ConnectorError> {
    assert_eq!(sink.begin(delivery(0, 0, 1))?, Begin::Wanted);
    sink.write(rows)?;
    sink.prepare()?;
    sink.commit()
}

fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

fn numbers(count: usize) -> RecordBatch {
    let values: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    rows(vec![("value", Arc::new(StringArray::from(values)))])
}

#[test]
fn rows_become_records() {
    let Some(topic) = Topic::new(2) else { return };
    let text = Field::new("key", DataType::Utf8, true);
    let fields = Fields::from(vec![text, Field::new("value", DataType::Binary, true)]);
    let mut headers = ListBuilder::new(StructBuilder::from_fields(fields, 1));
    headers.values().field_builder::<StringBuilder>(0).unwrap().append_value("h");
    headers.values().field_builder::<BinaryBuilder>(1).unwrap().append_value(b"1");
    headers.values().append(true);
    headers.append(true);
    headers.append(false);
    let rows = rows(vec![
        ("key", Arc::new(StringArray::from(vec![Some("k"), None]))),
        ("value", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"v"), None]))),
        ("topic", Arc::new(StringArray::from(vec![topic.name.as_str(); 2]))),
        ("partition", Arc::new(Int32Array::from(vec![1, 0]))),
        ("headers", Arc::new(headers.finish())),
    ]);
    let mut sink = open(&topic, &rows, &[("includeHeaders", "true")]);
    deliver(sink.as_mut(), &rows).unwrap();
    let first = Plain {
        key: Some(b"k".to_vec()),
        value: Some(b"v".to_vec()),
        partition: 1,
        headers: vec![("h".to_owned(), Some(b"1".to_vec()))],
    };
    assert_eq!(topic.read(), [Plain::default(), first]);
}

#[test]
fn the_option_topic_stands_above_the_column() {
    let Some(topic) = Topic::new(1) else { return };
    let rows = rows(vec![
        ("value", Arc::new(StringArray::from(vec!["v"]))),
        ("topic", Arc::new(StringArray::from(vec!["no-such-topic"]))),
    ]);
    let mut sink = open(&topic, &rows, &[("topic", &topic.name)]);
    deliver(sink.as_mut(), &rows).unwrap();
    assert_eq!(topic.read(), [Plain::value(0, "v")]);
}

#[test]
fn rows_wait_where_the_broker_is_behind() {
    let Some(topic) = Topic::new(1) else { return };
    let rows = numbers(20_000);
    let small = [("topic", topic.name.as_str()), ("kafka.queue.buffering.max.messages", "100")];
    let mut sink = open(&topic, &rows, &small);
    deliver(sink.as_mut(), &rows).unwrap();
    let values: Vec<String> = topic.read().iter().map(Plain::text).collect();
    let expected: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    assert_eq!(values, expected);
}

#[test]
fn a_record_that_the_broker_refuses_fails_the_batch_with_its_reason() {
    let Some(topic) = Topic::new(1) else { return };
    let small = Topic::on(&topic.bootstrap, 1, &[("max.message.bytes", "200")]);
    let rows = rows(vec![("value", Arc::new(StringArray::from(vec!["x".repeat(1000)])))]);
    let mut sink = open(&small, &rows, &[("topic", &small.name)]);
    let error = deliver(sink.as_mut(), &rows).unwrap_err();
    assert!(error.to_string().contains("Message size too large"), "{error}");
    assert!(error.to_string().contains(&small.name) && !error.is_retryable(), "{error}");
    sink.abort().unwrap();
    let rows = numbers(1);
    let mut sink = open(&small, &rows, &[("topic", &small.name)]);
    deliver(sink.as_mut(), &rows).unwrap();
    assert_eq!(small.read(), [Plain::value(0, "0")]);
}

#[test]
fn a_partition_that_is_not_there_fails_the_batch() {
    let Some(topic) = Topic::new(1) else { return };
    let rows = rows(vec![
        ("value", Arc::new(StringArray::from(vec!["v"]))),
        ("partition", Arc::new(Int32Array::from(vec![7]))),
    ]);
    let mut sink = open(&topic, &rows, &[("topic", &topic.name)]);
    let error = deliver(sink.as_mut(), &rows).unwrap_err().to_string();
    let words = format!("partition 7 of topic \"{}\", and it has partition 0 alone", topic.name);
    assert!(error.contains(&words), "{error}");
}
