//! Rows become records of a topic, at least once.
//!
//! `write` hands rows to the client, which sends them while the batch goes on; `prepare` waits
//! until the brokers have them all. A batch that runs again sends its records again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};
use tidemill_core::{Begin, ConnectorError, Delivery, Held, OutputMode, Sink};

use super::client::{Asks, CONNECT_WAIT, Events, Wait, no_topic, partition_count};
use super::native::{Letters, Outgoing, OutgoingTopic, PRODUCE_CHUNK, Reports, Undelivered};
use super::outgoing::{OutgoingColumns, OutgoingRows, Picked};
use super::settings;
use crate::options::{Known, Options};
use crate::{ConfigError, SinkConfig};

const OPTIONS: Known = Known { built: &["topic", "includeHeaders"], later: &[] };

/// What the client does differently from its own defaults.
const DEFAULTS: [(&str, &str); 8] = [
    ("client.id", "tidemill"),
    ("acks", "all"),
    ("enable.idempotence", "true"),
    // As the Java client places keys, so that other writers of the topic agree.
    ("partitioner", "murmur2_random"),
    // Bounds what waits to be sent; `write` waits where it is full.
    ("queue.buffering.max.kbytes", "32768"),
    // A batch hands over all that it has; while it is sent, more gathers by itself.
    ("linger.ms", "0"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.nagle.disable", "true"),
];

/// Topics that one client may have written to: it keeps some kilobytes of each until its end. Before
/// another one, what is on its way is waited for, and a new client goes on. So rows may name any
/// number of topics; what they cost beyond this is a connection for every so many.
const TOPICS_MAX: usize = 1_000;

/// How long the partitions of a topic are asked for when a row names one that is not known.
const PARTITIONS_WAIT: Duration = Duration::from_secs(30);

/// How long an abort waits for records that were taken back. A client that reports no end of them
/// is replaced: librdkafka loses count of a record for a partition that is not there.
const ABORT_WAIT: Duration = Duration::from_secs(5);

/// After which librdkafka gives a record up, if it is not told otherwise.
const MESSAGE_TIMEOUT_MS: u64 = 300_000;

/// What it is given beyond that, for its own bookkeeping.
const MORE_PATIENCE: Duration = Duration::from_secs(10);

/// One wait for the brokers; after it the client's complaints are looked at.
const REPORT_WAIT: Duration = Duration::from_millis(500);

/// A Kafka sink that could be opened.
pub(crate) struct KafkaSinkPlan {
    place: String,
    client: ClientConfig,
    topic: Option<Arc<str>>,
    takes_headers: bool,
}

impl KafkaSinkPlan {
    pub(crate) fn description(&self) -> String {
        match &self.topic {
            Some(topic) => format!("KafkaSink[{topic}]"),
            None => "KafkaSink".to_owned(),
        }
    }

    pub(crate) fn new(config: &SinkConfig, place: &str) -> Result<KafkaSinkPlan, ConfigError> {
        if config.path.is_some() {
            return Err(ConfigError::Schema {
                place: place.to_owned(),
                reason: "a Kafka sink has no path; write options = { topic = \"…\" }".to_owned(),
            });
        }
        let (client, others) = settings::split(place, &config.options, &DEFAULTS)?;
        let options = Options::check(place, &others, &[OPTIONS])?;
        let topic = options.text("topic").map(str::trim);
        if topic.is_some_and(str::is_empty) {
            return Err(options.bad("topic", "it has to name a topic"));
        }
        let plan = KafkaSinkPlan {
            place: place.to_owned(),
            client,
            topic: topic.map(Arc::from),
            takes_headers: options.bool("includeHeaders", true)?,
        };
        if let Some(schema) = &config.schema {
            plan.columns(schema)?;
            if config.output_mode == OutputMode::Complete && !has_key(schema) {
                return Err(ConfigError::OutputMode {
                    place: place.to_owned(),
                    format: "kafka".to_owned(),
                    mode: config.output_mode,
                    hint: "a topic cannot be emptied, so every batch would repeat all rows; give them a column key (a compacted topic then keeps the last of each), or use update".to_owned(),
                });
            }
        }
        Ok(plan)
    }

    fn columns(&self, schema: &SchemaRef) -> Result<OutgoingColumns, ConfigError> {
        OutgoingColumns::find(schema, self.topic.is_some(), self.takes_headers)
            .map_err(|reason| ConfigError::Schema { place: self.place.clone(), reason })
    }

    /// How long the client may say nothing of any record: it gives each up after a time of its own.
    fn patience(&self) -> Duration {
        let limits = ["delivery.timeout.ms", "message.timeout.ms"];
        let limit = limits.iter().find_map(|name| self.client.get(name));
        match limit.and_then(|limit| limit.parse().ok()) {
            // The client's word for a record that is never given up.
            Some(0) => Duration::MAX,
            limit => Duration::from_millis(limit.unwrap_or(MESSAGE_TIMEOUT_MS)) + MORE_PATIENCE,
        }
    }

    /// Connects, and sees that the topic is there.
    pub(crate) fn open(self: &Arc<Self>) -> Result<KafkaSink, ConnectorError> {
        let sink = KafkaSink { plan: Arc::clone(self), outbox: self.connect()? };
        if let Some(topic) = &self.topic {
            let wait = Wait::begin(CONNECT_WAIT);
            if partition_count(&sink.outbox, topic, wait)?.is_none() {
                return Err(no_topic(topic));
            }
        }
        Ok(sink)
    }

    fn connect(&self) -> Result<Outbox, ConnectorError> {
        let producer: BaseProducer<Events> =
            self.client.create_with_context(Events::of(&self.place)).map_err(|error| {
                ConnectorError::fatal(format!("{}: no Kafka client: {error}", self.place))
            })?;
        let producer = Arc::new(producer);
        let reports = Reports::new(&producer);
        Ok(Outbox {
            letters: Letters::new(),
            topics: BTreeMap::new(),
            undelivered: Mutex::default(),
            reports,
            producer,
        })
    }
}

/// Whether rows of this schema have keys.
fn has_key(schema: &SchemaRef) -> bool {
    schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case("key"))
}

