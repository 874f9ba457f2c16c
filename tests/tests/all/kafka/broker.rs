//! The broker of the tests, and topics of their own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const WAIT: Duration = Duration::from_secs(30);

/// Where the broker listens; `None` where the tests run without one, as they were told.
pub(super) fn bootstrap() -> Option<String> {
    setting("TIDEMILL_KAFKA")
}

/// What `cargo xtask test` says of the broker.
pub(super) fn setting(name: &str) -> Option<String> {
    let without = std::env::var("TIDEMILL_WITHOUT").unwrap_or_default();
    if without.split(',').any(|name| name == "kafka") {
        eprintln!("left out: there is no broker");
        return None;
    }
    let value = std::env::var(name);
    Some(value.unwrap_or_else(|_| panic!("{name} is not set: run the tests by `cargo xtask test`")))
}

/// A name that no other test has.
pub(super) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    format!("{name}-{now}-{}-{count}", std::process::id())
}

/// A broker's own instance, for tests that stop it.
pub(super) struct Instance {
    name: String,
    port: u16,
}

impl Instance {
    pub(super) fn start(port: u16) -> Instance {
        let instance = Instance { name: unique("instance"), port };
        instance.xtask("start");
        instance
    }

    pub(super) fn xtask(&self, what: &str) {
        let port = self.port.to_string();
        let more = if what == "start" { &["--port", &port][..] } else { &[] };
        self.xtask_with(what, more);
    }

    pub(super) fn xtask_with(&self, what: &str, more: &[&str]) {
        let xtask = setting("TIDEMILL_XTASK").unwrap();
        let mut command = Command::new(xtask);
        command.args(["kafka", what, "--instance", &self.name]).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(super) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // A test that has failed already must not end all others by a second panic.
        if !std::thread::panicking() {
            self.xtask("wipe");
        }
    }
}

/// Files for encrypted connections.
pub(super) fn tls(file: &str) -> String {
    let folder = PathBuf::from(setting("TIDEMILL_KAFKA_TLS").unwrap());
    folder.join(file).to_string_lossy().into_owned()
}

/// A record, as tests write and read it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Plain {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) partition: i32,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Plain {
    pub(super) fn value(partition: i32, value: impl Into<Vec<u8>>) -> Plain {
        Plain { value: Some(value.into()), partition, ..Plain::default() }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.value.clone().unwrap()).unwrap()
    }
}

/// A topic of one test.
pub(super) struct Topic {
    pub(super) bootstrap: String,
    pub(super) name: String,
    admin: AdminClient<DefaultClientContext>,
}

impl Topic {
    /// On the tests' broker.
    pub(super) fn new(partitions: i32) -> Option<Topic> {
        Some(Topic::on(&bootstrap()?, partitions, &[]))
    }

    pub(super) fn on(bootstrap: &str, partitions: i32, settings: &[(&str, &str)]) -> Topic {
        let name = unique("topic");
        let admin = config(bootstrap).create::<AdminClient<_>>().unwrap();
        let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let made = block_on(admin.create_topics([&topic], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|topic| drop(topic.unwrap()));
        Topic { bootstrap: bootstrap.to_owned(), name, admin }
    }

    pub(super) fn add_partitions(&self, total: usize) {
        let more = NewPartitions::new(&self.name, total);
        let made = block_on(self.admin.create_partitions([&more], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|topic| drop(topic.unwrap()));
    }

    /// Deletes all records of a partition before an offset.
    pub(super) fn delete_before(&self, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&self.name, partition, Offset::Offset(offset)).unwrap();
        block_on(self.admin.delete_records(&before, &AdminOptions::new())).unwrap();
    }

    pub(super) fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut config = config(&self.bootstrap);
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config.create().unwrap()
    }

    /// Writes records, and waits until the broker has them.
    pub(super) fn write(&self, records: &[Plain]) {
        let producer = self.producer(&[]);
        self.write_by(&producer, records);
    }

    pub(super) fn write_by(&self, producer: &BaseProducer, records: &[Plain]) {
        for record in records {
            send(producer, &self.name, record);
        }
        producer.flush(WAIT).unwrap();
    }

    /// All records that it has, by partition and offset.
    pub(super) fn read(&self) -> Vec<Plain> {
        let consumer: BaseConsumer = config(&self.bootstrap)
            .set("group.id", "nobody")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(&self.name), WAIT).unwrap();
        let mut assigned = TopicPartitionList::new();
        let partitions = metadata.topics()[0].partitions().len();
        for partition in 0..i32::try_from(partitions).unwrap() {
            assigned.add_partition_offset(&self.name, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&assigned).unwrap();
        let (mut ended, mut records) = (0, Vec::new());
        while ended < partitions {
            match consumer.poll(WAIT) {
                None => panic!("{} cannot be read", self.name),
                Some(Ok(message)) => {
                    records.push((message.partition(), message.offset(), plain(&message)))
                }
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{error}"),
            }
        }
        records.sort_by_key(|(partition, offset, _)| (*partition, *offset));
        records.into_iter().map(|(_, _, record)| record).collect()
    }

    /// A topic that is there already.
    pub(super) fn named(bootstrap: &str, name: &str) -> Topic {
        let admin = config(bootstrap).create::<AdminClient<_>>().unwrap();
        Topic { bootstrap: bootstrap.to_owned(), name: name.to_owned(), admin }
    }

    /// Waits until the topic has so many records.
    pub(super) fn read_at_least(&self, count: usize) -> Vec<Plain> {
        let until = Instant::now() + WAIT;
        loop {
            let records = self.read();
            if records.len() >= count {
                return records;
            }
            assert!(Instant::now() < until, "{} of {count} records came", records.len());
        }
    }
}

fn send(producer: &BaseProducer, topic: &str, record: &Plain) {
    let mut headers = OwnedHeaders::new();
    for (key, value) in &record.headers {
        headers = headers.insert(Header { key, value: value.as_deref() });
    }
    loop {
        let mut outgoing = BaseRecord::<[u8], [u8]>::to(topic).partition(record.partition);
        outgoing.key = record.key.as_deref();
        outgoing.payload = record.value.as_deref();
        if !record.headers.is_empty() {
            outgoing = outgoing.headers(headers.clone());
        }
        match producer.send(outgoing) {
            Ok(()) => return,
            Err(_) => producer.poll(Duration::from_millis(1)),
        }
    }
}

fn plain(message: &BorrowedMessage<'_>) -> Plain {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
    });
    Plain {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        partition: message.partition(),
        headers: headers.unwrap_or_default(),
    }
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
