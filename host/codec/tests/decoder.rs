//! The decoder's own promises: options, modes, blocks and bounds.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BinaryArray};
use arrow::datatypes::{DataType, Int32Type};
use tidemill_codec::{DecodeError, JsonDecoder, JsonOptions, from_json};
use tidemill_time::UTC;
use tidemill_types::{parse_schema, parse_type};

#[test]
fn an_unknown_option_is_refused_by_name() {
    let error = options(&[("allowTrailingComma", "true")]).unwrap_err();
    assert!(
        error.starts_with("the JSON option \"allowTrailingComma\" is \"true\": it is not known")
    );
    assert!(JsonOptions::KEYS.iter().all(|key| JsonOptions::has_key(&key.to_lowercase())));
}

#[test]
fn options_that_cannot_be_followed_are_refused() {
    for (key, value, reason) in [
        ("lineSep", "", "it has to have a character"),
        ("samplingRatio", "0", "give a number above 0"),
        ("encoding", "UTF-16", "only UTF-8 is read"),
        ("mode", "LENIENT", "give PERMISSIVE, DROPMALFORMED or FAILFAST"),
        ("timestampFormat", "EEE yyyy", "DATETIME_PATTERN_RECOGNITION"),
        ("dateFormat", "yyyy-MM-dd'", "WITH_SUGGESTION"),
        ("timeZone", "Europe/Par", "[INVALID_TIMEZONE]"),
        ("locale", "de-DE", "en-US"),
        ("allowComments", "yes", "give true or false"),
    ] {
        let error = options(&[(key, value)]).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn malformed_text_ends_a_query_in_mode_failfast() {
    let options = options(&[("MODE", "failfast")]).unwrap();
    let mut decoder = JsonDecoder::new(parse_schema("n INT").unwrap(), options).unwrap();
    decoder.decode_lines(b"{\"n\":1}\n").unwrap();
    let error = decoder.decode_lines(b"{\"n\":\"1\"}\n").unwrap_err();
    assert_eq!(error.error, DecodeError::Malformed("{\"n\":\"1\"}".to_owned()));
    assert_eq!(decoder.finish().num_rows(), 1);
}

#[test]
fn values_cannot_be_dropped() {
    let options = options(&[("mode", "DROPMALFORMED")]).unwrap();
    let data_type = parse_type("STRUCT<n: INT>").unwrap();
    let error = JsonDecoder::of_type(&data_type, options).err();
    assert_eq!(error, Some(DecodeError::DropMalformed));
}

#[test]
fn types_without_json_are_refused_when_the_decoder_is_made() {
    let schema = arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
        "u",
        DataType::UInt64,
        true,
    )]);
    let error = JsonDecoder::new(schema.into(), JsonOptions::default()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "column \"u\" is to be read from JSON as UInt64, which is not supported"
    );
}

#[test]
fn lines_end_with_any_line_end_and_blank_ones_are_no_rows() {
    assert_eq!(numbers(b"{\"n\":1}\r\n\r\n  \n{\"n\":2}\r{\"n\":3}"), [Some(1), Some(2), Some(3)]);
}

#[test]
fn one_line_that_is_not_utf8_harms_no_other() {
    assert_eq!(
        numbers(b"{\"n\":1}\n{\"n\":2,\"s\":\"\xff\"}\n{\"n\":3,\"s\":\"\xc3\xbc\"}"),
        [Some(1), None, Some(3)]
    );
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_in_a_value() {
    let values = BinaryArray::from_vec(vec![b"{\"s\":\"a\xffb\"}"]);
    let data_type = parse_type("STRUCT<s: STRING>").unwrap();
    let array = from_json(&values, &data_type, &JsonOptions::default()).unwrap();
    assert_eq!(array.as_struct().column(0).as_string::<i32>().value(0), "a\u{fffd}b");
}

#[test]
fn rows_are_counted_without_any_column() {
    let schema = parse_schema("STRUCT<>").unwrap();
    let mut decoder = JsonDecoder::new(schema, JsonOptions::default()).unwrap();
    decoder.decode_lines(b"{\"n\":1}\n\n{\"n\":\n[{},{}]\n").unwrap();
    assert_eq!(decoder.len(), 4);
    assert_eq!(decoder.finish().num_rows(), 4);
    assert!(decoder.is_empty());
}

#[test]
fn a_decoder_goes_on_after_finish() {
    let mut decoder =
        JsonDecoder::new(parse_schema("n INT, a ARRAY<INT>").unwrap(), JsonOptions::default())
            .unwrap();
    for round in 0..3 {
        decoder.decode_value(Some(format!("{{\"n\":{round},\"a\":[1,2]}}").as_bytes())).unwrap();
        decoder.decode_value(None).unwrap();
        let rows = decoder.finish_struct();
        assert_eq!(rows.len(), 2);
        assert!(rows.is_null(1));
        assert_eq!(rows.column(0).as_primitive::<Int32Type>().value(0), round);
        assert_eq!(rows.column(1).as_list::<i32>().value(0).len(), 2);
    }
}

#[test]
fn deep_nesting_is_malformed_and_not_fatal() {
    let mut decoder =
        JsonDecoder::new(parse_schema("n INT").unwrap(), JsonOptions::default()).unwrap();
    let deep = format!("{{\"x\":{}{},\"n\":1}}", "[".repeat(100_000), "]".repeat(100_000));
    decoder.decode_value(Some(deep.as_bytes())).unwrap();
    let within = format!("{{\"x\":{}{},\"n\":1}}", "[".repeat(900), "]".repeat(900));
    decoder.decode_value(Some(within.as_bytes())).unwrap();
    let rows = decoder.finish_struct();
    assert!(rows.column(0).is_null(0));
    assert!(rows.column(0).is_valid(1));
}

fn numbers(block: &[u8]) -> Vec<Option<i32>> {
    let mut decoder =
        JsonDecoder::new(parse_schema("n INT, s STRING").unwrap(), JsonOptions::default()).unwrap();
    decoder.decode_lines(block).unwrap();
    decoder.finish().column(0).as_primitive::<Int32Type>().iter().collect()
}

fn options(options: &[(&str, &str)]) -> Result<JsonOptions, String> {
    let map: BTreeMap<String, String> =
        options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    JsonOptions::parse(&map, UTC).map_err(|error| error.to_string())
}
