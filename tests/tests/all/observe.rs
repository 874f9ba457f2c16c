//! What a running job shows to outsiders: metrics, and its status.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidemill_tests::{Workbench, plugin, write_orders};

use crate::reload::interrupt;

/// Everything that there are metrics of: rows, a watermark, state, a plugin's functions.
const JOB: &str = r#"
name = "revenue"
output_mode = "update"
[source.orders]
format = "json"
path = "input"
schema = "order_id STRING, user_id STRING, amount DOUBLE, category STRING, order_time TIMESTAMP"
options = { maxFilesPerTrigger = 1 }
watermark = { column = "order_time", delay = "5 minutes" }
[plugin.orders]
path = "orders.wasm"
watch = true
targets = ["summary"]
[[step]]
name = "clean"
plugin = "orders"
function = "normalise"
[[step]]
name = "revenue"
sql = """
SELECT window.start AS window_start, category, sum(with_tax(amount)) AS revenue
FROM clean GROUP BY window(order_time, '5 minutes'), category
"""
[sink]
format = "noop"
[target.summary]
format = "noop"
"#;

/// A job that runs with its metrics served at any free port of this machine.
pub(crate) struct Observed {
    child: Child,
    pub(crate) lines: Lines<BufReader<ChildStderr>>,
    address: String,
}

impl Observed {
    pub(crate) fn start(bench: &Workbench, more: &[&str]) -> Observed {
        Observed::start_with(bench, more, |_| {})
    }

    pub(crate) fn start_with(
        bench: &Workbench,
        more: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Observed {
        let mut arguments = vec!["run", "job.toml", "--progress", "json"];
        arguments.extend(["--metrics", "127.0.0.1:0"]);
        arguments.extend(more);
        let mut command = bench.command(&arguments);
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let (_, address) = line.split_once("metrics at http://")?;
            Some(address.split_once('/')?.0.to_owned())
        });
        Observed { child, lines, address: address.expect("the bound address is printed") }
    }

    /// Reads on to the record of a batch.
    pub(crate) fn wait_for_batch(&mut self, batch: u64) -> Value {
        self.lines
            .by_ref()
            .map(Result::unwrap)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|record| record["batchId"] == batch)
            .expect("the batch runs")
    }

    pub(crate) fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The body at a path that is there.
    pub(crate) fn get(&self, path: &str) -> String {
        let answer = self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        body.to_owned()
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status")).unwrap()
    }

    /// The value of a series, by its name and labels as they are written.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics");
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    pub(crate) fn stop(self) {
        self.stop_and_listen();
    }

    /// What it said since it was last listened to.
    pub(crate) fn stop_and_listen(mut self) -> String {
        interrupt(&self.child);
        let said: Vec<String> = self.lines.map(Result::unwrap).collect();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        said.join("\n")
    }
}

pub(crate) fn bench() -> Workbench {
    let bench = Workbench::new();
    std::fs::copy(plugin("orders"), bench.path("orders.wasm")).unwrap();
    bench.write("job.toml", JOB);
    std::fs::create_dir(bench.path("input")).unwrap();
    bench
}

