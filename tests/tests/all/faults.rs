//! Plugins that misbehave: the batch fails with a typed error, nothing is lost, the process lives,
//! and a mended query goes on at the same batch.

use tidemill_tests::{Finished, Workbench, plugin};

fn job(expression: &str) -> String {
    format!(
        r#"
name = "faults"
trigger = {{ available_now = true }}
[source.s]
format = "json"
path = "input"
schema = "id BIGINT"
options = {{ maxFilesPerTrigger = 1 }}
[plugin.p]
path = "p.wasm"
limits = {{ memory = "64 MiB", deadline = "1 second" }}
targets = ["nowhere"]
[target.nowhere]
format = "noop"
[[step]]
name = "t"
sql = "SELECT {expression} AS id FROM s"
[sink]
format = "json"
path = "out"
"#
    )
}

/// Runs a job over a good row and a poisoned one.
fn run(expression: &str) -> (Workbench, Finished) {
    let bench = Workbench::new();
    std::fs::copy(plugin("faulty"), bench.path("p.wasm")).unwrap();
    bench.write("job.toml", job(expression));
    bench.write_input("input/0.json", 0, "{\"id\":1}\n{\"id\":-2}\n");
    let finished = bench.run(&["run", "job.toml"]);
    (bench, finished)
}

#[test]
fn a_panic_ends_the_batch_with_its_message_and_place() {
    let (_, finished) = run("panics(id)");
    finished.expect_failure(
        1,
        &["batch 0 failed", "plugin \"p\"", "panicked", "-2 is negative", "lib.rs:"],
    );
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let (_, finished) = run("spins(id)");
    finished.expect_failure(1, &["batch 0 failed", "deadline of 1000 ms"]);
}

#[test]
fn endless_allocation_ends_at_the_memory_limit() {
    let (_, finished) = run("hoards(id)");
    finished.expect_failure(1, &["batch 0 failed", "bytes of memory"]);
}

#[test]
fn a_restart_with_a_mended_job_goes_on_at_the_same_batch() {
    let (bench, finished) = run("panics(id)");
    finished.expect_failure(1, &["batch 0 failed"]);
    let again = bench.run(&["run", "job.toml"]);
    again.expect_failure(1, &["batch 0 failed"]);
    bench.write("job.toml", job("panics(abs(id))"));
    let mended = bench.run(&["run", "job.toml", "--progress", "json"]).expect_success();
    let first = &mended.progress()[0];
    assert_eq!(first["batchId"], 0, "the failed batch runs, not one after it");
    assert_eq!(first["numInputRows"], 2, "with all of its rows");
}
