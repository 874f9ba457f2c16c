//! Hot reload of plugins.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};

use serde_json::{Value, json};
use tidemill_tests::{Workbench, plugin};

/// Lines of a child's output as they come.
pub(crate) fn lines(output: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(output).lines().map(Result::unwrap)
}

/// Ctrl-C.
pub(crate) fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

const JOB: &str = r#"
name = "reload"
[source.r]
format = "rate-micro-batch"
options = { rowsPerBatch = 10 }
[plugin.p]
path = "p.wasm"
watch = true
[[step]]
name = "t"
sql = "SELECT value, delay_class(value) AS class FROM r"
[sink]
format = "noop"
"#;

/// Replaces a file as a careful tool does: all at once.
fn replace(bench: &Workbench, bytes: &[u8]) {
    let new = bench.write("p.wasm.new", bytes);
    std::fs::rename(new, bench.path("p.wasm")).unwrap();
}

/// The same module under another digest: a custom section that nobody reads.
fn another_version(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.extend([0, 6, 4, b'n', b'o', b't', b'e', b'!']);
    bytes
}

fn digest(line: &str) -> Option<(u64, String)> {
    let record: Value = serde_json::from_str(line).ok()?;
    let digest = record["plugins"][0]["digest"].as_str()?.to_owned();
    Some((record["batchId"].as_u64()?, digest))
}

