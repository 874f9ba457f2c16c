//! Records as univocity 2.9.1 takes them apart, recorded on made-up bytes, most of them broken;
//! and what Spark 4.3 makes of cells.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use tidemill_time::UTC;
use tidemill_types::parse_schema;

use super::record::{self, Cell, Cells, LineEnd, Stop};
use super::*;
use crate::{EncodeOptions, JsonEncoder};

/// One record a line: the number of its options, `L` for a line or `M` for a file, its bytes in
/// hexadecimal, and its rows: `|` between them, `,` between cells, `-` for an empty text.
const RECORDED: &str = include_str!("../../tests/recorded/csv_records.txt");

/// Separator, quote, escape, comment, nullValue, emptyValue, whether blanks go in front and
/// behind, charToEscapeQuoteEscaping.
type Recorded = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    bool,
    &'static str,
);

const OPTIONS: [Recorded; 10] = [
    (",", "\"", "\\", "", "", "", false, false, ""),
    (",", "\"", "\"", "", "", "", false, false, ""),
    ("||", "\"", "\\", "", "", "", false, false, ""),
    (";", "\"", "", "", "", "", false, false, ""),
    (",", "", "\\", "", "", "", false, false, ""),
    (",", "\"", "\\", "#", "-", "E", true, true, ""),
    ("||", "\"", "\"", "#", "-", "E", true, true, ""),
    ("\\t", "'", "\\", "", "N", "", true, false, ""),
    (",", "\"", "\\", "", "", "", false, true, "~"),
    ("aba", "\"", "\\", "", "", "", false, false, ""),
];

fn given(pairs: &[(&str, &str)]) -> CsvOptions {
    let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    CsvOptions::parse(&pairs.collect(), UTC).unwrap()
}

fn options(number: usize) -> CsvOptions {
    let (sep, quote, escape, comment, null, empty, front, back, escape_escape) = OPTIONS[number];
    let mut pairs = vec![
        ("sep", sep),
        ("quote", quote),
        ("escape", escape),
        ("comment", comment),
        ("nullValue", null),
        ("emptyValue", empty),
        ("charToEscapeQuoteEscaping", escape_escape),
    ];
    pairs.extend(front.then_some(("ignoreLeadingWhiteSpace", "true")));
    pairs.extend(back.then_some(("ignoreTrailingWhiteSpace", "true")));
    given(&pairs)
}

