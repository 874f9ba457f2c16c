//! What the bare client needs to read a topic: no source can be cheaper that goes through it
//! record by record.

use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::topics::{self, WAIT};
use crate::{Result, Topic};

/// Clock ticks of `/proc` a second.
const TICKS: f64 = 100.0;

pub(crate) fn consume(topic: &Topic) -> Result<Value> {
    let begin = Instant::now();
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &topic.bootstrap)
        // Never used: partitions are assigned.
        .set("group.id", "kafka-load")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let mut list = TopicPartitionList::new();
    let ranges = topics::ranges(&client, &topic.name)?;
    for partition in 0..ranges.len() {
        list.add_partition_offset(&topic.name, partition as i32, Offset::Beginning)?;
    }
    client.assign(&list)?;
    let (mut rows, mut bytes, mut ended) = (0_u64, 0, 0);
    while ended < ranges.len() {
        match client.poll(WAIT) {
            Some(Ok(record)) => {
                rows += 1;
                bytes += record.payload().map_or(0, <[u8]>::len);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => return Err(format!("nothing came for {} s", WAIT.as_secs()).into()),
        }
    }
    let wall_s = begin.elapsed().as_secs_f64();
    Ok(json!({ "rows": rows, "bytes": bytes, "wall_s": wall_s, "cpu_s": cpu_s()? }))
}

/// User and system time of this process.
fn cpu_s() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // After the program's name in brackets come, as proc(5) counts, the fields from 3 on.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| -> Result<f64> {
        Ok(fields.get(field - 3).ok_or("a short /proc/self/stat")?.parse()?)
    };
    Ok((ticks(14)? + ticks(15)?) / TICKS)
}
