//! `kill -9` at any moment of a query that reads topics.

use tidemill_tests::{Workbench, write_orders};

use super::broker::{Plain, Topic};
use crate::crash::{ROWS, files, run_with_kills};
use crate::orders::{JOB, bench, revenue};

/// The main job with the orders in a topic, as many a batch as a file has.
fn job(topic: &Topic) -> String {
    let (head, rest) = JOB.split_once("format = \"json\"").unwrap();
    let (_, rest) = rest.split_once("watermark =").unwrap();
    format!(
        "{head}format = \"kafka\"\n\
         value = {{ format = \"json\", schema = \"order_id STRING, user_id STRING, amount DOUBLE, category STRING, order_time TIMESTAMP\" }}\n\
         options = {{ \"kafka.bootstrap.servers\" = \"{}\", subscribe = \"{}\", startingOffsets = \"earliest\", maxOffsetsPerTrigger = {ROWS} }}\n\
         watermark ={rest}",
        topic.bootstrap, topic.name
    )
}

fn orders(bench: &Workbench) -> Vec<Plain> {
    write_orders(bench, 0, files(), ROWS);
    let files = bench.names("input");
    let texts = files.iter().map(|file| std::fs::read_to_string(bench.path("input").join(file)));
    let text: String = texts.map(Result::unwrap).collect();
    let record = |(number, line): (usize, &str)| Plain::value(number as i32 % 2, line);
    text.lines().enumerate().map(record).collect()
}

#[test]
fn killed_at_random_moments_every_record_counts_once() {
    let Some(topic) = Topic::new(2) else { return };
    let undisturbed = bench();
    topic.write(&orders(&undisturbed));
    undisturbed.write("job.toml", job(&topic));
    undisturbed.run(&["run", "job.toml"]).expect_success();
    let expected = revenue(&undisturbed.path("revenue.db"));
    assert!(expected.len() > 20);

    let seed = std::process::id().into();
    println!("seed {seed}");
    let bench = bench();
    bench.write("job.toml", job(&topic));
    run_with_kills(&bench, seed);
    assert_eq!(revenue(&bench.path("revenue.db")), expected, "seed {seed}");
}
