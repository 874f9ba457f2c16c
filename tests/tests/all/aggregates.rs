//! Aggregates of plugins beside Spark's own, which they have to agree with: over groups, windows and
//! sessions, in every output mode, over restarts and new versions of the plugin.

use serde_json::Value;
use tidemill_tests::{Workbench, plugin, printed_rows};

/// A job over files of `k`, `x`, `s` and `t`, one a batch.
fn job(mode: &str, sql: &str) -> String {
    format!(
        r#"
name = "aggregates"
trigger = {{ available_now = true }}
output_mode = "{mode}"
[source.rows]
format = "json"
path = "input"
schema = "k STRING, x DOUBLE, s STRING, t TIMESTAMP"
options = {{ maxFilesPerTrigger = 1 }}
watermark = {{ column = "t", delay = "10 minutes" }}
[plugin.p]
path = "p.wasm"
targets = ["nowhere"]
[target.nowhere]
format = "noop"
[[step]]
name = "folded"
sql = """{sql}"""
[sink]
format = "console"
options = {{ format = "json" }}
"#
    )
}

/// The rows of file `number`: an hour of its own, numbers whose sums are exact, nulls, and a text of
/// every length once.
fn rows(number: u64) -> String {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ number;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let row = |place: u64| {
        let x = match next(5) {
            0 => "null".to_owned(),
            _ => format!("{}", next(4_000) as f64 / 4.0 - 500.0),
        };
        let s = match next(4) {
            0 => "null".to_owned(),
            _ => format!("\"{}\"", "ü".repeat((number * 200 + place + 1) as usize)),
        };
        let (key, minute) = (next(7), next(60));
        format!(
            "{{\"k\":\"k{key}\",\"x\":{x},\"s\":{s},\"t\":\"2026-01-01T{number:02}:{minute:02}:00Z\"}}\n"
        )
    };
    (0..200).map(row).collect()
}

const BOTH: &str = "mean_of(x) AS mean, avg(x) AS mean_, longest(s) AS l, max_by(s, length(s)) AS l_, \
     mean_of(x) FILTER (WHERE x > 0) AS f, avg(x) FILTER (WHERE x > 0) AS f_, \
     longest(upper(s)) FILTER (WHERE k = 'none') AS n, CAST(NULL AS STRING) AS n_, count(*) AS c";

/// Whether each column has the values of the one that is Spark's.
fn agree(stdout: &str) -> usize {
    let rows: Vec<Value> = printed_rows(stdout).into_values().flatten().collect();
    for row in &rows {
        for (name, value) in row.as_object().unwrap() {
            if let Some(expected) = row.get(format!("{name}_")) {
                assert_eq!(value, expected, "{name} in {row:?}");
            }
        }
    }
    rows.len()
}

fn bench(mode: &str, sql: &str) -> Workbench {
    let bench = Workbench::new();
    std::fs::copy(plugin("faulty"), bench.path("p.wasm")).unwrap();
    bench.write("job.toml", job(mode, sql));
    for number in 0..3_u64 {
        bench.write_input(&format!("input/{number}.json"), number as i64, rows(number));
    }
    bench
}

fn run(mode: &str, sql: &str) -> usize {
    agree(&bench(mode, sql).run(&["run", "job.toml"]).expect_success().stdout)
}

#[test]
fn groups_are_folded_as_spark_folds_them_in_every_output_mode() {
    let by_key = format!("SELECT k, {BOTH} FROM rows GROUP BY k");
    assert_eq!(run("complete", &by_key), 3 * 7);
    assert_eq!(run("update", &by_key), 3 * 7);
    // Without keys, and without a row that counts.
    assert_eq!(run("complete", &format!("SELECT {BOTH} FROM rows")), 3);
    assert_eq!(run("update", &format!("SELECT {BOTH} FROM rows WHERE k = 'none'")), 3);
}

#[test]
fn windows_and_sessions_are_folded_and_evicted() {
    let windows = format!(
        "SELECT window(t, '20 minutes').start AS w, k, {BOTH} FROM rows GROUP BY window(t, '20 minutes'), k"
    );
    assert!(run("append", &windows) > 21);
    assert!(run("update", &windows) > 21);
    let sessions = format!(
        "SELECT session_window(t, '5 minutes') AS w, k, {BOTH} FROM rows GROUP BY session_window(t, '5 minutes'), k"
    );
    assert!(run("append", &sessions) > 21);
}

