//! `tidemill plugins`: which generations there are, going back to one, and keeping to one.

use serde_json::{Value, json};
use tidemill_tests::{Finished, Workbench, plugin};

const JOB: &str = r#"
name = "generations"
trigger = { available_now = true }
[source.s]
format = "json"
path = "input"
schema = "delay BIGINT"
options = { maxFilesPerTrigger = 1 }
[plugin.p]
path = "p.wasm"
[[step]]
name = "t"
sql = "SELECT delay_class(delay) AS class FROM s"
[sink]
format = "console"
options = { format = "json" }
"#;

/// The plugin "flights" under another digest: a custom section that nobody reads.
fn version(letter: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(plugin("flights")).unwrap();
    bytes.extend([0, 3, 1, b'v', letter]);
    bytes
}

/// A job whose batches 0, 1, 2, … ran these versions of its plugin.
fn ran(versions: &[u8]) -> Workbench {
    let bench = Workbench::new();
    bench.write("job.toml", JOB);
    for (batch, letter) in (0..).zip(versions) {
        bench.write("p.wasm", version(*letter));
        run(&bench, batch);
    }
    bench
}

/// Runs one batch, and gives the digest of the plugin that it ran.
fn run(bench: &Workbench, batch: i64) -> (String, Finished) {
    bench.write_input(&format!("input/{batch}.json"), batch, "{\"delay\":5}\n");
    let finished = bench.run(&["run", "job.toml", "--progress", "json"]).expect_success();
    let progress = finished.progress();
    assert_eq!(progress.last().unwrap()["batchId"], batch, "{}", finished.stderr);
    let digest = progress.last().unwrap()["plugins"][0]["digest"].as_str().unwrap().to_owned();
    (digest, finished)
}

/// Puts the file of a batch where a query that runs reads it, all at once.
fn put(bench: &Workbench, batch: i64) {
    let new = bench.write_input(&format!("new/{batch}.json"), batch, "{\"delay\":5}\n");
    std::fs::rename(new, bench.path(&format!("input/{batch}.json"))).unwrap();
}

fn plugins(bench: &Workbench, arguments: &[&str]) -> Finished {
    bench.run(&[&["plugins", "job.toml"], arguments].concat())
}

fn listed(bench: &Workbench) -> Vec<Value> {
    let listed = plugins(bench, &["list", "--json"]).expect_success().stdout;
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn digest(bytes: &[u8]) -> String {
    tidemill_core::Digest::of(bytes).to_string()
}

#[test]
fn generations_are_listed_with_their_batches_and_what_is_used_of_them() {
    let bench = ran(b"aab");
    bench.write("p.wasm", version(b'c'));
    let (a, b, c) = (digest(&version(b'a')), digest(&version(b'b')), digest(&version(b'c')));
    let all = listed(&bench);
    let of = |key: &str| all.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("digest"), [json!(a), json!(b), json!(c)]);
    assert_eq!(of("first_batch"), [json!(0), json!(2), Value::Null]);
    assert_eq!(of("last_batch"), [json!(1), json!(2), Value::Null]);
    assert_eq!(of("in_use"), [json!(false), json!(true), json!(false)]);
    assert_eq!(of("file"), [json!(false), json!(false), json!(true)]);
    let size = version(b'a').len();
    assert_eq!(of("bytes"), [json!(size), json!(size), Value::Null]);
    let table = plugins(&bench, &["list"]).expect_success().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[1].starts_with(&format!("p       {}  0 to 1", &a[..12])), "{table}");
    assert!(lines[2].ends_with("in use") && lines[3].ends_with("the file"), "{table}");
}

#[test]
fn a_generation_that_ran_twice_is_listed_with_both_runs_of_its_batches() {
    let bench = ran(b"aabba");
    let all = listed(&bench);
    let of = |bytes: &[u8]| all.iter().find(|line| line["digest"] == digest(bytes)).unwrap();
    assert_eq!(of(&version(b'a'))["runs"], json!([[0, 1], [4, 4]]));
    assert_eq!(of(&version(b'b'))["runs"], json!([[2, 3]]));
    let table = plugins(&bench, &["list"]).expect_success().stdout;
    assert!(table.contains("  0 to 1, 4  ") && table.contains("  2 to 3  "), "{table}");
}

#[test]
fn a_rollback_holds_until_the_file_changes() {
    let bench = ran(b"ab");
    let (a, c) = (digest(&version(b'a')), digest(&version(b'c')));
    let told = plugins(&bench, &["rollback", "p"]).expect_success().stderr;
    assert!(told.contains(&a[..12]) && told.contains("until that file changes"), "{told}");
    let (used, finished) = run(&bench, 2);
    assert_eq!(used, a);
    assert!(finished.stderr.contains("was rolled back"), "{}", finished.stderr);
    let rolled_back_to = |line: &Value| line["rolled_back_to"] == true;
    assert_eq!(listed(&bench).iter().filter(|line| rolled_back_to(line)).count(), 1);
    bench.write("p.wasm", version(b'c'));
    assert!(!listed(&bench).iter().any(rolled_back_to));
    assert_eq!(run(&bench, 3).0, c);
    // The bytes that were rolled back are as bad as they were.
    bench.write("p.wasm", version(b'b'));
    assert_eq!(run(&bench, 4).0, a);
    plugins(&bench, &["pin", "p", "--off"]).expect_success();
    assert_eq!(run(&bench, 5).0, digest(&version(b'b')));
}