#[test]
fn a_replaced_plugin_runs_from_the_next_batch_on() {
    let bench = Workbench::new();
    let original = std::fs::read(plugin("flights")).unwrap();
    bench.write("p.wasm", &original);
    bench.write("job.toml", JOB);
    let mut child = bench.spawn(&["run", "job.toml", "--progress", "json"]);
    let mut output = lines(child.stderr.take().unwrap());
    let (_, before) = output.by_ref().find_map(|line| digest(&line)).unwrap();

    replace(&bench, b"not a plugin at all");
    let refused = output.by_ref().find(|line| line.contains("refused")).unwrap();
    assert!(refused.contains("\"p\""), "{refused}");
    let (_, still) = output.by_ref().find_map(|line| digest(&line)).unwrap();
    assert_eq!(still, before, "a bad module leaves the old one in place");

    replace(&bench, &another_version(&original));
    let mut last = None;
    let (batch, after) = output
        .by_ref()
        .filter_map(|line| digest(&line))
        .find(|(batch, digest)| {
            let is_next = last.is_none_or(|last| *batch == last + 1);
            assert!(is_next, "batch ids have no gaps over a reload");
            last = Some(*batch);
            *digest != before
        })
        .unwrap();
    assert!(batch > 0);
    assert_ne!(after, before);
    interrupt(&child);
    // Read on, so that the child never waits for room in the pipe.
    output.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

const TWO: &str = r#"
name = "two"
[source.r]
format = "rate-micro-batch"
options = { rowsPerBatch = 10 }
[plugin.p]
path = "current/p.wasm"
[plugin.q]
path = "current/q.wasm"
[[step]]
name = "t"
sql = "SELECT value, delay_class(value) AS class, with_tax(CAST(value AS DOUBLE)) AS taxed FROM r"
[sink]
format = "noop"
"#;

/// The digests of the plugins of a batch.
fn digests(line: &str) -> Option<Vec<String>> {
    let record: Value = serde_json::from_str(line).ok()?;
    let plugins = record["plugins"].as_array()?.iter();
    Some(plugins.map(|plugin| plugin["digest"].as_str().unwrap().to_owned()).collect())
}

#[test]
fn plugins_that_change_together_by_a_link_are_swapped_in_the_same_batch() {
    let bench = Workbench::new();
    let (p, q) = (plugin("flights"), plugin("orders"));
    let (p, q) = (std::fs::read(p).unwrap(), std::fs::read(q).unwrap());
    bench.write("job.toml", TWO);
    for (release, bytes) in
        [("1", [p.clone(), q.clone()]), ("2", [p, q].map(|b| another_version(&b)))]
    {
        let [p, q] = bytes;
        bench.write(&format!("releases/{release}/p.wasm"), p);
        bench.write(&format!("releases/{release}/q.wasm"), q);
    }
    let lead_to = |release: &str| {
        let (new, link) = (bench.path("new"), bench.path("current"));
        std::os::unix::fs::symlink(format!("releases/{release}"), &new).unwrap();
        std::fs::rename(new, link).unwrap();
    };
    lead_to("1");
    let mut child = bench.spawn(&["run", "job.toml", "--watch", "--progress", "json"]);
    let mut output = lines(child.stderr.take().unwrap());
    let before = output.by_ref().find_map(|line| digests(&line)).unwrap();
    lead_to("2");
    let after = output.by_ref().filter_map(|line| digests(&line)).find(|now| *now != before);
    let after = after.unwrap();
    assert!(after.iter().all(|digest| !before.contains(digest)), "{before:?}, then {after:?}");
    // And back, which is noticed where the link leads now.
    lead_to("1");
    let back = output.by_ref().filter_map(|line| digests(&line)).find(|now| *now != after);
    assert_eq!(back.unwrap(), before);
    interrupt(&child);
    output.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

const STEPPED: &str = r#"
name = "renewed"
output_mode = "update"
[source.r]
format = "json"
path = "input"
schema = "k STRING, n BIGINT"
[static.names]
format = "json"
path = "names"
schema = "k STRING, name STRING"
[[step]]
name = "t"
sql = "SELECT name, sum(n) AS n FROM r JOIN names USING (k) GROUP BY name"
[sink]
format = "console"
options = { format = "json" }
"#;

/// A query that runs, with all that it says.
struct Running {
    bench: Workbench,
    child: Child,
    rows: Box<dyn Iterator<Item = String>>,
    told: Box<dyn Iterator<Item = String>>,
    batches: i64,
}

impl Running {
    fn start(bench: Workbench) -> Running {
        let mut child = bench.spawn(&["run", "job.toml", "--watch"]);
        let rows = Box::new(lines(child.stdout.take().unwrap()));
        let told = Box::new(lines(child.stderr.take().unwrap()));
        Running { bench, child, rows, told, batches: 0 }
    }

    /// Adds a row, and gives the row that comes of it.
    fn add(&mut self, n: i64) -> Value {
        let line = format!("{{\"k\":\"a\",\"n\":{n}}}\n");
        self.bench.write_input(&format!("input/{}.json", self.batches), self.batches, line);
        self.batches += 1;
        let row: Value = serde_json::from_str(&self.rows.next().unwrap()).unwrap();
        row["row"].clone()
    }

    /// The next line that says so.
    fn says(&mut self, words: &str) -> String {
        let mut heard = Vec::new();
        let found = self.told.by_ref().inspect(|line| heard.push(line.clone()));
        let found = found.into_iter().find(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("no \"{words}\" in {heard:?}"))
    }

    fn end(mut self) {
        interrupt(&self.child);
        self.rows.for_each(drop);
        self.told.for_each(drop);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_changed_job_and_changed_static_tables_are_taken_while_the_query_runs() {
    let bench = Workbench::new();
    bench.write("job.toml", STEPPED);
    bench.write("names/0.json", "{\"k\":\"a\",\"name\":\"ann\"}\n");
    std::fs::create_dir_all(bench.path("input")).unwrap();
    let mut running = Running::start(bench);
    assert_eq!(running.add(1), json!({"name": "ann", "n": 1}));

    // The state stays.
    let filtered = STEPPED.replace("USING (k) GROUP", "USING (k) WHERE n > 5 GROUP");
    running.bench.write("job.toml", &filtered);
    assert!(running.says("reloaded the job").contains("batch 1 runs as it says now"));
    assert_eq!(running.add(10), json!({"name": "ann", "n": 11}));

    // What is wrong is told, and what runs goes on.
    running.bench.write("job.toml", filtered.replace("sum(n)", "summ(n)"));
    let refused = running.says("the changed job is refused");
    assert!(refused.contains("goes on") && refused.contains("summ"), "{refused}");
    running.bench.write("job.toml", filtered.replace("sum(n) AS n", "max(name) AS n"));
    assert!(running.says("the changed job is refused").contains("stateful operators"));
    running.bench.write("job.toml", filtered.replace("\"renewed\"", "\"other\""));
    assert!(running.says("the changed job is refused").contains("another query"));
    assert_eq!(running.add(20), json!({"name": "ann", "n": 31}));

    running.bench.write("names/1.json", "{\"k\":\"a\",\"name\":\"bob\"}\n");
    std::fs::remove_file(running.bench.path("names/0.json")).unwrap();
    // The job's own file is still another query's: it is refused, and the table with it.
    running.says("another query");
    running.bench.write("job.toml", &filtered);
    running.says("reloaded the job");
    assert_eq!(running.add(40), json!({"name": "bob", "n": 40}));
    running.end();
}
