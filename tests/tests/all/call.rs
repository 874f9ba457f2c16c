//! `tidemill call`: one function on some rows, as a batch of a job would call it.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};
use tidemill_tests::{Finished, Workbench, plugin};

/// A bench with two plugins, and rows in `rows.jsonl`.
fn bench(rows: &str) -> Workbench {
    let bench = Workbench::new();
    for name in ["orders", "faulty"] {
        std::fs::copy(plugin(name), bench.path(&format!("{name}.wasm"))).unwrap();
    }
    bench.write("rows.jsonl", rows);
    bench
}

fn call(bench: &Workbench, plugin: &str, function: &str, further: &[&str]) -> Finished {
    let file = format!("{plugin}.wasm");
    let mut arguments = vec!["call", file.as_str(), function, "--input", "rows.jsonl"];
    arguments.extend(further);
    bench.run(&arguments)
}

/// The rows that were printed, and the batch that they are of.
fn rows(finished: Finished) -> Vec<(Value, Value)> {
    let lines = finished.expect_success().stdout;
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["batch_id"].clone(), line["row"].clone())).collect()
}

#[test]
fn a_scalar_stands_beside_its_rows_as_the_console_prints_them() {
    let bench = bench("{\"item\":\"pen\",\"amount\":10}\n{\"amount\":null,\"item\":\"cup\"}\n");
    let printed = call(&bench, "orders", "with_tax", &[]).expect_success().stdout;
    let table = "\
-------------------------------------------
Batch: 0
-------------------------------------------
+----+------+--------+
|item|amount|with_tax|
+----+------+--------+
|pen |10.0  |11.0    |
|cup |NULL  |NULL    |
+----+------+--------+

";
    assert_eq!(printed, table);
    assert_eq!(bench.names(""), ["faulty.wasm", "orders.wasm", "rows.jsonl"]);
}

#[test]
fn arguments_are_found_by_name_and_else_in_the_order_of_the_row() {
    let bench = bench("{\"right\":\"r\",\"left\":null}\n");
    let printed = rows(call(&bench, "faulty", "first_of", &["--format", "json"]));
    assert_eq!(printed[0].1["first_of"], "r");
    bench.write("rows.jsonl", "{\"z\":\"one\",\"a\":\"two\"}\n");
    let printed = rows(call(&bench, "faulty", "first_of", &["--format", "json"]));
    assert_eq!(printed[0].1, json!({"z": "one", "a": "two", "first_of": "one"}));
    bench.write("rows.jsonl", "{\"z\":\"one\"}\n");
    call(&bench, "faulty", "first_of", &[]).expect_failure(
        2,
        &["takes 2 arguments (left string, right string)", "the rows have the columns (z string)"],
    );
}

#[test]
fn a_transform_reads_what_it_declares_and_lets_the_others_through() {
    let order = "{\"order_id\":\"a\",\"user_id\":\"u\",\"amount\":2,\"category\":\" Books\",\"order_time\":\"2026-01-01T00:00:00Z\",\"more\":1}\n";
    let bench = bench(&format!("{order}{}", order.replace(":2,", ":-2,")));
    let printed =
        rows(call(&bench, "orders", "normalise", &["--format", "json", "--batch-id", "7"]));
    let row = json!({
        "order_id": "a",
        "user_id": "u",
        "amount": 2.0,
        "category": "books",
        "order_time": "2026-01-01T00:00:00Z",
        "more": 1,
    });
    assert_eq!(printed, [(json!(7), row)]);
    bench.write("rows.jsonl", "{\"amount\":2}\n");
    call(&bench, "orders", "normalise", &[])
        .expect_failure(2, &["\"normalise\"", "wants a column \"category\"", "amount"]);
}

#[test]
fn columns_of_a_transform_that_declares_none_are_inferred() {
    let bench = bench("{\"n\":1,\"tags\":[\"x\"]}\n{\"n\":2.5}\n");
    let printed = rows(call(&bench, "faulty", "echo", &["--format", "json"]));
    assert_eq!(printed[0].1, json!({"n": 1.0, "tags": ["x"]}));
    assert_eq!(printed[1].1, json!({"n": 2.5, "tags": null}));
}

