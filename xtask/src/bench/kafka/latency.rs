//! How long an order takes through a job that is running, what few orders cost, and none.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Kafka;
use super::goals::Goals;
use super::jobs::Input;
use super::load::{Latency, Topic};
use crate::bench::jobs::Job;
use crate::bench::measure::{Live, run_beside};
use crate::bench::tables::Report;

/// A steady load: rows a second, seconds.
const STEADY: (u64, u64) = (20_000, 60);
/// A trickle: every batch has a row or a few.
const TRICKLE: (u64, u64) = (20, 30);

/// Orders that the steady load takes.
pub(super) const ROWS: u64 = STEADY.0 * STEADY.1;

/// With nothing arriving, the job settles first, and is then looked at for so long.
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(30);

/// A running job under a load.
struct Loaded {
    latency: Latency,
    /// In the time of the probe, which begins before its first order and ends after the last.
    cpu: Duration,
    wall: Duration,
    batches: u64,
    peak_mib: Option<f64>,
}

/// Orders the job takes from and a topic it writes to.
struct Topics<'a> {
    input: Topic<'a>,
    output: Topic<'a>,
}

pub(super) fn measure(kafka: &Kafka<'_>, report: &mut Report, goals: &mut Goals) -> Result<()> {
    let steady = |name: &str, job: fn(&Kafka<'_>, &Topics<'_>, &str) -> Result<Job>| {
        let topics = topics(kafka, name)?;
        let job = job(kafka, &topics, &format!("kafka-{name}"))?;
        eprintln!("bench: {name} under {} rows/s for {} s", STEADY.0, STEADY.1);
        run_beside(&kafka.bench.tidemill, &job.path(), |live| under(kafka, &topics, live, STEADY))
    };
    let pass = steady("pass-through", pass_through)?;
    ensure!(
        pass.latency.received == pass.latency.sent,
        "of {} orders {} came through",
        pass.latency.sent,
        pass.latency.received
    );
    let updated = steady("updates", updates)?;

    let topics = topics(kafka, "trickle")?;
    let job = updates(kafka, &topics, "kafka-trickle")?;
    eprintln!("bench: updates under {} rows/s for {} s, then idle", TRICKLE.0, TRICKLE.1);
    let (trickle, idle) = run_beside(&kafka.bench.tidemill, &job.path(), |live| {
        Ok((under(kafka, &topics, live, TRICKLE)?, idle(live)?))
    })?;

    goals.pass_through(&pass.latency);
    goals.idle(idle);
    for loaded in [&pass, &updated, &trickle] {
        goals.memory(loaded.peak_mib);
    }
    let table = vec![
        pass.row("pass-through", STEADY),
        updated.row("windowed updates", STEADY),
        trickle.row("windowed updates", TRICKLE),
    ];
    report.table("From an order's production to the job's row in the output topic", &HEADER, table);
    report.remark(&format!(
        "Kafka to Kafka, one partition each, default trigger, milliseconds; the broker's times are \
         cut to whole ones. An update is measured by the newest order in it. With nothing arriving \
         the job uses {:.2} % of a core.",
        idle * 100.0
    ));
    Ok(())
}

const HEADER: [&str; 10] = [
    "case",
    "rows/s",
    "rows out",
    "p50",
    "p90",
    "p99",
    "longest",
    "batches/s",
    "CPU ms a batch",
    "CPU of a core",
];

fn topics<'a>(kafka: &Kafka<'a>, name: &str) -> Result<Topics<'a>> {
    let input = kafka.load.empty(&format!("{name}-in"))?;
    Ok(Topics { input, output: kafka.load.stamped(&format!("{name}-out"))? })
}

fn pass_through(kafka: &Kafka<'_>, topics: &Topics<'_>, name: &str) -> Result<Job> {
    let input = Input { bootstrap: &kafka.load.bootstrap, topic: &topics.input.name };
    input.pass_through(&kafka.bench.directory, name, &topics.output.name)
}

fn updates(kafka: &Kafka<'_>, topics: &Topics<'_>, name: &str) -> Result<Job> {
    let input = Input { bootstrap: &kafka.load.bootstrap, topic: &topics.input.name };
    input.updates(&kafka.bench.directory, name, &topics.output.name)
}

fn under(
    kafka: &Kafka<'_>,
    topics: &Topics<'_>,
    live: &Live,
    (rate, seconds): (u64, u64),
) -> Result<Loaded> {
    let (begin, cpu, batches) = (Instant::now(), live.cpu()?, live.batches());
    let Topics { input, output } = topics;
    let latency = kafka.load.probe(input, output, rate, seconds, kafka.orders)?;
    Ok(Loaded {
        latency,
        cpu: live.cpu()? - cpu,
        wall: begin.elapsed(),
        batches: live.batches() - batches,
        peak_mib: live.peak_kib().map(|kib| kib as f64 / 1_024.0),
    })
}

/// The share of a core that a job takes to which nothing comes.
fn idle(live: &Live) -> Result<f64> {
    std::thread::sleep(SETTLE);
    let (begin, cpu) = (Instant::now(), live.cpu()?);
    std::thread::sleep(IDLE);
    Ok((live.cpu()? - cpu).as_secs_f64() / begin.elapsed().as_secs_f64())
}

impl Loaded {
    fn row(&self, name: &str, (rate, _): (u64, u64)) -> Vec<String> {
        let (cpu_s, wall_s) = (self.cpu.as_secs_f64(), self.wall.as_secs_f64());
        let mut row = vec![name.to_owned(), rate.to_string(), self.latency.received.to_string()];
        row.extend(self.latency.ms.iter().map(|ms| format!("{ms:.1}")));
        row.push(format!("{:.0}", self.batches as f64 / wall_s));
        row.push(format!("{:.2}", cpu_s * 1e3 / self.batches.max(1) as f64));
        row.push(format!("{:.0} %", cpu_s / wall_s * 100.0));
        row
    }
}
