//! Listens to what the client says, and notices partitions that appear or go while a query runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::BaseConsumer;
use tidemill_core::{ConnectorError, Wake};

use super::client::{Events, Subscription, Wait, partitions};
use super::offsets::TopicPartition;

/// How often the broker is asked which partitions there are. Spark asks before every batch.
const REFRESH: Duration = Duration::from_secs(5);

/// How long an answer may take before the old one stands.
const REFRESH_WAIT: Duration = Duration::from_secs(4);

/// How long partitions have to be unknown until they count as gone: a broker that restarts does not
/// know all of its own at once, and what is gone is data loss.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// One wait for what the client says; after it the thread sees whether the source has ended.
const POLL: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Shared {
    places: Mutex<Option<BTreeSet<TopicPartition>>>,
    /// The last question was not answered.
    is_unanswered: AtomicBool,
    is_closed: AtomicBool,
}

/// The partitions that there are, kept up to date by a thread.
pub(super) struct Watch {
    shared: Arc<Shared>,
}

impl Watch {
    pub(super) fn start(
        client: Arc<BaseConsumer<Events>>,
        subscription: Subscription,
        wake: Wake,
    ) -> Result<Watch, ConnectorError> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("tidemill-kafka".to_owned())
            .spawn(move || watch(&client, &subscription, &wake, &theirs))
            .map_err(|error| ConnectorError::fatal("no thread for Kafka").caused_by(error))?;
        Ok(Watch { shared })
    }

    /// What a first question gave; from here on the thread asks.
    pub(super) fn found(&self, places: BTreeSet<TopicPartition>) {
        *self.shared.places.lock() = Some(places);
    }

    /// Whether no broker answered, or all refused to, when they were last asked.
    pub(super) fn is_unanswered(&self) -> bool {
        self.shared.is_unanswered.load(Ordering::Relaxed)
    }

    pub(super) fn places(&self) -> BTreeSet<TopicPartition> {
        self.shared.places.lock().clone().unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
    }
}

fn watch(client: &BaseConsumer<Events>, subscription: &Subscription, wake: &Wake, shared: &Shared) {
    let mut asked = Instant::now();
    // Partitions that were there and are not named any more, and since when.
    let mut missing: BTreeMap<TopicPartition, Instant> = BTreeMap::new();
    while !shared.is_closed.load(Ordering::Relaxed) {
        // Errors and log lines stand in this queue; records do not.
        drop(client.poll(POLL));
        if asked.elapsed() < REFRESH || shared.places.lock().is_none() {
            continue;
        }
        asked = Instant::now();
        let answer = partitions(client, subscription, Wait::begin(REFRESH_WAIT));
        let is_unanswered = answer.is_err();
        if shared.is_unanswered.swap(is_unanswered, Ordering::Relaxed) != is_unanswered {
            // An idle query would not notice either.
            wake();
        }
        match answer {
            // A topic that is gone has no partitions.
            Ok((mut places, _)) => {
                let known = shared.places.lock().clone().unwrap_or_default();
                missing.retain(|place, _| !places.contains(place));
                for place in known.difference(&places) {
                    missing.entry(place.clone()).or_insert(asked);
                }
                let stay = missing.iter().filter(|(_, since)| since.elapsed() < GONE_AFTER);
                places.extend(stay.map(|(place, _)| place.clone()));
                let mut known = shared.places.lock();
                if known.as_ref() != Some(&places) {
                    *known = Some(places);
                    drop(known);
                    wake();
                }
            }
            Err(error) => {
                // Nobody knows what is missing while nobody answers.
                missing.clear();
                tracing::debug!("{error}");
            }
        }
    }
}
