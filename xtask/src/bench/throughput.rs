//! Rows a second, processor time and memory on the reference job.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::bench::jobs::Job;
use crate::bench::tables::Report;
use crate::bench::{Bench, Peer, data, measure, spark};

const FILES_PER_BATCH: u32 = 5;

/// Of a table of costs.
pub(super) const HEADER: [&str; 7] = [
    "case",
    "wall s",
    "rows/s",
    "CPU s / M rows",
    "peak MiB",
    "CPU of reference",
    "wall of reference",
];

/// What a system needed for the job.
pub(super) struct Cost {
    pub(super) rows: u64,
    pub(super) wall_s: f64,
    pub(super) cpu_s: f64,
    pub(super) peak_mib: Option<f64>,
}

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let rows = bench.options.rows;
    let data = data::orders(&bench.directory, rows, rows.div_ceil(data::ROWS_PER_FILE))?;
    let job =
        |name: &str, plugin| Job::revenue(&bench.directory, name, &data, FILES_PER_BATCH, plugin);
    let reference = job("reference", None)?;
    let plugin = job("reference-plugin", Some(bench.deployed.as_path()))?;

    let mut costs = vec![
        ("reference job", cost(bench, &bench.tidemill, &["run"], &reference)?),
        ("with normalise in Wasm", cost(bench, &bench.tidemill, &["run"], &plugin)?),
        ("with normalise compiled in", cost(bench, &bench.native, &[], &plugin)?),
    ];
    let mut remark = None;
    if bench.with_peer(Peer::Spark) {
        let peer = spark::run(bench, &data, FILES_PER_BATCH)?;
        costs.push(("reference job on Spark", peer.cost));
        remark = Some(peer.remark);
    }
    let table = costs.iter().map(|(name, cost)| cost.row(name, &costs[0].1)).collect();
    report.table(&format!("{rows} orders from JSON files, sums per window"), &HEADER, table);
    if let Some(remark) = remark {
        report.remark(&remark);
    }
    Ok(())
}

/// Runs a job that ends by itself, as often as asked: the run of middle processor time, and the
/// highest peak of all.
pub(super) fn cost(bench: &Bench, program: &Path, verb: &[&str], job: &Job) -> Result<Cost> {
    let mut peak_mib: Option<f64> = None;
    let once = || {
        job.forget()?;
        let run = measure::run(program, verb, &job.path(), |_, _, _| Ok(()))?;
        let rows = run.rows();
        ensure!(rows == bench.options.rows, "the job read {rows} rows of {}", bench.options.rows);
        let peak = run.peak_kib.map(|kib| kib as f64 / 1_024.0);
        peak_mib = peak_mib.into_iter().chain(peak).reduce(f64::max);
        let (wall_s, cpu_s) = (run.wall.as_secs_f64(), run.cpu.as_secs_f64());
        Ok(Cost { rows, wall_s, cpu_s, peak_mib: None })
    };
    let middle = bench.median(once, |cost| cost.cpu_s)?;
    Ok(Cost { peak_mib, ..middle })
}

impl Cost {
    pub(super) fn row(&self, name: &str, reference: &Cost) -> Vec<String> {
        vec![
            name.to_owned(),
            format!("{:.2}", self.wall_s),
            format!("{:.0}", self.rows as f64 / self.wall_s),
            format!("{:.3}", self.cpu_s / self.rows as f64 * 1e6),
            self.peak_mib.map_or("-".to_owned(), |mib| format!("{mib:.0}")),
            format!("{:.2}x", self.cpu_s / reference.cpu_s),
            format!("{:.2}x", self.wall_s / reference.wall_s),
        ]
    }
}
