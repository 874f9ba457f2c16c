//! Dead letters: rows that a plugin refuses leave the batch, once, before the sink shows the rest.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidemill_tests::{Finished, Workbench, plugin};

/// A job over files of `id` and `text`, one a batch, that makes numbers of the texts.
const JOB: &str = r#"
name = "letters"
trigger = { available_now = true }
options = { scan_partitions = 2, retries = 0 }
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
format = "json"
path = "out"
"#;

const PLACE: &str = "[dead_letters]\npath = \"dead\"\n";

fn bench(job: &str) -> Workbench {
    let bench = Workbench::new();
    std::fs::copy(plugin("faulty"), bench.path("p.wasm")).unwrap();
    bench.write("job.toml", job);
    bench
}

/// A bench whose job has a place for dead letters.
fn with_place() -> Workbench {
    bench(&format!("{JOB}{PLACE}"))
}

/// Writes file `number` with these texts; ids go on by one.
fn put(bench: &Workbench, number: i64, texts: &[&str]) {
    let line = |(place, text): (usize, &&str)| {
        let id = number * 100 + i64::try_from(place).unwrap();
        format!("{}\n", json!({ "id": id, "text": text }))
    };
    let lines: String = texts.iter().enumerate().map(line).collect();
    bench.write_input(&format!("input/{number}.json"), number, lines);
}

fn run(bench: &Workbench) -> Finished {
    bench.run(&["run", "job.toml", "--progress", "json"])
}

/// The rows of a directory as a reader with a glob sees them, in the order of the files.
fn rows(bench: &Workbench, directory: &str) -> Vec<Value> {
    let names = bench.names(directory).into_iter().filter(|name| name.starts_with("part-"));
    let text = names
        .map(|name| std::fs::read_to_string(bench.path(&format!("{directory}/{name}"))).unwrap());
    let text: String = text.collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(bench: &Workbench) -> Vec<i64> {
    let mut numbers: Vec<i64> =
        rows(bench, "out").iter().filter_map(|row| row["n"].as_i64()).collect();
    numbers.sort_unstable();
    numbers
}

/// What was refused, as `text` of its row.
fn refused(bench: &Workbench) -> Vec<String> {
    let text = |letter: &Value| {
        let row: Value = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
        row["text"].as_str().unwrap().to_owned()
    };
    rows(bench, "dead").iter().map(text).collect()
}

#[test]
fn a_refused_row_is_a_dead_letter_and_the_others_go_on() {
    let bench = with_place();
    put(&bench, 0, &["1", "two", "3"]);
    put(&bench, 1, &["4"]);
    put(&bench, 2, &["five"]);
    let finished = run(&bench).expect_success();
    assert_eq!(numbers(&bench), [1, 3, 4]);
    let letters = rows(&bench, "dead");
    assert_eq!(letters.len(), 2, "{letters:?}");
    let letter = &letters[0];
    let digest = finished.progress()[0]["plugins"][0]["digest"].clone();
    let expected = [
        ("batch_id", json!(0)),
        ("step", json!("numbers")),
        ("plugin", json!("p")),
        ("function", json!("parsed")),
        ("digest", digest),
        ("reason", json!("\"two\" is not a number")),
        ("row", json!("{\"id\":1,\"text\":\"two\"}")),
    ];
    for (column, value) in expected {
        assert_eq!(letter[column], value, "{column}");
    }
    assert_eq!(letter["batch_time"], finished.progress()[0]["timestamp"]);
    assert_eq!(letters[1]["batch_id"], 2);
    let counted: Vec<Value> =
        finished.progress().iter().map(|batch| batch["deadLetters"].clone()).collect();
    assert_eq!(counted, [1, 0, 1]);
    // A batch without letters is none in their place.
    assert!(!bench.path("dead/_spark_metadata/_owner").metadata().unwrap().is_dir());
    assert_eq!(bench.names("dead").iter().filter(|name| name.starts_with("part-")).count(), 2);
}

#[test]
fn without_a_place_a_refused_row_fails_its_batch_and_the_message_says_what_to_add() {
    let bench = bench(JOB);
    put(&bench, 0, &["1", "two"]);
    let words = ["batch 0 failed", "refused row", "is not a number", "add [dead_letters]"];
    let failed = run(&bench).expect_failure(1, &words);
    assert!(failed.progress().is_empty());
    // And that is all that there is to do.
    bench.write("job.toml", format!("{JOB}{PLACE}"));
    let mended = run(&bench).expect_success();
    assert_eq!(mended.progress()[0]["batchId"], 0);
    assert_eq!((numbers(&bench), refused(&bench)), (vec![1], vec!["two".to_owned()]));
}

#[test]
fn a_row_that_two_calls_refuse_is_one_letter_and_in_no_result() {
    let job = format!("{JOB}{PLACE}")
        .replace("parsed(text) AS n", "parsed(text) AS n, parsed(concat(text, '0')) AS m");
    let bench = bench(&job);
    put(&bench, 0, &["1", "two", "3"]);
    run(&bench).expect_success();
    assert_eq!((numbers(&bench), refused(&bench)), (vec![1, 3], vec!["two".to_owned()]));
}

/// The inner call's row is gone before the outer one is made; a column that it gave is no part of the
/// letter.
#[test]
fn calls_within_calls_refuse_one_after_the_other() {
    let sql = "SELECT id, parsed(concat('1', CAST(parsed(text) AS STRING))) AS n FROM s";
    let bench = bench(&format!("{JOB}{PLACE}").replace("SELECT id, parsed(text) AS n FROM s", sql));
    put(&bench, 0, &["1", "two", "-3"]);
    run(&bench).expect_success();
    assert_eq!(numbers(&bench), [11]);
    let reasons: Vec<Value> =
        rows(&bench, "dead").iter().map(|letter| letter["reason"].clone()).collect();
    let expected = ["\"two\" is not a number", "\"1-3\" is not a number"];
    assert!(expected.iter().all(|reason| reasons.contains(&json!(reason))), "{reasons:?}");
    assert!(!format!("{:?}", rows(&bench, "dead")).contains("__call"));
}

#[test]
fn a_transform_refuses_rows_with_the_columns_that_are_there() {
    let job = format!("{JOB}{PLACE}").replace(
        "sql = \"SELECT id, parsed(text) AS n FROM s\"",
        "sql = \"SELECT id AS n FROM s\"\n[[step]]\nname = \"even\"\nplugin = \"p\"\nfunction = \"only_even\"",
    );
    let bench = bench(&job);
    put(&bench, 0, &["a", "b", "c", "d"]);
    run(&bench).expect_success();
    assert_eq!(numbers(&bench), [0, 2]);
    let letters = rows(&bench, "dead");
    let of = |name: &str| letters.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("step"), ["even", "even"]);
    assert_eq!(of("row"), ["{\"n\":1}", "{\"n\":3}"]);
    assert_eq!(of("reason"), ["1 is odd", "3 is odd"]);
}

