//! `tidemill replay`: a batch of the past again, and what another plugin would make of it.

use serde_json::{Value, json};
use tidemill_tests::{Finished, Workbench, plugin};

/// Counts by class of delay, so that each batch goes by the state before it.
const JOB: &str = r#"
name = "replayed"
output_mode = "update"
trigger = { available_now = true }
options = { retries = 0 }
[source.s]
format = "json"
path = "input"
schema = "delay BIGINT, at TIMESTAMP"
options = { maxFilesPerTrigger = 1 }
watermark = { column = "at", delay = "1 minute" }
[plugin.p]
path = "p.wasm"
[[step]]
name = "t"
sql = """
SELECT delay_class(delay) AS class, count(*) AS n, max(current_timestamp()) AS seen
FROM s GROUP BY window(at, '1 hour'), delay_class(delay)
"""
[sink]
format = "json"
path = "out"
"#;

/// Two flights a batch, of which one was late.
fn row(batch: i64, delay: i64) -> String {
    json!({ "delay": delay, "at": format!("2026-01-01T00:{batch:02}:00Z") }).to_string() + "\n"
}

fn console() -> String {
    JOB.replace(
        "format = \"json\"\npath = \"out\"",
        "format = \"console\"\noptions = { format = \"json\" }",
    )
}

/// Four batches, and what the console printed of them.
fn ran(job: &str) -> (Workbench, Vec<Value>) {
    let bench = Workbench::new();
    std::fs::copy(plugin("flights"), bench.path("p.wasm")).unwrap();
    bench.write("job.toml", job);
    for batch in 0..4 {
        let rows = row(batch, 20) + &row(batch, 5);
        bench.write_input(&format!("input/{batch}.json"), batch, rows);
    }
    let finished = bench.run(&["run", "job.toml"]).expect_success();
    (bench, lines(&finished))
}