#[test]
fn metrics_add_up_to_the_progress_records() {
    let bench = bench();
    write_orders(&bench, 0, 3, 400);
    let mut job = Observed::start(&bench, &[]);
    let records: Vec<Value> = (0..3).map(|batch| job.wait_for_batch(batch)).collect();
    // The third file moves the watermark, and a batch without rows evicts by it.
    let last = job.wait_for_batch(3);
    assert_eq!(last["numInputRows"], 0);

    let rows = "{query=\"revenue\",source=\"orders\"}";
    assert_eq!(job.metric(&format!("tidemill_input_rows_total{rows}")), 1200.0);
    let given: f64 = records.iter().map(|r| r["sink"]["numOutputRows"].as_f64().unwrap()).sum();
    assert_eq!(job.metric("tidemill_output_rows_total{query=\"revenue\"}"), given);
    let batches =
        |result| format!("tidemill_batches_total{{query=\"revenue\",result=\"{result}\"}}");
    assert_eq!(job.metric(&batches("data")), 3.0);
    assert_eq!(job.metric(&batches("empty")), 1.0);
    assert_eq!(job.metric(&batches("failed")), 0.0);
    assert_eq!(job.metric("tidemill_query_up{query=\"revenue\"}"), 1.0);

    assert_eq!(job.metric("tidemill_batch_duration_seconds_count{query=\"revenue\"}"), 4.0);
    for phase in ["latestOffset", "walCommit", "execute", "deliver", "commitOffsets"] {
        let labels = format!("{{query=\"revenue\",phase=\"{phase}\"}}");
        assert_eq!(job.metric(&format!("tidemill_phase_duration_seconds_count{labels}")), 4.0);
    }
    let operator = "{query=\"revenue\",operator=\"stateStoreSave-0\"}";
    let held = last["stateOperators"][0]["numRowsTotal"].as_f64().unwrap();
    assert_eq!(job.metric(&format!("tidemill_state_rows{operator}")), held);
    assert!(job.metric(&format!("tidemill_state_bytes{operator}")) > 0.0);
    assert!(job.metric(&format!("tidemill_state_removed_rows_total{operator}")) > 0.0);

    // Orders of January 2026: the watermark's own time is exact, its lag only large.
    let watermark = job.metric("tidemill_watermark_timestamp_seconds{query=\"revenue\"}");
    assert!((1_767_225_600.0..1_767_312_000.0).contains(&watermark), "{watermark}");
    assert!(job.metric("tidemill_watermark_lag_seconds{query=\"revenue\"}") > 0.0);

    for function in ["normalise", "with_tax"] {
        let labels = format!("{{query=\"revenue\",plugin=\"orders\",function=\"{function}\"}}");
        assert!(job.metric(&format!("tidemill_plugin_calls_total{labels}")) >= 3.0);
        assert!(job.metric(&format!("tidemill_plugin_call_seconds_total{labels}")) > 0.0);
    }
    let rows = "{query=\"revenue\",plugin=\"orders\",function=\"normalise\"}";
    assert_eq!(job.metric(&format!("tidemill_plugin_rows_total{rows}")), 1200.0);

    // What is listed is what is served, but for what this job has none of.
    let text = job.get("/metrics");
    let board = tidemill::observe::Board::new();
    let is_served = |name: &str| {
        let samples = ["{", " ", "_count{"].map(|end| format!("\n{name}{end}"));
        samples.iter().any(|sample| text.contains(sample))
    };
    let missing = board.metric_names().iter().filter(|name| !is_served(name));
    let missing: Vec<_> = missing.map(String::as_str).collect();
    assert_eq!(
        missing,
        [
            "tidemill_dead_letters_total",
            "tidemill_source_max_offsets_behind_latest",
            "tidemill_source_avg_offsets_behind_latest",
            "tidemill_source_min_offsets_behind_latest",
            "tidemill_source_unanswered_seconds",
            "tidemill_plugin_reloads_total",
        ]
    );
    assert!(job.metric("process_resident_memory_bytes") > 1e6);
    assert!(job.metric("process_cpu_seconds_total") > 0.0);
    job.stop();
}

#[test]
fn reloads_are_counted_by_their_result() {
    let bench = bench();
    write_orders(&bench, 0, 1, 10);
    let mut job = Observed::start(&bench, &[]);
    job.wait_for_batch(0);
    let new = bench.write("orders.wasm.new", "no plugin at all");
    std::fs::rename(new, bench.path("orders.wasm")).unwrap();
    assert!(job.lines.by_ref().map(Result::unwrap).any(|line| line.contains("is refused")));
    let reloads = "{query=\"revenue\",plugin=\"orders\",result=\"refused\"}";
    assert_eq!(job.metric(&format!("tidemill_plugin_reloads_total{reloads}")), 1.0);
    job.stop();
}

#[test]
fn the_status_shows_each_query_with_its_last_batch() {
    let bench = bench();
    write_orders(&bench, 0, 1, 10);
    let mut job = Observed::start(&bench, &[]);
    // The rows move the watermark, and a batch without rows follows; then there is nothing to do.
    let record = job.wait_for_batch(1);
    let status = job.status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["startedAt"].as_str().unwrap().ends_with('Z'));
    let query = &status["queries"][0];
    assert_eq!((&query["name"], &query["job"]), (&"revenue".into(), &"job.toml".into()));
    assert_eq!(query["state"], "waiting");
    assert_eq!(query["lastProgress"], record, "the same record as on standard error");
    job.stop();
}

