//! Stateful functions of plugins, batch by batch: what they keep for each key, their timers, what is
//! forgotten, and what is refused.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidemill_tests::{Finished, Workbench, plugin, printed_rows};

/// A job over files of orders for the state of `k`, one a batch, with the words of its step.
fn job(function: &str, step: &str) -> String {
    format!(
        r#"
name = "stateful"
output_mode = "update"
[options]
shuffle_partitions = 3
[source.orders]
format = "json"
path = "input"
schema = "k STRING, what STRING, text STRING, n BIGINT, t TIMESTAMP"
options = {{ maxFilesPerTrigger = 1 }}
watermark = {{ column = "t", delay = "0 seconds" }}
[static.beginning]
format = "json"
path = "beginning.json"
schema = "k STRING, what STRING, text STRING, n BIGINT"
[plugin.p]
path = "p.wasm"
targets = ["nowhere"]
[target.nowhere]
format = "noop"
[[step]]
name = "told"
plugin = "p"
function = "{function}"
{step}
[sink]
format = "console"
options = {{ format = "json" }}
"#
    )
}

struct Bench {
    workbench: Workbench,
    files: i64,
}

impl Bench {
    fn new(function: &str, step: &str) -> Bench {
        let workbench = Workbench::new();
        std::fs::copy(plugin("faulty"), workbench.path("p.wasm")).unwrap();
        workbench.write("job.toml", job(function, step));
        workbench.write("beginning.json", "");
        std::fs::create_dir_all(workbench.path("input")).unwrap();
        Bench { workbench, files: 0 }
    }

    /// Adds a file of orders, each a key, an order, a text and a number, at a second.
    fn add(&mut self, second: i64, orders: &[(&str, &str, &str, i64)]) {
        let line = |(k, what, text, n): &(&str, &str, &str, i64)| {
            let t = format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
            let k = if *k == "NULL" { Value::Null } else { json!(k) };
            format!("{}\n", json!({"k": k, "what": what, "text": text, "n": n, "t": t}))
        };
        self.add_lines(orders.iter().map(line).collect());
    }

    fn add_lines(&mut self, lines: String) {
        self.workbench.write_input(&format!("input/{:03}.json", self.files), self.files, lines);
        self.files += 1;
    }

    fn start(&self) -> Finished {
        self.workbench.run(&["run", "job.toml", "--trigger", "available-now"])
    }

    /// Runs all that is there, and gives the rows in their order.
    fn run(&self) -> Vec<Value> {
        rows(&self.start().expect_success().stdout)
    }

    fn refused(&self, words: &[&str]) {
        self.start().expect_failure(2, words);
    }
}

fn rows(stdout: &str) -> Vec<Value> {
    printed_rows(stdout).into_values().flatten().collect()
}

/// What a row of `tally` tells of these.
fn told(rows: &[Value], columns: &[&str]) -> Vec<Value> {
    let of_row = |row: &Value| columns.iter().map(|column| row[*column].clone()).collect();
    rows.iter().map(of_row).collect()
}

/// Microseconds of a second of the day that the orders are of.
fn at(second: i64) -> i64 {
    (1_767_225_600 + second) * 1_000_000
}

/// Microseconds of the time in a while.
#[allow(clippy::disallowed_methods, reason = "the command has the same clock, and timers go by it")]
fn from_now(wait: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from((now + wait).as_micros()).unwrap()
}

const KEYED: &str = "key = [\"k\"]";
const BY_EVENT: &str = "key = [\"k\"]\ntime_mode = \"event_time\"";
const BY_CLOCK: &str = "key = [\"k\"]\ntime_mode = \"processing_time\"";

