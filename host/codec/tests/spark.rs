//! What real PySpark 4.3.0 made of some hundred texts, against what is made of them here. The
//! recorded texts and answers are in `recorded/`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;

use arrow::array::{Array, ArrayRef, StringArray};
use serde_json::Value;
use tidemill_codec::{EncodeOptions, JsonDecoder, JsonEncoder, JsonOptions, from_json, to_json};
use tidemill_time::UTC;
use tidemill_types::{parse_schema, parse_schema_or_type};

const SOURCE_FILES: usize = 6;

#[test]
fn from_json_reads_as_spark_does() {
    let schema = "id STRING, amount DOUBLE, n INT, at TIMESTAMP, tags ARRAY<STRING>";
    check_values("from-json-permissive.expected", &[("data", schema, &[])]);
}

#[test]
fn from_json_reads_as_spark_does_with_options_and_other_types() {
    check_values(
        "from-json-options.expected",
        &[
            (
                "a",
                "bad STRING, id STRING, amount DECIMAL(6,2), n TINYINT",
                &[("columnNameOfCorruptRecord", "bad"), ("mode", "PERMISSIVE")],
            ),
            ("m", "MAP<STRING, STRING>", &[]),
            ("arr", "ARRAY<STRUCT<id: STRING, n: INT>>", &[]),
            ("txt", "id STRING, amount STRING, n BIGINT, tags STRING, extra STRING", &[]),
            ("tf", "at TIMESTAMP, n DOUBLE", &[("timestampFormat", "yyyy-MM-dd HH:mm:ss")]),
            (
                "strict",
                "id STRING, amount FLOAT, n BOOLEAN",
                &[("allowNonNumericNumbers", "false"), ("allowSingleQuotes", "false")],
            ),
            ("dt", "at DATE, extra STRUCT<deep: ARRAY<INT>>", &[]),
        ],
    );
}

#[test]
fn lines_are_read_as_spark_does() {
    let schema = "id STRING, n INT, x DOUBLE, at TIMESTAMP, y STRUCT<z: INT, w: STRING>, d DATE, b BOOLEAN, p DECIMAL(6,2)";
    check_lines("source-permissive.expected", schema, &[]);
}

#[test]
fn malformed_lines_are_dropped_as_spark_does() {
    let schema = "id STRING, n INT, x DOUBLE, at TIMESTAMP, y STRUCT<z: INT, w: STRING>, d DATE, b BOOLEAN, p DECIMAL(6,2)";
    check_lines("source-dropmalformed.expected", schema, &[("mode", "DROPMALFORMED")]);
}

/// The column `y` is not read, so that nothing in it is malformed.
#[test]
fn lines_are_read_as_spark_does_with_options() {
    check_lines(
        "source-options.expected",
        "id STRING, n INT, x DOUBLE, at TIMESTAMP, d DATE, b BOOLEAN, p DECIMAL(6,2)",
        &[
            ("allowComments", "true"),
            ("allowUnquotedFieldNames", "true"),
            ("allowSingleQuotes", "false"),
            ("allowNumericLeadingZeros", "true"),
            ("timestampFormat", "yyyy-MM-dd HH:mm:ss"),
            ("dateFormat", "yyyyMMdd"),
        ],
    );
}

