//! One budget for all that grows with data: what goes beyond it spills or fails by name, loses no
//! state, and goes on with more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use tidemill::job::Job;
use tidemill::query::{Prepared, Shared};
use tidemill_core::{BatchHost, BoxFuture, CallFailure, FrameHandle, PluginFailure};
use tidemill_engine::StopSignal;
use tidemill_tests::{Finished, Workbench};

use crate::native::{NativeHandler, Work};

/// The end of the query, and what stands before the sources.
fn job(mode: &str, memory: &str, files: usize, step: &str, sink: &str) -> String {
    format!(
        r#"
name = "growing"
output_mode = "{mode}"
trigger = {{ available_now = true }}
[options]
{memory}
scan_partitions = 2
[source.s]
format = "json"
path = "input"
schema = "k BIGINT, pad STRING, at TIMESTAMP"
options = {{ maxFilesPerTrigger = {files} }}
watermark = {{ column = "at", delay = "1 minute" }}
[[step]]
name = "result"
sql = """
{step}
"""
[sink]
{sink}
"#
    )
}

const CONSOLE: &str = "format = \"console\"\noptions = { format = \"json\" }";
const NOWHERE: &str = "format = \"noop\"";
const LITTLE: &str = "memory = \"16 MiB\"";
const ENOUGH: &str = "memory = \"2 GiB\"";

/// Rows with distinct keys from `first` on, each with so many bytes beside.
fn rows(first: usize, count: usize, pad: usize) -> String {
    let pad = "x".repeat(pad);
    let row = |k| format!("{{\"k\":{k},\"pad\":\"{pad}{k}\",\"at\":{}}}\n", k / 1_000);
    (first..first + count).map(row).collect()
}

fn run(bench: &Workbench) -> Finished {
    bench.run(&["run", "job.toml", "--progress", "json"])
}

/// What every error about memory says.
const TELLS: [&str; 4] =
    ["out of memory:", "options.memory = 16 MiB", "Raise options.memory", "maxFilesPerTrigger"];

/// A batch that needs more than the budget fails by name; the rows of the batches before it are
/// there, and with more memory the same batch goes on.
#[track_caller]
fn fails_and_goes_on(mode: &str, step: &str, who: &str, large: String) {
    let bench = Workbench::new();
    bench.write("job.toml", job(mode, LITTLE, 1, step, CONSOLE));
    bench.write_input("input/0.json", 0, rows(0, 10, 10));
    bench.write_input("input/1.json", 1, large);
    let failed = run(&bench);
    assert_eq!(failed.progress().len(), 1, "the small batch came through: {}", failed.stderr);
    failed.expect_failure(1, &TELLS).expect_failure(1, &[who, "batch 1 failed"]);
    run(&bench).expect_failure(1, &TELLS);
    bench.write("job.toml", job(mode, ENOUGH, 1, step, CONSOLE));
    let went_on = run(&bench).expect_success();
    let first = &went_on.progress()[0];
    assert_eq!(first["batchId"], 1, "the failed batch runs, not one after it");
    assert!(first["numInputRows"].as_u64().unwrap() > 10_000);
}

#[test]
fn groups_beyond_the_budget_fail_by_name_and_lose_no_state() {
    let step = "SELECT pad, count(*) AS n FROM s GROUP BY pad";
    fails_and_goes_on("update", step, "ggregat", rows(0, 60_000, 300));
}

#[test]
fn the_whole_result_of_complete_mode_counts_too() {
    let step = "SELECT pad, count(*) AS n FROM s GROUP BY pad ORDER BY pad";
    fails_and_goes_on("complete", step, "needs", rows(0, 30_000, 300));
}

/// All rows have one key, and a condition that none fulfils.
#[test]
fn the_rows_that_meet_one_row_of_a_join_count() {
    let bench = Workbench::new();
    let step = "SELECT l.k AS k FROM s l JOIN other r ON l.k % 1 = r.k % 1 AND l.k < r.k * 0";
    let text = |memory: &str| {
        let memory = format!("{memory}\nstate_overlay_memory = \"1 GiB\"\nshuffle_partitions = 1");
        let other = "[source.other]\nformat = \"json\"\npath = \"other\"\nschema = \"k BIGINT, pad STRING\"\noptions = { maxFilesPerTrigger = 1 }\n[[step]]";
        job("append", &memory, 1, step, NOWHERE).replacen("[[step]]", other, 1)
    };
    bench.write("job.toml", text(LITTLE));
    bench.write_input("input/0.json", 0, rows(0, 400_000, 1));
    bench.write_input("other/0.json", 0, rows(0, 2, 10));
    run(&bench).expect_failure(1, &TELLS).expect_failure(1, &["rows that meet in a join"]);
    bench.write("job.toml", text(ENOUGH));
    run(&bench).expect_success();
}