#[test]
fn values_lists_and_maps_are_kept_from_batch_to_batch() {
    let mut bench = Bench::new("tally", KEYED);
    bench.add(
        0,
        &[
            ("a", "add", "", 1),
            ("b", "append", "x", 0),
            ("a", "add", "", 2),
            ("a", "put", "one", 1),
            ("a", "put", "two", 2),
            ("b", "append", "y", 0),
            ("a", "tell", "two", 0),
            ("NULL", "add", "", 5),
        ],
    );
    let first = bench.run();
    let columns = ["k", "number", "texts", "by_text", "one"];
    assert_eq!(told(&first, &columns), [json!(["a", 3, [], {"one": 1, "two": 2}, 2])]);
    // In a process that starts anew.
    bench.add(
        1,
        &[
            ("b", "append", "z", 0),
            ("b", "tell", "", 0),
            ("a", "drop", "two", 0),
            ("a", "put", "three", 3),
            ("a", "append", "now", 0),
            ("a", "tell", "two", 0),
            ("NULL", "tell", "", 0),
        ],
    );
    bench.add(
        2,
        &[
            ("a", "forget", "", 0),
            ("a", "drop all", "", 0),
            ("a", "put", "four", 4),
            ("a", "tell", "four", 0),
            ("b", "replace", "r,s", 0),
            ("b", "append", "t", 0),
            ("b", "tell", "", 0),
        ],
    );
    bench.add(3, &[("a", "tell", "one", 0), ("b", "empty", "", 0), ("b", "tell", "", 0)]);
    bench.add(4, &[("b", "tell", "", 0), ("NULL", "tell", "", 0)]);
    let mut then = told(&bench.run(), &columns);
    let mut expected = vec![
        json!(["b", null, ["x", "y", "z"], {}, null]),
        json!(["a", 3, ["now"], {"one": 1, "three": 3}, null]),
        json!([null, 5, [], {}, null]),
        json!(["a", null, ["now"], {"four": 4}, 4]),
        json!(["b", null, ["r", "s", "t"], {}, null]),
        json!(["a", null, ["now"], {"four": 4}, null]),
        json!(["b", null, [], {}, null]),
        json!(["b", null, [], {}, null]),
        json!([null, 5, [], {}, null]),
    ];
    // Shards come one after the other.
    then.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(then, expected);
}

#[test]
fn a_key_comes_once_a_batch_with_all_its_rows_in_their_order() {
    let mut bench = Bench::new("tally", KEYED);
    // More rows than a call has, and more keys than the shards.
    let order = |n: usize| {
        let k = format!("k{}", n % 2_001);
        format!("{}\n", json!({"k": k, "what": "append", "text": n.to_string(), "n": 0}))
    };
    let tell = |k: usize| {
        format!("{}\n", json!({"k": format!("k{k}"), "what": "tell", "text": "", "n": 0}))
    };
    bench.add_lines((0..300_000).map(order).collect());
    bench.add_lines((0..2_001).map(tell).collect());
    let rows = bench.run();
    assert_eq!(rows.len(), 2_001);
    for row in rows {
        let k: usize = row["k"].as_str().unwrap()[1..].parse().unwrap();
        let expected: Vec<String> =
            (0..300_000).skip(k).step_by(2_001).map(|n| n.to_string()).collect();
        assert_eq!(row["texts"], json!(expected), "k{k}");
    }
}

#[test]
fn timers_are_due_once_the_watermark_has_passed_them() {
    let mut bench = Bench::new("tally", BY_EVENT);
    bench.add(
        10,
        &[
            ("a", "timer", "", at(20)),
            ("a", "timer", "", at(12)),
            ("a", "timer", "", at(12)),
            ("b", "timer", "", at(15)),
            ("b", "timer", "", at(14)),
            ("b", "no timer", "", at(15)),
            ("b", "no timer", "", at(99)),
            ("a", "tell", "", 0),
        ],
    );
    let columns = ["k", "due", "timers", "number"];
    assert_eq!(told(&bench.run(), &columns), [json!(["a", null, [at(12), at(20)], null])]);
    // The watermark is 12 s in the batch without rows that follows, and what is at 12 s is not due.
    bench.add(12, &[("a", "tell", "", 0)]);
    assert_eq!(told(&bench.run(), &columns), [json!(["a", null, [at(12), at(20)], null])]);
    // In a batch of their own, as the watermark has moved; in another process.
    bench.add(16, &[("c", "timer", "", at(30))]);
    let mut due = told(&bench.run(), &columns);
    due.sort_by_key(Value::to_string);
    assert_eq!(due, [json!(["a", at(12), [at(20)], 1000]), json!(["b", at(14), [], 1000])]);
    // Rows first, and then timers; each of the key's own timers sees what the one before has done.
    bench.add(40, &[("a", "timer", "", at(31)), ("c", "timer", "", at(29))]);
    let mut due = told(&bench.run(), &columns);
    due.sort_by_key(Value::to_string);
    let expected = [
        json!(["a", at(20), [], 2000]),
        json!(["a", at(31), [], 3000]),
        json!(["c", at(29), [], 1000]),
        json!(["c", at(30), [], 2000]),
    ];
    assert_eq!(due, expected);
    // A row that is late is left out.
    bench.add(39, &[("a", "tell", "", 0)]);
    assert_eq!(bench.run(), [] as [Value; 0]);
}

