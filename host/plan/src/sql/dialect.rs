//! The parser's dialect of Spark, with what it gets wrong put right.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use datafusion::sql::sqlparser::dialect::{Dialect, SparkSqlDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::intervals;

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
            None
        }
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
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
