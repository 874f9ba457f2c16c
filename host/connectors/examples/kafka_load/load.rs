//! Fills a topic.

use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::topics::{self, WAIT};
use crate::{Result, Topic, orders};

/// So many orders in a row go to one partition.
const RUN: u64 = 500;

/// How often what was delivered is taken from the client.
const POLL_ROWS: u64 = 10_000;

pub(crate) fn load(topic: &Topic, partitions: i32, rows: u64, from: &Path) -> Result<Value> {
    topics::create(topic, partitions, false)?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &topic.bootstrap)
        .set("acks", "1")
        .set("linger.ms", "50")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "500000")
        .create()?;
    let begin = Instant::now();
    let mut bytes = 0;
    orders::each(from, rows, |row, order| {
        bytes += order.len();
        let partition = (row / RUN) % u64::from(partitions.unsigned_abs());
        let record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&topic.name).partition(partition as i32).payload(order);
        if row % POLL_ROWS == 0 {
            producer.poll(Duration::ZERO);
        }
        send(&producer, record)
    })?;
    producer.flush(WAIT)?;
    let wall_s = begin.elapsed().as_secs_f64();
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &topic.bootstrap).create()?;
    let ranges = topics::ranges(&client, &topic.name)?;
    let arrived: i64 = ranges.iter().map(|(first, end)| end - first).sum();
    if arrived != rows as i64 {
        return Err(format!("{rows} orders were sent, {arrived} are in the topic").into());
    }
    Ok(json!({
        "rows": rows,
        "mean_bytes": bytes as f64 / rows as f64,
        "wall_s": wall_s,
        "rows_per_s": rows as f64 / wall_s,
    }))
}

/// Sends a record, and waits while the client's buffer is full.
pub(crate) fn send(producer: &BaseProducer, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
    const FULL: KafkaError = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((error, unsent)) if error == FULL => {
                record = unsent;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}
