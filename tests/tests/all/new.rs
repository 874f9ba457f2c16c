//! `tidemill new`: what it makes builds and runs, and what is there stays.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidemill_tests::{Workbench, plugin, repository};

/// The plugin that is written, in this package: its own tests run with ours.
#[path = "../../../host/src/cli/new/plugin/lib.rs"]
mod written;

const WASM: &str = "wasm32-unknown-unknown";

/// Rows that a job printed as tables, without the lines around them.
fn cells(printed: &str) -> Vec<String> {
    let rows = printed.lines().filter(|line| line.starts_with('|'));
    rows.map(|row| row.split_whitespace().collect()).collect()
}

#[test]
fn a_new_job_is_right_and_runs() {
    let bench = Workbench::new();
    let said = bench.run(&["new", "job", "revenue"]).expect_success().stdout;
    assert!(said.contains("cd revenue\n  tidemill check job.toml\n  tidemill test"), "{said}");
    let names = [".gitignore", "README.md", "input", "job.test", "job.toml"];
    assert_eq!(bench.names("revenue"), names);
    bench.run(&["check", "revenue/job.toml"]).expect_success();
    let tested = bench.run(&["test", "revenue/job.toml"]).expect_success();
    assert_eq!(tested.stdout, "first: ok\n1 case, 0 failed\n");
    let run = ["run", "revenue/job.toml", "--trigger", "available-now"];
    let printed = cells(&bench.run(&run).expect_success().stdout);
    assert_eq!(printed[0], "|hour|item|revenue|");
    for row in ["|2026-01-0109:00:00|books|20.0|", "|2026-01-0110:00:00|games|30.0|"] {
        assert!(printed.iter().any(|printed| printed == row), "{printed:?}");
    }
}

#[test]
fn what_is_there_is_never_overwritten() {
    let bench = Workbench::new();
    bench.write("till/notes.txt", "mine");
    for kind in ["plugin", "job"] {
        bench.run(&["new", kind, "till"]).expect_failure(2, &["till is there already", "--path"]);
    }
    bench.run(&["new", "job", "other", "--path", "till"]).expect_failure(2, &["there already"]);
    bench.run(&["new", "job", "j", "--path", "till/notes.txt"]).expect_failure(2, &["already"]);
    assert_eq!(bench.names("till"), ["notes.txt"]);
    bench.run(&["new", "job", "till", "--path", "a/b"]).expect_success();
    assert!(bench.path("a/b/job.toml").exists());
}

#[test]
fn a_name_that_is_none_says_what_names_are() {
    let bench = Workbench::new();
    for name in ["a b", "../a", "2nd", "täglich", ""] {
        bench.run(&["new", "plugin", name]).expect_failure(2, &["begins with a letter", "--path"]);
    }
    bench.run(&["new", "plugin", "serde"]).expect_failure(2, &["a crate that it needs"]);
    assert_eq!(bench.names(""), [""; 0]);
}

/// Cargo in a project, with what is on this machine already.
fn cargo(project: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = match std::env::var("TIDEMILL_PLUGIN_TOOLCHAIN") {
        Ok(toolchain) => {
            let mut command = Command::new("cargo");
            command.arg(format!("+{toolchain}"));
            command
        }
        Err(_) => Command::new(std::env::var_os("CARGO").expect("cargo runs the tests")),
    };
    command.current_dir(project).args(arguments).arg("--offline");
    command.env_remove("RUSTFLAGS").output().unwrap()
}

