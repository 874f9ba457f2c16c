//! Operators that keep state, each beside Spark on the same files: joins, duplicates, sessions, and
//! small batches against many keys.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::jobs::Job;
use crate::bench::tables::Report;
use crate::bench::{Bench, Peer, data, measure, spark};

const ROWS: u64 = 1_000_000;
const KEYS: [u64; 2] = [1_000_000, 5_000_000];
const SMALL_BATCHES: usize = 20;
const SMALL_ROWS: u64 = 1_000;

/// What a run showed.
struct Figures {
    rows: u64,
    rows_out: u64,
    wall_s: f64,
    cpu_s: f64,
    peak_mib: f64,
    /// From each batch with rows to the one before it.
    batches_ms: Vec<f64>,
    /// Where the state had the most rows.
    state_rows: u64,
    state_bytes: u64,
    /// Of the second half of the batches; Spark only.
    warm_rows_per_s: Option<f64>,
}

/// A job, and the same for Spark.
struct Case {
    name: &'static str,
    job: Job,
    data: PathBuf,
    /// Bytes of key and value in a row of the state.
    key_and_value: u64,
}

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    measure_operators(bench, report)?;
    measure_small_batches(bench, report)
}

fn measure_operators(bench: &Bench, report: &mut Report) -> Result<()> {
    let directory = &bench.directory;
    let (join, dedup, sessions) = (
        data::sides(directory, ROWS)?,
        data::repeated(directory, ROWS)?,
        data::visits(directory, ROWS)?,
    );
    let cases = [
        Case { name: "join", job: Job::join(directory, &join)?, data: join, key_and_value: 30 },
        Case { name: "dedup", job: Job::dedup(directory, &dedup)?, data: dedup, key_and_value: 8 },
        Case {
            name: "sessions",
            job: Job::sessions(directory, &sessions)?,
            data: sessions,
            key_and_value: 39,
        },
    ];
    let mut table = Vec::new();
    for case in cases {
        let ours = bench.median(|| run(bench, &case.job), |figures| figures.cpu_s)?;
        table.push(ours.row(case.name, &ours, case.key_and_value));
        if bench.with_peer(Peer::Spark) {
            let peer = run_spark(bench, case.name, &case.data)?;
            same_rows(case.name, &ours, &peer)?;
            let name = format!("{} on Spark", case.name);
            table.push(peer.row(&name, &ours, case.key_and_value));
        }
    }
    report.table(
        "Operators with state",
        &[
            "case",
            "rows out",
            "wall s",
            "rows/s",
            "warm rows/s",
            "CPU s / M rows",
            "peak MiB",
            "state rows",
            "bytes a row",
            "beyond key and value",
            "times slower",
            "times slower, warm",
        ],
        table,
    );
    Ok(())
}

fn measure_small_batches(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut table = Vec::new();
    for keys in KEYS {
        let data = data::keys(&bench.directory, keys, SMALL_BATCHES, SMALL_ROWS)?;
        let job = Job::count(&bench.directory, &data)?;
        let ours = bench.median(|| run(bench, &job), Figures::small_ms)?;
        let name = format!("{} M keys", keys / 1_000_000);
        table.push(ours.small_row(&name));
        if bench.with_peer(Peer::Spark) && keys == KEYS[0] {
            let peer = run_spark(bench, "keys", &data)?;
            same_rows(&name, &ours, &peer)?;
            table.push(peer.small_row(&format!("{name} on Spark")));
        }
    }
    report.table(
        &format!("Batches of {SMALL_ROWS} rows against many keys"),
        &[
            "case",
            "median ms a batch",
            "longest",
            "state rows",
            "bytes a key",
            "beyond key and value",
            "peak MiB",
            "load rows/s",
        ],
        table,
    );
    Ok(())
}

fn same_rows(name: &str, ours: &Figures, peer: &Figures) -> Result<()> {
    let (ours, peer) = ((ours.rows, ours.rows_out), (peer.rows, peer.rows_out));
    ensure!(ours == peer, "{name}: rows in and out {ours:?} are {peer:?} on Spark");
    Ok(())
}

