//! Says of each batch what it did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidemill_core::{
    EventTimeProgress, FunctionProgress, Measured, PluginModule, PluginProgress, PluginUsage,
    Progress, QueryId, SinkProgress, SourceProgress, format_millis,
};
use tidemill_plan::{BatchReport, EventTimes, Letters};

use crate::phase::Executed;

/// Time that the phases of a batch took.
#[derive(Default)]
pub(crate) struct Laps {
    pub(crate) latest_offset: Duration,
    pub(crate) wal_commit: Duration,
    pub(crate) execute: Duration,
    pub(crate) deliver: Duration,
    pub(crate) commit_offsets: Duration,
}

impl Laps {
    fn by_name(&self) -> [(&'static str, Duration); 5] {
        [
            ("latestOffset", self.latest_offset),
            ("walCommit", self.wal_commit),
            ("execute", self.execute),
            ("deliver", self.deliver),
            ("commitOffsets", self.commit_offsets),
        ]
    }
}

/// How far a batch moved a source.
pub(crate) struct SourceMoved {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) start: Value,
    pub(crate) end: Value,
    /// Where the source's input ends as far as it knows; null where it does not.
    pub(crate) latest: Value,
    pub(crate) metrics: BTreeMap<String, String>,
}

/// A batch that is durable.
pub(crate) struct Finished<'a> {
    pub(crate) done: &'a Executed,
    pub(crate) report: &'a BatchReport,
    pub(crate) sources: Vec<SourceMoved>,
    pub(crate) sink: String,
    pub(crate) plugins: &'a [Arc<dyn PluginModule>],
    pub(crate) laps: Laps,
    pub(crate) has_watermark: bool,
}

/// Makes progress records.
pub(crate) struct ProgressReporter {
    name: String,
    id: String,
    run_id: String,
    last_triggered_at_ms: Option<i64>,
    usage: BTreeMap<String, PluginUsage>,
    reloads: BTreeMap<String, u64>,
}

impl ProgressReporter {
    pub(crate) fn new(name: &str, id: &QueryId) -> ProgressReporter {
        ProgressReporter {
            name: name.to_owned(),
            id: id.0.clone(),
            run_id: uuid::Uuid::new_v4().to_string(),
            last_triggered_at_ms: None,
            usage: BTreeMap::new(),
            reloads: BTreeMap::new(),
        }
    }

    pub(crate) fn count_reload(&mut self, plugin: &str) {
        *self.reloads.entry(plugin.to_owned()).or_default() += 1;
    }

    pub(crate) fn report(&mut self, finished: Finished<'_>) -> Progress {
        let Finished { done, report, sources, sink, plugins, laps, has_watermark } = finished;
        let spec = &done.planned.spec;
        let phases = laps.by_name();
        let trigger: Duration = phases.iter().map(|(_, time)| time).sum();
        let since_last = self
            .last_triggered_at_ms
            .replace(spec.batch_time_ms)
            .map_or(f64::NAN, |last| (spec.batch_time_ms - last) as f64 / 1_000.0);
        let input_rate = |rows: u64| rows as f64 / since_last;
        let processed_rate = |rows: u64| rows as f64 / trigger.as_secs_f64();
        let rows: u64 = report.rows_by_source.values().sum();
        let sources = sources.into_iter().map(|moved| {
            let rows = report.rows_by_source.get(&moved.name).copied().unwrap_or(0);
            SourceProgress {
                name: moved.name,
                description: moved.description,
                start_offset: moved.start,
                latest_offset: if moved.latest.is_null() {
                    moved.end.clone()
                } else {
                    moved.latest
                },
                end_offset: moved.end,
                num_input_rows: rows,
                input_rows_per_second: input_rate(rows),
                processed_rows_per_second: processed_rate(rows),
                metrics: moved.metrics,
            }
        });
        Progress {
            id: self.id.clone(),
            run_id: self.run_id.clone(),
            name: self.name.clone(),
            timestamp: format_millis(spec.batch_time_ms),
            batch_id: spec.batch.0,
            batch_duration: millis(trigger),
            num_input_rows: rows,
            input_rows_per_second: input_rate(rows),
            processed_rows_per_second: processed_rate(rows),
            duration_ms: BTreeMap::from([
                ("triggerExecution".to_owned(), millis(trigger)),
                ("latestOffset".to_owned(), millis(laps.latest_offset)),
                ("walCommit".to_owned(), millis(laps.wal_commit)),
                ("addBatch".to_owned(), millis(laps.execute + laps.deliver)),
                ("commitOffsets".to_owned(), millis(laps.commit_offsets)),
            ]),
            event_time: event_time(report, has_watermark.then_some(spec.watermark.millis)),
            state_operators: report.state_operators.clone(),
            sources: sources.collect(),
            sink: SinkProgress {
                description: sink,
                num_output_rows: i64::try_from(done.rows).unwrap_or(-1),
                metrics: BTreeMap::new(),
            },
            observed_metrics: BTreeMap::new(),
            dead_letters: done.batch.letters().map(Letters::count),
            plugins: plugins.iter().map(|module| self.plugin(module.as_ref())).collect(),
            measured: Measured {
                total: trigger,
                phases: phases.to_vec(),
                watermark_ms: Some(spec.watermark.millis).filter(|at| has_watermark && *at > 0),
            },
        }
    }

    fn plugin(&mut self, module: &dyn PluginModule) -> PluginProgress {
        let generation = format!("{} {}", module.name(), module.digest());
        let all = self.since_last(&generation, module.usage());
        let functions = module.usage_by_function().into_iter().map(|(function, usage)| {
            let used = self.since_last(&format!("{generation} {function}"), usage);
            (function, used)
        });
        let functions = functions.collect();
        PluginProgress {
            name: module.name().to_owned(),
            digest: module.digest(),
            reloads: self.reloads.get(module.name()).copied().unwrap_or(0),
            calls: all.calls,
            rows: all.rows,
            call_time_ms: all.call_time_ms,
            functions,
        }
    }

    /// What a counter says more than at the last batch.
    fn since_last(&mut self, counter: &str, usage: PluginUsage) -> FunctionProgress {
        let before = self.usage.insert(counter.to_owned(), usage).unwrap_or_default();
        FunctionProgress {
            calls: usage.calls.saturating_sub(before.calls),
            rows: usage.rows.saturating_sub(before.rows),
            call_time_ms: usage.nanos.saturating_sub(before.nanos) as f64 / 1e6,
        }
    }
}

fn event_time(report: &BatchReport, watermark_ms: Option<i64>) -> EventTimeProgress {
    let mut all = EventTimes { count: 0, min: i64::MAX, max: i64::MIN, sum_ms: 0 };
    for times in &report.event_times {
        all.count += times.count;
        all.min = all.min.min(times.min);
        all.max = all.max.max(times.max);
        all.sum_ms = all.sum_ms.wrapping_add(times.sum_ms);
    }
    let seen = |millis: i64| (all.count > 0).then(|| format_millis(millis));
    EventTimeProgress {
        avg: seen(all.sum_ms.checked_div(all.count as i64).unwrap_or(0)),
        max: seen(all.max.div_euclid(1_000)),
        min: seen(all.min.div_euclid(1_000)),
        watermark: watermark_ms.map(format_millis),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
