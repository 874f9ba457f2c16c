//! Spark's schema text.

#![allow(clippy::unwrap_used, reason = "tests")]

use arrow_schema::{DataType, TimeUnit};
use tidemill_types::{format_schema, parse_schema, parse_schema_or_type, parse_type};

#[test]
fn every_type_is_printed_as_spark_prints_it() {
    check(
        "order_id STRING, amount DOUBLE, t TIMESTAMP, y STRUCT<z: INT, w: STRING>, tags ARRAY<STRING>, m MAP<STRING, INT>, p DECIMAL(6,2)",
        "order_id string, amount double, t timestamp, y struct<z:int,w:string>, tags array<string>, m map<string,int>, p decimal(6,2)",
    );
    check(
        "a integer, b LONG, c short, d byte, e real, f Boolean, g binary, h date, i timestamp_ltz, j timestamp_ntz, k varchar(10), l char(3), m dec, n numeric(5), o bigint",
        "a int, b bigint, c smallint, d tinyint, e float, f boolean, g binary, h date, i timestamp, j timestamp_ntz, k string, l string, m decimal(10,0), n decimal(5,0), o bigint",
    );
}

#[test]
fn names_may_be_quoted_and_fields_may_have_attributes() {
    check(
        "`a b` INT NOT NULL COMMENT 'it''s', `c``d`: STRING COMMENT \"x, y\", s STRUCT<`e-f`: INT NOT NULL, g: ARRAY<MAP<STRING, STRUCT<>>>> not null",
        "`a b` int, `c``d` string, s struct<`e-f`:int,g:array<map<string,struct<>>>>",
    );
}

#[test]
fn a_struct_type_is_a_schema_too() {
    check("STRUCT<a: INT, b STRING>", "a int, b string");
    check("struct INT", "struct int");
}

#[test]
fn timestamps_are_microseconds_in_utc() {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(parse_type("TIMESTAMP").unwrap(), utc);
    assert_eq!(
        parse_type("timestamp_ntz").unwrap(),
        DataType::Timestamp(TimeUnit::Microsecond, None)
    );
}

#[test]
fn from_json_takes_a_schema_or_a_type() {
    assert!(matches!(parse_schema_or_type("a INT").unwrap(), DataType::Struct(_)));
    assert!(matches!(parse_schema_or_type("MAP<STRING, STRING>").unwrap(), DataType::Map(..)));
    assert!(matches!(parse_schema_or_type("ARRAY<INT>").unwrap(), DataType::List(_)));
}

#[test]
fn an_error_says_where_and_what_was_expected() {
    refused(
        "a INT b STRING",
        "at character 7 there is \"b\", expected a comma, NOT NULL or COMMENT",
    );
    refused("a INTT", "at character 3 there is \"INTT\", expected a type (STRING,");
    refused("a DECIMAL(39,2)", "at character 11 there is \"39\", expected a precision of 1 to 38");
    refused("a ARRAY<INT", "at character 12 there is the end, expected \">\"");
    refused("a INT,", "at character 7 there is the end, expected a column name");
    refused("`a INT", "expected a name that ends with a backtick");
    refused("", "at character 1 there is the end, expected a column name");
    refused("ä INT, b €", "at character 10 there is \"€\", expected a type");
    refused(&format!("a {}", "ARRAY<".repeat(5_000)), "expected at most 100 nested types");
}

/// The printed form is a schema again.
#[track_caller]
fn check(text: &str, printed: &str) {
    let schema = parse_schema(text).unwrap();
    assert_eq!(format_schema(&schema), printed);
    assert_eq!(parse_schema(printed).unwrap(), schema);
    assert!(schema.fields().iter().all(|field| field.is_nullable()));
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = parse_schema(text).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}
