//! The partitions that a client fetches ahead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tidemill_core::{ConnectorError, Wake};

use super::client::Events;
use super::native::{Event, PartitionQueue};
use super::offsets::{Offsets, TopicPartition};

/// A partition that is being fetched.
pub(super) struct Fetching {
    pub(super) queue: PartitionQueue,
    /// The offset that the queue goes on with; `None` after an error.
    pub(super) next: Option<i64>,
    /// The queue said that there is nothing before this offset any more.
    pub(super) end: Option<i64>,
}

/// The partitions that a client fetches. Each is read by one thread at a time.
pub(super) struct Fetches {
    client: Arc<BaseConsumer<Events>>,
    wake: Wake,
    partitions: Mutex<BTreeMap<TopicPartition, Arc<Mutex<Fetching>>>>,
}

impl Fetches {
    pub(super) fn new(client: Arc<BaseConsumer<Events>>, wake: Wake) -> Fetches {
        Fetches { client, wake, partitions: Mutex::default() }
    }

    /// Begins to fetch the partitions that are not fetched yet, and ends those not named.
    pub(super) fn start(&self, positions: &Offsets) -> Result<(), ConnectorError> {
        let mut partitions = self.partitions.lock();
        partitions.retain(|place, _| positions.get(place).is_some());
        for (place, offset) in positions.iter() {
            if !partitions.contains_key(place) {
                let fetching = self.fetch(place)?;
                fetching.lock().go_to(place, *offset)?;
                partitions.insert(place.clone(), fetching);
            }
        }
        Ok(())
    }

    fn fetch(&self, place: &TopicPartition) -> Result<Arc<Mutex<Fetching>>, ConnectorError> {
        let queue = PartitionQueue::new(Arc::clone(&self.client), place, Arc::clone(&self.wake))
            .map_err(|error| cannot_fetch(place, "", &error))?;
        Ok(Arc::new(Mutex::new(Fetching { queue, next: None, end: None })))
    }

    /// A partition, which is not started if it is new.
    pub(super) fn get(
        &self,
        place: &TopicPartition,
    ) -> Result<Arc<Mutex<Fetching>>, ConnectorError> {
        let mut partitions = self.partitions.lock();
        if let Some(fetching) = partitions.get(place) {
            return Ok(Arc::clone(fetching));
        }
        let fetching = self.fetch(place)?;
        partitions.insert(place.clone(), Arc::clone(&fetching));
        Ok(fetching)
    }

    /// Takes what stands in the queues and is no record, so that the next record wakes the query:
    /// the client tells of a queue only as it stops being empty. A partition that is being read at
    /// the moment is left to its reader, which takes the same and may wait long for a record.
    ///
    /// Gives partitions whose position the broker does not have.
    pub(super) fn settle(&self) -> Result<Vec<TopicPartition>, ConnectorError> {
        let partitions: Vec<_> = {
            let partitions = self.partitions.lock();
            partitions.iter().map(|(place, it)| (place.clone(), Arc::clone(it))).collect()
        };
        let mut lost = Vec::new();
        for (place, fetching) in partitions {
            if let Some(mut fetching) = fetching.try_lock()
                && fetching.settle(&place)?
            {
                lost.push(place);
            }
        }
        Ok(lost)
    }

    /// Drops a partition, so that it is begun anew.
    pub(super) fn forget(&self, place: &TopicPartition) {
        self.partitions.lock().remove(place);
    }

    /// What the client complained of last.
    pub(super) fn complaint(&self) -> Option<String> {
        self.client.client().context().last()
    }
}

/// What a client's error at a partition means.
///
/// `offset` is where it stood; `None` where nobody knows.
pub(super) fn fetch_failed(
    place: &TopicPartition,
    offset: Option<i64>,
    code: RDKafkaErrorCode,
    reason: &str,
) -> ConnectorError {
    let offset = offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default();
    let what = format!("{place} cannot be read{offset}: {reason}");
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed => ConnectorError::fatal(what),
        _ => ConnectorError::retryable(what),
    }
}

fn cannot_fetch(place: &TopicPartition, offset: &str, error: &KafkaError) -> ConnectorError {
    ConnectorError::fatal(format!("{place} cannot be fetched{offset}: {error}"))
}

pub(super) fn is_out_of_range(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
}

impl Fetching {
    /// Goes on at `offset`: at once if that is where it stands.
    pub(super) fn go_to(
        &mut self,
        place: &TopicPartition,
        offset: i64,
    ) -> Result<(), ConnectorError> {
        if self.next != Some(offset) {
            self.end = None;
            self.next = None;
            self.queue.start(offset).map_err(|error| {
                cannot_fetch(place, &format!(" from offset {offset} on"), &error)
            })?;
            self.next = Some(offset);
        }
        Ok(())
    }

    /// Takes what stands in the queue before the next record. Gives whether the broker does not
    /// have the position.
    fn settle(&mut self, place: &TopicPartition) -> Result<bool, ConnectorError> {
        let mut is_lost = false;
        while self.queue.fill(Duration::ZERO) {
            match self.queue.peek() {
                Some(Event::End(offset)) => self.end = Some(offset),
                Some(Event::Error(code, _)) if is_out_of_range(code) => {
                    self.next = None;
                    is_lost = true;
                }
                Some(Event::Error(code, reason)) => {
                    let error = fetch_failed(place, self.next, code, &reason);
                    if !error.is_retryable() {
                        return Err(error);
                    }
                    tracing::warn!("{error}");
                }
                Some(Event::Record(_)) | None => break,
            }
            self.queue.pop();
        }
        Ok(is_lost)
    }
}
