//! An attempt is a function: run twice, it gives the same rows in the same order, byte for byte;
//! and it plans nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;
use tidemill_checkpoint::{MemoryStateStore, StateBackend};
use tidemill_core::{
    Attempt, BatchId, BatchSpec, ConnectorError, MemoryBudget, QueryId, RangeReader, RowStream,
    Slice, SourceRange, StateStore, Watermark,
};
use tidemill_plan::{
    BatchRun, PlannedQuery, QueryMemory, ReadAhead, RunningBatch, SourceTable, Step, StepKind,
};
use tidemill_tests::{Workbench, write_orders};

use crate::orders::{JOB, bench};

fn printing(mode: &str) -> Workbench {
    let bench = bench();
    let (head, _) = JOB.split_once("[sink]").unwrap();
    let head = head.replace("output_mode = \"update\"", &format!("output_mode = \"{mode}\""));
    let head = head.replace("targets = [\"summary\"]\n", "");
    bench.write(
        "job.toml",
        format!("{head}[sink]\nformat = \"console\"\noptions = {{ format = \"json\" }}\n"),
    );
    write_orders(&bench, 0, 6, 2_000);
    bench
}

#[test]
fn the_same_input_gives_the_same_bytes_whatever_the_threads_do() {
    for mode in ["append", "update", "complete"] {
        let outputs: Vec<String> = (0..3)
            .map(|_| {
                let bench = printing(mode);
                bench
                    .run(&["run", "job.toml", "--set", "options.scan_partitions=3"])
                    .expect_success()
                    .stdout
            })
            .collect();
        assert!(outputs[0].lines().count() > 5, "{mode}");
        assert!(outputs.iter().all(|output| *output == outputs[0]), "{mode}");
    }
}

#[test]
fn batches_are_run_on_the_plan_that_was_made_at_the_start() {
    let _alone = crate::planning();
    let bench = printing("update");
    let job = tidemill::job::Job::read(&bench.path("job.toml"), &[]).unwrap();
    let shared = tidemill::query::Shared::new(false);
    let runtime = tokio_runtime();
    let prepared = runtime.block_on(tidemill::query::Prepared::new(job, &shared)).unwrap();
    let planned = tidemill_plan::planning_work();
    let batches = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&batches);
    let on_event = Box::new(move |event: tidemill_engine::QueryEvent<'_>| {
        if let tidemill_engine::QueryEvent::Progress(_) = event {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let mut query = prepared.start(tidemill_engine::StopSignal::new(), on_event).unwrap();
    query.run().unwrap();
    assert!(batches.load(std::sync::atomic::Ordering::Relaxed) >= 6);
    assert_eq!(tidemill_plan::planning_work(), planned, "a batch parsed, optimised or planned");
}

#[test]
fn only_the_columns_that_the_plan_uses_are_decoded() {
    let _alone = crate::planning();
    let bench = printing("update");
    let (head, rest) = JOB.split_once("[plugin.orders]").unwrap();
    let (_, steps) = rest.split_once("[[step]]\nname = \"revenue\"").unwrap();
    let (steps, _) = steps.split_once("[sink]").unwrap();
    let steps = steps.replace("FROM clean", "FROM orders");
    let job = format!("{head}[[step]]\nname = \"revenue\"{steps}[sink]\nformat = \"noop\"\n");
    let path = bench.write("job.toml", job);
    let job = tidemill::job::Job::read(&path, &[]).unwrap();
    let shared = tidemill::query::Shared::new(false);
    let prepared = tokio_runtime().block_on(tidemill::query::Prepared::new(job, &shared)).unwrap();
    let plan = prepared.plan().explain();
    let scan = "StreamScan: source=orders, columns=[amount, category, order_time]";
    assert!(plan.contains(scan), "{plan}");
}

#[test]
fn whole_numbers_divide_and_cast_as_in_spark() {
    let bench = Workbench::new();
    bench.write_input("input/0.json", 0, "{\"n\":1,\"t\":\"2026-01-01T00:00:00Z\"}\n");
    bench.write(
        "job.toml",
        "trigger = { available_now = true }\n[source.s]\nformat = \"json\"\npath = \"input\"\nschema = \"n BIGINT, t STRING\"\n[[step]]\nname = \"r\"\nsql = \"SELECT n / 2 AS half, CAST(t AS TIMESTAMP) AS at FROM s\"\n[sink]\nformat = \"console\"\noptions = { format = \"json\" }\n",
    );
    let finished = bench.run(&["run", "job.toml"]).expect_success();
    let expected = "{\"batch_id\":0,\"row\":{\"half\":0.5,\"at\":\"2026-01-01T00:00:00.000Z\"}}\n";
    assert_eq!(finished.stdout, expected);
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Gives one row.
struct OneRow;

impl RangeReader for OneRow {
    fn read(&self, _: &SourceRange, _: Slice, _: &[usize]) -> Result<RowStream, ConnectorError> {
        let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as _)]);
        Ok(Box::new(std::iter::once(Ok(rows.unwrap()))))
    }
}

