//! Values that have no result: the run ends with exit status 1 and Spark's words (ANSI mode), and a
//! `try_` form gives null. What Spark refuses while it plans ends with exit status 2.

use tidemill_tests::Workbench;

const JOB: &str = r#"
name = "ansi"
output_mode = "MODE"
trigger = { available_now = true }

[source.events]
format = "json"
path = "input/events"
schema = "id STRING, v BIGINT, i INT, d DOUBLE, m DECIMAL(38,0), k STRING, a ARRAY<INT>, _corrupt_record STRING"

[[step]]
name = "out"
sql = "SELECT EXPRESSION AS x FROM events"

[sink]
format = "console"
options = { format = "json" }
"#;

const ROWS: &str = r#"{"id": "a", "v": 1, "i": 2147483647, "d": 1.5, "m": 99999999999999999999999999999999999999, "k": "x", "a": [1, 2]}
{"id": "b", "v": 0, "i": -2147483648, "d": 0.0, "m": 1, "k": "7", "a": []}
{"id": "c", "v": 9223372036854775807, "i": 1}
"#;

#[track_caller]
fn fails(mode: &str, expression: &str, code: i32, words: &[&str]) {
    let bench = Workbench::new();
    bench.write("job.toml", JOB.replace("MODE", mode).replace("EXPRESSION", expression));
    bench.write_input("input/events/0.json", 0, ROWS);
    bench.run(&["run", "job.toml"]).expect_failure(code, words);
}

#[test]
fn a_value_without_a_result_ends_the_run_with_the_words_of_spark() {
    for (expression, words) in [
        ("10 / v", "[DIVIDE_BY_ZERO] Division by zero. Use `try_divide`"),
        ("10 / d", "[DIVIDE_BY_ZERO]"),
        ("m / 0", "[DIVIDE_BY_ZERO]"),
        ("i DIV v", "[DIVIDE_BY_ZERO]"),
        ("i % v", "[REMAINDER_BY_ZERO] Remainder by zero. Use `try_mod`"),
        ("i + 1", "[ARITHMETIC_OVERFLOW] overflow. Use 'try_add'"),
        ("i - 1", "[ARITHMETIC_OVERFLOW] overflow. Use 'try_subtract'"),
        ("v * 2", "[ARITHMETIC_OVERFLOW] overflow. Use 'try_multiply'"),
        ("-i", "[ARITHMETIC_OVERFLOW]"),
        ("m * 10", "[NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION]"),
        ("CAST(k AS INT)", "[CAST_INVALID_INPUT] The value 'x' of the type"),
        ("k + 1", "[CAST_INVALID_INPUT]"),
        ("CAST(v AS INT)", "[CAST_OVERFLOW] The value 9223372036854775807"),
        ("a[1]", "[INVALID_ARRAY_INDEX] The index 1 is out of bounds. The array has 0 elements"),
        ("element_at(a, 3)", "[INVALID_ARRAY_INDEX_IN_ELEMENT_AT] The index 3 is out of bounds"),
        ("element_at(a, 0)", "[INVALID_INDEX_OF_ZERO]"),
        ("_corrupt_record", "[UNSUPPORTED_FEATURE.QUERY_ONLY_CORRUPT_RECORD_COLUMN]"),
    ] {
        fails("append", expression, 1, &[words]);
    }
    for (expression, words) in [
        ("sum(v)", "[ARITHMETIC_OVERFLOW] overflow. Use 'try_sum'"),
        ("sum(m)", "[ARITHMETIC_OVERFLOW] Overflow in sum of decimals. Use 'try_sum'"),
        ("avg(m)", "[ARITHMETIC_OVERFLOW] Overflow in sum of decimals. Use 'try_avg'"),
        ("sum(k)", "[CAST_INVALID_INPUT] The value 'x' of the type"),
    ] {
        fails("update", expression, 1, &[words]);
    }
}

#[test]
fn the_forms_that_tolerate_give_null() {
    let bench = Workbench::new();
    let all = "count(try_add(i, 1)) + count(try_divide(1, v)) + count(try_cast(k AS INT)) AS n, try_sum(v) AS s, try_avg(m)";
    bench.write("job.toml", JOB.replace("MODE", "update").replace("EXPRESSION", all));
    bench.write_input("input/events/0.json", 0, ROWS);
    let finished = bench.run(&["run", "job.toml"]).expect_success();
    assert!(finished.stdout.contains(r#"{"n":5,"s":null,"x":null}"#), "{}", finished.stdout);
}

#[test]
fn what_has_no_meaning_is_refused_before_the_run() {
    for (expression, words) in [
        ("from_json(k, 'a INT', map('mode', 'DROPMALFORMED'))", "[PARSE_MODE_UNSUPPORTED]"),
        ("frobnicate(v)", "[UNRESOLVED_ROUTINE] Cannot resolve routine `frobnicate`"),
        ("k, count(*)", "[MISSING_GROUP_BY]"),
        ("nothing", "[UNRESOLVED_COLUMN.WITH_SUGGESTION]"),
        ("sum(v > 1)", "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE]"),
        ("max_by(v)", "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION]"),
        ("percentile(v, 1.5)", "[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE]"),
        ("first(v, 1)", "should be a boolean literal"),
    ] {
        fails("update", expression, 2, &[words]);
    }
}