/// A producer, and the topics that it has written to.
struct Outbox {
    letters: Letters,
    topics: BTreeMap<Arc<str>, Written>,
    /// A record that did not arrive, heard of while something else was asked.
    undelivered: Mutex<Option<Undelivered>>,
    reports: Reports,
    producer: Arc<BaseProducer<Events>>,
}

/// A topic that records go to.
struct Written {
    topic: OutgoingTopic,
    /// How many partitions it had when that was last asked; 0 before.
    partitions: i32,
}

impl Outbox {
    /// A topic, and what it is written to with.
    fn topic(&mut self, name: &Arc<str>) -> Result<(&mut Written, &mut Letters), ConnectorError> {
        let Outbox { letters, topics, producer, .. } = self;
        let topic = match topics.entry(Arc::clone(name)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let topic = OutgoingTopic::new(producer, name).map_err(|error| {
                    ConnectorError::fatal(format!(
                        "nothing can be written to topic \"{name}\": {error}"
                    ))
                })?;
                entry.insert(Written { topic, partitions: 0 })
            }
        };
        Ok((topic, letters))
    }

    /// Whether another client has to go on before something is written to this topic.
    fn is_full_for(&self, topic: &str) -> bool {
        self.topics.len() >= TOPICS_MAX && !self.topics.contains_key(topic)
    }

    /// The next report, waiting for it: whether there was one, and a record that did not arrive.
    fn report(&self, wait: Duration) -> (bool, Option<Undelivered>) {
        match self.undelivered.lock().take() {
            Some(undelivered) => (true, Some(undelivered)),
            None => self.reports.next(wait),
        }
    }
}

impl Asks for Outbox {
    fn metadata(&self, topic: &str, wait: Duration) -> Result<Metadata, KafkaError> {
        let answer = self.producer.client().fetch_metadata(Some(topic), wait);
        // What the client complains of stands among the reports.
        loop {
            let (is_report, undelivered) = self.reports.next(Duration::ZERO);
            if let Some(undelivered) = undelivered {
                self.undelivered.lock().get_or_insert(undelivered);
            }
            if !is_report {
                return answer;
            }
        }
    }

    fn events(&self) -> &Events {
        self.producer.context()
    }
}

/// A Kafka sink that is open.
pub(crate) struct KafkaSink {
    plan: Arc<KafkaSinkPlan>,
    outbox: Outbox,
}

impl KafkaSink {
    /// Takes what the client reports, waiting for the first.
    fn reported(&mut self, mut wait: Duration) -> Result<(), ConnectorError> {
        loop {
            let (is_report, undelivered) = self.outbox.report(wait);
            if let Some(undelivered) = undelivered {
                return Err(self.not_delivered(&undelivered));
            }
            if !is_report {
                return Ok(());
            }
            wait = Duration::ZERO;
        }
    }

