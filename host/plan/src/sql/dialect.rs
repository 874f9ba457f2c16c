//! The parser's dialect of Spark, with what it gets wrong put right.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Ident, ObjectName, TimezoneInfo, TypedString, Value,
};
use datafusion::sql::sqlparser::dialect::{Dialect, SparkSqlDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{intervals, tree};

/// As [`SparkSqlDialect`], but the right sides of `DIV` and `IS DISTINCT FROM` end where those of
/// `*` and `=` do, and intervals are Spark's.
#[derive(Debug, Default)]
pub(super) struct Spark {
    inner: SparkSqlDialect,
    /// Whether a quote after a backslash does not end a text: in what users write.
    has_escapes: bool,
}

impl Spark {
    /// Of the text that users write. What is rendered from a syntax tree has no escapes any more.
    pub(super) fn written() -> Spark {
        Spark { has_escapes: true, ..Spark::default() }
    }
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

    fn supports_string_literal_backslash_escape(&self) -> bool {
        self.has_escapes
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
        } else {
            let function = shift(parser)?;
            let right = parser.parse_subexpr(precedence);
            Some(right.map(|right| tree::quoted_call(function, vec![*left(), right])))
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
        let (first, second) = (parser.peek_token().token, parser.peek_nth_token(1).token);
        if let Token::Word(word) = &first
            && word.quote_style.is_none()
        {
            match (word.value.to_ascii_lowercase().as_str(), &second) {
                ("trim", Token::LParen) => return Some(trim(parser)),
                ("exists", Token::LParen) if !is_query(&parser.peek_nth_token(2).token) => {
                    parser.next_token();
                    let name = ObjectName::from(vec![Ident::new("exists")]);
                    return Some(parser.parse_function(name));
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

/// The function that a shift is, if there is one: `<<`, `>>` or `>>>`.
fn shift(parser: &mut Parser<'_>) -> Option<&'static str> {
    if parser.consume_token(&Token::ShiftLeft) {
        return Some("shiftleft");
    }
    if !parser.consume_token(&Token::ShiftRight) {
        return None;
    }
    // With a blank between them they are two operators.
    match parser.peek_token_no_skip().token {
        Token::Gt => {
            parser.next_token();
            Some("shiftrightunsigned")
        }
        _ => Some("shiftright"),
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
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let ends = [Keyword::BOTH, Keyword::LEADING, Keyword::TRAILING];
    let name = match parser.parse_one_of_keywords(&ends) {
        Some(Keyword::LEADING) => "ltrim",
        Some(Keyword::TRAILING) => "rtrim",
        _ => "trim",
    };
    if parser.parse_keyword(Keyword::FROM) {
        let text = parser.parse_expr()?;
        parser.expect_token(&Token::RParen)?;
        return Ok(Expr::Function(tree::call(name, vec![text])));
    }
    let mut arguments = parser.parse_comma_separated(Parser::parse_expr)?;
    if let ([_], true) = (arguments.as_slice(), parser.parse_keyword(Keyword::FROM)) {
        arguments.push(parser.parse_expr()?);
        parser.expect_token(&Token::RParen)?;
        return Ok(Expr::Function(tree::call(name, arguments)));
    }
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Function(tree::call(name, arguments)))
}