#[test]
fn timers_go_by_the_batch_s_time_and_wake_an_idle_query() {
    let mut bench = Bench::new("tally", BY_CLOCK);
    let soon = Instant::now() + Duration::from_millis(700);
    let later = from_now(Duration::from_millis(700));
    bench.add(0, &[("a", "timer", "", later), ("a", "timer", "", 1_000_000)]);
    let mut query = bench.workbench.spawn(&["run", "job.toml"]);
    let mut lines = BufReader::new(query.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        let printed: Value = serde_json::from_str(&line).unwrap();
        (printed["batch_id"].clone(), printed["row"]["due"].clone())
    };
    // What is long past is due in the batch that sets it.
    assert_eq!(next(), (json!(0), json!(1_000_000)));
    assert_eq!(next(), (json!(1), json!(later)));
    assert!(Instant::now() >= soon, "it was not due yet");
    query.kill().unwrap();
    query.wait().unwrap();
}

#[test]
fn timers_of_a_query_that_was_down_are_due_when_it_starts() {
    let mut bench = Bench::new("tally", BY_CLOCK);
    let later = from_now(Duration::from_millis(1_200));
    bench.add(0, &[("a", "timer", "", later)]);
    let mut printed = bench.run();
    let begin = Instant::now();
    while printed.is_empty() && begin.elapsed() < Duration::from_secs(30) {
        printed = bench.run();
    }
    assert_eq!(told(&printed, &["k", "due", "number"]), [json!(["a", later, 1000])]);
    assert_eq!(bench.run(), [] as [Value; 0]);
}

#[test]
fn what_has_a_time_to_live_is_forgotten() {
    let mut bench = Bench::new("brief", BY_CLOCK);
    let columns = ["number", "texts", "by_text"];
    bench.add(1, &[("a", "", "x", 1)]);
    bench.add(2, &[("a", "", "y", 2)]);
    let rows = told(&bench.run(), &columns);
    let written = Instant::now();
    assert_eq!(rows, [json!([1, ["x"], {"x": 1}]), json!([3, ["x", "y"], {"x": 1, "y": 2}])]);
    // Others come meanwhile.
    while written.elapsed() < Duration::from_millis(1_100) {
        bench.add(3 + bench.files, &[("b", "", "z", 1)]);
        bench.run();
    }
    bench.add(3 + bench.files, &[("a", "", "now", 7)]);
    assert_eq!(told(&bench.run(), &columns), [json!([7, ["now"], {"now": 7}])]);
    // What is forgotten takes no memory either.
    bench.add(3 + bench.files, &[("c", "", "", 0)]);
    let arguments = ["run", "job.toml", "--trigger", "available-now", "--progress", "json"];
    let printed = bench.workbench.run(&arguments).expect_success().stderr;
    let line = printed.lines().rfind(|line| line.contains("stateOperators")).unwrap();
    let operator = serde_json::from_str::<Value>(line).unwrap()["stateOperators"][0].clone();
    assert_eq!(operator["operatorName"], "transformWithStateExec");
    // Three keys at most, each with a value, an item for each of a few batches, an entry, and when they go.
    assert!(operator["numRowsTotal"].as_u64().unwrap() <= 120, "{operator}");
}