#[test]
fn each_rollback_goes_one_further_back() {
    let bench = ran(b"abc");
    for wanted in [b'b', b'a'] {
        plugins(&bench, &["rollback", "p"]).expect_success();
        let to = listed(&bench).into_iter().find(|line| line["rolled_back_to"] == true).unwrap();
        assert_eq!(to["digest"], digest(&version(wanted)));
        run(&bench, if wanted == b'b' { 3 } else { 4 });
    }
    // And not to and fro.
    plugins(&bench, &["rollback", "p"]).expect_failure(2, &["no generation of \"p\" before"]);
}

#[test]
fn a_pinned_plugin_ignores_its_file() {
    let bench = ran(b"ab");
    let a = digest(&version(b'a'));
    plugins(&bench, &["pin", "p", &a[..10]]).expect_success();
    bench.write("p.wasm", "no plugin at all");
    bench.write_input("input/2.json", 2, "{\"delay\":5}\n");
    let run = ["run", "job.toml", "--progress", "json", "--watch"];
    let finished = bench.run(&run).expect_success();
    assert_eq!(finished.progress()[0]["plugins"][0]["digest"], a);
    for words in ["is pinned to", "p.wasm is ignored, whatever changes there", "--off"] {
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    // Not even a file has to be there.
    std::fs::remove_file(bench.path("p.wasm")).unwrap();
    bench.run(&["check", "job.toml"]).expect_success();
    plugins(&bench, &["pin", "p", "--off"]).expect_success();
    bench.run(&["check", "job.toml"]).expect_failure(2, &["p.wasm", "No such file"]);
    plugins(&bench, &["pin", "p", "--off"]).expect_failure(2, &["neither pinned nor rolled back"]);
}

#[test]
fn what_cannot_be_chosen_says_why_and_changes_nothing() {
    let bench = Workbench::new();
    bench.write("job.toml", JOB);
    bench.write("p.wasm", version(b'a'));
    plugins(&bench, &["list"]).expect_failure(2, &["there is no checkpoint"]);
    run(&bench, 0);
    plugins(&bench, &["rollback", "p"]).expect_failure(2, &["no generation of \"p\" before"]);
    plugins(&bench, &["rollback", "q"]).expect_failure(2, &["no plugin \"q\""]);
    plugins(&bench, &["pin", "p", "zz"]).expect_failure(2, &["begins with \"zz\"", "it keeps "]);
    plugins(&bench, &["pin", "p", ""]).expect_success();
    plugins(&bench, &["pin", "p", "--off"]).expect_success();
    bench.write("p.wasm", version(b'b'));
    run(&bench, 1);
    plugins(&bench, &["pin", "p", ""]).expect_failure(2, &["several generations", "write more"]);
    let a = digest(&version(b'a'));
    // With another use of the plugin the old generation may not fit any more.
    let job = JOB.replace("delay_class(delay)", "no_such(delay)");
    bench.write("job.toml", job);
    plugins(&bench, &["pin", "p", &a]).expect_failure(2, &["cannot run with", "no_such"]);
    assert!(!listed(&bench).iter().any(|line| line["pinned"] == true));
}

#[test]
fn a_choice_may_be_made_while_the_query_runs_and_counts_from_its_next_start_on() {
    let bench = ran(b"ab");
    bench.write("live.toml", JOB.replace("trigger = { available_now = true }\n", ""));
    let mut child = bench.spawn(&["run", "live.toml", "--progress", "json"]);
    put(&bench, 2);
    let mut output = crate::reload::lines(child.stderr.take().unwrap());
    output.find(|line| line.contains("\"batchId\":2")).unwrap();
    let told = plugins(&bench, &["rollback", "p"]).expect_success().stderr;
    assert!(told.contains(&format!("process {} runs the query", child.id())), "{told}");
    assert_eq!(listed(&bench).len(), 2);
    crate::reload::interrupt(&child);
    output.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(run(&bench, 3).0, digest(&version(b'a')));
}

/// What is chosen while the query watches its plugin is taken as a new file is.
#[test]
fn a_query_that_watches_its_plugin_takes_a_choice_between_two_batches() {
    let bench = ran(b"ab");
    let (a, b, c) = (digest(&version(b'a')), digest(&version(b'b')), digest(&version(b'c')));
    let job = JOB.replace("trigger = { available_now = true }\n", "");
    bench.write("live.toml", job.replace("path = \"p.wasm\"", "path = \"p.wasm\"\nwatch = true"));
    let mut child = bench.spawn(&["run", "live.toml", "--progress", "json"]);
    put(&bench, 2);
    let mut output = crate::reload::lines(child.stderr.take().unwrap());
    output.find(|line| line.contains("\"batchId\":2")).unwrap();
    let mut takes = |digest: &str| {
        output.find(|line| line.contains("reloaded") && line.contains(&digest[..12])).unwrap()
    };
    let replace = |letter: u8| {
        let new = bench.write("p.new", version(letter));
        std::fs::rename(new, bench.path("p.wasm")).unwrap();
    };
    plugins(&bench, &["rollback", "p"]).expect_success();
    takes(&a);
    replace(b'c');
    takes(&c);
    plugins(&bench, &["pin", "p", &b]).expect_success();
    takes(&b);
    replace(b'a');
    plugins(&bench, &["pin", "p", "--off"]).expect_success();
    takes(&a);
    crate::reload::interrupt(&child);
    output.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
