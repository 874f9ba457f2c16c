//! `tidemill run --trace`: what a batch spent its time on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidemill_tests::{Workbench, write_orders};

use crate::observe::bench;
use crate::reload::{interrupt, lines};

/// A slice of a thread's time, in nanoseconds since the trace began.
#[derive(Debug)]
struct Slice {
    name: String,
    track: u64,
    begin: i64,
    end: i64,
    arguments: Value,
}

impl Slice {
    fn is_in(&self, outer: &Slice) -> bool {
        outer.begin <= self.begin && self.end <= outer.end
    }

    fn batch(&self) -> u64 {
        self.arguments["batch"].as_u64().unwrap_or_else(|| panic!("no batch in {self:?}"))
    }
}

fn slices(bench: &Workbench, file: &str) -> Vec<Slice> {
    let text = std::fs::read_to_string(bench.path(file)).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let nanos = |value: &Value| (value.as_f64().unwrap() * 1_000.0).round() as i64;
    events
        .iter()
        .filter(|event| event["ph"] == "X")
        .map(|event| Slice {
            name: event["name"].as_str().unwrap().to_owned(),
            track: event["tid"].as_u64().unwrap(),
            begin: nanos(&event["ts"]),
            end: nanos(&event["ts"]) + nanos(&event["dur"]),
            arguments: event["args"].clone(),
        })
        .collect()
}

fn batches(slices: &[Slice]) -> BTreeMap<u64, &Slice> {
    slices.iter().filter(|slice| slice.name == "batch").map(|s| (s.batch(), s)).collect()
}

/// Runs the orders to their end.
fn traced(bench: &Workbench, more: &[&str]) -> String {
    let mut arguments = vec!["run", "job.toml", "--trigger", "available-now"];
    arguments.extend(["--trace", "trace.json"]);
    arguments.extend(more);
    bench.run(&arguments).expect_success().stderr
}

#[test]
fn the_phases_of_each_batch_are_in_it() {
    let bench = bench();
    write_orders(&bench, 0, 3, 400);
    traced(&bench, &[]);
    let slices = slices(&bench, "trace.json");
    let batches = batches(&slices);
    assert_eq!(batches.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    for slice in &slices {
        assert_eq!(slice.arguments["query"], "revenue", "{slice:?}");
        // The next batch is constructed while the last one is committed, and read ahead before that.
        if !["construct", "latest_offset", "read_ahead"].contains(&slice.name.as_str()) {
            let outer = batches[&slice.batch()];
            assert!(slice.is_in(outer), "{slice:?} is not in {outer:?}");
        }
    }
    let names = |batch| {
        let of_batch = slices.iter().filter(|slice| slice.batch() == batch);
        of_batch.map(|slice| slice.name.as_str()).collect::<BTreeSet<_>>()
    };
    let expected = [
        "batch",
        "construct",
        "latest_offset",
        "execute",
        "start_plan",
        "partition",
        "partial",
        "read_ahead",
        "plugin_open",
        "plugin_call",
        "merge_state",
        "sink_begin",
        "sink_write",
        "deliver",
        "sink_prepare",
        "sink_commit",
        "commit",
        "log_state",
        "log_sync",
        "apply_state",
    ];
    let missing: Vec<_> = expected.iter().filter(|name| !names(1).contains(*name)).collect();
    assert!(missing.is_empty(), "no {missing:?} in {:?}", names(1));
    assert!(names(0).contains("read"), "nothing comes before the first batch");
    assert!(names(0).contains("log_plan"), "the first plan is not in another batch's sync");
}

#[test]
fn slices_of_a_thread_lie_in_each_other_or_apart() {
    let bench = bench();
    write_orders(&bench, 0, 3, 400);
    traced(&bench, &[]);
    let slices = slices(&bench, "trace.json");
    for one in &slices {
        for other in slices.iter().filter(|other| other.track == one.track) {
            let is_apart = one.end <= other.begin || other.end <= one.begin;
            assert!(is_apart || one.is_in(other) || other.is_in(one), "{one:?} and {other:?}");
        }
    }
}

#[test]
fn a_job_that_waits_adds_nothing_and_can_be_stopped() {
    let bench = bench();
    write_orders(&bench, 0, 1, 10);
    let mut child =
        bench.spawn(&["run", "job.toml", "--progress", "json", "--trace", "trace.json"]);
    let mut output = lines(child.stderr.take().unwrap());
    // The rows move the watermark, and a batch without rows follows; then there is nothing to do.
    assert!(output.by_ref().any(|line| line.contains("\"batchId\":1")));
    // As the process is now: whole, although nobody has stopped it.
    let running = slices(&bench, "trace.json");
    assert!(batches(&running).contains_key(&0));
    interrupt(&child);
    output.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let stopped = slices(&bench, "trace.json");
    assert_eq!(batches(&stopped).keys().copied().collect::<Vec<_>>(), [0, 1]);
    let looks = stopped.iter().filter(|slice| slice.name == "construct").count();
    assert_eq!(looks, 3, "one for each batch, one in the last commit, none of the idle ones");
}

#[test]
fn a_trace_takes_as_many_batches_as_it_is_told() {
    let bench = bench();
    write_orders(&bench, 0, 5, 10);
    let said = traced(&bench, &["--trace-batches", "2"]);
    assert!(said.contains("trace.json is full with 2 batches"), "{said}");
    let slices = slices(&bench, "trace.json");
    assert_eq!(batches(&slices).keys().copied().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_trace_that_cannot_be_written_is_refused_before_anything_starts() {
    let bench = bench();
    let refused = bench.run(&["run", "job.toml", "--trace", "nowhere/trace.json"]);
    refused.expect_failure(2, &["--trace nowhere/trace.json", "cannot be written"]);
    assert!(bench.names(".tidemill").is_empty());
}
