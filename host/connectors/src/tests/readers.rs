//! What the readers of files make of odd ones, and what they say of malformed rows.

use std::io::Write;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use tidemill_core::{ReadLimit, Slice, Source, SourceRange};

use super::{open, source_config, temp, write_file};
use crate::SourceConfig;
use crate::contract::{Input, check_source};

/// Holds a source to the contract. Gives the rows of its first range as JSON.
fn rows(config: &SourceConfig) -> Vec<String> {
    let ranges = check_source(&Input { open: &|| open(config.clone()), before_range: &|_| {} });
    shown(&ranges[0])
}

fn shown(batch: &RecordBatch) -> Vec<String> {
    let mut lines = Vec::new();
    let without_nulls = tidemill_codec::EncodeOptions {
        ignore_null_fields: true,
        ..tidemill_codec::EncodeOptions::default()
    };
    tidemill_codec::JsonEncoder::new(&batch.schema(), without_nulls)
        .unwrap()
        .encode_rows(batch, &mut lines)
        .unwrap();
    String::from_utf8(lines).unwrap().lines().map(str::to_owned).collect()
}

fn first_range(config: &SourceConfig) -> (Box<dyn Source>, SourceRange) {
    let mut source = open(config.clone());
    let range = source.next_range(ReadLimit::Unlimited).unwrap().unwrap();
    (source, range)
}

fn read(
    source: &dyn Source,
    range: &SourceRange,
    count: usize,
) -> Result<Vec<RecordBatch>, String> {
    let all: Vec<usize> = (0..source.schema().fields().len()).collect();
    let mut batches = Vec::new();
    for index in 0..count {
        let rows = source.reader().read(range, Slice { index, count }, &all);
        let rows = rows.and_then(Iterator::collect::<Result<Vec<_>, _>>);
        batches.extend(rows.map_err(|error| full(&error))?);
    }
    Ok(batches)
}

pub(super) fn full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn failure(config: &SourceConfig) -> String {
    let (source, range) = first_range(config);
    read(&*source, &range, 1).unwrap_err()
}

/// The count of malformed rows that a batch over all there is would show.
fn malformed(config: &SourceConfig, slices: usize) -> Option<String> {
    let (source, range) = first_range(config);
    read(&*source, &range, slices).unwrap();
    source.metrics(&range.end).remove("malformedRows")
}

fn csv(dir: &Path, schema: &str, given: &[(&str, &str)]) -> SourceConfig {
    source_config("csv", dir, schema, given)
}