#[test]
fn an_aggregate_refuses_rows_for_itself_and_others_count_them() {
    let job = format!("{JOB}{PLACE}")
        .replace(
            "SELECT id, parsed(text) AS n FROM s",
            "SELECT longest(text) AS l, count(*) AS n FROM s",
        )
        .replace("name = \"letters\"\n", "name = \"letters\"\noutput_mode = \"complete\"\n")
        .replace("\"json\"\npath = \"out\"", "\"console\"\noptions = { format = \"json\" }");
    let bench = bench(&job);
    put(&bench, 0, &["a", "and so on…", "bb"]);
    let finished = run(&bench).expect_success();
    assert!(finished.stdout.contains("{\"l\":\"bb\",\"n\":3}"), "{}", finished.stdout);
    let letters = rows(&bench, "dead");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["function"], "longest");
    assert_eq!(letters[0]["row"], "{\"text\":\"and so on…\"}");
}

#[test]
fn more_letters_than_max_rows_fail_the_batch_and_nothing_of_it_is_delivered() {
    let bench = bench(&format!("{JOB}{PLACE}max_rows = 2\n"));
    put(&bench, 0, &["1", "two"]);
    put(&bench, 1, &["x", "y", "z", "4"]);
    let words = [
        "batch 1 failed",
        "at least 3 rows",
        "max_rows is 2",
        "is not a number",
        "step \"numbers\"",
    ];
    run(&bench).expect_failure(1, &words);
    assert_eq!((numbers(&bench), refused(&bench)), (vec![1], vec!["two".to_owned()]));
    // The bound is raised: the same batch.
    bench.write("job.toml", format!("{JOB}{PLACE}max_rows = 3\n"));
    assert_eq!(run(&bench).expect_success().progress()[0]["batchId"], 1);
    assert_eq!(
        (numbers(&bench), refused(&bench)),
        (vec![1, 4], ["two", "x", "y", "z"].map(str::to_owned).to_vec())
    );
}

