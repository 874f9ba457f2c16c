//! The parser's dialect of Spark, with what it gets wrong put right.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, TimezoneInfo, TypedString, UnaryOperator, Value,
};
use datafusion::sql::sqlparser::dialect::{Dialect, SparkSqlDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, Word};

use super::intervals;
use crate::spec::Sign;

/// As [`SparkSqlDialect`], but the right sides of `DIV` and `IS DISTINCT FROM` end where those of
/// `*` and `=` do, and intervals are Spark's.
#[derive(Debug, Default)]
pub(super) struct Spark {
    inner: SparkSqlDialect,
}

/// Answers with the inner dialect's answers.
macro_rules! as_inner {
    ($($method:ident),+ $(,)?) => {
        $(fn $method(&self) -> bool {
            self.inner.$method()
        })+
    };
}

impl Dialect for Spark {
    /// What the parser does for this dialect alone, it is to do here too.
    fn dialect(&self) -> TypeId {
        TypeId::of::<SparkSqlDialect>()
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        self.inner.is_delimited_identifier_start(character)
    }

    fn is_identifier_start(&self, character: char) -> bool {
        self.inner.is_identifier_start(character)
    }

    fn is_identifier_part(&self, character: char) -> bool {
        self.inner.is_identifier_part(character)
    }

    as_inner!(
        supports_filter_during_aggregation,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_lambda_functions,
        supports_select_wildcard_except,
        supports_struct_literal,
        supports_nested_comments,
        supports_create_table_using,
        supports_long_type_as_bigint,
        supports_values_as_table_factor,
        require_interval_qualifier,
        supports_bang_not_operator,
        supports_select_item_multi_column_alias,
        supports_cte_without_as,
        supports_map_literal_with_angle_brackets,
    );

    /// `INTERVAL DAY TO HOUR` is a type.
    fn supports_interval_options(&self) -> bool {
        true
    }

    /// A quote after a backslash does not end a text.
    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    /// `first(a IGNORE NULLS)`.
    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_order_by_all(&self) -> bool {
        true
    }

    /// `FROM t |> WHERE …`.
    fn supports_from_first_select(&self) -> bool {
        true
    }

    fn supports_pipe_operator(&self) -> bool {
        true
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        left: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        let distinct = [Keyword::IS, Keyword::DISTINCT, Keyword::FROM];
        let not_distinct = [Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM];
        let left = || Box::new(left.clone());
        if parser.parse_keyword(Keyword::DIV) {
            let right = parser.parse_subexpr(precedence);
            Some(right.map(|right| Expr::BinaryOp {
                left: left(),
                op: BinaryOperator::MyIntegerDivide,
                right: Box::new(right),
            }))
        } else if parser.parse_keywords(&distinct) {
            let right = parser.parse_subexpr(precedence);
            Some(right.map(|right| Expr::IsDistinctFrom(left(), Box::new(right))))
        } else if parser.parse_keywords(&not_distinct) {
            let right = parser.parse_subexpr(precedence);
            Some(right.map(|right| Expr::IsNotDistinctFrom(left(), Box::new(right))))
        } else if let Some((name, is_negated)) = like_each(parser) {
            let patterns = patterns(parser);
            Some(patterns.map(|patterns| {
                let operands = std::iter::once(*left()).chain(patterns).collect();
                let like = call(Ident::new(name), operands);
                match is_negated {
                    true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(like) },
                    false => like,
                }
            }))
        } else {
            let function = shift(parser)?;
            let right = parser.parse_subexpr(precedence);
            Some(right.map(|right| call(Ident::new(function), vec![*left(), right])))
        }
    }

    /// Shifts bind less than sums, and more than `&`.
    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        const OF_SHIFTS: u8 = 25;
        match parser.peek_token().token {
            Token::ShiftLeft | Token::ShiftRight => Some(Ok(OF_SHIFTS)),
            _ => None,
        }
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let first = parser.peek_token();
        let (span, second) = (first.span, parser.peek_nth_token(1).token);
        if let Token::Word(word) = &first.token
            && word.quote_style.is_none()
        {
            match (word.value.to_ascii_lowercase().as_str(), &second) {
                ("trim", Token::LParen) => return Some(trim(parser)),
                // The parser's own syntax for these knows no negative scale, and no place.
                ("ceil" | "floor", Token::LParen) => return Some(function(parser, word, span)),
                ("extract", Token::LParen) => {
                    if let Some(extract) = extract(parser) {
                        return Some(extract);
                    }
                }
                ("rollup" | "cube", Token::LParen) => {
                    let is_cube = word.value.eq_ignore_ascii_case("cube");
                    parser.next_token();
                    let make = if is_cube { Expr::Cube } else { Expr::Rollup };
                    return Some(sets(parser).map(make));
                }
                ("grouping", Token::Word(sets_of)) if sets_of.keyword == Keyword::SETS => {
                    parser.next_token();
                    parser.next_token();
                    return Some(sets(parser).map(Expr::GroupingSets));
                }
                ("exists", Token::LParen) if !is_query(&parser.peek_nth_token(2).token) => {
                    return Some(function(parser, word, span));
                }
                ("timestamp_ltz", Token::SingleQuotedString(text)) => {
                    let value = Value::SingleQuotedString(text.clone()).with_empty_span();
                    parser.next_token();
                    parser.next_token();
                    return Some(Ok(Expr::TypedString(TypedString {
                        data_type: DataType::Timestamp(None, TimezoneInfo::None),
                        value,
                        uses_odbc_syntax: false,
                    })));
                }
                ("x", Token::SingleQuotedString(digits)) => {
                    let value = Value::HexStringLiteral(digits.clone());
                    parser.next_token();
                    parser.next_token();
                    return Some(Ok(Expr::value(value)));
                }
                _ => {}
            }
        }
        if !parser.peek_keyword(Keyword::INTERVAL) {
            return None;
        }
        match parser.peek_nth_token(1).token {
            Token::Number(..) | Token::SingleQuotedString(_) => Some(intervals::parse(parser)),
            // Or a column of that name.
            _ => parser.maybe_parse(intervals::parse).transpose(),
        }
    }
}