#[test]
fn a_static_table_beyond_the_budget_fails_by_name() {
    let bench = Workbench::new();
    let step = "SELECT s.k AS k, t.pad AS pad FROM s JOIN t ON s.k = t.k";
    let text = |memory| {
        let table = "[static.t]\nformat = \"json\"\npath = \"table\"\nschema = \"k BIGINT, pad STRING\"\n[[step]]";
        job("append", memory, 1, step, NOWHERE).replacen("[[step]]", table, 1)
    };
    bench.write("job.toml", text(LITTLE));
    bench.write_input("input/0.json", 0, rows(0, 10, 10));
    bench.write("table/0.json", rows(0, 60_000, 300));
    run(&bench)
        .expect_failure(1, &TELLS)
        .expect_failure(1, &["a table that the stream is joined with"]);
    bench.write("job.toml", text(ENOUGH));
    run(&bench).expect_success();
}

/// The next start would say the same, so its status is that of a job that is wrong.
#[test]
fn state_beyond_the_budget_fails_by_name_also_at_the_start() {
    let bench = Workbench::new();
    let step = "SELECT k, count(*) AS n FROM s GROUP BY k";
    bench.write("job.toml", job("update", ENOUGH, 1, step, NOWHERE));
    for file in 0..4_usize {
        let first = file * 60_000;
        bench.write_input(&format!("input/{file}.json"), file as i64, rows(first, 60_000, 1));
    }
    run(&bench).expect_success();
    bench.write("job.toml", job("update", LITTLE, 1, step, NOWHERE));
    run(&bench).expect_failure(2, &TELLS).expect_failure(2, &["the state of growing needs"]);
    bench.write("job.toml", job("update", ENOUGH, 1, step, NOWHERE));
    run(&bench).expect_success();
}

/// Blocks that wait for their turn at the sink give way, and those that are read wait.
#[test]
fn rows_that_only_pass_need_no_budget() {
    let bench = Workbench::new();
    let step = "SELECT k, pad FROM s WHERE k >= 0";
    bench.write("job.toml", job("append", LITTLE, 2, step, NOWHERE));
    for file in 0..6 {
        let first = file as usize * 30_000;
        bench.write_input(&format!("input/{file}.json"), file, rows(first, 30_000, 600));
    }
    let progress = run(&bench).expect_success().progress();
    let sum: u64 = progress.iter().map(|p| p["numInputRows"].as_u64().unwrap()).sum();
    assert_eq!(sum, 180_000);
}

#[test]
fn a_row_in_a_hundred_thousand_windows_passes_and_in_more_is_refused() {
    let bench = Workbench::new();
    let step = |slide: &str| {
        format!(
            "SELECT window.start AS start, k FROM (SELECT window(at, '100 seconds', '{slide}') AS window, k FROM s)"
        )
    };
    bench.write_input("input/0.json", 0, rows(0, 2, 600));
    bench.write("job.toml", job("append", LITTLE, 1, &step("1 millisecond"), CONSOLE));
    let printed = run(&bench).expect_success().stdout;
    assert_eq!(printed.lines().count(), 200_000);
    bench.write("job.toml", job("append", LITTLE, 1, &step("999 microseconds"), CONSOLE));
    run(&bench).expect_failure(2, &["window()", "100101 windows", "at most 100000"]);
}

#[test]
fn the_option_is_checked_with_the_job() {
    let bench = Workbench::new();
    bench.write_input("input/0.json", 0, rows(0, 2, 2));
    let write = |name: &str, memory: &str| {
        let text = job("append", memory, 1, "SELECT k FROM s", NOWHERE);
        bench.write(name, text.replace("growing", name));
    };
    write("a.toml", "memory = \"1 MiB\"");
    bench
        .run(&["check", "a.toml"])
        .expect_failure(2, &["options.memory is 1 MiB", "less than 16 MiB"]);
    write("a.toml", "memory = \"lots\"");
    bench.run(&["check", "a.toml"]).expect_failure(2, &["options.memory", "is not a size"]);
    write("a.toml", LITTLE);
    write("b.toml", ENOUGH);
    bench
        .run(&["run", "a.toml", "b.toml"])
        .expect_failure(2, &["\"b.toml\" is 2 GiB", "\"a.toml\" 16 MiB", "share one budget"]);
    write("b.toml", LITTLE);
    bench.run(&["run", "a.toml", "b.toml"]).expect_success();
}

/// No thread has so large a stack, so the system gives none.
#[test]
fn without_threads_a_query_ends_with_a_word() {
    let bench = Workbench::new();
    bench.write("job.toml", job("append", "", 1, "SELECT k FROM s", NOWHERE));
    bench.write_input("input/0.json", 0, rows(0, 2, 2));
    let mut command = bench.command(&["run", "job.toml"]);
    let output = command.env("RUST_MIN_STACK", (1_u64 << 47).to_string()).output().unwrap();
    let (code, stderr) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("the system gives no more threads"), "{stderr}");
    assert!(stderr.contains("ulimit -u"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Work of a handler that is compiled in.
type Handle = fn(Arc<dyn BatchHost>, FrameHandle) -> BoxFuture<'static, Result<(), CallFailure>>;

/// Ends the work where its deadline passes, as the host does with a guest's.
fn within(deadline: Duration, handle: Handle) -> Box<Work> {
    Box::new(move |host, batch| {
        let work = handle(host, batch);
        Box::pin(async move {
            match tokio::time::timeout(deadline, work).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(failure)) => Err(PluginFailure::Fatal(format!("{failure:?}"))),
                Err(_) => Err(PluginFailure::Deadline { limit_ms: deadline.as_millis() as u64 }),
            }
        })
    })
}

