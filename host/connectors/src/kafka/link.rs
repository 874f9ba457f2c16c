//! A source's client: connected when it is first needed, and shared with the readers.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use tidemill_core::{ConnectorError, Wake};

use super::client::{CONNECT_WAIT, Events, Subscription, Wait, all_partitions};
use super::fetch::Fetches;
use super::watch::Watch;
use crate::OptionText;

/// What the client does differently from its own defaults.
pub(super) const DEFAULTS: [(&str, &str); 11] = [
    ("client.id", "tidemill"),
    ("enable.partition.eof", "true"),
    ("enable.auto.commit", "false"),
    // A position that is gone is data loss, which failOnDataLoss decides.
    ("auto.offset.reset", "error"),
    // Spark's default; the client's own is read_committed.
    ("isolation.level", READ_UNCOMMITTED),
    ("allow.auto.create.topics", "false"),
    // A full queue is looked at again soon: the default of a second stalls.
    ("fetch.queue.backoff.ms", "2"),
    // A broker that restarts is found again within a second, not ten.
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.nagle.disable", "true"),
    (QUEUED_KBYTES, QUEUED_KBYTES_PARTITION),
    (QUEUED_MESSAGES, QUEUED_MESSAGES_PARTITION),
];

pub(super) const READ_UNCOMMITTED: &str = "read_uncommitted";
const QUEUED_KBYTES: &str = "queued.max.messages.kbytes";
const QUEUED_MESSAGES: &str = "queued.min.messages";

/// What is fetched ahead of one partition, and of all of them. A record takes some hundred bytes
/// in the client beside its own, so their number is bounded as well.
const QUEUED_KBYTES_PARTITION: &str = "16384";
const QUEUED_MESSAGES_PARTITION: &str = "32768";
const QUEUED_PARTITIONS: usize = 4;
const QUEUED_KBYTES_ALL: usize = 65_536;
const QUEUED_MESSAGES_ALL: usize = 131_072;
const QUEUED_KBYTES_MIN: usize = 1_024;
const QUEUED_MESSAGES_MIN: usize = 1_024;

/// Whether a job sets how much is fetched ahead.
pub(super) fn sets_queue(options: &BTreeMap<String, OptionText>) -> bool {
    [QUEUED_KBYTES, QUEUED_MESSAGES]
        .iter()
        .any(|name| options.contains_key(&format!("kafka.{name}")))
}

/// A client that has found the topics.
pub(super) struct Connected {
    pub(super) client: Arc<BaseConsumer<Events>>,
    pub(super) fetches: Fetches,
    pub(super) watch: Watch,
}

/// The client to be.
pub(super) struct Link {
    place: String,
    config: ClientConfig,
    sets_queue: bool,
    subscription: Subscription,
    wake: Mutex<Wake>,
    connected: Mutex<Option<Arc<Connected>>>,
}

impl Link {
    pub(super) fn new(
        place: &str,
        config: &ClientConfig,
        sets_queue: bool,
        subscription: &Subscription,
    ) -> Link {
        Link {
            place: place.to_owned(),
            config: config.clone(),
            sets_queue,
            subscription: subscription.clone(),
            wake: Mutex::new(Arc::new(|| {})),
            connected: Mutex::default(),
        }
    }

    /// What to call when there may be records; before it is connected.
    pub(super) fn wake_by(&self, wake: Wake) {
        *self.wake.lock() = wake;
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.lock().is_some()
    }

    /// The client; connects it at the first call, waiting for the broker.
    pub(super) fn connected(&self) -> Result<Arc<Connected>, ConnectorError> {
        let mut connected = self.connected.lock();
        if let Some(connected) = connected.as_ref() {
            return Ok(Arc::clone(connected));
        }
        let new = Arc::new(self.connect()?);
        *connected = Some(Arc::clone(&new));
        Ok(new)
    }

    fn connect(&self) -> Result<Connected, ConnectorError> {
        let wait = Wait::begin(CONNECT_WAIT);
        let (mut client, mut watch) = self.client(&self.config)?;
        let places = all_partitions(&client, &self.subscription, wait)?;
        if places.len() > QUEUED_PARTITIONS && !self.sets_queue {
            // The bounds are a client's for each partition, and how many there are is known now.
            let share = |all: usize, least: usize| (all / places.len()).max(least).to_string();
            let mut config = self.config.clone();
            config.set(QUEUED_KBYTES, share(QUEUED_KBYTES_ALL, QUEUED_KBYTES_MIN));
            config.set(QUEUED_MESSAGES, share(QUEUED_MESSAGES_ALL, QUEUED_MESSAGES_MIN));
            (client, watch) = self.client(&config)?;
        }
        watch.found(places);
        let fetches = Fetches::new(Arc::clone(&client), self.wake.lock().clone());
        Ok(Connected { client, fetches, watch })
    }

    fn client(
        &self,
        config: &ClientConfig,
    ) -> Result<(Arc<BaseConsumer<Events>>, Watch), ConnectorError> {
        let client: BaseConsumer<Events> =
            config.create_with_context(Events::of(&self.place)).map_err(|error| {
                ConnectorError::fatal(format!("{}: no Kafka client: {error}", self.place))
            })?;
        let client = Arc::new(client);
        let wake = self.wake.lock().clone();
        let watch = Watch::start(Arc::clone(&client), self.subscription.clone(), wake)?;
        Ok((client, watch))
    }
}
