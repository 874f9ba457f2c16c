//! Spark and Flink on the same topics: the reference job, twice in one process (cold, and warm), and
//! the jobs that go from topic to topic.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::jobs::{Input, ROWS_PER_BATCH};
use super::load::number;
use crate::bench::measure::process_cpu;
use crate::bench::throughput::Cost;
use crate::bench::{Bench, Peer as BenchPeer, spark};
use crate::process::{output, run, which};

/// Of the JVM that Flink runs in; Spark's script sets Spark's.
const FLINK_HEAP: &str = "-Xmx2g";

/// What a peer needed for the reference job, first and second time.
pub(super) struct Peer {
    pub(super) cold: Cost,
    pub(super) warm: Cost,
}

pub(super) fn spark(bench: &Bench, input: &Input<'_>, rows: u64) -> Result<Peer> {
    let python = spark::environment(&bench.directory.join("spark"))?;
    let jars = jars(bench, "spark-kafka")?;
    eprintln!("bench: running Spark on {} (a minute or more)", input.topic);
    let printed = output(
        Command::new(python)
            .arg(bench.peers.join("spark_kafka.py"))
            .args([input.bootstrap, input.topic, &ROWS_PER_BATCH.to_string()])
            .arg(bench.directory.join("spark-checkpoint"))
            .arg(jars),
    )?;
    peer(&printed, rows)
}

pub(super) fn flink(bench: &Bench, input: &Input<'_>, rows: u64) -> Result<Peer> {
    let mut java = flink_command(bench)?;
    eprintln!("bench: running Flink on {} (a minute or more)", input.topic);
    let checkpoint = bench.directory.join("flink-checkpoint");
    let printed = output(java.args([input.bootstrap, input.topic]).arg(&checkpoint))?;
    std::fs::remove_dir_all(checkpoint)?;
    peer(&printed, rows)
}

/// Flink's program, compiled, without its arguments.
fn flink_command(bench: &Bench) -> Result<Command> {
    let jars = jars(bench, "flink")?.join("*");
    let classes = bench.directory.join("flink-classes");
    let source = bench.peers.join("FlinkKafka.java");
    run(Command::new("javac").arg("-cp").arg(&jars).arg("-d").arg(&classes).arg(source))?;
    let class_path = std::env::join_paths([classes.as_path(), jars.as_path()])?;
    let mut java = Command::new("java");
    java.args([FLINK_HEAP, "--add-opens=java.base/java.util=ALL-UNNAMED", "-cp"]);
    java.arg(class_path).arg("FlinkKafka");
    Ok(java)
}

/// A job that goes from topic to topic until it is stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LiveJob {
    PassThrough,
    Updates,
}

impl LiveJob {
    pub(super) fn name(self) -> &'static str {
        match self {
            LiveJob::PassThrough => "pass-through",
            LiveJob::Updates => "windowed updates",
        }
    }

    /// As the peers' programs and the topics call it.
    pub(super) fn argument(self) -> &'static str {
        match self {
            LiveJob::PassThrough => "pass",
            LiveJob::Updates => "updates",
        }
    }
}

/// A peer's process; killed when dropped.
pub(super) struct LivePeer {
    child: Child,
    log: PathBuf,
}

/// The process group of the peer that runs; 0: none does.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// Ends the peer that runs, if one does.
pub(super) fn end_running() {
    let group = RUNNING.swap(0, Ordering::SeqCst);
    if group == 0 {
        return;
    }
    // The peers end cleanly on request only after a while, and nothing of theirs is kept.
    let group = format!("-{group}");
    if let Err(error) = run(Command::new("kill").args(["-KILL", "--", &group])) {
        eprintln!("bench: the peer may go on running: {error:#}");
    }
}

impl LivePeer {
    pub(super) fn start(
        bench: &Bench,
        peer: BenchPeer,
        job: LiveJob,
        bootstrap: &str,
        input: &str,
        output: &str,
    ) -> Result<LivePeer> {
        let mut command = match peer {
            BenchPeer::Spark => {
                let jars = jars(bench, "spark-kafka")?;
                let mut python = Command::new(spark::environment(&bench.directory.join("spark"))?);
                python.arg(bench.peers.join("spark_kafka_live.py")).arg(job.argument());
                python.args([bootstrap, input, output]);
                python.arg(bench.directory.join("spark-checkpoint")).arg(jars);
                python
            }
            BenchPeer::Flink => {
                let mut java = flink_command(bench)?;
                java.args([bootstrap, input]).arg(bench.directory.join("flink-checkpoint"));
                java.args([output, job.argument()]);
                java
            }
        };
        let log = bench.directory.join("peer.log");
        let file = std::fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        eprintln!("bench: {} on a peer (two minutes)", job.name());
        // A group of its own: Spark's JVM is a child of its script.
        let child = command.process_group(0).spawn().context("could not start the peer")?;
        RUNNING.store(child.id(), Ordering::SeqCst);
        Ok(LivePeer { child, log })
    }

    /// Where to look if it does not do what it should.
    pub(super) fn messages(&self) -> String {
        format!("what the peer says is in {}", self.log.display())
    }

    /// Processor time of the process and its children so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let mut sum = process_cpu(id)?;
        for child in children.split_whitespace() {
            sum += process_cpu(child.parse()?)?;
        }
        Ok(sum)
    }
}

impl Drop for LivePeer {
    fn drop(&mut self) {
        end_running();
        let _ = self.child.wait();
    }
}

fn peer(printed: &str, rows: u64) -> Result<Peer> {
    let line = printed.lines().last().context("the peer printed nothing")?;
    let answer: Value = serde_json::from_str(line).context("the peer's last line")?;
    let peak_mib = Some(number(&answer, "peak_mib")?);
    let cost = |which: &str| {
        let run = &answer[which];
        // Flink does not say how many rows it read.
        if let Some(read) = run["rows"].as_u64() {
            ensure!(read == rows, "the peer read {read} rows of {rows}");
        }
        Ok(Cost { rows, wall_s: number(run, "wall_s")?, cpu_s: number(run, "cpu_s")?, peak_mib })
    };
    Ok(Peer { cold: cost("cold")?, warm: cost("warm")? })
}

/// Gets the jars that `NAME-pom.xml` names, where they are not there yet.
fn jars(bench: &Bench, name: &str) -> Result<PathBuf> {
    let directory = bench.directory.join(format!("{name}-jars"));
    if directory.exists() {
        return Ok(directory);
    }
    for program in ["mvn", "javac"] {
        ensure!(
            which(program).is_some(),
            "there is no {program}, which the peers need; install maven and a JDK 17"
        );
    }
    eprintln!("bench: getting the jars of {name}");
    let unfinished = directory.with_extension("part");
    let pom: &Path = &bench.peers.join(format!("{name}-pom.xml"));
    let mut target = std::ffi::OsString::from("-DoutputDirectory=");
    target.push(&unfinished);
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "--file"]).arg(pom);
    maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]).arg(target);
    run(&mut maven)?;
    std::fs::rename(unfinished, &directory)?;
    Ok(directory)
}
