#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use super::*;
use crate::UTC;

fn written(pattern: &str, micros: i64) -> String {
    let mut text = String::new();
    Pattern::new(pattern, Use::Writing).unwrap().write(micros, UTC, &mut text).unwrap();
    text
}

fn seconds(pattern: &str, text: &str) -> Option<i64> {
    let pattern = Pattern::new(pattern, Use::Reading).unwrap();
    pattern.read(text).and_then(|parsed| parsed.moment(UTC)).map(|micros| micros / 1_000_000)
}

#[test]
fn times_are_written_as_java_writes_them() {
    let time = 1_551_769_689_123_456;
    for (pattern, text) in [
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2019-03-05T07:08:09.123Z"),
        ("d MMM yy, h 'o''clock' a", "5 Mar 19, 7 o'clock AM"),
        ("EEEE D DDD q QQQQ G", "Tuesday 64 064 1 1st quarter AD"),
        ("[''yyyyy''", "'02019'"),
        ("k K VV zzzz O x", "7 7 UTC Coordinated Universal Time GMT +00"),
    ] {
        assert_eq!(written(pattern, time), text);
    }
    assert_eq!(written("yyyy y yy", -62_198_755_200_000_000), "-0001 -1 01");
}

#[test]
fn texts_are_read_as_java_reads_them() {
    for (pattern, text, time) in [
        ("yyyy-MM-dd HH:mm:ss", "1970-01-02 00:00:01", Some(86_401)),
        ("yyyyMMddHHmmss", "19700102000001", Some(86_401)),
        ("yyyy-MM", "1970-02", Some(31 * 86_400)),
        ("hh:mm a", "01:00 pm", Some(13 * 3_600)),
        ("yyyy-MM-dd[ HH[:mm]]", "1970-01-01 01", Some(3_600)),
        ("yyyy-MM-dd HHXXX", "1970-01-01 01+01:00", Some(0)),
        ("yyyy-MM-dd HH VV", "1970-01-01 01 europe/paris", Some(0)),
        ("yyyy-MM-dd", "1970-1-1", None),
        ("yyyy-MM-dd", "1970-02-30", None),
        ("yyyy-MM-dd", "10000-02-03", None),
        ("yyyyMMddHHmmssSSS", "20190305070809123", None),
        ("HH a", "13 AM", None),
    ] {
        assert_eq!(seconds(pattern, text), time, "{pattern} {text}");
    }
}

#[test]
fn what_is_no_pattern_is_refused_by_spark_s_class() {
    for (pattern, class) in [
        ("YYYY", "DATETIME_PATTERN_RECOGNITION"),
        ("MMMMM", "DATETIME_PATTERN_RECOGNITION"),
        ("e", "DATETIME_WEEK_BASED_PATTERN"),
        ("n", "INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER"),
        ("QQQQQ", "INVALID_DATETIME_PATTERN.LENGTH"),
        ("bb", "INVALID_DATETIME_PATTERN.WITH_SUGGESTION"),
        ("'open", "INVALID_DATETIME_PATTERN.WITH_SUGGESTION"),
    ] {
        let error = Pattern::new(pattern, Use::Writing).unwrap_err().to_string();
        assert!(error.contains(class), "{pattern}: {error}");
    }
}
