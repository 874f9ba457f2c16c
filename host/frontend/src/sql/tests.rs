//! What SQL becomes, kind by kind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use crate::spec::{
    Call, Expression, FrameBound, Grouping, JoinKind, Literal, Position, Relation, SetKind,
    Subquery,
};
use crate::{Error, parse_query};

fn relation(text: &str) -> Relation {
    match parse_query(text, &()) {
        Ok(parsed) => parsed.relation,
        Err(error) => panic!("{text}: {error}"),
    }
}

fn refusal(text: &str) -> Error {
    match parse_query(text, &()) {
        Ok(parsed) => panic!("{text}: {:?}", parsed.relation),
        Err(error) => error,
    }
}

/// The items of a SELECT by row.
fn items(text: &str) -> Vec<Expression> {
    match relation(text) {
        Relation::Project { items, .. } => items,
        other => panic!("{text}: {other:?}"),
    }
}

/// The one item of a SELECT.
fn expression(text: &str) -> Expression {
    items(&format!("SELECT {text} FROM t")).pop().unwrap()
}

fn call(text: &str) -> Call {
    match expression(text) {
        Expression::Call(call) => *call,
        other => panic!("{text}: {other:?}"),
    }
}

/// An expression as calls, short enough to be compared.
fn short(expression: &Expression) -> String {
    let all = |values: &[Expression]| values.iter().map(short).collect::<Vec<_>>().join(", ");
    match expression {
        Expression::Literal(Literal::Null) => "NULL".to_owned(),
        Expression::Literal(Literal::Boolean(value)) => value.to_string(),
        Expression::Literal(Literal::Number(digits)) => digits.clone(),
        Expression::Literal(Literal::String(text)) => format!("'{text}'"),
        Expression::Literal(other) => format!("{other:?}"),
        Expression::Attribute { name, .. } => name.join("."),
        Expression::Star { qualifier, except, .. } => {
            format!(
                "{}*{}",
                qualifier.concat(),
                except.iter().map(|e| format!("-{e}")).collect::<String>()
            )
        }
        Expression::Call(call) => short_call(call),
        Expression::Lambda { parameters, body } => {
            format!("{} -> {}", parameters.join(" "), short(body))
        }
        Expression::Alias { value, names } => format!("{} AS {}", short(value), names.join(" ")),
        Expression::Cast { value, kind, is_try, .. } => {
            format!("{}({} {kind})", if *is_try { "try" } else { "cast" }, short(value))
        }
        Expression::Extract { value, key, is_field } => {
            format!("{}{}{}", short(value), if *is_field { "." } else { "@" }, short(key))
        }
        Expression::Case { operand, branches, otherwise } => {
            let branch =
                |b: &crate::spec::Branch| format!("{}:{}", short(&b.condition), short(&b.result));
            format!(
                "case {:?} {} {:?}",
                operand.as_deref().map(short),
                branches.iter().map(branch).collect::<Vec<_>>().join(" "),
                otherwise.as_deref().map(short)
            )
        }
        Expression::Over { call, .. } => format!("{} over", short_call(call)),
        Expression::Subquery { kind, .. } => match kind {
            Subquery::Scalar => "scalar".to_owned(),
            Subquery::Exists => "exists".to_owned(),
            Subquery::In(values) => format!("{} in query", all(values)),
        },
        Expression::Tuple(values) => format!("({})", all(values)),
    }
}

fn short_call(call: &Call) -> String {
    let arguments = call.arguments.iter().map(|argument| match &argument.name {
        Some(name) => format!("{name}={}", short(&argument.value)),
        None => short(&argument.value),
    });
    format!("{}({})", call.name, arguments.collect::<Vec<_>>().join(", "))
}