#[test]
fn a_query_begins_with_the_rows_of_a_table() {
    let mut bench = Bench::new("tally", &format!("{KEYED}\ninitial_state = \"beginning\""));
    let seed = |k: &str, n: i64| {
        format!("{}\n", json!({"k": k, "what": "", "text": format!("from {k}"), "n": n}))
    };
    bench.workbench.write("beginning.json", seed("a", 5) + &seed("b", 6));
    bench.add(0, &[("a", "add", "", 1), ("a", "tell", "", 0), ("c", "tell", "", 0)]);
    let mut rows = told(&bench.run(), &["k", "number", "texts"]);
    rows.sort_by_key(Value::to_string);
    assert_eq!(rows, [json!(["a", 6, ["from a"]]), json!(["c", null, []])]);
    // Once, and not at each start.
    bench.add(1, &[("a", "tell", "", 0), ("b", "tell", "", 0)]);
    let mut rows = told(&bench.run(), &["k", "number", "texts"]);
    rows.sort_by_key(Value::to_string);
    assert_eq!(rows, [json!(["a", 6, ["from a"]]), json!(["b", 6, ["from b"]])]);

    let mut bench = Bench::new("tally", &format!("{KEYED}\ninitial_state = \"beginning\""));
    bench.workbench.write("beginning.json", seed("a", 5) + &seed("a", 6));
    bench.add(0, &[("a", "tell", "", 0)]);
    bench.start().expect_failure(1, &["several rows for the key a"]);
}

#[test]
fn a_batch_that_is_skipped_does_not_take_the_beginning_with_it() {
    let with_beginning = format!("{KEYED}\ninitial_state = \"beginning\"");
    let mut bench = Bench::new("tally", &with_beginning);
    let seed = |text: &str| format!("{}\n", json!({"k": "a", "what": "", "text": text, "n": 5}));
    bench.workbench.write("beginning.json", seed("refuse"));
    bench.add(0, &[("a", "tell", "", 0)]);
    bench.start().expect_failure(1, &["the initial state, of the key \"a\": no such beginning"]);
    bench.workbench.write("beginning.json", seed("x"));
    bench.workbench.run(&["skip", "job.toml", "--batch", "0"]).expect_success();
    bench.add(1, &[("a", "tell", "", 0)]);
    assert_eq!(told(&bench.run(), &["number", "texts"]), [json!([5, ["x"]])]);
    // A query that has begun without one does not get one later.
    let mut bench = Bench::new("tally", KEYED);
    bench.add(0, &[("a", "tell", "", 0)]);
    bench.run();
    bench.workbench.write("job.toml", job("tally", &with_beginning));
    bench.refused(&["was made by a query with", "initial_state"]);
}

#[test]
fn much_for_one_key_costs_what_it_is() {
    let mut bench = Bench::new("tally", BY_EVENT);
    let line = |k: &str, what: &str, text: &str, n: i64, second: i64| {
        let t = format!("2026-01-01T00:00:{second:02}Z");
        format!("{}\n", json!({"k": k, "what": what, "text": text, "n": n, "t": t}))
    };
    let append = |n: i64| line("a", "append", &n.to_string(), 0, 1);
    bench.add_lines((0..200_000).map(append).collect());
    // Timers of one key between those of others, each of which sees what the one before has done.
    let timers = |n: i64| {
        let (one, other) = (at(2) + 2 * n, at(2) + 2 * n + 1);
        line("c", "timer", "", one, 2) + &line(&format!("k{n}"), "timer", "", other, 2)
    };
    bench.add_lines((0..8_000).map(timers).collect());
    bench.add_lines(line("a", "tell", "", 0, 30));
    let rows = bench.run();
    let due = |row: &&Value| row["k"] == "c" && !row["due"].is_null();
    let numbers: Vec<i64> =
        rows.iter().filter(due).filter_map(|row| row["number"].as_i64()).collect();
    assert_eq!(numbers, (1..=8_000).map(|n| n * 1_000).collect::<Vec<_>>());
    let listed = rows.iter().find(|row| row["k"] == "a").unwrap();
    assert_eq!(listed["texts"].as_array().unwrap().len(), 200_000);
}

