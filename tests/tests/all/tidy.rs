//! House rules that a machine can check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tidemill_tests::{Workbench, plugin, repository};
use walkdir::WalkDir;

/// Which package may depend on which of ours. The arrows point one way.
const ARROWS: [(&str, &[&str]); 15] = [
    ("host/types", &[]),
    ("host/core", &["tidemill-types"]),
    ("host/time", &["tidemill-types"]),
    ("host/codec", &["tidemill-types", "tidemill-time"]),
    ("host/block", &["tidemill-types"]),
    ("host/functions", &["tidemill-types", "tidemill-time", "tidemill-codec"]),
    ("host/frontend", &["tidemill-types", "tidemill-time", "tidemill-codec", "tidemill-functions"]),
    (
        "host/plan",
        &[
            "tidemill-types",
            "tidemill-time",
            "tidemill-core",
            "tidemill-codec",
            "tidemill-functions",
            "tidemill-frontend",
        ],
    ),
    ("host/checkpoint", &["tidemill-core"]),
    ("host/plugin", &["tidemill-types", "tidemill-block", "tidemill-core"]),
    ("host/connectors", &["tidemill-types", "tidemill-time", "tidemill-core", "tidemill-codec"]),
    ("host/engine", &["tidemill-types", "tidemill-core", "tidemill-plan", "tidemill-checkpoint"]),
    ("plugin-sdk", &["tidemill-types", "tidemill-block", "tidemill-plugin-macros"]),
    ("plugin-sdk/macros", &["tidemill-types"]),
    ("xtask", &[]),
];

fn files(extension: &str) -> Vec<PathBuf> {
    let skipped = ["target", ".git", "node_modules"];
    WalkDir::new(repository())
        .into_iter()
        .filter_entry(|entry| !skipped.iter().any(|name| entry.file_name() == *name))
        .map(Result::unwrap)
        .filter(|entry| entry.path().extension().is_some_and(|e| e == extension))
        .map(walkdir::DirEntry::into_path)
        .collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn packages_point_one_way() {
    for (package, allowed) in ARROWS {
        let manifest: toml::Table =
            read(&repository().join(package).join("Cargo.toml")).parse().unwrap();
        let ours: BTreeSet<&str> = manifest
            .get("dependencies")
            .and_then(|dependencies| dependencies.as_table())
            .into_iter()
            .flat_map(|dependencies| dependencies.keys())
            .map(String::as_str)
            .filter(|name| name.starts_with("tidemill"))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let extra: Vec<_> = ours.difference(&allowed).collect();
        assert!(extra.is_empty(), "{package} must not depend on {extra:?}");
    }
}

#[test]
fn core_reads_no_clock_and_no_file() {
    let forbidden = ["SystemTime::now", "Instant::now", "std::fs", "tokio", "std::thread"];
    for file in files("rs").iter().filter(|file| file.starts_with(repository().join("host/core"))) {
        let text = read(file);
        for word in forbidden {
            assert!(!text.contains(word), "{} has {word}", file.display());
        }
    }
}

#[test]
fn no_test_is_ignored_and_no_match_is_thrown_away() {
    // Split, so that this file does not find itself.
    let ignore = concat!("#[", "ignore");
    let lost_match = concat!("matches", "!(");
    for file in files("rs") {
        let text = read(&file);
        assert!(!text.contains(ignore), "{} ignores a test", file.display());
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let begins = pair[0].is_empty() || pair[0].ends_with([';', '{', '}']);
            let is_lost = begins && pair[1].starts_with(lost_match) && pair[1].ends_with(");");
            assert!(!is_lost, "{} throws a match away: {}", file.display(), pair[1]);
        }
    }
}

/// Written anew with `TIDEMILL_UPDATE=1`.
#[test]
fn the_schema_of_a_job_is_up_to_date() {
    let path = repository().join("schemas/job.schema.json");
    let generated = tidemill::job::json_schema();
    if std::env::var_os("TIDEMILL_UPDATE").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == generated,
        "schemas/job.schema.json is not what the code says; run the tests with TIDEMILL_UPDATE=1"
    );
}

/// A directory in which the documents' jobs find what they name.
fn shown_bench() -> Workbench {
    let bench = Workbench::new();
    std::fs::create_dir(bench.path("plugins")).unwrap();
    std::fs::create_dir(bench.path("input")).unwrap();
    for name in ["orders", "flights", "visits"] {
        std::fs::copy(plugin(name), bench.path(&format!("plugins/{name}.wasm"))).unwrap();
    }
    let click = "{\"page\":\"home\",\"at\":\"2026-01-01 09:00:00\"}\n";
    bench.write_input("clicks/day=2026-01-01/a.json", 0, click);
    bench
}

