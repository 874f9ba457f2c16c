//! What a process' start, a batch of few rows and a plugin's reload cost.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::bench::jobs::Job;
use crate::bench::tables::Report;
use crate::bench::{Bench, Peer, data, measure, spark};
use crate::plugins::replace;
use crate::process::interrupt;

const BATCHES: u64 = 200;
const ROWS_PER_BATCH: u64 = 10;

/// What a run of small batches shows.
struct Small {
    first_batch_ms: f64,
    /// Between the records of the first and the last batch, divided.
    batch_ms: f64,
    longest_ms: f64,
    cpu_ms: f64,
}

pub(super) fn measure_batches(bench: &Bench, report: &mut Report) -> Result<()> {
    let data = data::orders(&bench.directory, BATCHES * ROWS_PER_BATCH, BATCHES)?;
    let small = |name: &str, plugin| -> Result<Small> {
        let job = Job::revenue(&bench.directory, name, &data, 1, plugin)?;
        // The first run compiles the plugin and leaves the code in the cache.
        run_small(bench, &job)?;
        bench.median(|| run_small(bench, &job), |small| small.batch_ms)
    };
    let mut rows = vec![
        small("small", None)?.row("reference job"),
        small("small-plugin", Some(&bench.deployed))?.row("with normalise in Wasm"),
    ];
    if bench.with_peer(Peer::Spark) {
        let peer = spark::run(bench, &data, 1)?;
        let batch = peer.cost.wall_s * 1e3 / BATCHES as f64;
        let first = format!("{:.0}", peer.start_s * 1e3);
        let cpu = format!("{:.1}", peer.cost.cpu_s * 1e3 / BATCHES as f64);
        rows.push(vec![
            "reference job on Spark".into(),
            first,
            format!("{batch:.1}"),
            "-".into(),
            cpu,
        ]);
    }
    report.table(
        &format!("{BATCHES} batches of {ROWS_PER_BATCH} rows, in milliseconds"),
        &["case", "start to first batch", "a batch", "longest", "CPU a batch"],
        rows,
    );
    let sync = sync_ms(&bench.directory)?;
    report.remark(&format!(
        "To append 300 bytes to a file and sync it takes {sync:.2} ms here (median), which a batch \
         does once."
    ));
    Ok(())
}

fn run_small(bench: &Bench, job: &Job) -> Result<Small> {
    job.forget()?;
    let run = measure::run(&bench.tidemill, &["run"], &job.path(), |_, _, _| Ok(()))?;
    let batches: Vec<_> = run.batches().collect();
    ensure!(batches.len() as u64 == BATCHES, "{} batches had rows, not {BATCHES}", batches.len());
    let (first, last) = (batches[0].0, batches[batches.len() - 1].0);
    let gaps = batches.windows(2).map(|pair| pair[1].0 - pair[0].0);
    let intervals = (BATCHES - 1) as f64;
    Ok(Small {
        first_batch_ms: millis(first),
        batch_ms: millis(last - first) / intervals,
        longest_ms: gaps.max().map_or(0.0, millis),
        cpu_ms: millis(run.cpu) / BATCHES as f64,
    })
}

impl Small {
    fn row(&self, name: &str) -> Vec<String> {
        let figures = [self.first_batch_ms, self.batch_ms, self.longest_ms, self.cpu_ms];
        let figures = figures.iter().map(|figure| format!("{figure:.2}"));
        std::iter::once(name.to_owned()).chain(figures).collect()
    }
}

/// What the disk alone costs: the median of 200 appends with a sync each.
fn sync_ms(directory: &Path) -> Result<f64> {
    let path = directory.join("sync");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let begin = Instant::now();
        file.write_all(&[7; 300])?;
        file.sync_data()?;
        times.push(millis(begin.elapsed()));
    }
    std::fs::remove_file(path)?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Batches before the first reload and between two.
const QUIET_BATCHES: u32 = 50;
const RELOADS: usize = 5;

