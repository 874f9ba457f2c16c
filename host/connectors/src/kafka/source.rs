//! `kafka`: topics of Kafka, as Spark's source reads them.
//!
//! ```text
//!                 position                 end of the range          high watermark
//!  partition 0  -----|--------------------------|-------------------------|
//!  partition 1  ---------|-------------|--------------------|
//! ```
//!
//! The client fetches all partitions ahead, within bounds, from the position on. A range is fixed
//! by what the client has heard of the partitions' ends, without a question to the broker; where
//! what is committed, or all that there is, has to be read, the broker is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use serde_json::Value;
use tidemill_core::{AskAgain, ConnectorError, RangeReader, ReadLimit, Source, SourceRange, Wake};

use super::client::{CONNECT_WAIT, Events, Subscription, offsets_at};
use super::columns;
use super::link::{DEFAULTS, Link, READ_UNCOMMITTED, sets_queue};
use super::native::cached_end;
use super::offsets::{EARLIEST, LATEST, Offsets, StartingOffsets, TopicPartition, limited};
use super::reader::{KafkaReader, lose};
use super::settings;
use crate::malformed::MALFORMED_ROWS;
use crate::options::{Known, Options};
use crate::{Clock, ConfigError, SourceConfig};

const OPTIONS: Known = Known {
    built: &[
        "subscribe",
        "assign",
        "startingOffsets",
        "maxOffsetsPerTrigger",
        "minOffsetsPerTrigger",
        "maxTriggerDelay",
        "failOnDataLoss",
        "includeHeaders",
        "kafkaConsumer.pollTimeoutMs",
    ],
    later: &[
        "subscribePattern",
        "startingTimestamp",
        "startingOffsetsByTimestamp",
        "startingOffsetsByTimestampStrategy",
        "endingOffsets",
        "endingTimestamp",
        "endingOffsetsByTimestamp",
        "minPartitions",
        "maxRecordsPerPartition",
        "groupIdPrefix",
        "fetchOffset.numRetries",
        "fetchOffset.retryIntervalMs",
    ],
};

/// One question for offsets waits so long.
const OFFSETS_WAIT: Duration = Duration::from_secs(5);

/// After a broker did not answer, the query asks it again so soon.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Spark's default of `maxTriggerDelay`.
const MAX_TRIGGER_DELAY_MS: i64 = 15 * 60 * 1_000;

/// Spark's default of `kafkaConsumer.pollTimeoutMs` (`spark.network.timeout`).
const POLL_TIMEOUT_MS: u64 = 120_000;

/// A Kafka source that could be connected.
pub(crate) struct KafkaPlan {
    place: String,
    client: ClientConfig,
    /// Whether the job sets how much is fetched ahead.
    sets_queue: bool,
    subscription: Subscription,
    starting: StartingOffsets,
    limit: Option<u64>,
    least: Option<LeastRange>,
    fails_on_data_loss: bool,
    has_headers: bool,
    patience: Duration,
}

/// What a range has to have, or else has to have waited for.
#[derive(Clone, Copy)]
struct LeastRange {
    records: u64,
    /// A range follows the one before after so long, with fewer records, too.
    delay_ms: i64,
}

impl LeastRange {
    fn of(options: &Options) -> Result<Option<LeastRange>, ConfigError> {
        let delay_ms = options.millis("maxTriggerDelay", "milliseconds")?;
        let Some(records) = options.number("minOffsetsPerTrigger", 1)? else {
            return match delay_ms {
                None => Ok(None),
                Some(_) => Err(options.bad(
                    "maxTriggerDelay",
                    "it is how long minOffsetsPerTrigger waits: give that, too, or leave this out",
                )),
            };
        };
        if let Some(most) = options.number("maxOffsetsPerTrigger", 1)?
            && records > most
        {
            let wanted = "it must not be more than maxOffsetsPerTrigger";
            return Err(options.bad("minOffsetsPerTrigger", wanted));
        }
        let delay_ms = delay_ms.unwrap_or(MAX_TRIGGER_DELAY_MS);
        Ok(Some(LeastRange { records, delay_ms }))
    }
}