/// `extract(field FROM source)`, in which the field is spelled as it is written; nothing, if it is no
/// such call.
fn extract(parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
    let (name, field, from) =
        (parser.peek_token(), parser.peek_nth_token(2).token, parser.peek_nth_token(3).token);
    let (Token::Word(field), Token::Word(from)) = (field, from) else { return None };
    if from.keyword != Keyword::FROM {
        return None;
    }
    for _ in 0..4 {
        parser.next_token();
    }
    let field = Expr::value(Value::SingleQuotedString(field.value));
    let rest = parser.parse_expr().and_then(|source| {
        parser.expect_token(&Token::RParen)?;
        Ok(call(Ident::with_span(name.span, "extract"), vec![field, source]))
    });
    Some(rest)
}

/// `(a, (b, c), (), …)`: what ROLLUP, CUBE and GROUPING SETS are of.
fn sets(parser: &mut Parser<'_>) -> Result<Vec<Vec<Expr>>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let sets = parser.parse_comma_separated(|parser| {
        if parser.consume_tokens(&[Token::LParen, Token::RParen]) {
            return Ok(Vec::new());
        }
        Ok(match parser.parse_expr()? {
            Expr::Tuple(set) => set,
            Expr::Nested(only) => vec![*only],
            only => vec![only],
        })
    })?;
    parser.expect_token(&Token::RParen)?;
    Ok(sets)
}

/// A call like any other, of what the parser has a syntax of its own for.
fn function(parser: &mut Parser<'_>, word: &Word, span: Span) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.parse_function(ObjectName::from(vec![Ident::with_span(span, &word.value)]))
}

/// A call that has nothing but arguments.
fn call(name: Ident, arguments: Vec<Expr>) -> Expr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    Expr::Function(Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into_iter().map(argument).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `[NOT] LIKE SOME` and `[NOT] LIKE ALL`, of which the parser knows ANY alone: the operator, and
/// whether it is to be negated. Not to be like any is to be unlike one of them, as in Spark.
fn like_each(parser: &mut Parser<'_>) -> Option<(Sign, bool)> {
    use Keyword::{ALL, ANY, ILIKE, LIKE, NOT, SOME};
    let of_case = (LIKE, Sign::LikeAny, Sign::LikeAll);
    let of_any_case = (ILIKE, Sign::ILikeAny, Sign::ILikeAll);
    for (like, any, all) in [of_case, of_any_case] {
        for (which, plain, negated) in [(ANY, any, all), (SOME, any, all), (ALL, all, any)] {
            if parser.parse_keywords(&[like, which]) {
                return Some((plain, false));
            }
            if parser.parse_keywords(&[NOT, like, which]) {
                return Some((negated, true));
            }
        }
    }
    None
}

/// `(pattern, …)`.
fn patterns(parser: &mut Parser<'_>) -> Result<Vec<Expr>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let patterns = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RParen)?;
    Ok(patterns)
}

/// The operator that a shift is, if there is one: `<<`, `>>` or `>>>`.
fn shift(parser: &mut Parser<'_>) -> Option<Sign> {
    if parser.consume_token(&Token::ShiftLeft) {
        return Some(Sign::ShiftLeft);
    }
    if !parser.consume_token(&Token::ShiftRight) {
        return None;
    }
    // With a blank between them they are two operators.
    match parser.peek_token_no_skip().token {
        Token::Gt => {
            parser.next_token();
            Some(Sign::ShiftRightUnsigned)
        }
        _ => Some(Sign::ShiftRight),
    }
}

/// Whether a token begins a query.
fn is_query(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM | Keyword::TABLE
        ),
        Token::LParen => true,
        _ => false,
    }
}

/// `trim([BOTH | LEADING | TRAILING] [characters] FROM text)`, or a call as any other.
fn trim(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    let span = parser.next_token().span;
    parser.expect_token(&Token::LParen)?;
    let ends = [Keyword::BOTH, Keyword::LEADING, Keyword::TRAILING];
    let name = match parser.parse_one_of_keywords(&ends) {
        Some(Keyword::LEADING) => "ltrim",
        Some(Keyword::TRAILING) => "rtrim",
        _ => "trim",
    };
    let name = Ident::with_span(span, name);
    if parser.parse_keyword(Keyword::FROM) {
        let text = parser.parse_expr()?;
        parser.expect_token(&Token::RParen)?;
        return Ok(call(name, vec![text]));
    }
    let mut arguments = parser.parse_comma_separated(Parser::parse_expr)?;
    if let ([_], true) = (arguments.as_slice(), parser.parse_keyword(Keyword::FROM)) {
        arguments.push(parser.parse_expr()?);
        parser.expect_token(&Token::RParen)?;
        return Ok(call(name, arguments));
    }
    parser.expect_token(&Token::RParen)?;
    Ok(call(name, arguments))
}
