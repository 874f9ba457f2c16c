//! How long an order takes through a job that is running, what few orders cost, and none.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Kafka;
use super::goals::Goals;
use super::jobs::Input;
use super::load::{Latency, Pace, Topic};
use super::peers::{LiveJob, LivePeer};
use crate::bench::Peer;
use crate::bench::jobs::Job;
use crate::bench::measure::{Live, run_beside};
use crate::bench::tables::Report;

/// A steady load. The JVMs compile what they run in its first seconds.
const STEADY: Pace = Pace { rate: 20_000, warm_up: 20, seconds: 60 };
/// Until the first row is out, a job starts.
const START: Pace = Pace { rate: 20, warm_up: 0, seconds: 1 };
/// A trickle: every batch has a row or a few.
const TRICKLE: Pace = Pace { rate: 20, warm_up: 5, seconds: 30 };

/// Orders that the steady load takes.
pub(super) const ROWS: u64 = STEADY.rows();

/// With nothing arriving, the job settles first, and is then looked at for so long.
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(30);

/// A running job under a load.
struct Loaded {
    latency: Latency,
    /// In the time of the probe, which begins before its first order and ends after the last.
    cpu: Duration,
    wall: Duration,
    batches: Option<u64>,
    peak_mib: Option<f64>,
}

/// Orders the job takes from and a topic it writes to.
struct Topics<'a> {
    input: Topic<'a>,
    output: Topic<'a>,
}

/// Both jobs that go from topic to topic.
const JOBS: [LiveJob; 2] = [LiveJob::PassThrough, LiveJob::Updates];

pub(super) fn measure(kafka: &Kafka<'_>, report: &mut Report, goals: &mut Goals) -> Result<()> {
    let mut table = Vec::new();
    for job in JOBS {
        let loaded = steady(kafka, job)?;
        if job == LiveJob::PassThrough {
            let Latency { sent, received, .. } = loaded.latency;
            ensure!(received == sent, "of {sent} orders {received} came through");
            goals.pass_through(&loaded.latency);
        }
        goals.memory(loaded.peak_mib);
        table.push(loaded.row(job.name(), STEADY));
    }
    let (trickle, idle) = trickle(kafka)?;
    goals.idle(idle);
    goals.memory(trickle.peak_mib);
    table.push(trickle.row(LiveJob::Updates.name(), TRICKLE));
    for job in JOBS {
        for (peer, name) in [(Peer::Spark, "Spark"), (Peer::Flink, "Flink")] {
            if kafka.bench.with_peer(peer) {
                let loaded = peer_under(kafka, peer, job)?;
                table.push(loaded.row(&format!("{} on {name}", job.name()), STEADY));
            }
        }
    }
    report.table("From an order's production to the job's row in the output topic", &HEADER, table);
    report.remark(&format!(
        "Kafka to Kafka, one partition each, default trigger, milliseconds; the broker's times are \
         cut to whole ones. {} s of the same load go before the measured {} s; processor time and \
         batches are those of both. An order counts from the moment at which it was due. An update \
         is measured by the newest order in it: Flink writes one for every order, the others one \
         for those of a batch. Spark runs micro-batches, its real-time mode is not measured. With \
         nothing arriving the job uses {:.2} % of a core.",
        STEADY.warm_up,
        STEADY.seconds,
        idle * 100.0
    ));
    Ok(())
}

fn steady(kafka: &Kafka<'_>, job: LiveJob) -> Result<Loaded> {
    let topics = topics(kafka, job.argument())?;
    let file = tidemill_job(kafka, &topics, job)?;
    eprintln!("bench: {} under {} rows/s for {} s", job.name(), STEADY.rate, STEADY.seconds);
    run_beside(&kafka.bench.tidemill, &file.path(), |live| under(kafka, &topics, live, STEADY))
}

/// A job under few rows, and the share of a core that it takes under none.
fn trickle(kafka: &Kafka<'_>) -> Result<(Loaded, f64)> {
    let topics = topics(kafka, "trickle")?;
    let job = tidemill_job(kafka, &topics, LiveJob::Updates)?;
    eprintln!("bench: updates under {} rows/s for {} s, then idle", TRICKLE.rate, TRICKLE.seconds);
    run_beside(&kafka.bench.tidemill, &job.path(), |live| {
        Ok((under(kafka, &topics, live, TRICKLE)?, idle(live)?))
    })
}

fn peer_under(kafka: &Kafka<'_>, peer: Peer, job: LiveJob) -> Result<Loaded> {
    let topics = topics(kafka, job.argument())?;
    let Topics { input, output } = &topics;
    let bootstrap = &kafka.load.bootstrap;
    let process = LivePeer::start(kafka.bench, peer, job, bootstrap, &input.name, &output.name)?;
    kafka.load.probe(input, output, START, kafka.orders).with_context(|| process.messages())?;
    let (begin, cpu) = (Instant::now(), process.cpu()?);
    let latency = kafka.load.probe(input, output, STEADY, kafka.orders)?;
    Ok(Loaded {
        latency,
        cpu: process.cpu()?.saturating_sub(cpu),
        wall: begin.elapsed(),
        batches: None,
        peak_mib: None,
    })
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

fn tidemill_job(kafka: &Kafka<'_>, topics: &Topics<'_>, job: LiveJob) -> Result<Job> {
    let Topics { input, output } = topics;
    let from = Input { bootstrap: &kafka.load.bootstrap, topic: &input.name };
    let bench = &kafka.bench.directory;
    match job {
        LiveJob::PassThrough => from.pass_through(bench, "kafka-pass-through", &output.name),
        LiveJob::Updates => from.updates(bench, "kafka-updates", &output.name),
    }
}

fn under(kafka: &Kafka<'_>, topics: &Topics<'_>, live: &Live, pace: Pace) -> Result<Loaded> {
    let Topics { input, output } = topics;
    kafka.load.probe(input, output, START, kafka.orders)?;
    let (begin, cpu, batches) = (Instant::now(), live.cpu()?, live.batches());
    let latency = kafka.load.probe(input, output, pace, kafka.orders)?;
    Ok(Loaded {
        latency,
        cpu: live.cpu()? - cpu,
        wall: begin.elapsed(),
        batches: Some(live.batches() - batches),
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
    fn row(&self, name: &str, pace: Pace) -> Vec<String> {
        let (cpu_s, wall_s) = (self.cpu.as_secs_f64(), self.wall.as_secs_f64());
        let mut row = vec![name.to_owned(), pace.rate.to_string()];
        row.push(self.latency.received.to_string());
        row.extend(self.latency.ms.iter().map(|ms| format!("{ms:.1}")));
        let a_batch = |figure: &dyn Fn(f64) -> String| match self.batches {
            Some(batches) => figure(batches as f64),
            None => "-".to_owned(),
        };
        row.push(a_batch(&|batches| format!("{:.0}", batches / wall_s)));
        row.push(a_batch(&|batches| format!("{:.2}", cpu_s * 1e3 / batches.max(1.0))));
        row.push(format!("{:.0} %", cpu_s / wall_s * 100.0));
        row
    }
}