impl KafkaPlan {
    pub(crate) fn new(config: &SourceConfig, place: &str) -> Result<KafkaPlan, ConfigError> {
        if config.path.is_some() || config.schema.is_some() {
            return Err(ConfigError::Schema {
                place: place.to_owned(),
                reason: "a Kafka source has no path, and its columns are fixed (key, value, topic, …); remove path and schema. value = { format = \"json\", schema = \"…\" } takes values apart".to_owned(),
            });
        }
        let (client, others) = settings::split(place, &config.options, &DEFAULTS)?;
        let options = Options::check(place, &others, &[OPTIONS])?;
        let starting = match options.text("startingOffsets") {
            None => StartingOffsets::Latest,
            Some(text) => StartingOffsets::parse(text)
                .map_err(|wanted| options.bad("startingOffsets", &wanted))?,
        };
        let poll_timeout = options.number("kafkaConsumer.pollTimeoutMs", 1)?;
        Ok(KafkaPlan {
            place: place.to_owned(),
            client,
            sets_queue: sets_queue(&config.options),
            subscription: subscription(&options)?,
            starting,
            limit: options.number("maxOffsetsPerTrigger", 1)?,
            least: LeastRange::of(&options)?,
            fails_on_data_loss: options.bool("failOnDataLoss", true)?,
            has_headers: options.bool("includeHeaders", false)?,
            patience: Duration::from_millis(poll_timeout.unwrap_or(POLL_TIMEOUT_MS)),
        })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        columns::schema(self.has_headers)
    }

    /// Connects when the first range is asked for. `clock` says how long records have waited.
    pub(crate) fn open(self: &Arc<Self>, clock: Clock) -> KafkaSource {
        let link = Link::new(&self.place, &self.client, self.sets_queue, &self.subscription);
        let link = Arc::new(link);
        let reader = KafkaReader {
            link: Arc::clone(&link),
            has_headers: self.has_headers,
            patience: self.patience,
            fails_on_data_loss: self.fails_on_data_loss,
            malformed: Arc::default(),
        };
        KafkaSource {
            plan: Arc::clone(self),
            link,
            reader: Arc::new(reader),
            position: None,
            fixed_end: None,
            latest: Offsets::default(),
            unanswered_since: None,
            clock,
            triggered_ms: None,
            is_delayed: false,
        }
    }

    fn reads_uncommitted(&self) -> bool {
        self.client.get("isolation.level") == Some(READ_UNCOMMITTED)
    }
}

fn subscription(options: &Options) -> Result<Subscription, ConfigError> {
    match (options.text("subscribe"), options.text("assign")) {
        (Some(topics), None) => {
            let topics: BTreeSet<Arc<str>> =
                topics.split(',').map(str::trim).filter(|t| !t.is_empty()).map(Arc::from).collect();
            if topics.is_empty() {
                return Err(options.bad("subscribe", "it has to name topics: \"orders,payments\""));
            }
            Ok(Subscription::Topics(topics))
        }
        (None, Some(text)) => {
            let wanted = "it has to be JSON like {\"orders\":[0,1]}";
            let bad = || options.bad("assign", wanted);
            let topics: BTreeMap<String, Vec<i32>> =
                serde_json::from_str(text).map_err(|_| bad())?;
            let mut places = BTreeSet::new();
            for (topic, numbers) in topics {
                let topic: Arc<str> = topic.into();
                for partition in numbers {
                    if partition < 0 {
                        return Err(bad());
                    }
                    places.insert(TopicPartition { topic: Arc::clone(&topic), partition });
                }
            }
            if places.is_empty() { Err(bad()) } else { Ok(Subscription::Partitions(places)) }
        }
        (Some(_), Some(_)) => {
            Err(options.bad("assign", "subscribe is given as well: keep one of them"))
        }
        (None, None) => Err(ConfigError::Missing {
            place: options.place().to_owned(),
            what: "option subscribe or assign".to_owned(),
            hint: "name the topics: subscribe = \"orders,payments\"".to_owned(),
        }),
    }
}

