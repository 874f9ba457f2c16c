//! SQL text to the parser's tree, by way of tokens in which what is Spark's is put right.

use datafusion::sql::sqlparser::ast::{Query, Statement};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::dialect::Spark;
use super::{limits, texts};
use crate::error::refuse;
use crate::spec::Position;
use crate::{Error, Result};

/// The name that stands for `*` in `struct(*)`.
pub(super) const ALL_COLUMNS: &str = "*";

/// The tree of one SELECT.
pub(super) fn query_of(text: &str) -> Result<Box<Query>> {
    let mut statements = statements(text)?;
    let (Some(Statement::Query(query)), None) = (statements.pop(), statements.pop()) else {
        refuse!("a step is one SELECT, and nothing else");
    };
    Ok(query)
}

/// The parser takes `struct(…)` for a literal, in which it knows no `*`; as a quoted name the star
/// passes.
fn statements(text: &str) -> Result<Vec<Statement>> {
    limits::check_text(text)?;
    let dialect = Spark::default();
    let mut tokenizer = Tokenizer::new(&dialect, text).with_unescape(false);
    let tokens = tokenizer.tokenize_with_location().map_err(|error| wrong(error.into()))?;
    let mut tokens = texts::read(tokens);
    limits::check_tokens(&tokens)?;
    type_numbers(&mut tokens);
    let mut significant: Vec<&mut TokenWithSpan> =
        tokens.iter_mut().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    for at in 2..significant.len() {
        if let (Token::Word(word), Token::LParen, Token::Mul) =
            (&significant[at - 2].token, &significant[at - 1].token, &significant[at].token)
            && word.keyword == Keyword::STRUCT
        {
            significant[at].token = Token::make_word(ALL_COLUMNS, Some('`'));
        }
    }
    for at in 1..significant.len() {
        let before = at.checked_sub(2).map(|before| &significant[before].token);
        if is_table_query(before, &significant[at - 1].token, &significant[at].token) {
            significant[at - 1].token = word("FROM");
        }
    }
    Parser::new(&dialect)
        .with_recursion_limit(limits::NESTING_MAX)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(wrong)
}

/// Whether these begin a query `TABLE t`, which is `FROM t`: the parser takes more than it for one.
fn is_table_query(before: Option<&Token>, table: &Token, name: &Token) -> bool {
    use Keyword::{ALL, DISTINCT, EXCEPT, INTERSECT, MINUS, NAME, TABLE, UNION};
    let begins = match before {
        None | Some(Token::LParen) => true,
        Some(Token::Word(word)) => {
            [ALL, DISTINCT, EXCEPT, INTERSECT, MINUS, NAME, UNION].contains(&word.keyword)
        }
        Some(_) => false,
    };
    begins
        && matches!(table, Token::Word(word) if word.keyword == TABLE)
        && matches!(name, Token::Word(_))
}

/// What the parser says, and where it says that it is.
fn wrong(error: ParserError) -> Error {
    let said = match error {
        ParserError::RecursionLimitExceeded => {
            let reason = format!(
                "more than {} parentheses, calls or queries are within one another; put a part of them into a column of a step before",
                limits::NESTING_MAX
            );
            return Error::new(reason, None);
        }
        ParserError::TokenizerError(said) | ParserError::ParserError(said) => said,
    };
    let (said, at) = match said.rsplit_once(" at Line: ") {
        Some((before, place)) => match position(place) {
            Some(at) => (before, Some(at)),
            None => (said.as_str(), None),
        },
        None => (said.as_str(), None),
    };
    Error::new(format!("[PARSE_SYNTAX_ERROR] Syntax error: {said}"), at)
}

/// `1, Column: 5`.
fn position(place: &str) -> Option<Position> {
    let (line, column) = place.split_once(", Column: ")?;
    Some(Position { line: line.parse().ok()?, column: column.parse().ok()? })
}

/// Numbers with the letter of their type, such as `1.5D`: each is a text of that type.
fn type_numbers(tokens: &mut Vec<TokenWithSpan>) {
    let mut typed: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens.drain(..) {
        let number = match typed.last().map(|before| &before.token) {
            Some(Token::Number(number, false)) => number.clone(),
            _ => String::new(),
        };
        let letters = match &token.token {
            Token::Word(word) if word.quote_style.is_none() && !number.is_empty() => {
                word.value.to_ascii_lowercase()
            }
            Token::Number(_, true) => "l".to_owned(),
            _ => String::new(),
        };
        let (kind, number) = match (&token.token, letters.as_str()) {
            (Token::Number(number, true), _) => ("BIGINT", number.clone()),
            (_, "s") => ("SMALLINT", number),
            (_, "y") => ("TINYINT", number),
            (_, "f") => ("FLOAT", number),
            (_, "d") => ("DOUBLE", number),
            (_, "bd") => ("DECIMAL", number),
            _ => {
                typed.push(token);
                continue;
            }
        };
        if !matches!(token.token, Token::Number(..)) {
            typed.pop();
        }
        let text = Token::SingleQuotedString(number);
        let span = token.span;
        typed.extend([word(kind), text].map(|token| TokenWithSpan { token, span }));
    }
    *tokens = typed;
}

fn word(text: &str) -> Token {
    Token::make_word(text, None)
}

/// One expression, for tests.
#[cfg(test)]
pub(super) fn parse_expr(
    text: &str,
) -> std::result::Result<datafusion::sql::sqlparser::ast::Expr, ParserError> {
    Parser::new(&Spark::default()).try_with_sql(text)?.parse_expr()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    fn refusal(text: &str) -> Error {
        query_of(text).err().unwrap()
    }

    #[test]
    fn what_the_parser_says_has_its_place() {
        let error = refusal("SELECT a\nFROM t WHERE (b");
        assert!(error.reason().starts_with("[PARSE_SYNTAX_ERROR] Syntax error: Expected"));
        assert!(!error.reason().contains("Line"), "{error}");
        let error = refusal("SELECT a\nFROM t WHERE )");
        assert_eq!(error.position(), Some(Position { line: 2, column: 14 }), "{error}");
        assert!(refusal("SELEC 1").reason().contains("SELEC"));
        assert!(refusal("SELECT 'a").position().is_some());
    }

    #[test]
    fn a_step_is_one_select() {
        for text in ["", "SELECT 1; SELECT 2", "DROP TABLE t"] {
            assert_eq!(refusal(text).reason(), "a step is one SELECT, and nothing else");
        }
    }
}
