//! The calls of librdkafka that its safe wrapper does not have: taking and giving many messages
//! at once. The only file of the connectors with `unsafe`.
//!
//! One call a message costs more than everything else that is done with it (measured: consuming
//! takes 0.94 to 1.13 processor seconds a million rows by single polls, 0.41 to 0.58 in batches).

#![allow(unsafe_code, reason = "these calls of librdkafka have no safe wrapper")]

use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaRespErr;
use tidemill_core::Wake;

use super::client::Events;
use super::offsets::TopicPartition;

/// Messages taken out of a queue at once: enough that the call costs nothing, few enough that what
/// is held beyond a range's end is small.
const CHUNK: usize = 1_024;

/// Of syslog(3), as librdkafka numbers its log lines: larger is less important.
const LOG_WARNING: i32 = 4;

/// Messages handed over at once.
pub(super) const PRODUCE_CHUNK: usize = 1_024;

/// A topic of a client. Librdkafka counts how often it was asked for.
struct Topic(*mut native::rd_kafka_topic_t);

impl Topic {
    /// # Safety
    /// `client` is alive, and stays so as long as the topic.
    unsafe fn new(client: *mut native::rd_kafka_t, name: &str) -> Result<Topic, KafkaError> {
        let name = CString::new(name)?;
        // SAFETY: the name ends with a zero byte; no settings of its own.
        let topic = unsafe { native::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() { Err(last_error()) } else { Ok(Topic(topic)) }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`, given back once.
        unsafe { native::rd_kafka_topic_destroy(self.0) }
    }
}

fn last_error() -> KafkaError {
    // SAFETY: reads a value of this thread.
    KafkaError::Global(unsafe { native::rd_kafka_last_error() }.into())
}

/// What a partition's queue holds.
pub(super) enum Event<'a> {
    /// A record.
    Record(Record<'a>),
    /// There is nothing before this offset any more, nor at it as yet.
    End(i64),
    /// The client reports an error.
    Error(RDKafkaErrorCode, String),
}

/// The messages of one partition, in order, as the client fetches them ahead.
pub(super) struct PartitionQueue {
    place: TopicPartition,
    queue: *mut native::rd_kafka_queue_t,
    topic: Topic,
    /// Taken out of the queue; those before `next` are given back already.
    messages: Vec<*mut native::rd_kafka_message_t>,
    next: usize,
    is_started: bool,
    /// Called from the client's threads. Boxed twice, because the pointer has to be a thin one.
    _wake: Box<Wake>,
    /// Last, so that the client ends after all that belongs to it.
    _client: Arc<BaseConsumer<Events>>,
}

// SAFETY: librdkafka's objects may be used from any thread; here it is one at a time.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// The queue of a partition; nothing is fetched before [`PartitionQueue::start`].
    pub(super) fn new(
        client: Arc<BaseConsumer<Events>>,
        place: &TopicPartition,
        wake: Wake,
    ) -> Result<PartitionQueue, KafkaError> {
        let handle = client.client().native_ptr();
        // SAFETY: the client is alive, and dropped after the topic.
        let topic = unsafe { Topic::new(handle, &place.topic) }?;
        let wake = Box::new(wake);
        // SAFETY: the client is alive; the queue is given back in `drop`.
        let queue = unsafe { native::rd_kafka_queue_new(handle) };
        // SAFETY: `wake` stays where it is until `drop` has taken the callback away.
        unsafe {
            let opaque = ptr::from_ref::<Wake>(wake.as_ref()).cast_mut().cast();
            native::rd_kafka_queue_cb_event_enable(queue, Some(call_wake), opaque);
        }
        Ok(PartitionQueue {
            place: place.clone(),
            queue,
            topic,
            messages: Vec::with_capacity(CHUNK),
            next: 0,
            is_started: false,
            _wake: wake,
            _client: client,
        })
    }

    /// Fetches from `offset` on. What was fetched before is dropped.
    pub(super) fn start(&mut self, offset: i64) -> Result<(), KafkaError> {
        self.stop();
        // SAFETY: topic and queue are alive.
        let failed = unsafe {
            native::rd_kafka_consume_start_queue(
                self.topic.0,
                self.place.partition,
                offset,
                self.queue,
            )
        };
        if failed != 0 {
            return Err(last_error());
        }
        self.is_started = true;
        Ok(())
    }

    fn stop(&mut self) {
        self.give_back();
        if std::mem::take(&mut self.is_started) {
            // SAFETY: it was started. What it left in the queue is outdated, which librdkafka knows.
            unsafe { native::rd_kafka_consume_stop(self.topic.0, self.place.partition) };
        }
    }

    fn give_back(&mut self) {
        for message in self.messages.drain(..).skip(self.next) {
            // SAFETY: it came out of the queue and was not given back.
            unsafe { native::rd_kafka_message_destroy(message) }
        }
        self.next = 0;
    }

    /// Whether there is an event to look at; waits up to `wait` for one.
    pub(super) fn fill(&mut self, wait: Duration) -> bool {
        if self.next < self.messages.len() {
            return true;
        }
        self.messages.clear();
        self.next = 0;
        self.take(CHUNK, Duration::ZERO);
        // The call waits until it has as many as it was asked for.
        if self.messages.is_empty() && !wait.is_zero() {
            self.take(1, wait);
            self.take(CHUNK - 1, Duration::ZERO);
        }
        !self.messages.is_empty()
    }

    fn take(&mut self, at_most: usize, wait: Duration) {
        let held = self.messages.len();
        debug_assert!(held + at_most <= self.messages.capacity());
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: there is room for so many, and the call says how many it filled in.
        unsafe {
            let room = self.messages.as_mut_ptr().add(held);
            let taken = native::rd_kafka_consume_batch_queue(self.queue, millis, room, at_most);
            self.messages.set_len(held + usize::try_from(taken).unwrap_or(0));
        }
    }

    /// The next event; `None` where [`PartitionQueue::fill`] said that there is none.
    #[inline]
    pub(super) fn peek(&self) -> Option<Event<'_>> {
        let message = *self.messages.get(self.next)?;
        // SAFETY: it is alive until `pop`, which needs `self` alone.
        let message = unsafe { &*message };
        Some(match message.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
                Event::Record(Record { message, lives: PhantomData })
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Event::End(message.offset),
            error => {
                // SAFETY: the text lives as long as the message.
                let reason = unsafe { CStr::from_ptr(native::rd_kafka_message_errstr(message)) };
                Event::Error(error.into(), reason.to_string_lossy().into_owned())
            }
        })
    }

    /// Gives the event back that [`PartitionQueue::peek`] showed.
    #[inline]
    pub(super) fn pop(&mut self) {
        if let Some(message) = self.messages.get(self.next) {
            // SAFETY: it came out of the queue and was not given back.
            unsafe { native::rd_kafka_message_destroy(*message) }
            self.next += 1;
        }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        self.stop();
        // SAFETY: the callback runs under the queue's lock, which this takes: afterwards nobody
        // uses `wake`. The queue is given back once.
        unsafe {
            native::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            native::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// # Safety
/// `wake` is a [`Wake`] that lives.
unsafe extern "C" fn call_wake(_: *mut native::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: see above.
    let wake: &Wake = unsafe { &*wake.cast() };
    wake();
}

/// Where the partition ended when the client last heard of it, without asking. Uncommitted
/// transactions count. `None` before the first answer.
pub(super) fn cached_end(
    client: &BaseConsumer<Events>,
    topic: &CStr,
    partition: i32,
) -> Option<i64> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive, and both places can be written to.
    let error = unsafe {
        native::rd_kafka_get_watermark_offsets(
            client.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

/// A record in the memory of the client.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    message: &'a native::rd_kafka_message_t,
    lives: PhantomData<&'a PartitionQueue>,
}

/// What a record's timestamp is, as Spark numbers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TimestampKind {
    /// There is none.
    None = -1,
    /// The producer's.
    CreateTime = 0,
    /// The broker's.
    LogAppendTime = 1,
}

impl<'a> Record<'a> {
    #[inline]
    pub(super) fn offset(self) -> i64 {
        self.message.offset
    }

    /// Bytes of key and value.
    #[inline]
    pub(super) fn size(self) -> usize {
        self.message.len + self.message.key_len
    }

    #[inline]
    pub(super) fn value(self) -> Option<&'a [u8]> {
        bytes(self.message.payload, self.message.len)
    }

    #[inline]
    pub(super) fn key(self) -> Option<&'a [u8]> {
        bytes(self.message.key, self.message.key_len)
    }

    /// Milliseconds since 1970-01-01 UTC, and what they are.
    pub(super) fn timestamp(self) -> (Option<i64>, TimestampKind) {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, and `kind` can be written to.
        let millis = unsafe { native::rd_kafka_message_timestamp(self.message, &raw mut kind) };
        use native::rd_kafka_timestamp_type_t as types;
        match kind {
            types::RD_KAFKA_TIMESTAMP_CREATE_TIME => (Some(millis), TimestampKind::CreateTime),
            types::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => {
                (Some(millis), TimestampKind::LogAppendTime)
            }
            types::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => (None, TimestampKind::None),
        }
    }

    /// Calls `each` with the name and the value of every header. Gives false where there is none.
    pub(super) fn headers(self, mut each: impl FnMut(&str, Option<&[u8]>)) -> bool {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive and owns the headers.
        if unsafe { native::rd_kafka_message_headers(self.message, &raw mut headers) }
            != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return false;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive, and all places can be written to.
            let error = unsafe {
                native::rd_kafka_header_get_all(
                    headers,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut size,
                )
            };
            if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            // SAFETY: it ends with a zero byte and lives as long as the message.
            let name = unsafe { CStr::from_ptr(name) };
            each(&name.to_string_lossy(), bytes(value, size));
        }
        true
    }
}

#[inline]
fn bytes<'a>(start: *const c_void, size: usize) -> Option<&'a [u8]> {
    // SAFETY: librdkafka gives a pointer to so many bytes, or null. They live as long as the
    // message, which the callers' lifetimes say.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), size) })
}

/// In place of a partition: the partitioner chooses (`RD_KAFKA_PARTITION_UA`).
pub(super) const ANY_PARTITION: i32 = -1;

/// A record to be sent.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) partition: i32,
}

/// A topic that records are sent to.
pub(super) struct OutgoingTopic {
    topic: Topic,
    /// Last, so that the client ends after all that belongs to it.
    _producer: Arc<BaseProducer<Events>>,
}

// SAFETY: librdkafka's objects may be used from any thread; here it is one at a time.
unsafe impl Send for OutgoingTopic {}

impl OutgoingTopic {
    /// # Errors
    /// The name is none.
    pub(super) fn new(
        producer: &Arc<BaseProducer<Events>>,
        name: &str,
    ) -> Result<OutgoingTopic, KafkaError> {
        // SAFETY: the producer is alive, and dropped after the topic.
        let topic = unsafe { Topic::new(producer.client().native_ptr(), name) }?;
        Ok(OutgoingTopic { topic, _producer: Arc::clone(producer) })
    }

    /// Copies up to [`PRODUCE_CHUNK`] records into the producer's queue. Gives how many it took
    /// before the first that it did not take, and why not that one.
    pub(super) fn send<'a>(
        &self,
        letters: &mut Letters,
        records: impl Iterator<Item = Outgoing<'a>>,
    ) -> (usize, Option<RDKafkaErrorCode>) {
        let messages = &mut letters.0;
        messages.clear();
        messages.extend(records.take(PRODUCE_CHUNK).map(message));
        // SAFETY: the topic is alive; keys and values live as long as `records` says, and are
        // copied (librdkafka does not write to them).
        unsafe {
            native::rd_kafka_produce_batch(
                self.topic.0,
                ANY_PARTITION,
                native::RD_KAFKA_MSG_F_COPY | native::RD_KAFKA_MSG_F_PARTITION,
                messages.as_mut_ptr(),
                i32::try_from(messages.len()).unwrap_or(i32::MAX),
            )
        };
        let is_bad = |message: &native::rd_kafka_message_t| {
            message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        };
        match messages.iter().position(is_bad) {
            Some(taken) => (taken, Some(messages[taken].err.into())),
            None => (messages.len(), None),
        }
    }
}

/// Where records are laid out to be sent, whatever their topic. Nothing stays in it that is used
/// again.
pub(super) struct Letters(Vec<native::rd_kafka_message_t>);

impl Letters {
    pub(super) fn new() -> Letters {
        Letters(Vec::with_capacity(PRODUCE_CHUNK))
    }
}

// SAFETY: the pointers in it are used within one call only.
unsafe impl Send for Letters {}

/// A record that did not arrive.
pub(super) struct Undelivered {
    pub(super) error: RDKafkaErrorCode,
    pub(super) topic: String,
    pub(super) partition: i32,
}

/// What the producer reports: records that arrived or did not, and what it has to say.
///
/// Reports are taken as they come, many records each. The safe wrapper looks at every record, and
/// does not return from a wait when there was something.
pub(super) struct Reports {
    queue: *mut native::rd_kafka_queue_t,
    /// Last, so that the client ends after all that belongs to it.
    producer: Arc<BaseProducer<Events>>,
}

// SAFETY: librdkafka's objects may be used from any thread; here it is one at a time.
unsafe impl Send for Reports {}

impl Reports {
    pub(super) fn new(producer: &Arc<BaseProducer<Events>>) -> Reports {
        // SAFETY: the producer is alive; the reference to its queue is given back in `drop`.
        let queue = unsafe { native::rd_kafka_queue_get_main(producer.client().native_ptr()) };
        Reports { queue, producer: Arc::clone(producer) }
    }

    /// Takes the next report, waiting up to `wait` for it. Gives whether there was one, and the
    /// first of its records that did not arrive.
    pub(super) fn next(&self, wait: Duration) -> (bool, Option<Undelivered>) {
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive.
        let event = unsafe { native::rd_kafka_queue_poll(self.queue, millis) };
        if event.is_null() {
            return (false, None);
        }
        // SAFETY: the event is alive until it is given back below, and so are its texts.
        let undelivered = unsafe {
            match native::rd_kafka_event_type(event) {
                native::RD_KAFKA_EVENT_DR => first_undelivered(event),
                native::RD_KAFKA_EVENT_LOG => {
                    self.log(event);
                    None
                }
                native::RD_KAFKA_EVENT_ERROR => {
                    let reason = CStr::from_ptr(native::rd_kafka_event_error_string(event));
                    let error = KafkaError::Global(native::rd_kafka_event_error(event).into());
                    self.producer.context().error(error, &reason.to_string_lossy());
                    None
                }
                _ => None,
            }
        };
        // SAFETY: given back once.
        unsafe { native::rd_kafka_event_destroy(event) };
        (true, undelivered)
    }

    /// # Safety
    /// `event` is a line of the client's log that is alive.
    unsafe fn log(&self, event: *mut native::rd_kafka_event_t) {
        let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: all places can be written to; the texts live as long as the event.
        unsafe {
            let failed =
                native::rd_kafka_event_log(event, &raw mut facility, &raw mut text, &raw mut level);
            if failed == 0 && !facility.is_null() && !text.is_null() {
                let facility = CStr::from_ptr(facility).to_string_lossy();
                let text = CStr::from_ptr(text).to_string_lossy();
                let level = match level {
                    ..=LOG_WARNING => RDKafkaLogLevel::Warning,
                    _ => RDKafkaLogLevel::Debug,
                };
                self.producer.context().log(level, &facility, &text);
            }
        }
    }
}

/// # Safety
/// `event` is a delivery report that is alive.
unsafe fn first_undelivered(event: *mut native::rd_kafka_event_t) -> Option<Undelivered> {
    let mut first = None;
    loop {
        // SAFETY: the messages live as long as the event.
        let Some(message) = (unsafe { native::rd_kafka_event_message_next(event).as_ref() }) else {
            return first;
        };
        if first.is_none() && message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            // SAFETY: the name lives as long as the topic, which the message keeps.
            let topic = unsafe { CStr::from_ptr(native::rd_kafka_topic_name(message.rkt)) };
            first = Some(Undelivered {
                error: message.err.into(),
                topic: topic.to_string_lossy().into_owned(),
                partition: message.partition,
            });
        }
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        // SAFETY: given back once.
        unsafe { native::rd_kafka_queue_destroy(self.queue) };
    }
}

fn message(record: Outgoing<'_>) -> native::rd_kafka_message_t {
    let parts = |bytes: Option<&[u8]>| {
        bytes.map_or((ptr::null_mut(), 0), |b| (b.as_ptr().cast_mut().cast(), b.len()))
    };
    let (payload, len) = parts(record.value);
    let (key, key_len) = parts(record.key);
    native::rd_kafka_message_t {
        err: RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: record.partition.max(ANY_PARTITION),
        payload,
        len,
        key,
        key_len,
        offset: 0,
        _private: ptr::null_mut(),
    }
}