/// A running Kafka source.
pub(crate) struct KafkaSource {
    plan: Arc<KafkaPlan>,
    link: Arc<Link>,
    reader: Arc<KafkaReader>,
    /// Where the last range ended; `None` before the first.
    position: Option<Offsets>,
    /// Set once the input's end is fixed.
    fixed_end: Option<Offsets>,
    /// The partitions' ends as last heard.
    latest: Offsets,
    /// Since when the broker has not answered.
    unanswered_since: Option<Instant>,
    clock: Clock,
    /// When records were last let through; `None` before the first time in this run.
    triggered_ms: Option<i64>,
    /// Records are there and wait for more.
    is_delayed: bool,
}

/// The end of a partition as the client has heard of it.
fn heard_end(client: &BaseConsumer<Events>, place: &TopicPartition) -> Option<i64> {
    let topic = CString::new(place.topic.as_bytes()).ok()?;
    cached_end(client, &topic, place.partition)
}

/// What a range begins with.
struct Beginning {
    offsets: Offsets,
    /// Those that are not where the last range ended.
    moved: Offsets,
}

impl KafkaSource {
    /// Where a new query begins.
    fn first_offsets(&mut self) -> Result<Offsets, ConnectorError> {
        let starting = self.plan.starting.clone();
        let place = self.plan.place.clone();
        let connected = self.link.connected()?;
        let places = connected.watch.places();
        let ask = |which| offsets_at(&connected.client, places.iter(), which, CONNECT_WAIT);
        let given = match starting {
            StartingOffsets::Earliest => return ask(EARLIEST),
            StartingOffsets::Latest => return ask(LATEST),
            StartingOffsets::At(given) => given,
        };
        let named: BTreeSet<TopicPartition> = given.places().cloned().collect();
        if named != places {
            let list = |places: Vec<&TopicPartition>| {
                places.into_iter().map(TopicPartition::to_string).collect::<Vec<_>>().join(", ")
            };
            return Err(ConnectorError::fatal(format!(
                "{place}: startingOffsets has to name every partition, -2 for the earliest and -1 for the latest offset; it lacks [{}] and names [{}], which are not read",
                list(places.difference(&named).collect()),
                list(named.difference(&places).collect()),
            )));
        }
        let (earliest, latest) = (ask(EARLIEST)?, ask(LATEST)?);
        let resolve = |(place, offset): (&TopicPartition, &i64)| {
            let known = match *offset {
                EARLIEST => earliest.get(place),
                LATEST => latest.get(place),
                offset => Some(offset),
            };
            (place.clone(), known.unwrap_or(*offset))
        };
        Ok(given.iter().map(resolve).collect())
    }

    /// Where the next range begins: at the position, at the first record of partitions that are
    /// new, and without those that are gone.
    fn beginning(&mut self) -> Result<Beginning, ConnectorError> {
        let Some(position) = self.position.clone() else {
            let offsets = self.first_offsets()?;
            return Ok(Beginning { moved: offsets.clone(), offsets });
        };
        let plan = Arc::clone(&self.plan);
        let connected = self.link.connected()?;
        let places = connected.watch.places();
        let mut offsets = position.clone();
        for gone in position.places().filter(|place| !places.contains(place)) {
            let from = position.get(gone).unwrap_or(0);
            lose(
                plan.fails_on_data_loss,
                &format!("{gone} is gone; what it had from offset {from} on was not read"),
            )?;
            offsets.remove(gone);
        }
        let new = places.iter().filter(|place| position.get(place).is_none());
        // One that nobody leads yet holds up no other; it is still new the next time.
        let moved = match offsets_at(&connected.client, new, EARLIEST, OFFSETS_WAIT) {
            Err(error) if error.is_retryable() => {
                tracing::debug!("new partitions wait: {error}");
                Offsets::default()
            }
            moved => moved?,
        };
        for (place, first) in moved.iter().filter(|(_, first)| **first > 0) {
            lose(
                plan.fails_on_data_loss,
                &format!(
                    "{place} is new and begins at offset {first}; what it had before was not read"
                ),
            )?;
        }
        offsets.extend(&moved);
        Ok(Beginning { offsets, moved })
    }

