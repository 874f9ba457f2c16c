//! Scalars of plugins where SQL takes a function.

use serde_json::{Value, json};
use tidemill_tests::{Workbench, plugin, printed_rows};

/// What a SELECT over one row, `n` = 3 and `s` = "ab", gives.
fn run(select: &str) -> Result<Vec<Value>, String> {
    let bench = Workbench::new();
    std::fs::copy(plugin("faulty"), bench.path("p.wasm")).unwrap();
    bench.write_input("input/0.json", 0, "{\"n\":3,\"s\":\"ab\"}\n");
    bench.write(
        "job.toml",
        format!(
            r#"
trigger = {{ available_now = true }}
[source.r]
format = "json"
path = "input"
schema = "n BIGINT, s STRING"
[plugin.p]
path = "p.wasm"
targets = ["nowhere"]
[target.nowhere]
format = "noop"
[[step]]
name = "t"
sql = "{select}"
[sink]
format = "console"
options = {{ format = "json" }}
"#
        ),
    );
    let finished = bench.run(&["run", "job.toml"]);
    match finished.code {
        Some(0) => Ok(printed_rows(&finished.stdout).into_values().flatten().collect()),
        _ => Err(finished.stderr),
    }
}

#[test]
fn a_scalar_that_gives_several_rows_is_exploded() {
    let points = [json!({"x": 0, "name": "0"}), Value::Null, json!({"x": 2, "name": "2"})];
    let exploded = points.clone().map(|point| json!({"p": point}));
    assert_eq!(run("SELECT explode(points(n)) AS p FROM r").unwrap(), exploded);
    let lateral = points.map(|point| json!({"n": 3, "p": point}));
    let view = "SELECT r.n, v.p FROM r LATERAL VIEW explode(points(r.n)) v AS p";
    assert_eq!(run(view).unwrap(), lateral);
    let inlined = run("SELECT inline(points(n)) FROM r").unwrap();
    assert_eq!(inlined[2], json!({"x": 2, "name": "2"}));
}

#[test]
fn a_scalar_is_named_in_any_case_and_refused_in_a_lambda_by_name() {
    assert_eq!(run("SELECT Parsed('7') AS n FROM r").unwrap(), [json!({"n": 7})]);
    let told = run("SELECT transform(array('7'), t -> parsed(t)) AS n FROM r").unwrap_err();
    assert!(told.contains("parsed") && told.contains("lambda"), "{told}");
}
