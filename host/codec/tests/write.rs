//! Rows as JSON and cells as text.

#![allow(clippy::unwrap_used, reason = "tests")]

use arrow::array::{Array, AsArray, RecordBatch};
use tidemill_codec::{EncodeOptions, JsonDecoder, JsonEncoder, JsonOptions, format_cell, to_json};
use tidemill_time::UTC;
use tidemill_types::parse_schema;

const SCHEMA: &str = "s STRING, n INT, x DOUBLE, f FLOAT, b BOOLEAN, p DECIMAL(6,2), bin BINARY, d DATE, t TIMESTAMP, l TIMESTAMP_NTZ, y STRUCT<z: INT, w: STRING>, a ARRAY<INT>, m MAP<STRING, INT>";
const FULL: &str = r#"{"s":"a\"\n\u0001ü","n":-3,"x":1e10,"f":0.1,"b":true,"p":-0.5,"bin":"aGk=","d":"12026-01-02","t":"2026-01-01T10:00:00.5Z","l":"2026-01-01T10:00:00.000001","y":{"z":1},"a":[1,null],"m":{"k":null}}"#;

#[test]
fn a_row_is_written_with_its_nulls() {
    let options = EncodeOptions::default();
    assert_eq!(
        encode(&read(SCHEMA, &[FULL]), options.clone()),
        concat!(
            r#"{"s":"a\"\n\u0001ü","n":-3,"x":1.0E10,"f":0.1,"b":true,"p":-0.50,"bin":"aGk=","d":"+12026-01-02","#,
            r#""t":"2026-01-01T10:00:00.500Z","l":"2026-01-01T10:00:00.000001","#,
            r#""y":{"z":1,"w":null},"a":[1,null],"m":{"k":null}}"#,
            "\n"
        )
    );
    assert_eq!(encode(&read("s STRING, n INT", &["{}"]), options), "{\"s\":null,\"n\":null}\n");
}

/// Entries of a map and items of an array are data: they stay.
#[test]
fn null_fields_are_left_out_where_that_is_asked() {
    let options = EncodeOptions { ignore_null_fields: true, ..EncodeOptions::default() };
    let batch = read(SCHEMA, &["{}", r#"{"y":{"w":"v"},"a":[null],"m":{"k":null}}"#]);
    assert_eq!(
        encode(&batch, options),
        "{}\n{\"y\":{\"w\":\"v\"},\"a\":[null],\"m\":{\"k\":null}}\n"
    );
}

#[test]
fn numbers_that_are_none_are_strings() {
    let batch =
        read("x DOUBLE, f FLOAT", &[r#"{"x":"NaN","f":"-Infinity"}"#, r#"{"x":-0.0,"f":1e-5}"#]);
    assert_eq!(
        encode(&batch, EncodeOptions::default()),
        "{\"x\":\"NaN\",\"f\":\"-Infinity\"}\n{\"x\":-0.0,\"f\":1.0E-5}\n"
    );
}

#[test]
fn to_json_of_a_null_struct_is_null() {
    let schema = parse_schema("n INT").unwrap();
    let mut decoder = JsonDecoder::new(schema, JsonOptions::default()).unwrap();
    decoder.decode_value(None).unwrap();
    decoder.decode_value(Some(b"{\"n\":1}")).unwrap();
    let text = to_json(
        &decoder.finish_array(),
        &EncodeOptions { ignore_null_fields: true, ..EncodeOptions::default() },
    )
    .unwrap();
    assert!(text.is_null(0));
    assert_eq!(text.value(1), "{\"n\":1}");
}

#[test]
fn cells_look_as_in_a_table_of_spark() {
    let batch = read(SCHEMA, &[FULL, "{}"]);
    let cells: Vec<String> =
        batch.columns().iter().map(|array| format_cell(array, 0, UTC)).collect();
    assert_eq!(
        cells,
        [
            "a\"\n\u{1}ü",
            "-3",
            "1.0E10",
            "0.1",
            "true",
            "-0.50",
            "[68 69]",
            "+12026-01-02",
            "2026-01-01 10:00:00.5",
            "2026-01-01 10:00:00.000001",
            "{1, NULL}",
            "[1, NULL]",
            "{k -> NULL}",
        ]
    );
    assert!(batch.columns().iter().all(|array| format_cell(array, 1, UTC) == "NULL"));
}

/// Java's `Double.toString`.
#[test]
fn doubles_have_javas_notation() {
    let texts = ["100", "1e7", "9999999", "0.001", "0.0009", "1.5e300", "-12.25", "5e-324"];
    let rows: Vec<String> = texts.iter().map(|text| format!("{{\"x\":{text}}}")).collect();
    let batch = read("x DOUBLE", &rows.iter().map(String::as_str).collect::<Vec<_>>());
    let cells: Vec<String> =
        (0..texts.len()).map(|row| format_cell(batch.column(0), row, UTC)).collect();
    assert_eq!(
        cells,
        ["100.0", "1.0E7", "9999999.0", "0.001", "9.0E-4", "1.5E300", "-12.25", "5.0E-324"]
    );
    assert_eq!(batch.column(0).as_primitive::<arrow::datatypes::Float64Type>().value(6), -12.25);
}

fn read(schema: &str, lines: &[&str]) -> RecordBatch {
    let schema = parse_schema(schema).unwrap();
    let mut decoder = JsonDecoder::new(schema, JsonOptions::default()).unwrap();
    decoder.decode_lines(lines.join("\n").as_bytes()).unwrap();
    decoder.finish()
}

fn encode(batch: &RecordBatch, options: EncodeOptions) -> String {
    let mut out = Vec::new();
    JsonEncoder::new(&batch.schema(), options).unwrap().encode_rows(batch, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}
