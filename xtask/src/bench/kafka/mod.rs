//! Measures jobs over a real Kafka broker on this machine.
//!
//! ```text
//!  orders (files) ──kafka_load──▶ topic ──tidemill | Spark | Flink──▶ nowhere      throughput
//!                  kafka_load ──▶ topic ──tidemill──▶ topic ──▶ kafka_load         latency
//! ```
//!
//! Broker, load and job share the cores: wall times are those of the three together, processor
//! times are the job's own.

mod broker;
mod goals;
mod jobs;
mod latency;
mod load;
mod peers;
mod throughput;

use std::path::Path;

use anyhow::Result;

use crate::bench::tables::Report;
use crate::bench::{Bench, Measurement, data};
pub(super) use broker::{Broker, end_on_signals};
use load::Load;

/// What the measurements over Kafka share.
struct Kafka<'a> {
    bench: &'a Bench<'a>,
    load: &'a Load,
    /// Files with as many orders as any measurement needs.
    orders: &'a Path,
}

pub(super) fn measure(bench: &Bench<'_>, bootstrap: &str, report: &mut Report) -> Result<()> {
    let rows = bench.options.rows.max(latency::ROWS);
    let orders = data::orders(&bench.directory, rows, rows.div_ceil(data::ROWS_PER_FILE))?;
    let load = Load { program: bench.load.clone(), bootstrap: bootstrap.to_owned() };
    let kafka = Kafka { bench, load: &load, orders: &orders };
    let mut goals = goals::Goals::default();
    if bench.wants(Measurement::Throughput) {
        throughput::measure(&kafka, report, &mut goals)?;
    }
    if bench.wants(Measurement::Latency) {
        latency::measure(&kafka, report, &mut goals)?;
    }
    goals.report(report);
    Ok(())
}