/// Runs a batch of 100,000 rows of 300 bytes into a handler. Gives how the query ended, and what is
/// in its directory for rows that did not fit.
fn handled(memory: &str, handle: Handle, deadline: Duration) -> (Result<(), String>, Vec<String>) {
    let _alone = crate::planning();
    let bench = Workbench::new();
    let sink = "format = \"foreach_batch\"\nplugin = \"p\"\nfunction = \"handle\"\n[plugin.p]\npath = \"p.wasm\"";
    let options = format!("{memory}\nspill_directory = \"spilled\"");
    let path = bench.write("job.toml", job("append", &options, 1, "SELECT * FROM s", sink));
    bench.write_input("input/0.json", 0, rows(0, 100_000, 300));
    let mut shared = Shared::new(false);
    shared.native = vec![NativeHandler::new(within(deadline, handle))];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let job = Job::read(&path, &[]).unwrap();
    let prepared = runtime.block_on(Prepared::new(job, &shared)).unwrap();
    let mut query = prepared.start(StopSignal::new(), Box::new(|_| {})).unwrap();
    let ended = query.run().map(drop).map_err(|error| error.to_string());
    drop(query);
    let left = bench.names("spilled");
    (ended, left)
}

const LONG: Duration = Duration::from_secs(60);

async fn sql(
    host: &Arc<dyn BatchHost>,
    batch: FrameHandle,
    text: &str,
) -> Result<FrameHandle, CallFailure> {
    host.sql(text.to_owned(), vec![("batch".to_owned(), batch)]).await
}

/// All blocks of a frame, a page after the other.
async fn collect(
    host: &Arc<dyn BatchHost>,
    of: FrameHandle,
) -> Result<Vec<RecordBatch>, CallFailure> {
    let mut blocks: Vec<RecordBatch> = Vec::new();
    loop {
        let page = host.collect(of, blocks.len() as u32, 1 << 20).await?;
        if page.is_empty() {
            return Ok(blocks);
        }
        blocks.extend(page);
    }
}

fn count(blocks: &[RecordBatch]) -> usize {
    blocks.iter().map(RecordBatch::num_rows).sum()
}

/// Four times 33 MB of rows where a call may use 48 MiB: tables go to the disk, and sorts and groups,
/// too.
#[test]
fn a_handlers_tables_and_sorts_spill() {
    let (ended, left) = handled(
        "memory = \"96 MiB\"",
        |host, batch| {
            Box::pin(async move {
                let mut tables = Vec::new();
                for _ in 0..4 {
                    tables.push(sql(&host, batch, "SELECT * FROM batch").await?);
                }
                let last = *tables.last().unwrap();
                let sorted = sql(&host, last, "SELECT k, pad FROM batch ORDER BY pad DESC").await?;
                let blocks = collect(&host, sorted).await?;
                assert_eq!(count(&blocks), 100_000);
                let groups = "SELECT pad, count(*) AS n FROM batch GROUP BY pad";
                let groups = sql(&host, last, groups).await?;
                assert_eq!(host.count(groups).await?, 100_000);
                Ok(())
            })
        },
        LONG,
    );
    assert_eq!(ended, Ok(()));
    assert_eq!(left, Vec::<String>::new(), "nothing stays on disk");
}

#[test]
fn a_join_of_a_handler_beyond_its_memory_fails_by_name() {
    let (ended, _) = handled(
        LITTLE,
        |host, batch| {
            Box::pin(async move {
                let join = "SELECT count(*) AS n FROM batch l JOIN batch r ON l.pad = r.pad";
                sql(&host, batch, join).await.map(drop)
            })
        },
        LONG,
    );
    let error = ended.unwrap_err();
    for words in
        ["batch SQL: out of memory", "one call of a handler", "8 MiB", "Raise options.memory"]
    {
        assert!(error.contains(words), "no \"{words}\" in {error}");
    }
}

/// 10^10 pairs, and as many of which none is kept.
#[test]
fn a_handlers_sql_ends_at_its_deadline() {
    let pairs: Handle = |host, batch| {
        Box::pin(async move {
            let pairs = "SELECT count(*) AS n FROM (SELECT k FROM batch) l CROSS JOIN (SELECT k FROM batch) r";
            sql(&host, batch, pairs).await.map(drop)
        })
    };
    let none: Handle = |host, batch| {
        Box::pin(async move {
            let none = "SELECT l.k AS k FROM (SELECT k FROM batch) l JOIN (SELECT k FROM batch) r ON l.k + r.k < 0";
            sql(&host, batch, none).await.map(drop)
        })
    };
    for handle in [pairs, none] {
        let started = Instant::now();
        let (ended, _) = handled(LITTLE, handle, Duration::from_millis(300));
        let error = ended.unwrap_err();
        assert!(error.contains("ran past its deadline of 300 ms"), "{error}");
        assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
    }
}
