//! Rows a second, processor time and memory over topics that are full already.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Kafka;
use super::jobs::Input;
use super::{goals, peers};
use crate::bench::Peer;
use crate::bench::tables::Report;
use crate::bench::throughput::{Cost, HEADER, cost};

/// One partition is read by one thread, four by all cores.
const PARTITIONS: [u32; 2] = [1, 4];

pub(super) fn measure(
    kafka: &Kafka<'_>,
    report: &mut Report,
    goals: &mut goals::Goals,
) -> Result<()> {
    for partitions in PARTITIONS {
        let costs = on_topic(kafka, partitions)?;
        let noun = if partitions == 1 { "partition" } else { "partitions" };
        let rows = kafka.bench.options.rows;
        let heading = format!("{rows} orders from Kafka, {partitions} {noun}, sums per window");
        let reference = &costs.reference;
        let table = costs.all().map(|(name, cost)| cost.row(name, reference)).collect();
        report.table(&heading, &HEADER, table);
        goals.throughput(&format!("reference job, {partitions} {noun}"), reference);
        for (_, cost) in &costs.tidemill {
            goals.memory(cost.peak_mib);
        }
        goals.memory(reference.peak_mib);
    }
    Ok(())
}

/// What each needed on one topic.
struct Costs {
    client: Cost,
    reference: Cost,
    tidemill: Vec<(&'static str, Cost)>,
    peers: Vec<(&'static str, Cost)>,
}

impl Costs {
    fn all(&self) -> impl Iterator<Item = (&'static str, &Cost)> {
        let first = [
            ("the bare client, a poll a record", &self.client),
            ("reference job", &self.reference),
        ];
        let others = self.tidemill.iter().chain(&self.peers);
        first.into_iter().chain(others.map(|(name, cost)| (*name, cost)))
    }
}

fn on_topic(kafka: &Kafka<'_>, partitions: u32) -> Result<Costs> {
    let Kafka { bench, load, orders } = kafka;
    let rows = bench.options.rows;
    let topic = load.orders(partitions, rows, orders)?;
    let input = Input { bootstrap: &load.bootstrap, topic: &topic.name };
    let client = bench.median(|| load.consume(&topic), |cost| cost.cpu_s)?;
    ensure!(client.rows == rows, "the client read {} rows of {rows}", client.rows);
    let revenue = |name: &str, plugin: Option<&Path>| -> Result<Cost> {
        let job = input.revenue(&bench.directory, name, plugin)?;
        cost(bench, &bench.tidemill, &["run"], &job)
    };
    let read_only = input.read_only(&bench.directory, "kafka-read-only")?;
    let tidemill = vec![
        ("read only", cost(bench, &bench.tidemill, &["run"], &read_only)?),
        ("with normalise in Wasm", revenue("kafka-reference-plugin", Some(&bench.deployed))?),
    ];
    let reference = revenue("kafka-reference", None)?;
    let mut peers = Vec::new();
    if bench.with_peer(Peer::Spark) {
        let spark = peers::spark(bench, &input, rows)?;
        peers.extend([("Spark, cold", spark.cold), ("Spark, warm", spark.warm)]);
    }
    if bench.with_peer(Peer::Flink) {
        let flink = peers::flink(bench, &input, rows)?;
        peers.extend([("Flink, cold", flink.cold), ("Flink, warm", flink.warm)]);
    }
    Ok(Costs { client, reference, tidemill, peers })
}