/// Every text with its own schema, through both doors.
#[test]
fn odd_texts_are_read_as_spark_does() {
    let cases: Vec<Value> = serde_json::from_str(&recorded("odd-texts.json")).unwrap();
    for case in cases {
        let schema = case["schema"].as_str().unwrap();
        let options: BTreeMap<String, String> =
            serde_json::from_value(case["options"].clone()).unwrap();
        let options = JsonOptions::parse(&options, UTC).unwrap();
        for row in case["rows"].as_array().unwrap() {
            let text = row["text"].as_str().unwrap();
            let values: ArrayRef = from_json(
                &StringArray::from(vec![text]),
                &parse_schema_or_type(schema).unwrap(),
                &options,
            )
            .unwrap();
            assert_eq!(
                text_of(&to_json(&values, &EncodeOptions::default()).unwrap(), 0),
                row["value"].as_str().map(str::to_owned),
                "from_json of {text} as {schema}"
            );
            if let Some(expected) = row["lines"].as_array() {
                let mut decoder =
                    JsonDecoder::new(parse_schema(schema).unwrap(), options.clone()).unwrap();
                decoder.decode_lines(text.as_bytes()).unwrap();
                let expected: Vec<&str> = expected.iter().filter_map(Value::as_str).collect();
                assert_eq!(lines_of(&mut decoder), expected, "the line {text} as {schema}");
            }
        }
    }
}

type Options<'a> = &'a [(&'a str, &'a str)];

/// Reads every recorded value as each of `columns` (name, schema, options).
#[track_caller]
fn check_values(expected: &str, columns: &[(&str, &str, Options<'_>)]) {
    let values: Vec<Option<String>> = recorded("from-json.values")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let values = StringArray::from(values);
    for (name, schema, options) in columns {
        let data_type = parse_schema_or_type(schema).unwrap();
        let array = from_json(&values, &data_type, &parse_options(options)).unwrap();
        let found = to_json(&array, &EncodeOptions::default()).unwrap();
        for (i, line) in recorded(expected).lines().enumerate() {
            let expected: Value = serde_json::from_str(line).unwrap();
            let found =
                text_of(&found, i).map_or(Value::Null, |t| serde_json::from_str(&t).unwrap());
            assert_eq!(found, expected[name], "{name} of {}", values.value(i));
        }
    }
}

/// Reads every recorded file as a batch. Spark gave its rows sorted.
#[track_caller]
fn check_lines(expected: &str, schema: &str, options: Options<'_>) {
    let expected = recorded(expected);
    for file in 0..SOURCE_FILES {
        let block = recorded(&format!("source-{file}.lines"));
        let mut decoder =
            JsonDecoder::new(parse_schema(schema).unwrap(), parse_options(options)).unwrap();
        decoder.decode_lines(block.as_bytes()).unwrap();
        let mut found: Vec<Value> = lines_of(&mut decoder)
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect();
        let batch = format!("{file} ");
        let mut expected: Vec<Value> = expected
            .lines()
            .filter_map(|line| Some(serde_json::from_str(line.strip_prefix(&batch)?).unwrap()))
            .collect();
        if expected.iter().any(|row| row.get("z").is_some()) {
            found.iter_mut().for_each(flatten_y);
        }
        found.sort_by_key(Value::to_string);
        expected.sort_by_key(Value::to_string);
        assert_eq!(found, expected, "file {file}");
    }
}

/// `y.z AS z, y.w AS w` instead of `y`: what the recorded query selected.
fn flatten_y(row: &mut Value) {
    let row = row.as_object_mut().unwrap();
    let y = row.shift_remove("y").unwrap();
    row.insert("z".to_owned(), y.get("z").cloned().unwrap_or_default());
    row.insert("w".to_owned(), y.get("w").cloned().unwrap_or_default());
}

fn lines_of(decoder: &mut JsonDecoder) -> Vec<String> {
    let batch = decoder.finish();
    let mut out = Vec::new();
    JsonEncoder::new(&batch.schema(), EncodeOptions::default())
        .unwrap()
        .encode_rows(&batch, &mut out)
        .unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

fn text_of(array: &StringArray, row: usize) -> Option<String> {
    array.is_valid(row).then(|| array.value(row).to_owned())
}

fn parse_options(options: Options<'_>) -> JsonOptions {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    JsonOptions::parse(&options.collect(), UTC).unwrap()
}

/// From the checkout that is tested: several may share a target directory, and with it this test.
fn recorded(name: &str) -> String {
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    fs::read_to_string(format!("{package}/tests/recorded/{name}")).unwrap()
}
