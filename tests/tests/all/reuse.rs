//! Plugins whose instances are kept from batch to batch, and those whose are not.

use tidemill_tests::{Workbench, plugin};

/// A job with a batch for each file, of one partition each.
const JOB: &str = r#"
name = "reuse"
trigger = { available_now = true }
[source.s]
format = "json"
path = "input"
schema = "n BIGINT"
options = { maxFilesPerTrigger = 1 }
[plugin.p]
path = "p.wasm"
REUSE
targets = ["nowhere"]
[target.nowhere]
format = "noop"
[[step]]
name = "t"
STEP
[dead_letters]
format = "console"
on_trap = "isolate"
[sink]
format = "console"
options = { format = "json" }
"#;

/// The scalar tells how many rows its instance has seen, and in which batch it is called.
const SCALAR: &str = "sql = \"SELECT seen(n) AS seen FROM s\"";

/// The transform gives how many blocks its instance has seen.
const TRANSFORM: &str = "plugin = \"p\"\nfunction = \"blocks_seen\"";

/// What is printed of the column for one row a batch.
fn seen(rows: &[i64], step: &str, reuse: &str) -> Vec<String> {
    let bench = Workbench::new();
    std::fs::copy(plugin("faulty"), bench.path("p.wasm")).unwrap();
    bench.write("job.toml", JOB.replace("REUSE", reuse).replace("STEP", step));
    for (at, n) in rows.iter().enumerate() {
        bench.write_input(&format!("input/{at}.json"), at as i64, format!("{{\"n\":{n}}}"));
    }
    let finished = bench.run(&["run", "job.toml"]).expect_success();
    let rows = finished.stdout.lines().filter_map(|line| line.split_once("\"row\":{"));
    rows.map(|(_, row)| row.trim_end_matches('}').replace('"', "")).collect()
}

#[test]
fn a_function_remembers_earlier_batches_where_its_plugin_is_reused_and_is_told_the_new_one() {
    let rows = [5, 5, 5];
    let reused = seen(&rows, SCALAR, "reuse = true");
    assert_eq!(reused, ["seen:1 in 0", "seen:2 in 1", "seen:3 in 2"]);
    assert_eq!(seen(&rows, TRANSFORM, "reuse = true"), ["n:1", "n:2", "n:3"]);
    for fresh in ["", "reuse = false"] {
        assert_eq!(seen(&rows, SCALAR, fresh), ["seen:1 in 0", "seen:1 in 1", "seen:1 in 2"]);
        assert_eq!(seen(&rows, TRANSFORM, fresh), ["n:1", "n:1", "n:1"]);
    }
}

#[test]
fn an_instance_that_trapped_is_not_reused() {
    // The row with which it panics is a dead letter; the query goes on.
    let seen = seen(&[5, 5, -1, 5, 5], SCALAR, "reuse = true");
    let of_rows: Vec<&String> = seen.iter().filter(|row| row.starts_with("seen:")).collect();
    assert_eq!(of_rows, ["seen:1 in 0", "seen:2 in 1", "seen:1 in 3", "seen:2 in 4"]);
}