#[test]
fn a_batch_that_fails_leaves_the_state_as_it_was() {
    let mut bench = Bench::new("tally", KEYED);
    bench.add(0, &[("a", "add", "", 1), ("a", "put", "x", 1), ("b", "append", "x", 0)]);
    bench.run();
    bench.add(1, &[("b", "append", "y", 0), ("a", "add", "", 1), ("a", "panic", "by order", 0)]);
    bench.start().expect_failure(1, &["batch 1", "panicked", "by order"]);
    bench.workbench.run(&["skip", "job.toml", "--batch", "1"]).expect_success();
    bench.add(2, &[("a", "tell", "x", 0), ("b", "tell", "", 0)]);
    let mut rows = told(&bench.run(), &["k", "number", "texts", "one"]);
    rows.sort_by_key(Value::to_string);
    assert_eq!(rows, [json!(["a", 1, [], 1]), json!(["b", null, ["x"], null])]);
}

#[test]
fn a_row_with_a_null_that_has_no_place_is_refused_alone() {
    let mut bench = Bench::new("tally", KEYED);
    let job = std::fs::read_to_string(bench.workbench.path("job.toml")).unwrap();
    bench.workbench.write("job.toml", format!("{job}\n[dead_letters]\npath = \"letters\"\n"));
    let order = |what: &str, n: Option<i64>| {
        format!("{}\n", json!({"k": "a", "what": what, "text": "", "n": n}))
    };
    bench.add_lines(
        order("add", Some(1))
            + &order("add", None)
            + &order("add", Some(2))
            + &order("tell", Some(0)),
    );
    assert_eq!(told(&bench.run(), &["number"]), [json!([3])]);
    let letters = bench.workbench.run(&["dlq", "job.toml", "list"]).expect_success().stdout;
    assert!(letters.contains("column \"n\" is null"), "{letters}");
}

#[test]
fn rows_of_a_key_are_refused_together_and_change_nothing() {
    let mut bench = Bench::new("tally", KEYED);
    let job = std::fs::read_to_string(bench.workbench.path("job.toml")).unwrap();
    bench.workbench.write("job.toml", format!("{job}\n[dead_letters]\npath = \"letters\"\n"));
    bench.add(
        0,
        &[
            ("a", "add", "", 1),
            ("b", "add", "", 7),
            ("a", "put", "x", 1),
            ("a", "refuse", "not this one", 0),
            ("b", "tell", "", 0),
        ],
    );
    assert_eq!(told(&bench.run(), &["k", "number"]), [json!(["b", 7])]);
    let letters = bench.workbench.run(&["dlq", "job.toml", "list"]).expect_success().stdout;
    let line = letters.lines().find(|line| line.contains("not this one")).unwrap();
    assert!(line.contains(" 3 ") && line.contains("p.tally"), "{letters}");
    bench.add(1, &[("a", "tell", "x", 0)]);
    assert_eq!(told(&bench.run(), &["number", "one"]), [json!([null, null])]);
}

#[test]
fn a_function_that_appends_for_ever_ends_with_its_limit_and_leaves_the_state_as_it_was() {
    let mut bench = Bench::new("tally", KEYED);
    let job = std::fs::read_to_string(bench.workbench.path("job.toml")).unwrap();
    bench.add(0, &[("a", "add", "", 1), ("a", "append", "x", 0)]);
    bench.run();
    // Three megabytes for one key, and then one more, each within the plugin's own memory.
    let text = "y".repeat(1 << 20);
    bench.add(1, &[("a", "append", text.as_str(), 0); 3]);
    let tight = |limit: &str| job.replace("[options]", &format!("[options]\n{limit}"));
    bench.workbench.write("job.toml", tight("state_overlay_memory = \"2 MiB\""));
    bench.start().expect_failure(1, &["batch 1 failed", "state_overlay_memory"]);
    bench.workbench.write("job.toml", &job);
    bench.add(2, &[("a", "replace", "z", 0), ("a", "tell", "", 0)]);
    assert_eq!(told(&bench.run(), &["number", "texts"]), [json!([1, ["z"]])]);
    // What one batch adds to a list of a key, with a plugin that may hold it.
    let roomy =
        job.replace("path = \"p.wasm\"", "path = \"p.wasm\"\nlimits = { memory = \"1 GiB\" }");
    bench.workbench.write("job.toml", roomy);
    bench.add(3, &[("a", "append", text.as_str(), 0); 65]);
    bench
        .start()
        .expect_failure(1, &["batch 3 failed", "the list of a key in one batch", "67108864"]);
}

