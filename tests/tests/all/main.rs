//! Tests of the whole, in one binary (each one links the world).

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod ansi;
mod changed;
mod crash;
mod crash_points;
mod engine;
mod faults;
mod idle;
mod kafka;
mod observe;
mod orders;
mod random_queries;
mod refused;
mod reload;
mod repeat;
mod scripts;
mod spark;
mod statements;
mod tidy;
mod trace;

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
        sources: vec![source],
        statics: Vec::new(),
        steps,
        output: None,
        plugins: Vec::new(),
    }
}

/// Held by tests that plan in this process: one of them counts what is planned.
static PLANNING: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn planning() -> std::sync::MutexGuard<'static, ()> {
    PLANNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