/// Its handler says that the place is busy, each time.
const BUSY: &str = r#"
name = "busy"
[options]
retries = 9
[source.r]
format = "rate-micro-batch"
options = { rowsPerBatch = 1 }
[plugin.p]
path = "p.wasm"
config = { mode = "retry" }
targets = ["place"]
[target.place]
format = "noop"
[sink]
format = "foreach_batch"
plugin = "p"
function = "handles"
"#;

#[test]
fn a_batch_that_is_retried_is_seen_with_its_reason() {
    let bench = Workbench::new();
    std::fs::copy(plugin("faulty"), bench.path("p.wasm")).unwrap();
    bench.write("job.toml", BUSY);
    let mut job = Observed::start(&bench, &[]);
    // The third wait is four seconds: time enough to look.
    assert!(job.lines.by_ref().map(Result::unwrap).any(|line| line.contains("again in 4 s")));
    let query = &job.status()["queries"][0];
    assert_eq!((&query["state"], &query["batchId"]), (&"retrying".into(), &0.into()));
    assert!(query["error"].as_str().unwrap().contains("the place is busy"), "{query}");
    assert_eq!(job.metric("tidemill_batches_total{query=\"busy\",result=\"retried\"}"), 3.0);
    job.stop();
}

#[test]
fn what_is_no_question_is_answered_with_what_there_is() {
    let bench = bench();
    let job = Observed::start(&bench, &[]);
    assert!(job.ask("GET /nowhere HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(job.ask("GET /nowhere HTTP/1.1\r\n\r\n").contains("/metrics"));
    assert!(job.ask("POST /status HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(job.ask("hello\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let head = job.ask("HEAD /status HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(16 * 1024));
    assert!(job.ask(&endless).starts_with("HTTP/1.1 431 "));
    job.stop();
}

/// However many clients hold connections and say nothing, or half of something: who asks is
/// answered, at once, and batches go on.
#[test]
fn a_scraper_is_answered_beside_hundreds_of_slow_clients() {
    let bench = bench();
    let mut job = Observed::start(&bench, &[]);
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(&job.address).unwrap();
        if number % 2 == 0 {
            // A client that was cut in the meantime cannot write.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
        }
        slow.push(stream);
        if [1, 2, 10, 100, 300].contains(&slow.len()) {
            let asked = Instant::now();
            assert!(job.get("/metrics").ends_with("# EOF\n"));
            let took = asked.elapsed();
            assert!(took < Duration::from_secs(3), "beside {} it took {took:?}", slow.len());
        }
    }
    write_orders(&bench, 0, 1, 10);
    job.wait_for_batch(0);
    drop(slow);
    job.stop();
}

/// A client that never says what it wants is cut, so that connections do not gather.
#[test]
fn a_client_that_says_nothing_is_cut() {
    let bench = bench();
    let job = Observed::start(&bench, &[]);
    let mut silent = TcpStream::connect(&job.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"");
    job.stop();
}

/// A page in a browser can have a name of its own lead here, and would be answered with what only
/// this machine may see.
#[test]
fn requests_to_other_names_are_refused() {
    let bench = bench();
    let job = Observed::start(&bench, &["--metrics-host", "mill.example"]);
    let ask =
        |path: &str, host: &str| job.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    for path in ["/", "/metrics", "/status"] {
        let refused = ask(path, "evil.example:9464");
        assert!(refused.starts_with("HTTP/1.1 421 "), "{refused}");
        assert!(refused.contains("evil.example") && refused.contains("--metrics-host"));
        assert!(!refused.contains("revenue"), "{refused}");
        for host in [job.address.as_str(), "localhost", "[::1]:1", "mill.example"] {
            let answer = ask(path, host);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
        }
    }
    job.stop();
}

#[test]
fn an_address_that_is_taken_or_none_is_refused_before_anything_starts() {
    let bench = bench();
    let job = Observed::start(&bench, &[]);
    let other = bench.run(&["run", "job.toml", "--metrics", &job.address]);
    other.expect_failure(2, &["--metrics", &job.address, "cannot be opened"]);
    bench.run(&["run", "job.toml", "--metrics", ":9464"]).expect_failure(2, &["0.0.0.0:9464"]);
    job.stop();
}
