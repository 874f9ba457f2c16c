//! The time from an order's production to the job's row for it in the output topic.
//!
//! Every order carries the time at which it was due to be sent, in `sent`; the broker stamps
//! the job's row as it appends it. A row of sums carries the newest `sent` of its group.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::load::send;
use crate::topics::WAIT;
use crate::{Result, orders};

/// A job that has no row out by then does not run.
const START_MAX: Duration = Duration::from_secs(60);
/// Until its first row is out, an order goes in so often.
const KNOCK: Duration = Duration::from_millis(50);
/// The producer sleeps so long at most between two orders.
const TICK: Duration = Duration::from_millis(1);
/// After the last order, the job's rows are waited for until none has come for so long.
const QUIET: Duration = Duration::from_secs(3);

pub(crate) struct Probe {
    pub(crate) bootstrap: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) rate: u64,
    pub(crate) seconds: u64,
    pub(crate) warm_up: u64,
}

/// A row of the output: when its order was sent, and when it was appended, in milliseconds.
struct Seen {
    sent: f64,
    appended: f64,
}

impl Probe {
    pub(crate) fn run(&self, orders: &Path) -> Result<Value> {
        let client = self.consumer()?;
        let (is_up, is_sent) = (AtomicBool::new(false), AtomicBool::new(false));
        let (begin, seen) = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                // However it ends, the producer must not wait for it.
                let seen = read(&client, &is_up, &is_sent);
                is_up.store(true, Ordering::Release);
                seen
            });
            let begin = self.produce(orders, &is_up);
            is_sent.store(true, Ordering::Release);
            let seen = reading.join().map_err(|_| "the consumer panicked")??;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((begin?, seen))
        })?;
        let seen = seen.iter().filter(|seen| seen.sent >= begin);
        let mut latencies: Vec<f64> = seen.map(|seen| seen.appended - seen.sent).collect();
        if latencies.is_empty() {
            return Err("the job wrote nothing for the orders".into());
        }
        latencies.sort_by(f64::total_cmp);
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share).round() as usize];
        Ok(json!({
            "sent": self.rate * self.seconds,
            "received": latencies.len(),
            "p50_ms": at(0.5),
            "p90_ms": at(0.9),
            "p99_ms": at(0.99),
            "max_ms": at(1.0),
        }))
    }

    /// Waits for the job, then sends the orders. Gives when it began with those that count.
    fn produce(&self, orders: &Path, is_up: &AtomicBool) -> Result<f64> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("acks", "1")
            .set("linger.ms", "1")
            .set("queue.buffering.max.messages", "1000000")
            .create()?;
        let mut value = Vec::new();
        let mut one = |row: u64, order: &[u8], sent_ms: f64| {
            let key = row.to_string();
            value.clear();
            value.extend_from_slice(format!("{{\"sent\":{sent_ms:.3},").as_bytes());
            value.extend_from_slice(order.strip_prefix(b"{").ok_or("an order is a JSON object")?);
            let record = BaseRecord::to(&self.input);
            let record = record.partition(0).key(key.as_bytes()).payload(&value[..]);
            send(&producer, record)
        };
        orders::each(orders, 1, |row, order| {
            let knocking = Instant::now();
            while !is_up.load(Ordering::Acquire) {
                if knocking.elapsed() > START_MAX {
                    return Err("the job writes nothing".into());
                }
                one(row, order, now_ms()?)?;
                producer.poll(KNOCK);
            }
            Ok(())
        })?;
        producer.flush(WAIT)?;
        let (begin, first_ms) = (Instant::now(), now_ms()?);
        let warm_up = self.rate * self.warm_up;
        let due_ms = |row: u64| first_ms + row as f64 / self.rate as f64 * 1e3;
        orders::each(orders, warm_up + self.rate * self.seconds, |row, order| {
            let due = Duration::from_secs_f64(row as f64 / self.rate as f64);
            while begin.elapsed() < due {
                producer.poll(Duration::ZERO);
                std::thread::sleep(TICK.min(due.saturating_sub(begin.elapsed())));
            }
            // The time at which it was due: a load that is late does not hide it.
            one(row, order, due_ms(row))
        })?;
        producer.flush(WAIT)?;
        Ok(due_ms(warm_up))
    }

    fn consumer(&self) -> Result<BaseConsumer> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            // Never used: the partition is assigned.
            .set("group.id", "kafka-load")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.output, 0, Offset::Beginning)?;
        client.assign(&list)?;
        Ok(client)
    }
}

/// Reads the output until all is sent and nothing more comes.
fn read(client: &BaseConsumer, is_up: &AtomicBool, is_sent: &AtomicBool) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    let mut last = Instant::now();
    loop {
        match client.poll(Duration::from_millis(100)) {
            Some(record) => {
                let record = record?;
                let appended = record.timestamp().to_millis().ok_or("a record without a time")?;
                let sent = sent(record.payload().ok_or("a record without a value")?)?;
                seen.push(Seen { sent, appended: appended as f64 });
                is_up.store(true, Ordering::Release);
                last = Instant::now();
            }
            None if is_sent.load(Ordering::Acquire) && last.elapsed() > QUIET => return Ok(seen),
            None => {}
        }
    }
}

fn sent(value: &[u8]) -> Result<f64> {
    let row: Value = serde_json::from_slice(value)?;
    Ok(row["sent"].as_f64().ok_or("a row without `sent`")?)
}

/// In milliseconds since 1970, with microseconds behind the point.
fn now_ms() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as f64 / 1e3)
}