/// A reload that takes longer than this does not come at all.
const RELOAD_MAX: Duration = Duration::from_secs(60);

/// What the reloads of a run show.
struct Reloads {
    /// From the new file to the record of the first batch on it.
    times_ms: Vec<f64>,
    /// The longest time between two records: before any reload, and while one is under way.
    quiet_gap_ms: f64,
    reload_gap_ms: f64,
}

pub(super) fn measure_reload(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut rows = Vec::new();
    for (name, module) in
        [("profile plugin", &bench.deployed), ("profile plugin-dev", &bench.reloaded)]
    {
        let reloads = run_reloads(bench, &std::fs::read(module)?)?;
        let mut times = reloads.times_ms.clone();
        times.sort_by(f64::total_cmp);
        let figures = [
            times[times.len() / 2],
            times[times.len() - 1],
            reloads.quiet_gap_ms,
            reloads.reload_gap_ms,
        ];
        let figures = figures.iter().map(|figure| format!("{figure:.1}"));
        rows.push(std::iter::once(name.to_owned()).chain(figures).collect());
    }
    report.table(
        &format!("A plugin's file replaced by one with another constant, {RELOADS} times under a batch every 10 ms; in milliseconds"),
        &["module", "median to the first batch on it", "longest", "longest gap before", "longest gap while reloading"],
        rows,
    );
    Ok(())
}

fn run_reloads(bench: &Bench, module: &[u8]) -> Result<Reloads> {
    let (job, place) = Job::reload(&bench.directory, "reload", module)?;
    let mut reloads = Reloads { times_ms: Vec::new(), quiet_gap_ms: 0.0, reload_gap_ms: 0.0 };
    // The digest that is waited for, and since when.
    let mut waiting: Option<(String, Instant)> = None;
    let mut quiet = 0;
    let mut last = None;
    measure::run(&bench.tidemill, &["run", "--watch"], &job.path(), |at, progress, process| {
        let gap = last.replace(at).map_or(0.0, |last| millis(at - last));
        if let Some((digest, since)) = &waiting {
            reloads.reload_gap_ms = reloads.reload_gap_ms.max(gap);
            if progress.digests.values().any(|running| running == digest) {
                reloads.times_ms.push(millis(since.elapsed()));
                (waiting, quiet) = (None, 0);
            } else if since.elapsed() > RELOAD_MAX {
                bail!("the job does not take the plugin's new file over");
            }
            return Ok(());
        }
        quiet += 1;
        // The first batches warm up.
        if reloads.times_ms.is_empty() && quiet > QUIET_BATCHES / 2 {
            reloads.quiet_gap_ms = reloads.quiet_gap_ms.max(gap);
        }
        if quiet == QUIET_BATCHES && reloads.times_ms.len() < RELOADS {
            // One that no earlier run has left compiled in the cache.
            let changed = with_other_constant(module, 1.2 + fastrand::f64())?;
            replace(&place, &changed)?;
            waiting = Some((digest(&changed), Instant::now()));
        } else if quiet == QUIET_BATCHES {
            interrupt(process.id())?;
        }
        Ok(())
    })?;
    Ok(reloads)
}

/// The module as it comes out if the 1.1 in the source is another number.
fn with_other_constant(module: &[u8], constant: f64) -> Result<Vec<u8>> {
    const F64_CONST: u8 = 0x44;
    let instruction = |constant: f64| {
        let mut bytes = [F64_CONST; 9];
        bytes[1..].copy_from_slice(&constant.to_le_bytes());
        bytes
    };
    let at = module.windows(9).position(|window| window == instruction(1.1));
    let at =
        at.context("the plugin orders has no 1.1 in it any more; measure with another number")?;
    let mut changed = module.to_vec();
    changed[at..at + 9].copy_from_slice(&instruction(constant));
    Ok(changed)
}

/// As the progress records write it.
fn digest(module: &[u8]) -> String {
    Sha256::digest(module).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
