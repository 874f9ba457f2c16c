//! The file sink's directory is one that Spark could have written.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use serde_json::{Value, json};
use tidemill_core::{Begin, Delivery, OutputMode, QueryId, ReadLimit, Sink, Slice};

use super::{context, open, sink_config, sink_refusal, source_config, temp};
use crate::{SinkConfig, SinkContext, plan_sink};

fn config(format: &str, path: &Path, given: &[(&str, &str)]) -> SinkConfig {
    SinkConfig { path: Some(path.to_owned()), ..sink_config(format, given) }
}

fn opened(format: &str, path: &Path, given: &[(&str, &str)]) -> Box<dyn Sink> {
    plan_sink(config(format, path, given)).unwrap().open(&context()).unwrap()
}

fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    RecordBatch::try_from_iter([("n", values)]).unwrap()
}

fn delivery(batch: u64, call: u32) -> Delivery {
    crate::contract::delivery(batch, 0, call)
}

fn deliver(sink: &mut dyn Sink, delivery: Delivery, rows: &RecordBatch) {
    assert_eq!(sink.begin(delivery).unwrap(), Begin::Wanted);
    sink.write(rows).unwrap();
    sink.prepare().unwrap();
    sink.commit().unwrap();
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn log(path: &Path, entry: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path.join("_spark_metadata").join(entry)).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("v1"));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn files_are_named_by_batch_and_part_and_listed_in_sparks_log() {
    let dir = temp();
    let mut sink = opened("json", dir.path(), &[("maxRecordsPerFile", "2")]);
    assert_eq!(sink.description(), format!("FileSink[{}]", dir.path().display()));
    deliver(&mut *sink, delivery(0, 1), &numbers(1..4));
    deliver(&mut *sink, delivery(0, 2), &numbers([4]));
    deliver(&mut *sink, delivery(1, 1), &numbers([]));
    let files = [
        "part-00000-0f0e0d0c-b00000000-c2.json",
        "part-00000-0f0e0d0c-b00000000.json",
        "part-00001-0f0e0d0c-b00000000.json",
    ];
    assert_eq!(names(dir.path()), [&["_spark_metadata"], &files[..]].concat());
    assert_eq!(names(&dir.path().join("_spark_metadata")), ["0", "1", "_owner"]);
    assert_eq!(
        std::fs::read_to_string(dir.path().join(files[1])).unwrap(),
        "{\"n\":1}\n{\"n\":2}\n"
    );
    let lines = log(dir.path(), "0");
    let mut first = lines[0].clone();
    let modified = first["modificationTime"].take();
    assert!(modified.as_i64().unwrap() > 1_700_000_000_000);
    assert_eq!(
        first,
        json!({
            "path": format!("file://{}/{}", dir.path().display(), files[1]),
            "size": 16,
            "isDir": false,
            "modificationTime": null,
            "blockReplication": 1,
            "blockSize": 33554432,
            "action": "add"
        })
    );
    assert_eq!(lines.len(), 3);
    assert!(log(dir.path(), "1").is_empty());
}

#[test]
fn every_tenth_batch_folds_the_log() {
    let dir = temp();
    let mut sink = opened("parquet", dir.path(), &[("compression", "zstd")]);
    for batch in 0..32 {
        deliver(&mut *sink, delivery(batch, 1), &numbers([batch as i64]));
    }
    let entries = names(&dir.path().join("_spark_metadata"));
    assert_eq!(
        entries,
        [
            "19.compact",
            "20",
            "21",
            "22",
            "23",
            "24",
            "25",
            "26",
            "27",
            "28",
            "29.compact",
            "30",
            "31",
            "_owner"
        ]
    );
    assert_eq!(log(dir.path(), "29.compact").len(), 30);
    assert!(names(dir.path())[31].ends_with("-b00000030.zstd.parquet"));
    // A source reads the directory by this log.
    let mut source = open(source_config("parquet", dir.path(), "", &[]));
    let range = source.next_range(ReadLimit::Unlimited).unwrap().unwrap();
    assert_eq!(range.parts.as_array().unwrap().len(), 32);
}

