//! How large and how deep a query may be: hundreds of terms, columns and names are planned at once,
//! and what is beyond a bound is refused by name. Nothing ends the process.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use futures::StreamExt;
use tidemill_core::MemoryBudget;
use tidemill_plan::{FrameRows, FrameTable, Frames, QueryMemory};
use tidemill_tests::{Finished, Workbench, tidemill};

const JOB: &str = r#"
output_mode = "append"
trigger = { available_now = true }

[source.events]
format = "json"
path = "input"
schema = "SCHEMA"

[[step]]
name = "out"
sql = '''
QUERY
'''
[sink]
format = "console"
options = { format = "json" }
"#;

const SCHEMA: &str = "s STRING, i BIGINT, d DOUBLE, b BOOLEAN, a ARRAY<BIGINT>, k INT";

fn bench(query: &str) -> Workbench {
    let bench = Workbench::new();
    bench.write("job.toml", JOB.replace("SCHEMA", SCHEMA).replace("QUERY", query));
    bench.write_input(
        "input/0.json",
        0,
        r#"{"s": "a", "i": 1, "d": 0.5, "b": true, "a": [1, 2], "k": 3}"#.to_owned() + "\n",
    );
    bench
}

/// Seconds of processor time: what goes on for ever is ended, and fails.
const SECONDS_MAX: &str = "ulimit -t 180; exec \"$0\" \"$@\"";

