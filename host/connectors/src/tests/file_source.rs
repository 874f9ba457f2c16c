//! The file source follows Spark's.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, Schema};
use serde_json::json;
use tidemill_core::{ReadLimit, Slice, Source, SourceRange};

use super::{open, options, refusal, source_config, temp, write_file};
use crate::contract::{Input, check_source};
use crate::{FoundColumns, SourceConfig, plan_source};

/// Checks the contract of sources. Gives the rows of each range.
fn check(config: &SourceConfig) -> Vec<RecordBatch> {
    check_source(&Input { open: &|| open(config.clone()), before_range: &|_| {} })
}

fn names(range: &SourceRange) -> Vec<String> {
    let files = range.parts.as_array().unwrap();
    let name = |file: &serde_json::Value| {
        file["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    };
    files.iter().map(name).collect()
}

/// The files of every range that there is now.
fn ranges(source: &mut dyn Source) -> Vec<Vec<String>> {
    std::iter::from_fn(|| source.next_range(ReadLimit::Limited).unwrap())
        .map(|range| names(&range))
        // A source that never comes to an end fails, and does not hang.
        .take(100)
        .collect()
}

fn read(source: &dyn Source, range: &SourceRange) -> Result<Vec<RecordBatch>, String> {
    let all: Vec<usize> = (0..source.schema().fields().len()).collect();
    let rows = source.reader().read(range, Slice { index: 0, count: 1 }, &all);
    rows.and_then(Iterator::collect).map_err(|error| error.to_string())
}

fn text(dir: &Path, given: &[(&str, &str)]) -> SourceConfig {
    source_config("text", dir, "", given)
}

fn shown(batch: &RecordBatch) -> String {
    let keep_nulls = tidemill_codec::EncodeOptions::default();
    let mut lines = Vec::new();
    tidemill_codec::JsonEncoder::new(&batch.schema(), keep_nulls)
        .unwrap()
        .encode_rows(batch, &mut lines)
        .unwrap();
    String::from_utf8(lines).unwrap()
}

#[test]
fn files_are_read_once_in_order_of_their_time() {
    let dir = temp();
    for (name, modified_s) in
        [("c", 10), ("a", 20), ("b", 10), ("_hidden", 5), (".hidden", 5), ("x._COPYING_", 5)]
    {
        write_file(dir.path(), name, name, modified_s);
    }
    let mut source = open(text(dir.path(), &[("maxFilesPerTrigger", "2")]));
    assert_eq!(source.description(), format!("FileStreamSource[file:{}]", dir.path().display()));
    let first = source.next_range(ReadLimit::Limited).unwrap().unwrap();
    assert_eq!(names(&first), ["b", "c"]);
    assert_eq!((first.start, first.end), (json!(null), json!({"logOffset": 0})));
    assert_eq!(
        first.parts[0],
        json!({"path": dir.path().join("b"), "size": 1, "modificationTime": 10_000})
    );
    write_file(dir.path(), "d", "d", 15);
    let second = source.next_range(ReadLimit::Limited).unwrap().unwrap();
    assert_eq!(names(&second), ["d", "a"]);
    assert_eq!((second.start, second.end), (json!({"logOffset": 0}), json!({"logOffset": 1})));
    // Written again: seen already.
    write_file(dir.path(), "a", "other", 30);
    assert_eq!(source.next_range(ReadLimit::Limited).unwrap(), None);
}

#[test]
fn limits_and_filters_choose_the_files() {
    let dir = temp();
    for (name, modified_s) in [("1.txt", 1), ("2.txt", 2), ("3.txt", 3), ("4.log", 4)] {
        write_file(dir.path(), name, "12345", modified_s);
    }
    let chosen = |given: &[(&str, &str)]| ranges(&mut *open(text(dir.path(), given)));
    assert_eq!(chosen(&[("maxBytesPerTrigger", "10")]), [["1.txt", "2.txt"], ["3.txt", "4.log"]]);
    // One file is always let through.
    assert_eq!(
        chosen(&[("maxBytesPerTrigger", "1")]),
        [["1.txt"], ["2.txt"], ["3.txt"], ["4.log"]]
    );
    assert_eq!(
        chosen(&[("latestFirst", "true"), ("maxFilesPerTrigger", "3")]),
        [vec!["4.log", "3.txt", "2.txt"], vec!["1.txt"]]
    );
    assert_eq!(chosen(&[("pathGlobFilter", "*.txt")]), [["1.txt", "2.txt", "3.txt"]]);
    let mut source = open(text(&dir.path().join("[12]*"), &[("maxFilesPerTrigger", "1")]));
    assert_eq!(ranges(&mut *source), [["1.txt"], ["2.txt"]]);
    let mut source = open(text(dir.path(), &[("maxFilesPerTrigger", "1")]));
    let range = source.next_range(ReadLimit::Unlimited).unwrap().unwrap();
    assert_eq!(names(&range).len(), 4);
}

#[test]
fn the_input_can_be_ended_where_it_is_now() {
    let dir = temp();
    for name in ["1", "2", "3"] {
        write_file(dir.path(), name, "x", 1);
    }
    let mut source = open(text(dir.path(), &[("maxFilesPerTrigger", "2")]));
    source.stop_at_present_end().unwrap();
    write_file(dir.path(), "4", "x", 1);
    assert_eq!(ranges(&mut *source), [vec!["1", "2"], vec!["3"]]);
}

#[test]
fn old_files_are_forgotten_by_the_time_of_the_newest_file() {
    let dir = temp();
    write_file(dir.path(), "new", "x", 1_000);
    let mut source = open(text(dir.path(), &[("maxFileAge", "100s")]));
    assert_eq!(ranges(&mut *source), [["new"]]);
    write_file(dir.path(), "too old", "x", 899);
    write_file(dir.path(), "just", "x", 900);
    assert_eq!(ranges(&mut *source), [["just"]]);
    write_file(dir.path(), "newer", "x", 1_001);
    assert_eq!(ranges(&mut *source), [["newer"]]);
    // "just" was purged from the position, and is too old to come again.
    assert!(!source.position().to_string().contains("just"));
    assert!(ranges(&mut *source).is_empty());
}

#[test]
fn with_file_name_only_the_folder_does_not_matter() {
    let dir = temp();
    for folder in ["p", "q"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
        write_file(&dir.path().join(folder), "same", "x", 1);
    }
    let all = dir.path().join("*");
    let given = [("fileNameOnly", "true"), ("maxFilesPerTrigger", "1")];
    assert_eq!(ranges(&mut *open(text(&all, &given))).len(), 1);
    assert_eq!(ranges(&mut *open(text(&all, &given[1..]))).len(), 2);
}

#[test]
fn a_file_that_went_away_or_changed_its_size_is_named() {
    let dir = temp();
    write_file(dir.path(), "a", "one\ntwo\n", 1);
    let mut source = open(text(dir.path(), &[]));
    let range = source.next_range(ReadLimit::Limited).unwrap().unwrap();
    let path = dir.path().join("a").display().to_string();
    // Up to its old length it would end within a row, and what follows would be in no batch.
    for (text, bytes) in [("one\ntwo hundred\nthree\n", 22), ("one\n", 4)] {
        write_file(dir.path(), "a", text, 2);
        let error = read(&*source, &range).unwrap_err();
        let expected = format!(
            "the file {path} had 8 bytes when its batch was planned and has {bytes}; files must not change once they are in the directory"
        );
        assert!(error.starts_with(&expected) && error.contains("put it back as it was"), "{error}");
    }
    std::fs::remove_file(dir.path().join("a")).unwrap();
    assert!(
        read(&*source, &range).unwrap_err().starts_with(&format!(
            "the file {path} was there when its batch was planned and is gone"
        ))
    );
}

#[test]
fn json_lines_are_the_same_rows_in_every_number_of_slices() {
    let dir = temp();
    let line = |i: usize| format!("{{\"n\":{i},\"s\":\"{}\"}}\n", "x".repeat(i % 97));
    let lines = |from: usize, to: usize| (from..to).map(line).collect::<String>();
    write_file(dir.path(), "a.json", lines(0, 20_000), 1);
    write_file(dir.path(), "b.json", "", 2);
    write_file(dir.path(), "c.json", lines(20_000, 20_010).trim_end(), 3);
    write_file(dir.path(), "d.json", lines(20_010, 30_000), 4);
    let config = source_config("json", dir.path(), "n BIGINT, s STRING", &[]);
    let ranges = check(&config);
    let numbers = ranges[0].column(0).as_primitive::<Int64Type>();
    assert!(numbers.values().iter().copied().eq(0..30_000));
    let mut source = open(config);
    let range = source.next_range(ReadLimit::Limited).unwrap().unwrap();
    let sizes =
        read(&*source, &range).unwrap().iter().map(RecordBatch::num_rows).collect::<Vec<_>>();
    assert_eq!(sizes, [8192, 8192, 8192, 30_000 - 3 * 8192]);
}

#[test]
fn a_file_without_rows_is_a_range_without_rows() {
    let dir = temp();
    write_file(dir.path(), "a.json", "", 1);
    write_file(dir.path(), "b.json", "\n\n", 2);
    let ranges =
        check(&source_config("json", dir.path(), "n BIGINT", &[("maxFilesPerTrigger", "1")]));
    assert_eq!(ranges.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn text_files_have_a_row_a_line() {
    let dir = temp();
    write_file(dir.path(), "a", "one\r\n\ntwo\rthree\n", 1);
    write_file(dir.path(), "b", b"caf\xe9\nlast".as_slice(), 2);
    let ranges = check(&text(dir.path(), &[]));
    let lines: Vec<&str> = ranges[0].column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(lines, ["one", "", "two", "three", "caf\u{fffd}", "last"]);
    let wrong = source_config("text", dir.path(), "n INT", &[]);
    assert!(refusal(wrong).contains("text files have one STRING column"));
}

#[test]
fn csv_cells_that_are_no_values_are_null() {
    let dir = temp();
    let cells = "\
n,d,b,s,at,m
1,1.5,true,\"a,\\\"b\\\"
c\",2026-01-31T09:30:00Z,1.25
x,y,yes,,never,z

 2,-,FALSE,NA,2026-01-31 09:30:00.5,2,surplus
3
";
    write_file(dir.path(), "a.csv", cells, 1);
    write_file(dir.path(), "b.csv", "n,d,b,s,at,m\n9,NaN,true,z,2026-01-31,7\n", 2);
    let schema = "n INT, d DOUBLE, b BOOLEAN, s STRING, at TIMESTAMP, m DECIMAL(5,2)";
    let given = [("header", "true"), ("nullValue", "NA"), ("multiLine", "true")];
    let ranges = check(&source_config("csv", dir.path(), schema, &given));
    let null = r#"{"n":null,"d":null,"b":null,"s":null,"at":null,"m":null}"#;
    let expected = [
        r#"{"n":1,"d":1.5,"b":true,"s":"a,\"b\"\nc","at":"2026-01-31T09:30:00.000Z","m":1.25}"#,
        null,
        r#"{"n":null,"d":null,"b":false,"s":null,"at":"2026-01-31T09:30:00.500Z","m":2.00}"#,
        r#"{"n":3,"d":null,"b":null,"s":null,"at":null,"m":null}"#,
        r#"{"n":9,"d":"NaN","b":true,"s":"z","at":"2026-01-31T00:00:00.000Z","m":7.00}"#,
    ];
    assert_eq!(shown(&ranges[0]).lines().collect::<Vec<_>>(), expected);

    write_file(dir.path(), "c.tsv", "1\t'a\tb'\n", 3);
    let given = [("sep", "\\t"), ("quote", "'"), ("pathGlobFilter", "*.tsv")];
    let ranges = check(&source_config("csv", dir.path(), "n INT, s STRING", &given));
    assert_eq!(ranges[0].column(1).as_string::<i32>().value(0), "a\tb");
}

#[test]
fn many_csv_files_are_dealt_to_slices() {
    let dir = temp();
    for file in 0..9_i64 {
        let rows: String =
            (0..3_000).map(|row| format!("{},\"some text\n\"\n", file * 3_000 + row)).collect();
        write_file(dir.path(), &format!("{file}.csv"), rows, file);
    }
    let config = source_config("csv", dir.path(), "n BIGINT, s STRING", &[("multiLine", "true")]);
    let ranges = check(&config);
    assert!(ranges[0].column(0).as_primitive::<Int64Type>().values().iter().copied().eq(0..27_000));
}

fn write_parquet(dir: &Path, name: &str, batch: &RecordBatch, group_rows: usize) {
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .set_compression(parquet::basic::Compression::UNCOMPRESSED)
        .build();
    let file = std::fs::File::create(dir.join(name)).unwrap();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn numbered(count: i64) -> RecordBatch {
    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampNanosecondArray};
    let numbers: ArrayRef = std::sync::Arc::new(Int64Array::from_iter_values(0..count));
    let words = (0..count).map(|n| format!("word number {n}"));
    let words: ArrayRef = std::sync::Arc::new(StringArray::from_iter_values(words));
    let times = TimestampNanosecondArray::from_iter_values((0..count).map(|n| n * 1_000));
    let times: ArrayRef = std::sync::Arc::new(times.with_timezone("+01:00"));
    let local = arrow::compute::cast(
        &times,
        &DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None),
    );
    let columns = [("N", numbers), ("word", words), ("at", times), ("local", local.unwrap())];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn parquet_files_are_cut_at_their_row_groups() {
    let dir = temp();
    write_parquet(dir.path(), "a.parquet", &numbered(50_000), 4_000);
    write_parquet(dir.path(), "b.parquet", &numbered(10), 4_000);
    // Columns from the file, in Spark's types; or as the schema wants them, by name.
    let inferred = source_config("parquet", dir.path(), "", &[]);
    let schema = plan_source(inferred.clone()).unwrap().schema();
    assert_eq!(
        tidemill_types::format_schema(&schema),
        "N bigint, word string, at timestamp, local timestamp_ntz"
    );
    let ranges = check(&inferred);
    assert_eq!(ranges[0].num_rows(), 50_010);
    let given = source_config(
        "parquet",
        dir.path(),
        "at TIMESTAMP, missing INT, n BIGINT, local TIMESTAMP",
        &[],
    );
    let ranges = check(&given);
    assert_eq!(ranges[0].column(1).null_count(), 50_010);
    assert_eq!(ranges[0].column(2).data_type(), &DataType::Int64);

    let mut source = open(inferred);
    let range = source.next_range(ReadLimit::Limited).unwrap().unwrap();
    let used = (0..4).filter(|&index| {
        source.reader().read(&range, Slice { index, count: 4 }, &[0]).unwrap().next().is_some()
    });
    assert_eq!(used.count(), 4);

    let wrong = source_config("parquet", dir.path(), "word INT", &[]);
    let mut source = open(wrong);
    let range = source.next_range(ReadLimit::Limited).unwrap().unwrap();
    let message = read(&*source, &range).unwrap_err();
    assert!(
        message.contains("has the type string or binary and cannot be read as int"),
        "{message}"
    );
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let dir = temp();
    let json = |given: &[(&str, &str)]| refusal(source_config("json", dir.path(), "a INT", given));
    assert_eq!(
        json(&[("cleanSource", "delete")]),
        "source \"s\" has the option \"cleanSource\", which is not supported yet"
    );
    assert_eq!(
        json(&[("maxFilesPerTrigger", "1"), ("maxBytesPerTrigger", "1")]),
        "source \"s\" has maxBytesPerTrigger = \"1\"; it excludes maxFilesPerTrigger: keep one"
    );
    assert_eq!(
        refusal(source_config("json", dir.path(), "", &[])),
        "source \"s\" has no schema; write schema = \"name TYPE, …\"; or schema = \"infer\", and the columns are those that the files have at the first start"
    );
    assert!(
        refusal(source_config("json", &dir.path().join("nowhere"), "a INT", &[]))
            .ends_with("nowhere does not exist; create the directory first")
    );
    let no_path = SourceConfig { path: None, ..source_config("json", dir.path(), "a INT", &[]) };
    assert_eq!(refusal(no_path), "source \"s\" has no path; write path = \"some/path\"");
    assert_eq!(
        refusal(source_config("parquet", dir.path(), "", &[])),
        "source \"s\" has no schema; [UNABLE_TO_INFER_SCHEMA] there is no file with columns yet to take it from; write schema = \"name TYPE, …\""
    );
    assert!(
        refusal(source_config("csv", dir.path(), "a ARRAY<INT>", &[]))
            .contains("read it as STRING")
    );
    let path_among_options = SourceConfig {
        path: None,
        options: options(&[("path", &dir.path().display().to_string())]),
        ..source_config("json", dir.path(), "a INT", &[])
    };
    plan_source(path_among_options).unwrap();
}

#[test]
fn what_would_lose_rows_in_silence_is_an_error() {
    let dir = temp();
    write_file(dir.path(), "a.json.lz4", "", 1);
    let config = source_config("json", dir.path(), "a INT", &[]);
    let message = open(config.clone()).next_range(ReadLimit::Limited).unwrap_err().to_string();
    assert!(message.contains("a.json.lz4 is compressed in a way that is not read"), "{message}");
    std::fs::remove_file(dir.path().join("a.json.lz4")).unwrap();
    let mut source = open(config);
    assert_eq!(source.next_range(ReadLimit::Limited).unwrap(), None);
    std::fs::create_dir(dir.path().join("day=1")).unwrap();
    write_file(dir.path(), "day=1/a.json", "{\"a\":1}", 1);
    let message = source.next_range(ReadLimit::Limited).unwrap_err().to_string();
    assert!(message.contains("lies in a partition of day, which is no column"), "{message}");
}

#[test]
fn partitions_that_come_later_have_the_columns_of_the_first_ones() {
    let dir = temp();
    let write = |day: &str, modified_s| {
        let name = format!("day={day}");
        std::fs::create_dir(dir.path().join(&name)).unwrap();
        write_file(dir.path(), &format!("{name}/a.json"), "{\"a\":1}", modified_s);
    };
    let read_all = |source: &mut dyn Source| {
        let range = source.next_range(ReadLimit::Limited).unwrap().unwrap();
        read(source, &range).map(|batches| batches.iter().map(shown).collect::<String>())
    };
    write("1", 1);
    let config = source_config("json", dir.path(), "a INT", &[]);
    let found = plan_source(config.clone()).unwrap().found().unwrap();
    assert_eq!(tidemill_types::format_schema(&found.columns), "day int");
    assert_eq!(found.partitions, ["day"]);
    let mut source = open(config.clone());
    assert_eq!(read_all(&mut *source).unwrap(), "{\"a\":1,\"day\":1}\n");
    write("__HIVE_DEFAULT_PARTITION__", 2);
    assert_eq!(read_all(&mut *source).unwrap(), "{\"a\":1,\"day\":null}\n");
    write("monday", 3);
    let message = read_all(&mut *source).unwrap_err();
    assert!(message.contains("[INVALID_PARTITION_VALUE]"), "{message}");
    // A later start has the columns of the first one, and not those that it would find.
    let found_now = plan_source(config.clone()).unwrap().found().unwrap();
    assert_eq!(tidemill_types::format_schema(&found_now.columns), "day string");
    let later = plan_source(SourceConfig { found: Some(found), ..config.clone() }).unwrap();
    assert_eq!(tidemill_types::format_schema(&later.schema()), "a int, day int");
    // Nor has it partitions that there were not then.
    let none = FoundColumns { columns: Arc::new(Schema::empty()), partitions: Vec::new() };
    let later = plan_source(SourceConfig { found: Some(none), ..config }).unwrap();
    assert_eq!(tidemill_types::format_schema(&later.schema()), "a int");
}

#[test]
fn another_formats_checkpoint_is_refused() {
    let dir = temp();
    let mut source = open(text(dir.path(), &[]));
    let range = SourceRange { start: json!(0), end: json!(7), parts: json!(null) };
    assert!(
        source
            .advance(&range)
            .unwrap_err()
            .to_string()
            .contains("was the source's format changed?")
    );
    assert!(
        source.restore(&json!({"seconds": 1})).unwrap_err().to_string().contains("format changed?")
    );
}
