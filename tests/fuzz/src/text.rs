//! Spark's texts: schemas and JSON.

use arrow::datatypes::SchemaRef;
use tidemill_codec::{JsonDecoder, JsonOptions};
use tidemill_types::{format_schema, parse_schema};

/// A column of each kind that JSON is read as.
const COLUMNS: &str = "a BIGINT, b STRING, c DOUBLE, d DECIMAL(10,2), e BOOLEAN, f DATE, \
    g TIMESTAMP, h ARRAY<INT>, i STRUCT<x: INT, y: ARRAY<STRING>>, j MAP<STRING, DOUBLE>, k BINARY";

pub(crate) fn columns() -> SchemaRef {
    parse_schema(COLUMNS).expect("the schema is one")
}

/// A schema that can be read is written so that it reads as itself.
pub(crate) fn ddl(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(schema) = parse_schema(text) {
        let written = format_schema(&schema);
        assert_eq!(parse_schema(&written).as_ref(), Ok(&schema), "written as {written}");
    }
}

/// One payload, as `from_json` and a source's `value` have it.
pub(crate) fn json(bytes: &[u8]) {
    let mut decoder = JsonDecoder::new(columns(), JsonOptions::default()).expect("it is read");
    // An error is an answer; the decoder can be used on after it.
    let _ = decoder.decode_value(Some(bytes));
    decoder.decode_value(Some(b"{\"a\": 7}")).expect("it is a row");
    let rows = decoder.finish();
    let last = rows.num_rows() - 1;
    let a = rows.column(0);
    assert!(!a.is_null(last), "the row after a bad one is whole");
}
