//! Both paths give the same rows: on thousands of rows, most of them damaged at random.

#![allow(clippy::unwrap_used, reason = "tests")]

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;
use tidemill_types::parse_schema;

const ROUNDS: usize = 30_000;

const SCHEMA: &str = "id STRING, n INT, big BIGINT, x DOUBLE, at TIMESTAMP, b BOOLEAN, d DATE, p DECIMAL(6,2), f FLOAT, s SMALLINT, y STRUCT<z: INT, w: STRING>, tags ARRAY<STRING>, m MAP<STRING, INT>, bin BINARY, local TIMESTAMP_NTZ, _corrupt_record STRING";

const ROWS: [&str; 10] = [
    r#"{"id":"o1","n":3,"big":-12,"x":12.34,"at":"2025-06-15T15:06:40.002Z","b":true,"other":1}"#,
    r#"{"id":"ü😀","at":"2025-06-15 15:06:40+05:30","x":-0,"b":false,"big":123456789012345678}"#,
    r#"{ "n" : -0 , "x" : 1e5, "big" : 0, "at":"2025-02-28","other":{"n":[1,2,{"id":"in"}]} }"#,
    r#"{"id":"a\"b\\cé","x":0.1,"unread":"c\ttab A","n":2147483647}"#,
    r#"{"id":{"k":[1, 2.50]},"n":null,"tags":["a",null,3],"y":{"z":1,"w":"v"},"m":{"a":1,"b":null}}"#,
    r#"{"d":"2026-02-03","p":12.345,"f":0.1,"s":-7,"bin":"aGk=","local":"2026-01-01T00:00:00.5"}"#,
    r#"{"id":"x","n":1,"id":"y","n":2}"#,
    r#"{"at":1767225600,"x":1234567890.123456789,"unread":[[],{},"",true,false,null,-1.5E-7]}"#,
    r#"{}"#,
    r#"{"x":0.000000000000000000000000001,"x2":"\/\b\f\r","n":10,"at":"2025-06-15T24:00:00Z"}"#,
];

/// What damage is made of.
const PIECES: [&str; 34] = [
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\\",
    "0",
    "9",
    "-",
    "+",
    ".",
    "e",
    "E",
    " ",
    "\t",
    "\n",
    "\u{1}",
    "'",
    "null",
    "true",
    "NaN",
    "\\u00",
    "\\n",
    "\"id\":",
    "\"n\":",
    "1.5",
    "99999999999",
    "/*",
    "é",
    "Z",
    "T",
    "\u{feff}",
];

#[test]
fn the_fast_path_and_the_slow_path_give_the_same_rows() {
    let seed = 20_260_101;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut fast = JsonDecoder::new(parse_schema(SCHEMA).unwrap(), JsonOptions::default()).unwrap();
    let mut slow = JsonDecoder::new(parse_schema(SCHEMA).unwrap(), JsonOptions::default()).unwrap();
    for round in 0..ROUNDS {
        let mut text = (*ROWS.choose(&mut random).unwrap()).to_owned();
        for _ in 0..random.random_range(0..3) {
            damage(&mut text, &mut random);
        }
        fast.decode_value(Some(text.as_bytes())).unwrap();
        slow.decode_value_slowly(&text).unwrap();
        assert_eq!(fast.finish_struct(), slow.finish_struct(), "round {round}, value {text:?}");

        let line = text.replace(['\n', '\r'], " ");
        fast.decode_lines(line.as_bytes()).unwrap();
        if !line.is_empty() {
            slow.decode_line_slowly(line.as_bytes()).unwrap();
        }
        assert_eq!(fast.finish(), slow.finish(), "round {round}, line {line:?}");
    }
}

/// The rows as they are must be the fast path's, or the test above compares the slow path with
/// itself.
#[test]
fn clean_rows_take_the_fast_path() {
    let schema = parse_schema(SCHEMA).unwrap();
    let mut decoder = JsonDecoder::new(schema, JsonOptions::default()).unwrap();
    for row in [0, 1, 2, 3, 4, 5, 7, 8].map(|i| ROWS[i]) {
        assert!(decoder.take_fast(row.as_bytes(), Text::Value), "{row}");
    }
    assert!(!decoder.take_fast(ROWS[6].as_bytes(), Text::Value), "a field that is there twice");
}

fn damage(text: &mut String, random: &mut StdRng) {
    let boundaries: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
    let mut place = || *boundaries.choose(random).unwrap();
    let (a, b) = (place(), place());
    let (from, to) = (a.min(b), a.max(b));
    let short_to = boundaries.iter().copied().find(|at| *at > from).unwrap_or(from);
    match random.random_range(0..6) {
        0 => text.replace_range(from..short_to, ""),
        1 => text.replace_range(from..short_to, PIECES.choose(random).unwrap()),
        2 | 3 => text.insert_str(from, PIECES.choose(random).unwrap()),
        4 => text.truncate(to),
        _ => {
            let copy = text[from..to].to_owned();
            text.insert_str(to, &copy);
        }
    }
}