    /// The ends of the partitions as the client has heard of them, and of the rest as the broker
    /// says.
    fn heard_ends(
        &self,
        client: &BaseConsumer<Events>,
        from: &Offsets,
    ) -> Result<Offsets, ConnectorError> {
        let mut ends = Offsets::default();
        let mut unknown = Vec::new();
        for place in from.places() {
            match heard_end(client, place) {
                Some(end) => ends.insert(place.clone(), end),
                None => unknown.push(place),
            }
        }
        ends.extend(&offsets_at(client, unknown.into_iter(), LATEST, OFFSETS_WAIT)?);
        Ok(ends)
    }

    /// Whether nobody answers who could say that there is more. Where the input's end is fixed,
    /// nobody has to.
    fn is_unanswered(&self) -> bool {
        let is_open = self.fixed_end.is_none() && self.link.is_connected();
        is_open && self.link.connected().is_ok_and(|connected| connected.watch.is_unanswered())
    }

    /// Whether as many records as one range may have are there already, as far as the client has
    /// heard: which says nothing of records that are committed.
    fn reaches_limit(&self) -> bool {
        if !self.plan.reads_uncommitted() {
            return false;
        }
        let (Some(limit), Some(position)) = (self.plan.limit, &self.position) else {
            return false;
        };
        let Ok(connected) = self.link.connected() else {
            return false;
        };
        let records = position.iter().map(|(place, from)| {
            heard_end(&connected.client, place).map_or(0, |end| end.saturating_sub(*from).max(0))
        });
        records.fold(0_u64, |sum, records| sum.saturating_add(records.unsigned_abs())) >= limit
    }

    /// How far the input goes now.
    fn ends(&mut self, from: &Offsets, bound: ReadLimit) -> Result<Offsets, ConnectorError> {
        if let Some(fixed) = &self.fixed_end {
            return Ok(fixed.clone());
        }
        let connected = self.link.connected()?;
        let client = Arc::clone(&connected.client);
        let heard = self.heard_ends(&client, from)?;
        let is_more = heard.iter().any(|(place, end)| from.get(place) != Some(*end));
        // While records wait for more, the client may stop fetching, and hears of no further ends.
        let is_exact = self.plan.reads_uncommitted() && self.plan.least.is_none();
        if bound == ReadLimit::Limited && (is_exact || !is_more) {
            return Ok(heard);
        }
        offsets_at(&client, from.places(), LATEST, OFFSETS_WAIT)
    }

    /// Partitions that end before the position, or whose position is gone, were emptied or made
    /// anew: they are read from what is left, if the job allows that.
    fn replace_lost(
        &self,
        begin: &mut Beginning,
        ends: &mut Offsets,
        lost: Vec<TopicPartition>,
    ) -> Result<(), ConnectorError> {
        let connected = self.link.connected()?;
        let mut suspects = BTreeSet::from_iter(lost);
        for (place, end) in ends.iter() {
            if begin.offsets.get(place).is_some_and(|from| from > *end) {
                suspects.insert(place.clone());
            }
        }
        if suspects.is_empty() {
            return Ok(());
        }
        // A broker that just took a partition over may have named an end that was too small.
        let ask = |which| offsets_at(&connected.client, suspects.iter(), which, OFFSETS_WAIT);
        let (earliest, latest) = (ask(EARLIEST)?, ask(LATEST)?);
        for place in &suspects {
            let from = begin.offsets.get(place).unwrap_or(0);
            let first = earliest.get(place).unwrap_or(from);
            let last = latest.get(place).unwrap_or(from);
            connected.fetches.forget(place);
            if (first..=last).contains(&from) {
                continue;
            }
            // As in Spark: what a partition ends before is not read again.
            let next = if from < first { first } else { last };
            lose(
                self.plan.fails_on_data_loss,
                &format!(
                    "{place} has no offset {from}: it begins at {first} and ends at {last}; records were deleted before they were read, or the topic was made anew. Its next offset is {next}"
                ),
            )?;
            begin.offsets.insert(place.clone(), next);
            begin.moved.insert(place.clone(), next);
            ends.insert(place.clone(), last);
        }
        connected.fetches.start(&begin.offsets)
    }

