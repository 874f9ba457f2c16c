//! Every place passes the contract of sinks.

use std::sync::Arc;

use parking_lot::Mutex;
use tempfile::TempDir;
use tidemill_core::{OutputMode, ReadLimit, Sink, Slice};
use tidemill_types::parse_schema;

use super::{context, open, sink_config, source_config, temp};
use crate::contract::{
    Place, check_exactly_once, check_marks, check_replaces_all, check_replaces_by_key,
    check_shows_on_commit, delivery,
};
use crate::{ConsoleOutput, SinkConfig, SinkContext, plan_sink};

/// Opens and reads a place of any format; how it is read is given.
struct At<R> {
    config: SinkConfig,
    context: SinkContext,
    read: R,
    _directory: TempDir,
}

impl<R: Fn(&SinkContext) -> Vec<(String, i64)>> Place for At<R> {
    fn open(&self, mode: OutputMode) -> Box<dyn Sink> {
        let config = SinkConfig {
            output_mode: mode,
            key: vec!["k".to_owned()],
            schema: Some(parse_schema("k STRING, n BIGINT").unwrap()),
            ..self.config.clone()
        };
        let planned = plan_sink(config).unwrap();
        planned.check().unwrap();
        // The plan says the same of a place that is not open yet.
        let held = planned.held(&self.context).unwrap();
        let mut sink = planned.open(&self.context).unwrap();
        assert_eq!((sink.description(), sink.held().unwrap()), (planned.description(), held));
        sink
    }

    fn rows(&self) -> Vec<(String, i64)> {
        (self.read)(&self.context)
    }
}

fn rows_of(batches: &[arrow::array::RecordBatch]) -> Vec<(String, i64)> {
    use arrow::array::AsArray;
    let of_batch = |batch: &arrow::array::RecordBatch| {
        let keys = batch.column(0).as_string::<i32>().clone();
        let numbers = batch.column(1).as_primitive::<arrow::datatypes::Int64Type>().clone();
        (0..batch.num_rows())
            .map(|i| (keys.value(i).to_owned(), numbers.value(i)))
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(of_batch).collect()
}

fn files(format: &'static str) -> At<impl Fn(&SinkContext) -> Vec<(String, i64)>> {
    let directory = temp();
    let path = directory.path().join("deep/er");
    let config = SinkConfig { path: Some(path.clone()), ..sink_config(format, &[]) };
    let read = move |_: &SinkContext| {
        if !path.exists() {
            return Vec::new();
        }
        // By the log, and by listing what is there; both have to see the same.
        let by_log = read_files(format, &path);
        let glob = path.join("part-*");
        let mut by_glob = read_files(format, &glob);
        let mut sorted = by_log.clone();
        sorted.sort();
        by_glob.sort();
        assert_eq!(sorted, by_glob);
        by_log
    };
    At { config, context: context(), read, _directory: directory }
}

fn read_files(format: &str, path: &std::path::Path) -> Vec<(String, i64)> {
    let mut source = open(source_config(format, path, "k STRING, n BIGINT", &[]));
    let Some(range) = source.next_range(ReadLimit::Unlimited).unwrap() else {
        return Vec::new();
    };
    let rows = source.reader().read(&range, Slice { index: 0, count: 1 }, &[0, 1]).unwrap();
    rows_of(&rows.collect::<Result<Vec<_>, _>>().unwrap())
}

fn sqlite() -> At<impl Fn(&SinkContext) -> Vec<(String, i64)>> {
    let directory = temp();
    let path = directory.path().join("out.db");
    let config =
        SinkConfig { path: Some(path.clone()), ..sink_config("sqlite", &[("dbtable", "t")]) };
    let read = move |_: &SinkContext| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        let Ok(mut query) = connection.prepare("SELECT k, n FROM t") else {
            return Vec::new();
        };
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    At { config, context: context(), read, _directory: directory }
}

fn memory() -> At<impl Fn(&SinkContext) -> Vec<(String, i64)>> {
    let read = |context: &SinkContext| {
        context.tables.get("q").map(|table| rows_of(&table.rows())).unwrap_or_default()
    };
    At { config: sink_config("memory", &[]), context: context(), read, _directory: temp() }
}

/// A console sink and what it printed.
fn console() -> At<impl Fn(&SinkContext) -> Vec<(String, i64)>> {
    let printed = Arc::new(Mutex::new(Vec::new()));
    let context = SinkContext { console: ConsoleOutput::shared(printed.clone()), ..context() };
    let read = move |_: &SinkContext| {
        let text = String::from_utf8(printed.lock().clone()).unwrap();
        let row = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let row = &line["row"];
            (row["k"].as_str().unwrap().to_owned(), row["n"].as_i64().unwrap())
        };
        text.lines().map(row).collect()
    };
    At { config: sink_config("console", &[("format", "json")]), context, read, _directory: temp() }
}

#[test]
fn json_files_take_each_delivery_once() {
    check_exactly_once(|| files("json"));
    check_marks(|| files("json"));
}

#[test]
fn parquet_files_take_each_delivery_once() {
    check_exactly_once(|| files("parquet"));
}

#[test]
fn sqlite_takes_each_delivery_once() {
    check_exactly_once(sqlite);
    check_marks(sqlite);
}

#[test]
fn sqlite_replaces_rows_by_key_and_all_rows() {
    check_replaces_by_key(sqlite);
    check_replaces_all(sqlite);
}

#[test]
fn memory_takes_each_delivery_once() {
    check_exactly_once(memory);
    check_marks(memory);
    check_replaces_all(memory);
}

#[test]
fn the_console_prints_what_is_committed() {
    check_shows_on_commit(console);
}

#[test]
fn noop_takes_everything() {
    let planned = plan_sink(sink_config("noop", &[])).unwrap();
    planned.check().unwrap();
    let mut sink = planned.open(&context()).unwrap();
    for _ in 0..2 {
        assert_eq!(sink.begin(delivery(0, 0, 1)).unwrap(), tidemill_core::Begin::Wanted);
        sink.prepare().unwrap();
        sink.commit().unwrap();
    }
}
