//! Interval literals of Spark that the parser does not know: several units in one, `UNIT TO UNIT`,
//! and a text that has its units.

use datafusion::sql::sqlparser::ast::{DateTimeField, Expr, Interval, Value};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use tidemill_types::{FieldRange, IntervalField, Unread};

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

/// The text of an interval from one field to another, as numbers of units.
fn between(
    text: &str,
    sign: &str,
    first: &DateTimeField,
    last: &DateTimeField,
) -> Result<String, String> {
    let wrong = |class: &str, why: &str| {
        format!("[INVALID_INTERVAL_FORMAT.{class}] INTERVAL '{text}' {first} TO {last} {why}")
    };
    let field = |unit: &DateTimeField| {
        let name = unit.to_string().to_ascii_uppercase();
        IntervalField::named(name.trim_end_matches('S'))
    };
    let range =
        field(first).zip(field(last)).and_then(|(first, last)| FieldRange::new(first, last));
    let Some(range) = range else {
        return Err(wrong("UNSUPPORTED_FROM_TO_EXPRESSION", "has no such fields"));
    };
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (sign.is_empty(), rest),
        None => (!sign.is_empty(), text.strip_prefix('+').unwrap_or(text)),
    };
    let parts = range.parts(digits).map_err(|unread| match unread {
        Unread::Form => wrong(
            match range.is_of_months() {
                true => "UNMATCHED_FORMAT_STRING",
                false => "UNMATCHED_FORMAT_STRING_WITH_NOTICE",
            },
            "is no interval of that form",
        ),
        Unread::Range => {
            wrong("INTERVAL_PARSING", "has more of a field than fits into the next longer one")
        }
    })?;
    let sign = if negative { "-" } else { "" };
    let numbers = parts.iter().map(|(field, part)| format!("{sign}{part} {field}"));
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
