//! Inputs without rows, and what they do to the query's watermark.

use tidemill_tests::Workbench;

/// Two inputs, of which the second has no rows. `idle` stands in its watermark.
fn watermarks(idle: &str) -> (Vec<String>, Vec<String>) {
    let bench = Workbench::new();
    std::fs::create_dir(bench.path("quiet")).unwrap();
    for (number, minute) in [0, 10, 20].into_iter().enumerate() {
        let row = format!("{{\"at\":\"2026-01-01T00:{minute:02}:00Z\"}}\n");
        bench.write_input(&format!("busy/{number}.json"), number as i64, row);
    }
    bench.write(
        "job.toml",
        format!(
            r#"
output_mode = "append"
trigger = {{ available_now = true }}

[source.busy]
format = "json"
path = "busy"
schema = "at TIMESTAMP"
options = {{ maxFilesPerTrigger = 1 }}
watermark = {{ column = "at", delay = "1 minute" }}

[source.quiet]
format = "json"
path = "quiet"
schema = "at TIMESTAMP"
watermark = {{ column = "at", delay = "1 minute"{idle} }}

[[step]]
name = "counted"
sql = """
SELECT window.start AS start, count(*) AS n
FROM (SELECT at FROM busy UNION ALL SELECT at FROM quiet)
GROUP BY window(at, '5 minutes')
"""

[sink]
format = "console"
options = {{ format = "json" }}
"#
        ),
    );
    let done = bench.run(&["run", "job.toml", "--progress", "json"]).expect_success();
    let watermark = |progress: &serde_json::Value| {
        progress["eventTime"]["watermark"].as_str().unwrap_or_default().to_owned()
    };
    let rows = done.stdout.lines().filter(|line| line.starts_with('{'));
    (done.progress().iter().map(watermark).collect(), rows.map(str::to_owned).collect())
}

#[test]
fn an_input_without_rows_holds_the_watermark_back() {
    let (watermarks, rows) = watermarks("");
    let beginning = "1970-01-01T00:00:00.000Z";
    assert_eq!(watermarks, [beginning, beginning, beginning]);
    assert_eq!(rows, [""; 0]);
}

#[test]
fn an_input_that_is_idle_does_not() {
    let (watermarks, rows) = watermarks(", idle = \"0 seconds\"");
    let expected = [
        "1970-01-01T00:00:00.000Z",
        "2025-12-31T23:59:00.000Z",
        "2026-01-01T00:09:00.000Z",
        "2026-01-01T00:19:00.000Z",
    ];
    assert_eq!(watermarks, expected);
    assert_eq!(rows.len(), 2, "{rows:?}");
}

#[test]
fn an_input_is_not_idle_before_its_time() {
    let (watermarks, rows) = watermarks(", idle = \"1 hour\"");
    assert!(watermarks.iter().all(|watermark| watermark.starts_with("1970")), "{watermarks:?}");
    assert_eq!(rows, [""; 0]);
}
