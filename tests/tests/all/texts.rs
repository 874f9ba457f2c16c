//! A text in SQL reaches the rows as it was written, also through every call, operator and clause that
//! is planned as another one.

use tidemill_tests::Workbench;

/// Texts that are easily taken for another one: as SQL has them, and what they are.
const TEXTS: &[(&str, &str)] = &[
    ("'it''''s'", "it''s"),
    ("''''", "'"),
    (r"'a\\\'b'", r"a\'b"),
    (r"'end\\'", r"end\"),
    (r#""it's""#, "it's"),
    (r#"'say "so"'"#, r#"say "so""#),
    (r"'\\\\''\\n'", r"\\'\n"),
    (r"r'\d+'", r"\d+"),
    ("'`a`--b'", "`a`--b"),
];

const JOB: &str = r"
output_mode = 'MODE'
trigger = { available_now = true }

[source.events]
format = 'json'
path = 'input'
schema = 's STRING, n INT, t TIMESTAMP'

[[step]]
name = 'out'
sql = QUERY

[sink]
format = 'console'
options = { format = 'json' }
";

/// Expressions that hold for a row. In them `COND` is true, `TEXT` is yes, `ONE` is 1, `DAY` is a
/// Sunday and `TIME` its first moment, each only if the text is what the row has in `s`.
const SCALARS: &[&str] = &[
    "TEXT RLIKE 'yes'",
    "TEXT NOT RLIKE 'no'",
    "TEXT LIKE ANY ('y%', 'x')",
    "TEXT LIKE ANY ('y%')",
    "TEXT NOT LIKE ANY ('n%', 'yes')",
    "named_struct('a', TEXT).a = 'yes'",
    "named_struct('a', named_struct('b', TEXT)).a.b = 'yes'",
    "struct(TEXT AS a).a = 'yes'",
    "struct(TEXT).col1 = 'yes'",
    "to_json(struct(LITERAL AS a)) = to_json(struct(s AS a))",
    "to_json(struct(s AS `it's`)) = concat('{\"it\\'s\":', substr(to_json(struct(s AS a)), 6))",
    "from_json(to_json(struct(TEXT AS a)), 'a STRING').a = 'yes'",
    "from_json(to_json(struct(TEXT AS a)), 'a STRING', map('mode', 'PERMISSIVE')).a = 'yes'",
    "ln(ONE) = 0",
    "log10(ONE) = 0",
    "log2(ONE) = 0",
    "year(DAY) = 2026",
    "quarter(DAY) = 1",
    "month(DAY) = 1",
    "day(DAY) = 4",
    "dayofmonth(DAY) = 4",
    "dayofyear(DAY) = 4",
    "weekofyear(DAY) = 1",
    "dayofweek(DAY) IS NOT NULL",
    "date_format(TIME, 'yyyy') = '2026'",
    "to_timestamp(concat('2026', ''), 'yyyy') IS NOT NULL AND COND",
    "to_timestamp(CASE WHEN COND THEN '2026-01-04' END, 'yyyy-MM-dd') = TIMESTAMP'2026-01-04'",
    "to_date(CASE WHEN COND THEN '04/01/2026' END, 'dd/MM/yyyy') = DATE'2026-01-04'",
    "to_date(CASE WHEN COND THEN '2026-01-04' END) = DATE'2026-01-04'",
    "date_add(DAY, 1) = DATE'2026-01-05'",
    "date_sub(DAY, CAST(ONE AS INT)) = DATE'2026-01-03'",
    "add_months(DAY, 1) = DATE'2026-02-04'",
    "size(array(TEXT)) = 1",
    "sort_array(array(TEXT, 'z'))[0] = 'yes'",
    "sort_array(array(TEXT, 'a'), false)[0] = 'yes'",
    "CAST(ONE AS STRING) = '1'",
    "ONE::STRING = '1'",
    "try_cast(LITERAL AS STRING) = s",
    "string(LITERAL) = s",
    "int(ONE) = 1",
    "double(ONE) = 1",
    "isnull(nullif(s, LITERAL))",
    "NOT isnotnull(nullif(s, LITERAL))",
    "if(COND, 'yes', 'no') = 'yes'",
    "nvl(nullif(s, LITERAL), 'yes') = 'yes'",
    "ifnull(nullif(s, LITERAL), LITERAL) = s",
    "coalesce(nullif(s, LITERAL), LITERAL, 'no') = s",
    "startswith(TEXT, 'y')",
    "endswith(concat('x', LITERAL), s)",
    "ucase(TEXT) = 'YES'",
    "lcase(TEXT) = 'yes'",
    "mod(ONE, 2) = 1",
    "pmod(ONE, 2) = 1",
    "try_add(ONE, 1) = 2",
    "try_mod(ONE, 2) = 1",
    "regexp_replace(TEXT, 'e', 'x') = 'yxs'",
    "ONE = 1e0",
    "('x' || LITERAL) = concat('x', s)",
    "concat(LITERAL, 'x') = (s || 'x')",
];

/// The same of aggregations.
const AGGREGATES: &[&str] = &[
    "count_if(COND) = 1",
    "count(CASE WHEN COND THEN 1 END, n) = 1",
    "count(nullif(s, LITERAL), n) = 0",
    "regr_count(ONE, n) = 1",
    "regr_avgx(n, ONE) = 1",
    "regr_avgy(ONE, n) = 1",
    "first(TEXT) = 'yes'",
    "first(TEXT, true) = 'yes'",
    "last(TEXT, true) = 'yes'",
    "first_value(LITERAL) = max(s)",
    "any_value(TEXT) = 'yes'",
    "mean(ONE) = 1",
    "any(COND)",
    "every(COND)",
    "some(COND)",
    "mode(TEXT) = 'yes'",
    "mode() WITHIN GROUP (ORDER BY TEXT) = 'yes'",
    "percentile_cont(0.5) WITHIN GROUP (ORDER BY ONE) = 1",
    "listagg(TEXT) = 'yes'",
    "string_agg(LITERAL, '') = max(s)",
    "percentile_approx(ONE, 0.5) = 1",
    "count(*) FILTER (WHERE COND) = 1",
];

fn filled(expression: &str, literal: &str) -> String {
    expression
        .replace("TEXT", "CASE WHEN COND THEN 'yes' ELSE 'no' END")
        .replace("ONE", "CASE WHEN COND THEN 1 END")
        .replace("DAY", "CASE WHEN COND THEN DATE'2026-01-04' END")
        .replace("TIME,", "CASE WHEN COND THEN TIMESTAMP'2026-01-04 00:00:00' END,")
        .replace("COND", "(s = LITERAL)")
        .replace("LITERAL", literal)
}

/// Runs a query over one row with that text, and gives its rows.
#[track_caller]
fn answer(mode: &str, query: &str, text: &str) -> Vec<serde_json::Value> {
    let bench = Workbench::new();
    // A text of TOML has the escapes of JSON.
    let written = serde_json::to_string(query).unwrap();
    bench.write("job.toml", JOB.replace("MODE", mode).replace("QUERY", &written));
    let row = serde_json::json!({"s": text, "n": 1, "t": "2026-01-04T00:00:00Z"});
    bench.write_input("input/0.json", 0, format!("{row}\n"));
    let finished = bench.run(&["run", "job.toml"]);
    assert_eq!(finished.code, Some(0), "{query}\n{}", finished.stderr);
    let rows = finished.stdout.lines().filter(|line| line.starts_with('{'));
    rows.map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap()["row"].clone()).collect()
}

#[track_caller]
fn hold(mode: &str, expressions: &[&str]) {
    for &(literal, text) in TEXTS {
        let items: Vec<String> = expressions
            .iter()
            .enumerate()
            .map(|(place, e)| format!("({}) AS c{place}", filled(e, literal)))
            .collect();
        let rows = answer(mode, &format!("SELECT {} FROM events", items.join(",\n")), text);
        assert_eq!(rows.len(), 1, "{literal}");
        for (place, expression) in expressions.iter().enumerate() {
            assert_eq!(rows[0][format!("c{place}")], true, "{expression} with {literal}");
        }
    }
}

#[test]
fn texts_pass_through_every_call_as_they_were_written() {
    hold("append", SCALARS);
}

#[test]
fn texts_pass_through_every_aggregate_as_they_were_written() {
    hold("update", AGGREGATES);
}

#[test]
fn texts_pass_through_every_clause_as_they_were_written() {
    for &(literal, text) in TEXTS {
        let fill = |query: &str| filled(query, literal);
        let one = |mode: &str, query: &str| {
            let rows = answer(mode, &fill(query), text);
            assert_eq!(rows.len(), 1, "{query} with {literal}: {rows:?}");
            rows[0].clone()
        };
        let row = one("append", "SELECT LITERAL AS a, a AS b, concat(a, b) AS c FROM events");
        assert_eq!(row["c"], format!("{text}{text}"), "{literal}");
        let row =
            one("update", "SELECT n, max(LITERAL) AS m FROM events GROUP BY n HAVING m = LITERAL");
        assert_eq!(row["m"], text, "{literal}");
        let row = one(
            "update",
            "SELECT window.start AS w, count_if(COND) AS c FROM events GROUP BY window(CASE WHEN COND THEN t END, '5 minutes') HAVING window.end IS NOT NULL",
        );
        assert_eq!(row["c"], 1, "{literal}");
        let rows = answer(
            "complete",
            &fill(
                "SELECT TEXT AS x, grouping(TEXT) AS g, grouping_id() AS i FROM events GROUP BY ROLLUP(TEXT) ORDER BY g",
            ),
            text,
        );
        let cells =
            |row: &serde_json::Value| (row["x"].clone(), row["g"].clone(), row["i"].clone());
        assert_eq!(cells(&rows[0]), ("yes".into(), 0.into(), 0.into()), "{literal}");
        assert_eq!(cells(&rows[1]), (serde_json::Value::Null, 1.into(), 1.into()), "{literal}");
    }
}

#[test]
fn a_key_of_a_join_may_be_any_text() {
    let (literal, text) = TEXTS[0];
    let query = filled(
        "SELECT s, x FROM (SELECT s, LITERAL AS k FROM events) a JOIN (SELECT LITERAL AS k, n AS x FROM events) b USING (k)",
        literal,
    );
    let rows = answer("append", &query, text);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["s"], text);
}