/// Plans `drop_duplicates` over one row, and runs a batch of it. Gives its rows, or its error, and
/// the rows of the state.
fn deduplicate(before: impl Fn(&RunningBatch)) -> (Result<usize, String>, u64) {
    let _alone = crate::planning();
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    let table = SourceTable {
        name: "numbers".to_owned(),
        schema: Arc::new(schema),
        reader: Arc::new(OneRow),
        value: None,
        watermark: None,
    };
    let (from, columns) = ("numbers".to_owned(), Vec::new());
    let once = StepKind::DropDuplicates { from, columns, within_watermark: false };
    let once = Step { name: "once".to_owned(), kind: once, watermark: None };
    let definition = crate::appending(table, vec![once]);
    let runtime = tokio_runtime();
    let plan = runtime.block_on(PlannedQuery::plan(&definition)).unwrap();
    let range = SourceRange { start: 0.into(), end: 1.into(), parts: serde_json::Value::Null };
    let spec = BatchSpec {
        batch: BatchId::FIRST,
        batch_time_ms: 0,
        watermark: Watermark::at_millis(0),
        late_watermark: Watermark::at_millis(0),
        ranges: BTreeMap::from([("numbers".to_owned(), range)]),
    };
    let state = Arc::new(MemoryStateStore::new(1 << 20));
    let batch = plan.batch(BatchRun {
        query: "q".to_owned(),
        query_id: QueryId("5c5c3a1e-0d0b-4a5e-9d1b-1f1b0c5f3a11".to_owned()),
        spec,
        attempt: Attempt::FIRST,
        state: Arc::clone(&state) as Arc<dyn StateStore>,
        ahead: ReadAhead::default(),
        letters: None,
        migration: tidemill_plan::Migration::default(),
        memory: Arc::new(QueryMemory::new(MemoryBudget::unlimited(), Path::new("unused")).unwrap()),
    });
    before(&batch);
    let _inside = runtime.enter();
    let streams = plan.run(&batch).unwrap();
    let rows = streams.into_iter().map(|stream| {
        let blocks = runtime.block_on(stream.try_collect::<Vec<_>>());
        let blocks = blocks.map_err(|error| error.to_string())?;
        Ok(blocks.iter().map(RecordBatch::num_rows).sum::<usize>())
    });
    (rows.sum(), state.rows().values().sum())
}

/// Its operators are tasks, which may be in the middle of a block when another part of the plan or
/// the sink fails.
#[test]
fn an_attempt_that_was_given_up_changes_no_state() {
    assert_eq!(deduplicate(|_| {}), (Ok(1), 1));
    let (rows, state) = deduplicate(RunningBatch::abandon);
    assert!(rows.is_err_and(|error| error.contains("given up")));
    assert_eq!(state, 0);
}

const PAIRS: &str = r#"
name = "pairs"
output_mode = "append"
trigger = { available_now = true }

[source.left]
format = "json"
path = "left"
schema = "k INT, id INT, at TIMESTAMP"
options = { maxFilesPerTrigger = 1 }

[source.right]
format = "json"
path = "right"
schema = "k INT, id INT, at TIMESTAMP"
options = { maxFilesPerTrigger = 1 }

[[step]]
name = "pairs"
sql = "SELECT l.id AS l, r.id AS r FROM left l JOIN right r ON l.k = r.k AND l.id < r.id"

[sink]
format = "console"
options = { format = "json" }
"#;

/// The pairs of 2,000 rows a side, which come in so many files.
fn pairs(files: i64) -> Vec<String> {
    const ROWS: i64 = 2_000;
    let bench = Workbench::new();
    bench.write("job.toml", PAIRS);
    for (side, step) in [("left", 7), ("right", 13)] {
        for file in 0..files {
            let rows = (0..ROWS).filter(|row| row * files / ROWS == file);
            let line =
                |row: i64| format!("{{\"k\":{},\"id\":{row},\"at\":{row}}}\n", row * step % 499);
            let rows: String = rows.map(line).collect();
            bench.write_input(&format!("{side}/{file:04}.json"), file, rows);
        }
    }
    let printed = bench.run(&["run", "job.toml"]).expect_success().stdout;
    printed.lines().map(|line| line.split_once("\"row\"").unwrap().1.to_owned()).collect()
}

/// Large blocks are joined by several tasks.
#[test]
fn a_join_gives_the_same_rows_in_the_same_order_and_however_they_are_cut() {
    let mut whole = pairs(1);
    assert_eq!(whole, pairs(1));
    let mut in_parts = pairs(20);
    assert!(whole.len() > 3_000, "{} pairs", whole.len());
    whole.sort();
    in_parts.sort();
    assert_eq!(whole, in_parts);
}