#[test]
fn operators_are_calls() {
    for (sql, expected) in [
        ("a + b * -2", "+(a, *(b, -(2)))"),
        ("a DIV 2 % 3", "%(div(a, 2), 3)"),
        ("a || b", "||(a, b)"),
        ("a == 1", "=(a, 1)"),
        ("a != 1", "<>(a, 1)"),
        ("a <=> NULL", "<=>(a, NULL)"),
        ("a & 1 | b ^ ~2", "|(&(a, 1), ^(b, ~(2)))"),
        ("a << 1", "<<(a, 1)"),
        ("a >>> 1", ">>>(a, 1)"),
        ("! a", "not(a)"),
        ("a AND b AND c OR d", "or(and(a, b, c), d)"),
        ("(a AND b) AND (c AND d)", "and(a, b, and(c, d))"),
        ("(a OR b) AND c", "and(or(a, b), c)"),
        ("a IS NULL", "isnull(a)"),
        ("a IS NOT NULL", "isnotnull(a)"),
        ("a IS NOT TRUE", "not(<=>(a, true))"),
        ("a IS UNKNOWN", "isnull(a)"),
        ("a IS DISTINCT FROM b", "not(<=>(a, b))"),
        ("a IS NOT DISTINCT FROM b", "<=>(a, b)"),
        ("a NOT IN (1, 2)", "not(in(a, 1, 2))"),
        ("a NOT BETWEEN 1 AND 2", "not(between(a, 1, 2))"),
        ("a LIKE 'x' ESCAPE '!'", "like(a, 'x', '!')"),
        ("a NOT ILIKE 'x'", "not(ilike(a, 'x'))"),
        ("a REGEXP 'x'", "rlike(a, 'x')"),
        ("a LIKE ANY ('x', 'y') AND b", "and(likeany(a, 'x', 'y'), b)"),
        ("a NOT LIKE SOME ('x', 'y')", "not(likeall(a, 'x', 'y'))"),
        ("a NOT LIKE ALL ('x')", "not(likeany(a, 'x'))"),
    ] {
        assert_eq!(short(&expression(sql)), expected, "{sql}");
    }
}

#[test]
fn calls_have_their_arguments() {
    for (sql, expected) in [
        ("F(a, name => b)", "F(a, name=b)"),
        ("`g`()", "g()"),
        ("current_date", "current_date()"),
        ("ceil(a, -1)", "ceil(a, -(1))"),
        ("substr(a, 2)", "substr(a, 2)"),
        ("substring(a FROM 2 FOR 3)", "substring(a, 2, 3)"),
        ("position('x' IN a)", "locate('x', a)"),
        ("extract(YEAR FROM a)", "extract('YEAR', a)"),
        ("overlay(a PLACING 'x' FROM 2)", "overlay(a, 'x', 2)"),
        ("trim(LEADING 'x' FROM a)", "ltrim('x', a)"),
        ("trim(a)", "trim(a)"),
        ("struct(a AS x, b)", "struct(a AS x, b)"),
        ("struct(*)", "struct(*)"),
        ("array(1, 2)", "array(1, 2)"),
        ("map('a', 1)", "map('a', 1)"),
        ("[1, 2]", "array(1, 2)"),
        ("transform(a, x -> x + 1)", "transform(a, x -> +(x, 1))"),
        ("aggregate(a, 0, (x, y) -> x)", "aggregate(a, 0, x y -> x)"),
        ("exists(a, x -> x)", "exists(a, x -> x)"),
        ("a::int", "cast(a INT)"),
        ("TRY_CAST(a AS ARRAY<STRING>)", "try(a ARRAY<STRING>)"),
        ("t.a.b[0].c", "t.a.b@0.'c'"),
        ("f(a).b", "f(a).'b'"),
        ("CASE a WHEN 1 THEN 2 ELSE 3 END", "case Some(\"a\") 1:2 Some(\"3\")"),
        ("CASE WHEN a THEN 2 END", "case None a:2 None"),
        ("sum(a) OVER ()", "sum(a) over"),
    ] {
        assert_eq!(short(&expression(sql)), expected, "{sql}");
    }
}

