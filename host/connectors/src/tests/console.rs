//! The console sink prints what Spark prints.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parking_lot::Mutex;

use super::{context, sink_config, sink_refusal};
use crate::contract::delivery;
use crate::{ConsoleOutput, SinkContext, plan_sink};

/// What is printed for one batch.
fn printed(given: &[(&str, &str)], rows: &[(Option<&str>, i64)]) -> String {
    let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>());
    let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
    let batch = RecordBatch::try_from_iter([("category", keys), ("n", counts)]).unwrap();
    let text = Arc::new(Mutex::new(Vec::new()));
    let context = SinkContext { console: ConsoleOutput::shared(text.clone()), ..context() };
    let mut sink = plan_sink(sink_config("console", given)).unwrap().open(&context).unwrap();
    sink.begin(delivery(7, 0, 1)).unwrap();
    sink.write(&batch).unwrap();
    sink.prepare().unwrap();
    assert!(text.lock().is_empty());
    sink.commit().unwrap();
    let text = text.lock().clone();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_batch_is_a_header_and_a_table() {
    let rows = [(Some("books"), 2), (None, -14), (Some("much too long for a cell"), 0)];
    assert_eq!(
        printed(&[], &rows),
        "\
-------------------------------------------
Batch: 7
-------------------------------------------
+--------------------+---+
|            category|  n|
+--------------------+---+
|               books|  2|
|                NULL|-14|
|much too long for...|  0|
+--------------------+---+

"
    );
}

#[test]
fn whole_cells_are_aligned_to_the_left() {
    let rows = [(Some("much too long\nfor a cell"), 1), (Some("本"), 2)];
    assert_eq!(
        printed(&[("truncate", "false")], &rows),
        "\
-------------------------------------------
Batch: 7
-------------------------------------------
+-------------------------+---+
|category                 |n  |
+-------------------------+---+
|much too long\\nfor a cell|1  |
|本                       |2  |
+-------------------------+---+

"
    );
}

#[test]
fn rows_beyond_num_rows_are_only_mentioned() {
    let rows = [(Some("a"), 1), (Some("b"), 2), (Some("c"), 3)];
    let text = printed(&[("numRows", "2")], &rows);
    assert!(
        text.ends_with("|       b|  2|\n+--------+---+\nonly showing top 2 rows\n\n"),
        "{text}"
    );
}

#[test]
fn json_is_one_line_a_row_with_nulls_kept() {
    assert_eq!(
        printed(&[("format", "json")], &[(Some("a\"b"), 1), (None, 2)]),
        "{\"batch_id\":7,\"row\":{\"category\":\"a\\\"b\",\"n\":1}}\n{\"batch_id\":7,\"row\":{\"category\":null,\"n\":2}}\n"
    );
}

#[test]
fn a_batch_larger_than_memory_allows_is_printed_whole() {
    let long = "x".repeat(1000);
    let rows: Vec<(Option<&str>, i64)> = (0..10_000).map(|n| (Some(long.as_str()), n)).collect();
    let text = printed(&[("format", "json")], &rows);
    assert_eq!(text.lines().count(), 10_000);
    assert!(text.len() > 10_000_000);
}

#[test]
fn an_empty_batch_is_an_empty_table() {
    let text = printed(&[], &[]);
    assert!(
        text.ends_with("+--------+---+\n|category|  n|\n+--------+---+\n+--------+---+\n\n"),
        "{text}"
    );
}

#[test]
fn an_option_that_the_console_does_not_know_is_refused() {
    assert_eq!(
        sink_refusal(sink_config("console", &[("numrow", "2")])),
        "sink \"out\" has the option \"numrow\", which the format does not know; did you mean \"numRows\"?"
    );
}