#[test]
fn state_outlives_another_version_of_the_plugin_and_no_other_function() {
    let mut bench = Bench::new("tally", KEYED);
    bench.add(0, &[("a", "add", "", 1), ("a", "append", "x", 0)]);
    bench.run();
    let mut module = std::fs::read(plugin("faulty")).unwrap();
    // The same code under another digest.
    module.extend([0, 6, 4, b'n', b'o', b't', b'e', b'!']);
    bench.workbench.write("p.wasm", module);
    bench.add(1, &[("a", "tell", "", 0)]);
    assert_eq!(told(&bench.run(), &["number", "texts"]), [json!([1, ["x"]])]);
    bench.workbench.write("job.toml", job("brief", BY_CLOCK));
    bench.refused(&[
        "was made by a query with",
        "tally (stateful step 1); time_mode none",
        "brief",
    ]);
}

#[test]
fn what_a_step_and_its_function_do_not_agree_on_is_refused_by_name() {
    let told = |function: &str, step: &str, words: &[&str]| {
        let mut bench = Bench::new(function, step);
        bench.add(0, &[("a", "add", "", 1)]);
        bench.refused(words);
    };
    told("tally", "", &["it keeps something for each key", "key = [\"user_id\"]"]);
    told("tally", "key = []", &["`key` names no column"]);
    told("tally", "key = [\"user\"]", &["no column \"user\" among k, what, text, n, t"]);
    told("tally", "key = [\"k\", \"n\"]", &["its key has 1 columns (k STRING)", "names 2"]);
    told("tally", "key = [\"n\"]", &["it takes STRING there", "\"n\" is BIGINT", "cast it"]);
    told("echo", KEYED, &["it is a transform", "`key`, which is for stateful functions"]);
    told("tally", "time_mode = \"event_time\"", &["`time_mode` is for", "`key`"]);
    told("tally", "key = [\"k\"]\ntime_mode = \"event\"", &["event_time"]);
    told("brief", BY_EVENT, &["\"number\" has a time to live", "\"processing_time\" alone"]);
    told("brief", KEYED, &["\"number\" has a time to live", "the step has \"none\""]);
    let seeded = |table: &str| format!("{BY_CLOCK}\ninitial_state = \"{table}\"");
    told("brief", &seeded("beginning"), &["takes no initial state", "leave out `initial_state`"]);
    told("tally", &seeded("orders"), &["initial_state is a stream"]);
    told("tally", &seeded("nothing"), &["nothing"]);
    let counted =
        "\n[[step]]\nname = \"counted\"\nsql = \"SELECT k, count(*) FROM told GROUP BY k\"";
    told("tally", &format!("{KEYED}{counted}"), &["below another stateful operator"]);
    let mut bench = Bench::new("tally", KEYED);
    let job = std::fs::read_to_string(bench.workbench.path("job.toml")).unwrap();
    let without = job.replace("watermark = { column = \"t\", delay = \"0 seconds\" }", "");
    bench.workbench.write("job.toml", without.replace(KEYED, BY_EVENT));
    bench.add(0, &[("a", "add", "", 1)]);
    bench.refused(&["goes by a watermark", "the step's rows have none"]);
    bench.workbench.write("job.toml", job.replace("\"update\"", "\"complete\""));
    bench.refused(&["Invalid streaming output mode: complete"]);
}

#[test]
fn a_timer_without_a_time_fails_the_batch_by_name() {
    let mut bench = Bench::new("tally", KEYED);
    bench.add(0, &[("a", "timer", "", 1)]);
    bench
        .start()
        .expect_failure(1, &["a timer, and its step has no time for timers", "time_mode ="]);
}
