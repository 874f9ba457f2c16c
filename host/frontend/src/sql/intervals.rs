//! Interval literals of Spark that the parser does not know: several units in one, `UNIT TO UNIT`,
//! and a text that has its units.

use datafusion::sql::sqlparser::ast::{DateTimeField, Expr, Interval, Value};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// Reads one; fails where it is none, such as where a column has that name.
pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.expect_keyword(Keyword::INTERVAL)?;
    let (sign, number) = value(parser)?;
    if !parser.next_token_is_temporal_unit() {
        return match (sign, number) {
            ("", Number::Text(text)) => Ok(interval(text)),
            _ => parser.expected("a unit after the number of an INTERVAL", parser.peek_token()),
        };
    }
    let unit = parser.parse_date_time_field()?;
    if parser.parse_keyword(Keyword::TO) {
        let last = parser.parse_date_time_field()?;
        let text = between(&number.into_text(), sign, &unit, &last);
        return text.map(interval).map_err(ParserError::ParserError);
    }
    let mut text = format!("{sign}{} {unit}", number.into_text());
    while let Some((sign, number)) = parser.maybe_parse(value)? {
        let unit = parser.parse_date_time_field()?;
        text += &format!(" {sign}{} {unit}", number.into_text());
    }
    Ok(interval(text))
}

enum Number {
    Plain(String),
    Text(String),
}

impl Number {
    fn into_text(self) -> String {
        match self {
            Number::Plain(text) | Number::Text(text) => text,
        }
    }
}

/// A number of units and its sign. It is followed by a unit, so that arithmetic on an interval is
/// not taken for more of it.
fn value(parser: &mut Parser<'_>) -> Result<(&'static str, Number), ParserError> {
    let sign = match parser.peek_token().token {
        Token::Minus => "-",
        Token::Plus => "+",
        _ => "",
    };
    if !sign.is_empty() {
        parser.next_token();
    }
    let token = parser.next_token();
    let number = match token.token {
        Token::Number(number, false) => Number::Plain(number),
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => {
            return Ok((if sign == "-" { "-" } else { "" }, Number::Text(text.trim().to_owned())));
        }
        _ => return parser.expected("the number of an INTERVAL", token),
    };
    if !parser.next_token_is_temporal_unit() {
        return parser.expected("a unit after the number of an INTERVAL", parser.peek_token());
    }
    Ok((if sign == "-" { "-" } else { "" }, number))
}

/// The text `days hours:minutes:seconds`, of which the parts from `first` to `last` are there, as
/// numbers of units.
fn between(
    text: &str,
    sign: &str,
    first: &DateTimeField,
    last: &DateTimeField,
) -> Result<String, String> {
    const DAYS: [&str; 4] = ["DAY", "HOUR", "MINUTE", "SECOND"];
    const YEARS: [&str; 2] = ["YEAR", "MONTH"];
    let is_of_years = first.to_string().to_ascii_uppercase().starts_with("YEAR");
    let all: &[&str] = if is_of_years { &YEARS } else { &DAYS };
    let wrong = || format!("INTERVAL '{text}' {first} TO {last} is no interval of that form");
    let place = |unit: &DateTimeField| {
        let name = unit.to_string().to_ascii_uppercase();
        all.iter().position(|known| *known == name.trim_end_matches('S')).ok_or_else(wrong)
    };
    let units = all.get(place(first)?..=place(last)?).ok_or_else(wrong)?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (sign.is_empty(), rest),
        None => (!sign.is_empty(), text),
    };
    let between: &[char] = if is_of_years { &['-'] } else { &[' ', ':'] };
    let parts: Vec<&str> = digits.split(between).collect();
    let is_number = |part: &&str| !part.is_empty() && part.parse::<f64>().is_ok();
    if parts.len() != units.len() || units.len() < 2 || !parts.iter().all(is_number) {
        return Err(wrong());
    }
    let is_in_range = |(part, unit): (&&str, &&str)| {
        let most = match *unit {
            "HOUR" => 24.0,
            "MINUTE" | "SECOND" => 60.0,
            "MONTH" => 12.0,
            _ => f64::INFINITY,
        };
        let is_whole = *unit == "SECOND" || !part.contains('.');
        is_whole && part.parse::<f64>().is_ok_and(|number| number < most)
    };
    if !parts[0].bytes().all(|digit| digit.is_ascii_digit())
        || !parts.iter().zip(units).skip(1).all(is_in_range)
    {
        return Err(wrong());
    }
    let sign = if negative { "-" } else { "" };
    let numbers = parts.iter().zip(units).map(|(part, unit)| format!("{sign}{part} {unit}"));
    Ok(numbers.collect::<Vec<_>>().join(" "))
}

fn interval(text: String) -> Expr {
    Expr::Interval(Interval {
        value: Box::new(Expr::value(Value::SingleQuotedString(text))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::super::parse::parse_expr;

    #[test]
    fn intervals_are_one_text_with_its_units() {
        for (sql, interval) in [
            ("INTERVAL 40 SECONDS", "INTERVAL '40 SECONDS'"),
            ("INTERVAL 1 DAY 2 HOURS", "INTERVAL '1 DAY 2 HOURS'"),
            ("INTERVAL '1 hour'", "INTERVAL '1 hour'"),
            ("INTERVAL '2' MINUTE", "INTERVAL '2 MINUTE'"),
            ("INTERVAL '0:30' MINUTE TO SECOND", "INTERVAL '0 MINUTE 30 SECOND'"),
            ("INTERVAL -'1 2:03' DAY TO MINUTE", "INTERVAL '-1 DAY -2 HOUR -03 MINUTE'"),
            ("INTERVAL '2021-11' YEAR TO MONTH", "INTERVAL '2021 YEAR 11 MONTH'"),
            ("INTERVAL 1 MINUTE - INTERVAL 1 SECOND", "INTERVAL '1 MINUTE' - INTERVAL '1 SECOND'"),
            ("INTERVAL 1 MINUTE - 5", "INTERVAL '1 MINUTE' - 5"),
        ] {
            assert_eq!(parse_expr(sql).unwrap().to_string(), interval, "{sql}");
        }
        assert!(parse_expr("INTERVAL '30' MINUTE TO SECOND").is_err());
    }
}
