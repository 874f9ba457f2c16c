//! The example, as its README runs it.

use serde_json::Value;
use tidemill_tests::{Workbench, repository};

use super::broker::{Instance, Topic, bootstrap};

const SHOP: &str = "shop/job.toml";
const REVENUE: &str = "job.toml";
const FORWARD: &str = "forward/job.toml";

#[test]
fn orders_of_two_topics_are_summed_and_sent_on() {
    if bootstrap().is_none() {
        return;
    }
    let instance = Instance::start(19_692);
    let topics = ["orders", "payments", "orders-processed", "--partitions", "2"];
    instance.xtask_with("topic", &topics);
    let bench = Workbench::new();
    for job in [SHOP, REVENUE, FORWARD] {
        let text = std::fs::read_to_string(repository().join("examples/orders-kafka").join(job));
        let text = text.unwrap().replace("${KAFKA:-127.0.0.1:9092}", &instance.bootstrap());
        bench.write(job, text);
    }
    let mut summed = 0.0;
    for _ in 0..2 {
        bench.run(&["run", SHOP, "--trigger", "once"]).expect_success();
        let json = ["--trigger", "available-now", "--set", "sink.options.format=json"];
        let sums =
            bench.run(&[&["run", REVENUE, "--set", "output_mode=complete"], &json[..]].concat());
        // In complete mode the last batch has all sums.
        let rows: Vec<Value> = sums
            .expect_success()
            .stdout
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let last = &rows.last().expect("a batch with rows")["batch_id"];
        let of_last = rows.iter().filter(|row| row["batch_id"] == *last);
        summed = of_last.map(|row| row["row"]["total_revenue"].as_f64().unwrap()).sum();
        bench.run(&["run", FORWARD, "--trigger", "available-now"]).expect_success();
    }
    let forwarded = Topic::named(&instance.bootstrap(), "orders-processed").read();
    assert_eq!(forwarded.len(), 1_000);
    let amount = |value: &str| serde_json::from_str::<Value>(value).unwrap()["amount"].as_f64();
    let amounts: f64 = forwarded.iter().map(|record| amount(&record.text()).unwrap()).sum();
    assert!((summed - amounts).abs() < 1e-6, "summed {summed}, sent on {amounts}");
    let payments = Topic::named(&instance.bootstrap(), "payments").read().len();
    assert_eq!(payments, 250, "every fourth order");
}
