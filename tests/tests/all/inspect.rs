//! `tidemill inspect`: what a plugin says of itself, and what is said of files that are none.

use serde_json::{Value, json};
use tidemill_tests::{Finished, Workbench, plugin};

/// A bench with the plugin of the orders.
fn bench() -> Workbench {
    let bench = Workbench::new();
    std::fs::copy(plugin("orders"), bench.path("orders.wasm")).unwrap();
    bench
}

fn answer(finished: Finished) -> Value {
    serde_json::from_str(&finished.expect_success().stdout).unwrap()
}

#[test]
fn a_person_reads_functions_columns_documentation_and_grants() {
    let bench = bench();
    let text = bench.run(&["inspect", "orders.wasm"]).expect_success().stdout;
    let has = |line: &str| assert!(text.contains(line), "no \"{line}\" in:\n{text}");
    has("orders.wasm: 3 functions\n");
    has(
        "\nwith_tax(amount double) → double\n  scalar, deterministic\n  | Callable in SQL as `with_tax(amount)`.",
    );
    has("\nnormalise\n  transform, deterministic\n  reads  amount double, category string\n  \
         sets   category string; lets the others through\n  | Drops the");
    has("\ndeliver\n  foreach_batch, deterministic\n  | Spark's `foreachBatch");
    has("tidemill:plugin/ledger@0.2.0");
    assert_eq!(bench.names(""), ["orders.wasm"]);
}

#[test]
fn a_program_reads_the_same_as_json() {
    let bench = bench();
    let found = answer(bench.run(&["inspect", "orders.wasm", "--json"]));
    let bytes = std::fs::read(bench.path("orders.wasm")).unwrap();
    assert_eq!(found["bytes"], bytes.len());
    assert_eq!(found["digest"], tidemill_core::Digest::of(&bytes).to_string());
    let functions = found["functions"].as_array().unwrap();
    let names: Vec<&Value> = functions.iter().map(|function| &function["name"]).collect();
    assert_eq!(names, ["with_tax", "normalise", "deliver"]);
    assert_eq!(functions[0]["input"], "amount double");
    assert_eq!(functions[0]["deterministic"], true);
    assert_eq!(functions[1]["kind"], "transform");
    assert_eq!(functions[1]["input"], "amount double, category string");
    assert_eq!(functions[1]["output"], "category string");
    assert_eq!(functions[1]["passes_others"], true);
    assert_eq!(functions[2]["input"], Value::Null);
}

#[test]
fn what_a_plugin_imports_is_listed_with_its_grant() {
    let bench = Workbench::new();
    std::fs::copy(plugin("faulty"), bench.path("p.wasm")).unwrap();
    let found = answer(bench.run(&["inspect", "p.wasm", "--json"]));
    let imports = found["imports"].as_array().unwrap();
    let grants = |interface: &str| {
        let import = imports.iter().find(|import| import["interface"] == interface);
        import.unwrap_or_else(|| panic!("{imports:?}"))["grant"].clone()
    };
    assert_eq!(grants("tidemill:plugin/target@0.2.0"), json!("targets"));
    assert_eq!(grants("tidemill:plugin/log@0.2.0"), Value::Null);
    let text = bench.run(&["inspect", "p.wasm"]).expect_success().stdout;
    assert!(text.contains("only with `targets` in [plugin.p]"), "{text}");
    let mean = "\nmean_of(x double) → double\n  aggregate, deterministic\n  state  sum double not null, count bigint not null\n";
    assert!(text.contains(mean), "{text}");
    let functions = found["functions"].as_array().unwrap();
    let mean = functions.iter().find(|function| function["name"] == "mean_of").unwrap();
    let value = |column: &str| json!({"column": column, "kind": "value", "ttl_micros": null});
    let state = [value("sum double not null"), value("count bigint not null")];
    assert_eq!(mean["state"], json!(state));
    let brief =
        "\nbrief\n  stateful, deterministic\n  key    k string\n  takes  what string not null";
    assert!(text.contains(brief), "{text}");
    let kept = "  keeps  texts array<string>, a list, forgotten after 1 second\n";
    assert!(text.contains(kept), "{text}");
    assert!(text.contains("\n  starts what string not null"), "{text}");
}

#[test]
fn files_that_are_no_plugin_are_refused_with_what_to_do() {
    let bench = Workbench::new();
    let refused = |words: &[&str]| {
        bench.run(&["inspect", "p.wasm"]).expect_failure(2, words);
    };
    refused(&["there is no file p.wasm", "cargo build --release --target wasm32-unknown-unknown"]);
    bench.write("p.wasm", "not wasm");
    refused(&["plugin \"p\"", "not WebAssembly", "begins with \"not wasm\""]);
    bench.write("p.wasm", b"\0asm\x01\0\0\0");
    refused(&["is no plugin for this host", "plugin! { … }"]);
    // A hole of more than 64 MiB, which takes no room.
    let large = std::fs::File::create(bench.path("p.wasm")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    refused(&["67108865 bytes", "limit is 67108864", "strip = true"]);
    std::fs::remove_file(bench.path("p.wasm")).unwrap();
    std::fs::create_dir(bench.path("p.wasm")).unwrap();
    refused(&["p.wasm", "not a regular file"]);
}