/// Jobs in fenced blocks that begin with ```` ```toml job ````.
fn shown_jobs() -> BTreeMap<String, String> {
    let mut jobs = BTreeMap::new();
    for file in files("md") {
        let text = read(&file);
        for (number, block) in text.split("```toml job\n").skip(1).enumerate() {
            let (job, _) = block.split_once("```").expect("a closed block");
            jobs.insert(format!("{} block {}", file.display(), number + 1), job.to_owned());
        }
    }
    jobs
}

#[test]
fn jobs_shown_in_documents_are_right() {
    let jobs = shown_jobs();
    assert!(jobs.len() >= 3, "the documents show jobs");
    let bench = shown_bench();
    for (place, job) in jobs {
        bench.write("job.toml", job);
        let checked = bench.run(&["check", "job.toml"]);
        assert_eq!(checked.code, Some(0), "{place}\n{}", checked.stderr);
    }
}

#[test]
fn jobs_of_the_examples_are_right() {
    let jobs: Vec<PathBuf> = files("toml")
        .into_iter()
        .filter(|file| file.starts_with(repository().join("examples")))
        .filter(|file| file.file_name().is_some_and(|name| name == "job.toml"))
        .collect();
    assert!(jobs.len() >= 2);
    for job in jobs {
        let checked = Workbench::new().run(&["check", job.to_str().unwrap()]);
        assert_eq!(checked.code, Some(0), "{}\n{}", job.display(), checked.stderr);
    }
}

/// Names of metrics in the first cells of a document's tables.
fn shown_metrics(document: &str) -> BTreeSet<String> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| Some(row.split_once('`')?.0));
    let is_metric = |name: &&str| name.starts_with("tidemill_") || name.starts_with("process_");
    names.filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn the_table_of_metrics_has_those_that_are_served() {
    let shown = shown_metrics(&read(&repository().join("docs/guide/operations.md")));
    let board = tidemill::observe::Board::new();
    let served: BTreeSet<String> = board.metric_names().iter().cloned().collect();
    let unexplained: Vec<_> = served.difference(&shown).collect();
    assert!(unexplained.is_empty(), "docs/guide/operations.md lacks {unexplained:?}");
    let unknown: Vec<_> = shown.difference(&served).collect();
    assert!(unknown.is_empty(), "docs/guide/operations.md shows {unknown:?}, which is not served");
}

/// Names of slices in the table of the document about traces.
fn shown_slices() -> BTreeSet<String> {
    let document = read(&repository().join("docs/performance.md"));
    let (_, table) = document.split_once("| slice |").expect("a table of slices");
    let (table, _) = table.split_once("\n\n").expect("the table ends");
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    cells.flat_map(|(names, _)| names.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn the_table_of_slices_has_those_that_the_program_makes() {
    let sources = ["host/engine/src", "host/plan/src"].map(|folder| repository().join(folder));
    let mut made = BTreeSet::new();
    for file in files("rs").iter().filter(|file| sources.iter().any(|s| file.starts_with(s))) {
        let text: String = read(file).split_whitespace().collect();
        for start in ["section!(\"", "target:TRACE_TARGET,\""] {
            let names = text.split(start).skip(1).filter_map(|rest| rest.split_once('"'));
            made.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
    assert!(made.len() > 15, "{made:?}");
    assert_eq!(shown_slices(), made, "docs/performance.md, and what the program makes");
}

#[test]
fn the_plugin_in_c_is_built_as_the_document_says() {
    let document = read(&repository().join("docs/guide/other-languages.md"));
    let section = document.split("\n## ").find(|part| part.starts_with("In C\n")).unwrap();
    let block = |language: &str| {
        let (_, rest) = section.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let world = read(&repository().join("plugins/bare-c/bare.wit"));
    assert!(world.ends_with(block("wit")), "{world}");
    // What includes and names files differs, as they lie elsewhere.
    let chore = read(&repository().join("xtask/src/c_plugins.rs"));
    let clang = block("sh").lines().find(|line| line.starts_with("clang ")).unwrap();
    let flags = clang.split(' ').filter(|word| word.starts_with('-'));
    for flag in flags.filter(|flag| !flag.starts_with("-I") && *flag != "-o") {
        assert!(chore.contains(&format!("\"{flag}\"")), "{flag} is not a flag of the chore");
    }
}