fn lines(finished: &Finished) -> Vec<Value> {
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn replay(bench: &Workbench, batch: u64, arguments: &[&str]) -> Finished {
    let batch = batch.to_string();
    let all = [&["replay", "job.toml", "--batch", &batch], arguments].concat();
    bench.run(&all)
}

/// The plugin with other words for the classes.
fn renamed(bench: &Workbench, name: &str) {
    let mut bytes = std::fs::read(plugin("flights")).unwrap();
    let word = b"on time";
    let places: Vec<usize> =
        (0..bytes.len() - word.len()).filter(|at| bytes[*at..].starts_with(word)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[*at..*at + word.len()].copy_from_slice(b"in time"));
    bench.write(name, bytes);
}

/// All files below the directory, with their bytes.
fn files(bench: &Workbench) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(bench.path("")).sort_by_file_name().into_iter();
    let files = entries.map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files.map(|entry| (entry.path().to_owned(), std::fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn a_batch_gives_again_what_it_gave_and_nobody_notices() {
    let (bench, printed) = ran(&console());
    let before = files(&bench);
    for batch in 0..4 {
        let replayed = replay(&bench, batch, &["--format", "json"]).expect_success();
        let wanted: Vec<_> = printed.iter().filter(|line| line["batch_id"] == batch).collect();
        assert_eq!(lines(&replayed).iter().collect::<Vec<_>>(), wanted);
        assert_eq!(wanted[0]["row"]["n"], batch + 1, "it goes by the state before it");
        assert!(replayed.stderr.contains(&format!("batch {batch}: 2 rows of 2")));
    }
    let table = replay(&bench, 2, &[]).expect_success().stdout;
    assert!(table.contains("Batch: 2") && table.contains("|late   |3"), "{table}");
    assert!(files(&bench) == before, "files have changed");
    bench.write_input("input/9.json", 9, row(9, 5));
    // Batch 4 was one without data.
    assert_eq!(lines(&bench.run(&["run", "job.toml"]).expect_success())[0]["batch_id"], 5);
}

#[test]
fn what_another_plugin_changes_is_shown() {
    let (bench, printed) = ran(&console());
    renamed(&bench, "new/p.wasm");
    let arguments = ["--plugin", "new/p.wasm", "--format", "json"];
    let replayed = replay(&bench, 2, &arguments).expect_success();
    let on_time = printed.iter().find(|line| line["batch_id"] == 2 && line["row"]["n"] == 3);
    assert!(on_time.is_some());
    // Under its new name the class has no state yet.
    let shown = lines(&replayed);
    assert_eq!(shown[0]["only"], "before");
    assert_eq!(shown[0]["row"]["class"], "on time");
    assert_eq!(
        (&shown[1]["only"], &shown[1]["row"]["class"]),
        (&json!("after"), &json!("in time"))
    );
    assert_eq!((shown.len(), &shown[1]["row"]["n"]), (2, &json!(1)));
    let table = replay(&bench, 2, &["--plugin", "p=new/p.wasm"]).expect_success();
    assert!(table.stdout.contains("only with") && table.stdout.contains("as it ran"), "{table:?}");
    let same = replay(&bench, 2, &["--plugin", "p.wasm"]).expect_success();
    assert_eq!(same.stdout, "");
    assert!(same.stderr.contains("there is no difference"), "{}", same.stderr);
}

/// What a mended plugin makes of the rows that broke the one before.
#[test]
fn a_batch_that_failed_is_replayed_and_a_mended_plugin_tried_on_it() {
    let job = r#"
name = "failing"
trigger = { available_now = true }
options = { retries = 0 }
[source.s]
format = "json"
path = "input"
schema = "id BIGINT, text STRING"
options = { maxFilesPerTrigger = 1 }
[plugin.p]
path = "p.wasm"
targets = ["nowhere"]
[target.nowhere]
format = "noop"
[[step]]
name = "numbers"
sql = "SELECT id, parsed(text) AS n FROM s"
[sink]
format = "noop"
"#;
    let bench = Workbench::new();
    std::fs::copy(plugin("faulty"), bench.path("p.wasm")).unwrap();
    bench.write("job.toml", job);
    bench.write_input("input/0.json", 0, "{\"id\":1,\"text\":\"1\"}\n");
    bench.write_input(
        "input/1.json",
        1,
        "{\"id\":2,\"text\":\"two\"}\n{\"id\":3,\"text\":\"3\"}\n",
    );
    bench.run(&["run", "job.toml"]).expect_failure(1, &["batch 1 failed"]);
    let words = ["batch 1 is not committed", "batch 1 fails", "\"two\" is not a number"];
    replay(&bench, 1, &[]).expect_failure(1, &words);
    replay(&bench, 0, &[]).expect_success();
    // With a place for what is refused it would have gone on.
    let changed = format!("{job}[dead_letters]\npath = \"dead\"\n");
    bench.write("job.toml", changed);
    let replayed = replay(&bench, 1, &["--format", "json"]).expect_success();
    assert_eq!(lines(&replayed), [json!({"batch_id": 1, "row": {"id": 3, "n": 3}})]);
    for words in
        ["the text of the job, with --set and --trigger, has changed", "1 row of 2, 1 refused"]
    {
        assert!(replayed.stderr.contains(words), "{}", replayed.stderr);
    }
    assert!(!bench.path("dead").exists());
}

#[test]
fn a_handler_is_not_called() {
    let bench = Workbench::new();
    let examples = tidemill_tests::repository().join("examples/orders/job.toml");
    let job =
        std::fs::read_to_string(examples).unwrap().replace("plugins/orders.wasm", "orders.wasm");
    let job = job.replace("watch = true", "watch = false");
    std::fs::copy(plugin("orders"), bench.path("orders.wasm")).unwrap();
    bench.write("job.toml", job);
    tidemill_tests::write_orders(&bench, 0, 1, 50);
    bench.run(&["run", "job.toml", "--trigger", "available-now"]).expect_success();
    let before = files(&bench);
    let replayed = replay(&bench, 0, &["--format", "json"]).expect_success();
    assert!(lines(&replayed).iter().all(|line| line["row"]["total_revenue"].is_number()));
    assert!(!lines(&replayed).is_empty());
    let words = "orders.deliver would be given; it is not called";
    assert!(replayed.stderr.contains(words), "{}", replayed.stderr);
    assert!(files(&bench) == before, "files have changed");
}

#[test]
fn what_cannot_be_replayed_says_which_batches_can() {
    let (bench, _) = ran(&console());
    replay(&bench, 5, &[]).expect_failure(2, &["batch 5 cannot be run again", "batches 0 to 4"]);
    let words = ["ran no plugin", "\"q\""];
    let other = console().replace("[plugin.p]", "[plugin.q]");
    bench.write("other.toml", other);
    bench
        .run(&["replay", "other.toml", "--batch", "1", "--plugin", "p.wasm"])
        .expect_failure(2, &words);
    replay(&bench, 1, &["--plugin", "none.wasm"]).expect_failure(2, &["none.wasm"]);
    std::fs::remove_file(bench.path("input/2.json")).unwrap();
    let words = ["batch 2 fails", "2.json", "has to be put back", "--plugin FILE"];
    let failed = replay(&bench, 2, &[]).expect_failure(1, &words);
    for other in ["--replan-batch", "tidemill skip"] {
        assert!(!failed.stderr.contains(other), "{}", failed.stderr);
    }
    replay(&bench, 3, &[]).expect_success();
    bench.write("new.toml", console().replace("\"replayed\"", "\"never\""));
    bench
        .run(&["replay", "new.toml", "--batch", "0"])
        .expect_failure(2, &["there is no checkpoint"]);
}

#[test]
fn a_copy_is_not_replayed_over_the_originals_input() {
    let (bench, printed) = ran(&console());
    let copied = Workbench::new();
    for (path, bytes) in files(&bench) {
        copied.write(path.strip_prefix(bench.path("")).unwrap().to_str().unwrap(), bytes);
    }
    let input = bench.path("input");
    let set = format!("source.s.path={}", input.display());
    let read = input.join("1.json").display().to_string();
    let reads = copied.path("input").display().to_string();
    replay(&copied, 1, &[]).expect_failure(2, &[&read, &reads, &format!("--set {set}")]);
    let replayed = replay(&copied, 1, &["--set", &set, "--format", "json"]).expect_success();
    let wanted: Vec<_> = printed.iter().filter(|line| line["batch_id"] == 1).collect();
    assert_eq!(lines(&replayed).iter().collect::<Vec<_>>(), wanted);
    // The same directory by another name is the same.
    std::os::unix::fs::symlink(bench.path(""), copied.path("link")).unwrap();
    copied.run(&["replay", "link/job.toml", "--batch", "1"]).expect_success();
}

#[test]
fn a_plugin_without_the_jobs_handler_is_refused_by_name() {
    let (bench, _) = ran(&console());
    let handled = console().replace(
        "format = \"console\"\noptions = { format = \"json\" }",
        "format = \"foreach_batch\"\nplugin = \"p\"\nfunction = \"deliver\"",
    );
    bench.write("job.toml", handled);
    let words = ["plugin \"p\" has no foreach_batch handler \"deliver\" (it has: none)"];
    replay(&bench, 1, &[]).expect_failure(2, &words);
}