/// Runs the command in a bench, with a bound on the time that it takes.
fn command(bench: &Workbench, verb: &str) -> Finished {
    let output = Command::new("sh")
        .args(["-c", SECONDS_MAX])
        .arg(tidemill())
        .args([verb, "job.toml"])
        .current_dir(bench.path(""))
        .output()
        .expect("the command starts");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn run(query: &str) -> Finished {
    command(&bench(query), "run")
}

#[track_caller]
fn gives(name: &str, query: &str, row: &str) {
    let finished = run(query);
    assert_eq!(finished.code, Some(0), "{name}: {}", finished.stderr);
    assert!(finished.stdout.contains(row), "{name}: {}", finished.stdout);
}

#[track_caller]
fn is_refused(name: &str, query: &str, words: &str) {
    let finished = command(&bench(query), "check");
    assert_eq!(finished.code, Some(2), "{name}: {}", finished.stderr);
    assert!(finished.stderr.contains(words), "{name}: {}", finished.stderr);
    assert!(finished.stderr.len() < 4_000, "{name}: {}", finished.stderr.len());
}

fn repeated(text: &str, count: usize, between: &str) -> String {
    vec![text; count].join(between)
}

fn numbered(count: usize, between: &str, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect::<Vec<_>>().join(between)
}

#[test]
fn hundreds_of_everything_are_planned() {
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("SELECT {}{inner}{} AS x FROM events", open.repeat(depth), close.repeat(depth))
    };
    let columns = numbered(1_000, ", ", |n| format!("i + {n} AS c{n}"));
    let chain = numbered(60, ", ", |n| match n {
        0 => "i + i AS c0".to_owned(),
        n => format!("c{0} - c{0} + 1 AS c{n}", n - 1),
    });
    for (name, query, row) in [
        ("a sum", format!("SELECT {} AS x FROM events", repeated("i", 100, " + ")), r#"{"x":100}"#),
        (
            "texts",
            format!("SELECT length({}) AS x FROM events", repeated("s", 200, " || ")),
            r#"{"x":200}"#,
        ),
        (
            "AND",
            format!(
                "SELECT i AS x FROM events WHERE {}",
                numbered(500, " AND ", |n| format!("i <> {}", n + 2))
            ),
            r#"{"x":1}"#,
        ),
        (
            "OR",
            format!(
                "SELECT i AS x FROM events WHERE {}",
                numbered(500, " OR ", |n| format!("(d > {n} AND i < {n}) OR k = 3"))
            ),
            r#"{"x":1}"#,
        ),
        ("columns", format!("SELECT {columns} FROM events"), "\"c999\":1000"),
        ("aliases", format!("SELECT {chain} FROM events"), "\"c59\":1"),
        (
            "IN",
            format!(
                "SELECT i AS x FROM events WHERE i IN ({})",
                numbered(20_000, ", ", |n| n.to_string())
            ),
            r#"{"x":1}"#,
        ),
        (
            "WHEN",
            format!(
                "SELECT CASE {} END AS x FROM events",
                numbered(1_000, " ", |n| format!("WHEN i = {n} THEN {n}"))
            ),
            r#"{"x":1}"#,
        ),
        ("logarithms", nested("ln(", "i", ")", 100), r#"{"x":null}"#),
        ("calls", nested("abs(", "i", ")", 100), r#"{"x":1}"#),
        ("coalesce", nested("coalesce(", "i", ", 1 / k)", 10), r#"{"x":1.0}"#),
        ("coalesce over calls", nested("coalesce(abs(", "i", "), 0)", 50), r#"{"x":1}"#),
        ("parentheses", nested("(", "i", ")", 200), r#"{"x":1}"#),
        ("CASE", nested("CASE WHEN b THEN ", "i", " END", 200), r#"{"x":1}"#),
        ("NOT", nested("NOT ", "b", "", 200), r#"{"x":true}"#),
        ("casts", nested("", "i", "::int", 100), r#"{"x":1}"#),
        ("UNION ALL", repeated("SELECT i AS x FROM events", 200, " UNION ALL "), r#"{"x":1}"#),
        (
            "queries",
            format!(
                "SELECT x FROM {}events{}",
                "(SELECT i AS x, i FROM ".repeat(100),
                ")".repeat(100)
            ),
            r#"{"x":1}"#,
        ),
        (
            "WITH",
            format!(
                "WITH {} SELECT i AS x FROM q99",
                numbered(100, ", ", |n| match n {
                    0 => "q0 AS (SELECT i FROM events)".to_owned(),
                    n => format!("q{n} AS (SELECT i FROM q{})", n - 1),
                })
            ),
            r#"{"x":1}"#,
        ),
    ] {
        gives(name, &query, row);
    }
}

#[test]
fn a_chain_of_aliases_does_not_double_below_a_filter() {
    let chain = numbered(60, ", ", |n| match n {
        0 => "i + i AS c0".to_owned(),
        n => format!("c{0} - c{0} + 1 AS c{n}", n - 1),
    });
    gives(
        "a filter",
        &format!("SELECT c59 AS x FROM (SELECT {chain} FROM events) WHERE c59 > 0"),
        r#"{"x":1}"#,
    );
    let steps = |from: &str| {
        (0..60).fold(from.to_owned(), |from, _| format!("(SELECT c - c + 1 AS c FROM {from})"))
    };
    let below = |from: &str| format!("SELECT c AS x FROM {} WHERE c > 0", steps(from));
    gives("queries", &below("(SELECT i AS c FROM events)"), r#"{"x":1}"#);
    // The filter could make it an inner join.
    let outer = "(SELECT r.c FROM events LEFT JOIN (SELECT 1 AS c) AS r ON i = c)";
    gives("queries over an outer join", &below(outer), r#"{"x":1}"#);
}

#[test]
fn what_is_beyond_a_bound_is_refused_by_name() {
    for depth in [1_000, 50_000] {
        let nested = |open: &str, inner: &str, close: &str| {
            format!("SELECT {}{inner}{} AS x FROM events", open.repeat(depth), close.repeat(depth))
        };
        let select = |expression: String| format!("SELECT {expression} AS x FROM events");
        for (name, query) in [
            ("a sum", select(repeated("i", depth, " + "))),
            ("texts", select(repeated("s", depth, " || "))),
            ("signs", select(format!("i{}", " - -1".repeat(depth)))),
            ("minus", nested("- ", "i", "")),
            ("BETWEEN", select(format!("{}2", "i BETWEEN 1 AND ".repeat(depth)))),
            ("casts", nested("", "i", "::int")),
            ("NOT", nested("NOT ", "b", "")),
            ("calls", nested("abs(", "i", ")")),
            ("parentheses", nested("(", "i", ")")),
            ("CASE", nested("CASE WHEN b THEN ", "i", " END")),
            ("arrays", nested("array(", "i", ")")),
            ("structs", nested("struct(", "i", ")")),
            (
                "queries",
                format!(
                    "SELECT 1 AS x FROM {}events{}",
                    "(SELECT i FROM ".repeat(depth),
                    ")".repeat(depth)
                ),
            ),
        ] {
            is_refused(&format!("{depth} {name}"), &query, "");
            let finished = command(&bench(&query), "check");
            let says = ["are within one another", "words and signs", "may have", "more than 1 MiB"];
            assert!(
                says.iter().any(|words| finished.stderr.contains(words)),
                "{name}: {}",
                finished.stderr
            );
        }
        is_refused(
            "a type",
            &select(format!("CAST(s AS {}INT{})", "ARRAY<".repeat(depth), ">".repeat(depth))),
            "types within one another",
        );
        is_refused(
            "a type",
            &select(format!("s::INT{}", "[]".repeat(depth))),
            "types within one another",
        );
    }
    for (name, query, words) in [
        (
            "AND",
            format!(
                "SELECT i FROM events WHERE {}",
                numbered(50_000, " AND ", |n| format!("i <> {n}"))
            ),
            "terms",
        ),
        (
            "columns",
            format!("SELECT {} FROM events", numbered(6_000, ", ", |n| format!("i AS c{n}"))),
            "may name 5000",
        ),
        (
            "more columns",
            format!("SELECT {} FROM events", numbered(70_000, ", ", |n| format!("i AS c{n}"))),
            "words and signs",
        ),
        ("UNION ALL", repeated("SELECT i FROM events", 3_000, " UNION ALL "), "SELECTs"),
        (
            "WITH",
            format!(
                "WITH {} SELECT i FROM q2999",
                numbered(3_000, ", ", |n| match n {
                    0 => "q0 AS (SELECT i FROM events)".to_owned(),
                    n => format!("q{n} AS (SELECT i FROM q{})", n - 1),
                })
            ),
            "queries are within one another",
        ),
        (
            "WITH that doubles",
            format!(
                "WITH {} SELECT i FROM q40",
                numbered(41, ", ", |n| match n {
                    0 => "q0 AS (SELECT i FROM events)".to_owned(),
                    n =>
                        format!("q{n} AS (SELECT i FROM q{0} UNION ALL SELECT i FROM q{0})", n - 1),
                })
            ),
            "SELECTs",
        ),
        (
            "stars of stars",
            format!("FROM events {}", repeated("|> SELECT *, *", 40, " ")),
            "with those that its stars stand for",
        ),
        (
            "types that double",
            format!(
                "SELECT i AS c0, {} FROM events",
                numbered(40, ", ", |n| format!("struct(c{n}, c{n}) AS c{}", n + 1))
            ),
            "more than 10000 fields",
        ),
        (
            "operators that the dialect reads",
            format!("SELECT {} AS x FROM events", repeated("i", 60_000, " DIV ")),
            "follow one another",
        ),
        (
            "windows of windows",
            "SELECT sum(i) OVER w AS x FROM events WINDOW v AS (ORDER BY i), w AS (ORDER BY sum(i) OVER v)".to_owned(),
            "reads another window",
        ),
        (
            "sets of groups",
            format!(
                "SELECT count(*) AS n FROM events GROUP BY ROLLUP ({})",
                numbered(1_000, ", ", |n| format!("i + {n}"))
            ),
            "Grouping sets size cannot be greater than 64",
        ),
        (
            "a long text",
            format!("SELECT '{}' AS x FROM events", "x".repeat(100_000)),
            "put it into a table",
        ),
        (
            "a very long text",
            format!("SELECT '{}' AS x FROM events", "x".repeat(5_000_000)),
            "more than 1 MiB",
        ),
    ] {
        is_refused(name, &query, words);
    }
}

#[test]
fn steps_that_double_are_refused() {
    let bench = bench("SELECT i FROM events");
    let job = JOB.replace("SCHEMA", SCHEMA).replace("QUERY", "SELECT i FROM events");
    let (head, sink) = job.split_at(job.find("[sink]").unwrap());
    let steps = numbered(40, "\n", |n| {
        let from = if n == 0 { "out".to_owned() } else { format!("q{}", n - 1) };
        format!(
            "[[step]]\nname = \"q{n}\"\nsql = \"SELECT i FROM {from} UNION ALL SELECT i FROM {from}\""
        )
    });
    bench.write("job.toml", format!("{head}{steps}\n{sink}"));
    command(&bench, "check").expect_failure(2, &["SELECTs", "as often as it is read"]);

    // A WITH within the query has the name of the step, and is small.
    let steps = numbered(40, "\n", |n| {
        let from = if n == 0 { "out".to_owned() } else { format!("q{}", n - 1) };
        format!(
            "[[step]]\nname = \"q{n}\"\nsql = \"SELECT i + (WITH {from} AS (SELECT 1 AS i) SELECT max(i) FROM {from}) AS i FROM {from} UNION ALL SELECT i FROM {from}\""
        )
    });
    bench.write("job.toml", format!("{head}{steps}\n{sink}"));
    command(&bench, "check").expect_failure(2, &["SELECTs", "as often as it is read"]);
}

#[test]
fn a_schema_has_a_bound() {
    let deep = format!("x {}INT{}", "ARRAY<".repeat(50_000), ">".repeat(50_000));
    let wide = numbered(50_000, ", ", |n| format!("c{n} INT"));
    for (schema, words) in [(deep, "at most 100 nested types"), (wide, "at most 10000 fields")] {
        let bench = Workbench::new();
        bench.write(
            "job.toml",
            JOB.replace("SCHEMA", &schema).replace("QUERY", "SELECT 1 FROM events"),
        );
        command(&bench, "check").expect_failure(2, &[words]);
    }
}

#[test]
fn a_value_has_a_bound_that_is_known_before_it_is_made() {
    let constants = [
        "repeat('x', 2147483647)",
        "repeat(s, 2147483647)",
        "lpad('a', 2147483647, 'b')",
        "rpad('a', 2147483647, 'b')",
        "lpad(s, 2147483647, 'b')",
        "space(2147483647)",
        "space(k + 2000000000)",
        "array_repeat(1, 2147483647)",
        "array_repeat(i, 2147483647)",
        "format_string('%2147483647d', 1)",
        "format_string('%999999999s', s)",
        "levenshtein(repeat('a', 20000), repeat('b', 20000))",
        "levenshtein(repeat(s, 20000), repeat(s, 20000))",
        "replace(repeat(s, 100000), 'a', repeat('x', 60000))",
        "regexp_replace(repeat(s, 100000), 'a', repeat('x', 60000))",
    ];
    for expression in constants {
        let finished = run(&format!("SELECT {expression} AS x FROM events"));
        assert!(matches!(finished.code, Some(1 | 2)), "{expression}: {finished:?}");
        assert!(finished.stderr.contains("may "), "{expression}: {}", finished.stderr);
        assert!(!finished.stderr.contains("panicked"), "{expression}: {}", finished.stderr);
    }
    let doubled = numbered(40, ", ", |n| match n {
        0 => "concat(s, s) AS c0".to_owned(),
        n => format!("concat(c{0}, c{0}) AS c{n}", n - 1),
    });
    let finished = run(&format!("SELECT length(c39) AS x FROM (SELECT {doubled} FROM events)"));
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("concat() would give"), "{}", finished.stderr);
}

#[test]
fn a_text_that_is_padded_to_less_than_nothing_is_empty() {
    gives("lpad", "SELECT lpad(s, i - 5, 'x') AS x FROM events", r#"{"x":""}"#);
    gives("rpad", "SELECT rpad(s, -1, 'x') AS x FROM events", r#"{"x":""}"#);
    gives("lpad", "SELECT lpad(s, 3, 'x') AS x FROM events", r#"{"x":"xxa"}"#);
}

#[test]
fn a_name_is_refused_that_leaves_its_directory_or_has_control_characters() {
    let job = JOB.replace("SCHEMA", SCHEMA).replace("QUERY", "SELECT i FROM events");
    for (name, words) in [
        ("a\\u0000b", "control character"),
        ("a\\nb", "control character"),
        ("../x", "no name for a directory"),
        ("..", "no name for a directory"),
        ("/tmp/x", "no name for a directory"),
        ("", "no name"),
    ] {
        let bench = Workbench::new();
        bench.write("job.toml", format!("name = \"{name}\"\n{job}"));
        bench.write("input/0.json", "{}\n");
        for verb in ["check", "run"] {
            bench.run(&[verb, "job.toml"]).expect_failure(2, &["job.toml", words]);
        }
        assert_eq!(bench.names(""), ["input", "job.toml"]);
    }
    let bench = Workbench::new();
    bench.write("job.toml", format!("{job}\n[plugin.\"a\\u0000b\"]\npath = \"x.wasm\"\n"));
    bench.run(&["check", "job.toml"]).expect_failure(2, &["plugin", "control character"]);
}

/// One table of so many rows in one block, for a handler's SQL.
struct OneBlock(usize);

impl FrameRows for OneBlock {
    fn read(&self) -> Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send> {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![1; self.0]));
        Box::new(std::iter::once(RecordBatch::try_from_iter([("n", n)])))
    }
}

/// What a handler's SQL gives of one row: rows, or the reason why not.
fn handler(text: &str) -> Result<usize, String> {
    handler_of(text, 1, MemoryBudget::unlimited())
}

/// What it gives of so many rows, with so much memory for the process.
fn handler_of(text: &str, rows: usize, memory: MemoryBudget) -> Result<usize, String> {
    let _held = crate::planning();
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    let block = Arc::new(OneBlock(rows));
    let table = FrameTable { name: "batch".to_owned(), schema: Arc::new(schema), rows: block };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let memory = QueryMemory::new(memory, Path::new("unused")).unwrap();
    let frames = Frames::in_zone("UTC");
    runtime.block_on(async {
        let said = |error: tidemill_plan::PlanError| error.to_string();
        let mut found = frames.sql(text, &[table], &memory.call()).await.map_err(said)?;
        let mut rows = 0;
        while let Some(block) = found.rows.next().await {
            rows += block.map_err(said)?.num_rows();
        }
        Ok(rows)
    })
}

#[test]
fn what_a_select_makes_of_a_block_has_a_bound_over_all_columns() {
    const BLOCK: usize = 8_192;
    let little = || MemoryBudget::new(57 << 20);
    let plenty = MemoryBudget::unlimited;
    let columns = |count: usize, column: &dyn Fn(usize) -> String| {
        format!("SELECT {} FROM batch", numbered(count, ", ", |n| format!("{} AS c{n}", column(n))))
    };
    let constant = |n: usize| format!("repeat('x', {})", 60_000 - n);
    let call = |n: usize| format!("repeat('xxxxxxxxxx', n + {})", 2_500 + n);
    for (name, text, rows, memory) in [
        ("constants", columns(20, &constant), BLOCK, plenty()),
        ("calls", columns(20, &call), BLOCK, plenty()),
        ("constants of a small process", columns(1, &constant), BLOCK, little()),
        ("calls of a small process", columns(1, &call), BLOCK, little()),
        (
            "arguments",
            columns(1, &|_| format!("length(concat({}))", numbered(20, ", ", call))),
            BLOCK,
            plenty(),
        ),
        ("aggregates", columns(20, &|n| format!("max({})", call(n))), BLOCK, plenty()),
        (
            "a filter",
            format!("SELECT 1 FROM batch WHERE concat({}) = 'x'", numbered(20, ", ", call)),
            BLOCK,
            plenty(),
        ),
    ] {
        let reason = handler_of(&text, rows, memory).err().unwrap_or_default();
        let says = ["that a SELECT computes", "that there are for it", "and one may have"];
        assert!(says.iter().any(|words| reason.contains(words)), "{name}: {reason}");
        assert_eq!(reason.contains("raise options.memory"), name.contains("small"), "{reason}");
    }
    for (name, text, rows, memory) in [
        ("constants of few rows", columns(20, &constant), 10, little()),
        ("calls of few rows", columns(20, &call), 20, little()),
        ("numbers", columns(2_000, &|n| format!("n + {n}")), BLOCK, plenty()),
        ("numbers of a small process", columns(200, &|n| format!("n + {n}")), BLOCK, little()),
        (
            "a chain of calls",
            columns(1, &|_| format!("'x'{}", " || CAST(n AS STRING) || ','".repeat(20))),
            BLOCK,
            little(),
        ),
    ] {
        let found = handler_of(&text, rows, memory);
        assert_eq!(found, Ok(rows), "{name}");
    }
}

#[test]
fn handlers_have_the_same_bounds() {
    let select = |expression: String| format!("SELECT {expression} AS x FROM batch");
    for (name, text) in [
        ("a sum", select(repeated("n", 50, " + "))),
        ("UNION ALL", repeated("SELECT n FROM batch", 50, " UNION ALL ")),
        ("casts", select(format!("n{}", "::int".repeat(50)))),
        (
            "AND",
            format!(
                "SELECT n FROM batch WHERE {}",
                numbered(1_000, " AND ", |n| format!("n <> {}", n + 2))
            ),
        ),
        (
            "columns",
            format!("SELECT {} FROM batch", numbered(500, ", ", |n| format!("n + {n} AS c{n}"))),
        ),
    ] {
        let rows = handler(&text);
        assert!(rows.as_ref().is_ok_and(|rows| *rows >= 1), "{name}: {rows:?}");
    }
    for (name, text, words) in [
        ("a sum", select(repeated("n", 3_000, " + ")), "within one another"),
        ("UNION ALL", repeated("SELECT n FROM batch", 3_000, " UNION ALL "), "SELECTs"),
        ("casts", select(format!("n{}", "::int".repeat(20_000))), "within one another"),
        ("NOT", select(format!("{}true", "NOT ".repeat(20_000))), "within one another"),
        (
            "AND",
            format!(
                "SELECT 1 FROM batch WHERE {}",
                numbered(50_000, " AND ", |n| format!("n <> {n}"))
            ),
            "terms",
        ),
        ("a text", select("repeat('x', 1000000)".to_owned()), "may have"),
    ] {
        let reason = handler(&text).err().unwrap_or_default();
        assert!(reason.contains(words), "{name}: {reason}");
    }
}