/// The command with the compiler that this repository's plugins are built with.
pub(crate) fn with_toolchain(mut command: Command) -> Command {
    if let Ok(toolchain) = std::env::var("TIDEMILL_PLUGIN_TOOLCHAIN") {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    command
}

#[test]
fn what_does_not_build_says_why() {
    let bench = Workbench::new();
    bench
        .run(&["build", "nowhere"])
        .expect_failure(2, &["no Cargo.toml in nowhere", "tidemill new"]);
    bench.write("p/Cargo.toml", "[package]\nname = \"p\"\nedition = \"2024\"\n[workspace]\n");
    bench.write("p/src/lib.rs", "pub fn f() -> u8 { 300 }\n");
    let build = || {
        let arguments = ["build", "p", "--", "--offline", "--target-dir", "target"];
        let output = with_toolchain(bench.command(&arguments)).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, told) = build();
    assert_eq!(status, Some(1), "{told}");
    // The compiler's own words, at the author's line, and what came of it.
    assert!(told.contains("src/lib.rs:1:20") && told.contains("out of range for `u8`"), "{told}");
    assert!(
        told.contains("error: the plugin does not build: cargo ended with exit status"),
        "{told}"
    );
    bench.write("p/src/lib.rs", "pub fn f() -> u8 { 30 }\n");
    let (status, told) = build();
    assert_eq!(status, Some(2), "{told}");
    assert!(told.contains("the crate makes no .wasm file"), "{told}");
}

#[test]
fn a_new_plugin_has_the_sdk_in_it_and_the_versions_that_it_was_tested_with() {
    let bench = Workbench::new();
    bench.run(&["new", "plugin", "till-2"]).expect_success();
    // What other platforms need has not been fetched.
    let arguments =
        ["metadata", "--format-version", "1", "--filter-platform", "wasm32-unknown-unknown"];
    let output = cargo(&bench.path("till-2"), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = std::fs::canonicalize(bench.path("till-2")).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let of_project = |package: &&Value| package["source"].is_null();
    let mut places: Vec<_> = packages.iter().filter(of_project).collect();
    places.sort_by_key(|package| package["name"].as_str());
    let names: Vec<&Value> = places.iter().map(|package| &package["name"]).collect();
    let sdk = ["tidemill-block", "tidemill-plugin", "tidemill-plugin-macros", "tidemill-types"];
    assert_eq!(names, [&sdk[..], &["till-2"]].concat());
    for package in places {
        let place = Path::new(package["manifest_path"].as_str().unwrap());
        assert!(place.starts_with(&root), "{}", place.display());
    }
    // Cargo took from the lock file what it needs, and changed none of it.
    let tested = std::fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let tested: BTreeSet<_> = locked(&tested).collect();
    let written = std::fs::read_to_string(bench.path("till-2/Cargo.lock")).unwrap();
    let of_project = [("till-2", "0.1.0")];
    let other: Vec<_> = locked(&written).filter(|found| !tested.contains(found)).collect();
    assert_eq!(other, of_project);
    assert!(locked(&written).count() < tested.len() / 2);

    bench.run(&["check", "till-2/job.toml"]).expect_failure(2, &["till_2.wasm", "No such file"]);
}

/// The packages in a lock file, with their versions.
fn locked(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("[[package]]\n").skip(1).filter_map(|package| {
        let mut values = package.lines().filter_map(|line| line.split('"').nth(1));
        Some((values.next()?, values.next()?))
    })
}

/// Builds the project "till-2" where the plugins of this repository were built: what it needs is there
/// already. Gives what is said of it.
fn built(bench: &Workbench, place: &str, profile: [&str; 2]) -> String {
    let plugins = plugin("orders");
    let target = plugins.ancestors().nth(2).and_then(Path::to_str).unwrap();
    // The settings of the repository's plugins, so that what was built for them is taken.
    let settings = ["inherits=\"release\"", profile[0], profile[1], "package.\"*\".debug=false"];
    let settings = settings.map(|setting| format!("profile.plugin-dev.{setting}"));
    let mut arguments = vec!["build", "till-2", "--out", place, "--", "--offline"];
    arguments.extend(["--profile", "plugin-dev", "--target-dir", target]);
    arguments.extend(settings.iter().flat_map(|setting| ["--config", setting.as_str()]));
    let output = with_toolchain(bench.command(&arguments)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_same_plugin_is_the_same_bytes_in_two_folders() {
    let bytes = || {
        let bench = Workbench::new();
        bench.run(&["new", "plugin", "till-2"]).expect_success();
        // As deployed. What the compiler keeps between two builds, and where lines are, shows in the bytes.
        built(&bench, "till.wasm", ["incremental=false", "debug=false"]);
        std::fs::read(bench.path("till.wasm")).unwrap()
    };
    let (one, other) = (bytes(), bytes());
    assert!(one == other, "{} bytes, and then {} others", one.len(), other.len());
}

#[test]
fn a_new_plugin_builds_and_its_job_runs() {
    let bench = Workbench::new();
    bench.run(&["new", "plugin", "till-2"]).expect_success();
    // Where `cargo plugin` would have put it.
    let place = format!("till-2/target/{WASM}/release/till_2.wasm");
    let printed = built(&bench, &place, ["incremental=true", "debug=\"line-tables-only\""]);
    for part in ["till_2.wasm: 2 functions\n", "built    wasm32-unknown-unknown with simd128\n"] {
        assert!(printed.contains(part), "{printed}");
    }

    let inspected = bench.run(&["inspect", &place]).expect_success().stdout;
    assert!(inspected.contains("size_class(amount double) → string"), "{inspected}");
    let rows = "till-2/input/0001.json";
    let called = bench.run(&["call", &place, "size_class", "--input", rows]).expect_success();
    assert_eq!(cells(&called.stdout)[1], "|Books|12.5|large|");
    bench.run(&["check", "till-2/job.toml"]).expect_success();
    let tested = bench.run(&["test", "till-2/job.toml"]).expect_success();
    assert_eq!(tested.stdout, "first: ok\n1 case, 0 failed\n");
    let run = ["run", "till-2/job.toml", "--trigger", "available-now"];
    let printed = cells(&bench.run(&run).expect_success().stdout);
    let wanted =
        ["|item|amount|class|", "|books|12.5|large|", "|toys|3.0|small|", "|games|NULL|unknown|"];
    assert_eq!(printed, wanted);
}