    /// Whether what is new has to wait for more (Spark's delayBatch). A fixed end and a range
    /// of everything wait for nothing, and neither does a loss that has to be recorded.
    fn waits_for_more(&mut self, begin: &Beginning, latest: &Offsets, bound: ReadLimit) -> bool {
        let (Some(least), Some(position)) = (self.plan.least, &self.position) else {
            self.triggered_ms = Some((self.clock)());
            return false;
        };
        let is_lost = position
            .places()
            .any(|place| begin.offsets.get(place).is_none() || begin.moved.get(place).is_some());
        if bound == ReadLimit::Unlimited || self.fixed_end.is_some() || is_lost {
            return false;
        }
        let now = (self.clock)();
        // A partition that is new counts from 0, as in Spark.
        let new = latest.iter().map(|(place, end)| {
            end.saturating_sub(position.get(place).unwrap_or(0)).max(0).unsigned_abs()
        });
        let records = new.fold(0_u64, u64::saturating_add);
        let is_over =
            self.triggered_ms.is_none_or(|last| now.saturating_sub(last) >= least.delay_ms);
        if is_over || records >= least.records {
            self.triggered_ms = Some(now);
            return false;
        }
        self.is_delayed = records > 0;
        true
    }

    /// When to look whether the delay is over, or the records are enough: the client does not tell
    /// of records behind others that nobody took.
    fn end_of_delay(&self) -> Option<Duration> {
        let (least, last) = (self.plan.least?, self.triggered_ms?);
        if self.fixed_end.is_some() {
            return None;
        }
        let left = last.saturating_add(least.delay_ms).saturating_sub((self.clock)()).max(1);
        let left = Duration::from_millis(left.unsigned_abs());
        Some(if self.is_delayed { left.min(ASK_AGAIN) } else { left })
    }

    fn range(&mut self, bound: ReadLimit) -> Result<Option<SourceRange>, ConnectorError> {
        let mut begin = self.beginning()?;
        let connected = self.link.connected()?;
        connected.fetches.start(&begin.offsets)?;
        // First, so that what is behind the ends that are read next finds empty queues, and calls.
        let lost = connected.fetches.settle()?;
        let mut latest = self.ends(&begin.offsets, bound)?;
        self.replace_lost(&mut begin, &mut latest, lost)?;
        self.is_delayed = false;
        if self.waits_for_more(&begin, &latest, bound) {
            self.latest = latest;
            return Ok(None);
        }
        let mut ends = match (self.plan.limit, bound) {
            (Some(limit), ReadLimit::Limited) => limited(&begin.offsets, &latest, limit),
            _ => latest.clone(),
        };
        // What was asked for may have been answered from another moment.
        for (place, from) in begin.offsets.iter() {
            let end = ends.get(place).unwrap_or(*from);
            ends.insert(place.clone(), end.max(*from));
        }
        let gone: Vec<TopicPartition> =
            ends.places().filter(|place| begin.offsets.get(place).is_none()).cloned().collect();
        gone.iter().for_each(|place| ends.remove(place));
        self.latest = latest;
        let is_first = self.position.is_none();
        // As in Spark, the first batch runs without rows too: it fixes where the query began.
        if !is_first && begin.moved.is_empty() && self.position.as_ref() == Some(&ends) {
            return Ok(None);
        }
        let start = self.position();
        let parts = if begin.moved.is_empty() { Value::Null } else { begin.moved.to_json() };
        let range = SourceRange { start, end: ends.to_json(), parts };
        self.position = Some(ends);
        Ok(Some(range))
    }
}

