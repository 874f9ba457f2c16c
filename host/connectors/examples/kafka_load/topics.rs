//! Topics are made and deleted, and asked for their ends.

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::{Result, Topic};

/// The broker is on this machine: what it does not answer by then it never will.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

pub(crate) fn create(topic: &Topic, partitions: i32, append_time: bool) -> Result<()> {
    let stamp = if append_time { "LogAppendTime" } else { "CreateTime" };
    let new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(1))
        .set("message.timestamp.type", stamp);
    let made = block_on(admin(topic)?.create_topics([&new], &options()))?;
    made.into_iter().try_for_each(|made| made.map(drop)).map_err(failed)
}

pub(crate) fn delete(topic: &Topic) -> Result<()> {
    let gone = block_on(admin(topic)?.delete_topics(&[&topic.name], &options()))?;
    gone.into_iter().try_for_each(|gone| gone.map(drop)).map_err(failed)
}

fn admin(topic: &Topic) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", &topic.bootstrap).create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT))
}

fn failed(
    (topic, code): (String, rdkafka::types::RDKafkaErrorCode),
) -> Box<dyn std::error::Error + Send + Sync> {
    format!("topic {topic}: {code}").into()
}

/// First offset and end of each partition.
pub(crate) fn ranges(client: &BaseConsumer, topic: &str) -> Result<Vec<(i64, i64)>> {
    let metadata = client.fetch_metadata(Some(topic), WAIT)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    partitions.map(|partition| Ok(client.fetch_watermarks(topic, partition.id(), WAIT)?)).collect()
}