    fn not_delivered(&self, undelivered: &Undelivered) -> ConnectorError {
        let Undelivered { error, topic, partition } = undelivered;
        let place = match partition {
            ..0 => topic.clone(),
            partition => format!("{topic}-{partition}"),
        };
        let what = format!("a record for {place} was not delivered: {error}");
        let what = match self.outbox.producer.context().last() {
            Some(heard) => format!("{what} (last heard: {heard})"),
            None => what,
        };
        if is_passing(*error) {
            ConnectorError::retryable(what)
        } else {
            ConnectorError::fatal(what)
        }
    }

    /// Waits until the brokers have all records, or have said of each that they do not.
    fn all_delivered(&mut self) -> Result<(), ConnectorError> {
        let patience = self.plan.patience();
        let (mut left, mut since) = (self.outbox.producer.in_flight_count(), Instant::now());
        while left > 0 {
            self.reported(REPORT_WAIT)?;
            let now = self.outbox.producer.in_flight_count();
            if now != left {
                (left, since) = (now, Instant::now());
            } else if since.elapsed() >= patience {
                return Err(ConnectorError::retryable(format!(
                    "the client has said nothing of {left} records for {} s, longer than it may take to deliver them; a topic that was made anew with fewer partitions does that",
                    patience.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// Sees that a topic has the partitions that rows name. The client would keep a record for one
    /// that is not there, and neither send it nor say so.
    fn check_partitions(
        &mut self,
        topic: &Arc<str>,
        rows: &OutgoingRows<'_>,
        picked: &Picked<'_>,
    ) -> Result<(), ConnectorError> {
        let Some(largest) = rows.largest_partition(picked) else { return Ok(()) };
        if largest < self.outbox.topic(topic)?.0.partitions {
            return Ok(());
        }
        // It may have got more since.
        let wait = Wait::begin(PARTITIONS_WAIT);
        let found = partition_count(&self.outbox, topic, wait)?.ok_or_else(|| no_topic(topic))?;
        self.outbox.topic(topic)?.0.partitions = found;
        if largest < found { Ok(()) } else { Err(no_partition(topic, largest, found)) }
    }

    /// Sends rows to one topic.
    fn send(
        &mut self,
        topic: &Arc<str>,
        rows: &OutgoingRows<'_>,
        picked: &Picked<'_>,
    ) -> Result<(), ConnectorError> {
        if self.outbox.is_full_for(topic) {
            self.all_delivered()?;
            self.outbox = self.plan.connect()?;
        }
        self.check_partitions(topic, rows, picked)?;
        let (mut next, count) = (0, picked.len());
        while next < count {
            let (taken, error) = if rows.has_headers() {
                self.send_one(topic, rows, picked.row(next))?
            } else {
                let records = (next..count).map(|index| rows.record(picked.row(index)));
                let (outgoing, letters) = self.outbox.topic(topic)?;
                outgoing.topic.send(letters, records)
            };
            next += taken;
            match error {
                // The brokers are behind: wait until they have taken some.
                Some(RDKafkaErrorCode::QueueFull) => self.reported(REPORT_WAIT)?,
                Some(error) => return Err(self.not_taken(topic, error, rows, picked.row(next))),
                None if taken == PRODUCE_CHUNK => self.reported(Duration::ZERO)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Sends one row, with headers.
    fn send_one(
        &mut self,
        topic: &Arc<str>,
        rows: &OutgoingRows<'_>,
        row: usize,
    ) -> Result<(usize, Option<RDKafkaErrorCode>), ConnectorError> {
        // Counted, though the call below finds it by its name.
        self.outbox.topic(topic)?;
        let Outgoing { key, value, partition } = rows.record(row);
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).headers(rows.headers(row));
        record.key = key;
        record.payload = value;
        record.partition = (partition >= 0).then_some(partition);
        match self.outbox.producer.send(record) {
            Ok(()) => Ok((1, None)),
            Err((error, _)) => match error.rdkafka_error_code() {
                Some(code) => Ok((0, Some(code))),
                None => Err(ConnectorError::fatal(format!("no record for {topic}: {error}"))),
            },
        }
    }

    fn not_taken(
        &self,
        topic: &str,
        error: RDKafkaErrorCode,
        rows: &OutgoingRows<'_>,
        row: usize,
    ) -> ConnectorError {
        let record = rows.record(row);
        match error {
            RDKafkaErrorCode::MessageSizeTooLarge => {
                let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                ConnectorError::fatal(format!(
                    "a record of {size} bytes for topic \"{topic}\" is larger than the client may send; raise kafka.max.request.size, and max.message.bytes of the topic"
                ))
            }
            // It was there when the topic was asked.
            RDKafkaErrorCode::UnknownPartition => ConnectorError::fatal(format!(
                "a row names partition {} of topic \"{topic}\", which is no longer there; was the topic made anew?",
                record.partition
            )),
            error => {
                let what = format!("a record for topic \"{topic}\" was not taken: {error}");
                if is_passing(error) {
                    ConnectorError::retryable(what)
                } else {
                    ConnectorError::fatal(what)
                }
            }
        }
    }
}

fn no_partition(topic: &str, asked: i32, found: i32) -> ConnectorError {
    let there_are = match found {
        1 => "it has partition 0 alone".to_owned(),
        found => format!("it has {found} partitions, 0 to {}", found - 1),
    };
    ConnectorError::fatal(format!(
        "a row names partition {asked} of topic \"{topic}\", and {there_are}; correct the column partition, leave it null for the partitioner to choose, or add partitions to the topic"
    ))
}

/// Whether the same record may arrive later.
fn is_passing(error: RDKafkaErrorCode) -> bool {
    matches!(
        error,
        RDKafkaErrorCode::MessageTimedOut
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::NotEnoughReplicas
            | RDKafkaErrorCode::NotEnoughReplicasAfterAppend
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::BrokerNotAvailable
            | RDKafkaErrorCode::NetworkException
            // Another record of the batch failed, or the client gave up; it is made anew.
            | RDKafkaErrorCode::PurgeQueue
            | RDKafkaErrorCode::PurgeInflight
            | RDKafkaErrorCode::Fatal
    )
}

impl Sink for KafkaSink {
    fn description(&self) -> String {
        self.plan.description()
    }

    fn held(&mut self) -> Result<Held, ConnectorError> {
        Ok(Held::Unknown)
    }

    fn begin(&mut self, _: Delivery) -> Result<Begin, ConnectorError> {
        if self.outbox.producer.client().fatal_error().is_some() {
            self.outbox = self.plan.connect()?;
        }
        // What the client had to say since the last batch.
        self.reported(Duration::ZERO)?;
        Ok(Begin::Wanted)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        let columns = self
            .plan
            .columns(&rows.schema())
            .map_err(|error| ConnectorError::fatal(error.to_string()))?;
        let topic = self.plan.topic.clone();
        let rows = OutgoingRows::new(rows, &columns)?;
        match topic {
            Some(topic) => self.send(&topic, &rows, &rows.all())?,
            None => {
                for (topic, picked) in rows.by_topic()? {
                    let topic = String::from_utf8_lossy(topic).as_ref().into();
                    self.send(&topic, &rows, &Picked::These(&picked))?;
                }
            }
        }
        self.reported(Duration::ZERO)
    }

    fn prepare(&mut self) -> Result<(), ConnectorError> {
        self.all_delivered()
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn abort(&mut self) -> Result<(), ConnectorError> {
        self.outbox.producer.purge(PurgeConfig::default().queue().inflight());
        let begun = Instant::now();
        while self.outbox.producer.in_flight_count() > 0 {
            if begun.elapsed() >= ABORT_WAIT {
                self.outbox = self.plan.connect()?;
                return Ok(());
            }
            self.outbox.report(REPORT_WAIT);
        }
        *self.outbox.undelivered.lock() = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn any_number_of_topics_holds_a_bounded_number_of_them() {
        let options = [("kafka.bootstrap.servers", "127.0.0.1:1")];
        let config = SinkConfig {
            format: "kafka".to_owned(),
            options: options.map(|(k, v)| (k.to_owned(), v.into())).into(),
            ..SinkConfig::default()
        };
        let plan = Arc::new(KafkaSinkPlan::new(&config, "sink").unwrap());
        let mut sink = plan.open().unwrap();
        let value: ArrayRef = Arc::new(StringArray::from(vec!["v"]));
        let topic: ArrayRef = Arc::new(StringArray::from(vec!["t"]));
        let rows = RecordBatch::try_from_iter([("value", value), ("topic", topic)]).unwrap();
        let columns = plan.columns(&rows.schema()).unwrap();
        let rows = OutgoingRows::new(&rows, &columns).unwrap();
        for number in 0..TOPICS_MAX * 2 + 7 {
            // Nobody is there to take a record, so none is given.
            sink.send(&format!("topic-{number}").into(), &rows, &Picked::These(&[])).unwrap();
            sink.outbox.topic(&format!("topic-{number}").into()).unwrap();
            assert!(sink.outbox.topics.len() <= TOPICS_MAX);
        }
        assert_eq!(sink.outbox.topics.len(), 7);
    }
}
