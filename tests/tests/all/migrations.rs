//! State that an earlier generation of a plugin left, in another form than the present one keeps.

use serde_json::{Value, json};
use tidemill_tests::{Finished, Workbench, plugin, printed_rows};

use crate::reload::{interrupt, lines};

fn job(mode: &str, steps: &str) -> String {
    format!(
        r#"
name = "migrations"
output_mode = "{mode}"
[options]
shuffle_partitions = 3
[source.entries]
format = "json"
path = "input"
schema = "k STRING, text STRING, n BIGINT, t TIMESTAMP"
options = {{ maxFilesPerTrigger = 1 }}
watermark = {{ column = "t", delay = "10 days" }}
[plugin.p]
path = "p.wasm"
{steps}
[sink]
format = "console"
options = {{ format = "json" }}
"#
    )
}

const ACCOUNTS: &str = r#"
[[step]]
name = "told"
plugin = "p"
function = "account"
key = ["k"]
time_mode = "processing_time"
"#;

const SPREADS: &str = r#"
[[step]]
name = "spreads"
sql = """
SELECT k, sum(n) AS total, spread(n) AS spread, count(*) AS n FROM entries GROUP BY k
"""
"#;

const SESSIONS: &str = r#"
[[step]]
name = "spreads"
sql = """
SELECT session_window(t, '5 minutes').start AS begun, k, spread(n) AS spread
FROM entries GROUP BY session_window(t, '5 minutes'), k
"""
"#;

struct Bench {
    workbench: Workbench,
    batch: i64,
}

impl Bench {
    fn new(mode: &str, steps: &str) -> Bench {
        let workbench = Workbench::new();
        workbench.write("job.toml", job(mode, steps));
        std::fs::create_dir_all(workbench.path("input")).unwrap();
        let bench = Bench { workbench, batch: 0 };
        bench.use_generation("former");
        bench
    }

    fn use_generation(&self, name: &str) {
        self.workbench.write("p.wasm", std::fs::read(plugin(name)).unwrap());
    }

    /// Adds the rows of one batch: key, text and number.
    fn add(&mut self, entries: &[(&str, &str, i64)]) {
        let line = |(k, text, n): &(&str, &str, i64)| {
            format!("{}\n", json!({"k": k, "text": text, "n": n, "t": "2026-01-01T00:00:00Z"}))
        };
        let lines: String = entries.iter().map(line).collect();
        self.workbench.write_input(&format!("input/{:03}.json", self.batch), self.batch, lines);
        self.batch += 1;
    }

    fn start(&self) -> Finished {
        self.workbench.run(&["run", "job.toml", "--trigger", "available-now"])
    }

    /// Runs all that is there, and gives the rows by key.
    fn run(&self) -> Vec<Value> {
        let stdout = self.start().expect_success().stdout;
        let mut rows: Vec<Value> = printed_rows(&stdout).into_values().flatten().collect();
        rows.sort_by_key(|row| row["k"].to_string());
        rows
    }
}

/// A row of an account.
fn told(k: &str, shown: &str) -> Value {
    json!({"k": k, "shown": shown})
}