#[test]
fn a_larger_share_of_letters_than_max_share_fails_the_batch() {
    let bench = bench(&format!("{JOB}{PLACE}max_share = 0.5\n"));
    put(&bench, 0, &["1", "two"]);
    put(&bench, 1, &["x", "y", "3"]);
    let words =
        ["batch 1 failed", "2 rows were refused of 3", "max_share is 0.5", "is not a number"];
    run(&bench).expect_failure(1, &words);
    assert_eq!((numbers(&bench), refused(&bench)), (vec![1], vec!["two".to_owned()]));
}

/// Several partitions refuse side by side, and the place has the same bytes each time.
#[test]
fn the_same_batch_writes_the_same_letters_in_the_same_order() {
    let written = || {
        let bench =
            bench(&format!("{JOB}{PLACE}").replace("scan_partitions = 2", "scan_partitions = 4"));
        let texts: Vec<String> =
            (0..4_000).map(|n| if n % 3 == 0 { format!("x{n}") } else { n.to_string() }).collect();
        put(&bench, 0, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        run(&bench).expect_success();
        refused(&bench)
    };
    let first = written();
    let expected: Vec<String> = (0..4_000).step_by(3).map(|n| format!("x{n}")).collect();
    assert_eq!(first, expected, "by partition, and by row within one");
    assert_eq!(written(), first);
}

/// What makes the next delivery of a file sink fail when it is to be shown.
fn break_commit(bench: &Workbench, directory: &str) -> std::path::PathBuf {
    let in_the_way = bench.path(&format!("{directory}/_spark_metadata/._owner.tmp"));
    std::fs::create_dir(&in_the_way).unwrap();
    in_the_way
}

#[test]
fn letters_that_landed_before_the_sink_failed_are_there_once() {
    let bench = with_place();
    put(&bench, 0, &["1"]);
    run(&bench).expect_success();
    put(&bench, 1, &["2", "three"]);
    let in_the_way = break_commit(&bench, "out");
    run(&bench).expect_failure(1, &["batch 1 failed", "out/_spark_metadata/_owner"]);
    assert_eq!((numbers(&bench), refused(&bench)), (vec![1], vec!["three".to_owned()]));
    std::fs::remove_dir(in_the_way).unwrap();
    run(&bench).expect_success();
    assert_eq!((numbers(&bench), refused(&bench)), (vec![1, 2], vec!["three".to_owned()]));
    put(&bench, 2, &["four"]);
    run(&bench).expect_success();
    assert_eq!(refused(&bench), ["three", "four"]);
}

#[test]
fn letters_that_cannot_land_keep_the_rows_of_their_batch_from_the_sink() {
    let bench = with_place();
    put(&bench, 0, &["1"]);
    run(&bench).expect_success();
    put(&bench, 1, &["2", "three"]);
    let in_the_way = break_commit(&bench, "dead");
    run(&bench).expect_failure(1, &["batch 1 failed", "dead/_spark_metadata/_owner"]);
    assert_eq!((numbers(&bench), refused(&bench)), (vec![1], vec![]));
    std::fs::remove_dir(in_the_way).unwrap();
    run(&bench).expect_success();
    assert_eq!((numbers(&bench), refused(&bench)), (vec![1, 2], vec!["three".to_owned()]));
}

#[test]
fn killed_at_random_moments_rows_and_letters_are_those_of_an_undisturbed_run() {
    let given = |number: u64| -> Vec<String> {
        (0..6)
            .map(|n| {
                if (number + n).is_multiple_of(4) {
                    format!("x{number}.{n}")
                } else {
                    (number * 10 + n).to_string()
                }
            })
            .collect()
    };
    let fresh = || {
        let bench = with_place();
        for number in 0..crate::crash::files() {
            let texts = given(number);
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            put(&bench, i64::try_from(number).unwrap(), &texts);
        }
        bench
    };
    let undisturbed = fresh();
    run(&undisturbed).expect_success();
    let seed = u64::from(std::process::id()) + 2;
    println!("seed {seed}");
    let killed = fresh();
    crate::crash::run_with_kills(&killed, seed);
    assert_eq!(numbers(&killed), numbers(&undisturbed), "seed {seed}");
    assert_eq!(refused(&killed), refused(&undisturbed), "seed {seed}");
    assert!(refused(&killed).len() > 100);
}

#[test]
fn letters_go_to_a_table_as_well() {
    let place = "[dead_letters]\nformat = \"sqlite\"\npath = \"dead.db\"\noptions = { dbtable = \"refused\" }\n";
    let bench = bench(&format!("{JOB}{place}"));
    put(&bench, 0, &["1", "two"]);
    run(&bench).expect_success();
    let database = rusqlite::Connection::open(bench.path("dead.db")).unwrap();
    let found: (i64, String) = database
        .query_row("SELECT batch_id, row FROM refused", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(found, (0, "{\"id\":1,\"text\":\"two\"}".to_owned()));
}

#[test]
fn a_place_that_cannot_be_is_refused_by_name() {
    let told = |place: &str, words: &[&str]| {
        let bench = bench(&format!("{JOB}{place}"));
        put(&bench, 0, &["1"]);
        run(&bench).expect_failure(2, words);
        assert!(!bench.path(".tidemill").exists() && !bench.path("out").exists());
    };
    told("[dead_letters]\n", &["sink \"dead_letters\"", "path"]);
    told("[dead_letters]\npath = \"dead\"\nmax_row = 1\n", &["max_row", "max_rows"]);
    told("[dead_letters]\npath = \"dead\"\nmax_rows = 0\n", &["max_rows is 0"]);
    told("[dead_letters]\npath = \"dead\"\nmax_share = 2\n", &["max_share is 2", "at most 1"]);
    told("[dead_letters]\npath = \"out\"\n", &["are one place", "out"]);
    told(
        "[dead_letters]\nformat = \"post\"\npath = \"a\"\n",
        &["format \"post\"", "does not exist"],
    );
    told(
        "[dead_letters]\npath = \"dead\"\n[target.dead_letters]\nformat = \"noop\"\n",
        &["[target.dead_letters]"],
    );
}

fn dlq(bench: &Workbench, arguments: &[&str]) -> Finished {
    bench.run(&[&["dlq", "job.toml"], arguments].concat())
}

#[test]
fn letters_are_listed_and_shown() {
    let bench = with_place();
    let nothing = dlq(&bench, &["list"]).expect_success();
    assert!(nothing.stderr.contains("there are no dead letters"), "{}", nothing.stderr);
    put(&bench, 0, &["1", "two", "three"]);
    put(&bench, 1, &["4"]);
    put(&bench, 2, &["five\nlines"]);
    run(&bench).expect_success();

    let listed = dlq(&bench, &["list"]).expect_success().stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    for (line, words) in [
        (lines[0], ["batch", "rows", "function"]),
        (lines[1], ["0 ", "  2  ", "p.parsed  \"two\" is not a number"]),
        (lines[2], ["2 ", "  1  ", "p.parsed  \"five lines\" is not a number"]),
    ] {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    let counts = dlq(&bench, &["list", "--json"]).expect_success().stdout;
    let counts: Vec<Value> =
        counts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&counts[0]["rows"], &counts[1]["batch_id"]), (&json!(2), &json!(2)));

    let shown = dlq(&bench, &["show", "--batch", "2"]).expect_success().stdout;
    assert!(shown.contains("five lines") && !shown.contains("two"), "{shown}");
    let cut = dlq(&bench, &["show", "--limit", "1"]).expect_success();
    assert_eq!(cut.stdout.lines().count(), 2, "{}", cut.stdout);
    assert!(cut.stderr.contains("and 2 more"), "{}", cut.stderr);
    let whole = dlq(&bench, &["show", "--json"]).expect_success().stdout;
    let whole: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(whole, rows(&bench, "dead"));
    let none = dlq(&bench, &["show", "--batch", "1"]).expect_success();
    assert!(none.stderr.contains("no dead letters of batch 1"), "{}", none.stderr);
}

/// What `show --rows` prints is input of the same source.
#[test]
fn refused_rows_are_input_for_a_mended_job() {
    let bench = with_place();
    put(&bench, 0, &["1", "2o"]);
    run(&bench).expect_success();
    let again = dlq(&bench, &["show", "--rows"]).expect_success().stdout;
    assert_eq!(again, "{\"id\":1,\"text\":\"2o\"}\n");
    let mended = format!("{JOB}{PLACE}").replace("parsed(text)", "parsed(replace(text, 'o', '0'))");
    bench.write("job.toml", mended);
    bench.write_input("input/again.json", 1, again);
    run(&bench).expect_success();
    assert_eq!(numbers(&bench), [1, 20]);
}

#[test]
fn letters_are_dropped_by_their_batch_and_the_job_goes_on() {
    let bench = with_place();
    for number in 0..14 {
        put(&bench, number, &["1", &format!("x{number}")]);
    }
    run(&bench).expect_success();
    dlq(&bench, &["drop", "--batch", "3"]).expect_failure(2, &["add --yes"]);
    dlq(&bench, &["drop", "--batch", "99", "--yes"])
        .expect_failure(2, &["no dead letters of batch 99"]);
    dlq(&bench, &["drop"]).expect_failure(2, &["--batch", "--all"]);
    assert_eq!(refused(&bench).len(), 14);

    let third = bench.names("dead").into_iter().find(|name| name.contains("-b00000003")).unwrap();
    let third = bench.path(&format!("dead/{third}"));
    let told = dlq(&bench, &["drop", "--batch", "3", "--yes"]).expect_success();
    assert!(told.stderr.contains("dropped 1 dead letters of batch 3"), "{}", told.stderr);
    assert!(!third.exists());
    dlq(&bench, &["drop", "--batch", "13", "--yes"]).expect_success();
    let left: Vec<String> =
        (0..13).filter(|number| *number != 3).map(|number| format!("x{number}")).collect();
    assert_eq!(refused(&bench), left);
    let shown = dlq(&bench, &["show", "--rows"]).expect_success().stdout;
    assert_eq!(shown.lines().count(), 12, "by the log, too");

    // The log of the directory is folded twice meanwhile.
    for number in 14..30 {
        put(&bench, number, &["1", &format!("x{number}")]);
    }
    run(&bench).expect_success();
    let more = (14..30).map(|number| format!("x{number}"));
    assert_eq!(refused(&bench), left.into_iter().chain(more).collect::<Vec<_>>());

    // A drop that was cut off before the file was removed.
    let last = bench.names("dead").into_iter().find(|name| name.contains("-b00000029")).unwrap();
    let last = bench.path(&format!("dead/{last}"));
    let text = std::fs::read(&last).unwrap();
    dlq(&bench, &["drop", "--all", "--yes"]).expect_success();
    assert_eq!(refused(&bench), [""; 0]);
    std::fs::write(&last, text).unwrap();
    put(&bench, 30, &["x30"]);
    run(&bench).expect_success();
    assert_eq!(refused(&bench), ["x30"]);
    assert_eq!(numbers(&bench).len(), 30);
}

#[test]
fn letters_are_not_dropped_while_the_job_runs() {
    let bench = bench(&format!("{JOB}{PLACE}").replace("trigger = { available_now = true }\n", ""));
    put(&bench, 0, &["one"]);
    let mut child = bench.spawn(&["run", "job.toml", "--progress", "json"]);
    let mut output = crate::reload::lines(child.stderr.take().unwrap());
    output.by_ref().find(|line| line.starts_with('{')).unwrap();
    assert!(dlq(&bench, &["list"]).expect_success().stdout.contains("p.parsed"));
    let pid = child.id().to_string();
    dlq(&bench, &["drop", "--all", "--yes"]).expect_failure(2, &[&pid]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(refused(&bench), ["one"]);
}

#[test]
fn letters_that_cannot_be_read_back_are_told_by_their_place() {
    let told = |place: &str, words: &[&str]| {
        dlq(&bench(&format!("{JOB}{place}")), &["list"]).expect_failure(2, words);
    };
    told("", &["no [dead_letters]"]);
    told(
        "[dead_letters]\nformat = \"sqlite\"\npath = \"d.db\"\noptions = { dbtable = \"t\" }\n",
        &["format \"sqlite\"", "json and parquet"],
    );
    told("[dead_letters]\nformat = \"console\"\n", &["format \"console\""]);
}

#[test]
fn letters_in_parquet_are_shown_as_well() {
    let bench = bench(&format!("{JOB}[dead_letters]\nformat = \"parquet\"\npath = \"dead\"\n"));
    put(&bench, 0, &["1", "two"]);
    run(&bench).expect_success();
    let shown = dlq(&bench, &["show", "--rows"]).expect_success().stdout;
    assert_eq!(shown, "{\"id\":1,\"text\":\"two\"}\n");
}

#[test]
fn letters_land_before_a_handler_is_called_and_once_where_it_is_called_again() {
    let job = |mode: &str| {
        format!("{JOB}{PLACE}")
            .replace("nowhere", "place")
            .replace(
                "targets = [\"place\"]",
                &format!("targets = [\"place\"]\nconfig = {{ mode = \"{mode}\" }}"),
            )
            .replace(
                "format = \"json\"\npath = \"out\"",
                "format = \"foreach_batch\"\nplugin = \"p\"\nfunction = \"handles\"",
            )
    };
    let bench = bench(&job("panic"));
    put(&bench, 0, &["1", "two"]);
    run(&bench).expect_failure(1, &["batch 0 failed", "panicked"]);
    assert_eq!(refused(&bench), ["two"]);
    bench.write("job.toml", job("query"));
    let again = run(&bench).expect_success();
    assert_eq!(refused(&bench), ["two"]);
    assert!(again.stderr.contains("holds dead letters of this batch"), "{}", again.stderr);
}

/// A job over texts, whose values are JSON, with what stands in the value's table and in that of the letters.
fn decoding(value: &str, letters: &str) -> String {
    format!(
        r#"
name = "letters"
trigger = {{ available_now = true }}
options = {{ scan_partitions = 2, retries = 0 }}
[source.s]
format = "text"
path = "input"
options = {{ maxFilesPerTrigger = 1 }}
value = {{ format = "json", schema = "id BIGINT, unread STRUCT<a: INT>" {value} }}
[[step]]
name = "t"
sql = "SELECT s.id FROM s JOIN s AS other ON s.id = other.id"
[sink]
format = "json"
path = "out"
{letters}
"#
    )
}

const UNREADABLE: &str = "{\"id\":1,\"unread\":{\"a\":1}}\nno json\n{\"id\":\"x\"}\n\n{\"id\":2,\"unread\":{\"a\":\"q\"}}\n{\"id\":3}\n";

#[test]
fn a_value_that_cannot_be_read_is_a_dead_letter_whoever_reads_its_fields() {
    let bench = bench(&decoding(", on_error = \"dead_letter\"", PLACE));
    bench.write_input("input/0.txt", 0, UNREADABLE);
    let finished = run(&bench).expect_success();
    let ids = rows(&bench, "out").into_iter().filter_map(|row| row["id"].as_i64());
    assert_eq!(ids.collect::<BTreeSet<_>>(), BTreeSet::from([1, 3]));
    // Once, though the source is read twice; and a blank line is a row of nulls.
    let letters = rows(&bench, "dead");
    let values: Vec<Value> = letters
        .iter()
        .map(|letter| serde_json::from_str::<Value>(letter["row"].as_str().unwrap()).unwrap())
        .map(|row| row["value"].clone())
        .collect();
    let expected = ["no json", "{\"id\":\"x\"}", "{\"id\":2,\"unread\":{\"a\":\"q\"}}"];
    assert_eq!(values, expected.map(|text| json!(text)));
    assert_eq!((&letters[0]["step"], &letters[0]["plugin"]), (&json!("s"), &Value::Null));
    assert!(letters[0]["reason"].as_str().unwrap().contains("no JSON object"));
    assert_eq!(finished.progress()[0]["numInputRows"], 6);
    assert_eq!(finished.progress()[0]["deadLetters"], 3);
    // Without it they are rows of nulls.
    let bench = self::bench(&decoding("", PLACE));
    bench.write_input("input/0.txt", 0, UNREADABLE);
    assert_eq!(run(&bench).expect_success().progress()[0]["deadLetters"], 0);
}

#[test]
fn letters_of_values_need_a_place_and_no_mode() {
    let refused = |value: &str, letters: &str, words: &[&str]| {
        let bench = bench(&decoding(value, letters));
        bench.write_input("input/0.txt", 0, UNREADABLE);
        run(&bench).expect_failure(2, words);
    };
    let on_error = ", on_error = \"dead_letter\"";
    refused(on_error, "", &["source.s.value.on_error", "add [dead_letters]"]);
    let mode = format!("{on_error}, options = {{ mode = \"FAILFAST\" }}");
    refused(&mode, PLACE, &["`on_error = \"dead_letter\"` and `mode`"]);
    let column = format!("{on_error}, options = {{ columnNameOfCorruptRecord = \"c\" }}");
    refused(&column, PLACE, &["columnNameOfCorruptRecord", "leave one of them out"]);
    refused(", on_error = \"skip\"", PLACE, &["\"skip\"", "null, dead_letter"]);
}

/// A job whose last step is this SQL over texts with their times, late by a minute.
fn late_job(mode: &str, sql: &str, letters: &str) -> String {
    format!(
        r#"
name = "letters"
output_mode = "{mode}"
trigger = {{ available_now = true }}
options = {{ scan_partitions = 2, shuffle_partitions = 2, retries = 0 }}
[source.s]
format = "json"
path = "input"
schema = "id BIGINT, t TIMESTAMP"
options = {{ maxFilesPerTrigger = 1 }}
watermark = {{ column = "t", delay = "1 minute" }}
[[step]]
name = "result"
{sql}
[sink]
format = "console"
options = {{ format = "json" }}
[dead_letters]
path = "dead"
{letters}
"#
    )
}

fn put_times(bench: &Workbench, number: i64, times: &[(i64, &str)]) {
    let line = |(id, time): &(i64, &str)| {
        format!("{}\n", json!({"id": id, "t": format!("2026-01-01T{time}Z")}))
    };
    let lines: String = times.iter().map(line).collect();
    bench.write_input(&format!("input/{number}.json"), number, lines);
}

/// The ids of late rows, and all rows that came out.
fn late(mode: &str, sql: &str, letters: &str) -> (Vec<i64>, String) {
    let bench = bench(&late_job(mode, sql, letters));
    put_times(&bench, 0, &[(1, "00:10:00")]);
    put_times(&bench, 1, &[(2, "01:00:00")]);
    // What is late goes by the watermark of the batch before.
    put_times(&bench, 2, &[(9, "01:00:02")]);
    put_times(&bench, 3, &[(3, "00:10:01"), (4, "01:00:01"), (5, "00:20:00")]);
    let finished = run(&bench).expect_success();
    let id = |letter: &Value| {
        let row: Value = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
        row["id"].as_i64().unwrap()
    };
    let letters = rows(&bench, "dead");
    for letter in &letters {
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains("is not after 2026-01-01T00:59:00Z"), "{reason}");
        assert_eq!(letter["step"], Value::Null);
    }
    let mut ids: Vec<i64> = letters.iter().map(id).collect();
    ids.sort_unstable();
    (ids, finished.stdout)
}

#[test]
fn late_rows_are_dead_letters_where_the_job_says_so_and_nothing_else_changes() {
    let window = "sql = \"SELECT window.start AS begun, count(*) AS n, max(id) AS id FROM s \
                  GROUP BY window(t, '5 minutes')\"";
    let session =
        "sql = \"SELECT count(*) AS n, id FROM s GROUP BY session_window(t, '1 minute'), id\"";
    let join = "sql = \"SELECT a.id FROM s AS a JOIN s AS b ON a.id = b.id AND a.t = b.t\"";
    let cases = [
        ("update", window, vec![3, 5]),
        ("append", window, vec![3, 5]),
        ("append", session, vec![3, 5]),
        ("append", "drop_duplicates = { columns = [\"id\", \"t\"] }", vec![3, 5]),
        ("append", "sql = \"SELECT id FROM s\"", vec![]),
        ("complete", window, vec![]),
        // Each side leaves them out.
        ("append", join, vec![3, 3, 5, 5]),
    ];
    for (mode, sql, expected) in cases {
        let (ids, output) = late(mode, sql, "late_rows = \"dead_letter\"");
        assert_eq!(ids, expected, "{mode}: {sql}");
        let (none, without) = late(mode, sql, "");
        assert_eq!((none, without), (vec![], output), "{mode}: {sql}");
    }
}

#[test]
fn so_many_late_rows_as_are_allowed() {
    let window = "sql = \"SELECT count(*) AS n FROM s GROUP BY window(t, '5 minutes')\"";
    let bench = bench(&late_job("update", window, "late_rows = \"dead_letter\"\nmax_rows = 1"));
    put_times(&bench, 0, &[(1, "01:00:00")]);
    put_times(&bench, 1, &[(2, "01:00:01")]);
    put_times(&bench, 2, &[(3, "00:10:01"), (5, "00:20:00")]);
    run(&bench).expect_failure(1, &["max_rows is 1", "a late row"]);
}

/// A job whose plugin panics on negative numbers, with its step.
fn trapping(step: &str) -> Workbench {
    let job = format!(
        r#"
name = "letters"
trigger = {{ available_now = true }}
options = {{ scan_partitions = 1, retries = 0 }}
[source.s]
format = "json"
path = "input"
schema = "n BIGINT"
[plugin.p]
path = "p.wasm"
targets = ["nowhere"]
[target.nowhere]
format = "noop"
[[step]]
name = "t"
{step}
[sink]
format = "json"
path = "out"
[dead_letters]
path = "dead"
max_rows = 5
on_trap = "isolate"
"#
    );
    bench(&job)
}

#[test]
fn rows_with_which_a_function_traps_are_found_and_leave() {
    let all: Vec<i64> =
        (0..100).map(|n| if [7, 8, 50, 99].contains(&n) { -n } else { n }).collect();
    let lines: String = all.iter().map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let fine: Vec<i64> = all.into_iter().filter(|n| *n >= 0).collect();
    let scalar = "sql = \"SELECT panics(n) AS n FROM s\"";
    let transform = "plugin = \"p\"\nfunction = \"panics_on_rows\"";
    for step in [scalar, transform] {
        let bench = trapping(step);
        bench.write_input("input/0.json", 0, &lines);
        run(&bench).expect_success();
        assert_eq!(numbers(&bench), fine, "{step}");
        let letters = rows(&bench, "dead");
        let rows: Vec<&str> = letters.iter().map(|l| l["row"].as_str().unwrap()).collect();
        assert_eq!(rows, ["{\"n\":-7}", "{\"n\":-8}", "{\"n\":-50}", "{\"n\":-99}"], "{step}");
        let reason = letters[0]["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("it panicked at") && reason.ends_with("-7 is negative"),
            "{reason}"
        );
    }
    // A function that traps with everything is broken, and not its rows.
    let bench = trapping(scalar);
    bench.write_input("input/0.json", 0, "{\"n\":-1}\n".repeat(100));
    run(&bench).expect_failure(1, &["max_rows is 5"]);
}

/// A job whose rows go through this step, with which an expression may fail.
fn failing(step: &str, rest: &str) -> Workbench {
    let job = format!(
        r#"
name = "letters"
output_mode = "update"
trigger = {{ available_now = true }}
options = {{ scan_partitions = 2, retries = 0 }}
[source.s]
format = "json"
path = "input"
schema = "id BIGINT, text STRING"
[plugin.p]
path = "p.wasm"
targets = ["nowhere"]
[target.nowhere]
format = "noop"
[[step]]
name = "t"
sql = "{step}"
[sink]
format = "console"
options = {{ format = "json" }}
[dead_letters]
path = "dead"
{rest}
"#
    );
    bench(&job)
}

#[test]
fn rows_with_which_an_expression_fails_leave_where_the_job_says_so() {
    let steps = [
        ("SELECT id, CAST(text AS INT) AS n FROM s", vec![1, 3, 1_000]),
        ("SELECT id, CAST(text AS BIGINT) AS n FROM s WHERE CAST(text AS INT) < 100", vec![1, 3]),
        ("SELECT 1 AS id, sum(CAST(text AS INT)) AS n FROM s", vec![1_004]),
        (
            "SELECT 1 AS id, max(CAST(text AS INT)) FILTER (WHERE 1 / (id - 105) < 2) AS n FROM s",
            vec![1_000],
        ),
        (
            "SELECT CAST(text AS INT) AS n, count(*) AS id FROM s GROUP BY CAST(text AS INT)",
            vec![1, 3, 1_000],
        ),
        ("SELECT id, panics(CAST(text AS INT)) AS n FROM s", vec![1, 3, 1_000]),
        // Some rows fail beside others only.
        (
            "SELECT id, id AS n FROM s WHERE length(text) < 5 AND text <> 'two' AND CAST(text AS INT) > 2",
            vec![102, 104],
        ),
        // Whoever is careful loses nothing.
        ("SELECT id, coalesce(try_cast(text AS INT), 0) AS n FROM s", vec![0, 0, 1, 3, 1_000]),
        (
            "SELECT id, CASE WHEN text RLIKE '^[0-9]{1,4}$' THEN CAST(text AS INT) END AS n FROM s",
            vec![1, 3, 1_000],
        ),
    ];
    for (step, expected) in steps {
        let bench = failing(step, "on_error = \"isolate\"");
        put(&bench, 1, &["1", "two", "3", "99999999999", "1000"]);
        let finished = run(&bench).expect_success();
        let lines = finished.stdout.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        let mut numbers: Vec<i64> = lines.filter_map(|line| line["row"]["n"].as_i64()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, expected, "{step}");
        let is_careful = step.contains("try_cast") || step.contains("CASE");
        let guards = is_careful || step.contains("AND CAST");
        let letters = rows(&bench, "dead");
        let reasons: Vec<&str> = letters.iter().map(|l| l["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons.len(), if guards { 0 } else { 2 }, "{step}: {reasons:?}");
        assert!(reasons.iter().all(|reason| reason.starts_with("[CAST_")), "{step}: {reasons:?}");
        // Without that the batch fails.
        let bench = failing(step, "");
        put(&bench, 1, &["1", "two"]);
        match is_careful {
            true => drop(run(&bench).expect_success()),
            false => drop(run(&bench).expect_failure(1, &["CAST_INVALID_INPUT"])),
        }
    }
}