fn run(bench: &Bench, job: &Job) -> Result<Figures> {
    job.forget()?;
    let run = measure::run(&bench.tidemill, &["run"], &job.path(), |_, _, _| Ok(()))?;
    let (mut rows_out, mut state) = (0, (0, 0));
    for line in &run.lines {
        let record: Value = serde_json::from_str(line)?;
        rows_out += record["sink"]["numOutputRows"].as_u64().context("no numOutputRows")?;
        state = state.max(state_of(&record));
    }
    let at: Vec<f64> = run.batches().map(|(at, _)| at.as_secs_f64() * 1e3).collect();
    let before = std::iter::once(&0.0).chain(&at);
    Ok(Figures {
        rows: run.rows(),
        rows_out,
        wall_s: run.wall.as_secs_f64(),
        cpu_s: run.cpu.as_secs_f64(),
        peak_mib: run.peak_kib.map_or(f64::NAN, |kib| kib as f64 / 1_024.0),
        batches_ms: at.iter().zip(before).map(|(at, before)| at - before).collect(),
        state_rows: state.0,
        state_bytes: state.1,
        warm_rows_per_s: None,
    })
}

fn run_spark(bench: &Bench, case: &str, data: &Path) -> Result<Figures> {
    let checkpoint = bench.directory.join("spark-checkpoint");
    let result = spark::script(
        bench,
        "spark_state.py",
        &[case.as_ref(), data.as_ref(), checkpoint.as_ref()],
    )?;
    let number = |name: &str| {
        result[name].as_f64().with_context(|| format!("the Spark script gave no {name}"))
    };
    let batches = result["batches_ms"].as_array().context("the Spark script gave no batches")?;
    Ok(Figures {
        rows: number("rows")? as u64,
        rows_out: number("rows_out")? as u64,
        wall_s: number("wall_s")?,
        cpu_s: number("cpu_s")?,
        peak_mib: number("peak_mib")?,
        batches_ms: batches.iter().filter_map(Value::as_f64).collect(),
        state_rows: number("state_rows")? as u64,
        state_bytes: number("state_bytes")? as u64,
        warm_rows_per_s: Some(number("warm_rows_per_s")?),
    })
}

/// Rows and bytes of a record's operators.
fn state_of(record: &Value) -> (u64, u64) {
    let operators = record["stateOperators"].as_array().map_or(&[][..], Vec::as_slice);
    let sum = |name: &str| operators.iter().filter_map(|operator| operator[name].as_u64()).sum();
    (sum("numRowsTotal"), sum("memoryUsedBytes"))
}

impl Figures {
    fn rows_per_s(&self) -> f64 {
        self.rows as f64 / self.wall_s
    }

    fn bytes_a_row(&self) -> f64 {
        self.state_bytes as f64 / self.state_rows as f64
    }

    /// The batches after those that brought the keys.
    fn small(&self) -> Vec<f64> {
        let loads = self.batches_ms.len().saturating_sub(SMALL_BATCHES);
        let mut small = self.batches_ms[loads..].to_vec();
        small.sort_by(f64::total_cmp);
        small
    }

    fn small_ms(&self) -> f64 {
        let small = self.small();
        small.get(small.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn row(&self, name: &str, ours: &Figures, key_and_value: u64) -> Vec<String> {
        let warm = self.warm_rows_per_s;
        let times = |rows_per_s: f64| format!("{:.1}x", ours.rows_per_s() / rows_per_s);
        vec![
            name.to_owned(),
            self.rows_out.to_string(),
            format!("{:.2}", self.wall_s),
            format!("{:.0}", self.rows_per_s()),
            warm.map_or("-".to_owned(), |warm| format!("{warm:.0}")),
            format!("{:.2}", self.cpu_s / self.rows as f64 * 1e6),
            format!("{:.0}", self.peak_mib),
            self.state_rows.to_string(),
            format!("{:.0}", self.bytes_a_row()),
            format!("{:.0}", self.bytes_a_row() - key_and_value as f64),
            times(self.rows_per_s()),
            warm.map_or("-".to_owned(), times),
        ]
    }

    fn small_row(&self, name: &str) -> Vec<String> {
        let small = self.small();
        let load_ms: f64 = self.batches_ms.iter().sum::<f64>() - small.iter().sum::<f64>();
        let loaded = self.rows - SMALL_BATCHES as u64 * SMALL_ROWS;
        vec![
            name.to_owned(),
            format!("{:.2}", self.small_ms()),
            format!("{:.2}", small.last().copied().unwrap_or(f64::NAN)),
            self.state_rows.to_string(),
            format!("{:.0}", self.bytes_a_row()),
            // Eight bytes of text, and the count.
            format!("{:.0}", self.bytes_a_row() - 16.0),
            format!("{:.0}", self.peak_mib),
            format!("{:.0}", loaded as f64 / load_ms * 1e3),
        ]
    }
}
