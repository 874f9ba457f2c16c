//! What the source asks the broker, and what the client says by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidemill_core::ConnectorError;

use super::offsets::{EARLIEST, Offsets, TopicPartition};

/// How long a query waits for the broker as it starts.
pub(super) const CONNECT_WAIT: Duration = Duration::from_secs(30);

/// One question to the broker waits so long, so that errors are seen meanwhile.
const ASK_WAIT: Duration = Duration::from_secs(2);

/// Between two questions, the first of which was answered at once by what may pass.
const PAUSE: Duration = Duration::from_millis(50);

/// How long something is waited for, from the making of this on.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    began: Instant,
    most: Duration,
}

impl Wait {
    pub(super) fn begin(most: Duration) -> Wait {
        Wait { began: Instant::now(), most }
    }

    fn elapsed(self) -> Duration {
        self.began.elapsed()
    }

    fn left(self) -> Duration {
        self.most.saturating_sub(self.elapsed())
    }
}

/// How long a topic that was just made may be unknown to the broker that is asked.
const UNKNOWN_TOPIC_WAIT: Duration = Duration::from_secs(3);

/// How long a connection that cannot be encrypted is tried.
const ENCRYPTION_WAIT: Duration = Duration::from_secs(10);

/// Facility of the client's complaints about settings that have no effect where they are.
const SETTINGS: &str = "CONFWARN";

/// Keeps the last thing that went wrong, which the calls' own errors do not say.
pub(super) struct Events {
    /// Whose client it is.
    place: String,
    last: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl Events {
    pub(super) fn of(place: &str) -> Events {
        Events { place: place.to_owned(), last: Mutex::default() }
    }

    /// What went wrong last.
    pub(super) fn last(&self) -> Option<String> {
        self.last.lock().as_ref().map(|(_, reason)| reason.clone())
    }

    /// What went wrong and will not pass by waiting: who we are, or whom we trust. A broker that
    /// is just starting breaks encrypted connections off, so these get some time.
    fn denied(&self, wait: Wait) -> Option<String> {
        let last = self.last.lock();
        let (code, reason) = last.as_ref()?;
        let may_pass = *code == RDKafkaErrorCode::SSL && wait.elapsed() < ENCRYPTION_WAIT;
        (is_denial(*code) && !may_pass).then(|| reason.clone())
    }

    fn note(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut last = self.last.lock();
        // "All brokers are down" follows each reason, and says less.
        if last.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *last = Some((code, reason.to_owned()));
        }
    }
}

fn is_denial(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            _ if facility == SETTINGS => tracing::warn!("{}: {message}", self.place),
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::debug!(facility, "{}: {message}", self.place),
            _ => tracing::trace!(facility, "{}: {message}", self.place),
        }
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        self.note(code, reason);
        tracing::warn!("{}: {reason}", self.place);
    }
}

impl ConsumerContext for Events {}

impl ProducerContext for Events {
    type DeliveryOpaque = ();

    // Reports are taken from the queue in whole batches and never come here.
    fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

/// Which topics or partitions a source reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Subscription {
    /// All partitions of these topics.
    Topics(BTreeSet<Arc<str>>),
    /// These partitions.
    Partitions(BTreeSet<TopicPartition>),
}

impl Subscription {
    fn topics(&self) -> BTreeSet<Arc<str>> {
        match self {
            Subscription::Topics(topics) => topics.clone(),
            Subscription::Partitions(places) => {
                places.iter().map(|place| Arc::clone(&place.topic)).collect()
            }
        }
    }
}

/// A client's handle, whatever it is for.
pub(super) trait Asks {
    fn metadata(
        &self,
        topic: &str,
        wait: Duration,
    ) -> Result<rdkafka::metadata::Metadata, KafkaError>;
    fn events(&self) -> &Events;
}

impl Asks for BaseConsumer<Events> {
    fn metadata(
        &self,
        topic: &str,
        wait: Duration,
    ) -> Result<rdkafka::metadata::Metadata, KafkaError> {
        self.fetch_metadata(Some(topic), wait)
    }

    fn events(&self) -> &Events {
        self.client().context()
    }
}

