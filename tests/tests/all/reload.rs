//! Hot reload of plugins.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};

use serde_json::Value;
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