#[test]
fn an_aggregate_is_used_in_expressions_and_having_and_with_others() {
    let sql = "SELECT k, round(mean_of(x + 1) * 2, 3) AS m, round(avg(x + 1) * 2, 3) AS m_, \
               sum(x) AS total FROM rows GROUP BY k HAVING mean_of(x) > -1000000 ORDER BY k";
    assert_eq!(run("complete", sql), 21);
}

#[test]
fn state_outlives_a_restart_with_another_version_of_the_plugin() {
    let sql = format!("SELECT k, {BOTH} FROM rows GROUP BY k");
    let bench = bench("complete", &sql);
    bench.run(&["run", "job.toml"]).expect_success();
    let mut module = std::fs::read(plugin("faulty")).unwrap();
    // The same code under another digest.
    module.extend([0, 6, 4, b'n', b'o', b't', b'e', b'!']);
    bench.write("p.wasm", module);
    bench.write_input("input/3.json", 3, rows(3));
    let again = bench.run(&["run", "job.toml"]).expect_success();
    let folded = printed_rows(&again.stdout).into_values().flatten();
    let counted: i64 = folded.filter_map(|row| row["c"].as_i64()).sum();
    assert_eq!(counted, 800, "rows of all four files");
    assert_eq!(agree(&again.stdout), 7);
}

#[test]
fn groups_that_are_nearly_as_many_as_rows_are_folded_too() {
    // Beyond a hundred thousand rows of other keys, partial groups are no longer looked for.
    let bench = bench("update", "SELECT k, mean_of(x) AS m, avg(x) AS m_ FROM rows GROUP BY k");
    let many: String = (0..230_000).map(|n| format!("{{\"k\":\"{n}\",\"x\":{n}}}\n")).collect();
    bench.write_input("input/9.json", 9, many);
    let printed = bench.run(&["run", "job.toml"]).expect_success().stdout;
    assert!(agree(&printed) > 230_000);
}

#[test]
fn an_aggregate_over_a_static_table_alone_is_refused() {
    let bench = bench(
        "append",
        "SELECT r.k, p.m FROM rows r JOIN (SELECT k, mean_of(x) AS m FROM prices GROUP BY k) p ON r.k = p.k",
    );
    bench.write("prices.json", "{\"k\":\"k1\",\"x\":1}\n");
    let job = std::fs::read_to_string(bench.path("job.toml")).unwrap();
    let table = "[static.prices]\nformat = \"json\"\npath = \"prices.json\"\nschema = \"k STRING, x DOUBLE\"\n";
    bench.write("job.toml", job.replace("[plugin.p]", &format!("{table}[plugin.p]")));
    bench.run(&["check", "job.toml"]).expect_failure(2, &["static table alone"]);
}

#[test]
fn what_an_aggregate_has_no_meaning_for_is_refused_by_name() {
    let told = |sql: &str, words: &[&str]| {
        bench("complete", sql).run(&["run", "job.toml"]).expect_failure(2, words);
    };
    told("SELECT mean_of(DISTINCT x) FROM rows", &["mean_of() of a plugin takes no DISTINCT"]);
    told("SELECT k FROM rows WHERE mean_of(x) > 1", &["WHERE", "mean_of()"]);
    let other = &["argument 1 has the type \"ARRAY<DOUBLE>\"", "the plugin takes \"DOUBLE\""];
    told("SELECT mean_of(array(x)) FROM rows", other);
    told("SELECT mean_of(x, x) FROM rows", &["requires 1 parameters but the actual number is 2"]);
    told("SELECT mean_of(sum(x)) FROM rows", &["NESTED_AGGREGATE_FUNCTION"]);
    told(
        "SELECT k, mean_of(x) OVER (PARTITION BY k) FROM rows",
        &["no function of windows of rows"],
    );
}

#[test]
fn a_row_that_an_aggregate_refuses_ends_the_batch_with_its_reason() {
    let bench = bench("complete", "SELECT longest(s) AS l FROM rows");
    bench.write_input("input/3.json", 3, "{\"s\":\"and so on…\"}\n");
    bench
        .run(&["run", "job.toml"])
        .expect_failure(1, &["batch 3 failed", "refused row 0", "\"and so on…\" does not end"]);
}
