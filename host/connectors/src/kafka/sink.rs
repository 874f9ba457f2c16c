//! Rows become records of a topic, at least once.
//!
//! `write` hands rows to the client, which sends them while the batch goes on; `prepare` waits
//! until the brokers have them all. A batch that runs again sends its records again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
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
            if config.output_mode == OutputMode::Complete && schema.index_of("key").is_err() {
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
        Ok(Outbox { letters: Letters::new(), topics: BTreeMap::new(), reports, producer })
    }
}

/// A producer, and the topics that it has written to.
struct Outbox {
    letters: Letters,
    topics: BTreeMap<Arc<str>, OutgoingTopic>,
    reports: Reports,
    producer: Arc<BaseProducer<Events>>,
}

impl Outbox {
    /// A topic, and what it is written to with.
    fn topic(&mut self, name: &Arc<str>) -> Result<(&OutgoingTopic, &mut Letters), ConnectorError> {
        let Outbox { letters, topics, producer, .. } = self;
        let topic = match topics.entry(Arc::clone(name)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(OutgoingTopic::new(producer, name).map_err(|error| {
                    ConnectorError::fatal(format!(
                        "nothing can be written to topic \"{name}\": {error}"
                    ))
                })?)
            }
        };
        Ok((topic, letters))
    }
}

impl Asks for Outbox {
    fn metadata(&self, topic: &str, wait: Duration) -> Result<Metadata, KafkaError> {
        let answer = self.producer.client().fetch_metadata(Some(topic), wait);
        while self.reports.next(Duration::ZERO).0 {}
        answer
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
            let (is_report, undelivered) = self.outbox.reports.next(wait);
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
        let what = format!("a record for {topic}-{partition} was not delivered: {error}");
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

    /// Sends rows to one topic.
    fn send(
        &mut self,
        topic: &Arc<str>,
        rows: &OutgoingRows<'_>,
        picked: &Picked<'_>,
    ) -> Result<(), ConnectorError> {
        let (mut next, count) = (0, picked.len());
        while next < count {
            let (taken, error) = if rows.has_headers() {
                self.send_one(topic, rows, picked.row(next))?
            } else {
                let records = (next..count).map(|index| rows.record(picked.row(index)));
                let (outgoing, letters) = self.outbox.topic(topic)?;
                outgoing.send(letters, records)
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
        &self,
        topic: &Arc<str>,
        rows: &OutgoingRows<'_>,
        row: usize,
    ) -> Result<(usize, Option<RDKafkaErrorCode>), ConnectorError> {
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
            RDKafkaErrorCode::UnknownPartition => ConnectorError::fatal(format!(
                "a row names partition {} of topic \"{topic}\", which it does not have",
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
        while self.outbox.producer.in_flight_count() > 0 {
            self.reported(REPORT_WAIT)?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn abort(&mut self) -> Result<(), ConnectorError> {
        self.outbox.producer.purge(PurgeConfig::default().queue().inflight());
        while self.outbox.producer.in_flight_count() > 0 {
            self.outbox.reports.next(REPORT_WAIT);
        }
        Ok(())
    }
}