fn from_hex(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn shown_cells(cells: &Cells, record: &str, options: &CsvOptions) -> String {
    let shown = cells.cells.iter().map(|cell| {
        let text = match cell {
            Cell::Absent => options.values.null.clone(),
            Cell::Empty => options.values.empty.clone(),
            cell => cells.value(record, cell).into_owned(),
        };
        match text.as_str() {
            "" => "-".to_owned(),
            text => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        }
    });
    shown.collect::<Vec<_>>().join(",")
}

fn line(bytes: &[u8], options: &CsvOptions) -> String {
    let mut cells = Cells::default();
    if options.rules.comment == bytes.first().copied() {
        return "null".to_owned();
    }
    if options.rules.is_plain(bytes) {
        record::split(options.rules.delimiter[0], bytes, 100, &mut cells).unwrap();
    } else {
        record::read(&options.rules, bytes, true, LineEnd::NEWLINE, 100, &mut cells).unwrap();
    }
    shown_cells(&cells, std::str::from_utf8(bytes).unwrap(), options)
}

/// The rows of a file of which `window` bytes are there at first, and one more at a time.
fn file(bytes: &[u8], options: &CsvOptions, window: usize) -> String {
    let line_end = LineEnd::of(bytes).unwrap_or(LineEnd::NEWLINE);
    let mut rows = Vec::new();
    let (mut at, mut seen) = (0, window.min(bytes.len()));
    while at < bytes.len() {
        let rest = &bytes[at..seen];
        let is_last = seen == bytes.len();
        if options.rules.comment.is_some_and(|comment| rest.first() == Some(&comment)) {
            at = line_end.find(&bytes[at..]).map_or(bytes.len(), |end| at + end);
            seen = seen.max(at);
            continue;
        }
        let mut cells = Cells::default();
        match record::read(&options.rules, rest, is_last, line_end, 100, &mut cells) {
            Err(Stop::End) => seen += 1,
            Err(stop) => panic!("{stop:?}"),
            Ok(taken) => {
                if !cells.cells.is_empty() {
                    let text = String::from_utf8(rest[..taken.len].to_vec()).unwrap();
                    rows.push(shown_cells(&cells, &text, options));
                }
                at += taken.len;
            }
        }
    }
    if rows.is_empty() { "none".to_owned() } else { rows.join("|") }
}

#[test]
fn records_are_what_univocity_makes_of_them() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for recorded in RECORDED.lines().filter(|line| !line.starts_with("//")) {
        let [number, kind, bytes, expected] =
            recorded.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (options, bytes) = (options(number.parse().unwrap()), from_hex(bytes));
        let found = match kind {
            "L" => vec![line(&bytes, &options)],
            _ => [bytes.len(), 1].map(|window| file(&bytes, &options, window)).to_vec(),
        };
        count += 1;
        if found.iter().any(|found| found != expected) {
            wrong.push(format!(
                "{recorded}\n  found {found:?} in {:?}",
                String::from_utf8_lossy(&bytes)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(15)].join("\n")
    );
    assert!(count > 100);
}

fn decoder(schema: &str, pairs: &[(&str, &str)]) -> CsvDecoder {
    let schema = parse_schema(schema).unwrap();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    CsvDecoder::new(&schema, &all, given(pairs)).unwrap()
}

fn rows(decoder: &mut CsvDecoder) -> Vec<String> {
    let batch = decoder.finish();
    let mut lines = Vec::new();
    JsonEncoder::new(
        &batch.schema(),
        EncodeOptions { ignore_null_fields: true, ..EncodeOptions::default() },
    )
    .unwrap()
    .encode_rows(&batch, &mut lines)
    .unwrap();
    String::from_utf8(lines).unwrap().lines().map(str::to_owned).collect()
}

fn read(schema: &str, pairs: &[(&str, &str)], text: &[u8]) -> (Vec<String>, Malformed) {
    let mut decoder = decoder(schema, pairs);
    decoder.begin_file();
    let is_whole = pairs.contains(&("multiLine", "true"));
    let malformed = if is_whole {
        decoder.decode_records(text, true, usize::MAX).unwrap().1
    } else {
        decoder.decode_lines(text).unwrap()
    };
    (rows(&mut decoder), malformed)
}

#[test]
fn a_record_with_too_few_or_too_many_cells_is_malformed_and_keeps_those_that_are_there() {
    let text = b"1,a,2\n2,b\n4,a,5,6\nx,y,7\n";
    let schema = "id INT, s STRING, n INT, _corrupt_record STRING";
    let (rows, malformed) = read(schema, &[], text);
    assert_eq!(
        rows,
        [
            r#"{"id":1,"s":"a","n":2}"#,
            r#"{"id":2,"s":"b","_corrupt_record":"2,b"}"#,
            r#"{"id":4,"s":"a","n":5,"_corrupt_record":"4,a,5,6"}"#,
            r#"{"s":"y","n":7,"_corrupt_record":"x,y,7"}"#,
        ]
    );
    assert_eq!(malformed, Malformed { rows: 3, first: Some(6) });
    let (rows, malformed) = read("id INT, s STRING, n INT", &[("mode", "dropMalformed")], text);
    assert_eq!((rows.len(), malformed.rows), (1, 3));
}

#[test]
fn a_record_is_held_against_the_columns_that_are_read() {
    let schema = parse_schema("id INT, s STRING, n INT").unwrap();
    let text = b"1,a,2\n2\nx,b,3,4\n";
    let drop = [("mode", "DROPMALFORMED")];
    let mut pruned = CsvDecoder::new(&schema, &[1], given(&drop)).unwrap();
    assert_eq!(pruned.decode_lines(text).unwrap().rows, 0);
    assert_eq!(rows(&mut pruned), [r#"{"s":"a"}"#, "{}", r#"{"s":"b"}"#]);
    let all = [("mode", "DROPMALFORMED"), ("columnPruning", "false")];
    let mut whole = CsvDecoder::new(&schema, &[1], given(&all)).unwrap();
    assert_eq!(whole.decode_lines(text).unwrap().rows, 2);
    let mut none = CsvDecoder::new(&schema, &[], given(&drop)).unwrap();
    none.decode_lines(text).unwrap();
    assert_eq!(none.finish().num_rows(), 3);
}

#[test]
fn failfast_names_the_record() {
    let mut decoder = decoder("id INT, s STRING", &[("mode", "FAILFAST")]);
    let error = decoder.decode_lines(b"1,a\nx,b\n2,c\n").unwrap_err();
    assert_eq!(error.at, 4);
    assert!(error.to_string().contains("record parsing: x,b. Parse Mode: FAILFAST"), "{error}");
    decoder.decode_lines(b"2,c\n").unwrap();
    assert_eq!(rows(&mut decoder).len(), 2, "the decoder goes on without the record");
}

#[test]
fn numbers_are_what_java_takes() {
    let schema = "f FLOAT, d DOUBLE, b TINYINT, l BIGINT, m DECIMAL(5,2), x BOOLEAN";
    let of = |cell: &str| {
        let record = [format!("\"{cell}\"").as_str(); 6].join(",");
        read(schema, &[], record.as_bytes()).0.remove(0)
    };
    let expected = [
        ("1", r#"{"f":1.0,"d":1.0,"b":1,"l":1,"m":1.00}"#),
        ("-0", r#"{"f":-0.0,"d":-0.0,"b":0,"l":0,"m":0.00}"#),
        ("NaN", r#"{"f":"NaN","d":"NaN"}"#),
        ("-Infinity", r#"{"f":"-Infinity","d":"-Infinity"}"#),
        ("Inf", r#"{"f":"Infinity","d":"Infinity"}"#),
        ("nan", "{}"),
        ("inf", "{}"),
        ("+Inf", "{}"),
        (" 1 ", r#"{"f":1.0,"d":1.0}"#),
        ("1D", r#"{"f":1.0,"d":1.0}"#),
        ("0x1.8p1", r#"{"f":3.0,"d":3.0}"#),
        ("0x10", "{}"),
        ("1e", "{}"),
        (".", "{}"),
        ("+1", r#"{"f":1.0,"d":1.0,"b":1,"l":1,"m":1.00}"#),
        ("200", r#"{"f":200.0,"d":200.0,"l":200,"m":200.00}"#),
        ("1,5", r#"{"m":15.00}"#),
        ("1e3", r#"{"f":1000.0,"d":1000.0}"#),
        ("123.456", r#"{"f":123.456,"d":123.456,"m":123.46}"#),
        ("٣", r#"{"b":3,"l":3,"m":3.00}"#),
        ("FALSE", r#"{"x":false}"#),
        ("true ", "{}"),
    ];
    for (cell, row) in expected {
        assert_eq!(of(cell), row, "{cell:?}");
    }
}

#[test]
fn times_go_by_the_formats_that_are_given() {
    let schema = "d DATE, t TIMESTAMP, u TIMESTAMP_NTZ";
    let of =
        |pairs: &[(&str, &str)], record: &str| read(schema, pairs, record.as_bytes()).0.remove(0);
    assert_eq!(
        of(&[], "2026-1-5T10:00,2026-01-05 10:00:00+02:00,2026-01-05 10:00:00"),
        r#"{"d":"2026-01-05","t":"2026-01-05T08:00:00.000Z","u":"2026-01-05T10:00:00.000"}"#
    );
    assert_eq!(of(&[], "20260105,x,2026-01-05T10:00:00Z"), "{}");
    let formats = [("dateFormat", "dd.MM.yyyy"), ("timestampFormat", "dd.MM.yyyy HH:mm")];
    let both = "05.01.2026,05.01.2026 10:00,";
    let read_both = r#"{"d":"2026-01-05","t":"2026-01-05T10:00:00.000Z"}"#;
    assert_eq!(of(&formats, both), read_both);
    assert_eq!(of(&formats, "2026-01-05,2026-01-05 10:00:00,"), "{}");
    let falls_back = [formats[0], formats[1], ("enableDateTimeParsingFallback", "true")];
    assert_eq!(of(&falls_back, "2026-01-05,2026-01-05 10:00:00,"), read_both);
    assert_eq!(of(&[("enableDateTimeParsingFallback", "false")], "2026-1-5,,"), "{}");
}

#[test]
fn null_and_empty_are_two_things_where_nullvalue_is_a_text() {
    let schema = "a STRING, s STRING, n INT";
    let (rows, _) =
        read(schema, &[("emptyValue", "E"), ("nullValue", "x")], b"a,\"\",1\nb,,2\nc,x,3\n");
    assert_eq!(rows, [r#"{"a":"a","s":"E","n":1}"#, r#"{"a":"b","n":2}"#, r#"{"a":"c","n":3}"#]);
    assert_eq!(read(schema, &[], b"a,\"\",1\n").0, [r#"{"a":"a","n":1}"#]);
}

#[test]
fn a_quote_that_is_never_closed_ends_with_its_line_or_takes_the_rest_of_the_file() {
    let text = b"1,\"abc,3\n4,xy,6\n";
    let schema = "id INT, s STRING, n INT";
    let (rows, malformed) = read(schema, &[], text);
    assert_eq!(rows, [r#"{"id":1,"s":"abc,3"}"#, r#"{"id":4,"s":"xy","n":6}"#]);
    assert_eq!(malformed, Malformed { rows: 1, first: Some(0) });
    let (rows, malformed) = read(schema, &[("multiLine", "true")], text);
    assert_eq!(rows, [r#"{"id":1,"s":"abc,3\n4,xy,6\n"}"#]);
    assert_eq!(malformed, Malformed { rows: 1, first: Some(0) });
    // In the last column nothing else would tell.
    let (_, malformed) = read("a STRING", &[("multiLine", "true")], b"x\n\"open\ny\n");
    assert_eq!(malformed, Malformed { rows: 1, first: Some(2) });
}

#[test]
fn bytes_that_are_no_utf_8_are_replaced_and_counted() {
    for pairs in [&[][..], &[("multiLine", "true")]] {
        let (rows, malformed) = read("n INT, s STRING", pairs, b"1,caf\xe9\n2,ok\n");
        assert_eq!(rows, [r#"{"n":1,"s":"caf�"}"#, r#"{"n":2,"s":"ok"}"#]);
        assert_eq!(malformed, Malformed { rows: 1, first: Some(0) });
    }
}

#[test]
fn a_header_is_passed_over_and_compared() {
    let schema = "id INT, s STRING";
    let header = ("header", "true");
    let text = b"  \n#c\nID,S\n1,a\n";
    let (rows, _) = read(schema, &[header, ("comment", "#"), ("enforceSchema", "false")], text);
    assert_eq!(rows, [r#"{"id":1,"s":"a"}"#]);
    let mut other = decoder(schema, &[header]);
    other.begin_file();
    other.decode_lines(b"s,id\n1,a\n").unwrap();
    let problem = other.take_header_problem().unwrap();
    assert!(problem.contains("column 1 is \"s\" there, and \"id\" in the schema"), "{problem}");
    assert_eq!(other.len(), 1);
    let mut strict = decoder(schema, &[header, ("enforceSchema", "false")]);
    for text in [b"s,id\n".as_slice(), b"id\n"] {
        strict.begin_file();
        assert!(matches!(strict.decode_lines(text).unwrap_err().error, CsvError::Header(_)));
    }
}

#[test]
fn what_a_record_may_have_is_bounded() {
    let many = decoder("a STRING", &[("maxColumns", "3")]).decode_lines(b"1,2,3,4\n");
    assert_eq!(many.unwrap_err().error, CsvError::TooManyCells(3));
    let long = decoder("a STRING", &[("maxCharsPerColumn", "3")]).decode_lines(b"abcd\n");
    assert_eq!(long.unwrap_err().error, CsvError::LongCell(3));
    // Every quote and backslash goes one step deeper into the cell.
    let nested = format!("\"{}", "a\"\\\"b".repeat(5_000));
    let mut decoder = decoder("a STRING", &[]);
    assert_eq!(decoder.decode_lines(nested.as_bytes()).unwrap().rows, 1);
}

#[test]
fn options_that_cannot_be_followed_are_refused() {
    let refusal = |key: &str, value: &str| {
        let given = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        CsvOptions::parse(&given, UTC).unwrap_err().to_string()
    };
    assert!(refusal("quote", "ab").contains("one ASCII character"));
    assert!(refusal("sep", "\\x").contains("after a backslash"));
    assert!(refusal("sep", "").contains("at least one character"));
    assert!(refusal("unescapedQuoteHandling", "RAISE_ERROR").contains("STOP_AT_DELIMITER"));
    assert_eq!(given(&[("sep", "|\\t")]).rules.delimiter, b"|\t");
}