#[test]
fn csv_lines_are_the_same_rows_in_every_number_of_slices() {
    let dir = temp();
    let lines: String = (0..20_000).map(|n| format!("{n},\"text, \\\"{n}\\\"\"\r\n")).collect();
    write_file(dir.path(), "a.csv", format!("\u{feff}n,s\r\n{lines}"), 1);
    write_file(dir.path(), "b.csv", "n,s\n7,x", 2);
    let rows = rows(&csv(dir.path(), "n BIGINT, s STRING", &[("header", "true")]));
    assert_eq!(rows.len(), 20_001);
    assert_eq!(rows[19_999], r#"{"n":19999,"s":"text, \"19999\""}"#);
    assert_eq!(rows[20_000], r#"{"n":7,"s":"x"}"#);
}

/// A text, packed by the ending of a name.
fn packed(name: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match name.to_ascii_lowercase().rsplit('.').next().unwrap() {
        "gz" => {
            // Two members, as of two files that were put together.
            for part in [&text[..text.len() / 2], &text[text.len() / 2..]] {
                let mut gzip = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
                gzip.write_all(part.as_bytes()).unwrap();
                gzip.finish().unwrap();
            }
        }
        "deflate" => {
            for part in [&text[..text.len() / 2], &text[text.len() / 2..]] {
                let mut zlib =
                    flate2::write::ZlibEncoder::new(&mut out, flate2::Compression::fast());
                zlib.write_all(part.as_bytes()).unwrap();
                zlib.finish().unwrap();
            }
        }
        "bz2" => {
            let mut bzip2 = bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::fast());
            bzip2.write_all(text.as_bytes()).unwrap();
            bzip2.finish().unwrap();
        }
        "zst" => out = zstd::encode_all(text.as_bytes(), 1).unwrap(),
        _ => out.extend_from_slice(text.as_bytes()),
    }
    out
}

#[test]
fn compressed_files_are_read_as_what_they_are_compressed_from() {
    let lines: String = (0..30_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    for name in ["a.json.gz", "a.json.GZ", "a.json.bz2", "a.json.zst", "a.json.deflate"] {
        let dir = temp();
        write_file(dir.path(), name, packed(name, &format!("\u{feff}{lines}")), 1);
        write_file(dir.path(), "b.json", "{\"n\":-1}", 2);
        let rows = rows(&source_config("json", dir.path(), "n BIGINT", &[]));
        assert_eq!(rows.len(), 30_001, "{name}");
        assert_eq!(rows[29_999..], [r#"{"n":29999}"#, r#"{"n":-1}"#]);
    }
    let dir = temp();
    write_file(dir.path(), "a.csv.gz", packed("a.csv.gz", "n,s\n1,\"a\nb\"\n2,c\n"), 1);
    let given = [("header", "true"), ("multiLine", "true")];
    let rows = rows(&csv(dir.path(), "n INT, s STRING", &given));
    assert_eq!(rows, [r#"{"n":1,"s":"a\nb"}"#, r#"{"n":2,"s":"c"}"#]);
}

#[test]
fn a_compressed_file_that_is_damaged_is_named() {
    for name in ["a.json.gz", "a.json.bz2", "a.json.zst", "a.json.deflate"] {
        let dir = temp();
        let whole = packed(name, &"{\"n\":1}\n".repeat(50_000));
        for bytes in [&whole[..whole.len() - 9], b"{\"n\":1}\n"] {
            write_file(dir.path(), name, bytes, 1);
            let error = failure(&source_config("json", dir.path(), "n BIGINT", &[]));
            assert!(error.contains(&format!("{name} is damaged")), "{error}");
        }
    }
}

#[test]
fn with_multi_line_a_record_may_have_nearly_64_mib() {
    let dir = temp();
    let long = "x".repeat(60 << 20);
    write_file(dir.path(), "a.csv", format!("1,\"{long}\"\n2,b\n"), 1);
    let rows = rows(&csv(dir.path(), "n BIGINT, s STRING", &[("multiLine", "true")]));
    assert_eq!(rows.len(), 2);
    assert!(rows[0].len() > 60 << 20 && rows[1] == r#"{"n":2,"s":"b"}"#);
}

#[test]
fn with_multi_line_a_quoted_cell_may_hold_ends_of_lines() {
    let dir = temp();
    let records: String = (0..30_000).map(|n| format!("{n},\"two\r\nlines {n}\"\r\n")).collect();
    write_file(dir.path(), "a.csv", &records, 1);
    write_file(dir.path(), "b.csv", "7,\"x\ny\"\n", 2);
    let rows = rows(&csv(dir.path(), "n BIGINT, s STRING", &[("multiLine", "true")]));
    assert_eq!(rows.len(), 30_001);
    assert_eq!(rows[29_999], r#"{"n":29999,"s":"two\nlines 29999"}"#);
    assert_eq!(rows[30_000], r#"{"n":7,"s":"x\ny"}"#);
}

#[test]
fn a_byte_order_mark_belongs_to_no_text() {
    let dir = temp();
    write_file(dir.path(), "a", "\u{feff}x\ny\n", 1);
    assert_eq!(
        rows(&source_config("text", dir.path(), "", &[])),
        [r#"{"value":"x"}"#, r#"{"value":"y"}"#]
    );
}

#[test]
fn malformed_rows_are_counted_in_every_format_and_number_of_slices() {
    let dir = temp();
    let write = |format: &str, good: &str, bad: &[u8]| {
        let folder = dir.path().join(format);
        std::fs::create_dir(&folder).unwrap();
        // Enough for several slices.
        let good = format!("{good}\n").repeat(200_000 / good.len());
        let text = [bad, b"\n", good.as_bytes(), bad, b"\n", good.as_bytes()].concat();
        write_file(&folder, "0", text, 1);
        folder
    };
    let json = write("json", r#"{"n":1,"s":"x"}"#, br#"{"n":"1"}"#);
    let broken = write("csv", "1,x", b"x,y");
    let text = write("text", "words", b"caf\xe9");
    let configs = [
        source_config("json", &json, "n INT, s STRING", &[]),
        source_config("json", &json, "n INT, s STRING", &[("mode", "DROPMALFORMED")]),
        source_config("csv", &broken, "n INT, s STRING", &[]),
        source_config("csv", &broken, "n INT, s STRING", &[("multiLine", "true")]),
        source_config("text", &text, "", &[]),
    ];
    for config in configs {
        for slices in [1, 4] {
            assert_eq!(malformed(&config, slices).as_deref(), Some("2"), "{}", config.format);
        }
    }
    std::fs::remove_file(json.join("0")).unwrap();
    write_file(&json, "0", "{\"n\":1}\n", 1);
    assert_eq!(malformed(&source_config("json", &json, "n INT", &[]), 1), None);
}

#[test]
fn failfast_names_file_and_line() {
    let dir = temp();
    for (format, text) in [("json", "{\"n\":1}\n\n{\"n\":\n{\"n\":2}\n"), ("csv", "1\n\nx\n")] {
        let folder = dir.path().join(format);
        std::fs::create_dir(&folder).unwrap();
        write_file(&folder, "0", text, 1);
        let message = failure(&source_config(format, &folder, "n INT", &[("mode", "FAILFAST")]));
        let place = format!("line 3 of the file {}: ", folder.join("0").display());
        assert!(message.starts_with(&place), "{message}");
        assert!(message.contains("MALFORMED_RECORD_IN_PARSING"), "{message}");
    }
}

#[test]
fn a_line_that_is_too_long_is_a_malformed_row_and_the_next_one_is_read() {
    let dir = temp();
    let long = "x".repeat(65 << 20);
    write_file(dir.path(), "0", format!("{{\"s\":\"{long}\"}}\n{{\"s\":\"y\"}}\n"), 1);
    let config = source_config("json", dir.path(), "s STRING", &[]);
    let (source, range) = first_range(&config);
    let batches = read(&*source, &range, 2).unwrap();
    let all: Vec<String> = batches.iter().flat_map(shown).collect();
    assert_eq!(all, ["{}", r#"{"s":"y"}"#]);
    assert_eq!(source.metrics(&range.end)["malformedRows"], "1");
    let text = source_config("text", dir.path(), "", &[]);
    assert_eq!(malformed(&text, 1).as_deref(), Some("1"));
}

#[test]
fn another_header_is_an_error_where_the_schema_is_not_enforced() {
    let dir = temp();
    write_file(dir.path(), "0", "b,a\n1,2\n", 1);
    let given = [("header", "true"), ("enforceSchema", "false")];
    let message = failure(&csv(dir.path(), "a INT, b INT", &given));
    assert!(message.contains("column 1 is \"b\" there, and \"a\" in the schema"), "{message}");
    assert_eq!(rows(&csv(dir.path(), "a INT, b INT", &given[..1])), [r#"{"a":1,"b":2}"#]);
}

mod parquet_files {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Float32Array, Float64Array, Int32Array, Int64Array,
        ListArray, StringArray, StructArray, UInt32Array,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Field, TimestampMicrosecondType};
    use parquet::data_type::{ByteArray, ByteArrayType, Int96, Int96Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    fn write(dir: &Path, columns: Vec<(&str, ArrayRef)>) {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let file = std::fs::File::create(dir.join("0.parquet")).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn wanted(dir: &Path, schema: &str) -> SourceConfig {
        source_config("parquet", dir, schema, &[])
    }

    fn numbers(values: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn pair(fields: &[(&str, ArrayRef)]) -> ArrayRef {
        let fields = fields.iter().map(|(name, column)| {
            (Arc::new(Field::new(*name, column.data_type().clone(), true)), Arc::clone(column))
        });
        Arc::new(StructArray::from(fields.collect::<Vec<_>>()))
    }

    #[test]
    fn fields_of_structs_go_by_name_at_every_depth() {
        let dir = temp();
        let inner = pair(&[("A", numbers(&[1, 2])), ("b", numbers(&[3, 4]))]);
        let item = Arc::new(Field::new("item", inner.data_type().clone(), true));
        let list = ListArray::new(item, OffsetBuffer::from_lengths([2]), inner, None);
        let one = pair(&[("x", numbers(&[5])), ("y", numbers(&[6]))]);
        write(dir.path(), vec![("S", one), ("l", Arc::new(list))]);
        let schema =
            "s STRUCT<y: BIGINT, new: STRING, X: BIGINT>, l ARRAY<STRUCT<b: BIGINT, a: BIGINT>>";
        assert_eq!(
            rows(&wanted(dir.path(), schema)),
            [r#"{"s":{"y":6,"X":5},"l":[{"b":3,"a":1},{"b":4,"a":2}]}"#]
        );
    }

    #[test]
    fn two_columns_that_differ_in_case_are_refused_if_one_is_asked_for() {
        let dir = temp();
        write(dir.path(), vec![("v", numbers(&[1])), ("V", numbers(&[2])), ("w", numbers(&[3]))]);
        let message = failure(&wanted(dir.path(), "v BIGINT"));
        assert!(message.contains("has the columns \"v\" and \"V\""), "{message}");
        assert_eq!(rows(&wanted(dir.path(), "w BIGINT")), [r#"{"w":3}"#]);
    }

    #[test]
    fn a_value_is_read_as_another_type_only_where_it_keeps_its_meaning() {
        let dir = temp();
        let columns: [(&str, ArrayRef, &[&str]); 8] = [
            ("text", Arc::new(StringArray::from(vec!["7"])), &["STRING", "BINARY"]),
            (
                "int",
                Arc::new(Int32Array::from(vec![7])),
                &[
                    "TINYINT",
                    "SMALLINT",
                    "INT",
                    "BIGINT",
                    "DOUBLE",
                    "DATE",
                    "DECIMAL(10,0)",
                    "DECIMAL(12,2)",
                    "DECIMAL(20,0)",
                ],
            ),
            ("bigint", numbers(&[7]), &["BIGINT", "DECIMAL(20,0)"]),
            ("uint", Arc::new(UInt32Array::from(vec![7])), &["BIGINT", "DOUBLE"]),
            ("float", Arc::new(Float32Array::from(vec![1.5])), &["FLOAT", "DOUBLE"]),
            ("double", Arc::new(Float64Array::from(vec![1e300])), &["DOUBLE"]),
            ("bool", Arc::new(BooleanArray::from(vec![true])), &["BOOLEAN"]),
            (
                "date",
                Arc::new(Date32Array::from(vec![7])),
                &["INT", "BIGINT", "DATE", "TIMESTAMP_NTZ"],
            ),
        ];
        let types = [
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INT",
            "BIGINT",
            "FLOAT",
            "DOUBLE",
            "STRING",
            "BINARY",
            "DATE",
            "TIMESTAMP",
            "TIMESTAMP_NTZ",
            "DECIMAL(5,2)",
            "DECIMAL(10,0)",
            "DECIMAL(12,2)",
            "DECIMAL(20,0)",
            "STRUCT<a: INT>",
            "ARRAY<INT>",
        ];
        for (name, column, taken) in columns {
            write(dir.path(), vec![("c", column)]);
            for data_type in types {
                let (source, range) = first_range(&wanted(dir.path(), &format!("c {data_type}")));
                match read(&*source, &range, 1) {
                    Ok(_) => assert!(taken.contains(&data_type), "{name} was read as {data_type}"),
                    Err(message) => {
                        assert!(!taken.contains(&data_type), "{name} as {data_type}: {message}");
                        assert!(message.contains("PARQUET_COLUMN_DATA_TYPE_MISMATCH"), "{message}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_number_that_does_not_fit_the_narrower_type_is_refused() {
        let dir = temp();
        write(dir.path(), vec![("c", Arc::new(Int32Array::from(vec![70_000])))]);
        let message = failure(&wanted(dir.path(), "c SMALLINT"));
        assert!(
            message.contains("values of the type int that are none of the type smallint"),
            "{message}"
        );
    }

    /// Writes columns of Parquet's own types, each with one row.
    fn write_physical(
        dir: &Path,
        message: &str,
        fill: impl Fn(&mut parquet::file::writer::SerializedColumnWriter<'_>),
    ) {
        let schema = Arc::new(parse_message_type(message).unwrap());
        let file = std::fs::File::create(dir.join("0.parquet")).unwrap();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        while let Some(mut column) = group.next_column().unwrap() {
            fill(&mut column);
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn int96_holds_any_year_also_in_a_struct() {
        let dir = temp();
        // 9999-12-31T23:59:59.999999Z: Julian day, and nanoseconds of it.
        let (day, nanos) = (5_373_484_u32, 86_399_999_999_000_u64);
        let mut far = Int96::new();
        far.set_data(nanos as u32, (nanos >> 32) as u32, day);
        let message = "message m { required int96 t; required group s { required int96 u; } }";
        write_physical(dir.path(), message, |column| {
            column.typed::<Int96Type>().write_batch(&[far], None, None).unwrap();
        });
        let expected =
            [r#"{"t":"9999-12-31T23:59:59.999999Z","s":{"u":"9999-12-31T23:59:59.999999Z"}}"#];
        for schema in ["", "t TIMESTAMP, s STRUCT<u: TIMESTAMP>"] {
            let config = wanted(dir.path(), schema);
            let schema = crate::plan_source(config.clone()).unwrap().schema();
            assert_eq!(
                tidemill_types::format_schema(&schema),
                "t timestamp, s struct<u:timestamp>"
            );
            let (source, range) = first_range(&config);
            let batches = read(&*source, &range, 1).unwrap();
            let micros = batches[0].column(0).as_primitive::<TimestampMicrosecondType>().value(0);
            assert_eq!(micros, 253_402_300_799_999_999);
            assert_eq!(shown(&batches[0]), expected);
        }
        let message = failure(&wanted(dir.path(), "t BIGINT"));
        assert!(
            message.contains("has the type timestamp and cannot be read as bigint"),
            "{message}"
        );
    }

    #[test]
    fn text_that_is_no_utf_8_is_replaced_and_counted() {
        let dir = temp();
        for annotation in ["(UTF8)", ""] {
            let message = format!("message m {{ required binary s {annotation}; }}");
            write_physical(dir.path(), &message, |column| {
                let value = ByteArray::from(b"caf\xe9".to_vec());
                column.typed::<ByteArrayType>().write_batch(&[value], None, None).unwrap();
            });
            let config = wanted(dir.path(), "s STRING");
            assert_eq!(rows(&config), ["{\"s\":\"caf\u{fffd}\"}"]);
            assert_eq!(malformed(&config, 1).as_deref(), Some("1"));
            assert_eq!(rows(&wanted(dir.path(), "s BINARY")), [r#"{"s":"Y2Fm6Q=="}"#]);
        }
    }

    #[test]
    fn damage_is_told_as_damage_of_the_file() {
        let dir = temp();
        let texts = StringArray::from_iter_values((0..50).map(|n| format!("text {n}")));
        let structs = pair(&[("x", numbers(&(0..50).collect::<Vec<_>>()))]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", numbers(&(0..50).collect::<Vec<_>>())),
            ("s", Arc::new(texts)),
            ("p", structs),
        ];
        write(dir.path(), columns);
        let path = dir.path().join("0.parquet");
        let good = std::fs::read(&path).unwrap();
        let config = wanted(dir.path(), "n BIGINT, s STRING, p STRUCT<x: BIGINT>");
        let mut failed = 0;
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            std::fs::write(&path, bad).unwrap();
            let (source, range) = first_range(&config);
            // It may be read, or fail: it does not panic.
            if let Err(message) = read(&*source, &range, 1) {
                assert!(message.contains("0.parquet"), "{message}");
                failed += 1;
            }
            let inferred = wanted(dir.path(), "");
            let _ = crate::plan_source(inferred).map(|_| ());
        }
        assert!(failed > 100, "{failed}");
    }

    #[test]
    fn a_schema_that_is_too_deep_is_refused_by_name() {
        let dir = temp();
        let depth = 5_000;
        let message = |depth: usize| {
            format!(
                "message m {{ {} required int32 x; {} }}",
                "required group g { ".repeat(depth),
                "}".repeat(depth)
            )
        };
        // The library writes such a schema by recursion, too.
        std::thread::Builder::new()
            .stack_size(1 << 30)
            .spawn({
                let (dir, message) = (dir.path().to_owned(), message(depth));
                move || {
                    write_physical(&dir, &message, |column| {
                        column
                            .typed::<parquet::data_type::Int32Type>()
                            .write_batch(&[7], None, None)
                            .unwrap();
                    });
                }
            })
            .unwrap()
            .join()
            .unwrap();
        let message = failure(&wanted(dir.path(), "g STRUCT<x: INT>"));
        assert!(message.contains("levels, and at most 100 are read"), "{message}");
    }
}