#[test]
fn what_a_key_held_is_taken_over_by_the_next_generation() {
    let mut bench = Bench::new("update", ACCOUNTS);
    bench.add(&[("ann", "a", 150), ("bob", "none", 1), ("ann", "b", 100), ("cat", "ccc", 5)]);
    let expected = [
        told("ann", r#"Some(2) Some(250) ["a", "b"] {"a": 150, "b": 100} Some("b")"#),
        told("bob", "Some(1) None [] {} None"),
        told("cat", r#"Some(1) Some(5) ["ccc"] {"ccc": 5} Some("ccc")"#),
    ];
    assert_eq!(bench.run(), expected);
    bench.use_generation("later");
    bench.add(&[("ann", "four", 50), ("bob", "x", 100)]);
    let expected = [
        told("ann", r#"Some(3) Some("ann of a+b now b") [1, 1, 4] Some(3.0) 1 timers"#),
        // It had nothing that the migration takes.
        told("bob", "Some(2) None [1] Some(1.0) 0 timers"),
    ];
    assert_eq!(bench.run(), expected);
    // Once.
    bench.add(&[("cat", "", 0), ("ann", "", 0)]);
    let expected = [
        told("ann", r#"Some(4) Some("ann of a+b now b") [1, 1, 4, 0] Some(3.0) 1 timers"#),
        told("cat", r#"Some(2) Some("cat of ccc now ccc") [3, 0] Some(0.05) 1 timers"#),
    ];
    assert_eq!(bench.run(), expected);
    // And not back.
    bench.use_generation("former");
    bench.add(&[("ann", "", 0)]);
    let words = ["operator 0 (transformWithStateExec)", "no migration", "euros double", "own"];
    bench.start().expect_failure(2, &words);
}

#[test]
fn groups_are_taken_over_beside_those_of_other_aggregates() {
    let mut bench = Bench::new("update", SPREADS);
    bench.add(&[("a", "", 3), ("a", "", 10), ("b", "", 5)]);
    let row = |k: &str, total: i64, spread: i64, n: i64| json!({"k": k, "total": total, "spread": spread, "n": n});
    assert_eq!(bench.run(), [row("a", 13, 7, 2), row("b", 5, 0, 1)]);
    bench.use_generation("later");
    bench.add(&[("a", "", 20), ("c", "", 1)]);
    assert_eq!(bench.run(), [row("a", 33, 1_017, 3), row("c", 1, 1_000, 1)]);
    bench.add(&[("b", "", 6)]);
    assert_eq!(bench.run(), [row("b", 11, 1_001, 2)]);
    bench.use_generation("former");
    bench.add(&[("b", "", 6)]);
    bench
        .start()
        .expect_failure(2, &["stateStoreSave", "no aggregate of a plugin has a migration"]);
}

#[test]
fn sessions_are_taken_over() {
    let mut bench = Bench::new("complete", SESSIONS);
    bench.add(&[("a", "", 3), ("a", "", 10)]);
    let row =
        |spread: i64| json!({"begun": "2026-01-01T00:00:00.000Z", "k": "a", "spread": spread});
    assert_eq!(bench.run(), [row(7)]);
    bench.use_generation("later");
    bench.add(&[("a", "", 4)]);
    assert_eq!(bench.run(), [row(1_007)]);
}

#[test]
fn a_batch_that_cannot_take_the_state_over_leaves_it_as_it_was() {
    let mut bench = Bench::new("update", ACCOUNTS);
    bench.add(&[("ann", "poison", 150), ("bob", "b", 1)]);
    bench.run();
    bench.use_generation("later");
    bench.add(&[("bob", "none", 0)]);
    let words = ["takes over the state", "poison cannot be taken over", "rollback NAME"];
    let error = bench.start().expect_failure(1, &words).stderr;
    assert!(!error.contains("tidemill skip"), "{error}");
    bench.use_generation("former");
    let expected = [told("bob", r#"Some(2) Some(1) ["b"] {"b": 1} Some("b")"#)];
    assert_eq!(bench.run(), expected);
}

#[test]
fn a_batch_from_before_and_that_of_the_migration_are_replayed() {
    let mut bench = Bench::new("update", ACCOUNTS);
    bench.add(&[("ann", "a", 150)]);
    bench.run();
    bench.add(&[("ann", "b", 100)]);
    bench.run();
    bench.use_generation("later");
    bench.add(&[("ann", "four", 50)]);
    bench.run();
    bench.add(&[("ann", "four", 50)]);
    bench.run();
    for batch in ["0", "1", "2", "3"] {
        bench.workbench.run(&["replay", "job.toml", "--batch", batch]).expect_success();
    }
    // The later generation on what the former one left.
    let later = plugin("later");
    let later = later.to_str().unwrap();
    let replayed = bench.workbench.run(&["replay", "job.toml", "--batch", "1", "--plugin", later]);
    let shown = r#"Some(2) Some("ann of a now a") [1, 1] Some(2.5) 1 timers"#;
    assert!(replayed.stdout.contains(shown), "{}\n{}", replayed.stdout, replayed.stderr);
}

#[test]
fn a_generation_that_is_reloaded_takes_the_state_over() {
    let mut bench = Bench::new("update", ACCOUNTS);
    bench.add(&[("ann", "a", 150)]);
    let mut child = bench.workbench.spawn(&["run", "job.toml", "--watch"]);
    let mut rows = lines(child.stdout.take().unwrap());
    let mut told = lines(child.stderr.take().unwrap());
    assert!(rows.next().unwrap().contains("Some(150)"));
    bench.use_generation("later");
    let reloaded = told.by_ref().find(|line| line.contains("plugin \"p\"")).unwrap();
    assert!(reloaded.contains("reloaded"), "{reloaded}");
    bench.add(&[("ann", "four", 50)]);
    let said = told.by_ref().find(|line| line.contains("batch 1 takes over the state"));
    assert!(said.is_some_and(|said| said.contains("an earlier generation")));
    let row = rows.next().unwrap_or_else(|| told.by_ref().collect());
    assert!(row.contains("ann of a now a") && row.contains("Some(2.0) 1 timers"), "{row}");
    // One that has no way there is refused, and the state is the later one's.
    bench.use_generation("former");
    let refused = told.by_ref().find(|line| line.contains("plugin \"p\"")).unwrap();
    assert!(refused.contains("refused") && refused.contains("no migration"), "{refused}");
    interrupt(&child);
    rows.for_each(drop);
    told.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
