//! What a query says of each batch: Spark's `StreamingQueryProgress`, same names, same order.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;
use tidemill_types::civil::civil_from_days;

use crate::Digest;

/// One record a batch.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The query, over restarts.
    pub id: String,
    /// This run of it.
    pub run_id: String,
    /// Its name.
    pub name: String,
    /// When the batch was triggered: ISO 8601, UTC, milliseconds.
    pub timestamp: String,
    /// The batch.
    pub batch_id: u64,
    /// Wall time of the batch in milliseconds.
    pub batch_duration: u64,
    /// Rows that the sources gave.
    pub num_input_rows: u64,
    /// Rows a second since the last trigger.
    #[serde(serialize_with = "rate", skip_serializing_if = "is_no_rate")]
    pub input_rows_per_second: f64,
    /// Rows a second of the batch's own time.
    #[serde(serialize_with = "rate", skip_serializing_if = "is_no_rate")]
    pub processed_rows_per_second: f64,
    /// Milliseconds by phase: `triggerExecution`, `latestOffset`, `walCommit`, `addBatch`,
    /// `commitOffsets`, …
    pub duration_ms: BTreeMap<String, u64>,
    /// Event times of the batch.
    #[serde(skip_serializing_if = "EventTimeProgress::is_empty")]
    pub event_time: EventTimeProgress,
    /// Stateful operators, the sink's side first.
    pub state_operators: Vec<StateProgress>,
    /// Sources, in the job's order.
    pub sources: Vec<SourceProgress>,
    /// The sink.
    pub sink: SinkProgress,
    /// Always empty so far; Spark has the field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub observed_metrics: BTreeMap<String, Value>,
    /// Ours: rows that were refused and left as dead letters. `None`: the job has no place for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<u64>,
    /// Ours: the plugins' bytes and calls.
    pub plugins: Vec<PluginProgress>,
    /// The same more exactly, for metrics. Not part of the record.
    #[serde(skip)]
    pub measured: Measured,
}

/// What the record rounds, or shows as text.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// How long the batch took.
    pub total: Duration,
    /// Its phases: those of `durationMs`, where `addBatch` is `execute` and `deliver`.
    pub phases: Vec<(&'static str, Duration)>,
    /// The watermark that the batch ran with, if it has moved at all.
    pub watermark_ms: Option<i64>,
}

/// Event times of a batch: ISO 8601, UTC, milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EventTimeProgress {
    /// Mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avg: Option<String>,
    /// Largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// Smallest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// The watermark that the batch ran with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
}

impl EventTimeProgress {
    fn is_empty(&self) -> bool {
        self.avg.is_none() && self.max.is_none() && self.min.is_none() && self.watermark.is_none()
    }
}

/// One stateful operator in a batch.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateProgress {
    /// Spark's name for it, `stateStoreSave` say.
    pub operator_name: String,
    /// Rows in the state after the batch.
    pub num_rows_total: u64,
    /// Rows that the batch put.
    pub num_rows_updated: u64,
    /// Milliseconds for that.
    pub all_updates_time_ms: u64,
    /// Rows that the batch evicted.
    pub num_rows_removed: u64,
    /// Milliseconds for that.
    pub all_removals_time_ms: u64,
    /// Milliseconds to commit.
    pub commit_time_ms: u64,
    /// Memory that the state takes, in bytes.
    pub memory_used_bytes: u64,
    /// Late rows (groups, after partial aggregation) that were dropped.
    pub num_rows_dropped_by_watermark: u64,
    /// Shards.
    pub num_shuffle_partitions: u64,
    /// Shards too: one store each.
    pub num_state_store_instances: u64,
    /// Further counters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_metrics: BTreeMap<String, u64>,
}

/// One source in a batch.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// The job's name for it. Spark's record has none.
    #[serde(skip)]
    pub name: String,
    /// How the source names itself.
    pub description: String,
    /// Position before the batch.
    pub start_offset: Value,
    /// Position after it.
    pub end_offset: Value,
    /// Where the source's input ends as far as it knows.
    pub latest_offset: Value,
    /// Rows that it gave.
    pub num_input_rows: u64,
    /// Rows a second since the last trigger.
    #[serde(serialize_with = "rate", skip_serializing_if = "is_no_rate")]
    pub input_rows_per_second: f64,
    /// Rows a second of the batch's own time.
    #[serde(serialize_with = "rate", skip_serializing_if = "is_no_rate")]
    pub processed_rows_per_second: f64,
    /// Further figures, as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, String>,
}

/// The sink in a batch.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// How the sink names itself.
    pub description: String,
    /// Rows that it was given; -1 where nobody knows.
    pub num_output_rows: i64,
    /// Further figures, as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, String>,
}

/// One plugin in a batch.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginProgress {
    /// The job's name for it.
    pub name: String,
    /// Digest of the bytes that this batch ran.
    pub digest: Digest,
    /// Swaps since the start of the run.
    pub reloads: u64,
    /// Calls in this batch.
    pub calls: u64,
    /// Rows that went in.
    pub rows: u64,
    /// Milliseconds in calls, summed over threads.
    pub call_time_ms: f64,
    /// The same for each of its functions that was ever called.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, FunctionProgress>,
}

/// One function of a plugin in a batch.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionProgress {
    /// Calls in this batch.
    pub calls: u64,
    /// Rows that went in.
    pub rows: u64,
    /// Milliseconds in calls, summed over threads.
    pub call_time_ms: f64,
}

/// Milliseconds since 1970-01-01 as Spark's progress shows them: `2026-01-31T09:30:00.000Z`.
#[must_use]
pub fn format_millis(millis: i64) -> String {
    let (year, month, day) = civil_from_days(millis.div_euclid(86_400_000));
    let of_day = millis.rem_euclid(86_400_000);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Spark leaves out rates that are not finite, and rounds the others to one decimal.
fn is_no_rate(rate: &f64) -> bool {
    !rate.is_finite()
}

fn rate<S: Serializer>(rate: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((rate * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_iso_8601_in_utc() {
        assert_eq!(format_millis(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_millis(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(format_millis(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(format_millis(1_767_225_599_123), "2025-12-31T23:59:59.123Z");
    }

    #[test]
    fn rates_have_one_decimal_and_no_infinity() {
        let sink = |rate: f64| {
            serde_json::to_string(&SourceProgress {
                name: "orders".into(),
                description: "s".into(),
                start_offset: Value::Null,
                end_offset: Value::Null,
                latest_offset: Value::Null,
                num_input_rows: 0,
                input_rows_per_second: rate,
                processed_rows_per_second: f64::NAN,
                metrics: BTreeMap::new(),
            })
            .unwrap()
        };
        assert!(sink(12.345).contains("\"inputRowsPerSecond\":12.3"));
        assert!(!sink(f64::INFINITY).contains("PerSecond"));
    }
}
