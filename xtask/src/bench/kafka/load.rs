//! The program on the other side of the broker: `examples/kafka_load` of the connectors.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::measure::children_cpu;
use crate::bench::throughput::Cost;
use crate::process::output;

/// The program, and the broker that it talks to.
pub(super) struct Load {
    pub(super) program: PathBuf,
    pub(super) bootstrap: String,
}

/// A topic that is deleted when it is dropped.
pub(super) struct Topic<'a> {
    load: &'a Load,
    pub(super) name: String,
}

/// A load.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Rows a second.
    pub(super) rate: u64,
    /// Seconds of the load before the measured ones.
    pub(super) warm_up: u64,
    pub(super) seconds: u64,
}

impl Pace {
    pub(super) const fn rows(self) -> u64 {
        self.rate * (self.warm_up + self.seconds)
    }
}

/// Milliseconds from an order's production to the job's row for it.
pub(super) struct Latency {
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Median, 90 and 99 of 100, the longest.
    pub(super) ms: [f64; 4],
}

impl Load {
    /// A new topic with `rows` orders from the files in `orders`.
    pub(super) fn orders(&self, partitions: u32, rows: u64, orders: &Path) -> Result<Topic<'_>> {
        let topic = self.named("orders");
        eprintln!("bench: writing {rows} orders to topic {}", topic.name);
        let mut command = self.command("load", &topic.name);
        command.args(["--partitions", &partitions.to_string(), "--rows", &rows.to_string()]);
        ask(command.arg("--orders").arg(orders))?;
        Ok(topic)
    }

    /// A new topic of one partition, whose records carry the time at which they were appended.
    pub(super) fn stamped(&self, what: &str) -> Result<Topic<'_>> {
        let topic = self.named(what);
        ask(self.command("create", &topic.name).arg("--append-time"))?;
        Ok(topic)
    }

    /// A new topic of one partition, with the producers' times.
    pub(super) fn empty(&self, what: &str) -> Result<Topic<'_>> {
        let topic = self.named(what);
        ask(&mut self.command("create", &topic.name))?;
        Ok(topic)
    }

    /// Reads a topic with the client alone.
    pub(super) fn consume(&self, topic: &Topic<'_>) -> Result<Cost> {
        let cpu = children_cpu()?;
        let read = ask(&mut self.command("consume", &topic.name))?;
        let cpu_s = (children_cpu()? - cpu).as_secs_f64();
        let rows = number(&read, "rows")? as u64;
        Ok(Cost { rows, wall_s: number(&read, "wall_s")?, cpu_s, peak_mib: None })
    }

    /// Sends orders through a job that is running.
    pub(super) fn probe(
        &self,
        input: &Topic<'_>,
        output: &Topic<'_>,
        pace: Pace,
        orders: &Path,
    ) -> Result<Latency> {
        let mut command = Command::new(&self.program);
        command.args(["probe", "--bootstrap", &self.bootstrap]);
        command.args(["--input", &input.name, "--output", &output.name]);
        let Pace { rate, warm_up, seconds } = pace;
        for (name, number) in [("rate", rate), ("warm-up", warm_up), ("seconds", seconds)] {
            command.arg(format!("--{name}")).arg(number.to_string());
        }
        let seen = ask(command.arg("--orders").arg(orders))?;
        let ms = |name: &str| number(&seen, name);
        Ok(Latency {
            sent: number(&seen, "sent")? as u64,
            received: number(&seen, "received")? as u64,
            ms: [ms("p50_ms")?, ms("p90_ms")?, ms("p99_ms")?, ms("max_ms")?],
        })
    }

    /// A name that no other run uses.
    fn named(&self, what: &str) -> Topic<'_> {
        let name = format!("bench-{what}-{:08x}", fastrand::u32(..));
        Topic { load: self, name }
    }

    fn command(&self, verb: &str, topic: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([verb, "--bootstrap", &self.bootstrap, "--topic", topic]);
        command
    }
}

impl Drop for Topic<'_> {
    fn drop(&mut self) {
        if let Err(error) = ask(&mut self.load.command("delete", &self.name)) {
            eprintln!("bench: topic {} stays: {error:#}", self.name);
        }
    }
}

fn ask(command: &mut Command) -> Result<Value> {
    serde_json::from_str(&output(command)?).context("what kafka_load printed")
}

pub(super) fn number(answer: &Value, name: &str) -> Result<f64> {
    answer[name].as_f64().with_context(|| format!("{answer} has no {name}"))
}
