//! Counters and gauges, in the text that Prometheus reads.
//!
//! The table of all of them, with what to watch, is in `docs/guide/operations.md`; a test compares
//! it with what is served.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use tidemill_core::{PluginProgress, Progress, SourceProgress, StateProgress};

use super::process::ProcessUsage;

/// Upper bounds of the histograms' buckets in seconds: from a batch of a few rows in memory to one
/// that somebody should look at.
const BUCKETS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];

/// How a batch, or an attempt at it, ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BatchResult {
    Data,
    Empty,
    Failed,
    Retried,
}

const BATCH_RESULTS: [BatchResult; 4] =
    [BatchResult::Data, BatchResult::Empty, BatchResult::Failed, BatchResult::Retried];

impl BatchResult {
    fn name(self) -> &'static str {
        match self {
            BatchResult::Data => "data",
            BatchResult::Empty => "empty",
            BatchResult::Failed => "failed",
            BatchResult::Retried => "retried",
        }
    }
}

type Labels = Vec<(&'static str, String)>;
type Seconds = Counter<f64, AtomicU64>;
type SecondsGauge = Gauge<f64, AtomicU64>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// What is served, and the names under which it is.
#[derive(Default)]
struct List {
    registry: Registry,
    names: Vec<String>,
}

impl List {
    fn add(&mut self, name: &str, help: &str, metric: impl Metric) {
        let suffix = match metric.metric_type() {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        };
        self.names.push(format!("{name}{suffix}"));
        self.registry.register(name, help, metric);
    }
}

/// All metrics of the process.
pub(super) struct Metrics {
    list: List,
    resident_memory: Gauge,
    cpu: Seconds,
    cpu_until_now: Mutex<f64>,
    up: Family<Labels, Gauge>,
    batches: Family<Labels, Counter>,
    last_batch: Family<Labels, SecondsGauge>,
    batch_duration: Histograms,
    phase_duration: Histograms,
    input_rows: Family<Labels, Counter>,
    malformed_rows: Family<Labels, Counter>,
    output_rows: Family<Labels, Counter>,
    dead_letters: Family<Labels, Counter>,
    watermark: Family<Labels, SecondsGauge>,
    watermark_lag: Family<Labels, SecondsGauge>,
    offsets_behind: [(&'static str, Family<Labels, SecondsGauge>); 3],
    unanswered: Family<Labels, SecondsGauge>,
    /// Since when, in milliseconds since 1970; `None`: it answers again.
    unanswered_since: Mutex<BTreeMap<Labels, Option<i64>>>,
    state: StateMetrics,
    plugins: PluginMetrics,
}

#[derive(Default)]
struct StateMetrics {
    rows: Family<Labels, Gauge>,
    bytes: Family<Labels, Gauge>,
    updated: Family<Labels, Counter>,
    removed: Family<Labels, Counter>,
    late: Family<Labels, Counter>,
}

#[derive(Default)]
struct PluginMetrics {
    calls: Family<Labels, Counter>,
    rows: Family<Labels, Counter>,
    seconds: Family<Labels, Seconds>,
    reloads: Family<Labels, Counter>,
}

impl Metrics {
    pub(super) fn new(started_ms: i64) -> Metrics {
        let histograms = || Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> _);
        let mut metrics = Metrics {
            list: List::default(),
            resident_memory: Gauge::default(),
            cpu: Seconds::default(),
            cpu_until_now: Mutex::default(),
            up: Family::default(),
            batches: Family::default(),
            last_batch: Family::default(),
            batch_duration: histograms(),
            phase_duration: histograms(),
            input_rows: Family::default(),
            malformed_rows: Family::default(),
            output_rows: Family::default(),
            dead_letters: Family::default(),
            watermark: Family::default(),
            watermark_lag: Family::default(),
            offsets_behind: ["max", "avg", "min"].map(|kind| (kind, Family::default())),
            unanswered: Family::default(),
            unanswered_since: Mutex::default(),
            state: StateMetrics::default(),
            plugins: PluginMetrics::default(),
        };
        metrics.register_process(started_ms);
        metrics.register_queries();
        metrics.register_state_and_plugins();
        metrics
    }

    fn register_process(&mut self, started_ms: i64) {
        let list = &mut self.list;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        list.add("tidemill_build", "The version that runs", build);
        let started = SecondsGauge::default();
        started.set(seconds(started_ms));
        list.add(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970",
            started,
        );
        list.add(
            "process_resident_memory_bytes",
            "Memory that the process holds",
            self.resident_memory.clone(),
        );
        list.add(
            "process_cpu_seconds",
            "CPU time of all threads, in user and kernel mode",
            self.cpu.clone(),
        );
    }

    fn register_queries(&mut self) {
        let list = &mut self.list;
        let up = "1 while the query runs or waits, 0 when it has ended or failed";
        list.add("tidemill_query_up", up, self.up.clone());
        let batches = "Batches by result: data, empty, failed; and attempts that were retried";
        list.add("tidemill_batches", batches, self.batches.clone());
        list.add(
            "tidemill_last_batch_timestamp_seconds",
            "When the last batch was committed, in seconds since 1970",
            self.last_batch.clone(),
        );
        list.add(
            "tidemill_batch_duration_seconds",
            "Time of a batch, from asking the sources to the commit",
            self.batch_duration.clone(),
        );
        list.add(
            "tidemill_phase_duration_seconds",
            "Time of each phase of a batch",
            self.phase_duration.clone(),
        );
        let rows = "Rows that the source gave";
        list.add("tidemill_input_rows", rows, self.input_rows.clone());
        let rows = "Rows of the source that were malformed, or in which bytes were replaced";
        list.add("tidemill_malformed_rows", rows, self.malformed_rows.clone());
        let rows = "Rows that the sink was given";
        list.add("tidemill_output_rows", rows, self.output_rows.clone());
        let rows = "Rows that were refused and went to the dead letters";
        list.add("tidemill_dead_letters", rows, self.dead_letters.clone());
        list.add(
            "tidemill_watermark_timestamp_seconds",
            "The watermark of the last batch, in seconds since 1970",
            self.watermark.clone(),
        );
        list.add(
            "tidemill_watermark_lag_seconds",
            "How far the watermark is behind the present time",
            self.watermark_lag.clone(),
        );
        for (kind, family) in &self.offsets_behind {
            let name = format!("tidemill_source_{kind}_offsets_behind_latest");
            let help = format!("Records that a partition is behind its end: {kind} of all");
            list.add(&name, &help, family.clone());
        }
        list.add(
            "tidemill_source_unanswered_seconds",
            "How long the source's place has not answered; 0: it answers again",
            self.unanswered.clone(),
        );
    }

    fn register_state_and_plugins(&mut self) {
        let (list, state, plugins) = (&mut self.list, &self.state, &self.plugins);
        list.add("tidemill_state_rows", "Rows in the state", state.rows.clone());
        let bytes = "Memory that the state takes";
        list.add("tidemill_state_bytes", bytes, state.bytes.clone());
        let updated = "Rows that batches put into the state";
        list.add("tidemill_state_updated_rows", updated, state.updated.clone());
        let removed = "Rows that batches took out of the state";
        list.add("tidemill_state_removed_rows", removed, state.removed.clone());
        let late = "Rows, or groups of rows, that were dropped as too late";
        list.add("tidemill_late_rows", late, state.late.clone());
        list.add("tidemill_plugin_calls", "Calls of plugins", plugins.calls.clone());
        let rows = "Rows that went into plugins";
        list.add("tidemill_plugin_rows", rows, plugins.rows.clone());
        list.add(
            "tidemill_plugin_call_seconds",
            "Time in plugins, the boundary included, summed over threads",
            plugins.seconds.clone(),
        );
        list.add(
            "tidemill_plugin_reloads",
            "Changed plugin files by result: accepted, refused",
            plugins.reloads.clone(),
        );
    }

    /// Names of all metrics, also of those that have no value yet.
    pub(super) fn names(&self) -> &[String] {
        &self.list.names
    }

    /// Counters of a query begin at 0, so that the first failure is an increase.
    pub(super) fn add_query(&self, query: &str) {
        self.set_up(query, true);
        for result in BATCH_RESULTS {
            drop(self.batches.get_or_create(&result_of(query, result)));
        }
    }

    pub(super) fn set_up(&self, query: &str, is_up: bool) {
        self.up.get_or_create(&of(query)).set(i64::from(is_up));
    }

    pub(super) fn count_batch(&self, query: &str, result: BatchResult) {
        self.batches.get_or_create(&result_of(query, result)).inc();
    }

    pub(super) fn count_reload(&self, query: &str, plugin: &str, is_accepted: bool) {
        let result = if is_accepted { "accepted" } else { "refused" };
        let labels = with(query, &[("plugin", plugin), ("result", result)]);
        self.plugins.reloads.get_or_create(&labels).inc();
    }

    /// Which of a query's sources have a place that does not answer, and since when.
    pub(super) fn set_unanswered(&self, query: &str, sources: &BTreeMap<String, i64>) {
        let mut since = self.unanswered_since.lock().unwrap_or_else(|e| e.into_inner());
        let of_query = ("query", query.to_owned());
        for (_, since) in since.iter_mut().filter(|(labels, _)| labels.contains(&of_query)) {
            *since = None;
        }
        for (source, ms) in sources {
            since.insert(with(query, &[("source", source)]), Some(*ms));
        }
    }

    /// Takes up the record of a batch.
    pub(super) fn take(&self, progress: &Progress, now_ms: i64) {
        let query = progress.name.as_str();
        let is_empty = progress.num_input_rows == 0;
        self.count_batch(query, if is_empty { BatchResult::Empty } else { BatchResult::Data });
        self.last_batch.get_or_create(&of(query)).set(seconds(now_ms));
        let measured = &progress.measured;
        self.batch_duration.get_or_create(&of(query)).observe(measured.total.as_secs_f64());
        for (phase, time) in &measured.phases {
            let labels = with(query, &[("phase", phase)]);
            self.phase_duration.get_or_create(&labels).observe(time.as_secs_f64());
        }
        if let Ok(rows) = u64::try_from(progress.sink.num_output_rows) {
            self.output_rows.get_or_create(&of(query)).inc_by(rows);
        }
        if let Some(rows) = progress.dead_letters {
            self.dead_letters.get_or_create(&of(query)).inc_by(rows);
        }
        if let Some(watermark) = measured.watermark_ms {
            self.watermark.get_or_create(&of(query)).set(seconds(watermark));
        }
        progress.sources.iter().for_each(|source| self.take_source(query, source));
        for (place, operator) in progress.state_operators.iter().enumerate() {
            self.state.take(query, place, operator);
        }
        progress.plugins.iter().for_each(|plugin| self.plugins.take(query, plugin));
    }

    fn take_source(&self, query: &str, source: &SourceProgress) {
        let labels = with(query, &[("source", &source.name)]);
        self.input_rows.get_or_create(&labels).inc_by(source.num_input_rows);
        let malformed = source.metrics.get("malformedRows").and_then(|rows| rows.parse().ok());
        self.malformed_rows.get_or_create(&labels).inc_by(malformed.unwrap_or(0));
        for (kind, family) in &self.offsets_behind {
            // Spark's names for them.
            let behind = source.metrics.get(&format!("{kind}OffsetsBehindLatest"));
            if let Some(behind) = behind.and_then(|text| text.parse().ok()) {
                family.get_or_create(&labels).set(behind);
            }
        }
    }

    /// All metrics as of now, in OpenMetrics text.
    pub(super) fn text(&self, queries: &[String], now_ms: i64) -> String {
        for query in queries {
            let watermark = self.watermark.get(&of(query)).map(|gauge| gauge.get());
            if let Some(watermark) = watermark {
                self.watermark_lag.get_or_create(&of(query)).set(seconds(now_ms) - watermark);
            }
        }
        let unanswered = self.unanswered_since.lock().unwrap_or_else(|e| e.into_inner());
        for (labels, since) in unanswered.iter() {
            let lasts = since.map_or(0.0, |since| seconds(now_ms.saturating_sub(since)));
            self.unanswered.get_or_create(labels).set(lasts);
        }
        drop(unanswered);
        if let Some(usage) = ProcessUsage::now() {
            self.resident_memory.set(usage.resident_bytes);
            let mut counted = self.cpu_until_now.lock().unwrap_or_else(|e| e.into_inner());
            self.cpu.inc_by((usage.cpu_seconds - *counted).max(0.0));
            *counted = usage.cpu_seconds;
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.list.registry);
        text
    }
}

impl StateMetrics {
    /// A query may have several operators of one name, so the place in the plan is part of it.
    fn take(&self, query: &str, place: usize, operator: &StateProgress) {
        let labels = with(query, &[("operator", &format!("{}-{place}", operator.operator_name))]);
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.rows.get_or_create(&labels).set(gauge(operator.num_rows_total));
        self.bytes.get_or_create(&labels).set(gauge(operator.memory_used_bytes));
        self.updated.get_or_create(&labels).inc_by(operator.num_rows_updated);
        self.removed.get_or_create(&labels).inc_by(operator.num_rows_removed);
        self.late.get_or_create(&labels).inc_by(operator.num_rows_dropped_by_watermark);
    }
}

impl PluginMetrics {
    fn take(&self, query: &str, plugin: &PluginProgress) {
        for (function, used) in &plugin.functions {
            let labels = with(query, &[("plugin", &plugin.name), ("function", function)]);
            self.calls.get_or_create(&labels).inc_by(used.calls);
            self.rows.get_or_create(&labels).inc_by(used.rows);
            self.seconds.get_or_create(&labels).inc_by(used.call_time_ms / 1_000.0);
        }
    }
}

fn of(query: &str) -> Labels {
    with(query, &[])
}

fn with(query: &str, others: &[(&'static str, &str)]) -> Labels {
    let others = others.iter().map(|(name, value)| (*name, (*value).to_owned()));
    std::iter::once(("query", query.to_owned())).chain(others).collect()
}

fn result_of(query: &str, result: BatchResult) -> Labels {
    with(query, &[("result", result.name())])
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn source(metrics: &[(&str, &str)]) -> SourceProgress {
        let metrics = metrics.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        SourceProgress {
            name: "orders".into(),
            description: "KafkaV2[Subscribe[orders]]".into(),
            start_offset: Value::Null,
            end_offset: Value::Null,
            latest_offset: Value::Null,
            num_input_rows: 7,
            input_rows_per_second: f64::NAN,
            processed_rows_per_second: f64::NAN,
            metrics: metrics.collect::<BTreeMap<String, String>>(),
        }
    }

    #[test]
    fn what_kafka_is_behind_is_taken_from_the_texts_of_the_record() {
        let metrics = Metrics::new(0);
        metrics.take_source("q", &source(&[]));
        assert!(!metrics.text(&["q".to_owned()], 0).contains("latest{"), "no source said anything");
        metrics.take_source(
            "q",
            &source(&[
                ("avgOffsetsBehindLatest", "2.5"),
                ("maxOffsetsBehindLatest", "4"),
                ("minOffsetsBehindLatest", "1"),
            ]),
        );
        let text = metrics.text(&["q".to_owned()], 0);
        for (kind, value) in [("avg", "2.5"), ("max", "4.0"), ("min", "1.0")] {
            let series = format!(
                "tidemill_source_{kind}_offsets_behind_latest{{query=\"q\",source=\"orders\"}} {value}\n"
            );
            assert!(text.contains(&series), "no {series} in {text}");
        }
        assert!(text.contains("tidemill_input_rows_total{query=\"q\",source=\"orders\"} 14\n"));
        assert!(text.ends_with("# EOF\n"));
    }
}