impl Source for KafkaSource {
    fn description(&self) -> String {
        match &self.plan.subscription {
            Subscription::Topics(topics) => {
                let topics: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
                format!("KafkaV2[Subscribe[{}]]", topics.join(", "))
            }
            Subscription::Partitions(places) => {
                let places: Vec<String> = places.iter().map(TopicPartition::to_string).collect();
                format!("KafkaV2[Assign[{}]]", places.join(", "))
            }
        }
    }

    fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    fn next_range(&mut self, bound: ReadLimit) -> Result<Option<SourceRange>, ConnectorError> {
        let is_started = self.link.is_connected() && self.position.is_some();
        match self.range(bound) {
            Ok(range) => {
                self.unanswered_since = None;
                Ok(range)
            }
            // A broker that restarts is waited for, as long as for a record of a range.
            Err(error) if error.is_retryable() && is_started => {
                let since = *self.unanswered_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.plan.patience {
                    return Err(error);
                }
                if since.elapsed() < ASK_AGAIN {
                    tracing::warn!(source = %self.plan.place, "{error}; asking again each second");
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn is_next_settled(&self) -> bool {
        self.fixed_end.is_some() || self.reaches_limit()
    }

    fn stop_at_present_end(&mut self) -> Result<(), ConnectorError> {
        let connected = self.link.connected()?;
        let places = connected.watch.places();
        let ends = offsets_at(&connected.client, places.iter(), LATEST, CONNECT_WAIT)?;
        self.fixed_end = Some(ends);
        Ok(())
    }

    fn advance(&mut self, range: &SourceRange) -> Result<(), ConnectorError> {
        self.restore(&range.end)
    }

    fn position(&self) -> Value {
        self.position.as_ref().map_or(Value::Null, Offsets::to_json)
    }

    fn restore(&mut self, position: &Value) -> Result<(), ConnectorError> {
        self.position = match position {
            Value::Null => None,
            json => Some(Offsets::from_json(json).map_err(|reason| {
                let place = &self.plan.place;
                ConnectorError::fatal(format!(
                    "{place}: the checkpoint's position cannot be read: {reason}"
                ))
            })?),
        };
        Ok(())
    }

    fn reader(&self) -> Arc<dyn RangeReader> {
        Arc::clone(&self.reader) as Arc<dyn RangeReader>
    }

    fn notify(&mut self, wake: Wake) {
        self.link.wake_by(wake);
    }

    fn connect(&mut self) -> Result<(), ConnectorError> {
        self.link.connected().map(drop)
    }

    fn ask_again(&self) -> AskAgain {
        if self.unanswered_since.is_some() || self.is_unanswered() {
            return AskAgain::Unanswered(ASK_AGAIN);
        }
        self.end_of_delay().map_or(AskAgain::WhenWoken, AskAgain::After)
    }

    fn latest(&self) -> Value {
        self.latest.to_json()
    }

    fn metrics(&self, end: &Value) -> BTreeMap<String, String> {
        let malformed = self.reader.malformed.settle(end, &self.description());
        let mut figures: BTreeMap<String, String> = (malformed > 0)
            .then(|| (MALFORMED_ROWS.to_owned(), malformed.to_string()))
            .into_iter()
            .collect();
        let Ok(end) = Offsets::from_json(end) else {
            return figures;
        };
        let behind: Vec<i64> = self
            .latest
            .iter()
            .filter_map(|(place, latest)| end.get(place).map(|end| (latest - end).max(0)))
            .collect();
        if behind.is_empty() {
            return figures;
        }
        let sum: i128 = behind.iter().map(|behind| i128::from(*behind)).sum();
        let average = sum as f64 / behind.len() as f64;
        let least = behind.iter().min().copied().unwrap_or(0);
        let most = behind.iter().max().copied().unwrap_or(0);
        let behind = [
            ("minOffsetsBehindLatest", least.to_string()),
            ("maxOffsetsBehindLatest", most.to_string()),
            ("avgOffsetsBehindLatest", format!("{average:?}")),
        ];
        figures.extend(behind.map(|(name, figure)| (name.to_owned(), figure)));
        figures
    }
}
