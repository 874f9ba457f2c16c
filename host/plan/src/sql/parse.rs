//! Spark SQL text to a syntax tree that DataFusion plans.
//!
//! What DataFusion has no words for, or names otherwise, is rewritten here on the tree:
//!
//! - `GROUP BY window(…)` lets `window`, `window.start` and `window.end` stand for it;
//! - `struct(…)` names its fields, and `struct(*)` has all columns of the table;
//! - casts, and functions that Spark calls otherwise (see `calls`);
//! - columns without an alias are named as Spark names them;
//! - names of tables and columns are matched without regard to case.

use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::sql::parser::Statement as DataFusionStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, OrderBy, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::calls;
use super::dialect::Spark;
use super::grouping::{SameSpelling, rewrite_grouping, window_named};
use super::lambdas;
use super::lateral::resolve_aliases;
use super::lateral_view;
use super::limits::{self, QuerySize};
use super::named_arguments;
use super::names::{Names, default_name};
use super::refusals::Refusals;
use super::structs::name_fields;
use super::substitute::substitute_in_having;
use super::texts;
use super::unknown;
use super::using::rewrite_joins;
use crate::counters;
use tidemill_functions::is_aggregate;

/// A SELECT, as DataFusion plans it.
pub(crate) struct Parsed {
    pub(crate) statement: DataFusionStatement,
    /// What it brings into the plan of who reads it.
    pub(crate) size: QuerySize,
}

/// Parses one SELECT.
///
/// # Errors
/// It is none, or too large (see `limits`), or asks what streams cannot answer.
pub(crate) fn parse_query(text: &str, names: &Names, refusals: &Refusals) -> Result<Parsed> {
    counters::count_parsed();
    let mut statements = parse_sql(text)?;
    let (Some(Statement::Query(mut query)), None) = (statements.pop(), statements.pop()) else {
        return plan_err!("a step is one SELECT, and nothing else");
    };
    let size = limits::measure(&query, &|table| names.size_of(table))?;
    unknown::check(&query, names)?;
    named_arguments::in_order(&mut query)?;
    lambdas::name_variables(&mut query);
    refusals.check(&query)?;
    let mut names = names.clone();
    names.spell_aliases(&mut query);
    let mut outcome = query.visit(&mut SameSpelling);
    if outcome.is_continue() {
        outcome = query.visit(&mut Rewrite { names, depth: 0 });
    }
    if let ControlFlow::Break(error) = outcome {
        return Err(error);
    }
    let statement = DataFusionStatement::Statement(Box::new(Statement::Query(query)));
    Ok(Parsed { statement, size })
}

/// The parser takes `struct(…)` for a literal, in which it knows no `*`; as a quoted name the star
/// passes.
fn parse_sql(text: &str) -> Result<Vec<Statement>> {
    let wrong = |error: ParserError| match error {
        ParserError::RecursionLimitExceeded => DataFusionError::Plan(format!(
            "more than {} parentheses, calls or queries are within one another; put a part of them into a column of a step before",
            limits::NESTING_MAX
        )),
        other => DataFusionError::Plan(other.to_string()),
    };
    limits::check_text(text)?;
    let dialect = Spark::written();
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
    Parser::new(&dialect)
        .with_recursion_limit(limits::NESTING_MAX)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(wrong)
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
            (Token::Number(number, true), _) => (vec![word("BIGINT")], number.clone()),
            (_, "s") => (vec![word("SMALLINT")], number),
            (_, "y") => (vec![word("TINYINT")], number),
            (_, "f") => (vec![word("FLOAT")], number),
            (_, "d") => (vec![word("DOUBLE")], number),
            (_, "bd") => (decimal(&number), number),
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
        typed.extend(kind.into_iter().chain([text]).map(|token| TokenWithSpan { token, span }));
    }
    *tokens = typed;
}

fn word(text: &str) -> Token {
    Token::make_word(text, None)
}

/// The DECIMAL that has just the digits of a number.
fn decimal(number: &str) -> Vec<Token> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (whole, scale) = (whole.trim_start_matches('0').len(), fraction.len());
    let digits = |count: usize| Token::Number(count.to_string(), false);
    let precision = digits((whole + scale).max(1));
    vec![word("DECIMAL"), Token::LParen, precision, Token::Comma, digits(scale), Token::RParen]
}

/// The name that stands for `*` in `struct(*)`.
pub(super) const ALL_COLUMNS: &str = "*";

/// How the columns of a SELECT are spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// As it spells them: a result has these names.
    AsWritten,
    /// As they are where they are defined: so what reads a query within a query finds them.
    AsKnown,
}

struct Rewrite {
    names: Names,
    /// Queries around the place that is looked at.
    depth: usize,
}

impl VisitorMut for Rewrite {
    type Break = DataFusionError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<DataFusionError> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            // Its columns are not those of a table that has the same name.
            self.names.forget_table(&table.alias.name.value);
        }
        self.depth += 1;
        let naming = if self.depth == 1 { Naming::AsWritten } else { Naming::AsKnown };
        match rewrite_body(&mut query.body, query.order_by.as_mut(), &self.names, naming) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<DataFusionError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<DataFusionError> {
        spell_tables(relation, &self.names);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        limits::flatten(expr);
        match expr {
            Expr::Identifier(ident) => self.names.spell_column(ident),
            Expr::CompoundIdentifier(idents) => self.names.spell_path(idents),
            other => return calls::rewrite(other),
        }
        ControlFlow::Continue(())
    }
}

fn spell_tables(name: &mut ObjectName, names: &Names) {
    for part in &mut name.0 {
        if let ObjectNamePart::Identifier(ident) = part {
            names.spell_table(ident);
        }
    }
}