#[test]
fn literals_are_as_they_are_written() {
    let typed = |kind: &str, text: &str| Literal::Typed { kind: kind.into(), text: text.into() };
    let number = |digits: &str, kind: &str| Literal::TypedNumber {
        digits: digits.into(),
        kind: kind.into(),
    };
    for (sql, literal) in [
        ("1e3", Literal::Number("1e3".into())),
        ("1.50", Literal::Number("1.50".into())),
        ("1.5D", number("1.5", "DOUBLE")),
        ("2BD", number("2", "DECIMAL")),
        ("3L", number("3", "BIGINT")),
        ("\"it's\"", Literal::String("it's".into())),
        (r"'a\tb' 'c'", Literal::String("a\tbc".into())),
        ("X'1F'", Literal::Binary("1F".into())),
        ("DATE'2026-01-01'", typed("DATE", "2026-01-01")),
        ("TIMESTAMP_LTZ'2026-01-01'", typed("TIMESTAMP", "2026-01-01")),
        ("TIMESTAMP_NTZ'2026-01-01'", typed("TIMESTAMP_NTZ", "2026-01-01")),
        ("INTERVAL 1 DAY 2 HOURS", Literal::Interval("1 DAY 2 HOURS".into())),
    ] {
        assert_eq!(expression(sql), Expression::Literal(literal), "{sql}");
    }
}

