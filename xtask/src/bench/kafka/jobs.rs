//! The jobs over Kafka.

use std::path::Path;

use anyhow::Result;

use crate::bench::jobs::{Job, normalise};

/// As many rows a batch as the file benchmark has.
pub(super) const ROWS_PER_BATCH: u64 = 500_000;

const ORDER: &str =
    "order_id STRING, user_id STRING, amount DOUBLE, category STRING, order_time TIMESTAMP";

/// Where a job's rows come from.
pub(super) struct Input<'a> {
    pub(super) bootstrap: &'a str,
    pub(super) topic: &'a str,
}

impl Input<'_> {
    fn source(&self, more: &str) -> String {
        let Input { bootstrap, topic } = self;
        format!(
            "[source.orders]\n\
             format = \"kafka\"\n\
             options = {{ \"kafka.bootstrap.servers\" = \"{bootstrap}\", subscribe = \"{topic}\", \
             startingOffsets = \"earliest\"{more} }}\n"
        )
    }

    /// What is there, in batches of the same size, to nowhere.
    fn to_the_end(&self, value: &str, steps: &str) -> String {
        let source = self.source(&format!(", maxOffsetsPerTrigger = {ROWS_PER_BATCH}"));
        format!(
            "output_mode = \"update\"\n\
             trigger = {{ available_now = true }}\n\
             {source}{value}{steps}\
             [sink]\nformat = \"noop\"\n"
        )
    }

    fn to_topic(&self, output: &str, mode: &str, value: &str, steps: &str) -> String {
        let Input { bootstrap, .. } = self;
        let source = self.source("");
        format!(
            "output_mode = \"{mode}\"\n\
             {source}{value}{steps}\
             [sink]\n\
             format = \"kafka\"\n\
             options = {{ \"kafka.bootstrap.servers\" = \"{bootstrap}\", topic = \"{output}\" }}\n"
        )
    }

    /// Records are fetched and counted; values are not looked at.
    pub(super) fn read_only(&self, bench: &Path, name: &str) -> Result<Job> {
        let steps = step("offsets", "SELECT `offset` FROM orders");
        Job::create(bench, name, &self.to_the_end("", &steps))
    }

    /// Sums per window and category; first through the plugin's `normalise`, if one is given.
    pub(super) fn revenue(&self, bench: &Path, name: &str, plugin: Option<&Path>) -> Result<Job> {
        let mut steps = String::new();
        let mut from = "orders";
        if let Some(plugin) = plugin {
            steps += &normalise(plugin, from);
            from = "normalised";
        }
        steps += &step(
            "revenue",
            &format!(
                "SELECT window.start AS window_start, category, sum(amount) AS total_revenue \
                 FROM {from} GROUP BY window(order_time, '5 minutes'), category"
            ),
        );
        Job::create(bench, name, &self.to_the_end(&value(ORDER), &steps))
    }

    /// Key and value go from topic to topic as they are.
    pub(super) fn pass_through(&self, bench: &Path, name: &str, output: &str) -> Result<Job> {
        let sql = "SELECT CAST(key AS STRING) AS key, CAST(value AS STRING) AS value FROM orders";
        Job::create(bench, name, &self.to_topic(output, "append", "", &step("passed", sql)))
    }

    /// Every batch writes the sums that it changed, each with the time of its newest order.
    pub(super) fn updates(&self, bench: &Path, name: &str, output: &str) -> Result<Job> {
        let mut steps = step(
            "revenue",
            "SELECT window.start AS window_start, category, sum(amount) AS total_revenue, \
             max(sent) AS sent FROM orders GROUP BY window(order_time, '5 minutes'), category",
        );
        steps += &step("rows", "SELECT category AS key, to_json(struct(*)) AS value FROM revenue");
        let value = value(&format!("sent DOUBLE, {ORDER}"));
        Job::create(bench, name, &self.to_topic(output, "update", &value, &steps))
    }
}

/// How values are taken apart, and the event time in them.
fn value(schema: &str) -> String {
    format!(
        "value = {{ format = \"json\", schema = \"{schema}\" }}\n\
         watermark = {{ column = \"order_time\", delay = \"5 minutes\" }}\n"
    )
}

fn step(name: &str, sql: &str) -> String {
    format!("[[step]]\nname = \"{name}\"\nsql = \"{sql}\"\n")
}