fn rewrite_body(
    body: &mut SetExpr,
    order_by: Option<&mut OrderBy>,
    names: &Names,
    naming: Naming,
) -> Result<()> {
    match body {
        SetExpr::Select(select) => rewrite_select(select, order_by, names, naming),
        SetExpr::SetOperation { left, right, .. } => {
            rewrite_body(left, None, names, naming)?;
            rewrite_body(right, None, names, naming)
        }
        // A nested query is visited on its own.
        _ => Ok(()),
    }
}

fn rewrite_select(
    select: &mut Select,
    mut order_by: Option<&mut OrderBy>,
    names: &Names,
    naming: Naming,
) -> Result<()> {
    lateral_view::into_queries(select, order_by.as_deref_mut())?;
    for item in &mut select.projection {
        name_as_spark_does(item, names);
        if let (Naming::AsKnown, SelectItem::ExprWithAlias { alias, .. }) = (naming, &mut *item) {
            names.spell_column(alias);
        }
        if let SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(table),
            _,
        ) = item
        {
            spell_tables(table, names);
        }
    }
    name_fields(select, names)?;
    rewrite_joins(select, order_by.as_deref_mut(), names)?;
    resolve_aliases(select, order_by.as_deref(), names)?;
    substitute_in_having(select, names, &is_aggregate)?;
    rewrite_grouping(select, order_by)
}

/// One expression, for tests: what is rewritten is built as a tree (see `tree`).
#[cfg(test)]
pub(super) fn parse_expr(text: &str) -> Result<Expr> {
    let error = |error: ParserError| DataFusionError::Plan(error.to_string());
    Parser::new(&Spark::default()).try_with_sql(text).map_err(error)?.parse_expr().map_err(error)
}

/// Gives a column without an alias the name that Spark would give it.
fn name_as_spark_does(item: &mut SelectItem, names: &Names) {
    let SelectItem::UnnamedExpr(expr) = item else {
        return;
    };
    let name = default_name(expr, names);
    if let Expr::Identifier(ident) = &*expr {
        let mut written = ident.clone();
        names.spell_column(&mut written);
        if written.value == name && window_named(&name).is_none() {
            return;
        }
    }
    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('`', name) };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    fn rewritten(text: &str) -> String {
        let mut names = Names::default();
        let column =
            arrow::datatypes::Field::new("orderTime", arrow::datatypes::DataType::Utf8, true);
        names.add_table("Orders", &arrow::datatypes::Schema::new(vec![column]), QuerySize::TABLE);
        parse_query(text, &names, &Refusals::default()).unwrap().statement.to_string()
    }

    #[test]
    fn window_and_its_fields_stand_for_the_grouping() {
        assert_eq!(
            rewritten(
                "SELECT window.start AS s, window FROM Orders GROUP BY window(orderTime, '5 minutes') HAVING window.end > '2026'"
            ),
            "SELECT get_field(window(orderTime, '5 minutes'), 'start') AS s, window(orderTime, '5 minutes') AS `window` FROM Orders GROUP BY window(orderTime, '5 minutes') HAVING get_field(window(orderTime, '5 minutes'), 'end') > '2026'"
        );
    }

    #[test]
    fn numbers_may_say_their_type() {
        assert_eq!(
            rewritten("SELECT 1.5D AS a, 2BD AS b, 3D FROM orders"),
            "SELECT cast_as('1.5', 'DOUBLE') AS a, cast_as('2', 'DECIMAL(1,0)') AS b, cast_as('3', 'DOUBLE') AS `3` FROM Orders"
        );
    }

    #[test]
    fn names_are_matched_without_regard_to_case() {
        assert_eq!(
            rewritten("SELECT ordertime AS t FROM ORDERS"),
            "SELECT orderTime AS t FROM Orders"
        );
    }

    #[test]
    fn the_fields_of_a_struct_have_the_names_of_its_columns() {
        assert_eq!(
            rewritten("SELECT to_json(struct(*)) AS v FROM orders"),
            "SELECT to_json(named_struct('orderTime', `orderTime`)) AS v FROM Orders"
        );
        assert_eq!(
            rewritten("SELECT struct(o.ordertime, 1 + 1, 2 AS two) AS v FROM Orders o"),
            "SELECT named_struct('ordertime', o.orderTime, 'col2', 1 + 1, 'two', 2) AS v FROM Orders o"
        );
    }

    #[test]
    fn all_columns_of_several_tables_are_no_struct() {
        let text = "SELECT struct(*) AS v FROM a JOIN b ON a.x = b.x";
        let error =
            parse_query(text, &Names::default(), &Refusals::default()).err().unwrap().to_string();
        assert!(error.contains("name the columns"), "{error}");
    }

    #[test]
    fn a_struct_of_all_columns_does_not_take_those_of_a_table_that_is_hidden() {
        let text =
            "WITH orders AS (SELECT *, 1 AS more FROM orders) SELECT struct(*) AS v FROM orders";
        let mut names = Names::default();
        names.add_table("Orders", &arrow::datatypes::Schema::empty(), QuerySize::TABLE);
        let error = parse_query(text, &names, &Refusals::default()).err().unwrap().to_string();
        assert!(error.contains("name the columns"), "{error}");
    }

    #[test]
    fn columns_without_an_alias_are_named_as_spark_names_them() {
        assert_eq!(
            rewritten("SELECT COUNT(*), SUM(x), t.y FROM t"),
            "SELECT COUNT(*) AS `count(1)`, SUM(x) AS `sum(x)`, t.y AS `y` FROM t"
        );
    }
}