#[test]
fn the_log_has_no_gaps_where_batches_were_passed_over() {
    let dir = temp();
    let mut sink = opened("json", dir.path(), &[]);
    for batch in [2, 13, 152] {
        deliver(&mut *sink, delivery(batch, 1), &numbers([batch as i64]));
    }
    // Spark reads from the newest fold on, and insists on every entry after it.
    let entries = names(&dir.path().join("_spark_metadata"));
    for entry in ["0", "1", "2", "9.compact", "10", "13", "149.compact", "150", "151", "152"] {
        assert!(entries.iter().any(|name| name == entry), "{entry} in {entries:?}");
    }
    assert_eq!(log(dir.path(), "149.compact").len(), 2);
}

#[test]
fn a_source_sees_a_batch_when_its_log_does() {
    let dir = temp();
    let mut sink = opened("json", dir.path(), &[]);
    let mut source = open(source_config("json", dir.path(), "n BIGINT", &[]));
    deliver(&mut *sink, delivery(0, 1), &numbers([1]));
    std::fs::write(dir.path().join("not-in-the-log.json"), "{\"n\":9}\n").unwrap();
    let range = source.next_range(ReadLimit::Limited).unwrap().unwrap();
    let reader = source.reader();
    let rows = reader.read(&range, Slice { index: 0, count: 1 }, &[0]).unwrap();
    let rows: Vec<RecordBatch> = rows.collect::<Result<_, _>>().unwrap();
    assert_eq!(rows[0].column(0).as_ref(), numbers([1]).column(0).as_ref());
    sink.begin(delivery(1, 1)).unwrap();
    sink.write(&numbers([2])).unwrap();
    sink.prepare().unwrap();
    assert_eq!(source.next_range(ReadLimit::Limited).unwrap(), None);
    sink.commit().unwrap();
    assert!(source.next_range(ReadLimit::Limited).unwrap().is_some());
}

#[test]
fn a_directory_that_was_moved_is_still_read() {
    let dir = temp();
    let (from, to) = (dir.path().join("from here"), dir.path().join("to there"));
    deliver(&mut *opened("json", &from, &[]), delivery(0, 1), &numbers([1]));
    assert!(log(&from, "0")[0]["path"].as_str().unwrap().contains("/from%20here/part-"));
    std::fs::rename(&from, &to).unwrap();
    let mut source = open(source_config("json", &to, "n BIGINT", &[]));
    let range = source.next_range(ReadLimit::Limited).unwrap().unwrap();
    let rows = source.reader().read(&range, Slice { index: 0, count: 1 }, &[0]).unwrap();
    assert_eq!(rows.map(|rows| rows.unwrap().num_rows()).sum::<usize>(), 1);
}

#[test]
fn a_directory_belongs_to_one_sink_of_one_query() {
    let dir = temp();
    deliver(&mut *opened("json", dir.path(), &[]), delivery(0, 1), &numbers([1]));
    let other = SinkContext::new(QueryId("another".to_owned()));
    let refused = plan_sink(config("json", dir.path(), &[])).unwrap().open(&other).map(|_| ());
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("holds the output of another query or sink"), "{message}");
    // A log without an owner is Spark's.
    std::fs::remove_file(dir.path().join("_spark_metadata/_owner")).unwrap();
    let refused = plan_sink(config("json", dir.path(), &[])).unwrap().open(&context()).map(|_| ());
    assert!(refused.unwrap_err().to_string().contains("a query that is not known"));
}

#[test]
fn only_append_can_be_written_to_files() {
    let dir = temp();
    let update =
        SinkConfig { output_mode: OutputMode::Update, ..config("parquet", dir.path(), &[]) };
    assert_eq!(
        sink_refusal(update),
        "sink \"out\" (format \"parquet\") does not take output mode update; files only take append; use output_mode = \"append\" (an aggregation then needs a watermark), or a keyed place such as sqlite"
    );
    assert_eq!(
        sink_refusal(config("csv", dir.path(), &[])),
        "sink \"out\" has the format \"csv\", which is not supported yet; supported are console, kafka, json, parquet, sqlite, memory, noop"
    );
}

#[test]
fn the_check_creates_nothing() {
    let dir = temp();
    let path = dir.path().join("a/b");
    plan_sink(config("json", &path, &[])).unwrap().check().unwrap();
    assert!(names(dir.path()).is_empty());
    std::fs::write(dir.path().join("a"), "").unwrap();
    let message = plan_sink(config("json", &path, &[])).unwrap().check().unwrap_err().to_string();
    assert!(message.ends_with("a is a file"), "{message}");
}
