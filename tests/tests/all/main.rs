//! Tests of the whole, in one binary (each one links the world).

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod aggregates;
mod ansi;
mod backups;
mod bounds;
mod call;
mod cases;
mod chain;
mod changed;
mod columns;
mod crash;
mod crash_points;
mod dev;
mod dev_view;
mod durability;
mod engine;
mod faults;
mod functions;
mod fuzz;
mod generations;
mod idle;
mod inspect;
mod kafka;
mod left_batches;
mod letters;
mod malformed;
mod memory;
mod migrations;
mod native;
mod new;
mod observe;
mod orders;
mod queries;
mod random_queries;
mod refused;
mod reload;
mod repeat;
mod replay;
mod reuse;
mod scalars;
mod scripts;
mod secrets;
mod spark;
mod sqlite_start;
mod stateful;
mod statements;
mod streams;
mod texts;
mod tidy;
mod time_zone;
mod trace;
mod trigger;
mod varying;

/// A query in append mode over one source, with one shard and one partition.
fn appending(
    source: tidemill_plan::SourceTable,
    steps: Vec<tidemill_plan::Step>,
) -> tidemill_plan::QueryDefinition {
    tidemill_plan::QueryDefinition {
        output_mode: tidemill_core::OutputMode::Append,
        watermark_policy: tidemill_core::WatermarkPolicy::Min,
        shuffle_partitions: 1,
        scan_partitions: 1,
        time_zone: "UTC".to_owned(),
        sources: vec![source],
        statics: Vec::new(),
        steps,
        output: None,
        keeps_late: false,
        keeps_failing: false,
        plugins: Vec::new(),
    }
}

/// Held by tests that plan in this process: one of them counts what is planned.
static PLANNING: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn planning() -> std::sync::MutexGuard<'static, ()> {
    PLANNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Seconds for each test of a long run, where `TIDEMILL_LONG_SECONDS` does not say.
const LONG_SECONDS: u64 = 60;

/// A number in the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Until when a test that has no end of its own goes on in a long run; `None` in a usual one.
fn long_run_until() -> Option<std::time::Instant> {
    std::env::var_os("TIDEMILL_LONG")?;
    let seconds = number("TIDEMILL_LONG_SECONDS").unwrap_or(LONG_SECONDS);
    Some(std::time::Instant::now() + std::time::Duration::from_secs(seconds))
}
