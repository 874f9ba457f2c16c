//! Spark and Flink on the same topic, each twice in one process: cold, and warm.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::jobs::{Input, ROWS_PER_BATCH};
use super::load::number;
use crate::bench::throughput::Cost;
use crate::bench::{Bench, spark};
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
    let jars = jars(bench, "flink")?.join("*");
    let classes = bench.directory.join("flink-classes");
    let source = bench.peers.join("FlinkKafka.java");
    run(Command::new("javac").arg("-cp").arg(&jars).arg("-d").arg(&classes).arg(source))?;
    eprintln!("bench: running Flink on {} (a minute or more)", input.topic);
    let checkpoint = bench.directory.join("flink-checkpoint");
    let class_path = std::env::join_paths([classes.as_path(), jars.as_path()])?;
    let printed = output(
        Command::new("java")
            .args([FLINK_HEAP, "--add-opens=java.base/java.util=ALL-UNNAMED", "-cp"])
            .arg(class_path)
            .args(["FlinkKafka", input.bootstrap, input.topic])
            .arg(&checkpoint),
    )?;
    std::fs::remove_dir_all(checkpoint)?;
    peer(&printed, rows)
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