#[test]
fn rows_come_on_standard_input_too() {
    let bench = bench("");
    let mut command =
        bench.command(&["call", "orders.wasm", "with_tax", "--input", "-", "--format", "json"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"amount\":1}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["row"]["amount"], 1.0);
}

#[test]
fn refused_rows_are_listed_with_their_reasons() {
    let bench = bench("{\"n\":2}\n{\"n\":3}\n{\"n\":5}\n{\"n\":6}\n");
    let finished = call(&bench, "faulty", "only_even", &["--format", "json"]).expect_success();
    assert!(finished.stderr.contains("row 2 is refused: 3 is odd: {\"n\":3}"), "{finished:?}");
    assert!(finished.stderr.contains("2 rows are refused"), "{finished:?}");
    let printed: Vec<Value> = rows(finished).into_iter().map(|(_, row)| row["n"].clone()).collect();
    assert_eq!(printed, [2, 6]);
}

#[test]
fn a_call_that_fails_prints_no_rows_and_ends_with_status_1() {
    let bench = bench("{\"n\":1}\n{\"n\":-2}\n");
    let finished = call(&bench, "faulty", "panics", &[]);
    assert_eq!(finished.stdout, "");
    finished.expect_failure(1, &["\"panics\"", "panicked at", "-2 is negative"]);
}

#[test]
fn settings_reach_the_plugin() {
    let bench = bench("{\"key\":\"greeting\"}\n{\"key\":\"name\"}\n{\"key\":\"none\"}\n");
    let settings = ["--config", "greeting=good day", "--config", "name=\"x\"", "--format", "json"];
    let printed = rows(call(&bench, "faulty", "configured", &settings));
    let values: Vec<&Value> = printed.iter().map(|(_, row)| &row["configured"]).collect();
    assert_eq!(values, [&json!("good day"), &json!("x"), &Value::Null]);
    call(&bench, "faulty", "configured", &["--config", "greeting"])
        .expect_failure(2, &["--config greeting has no `=`", "key=value"]);
}

#[test]
fn what_cannot_be_called_says_what_to_do_instead() {
    let bench = bench("{\"amount\":1}\n");
    call(&bench, "orders", "deliver", &[]).expect_failure(
        2,
        &["\"deliver\" is a foreach_batch function", "format = \"foreach_batch\"", "tidemill run"],
    );
    call(&bench, "orders", "with_tacks", &[]).expect_failure(2, &["did you mean \"with_tax\"?"]);
    call(&bench, "missing", "f", &[]).expect_failure(2, &["there is no file missing.wasm"]);
    let refused = |rows: &str, words: &[&str]| {
        bench.write("rows.jsonl", rows);
        call(&bench, "orders", "with_tax", &[]).expect_failure(2, words);
    };
    refused("\n", &["rows.jsonl: there are no rows in it", "a JSON object a line"]);
    refused("amount\n1\n", &["rows.jsonl: its first row is no JSON"]);
    refused("{\"amount\":\"dear\"}\n", &["Malformed", "rows.jsonl"]);
    std::fs::remove_file(bench.path("rows.jsonl")).unwrap();
    call(&bench, "orders", "with_tax", &[]).expect_failure(2, &["rows.jsonl: it cannot be read"]);
}

#[test]
fn an_aggregate_gives_one_value_for_all_rows() {
    let bench = bench("{\"k\":\"a\",\"x\":1}\n{\"k\":\"b\",\"x\":2}\n{\"k\":\"c\"}\n");
    let printed = rows(call(&bench, "faulty", "mean_of", &["--format", "json"]));
    assert_eq!(printed, [(json!(0), json!({"mean_of": 1.5}))]);
    let longest = call(&bench, "faulty", "longest", &["--format", "json"]);
    assert_eq!(rows(longest)[0].1, json!({"longest": "a"}));
    bench.write("rows.jsonl", "{\"text\":\"so on…\"}\n{\"text\":\"end\"}\n");
    let refused = call(&bench, "faulty", "longest", &["--format", "json"]).expect_success();
    assert!(
        refused.stderr.contains("row 1 is refused: \"so on…\" does not end"),
        "{}",
        refused.stderr
    );
    assert_eq!(rows(refused)[0].1, json!({"longest": "end"}));
}