#[test]
fn clauses_of_calls_are_kept() {
    let Relation::Aggregate { items, grouping, .. } = relation(
        "SELECT count(DISTINCT a) FILTER (WHERE b), percentile_cont(0.5) WITHIN GROUP (ORDER BY a DESC), count(*), first(a) IGNORE NULLS, last(a RESPECT NULLS) FROM t",
    ) else {
        panic!("no aggregate")
    };
    assert_eq!(grouping, Grouping::By(Vec::new()));
    let calls: Vec<&Call> = items
        .iter()
        .map(|item| match item {
            Expression::Call(call) => call.as_ref(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(calls[0].is_distinct && calls[0].filter.is_some());
    assert!(calls[1].within_group[0].is_descending);
    assert_eq!(short_call(calls[2]), "count(*)");
    assert_eq!(calls[3].ignores_nulls, Some(true));
    assert_eq!(calls[4].ignores_nulls, Some(false));
    assert_eq!(calls[0].at, Some(Position { line: 1, column: 8 }));
}

#[test]
fn places_are_those_of_the_text() {
    let at = |line, column| Some(Position { line, column });
    assert_eq!(call("\n a + 1").at, at(2, 2));
    assert_eq!(call("(f(b) = c) IS NULL").at, at(1, 9));
    let Expression::Attribute { at: place, .. } = expression("`x``y`") else { panic!() };
    assert_eq!(place, at(1, 8));
    assert_eq!(short(&expression("`x``y`")), "x`y");
    let Relation::Project { input, .. } = relation("SELECT 1\nFROM db.`T` AS u") else { panic!() };
    let Relation::SubqueryAlias { input, name, at: place, .. } = *input else { panic!() };
    assert_eq!((name.as_str(), place), ("u", at(2, 16)));
    assert_eq!(*input, Relation::Read { name: "db.T".into(), at: at(2, 6) });
}

#[test]
fn windows_are_put_in_place_of_their_names() {
    let text = "SELECT sum(a) OVER w, sum(a) OVER (w ROWS 2 PRECEDING) FROM t WINDOW v AS (PARTITION BY a), w AS (v ORDER BY b)";
    for (place, item) in items(text).into_iter().enumerate() {
        let Expression::Over { window, .. } = item else { panic!("{item:?}") };
        assert_eq!(short(&window.partition[0]), "a");
        assert_eq!(short(&window.order[0].value), "b");
        let end = window.frame.map(|frame| frame.end);
        assert_eq!(end, (place == 1).then_some(FrameBound::CurrentRow));
    }
    let error = refusal("SELECT sum(a) OVER w FROM t");
    assert_eq!(error.class(), Some("MISSING_WINDOW_SPECIFICATION"));
    assert!(matches!(
        relation("SELECT a FROM t WINDOW w AS (ORDER BY a) ORDER BY sum(a) OVER w"),
        Relation::Sort { .. }
    ));
}

#[test]
fn clauses_are_around_one_another() {
    let relation = relation(
        "WITH c (x) AS (SELECT 1) SELECT DISTINCT a FROM c WHERE a > 1 GROUP BY a HAVING a < 2 ORDER BY a NULLS LAST LIMIT 1 OFFSET 2",
    );
    let Relation::With(with) = relation else { panic!() };
    assert_eq!((with.tables[0].name.as_str(), &with.tables[0].columns), ("c", &vec!["x".into()]));
    let Relation::Limit { input, .. } = with.input else { panic!() };
    let Relation::Offset { input, .. } = *input else { panic!() };
    let Relation::Sort { input, order } = *input else { panic!() };
    assert_eq!(order[0].nulls_first, Some(false));
    let Relation::Distinct(input) = *input else { panic!() };
    let Relation::Having { input, .. } = *input else { panic!() };
    let Relation::Aggregate { input, .. } = *input else { panic!() };
    let Relation::Filter { input, .. } = *input else { panic!() };
    assert!(matches!(*input, Relation::Read { .. }));
}

#[test]
fn a_select_of_aggregates_is_one_of_groups() {
    let is_grouped = |text: &str| matches!(relation(text), Relation::Aggregate { .. });
    assert!(is_grouped("SELECT 1 + sum(a) AS s FROM t"));
    assert!(is_grouped("SELECT sum(sum(a)) OVER () FROM t"));
    assert!(!is_grouped("SELECT sum(a) OVER () FROM t"));
    assert!(!is_grouped("SELECT (SELECT sum(a) FROM u) FROM t"));
    assert!(matches!(
        relation("SELECT 1 FROM t HAVING true"),
        Relation::Having { input, .. } if matches!(*input, Relation::Aggregate { .. })
    ));
    assert!(
        matches!(relation("SELECT 1"), Relation::Project { input, .. } if *input == Relation::OneRow)
    );
    assert!(matches!(relation("SELECT a FROM t LIMIT ALL"), Relation::Project { .. }));
    assert!(
        matches!(relation("SELECT a FROM t ORDER BY ALL"), Relation::Sort { order, .. } if matches!(order[0].value, Expression::Star { .. }))
    );
}

#[test]
fn groupings_are_told_apart() {
    let grouping = |text: &str| match relation(&format!("SELECT 1 FROM t GROUP BY {text}")) {
        Relation::Aggregate { grouping, .. } => grouping,
        other => panic!("{other:?}"),
    };
    let lengths = |sets: &[Vec<Expression>]| sets.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(grouping("ALL"), Grouping::All);
    assert_eq!(grouping("()"), Grouping::By(Vec::new()));
    assert!(matches!(grouping("a, 2"), Grouping::By(list) if list.len() == 2));
    for text in ["ROLLUP (a, (b, c))", "a, (b, c) WITH ROLLUP"] {
        assert!(matches!(grouping(text), Grouping::Rollup(sets) if lengths(&sets) == [1, 2]));
    }
    assert!(matches!(grouping("CUBE (a, b)"), Grouping::Cube(_)));
    for text in ["GROUPING SETS ((a, b), a, ())", "a, b GROUPING SETS ((a, b), a, ())"] {
        assert!(matches!(grouping(text), Grouping::Sets(sets) if lengths(&sets) == [2, 1, 0]));
    }
    let Grouping::Several(parts) = grouping("a, b, ROLLUP (c)") else { panic!() };
    assert!(matches!(&parts[..], [Grouping::By(list), Grouping::Rollup(_)] if list.len() == 2));
}

#[test]
fn joins_have_their_kinds() {
    let join = |text: &str| match relation(&format!("SELECT * FROM {text}")) {
        Relation::Project { input, .. } => match *input {
            Relation::Join(join) => *join,
            other => panic!("{text}: {other:?}"),
        },
        other => panic!("{text}: {other:?}"),
    };
    for (text, kind) in [
        ("a JOIN b ON x = y", JoinKind::Inner),
        ("a CROSS JOIN b", JoinKind::Inner),
        ("a, b", JoinKind::Inner),
        ("a LEFT JOIN b ON x = y", JoinKind::LeftOuter),
        ("a RIGHT OUTER JOIN b ON x = y", JoinKind::RightOuter),
        ("a FULL JOIN b ON x = y", JoinKind::FullOuter),
        ("a LEFT SEMI JOIN b ON x = y", JoinKind::LeftSemi),
        ("a SEMI JOIN b ON x = y", JoinKind::LeftSemi),
        ("a ANTI JOIN b ON x = y", JoinKind::LeftAnti),
    ] {
        let join = join(text);
        assert_eq!((join.kind, join.condition.is_some()), (kind, text.contains("ON")), "{text}");
    }
    assert_eq!(join("a JOIN b USING (`k`, l)").using, ["k", "l"]);
    assert!(join("a NATURAL JOIN b").is_natural);
    let lateral = join("a, LATERAL (SELECT a.x) AS l");
    assert!(lateral.is_lateral && matches!(lateral.right, Relation::SubqueryAlias { .. }));
    assert!(matches!(join("a, b JOIN c ON a.x = c.x").left, Relation::Join(_)));
    assert!(matches!(join("a LEFT JOIN (b JOIN c) ON true").right, Relation::Join(_)));
}

#[test]
fn generators_have_names_for_their_columns() {
    let text = "SELECT * FROM t LATERAL VIEW OUTER posexplode(a) v AS p, x WHERE x > 1";
    let Relation::Project { input, .. } = relation(text) else { panic!() };
    let Relation::Filter { input, .. } = *input else { panic!() };
    let Relation::LateralView(view) = *input else { panic!() };
    assert!(view.is_outer);
    assert_eq!((view.name.as_str(), view.columns.join(" ")), ("v", "p x".to_owned()));
    assert_eq!(short(&view.generator), "posexplode(a)");
    assert_eq!(short(&expression("posexplode(a) AS (p, x)")), "posexplode(a) AS p x");
    assert_eq!(short(&expression("u.* EXCEPT (a, b)")), "u*-a-b");
}

#[test]
fn queries_are_put_together() {
    let set = |text: &str| match relation(text) {
        Relation::SetOperation(set) => *set,
        other => panic!("{text}: {other:?}"),
    };
    let union = set("SELECT 1 UNION SELECT 2 UNION ALL SELECT 3");
    assert_eq!((union.kind, union.is_all), (SetKind::Union, true));
    assert!(matches!(union.left, Relation::SetOperation(left) if !left.is_all));
    let minus = set("SELECT 1 MINUS ALL SELECT 2 INTERSECT SELECT 3");
    assert_eq!((minus.kind, minus.is_all), (SetKind::Except, true));
    assert!(matches!(minus.right, Relation::SetOperation(_)));
    assert!(set("SELECT 1 UNION ALL BY NAME SELECT 2").by_name);
    assert!(
        matches!(relation("VALUES (1, 'a'), (2, 'b')"), Relation::Values(rows) if rows.len() == 2)
    );
    assert!(matches!(relation("TABLE db.t"), Relation::Project { input, .. }
        if matches!(&*input, Relation::Read { name, .. } if name == "db.t")));
    assert!(matches!(relation("TABLE t UNION (TABLE u ORDER BY a)"), Relation::SetOperation(_)));
    let Relation::Project { input, .. } = relation("SELECT * FROM VALUES (1) AS v (a)") else {
        panic!()
    };
    assert!(matches!(*input, Relation::SubqueryAlias { columns, .. } if columns == ["a"]));
    assert_eq!(short(&expression("(a, b) NOT IN (SELECT 1, 2)")), "not(a, b in query)");
    assert_eq!(short(&expression("NOT EXISTS (SELECT 1)")), "not(exists)");
    assert_eq!(short(&expression("(SELECT 1)")), "scalar");
}

#[test]
fn pipes_read_what_is_before_them() {
    let text = "FROM t |> WHERE a > 1 |> EXTEND a + 1 AS b |> AGGREGATE sum(b) AS s GROUP BY a AS k |> ORDER BY s |> LIMIT 2 OFFSET 1 |> DROP k |> AS u";
    let Relation::SubqueryAlias { input, .. } = relation(text) else { panic!() };
    let Relation::Project { input, items } = *input else { panic!() };
    assert_eq!(short(&items[0]), "*-k");
    let Relation::Limit { input, .. } = *input else { panic!() };
    let Relation::Offset { input, .. } = *input else { panic!() };
    let Relation::Sort { input, .. } = *input else { panic!() };
    let Relation::Aggregate { input, grouping, items } = *input else { panic!() };
    assert!(matches!(grouping, Grouping::By(by) if short(&by[0]) == "a"));
    assert_eq!(items.iter().map(short).collect::<Vec<_>>(), ["a AS k", "sum(b) AS s"]);
    let Relation::Project { input, items } = *input else { panic!() };
    assert_eq!(items.iter().map(short).collect::<Vec<_>>(), ["*", "+(a, 1) AS b"]);
    assert!(
        matches!(*input, Relation::Filter { input, .. } if matches!(*input, Relation::Read { .. }))
    );
    assert!(matches!(
        relation("SELECT 1 AS a |> UNION ALL (SELECT 2) |> JOIN u ON a = b |> SELECT a"),
        Relation::Project { input, .. } if matches!(*input, Relation::Join(_))
    ));
    assert!(refusal("FROM t |> SELECT sum(a)").reason().contains("|> AGGREGATE"));
    assert!(matches!(relation("FROM t"), Relation::Project { .. }));
    assert!(matches!(relation("FROM t SELECT a"), Relation::Project { .. }));
}

#[test]
fn what_there_is_no_plan_for_is_refused_by_name() {
    for (text, words) in [
        ("SELECT DISTINCT ON (a) a FROM t", "DISTINCT ON"),
        ("SELECT a FROM t QUALIFY sum(a) > 1", "[QUALIFY_AGGREGATE_NOT_ALLOWED]"),
        ("SELECT a FROM t PIVOT (sum(b) FOR c IN (ANY))", "no ANY"),
        ("FROM t |> CALL f()", "|> CALL"),
        ("WITH RECURSIVE c AS (SELECT 1) SELECT 1 FROM c", "RECURSIVE"),
        ("SELECT a FROM t TABLESAMPLE (10 PERCENT)", "TABLESAMPLE"),
        ("SELECT * FROM a RIGHT SEMI JOIN b ON x = y", "RIGHT SEMI JOIN"),
        ("SELECT array_agg(a ORDER BY b) FROM t", "ORDER BY among the arguments of array_agg()"),
        ("SELECT struct<INT>(1) FROM t", "struct"),
        ("SELECT a COLLATE b FROM t", "COLLATE"),
        ("SELECT a AT TIME ZONE 'UTC' FROM t", "AT TIME ZONE"),
        ("SELECT a[1:2] FROM t", "slice("),
        ("SELECT CAST(a AS money) FROM t", "[UNSUPPORTED_DATATYPE]"),
        ("SELECT a FROM t FETCH FIRST 2 ROWS ONLY", "FETCH"),
        ("SELECT a FROM t; SELECT b FROM t", "a step is one SELECT, and nothing else"),
        ("SELECT a FROM", "[PARSE_SYNTAX_ERROR]"),
    ] {
        let error = refusal(text);
        assert!(error.reason().contains(words), "{text}: {error}");
    }
}

#[test]
fn what_would_be_too_deep_is_refused() {
    let repeated = |text: &str| text.repeat(3_000);
    for text in [
        format!("FROM t{}", repeated(" |> WHERE a")),
        format!("SELECT 1 FROM t{}", repeated(" JOIN u ON a = b")),
        format!("SELECT 1 FROM t{}", repeated(", u")),
        format!("SELECT 1 FROM t{}", repeated(" LATERAL VIEW explode(a) v AS b")),
        format!("VALUES (1){}", repeated(" UNION ALL VALUES (2)")),
        format!("FROM t |> SET {}", vec!["a = 1"; 3_000].join(", ")),
        format!("SELECT 1 FROM t{}", repeated(" PIVOT (sum(a) FOR b IN (1))")),
        format!("SELECT a{} FROM t", repeated("[0]")),
        format!("SELECT a[0]{} FROM t", repeated(".b")),
    ] {
        let error = refusal(&text);
        let words = ["within one another", "SELECTs", "tables and views", "PIVOTs"];
        assert!(words.iter().any(|words| error.reason().contains(words)), "{error}");
    }
}

#[test]
fn what_is_deep_fits_on_the_stack() {
    let sum = vec!["a"; 240].join(" + ");
    let parentheses = format!("{}a{}", "(".repeat(200), ")".repeat(200));
    let calls = format!("{}a{}", "f(".repeat(200), ")".repeat(200));
    let terms: Vec<String> = (0..4_000).map(|n| format!("a <> {n}")).collect();
    let deep = std::thread::Builder::new().stack_size(64 << 20).spawn(move || {
        for text in [sum, parentheses, calls] {
            expression(&text);
        }
        assert_eq!(call(&terms.join(" AND ")).arguments.len(), 4_000);
    });
    deep.unwrap().join().unwrap();
}