/// How many partitions a topic has, `None` where there is no such topic.
pub(super) fn partition_count(
    client: &impl Asks,
    topic: &str,
    wait: Wait,
) -> Result<Option<i32>, ConnectorError> {
    loop {
        let left = wait.left();
        let answer = client.metadata(topic, left.clamp(Duration::from_millis(1), ASK_WAIT));
        let error = match answer {
            Ok(metadata) => {
                let found = metadata.topics().iter().find(|found| found.name() == topic);
                let error = found.and_then(|found| found.error()).map(RDKafkaErrorCode::from);
                match (found, error) {
                    (Some(found), None) if !found.partitions().is_empty() => {
                        let count = found.partitions().len();
                        return Ok(Some(i32::try_from(count).unwrap_or(i32::MAX)));
                    }
                    (_, error) => error.unwrap_or(RDKafkaErrorCode::UnknownTopicOrPartition),
                }
            }
            Err(error) => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown),
        };
        if let Some(reason) = client.events().denied(wait) {
            return Err(ConnectorError::fatal(format!("Kafka refuses the connection: {reason}")));
        }
        let is_unknown = matches!(
            error,
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic
        );
        if is_unknown && wait.elapsed() >= UNKNOWN_TOPIC_WAIT {
            return Ok(None);
        }
        if is_denial(error) {
            let what = format!("the topic \"{topic}\" may not be used: {error}");
            return Err(ConnectorError::fatal(what));
        }
        if wait.left().is_zero() {
            return Err(unreachable(client.events(), &format!("topic \"{topic}\": {error}")));
        }
        // An answer that came at once would come again at once.
        std::thread::sleep(PAUSE.min(left));
    }
}

/// The error for a topic that has to be there.
pub(super) fn no_topic(topic: &str) -> ConnectorError {
    ConnectorError::fatal(format!(
        "there is no topic \"{topic}\" on the Kafka cluster; create it, or correct its name"
    ))
}

fn unreachable(events: &Events, error: &str) -> ConnectorError {
    let heard = events.last().map(|heard| format!(" (last heard: {heard})"));
    ConnectorError::retryable(format!(
        "Kafka does not answer: {error}{}; check kafka.bootstrap.servers and the broker",
        heard.unwrap_or_default()
    ))
}

/// The partitions that a subscription has now, and the topics that there are not.
pub(super) fn partitions(
    client: &BaseConsumer<Events>,
    subscription: &Subscription,
    wait: Wait,
) -> Result<(BTreeSet<TopicPartition>, Vec<Arc<str>>), ConnectorError> {
    let mut places = BTreeSet::new();
    let mut missing = Vec::new();
    for topic in subscription.topics() {
        match partition_count(client, &topic, wait)? {
            Some(count) => places.extend(
                (0..count).map(|partition| TopicPartition { topic: Arc::clone(&topic), partition }),
            ),
            None => missing.push(topic),
        }
    }
    if let Subscription::Partitions(assigned) = subscription {
        places.retain(|place| assigned.contains(place));
    }
    Ok((places, missing))
}

/// The partitions that a subscription has as a query starts: all topics have to be there, and all
/// partitions that are named.
pub(super) fn all_partitions(
    client: &BaseConsumer<Events>,
    subscription: &Subscription,
    wait: Wait,
) -> Result<BTreeSet<TopicPartition>, ConnectorError> {
    let (places, missing) = partitions(client, subscription, wait)?;
    if let Some(topic) = missing.first() {
        return Err(no_topic(topic));
    }
    match subscription {
        Subscription::Topics(_) => Ok(places),
        Subscription::Partitions(assigned) => match assigned.difference(&places).next() {
            None => Ok(places),
            Some(missing) => Err(ConnectorError::fatal(format!(
                "there is no partition {missing} on the Kafka cluster; correct assign"
            ))),
        },
    }
}

/// Whether a partition is new, or has another leader, which the client learns by this error.
fn has_moved(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
    )
}

/// Asks the brokers for the first or the last offset of some partitions, all at once.
///
/// `which` is [`EARLIEST`] or [`super::offsets::LATEST`]; the latter is the last stable offset
/// for a reader of committed records.
pub(super) fn offsets_at<'a>(
    client: &BaseConsumer<Events>,
    places: impl Iterator<Item = &'a TopicPartition>,
    which: i64,
    wait: Duration,
) -> Result<Offsets, ConnectorError> {
    let mut asked = TopicPartitionList::new();
    // The protocol has these two in place of times.
    let time = if which == EARLIEST { Offset::Beginning } else { Offset::End };
    for place in places {
        asked.add_partition_offset(&place.topic, place.partition, time).map_err(|error| {
            ConnectorError::fatal("no offset can be asked for").caused_by(error)
        })?;
    }
    if asked.count() == 0 {
        return Ok(Offsets::default());
    }
    let begun = Instant::now();
    let answer = loop {
        let left = wait.saturating_sub(begun.elapsed());
        match client.offsets_for_times(asked.clone(), left) {
            Ok(answer) => break answer,
            Err(error) if has_moved(&error) && !left.is_zero() => std::thread::sleep(PAUSE),
            Err(error) => return Err(unreachable(client.events(), &error.to_string())),
        }
    };
    let mut offsets = Offsets::default();
    for element in answer.elements() {
        let place =
            TopicPartition { topic: element.topic().into(), partition: element.partition() };
        match (element.error(), element.offset()) {
            (Ok(()), Offset::Offset(offset)) => offsets.insert(place, offset),
            (Err(error), _) => {
                return Err(unreachable(client.events(), &format!("{place}: {error}")));
            }
            (Ok(()), other) => {
                return Err(unreachable(client.events(), &format!("{place} has {other:?}")));
            }
        }
    }
    Ok(offsets)
}
