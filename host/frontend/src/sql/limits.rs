//! How large a text of SQL may be, and how deep.
//!
//! Whoever goes through a tree goes as deep as it is, and plans of a query hold what it reads as
//! often as it reads it. So both are measured before anything is planned, and what is beyond is
//! refused by name. The numbers are far above what people write and below what a planner needs
//! minutes for.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, ObjectName, PipeOperator, Query, Select, SetExpr, Visit, Visitor,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::refuse;
use crate::{Error, Result};

/// Bytes of one text. A list of values for IN comes near it.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// Words, numbers, texts and signs of one text.
const TOKENS_MAX: usize = 250_000;
/// Types within types, as in a schema.
const TYPE_NESTING_MAX: usize = 100;
/// Parentheses, calls, CASEs and queries within one another, which the parser goes into.
pub(super) const NESTING_MAX: usize = 400;
/// Expressions within one another, as `a + b + c` has two: hundreds of terms are written by programs.
/// It is what has to fit on the stack of a thread that computes rows.
const DEPTH_MAX: usize = 250;
/// Operators that follow one another for which the dialect copies what is before them.
const COPYING_MAX: usize = 1_000;
/// Terms of one AND or OR, which are laid flat.
const TERMS_MAX: usize = 5_000;
/// Columns that one SELECT names.
const NAMES_MAX: usize = 5_000;
/// Tables that one SELECT joins, with its lateral views: each join holds those before it.
const JOINED_MAX: usize = 250;
/// SELECTs of a query, with those of the tables that it reads, each as often as it reads it.
const SELECTS_MAX: usize = 1_000;
/// Queries within one another, with those of the tables that they read.
const QUERY_DEPTH_MAX: usize = 250;

/// How much a table brings into the plan of who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuerySize {
    selects: usize,
    depth: usize,
}

impl QuerySize {
    /// Of a table that is no query.
    pub const TABLE: QuerySize = QuerySize { selects: 0, depth: 0 };

    /// Of a query that reads it.
    #[must_use]
    pub fn and_one(self) -> QuerySize {
        QuerySize { selects: self.selects.saturating_add(1), depth: self.depth.saturating_add(1) }
    }

    /// Refuses more than a plan may hold.
    ///
    /// # Errors
    /// It is more.
    pub fn check(self) -> Result<()> {
        if self.selects > SELECTS_MAX {
            refuse!(
                "it comes to more than {SELECTS_MAX} SELECTs: those of a table or a WITH count as often as it is read; write the rows once to a place, and read them from there"
            );
        }
        if self.depth > QUERY_DEPTH_MAX {
            refuse!(
                "more than {QUERY_DEPTH_MAX} queries are within one another, with those of the tables that are read"
            );
        }
        Ok(())
    }
}

/// Refuses a text that is too long to be looked at.
pub(super) fn check_text(text: &str) -> Result<()> {
    if text.len() > TEXT_BYTES_MAX {
        refuse!(
            "the text has {} bytes, and one of SQL may have {TEXT_BYTES_MAX}; put the values into a table",
            text.len()
        );
    }
    Ok(())
}

/// Refuses what the parser would go into too deep, or for too long.
pub(super) fn check_tokens(tokens: &[TokenWithSpan]) -> Result<()> {
    let significant =
        || tokens.iter().map(|token| &token.token).filter(|t| !matches!(t, Token::Whitespace(_)));
    let count = significant().count();
    if count > TOKENS_MAX {
        refuse!(
            "the text has {count} words and signs, and may have {TOKENS_MAX}; put the values into a table"
        );
    }
    // `ARRAY<ARRAY<…`, and `INT[][]…`.
    let (mut types, mut brackets) = (Types::default(), 0_usize);
    // What the parser gives up on deep in them is not what is wrong.
    let (mut nots, mut parentheses): (usize, usize) = (0, 0);
    // Operators whose left side the parser copies, in a part of a list and within its brackets.
    let mut copying: Vec<usize> = vec![0];
    let (mut before, mut pivots) = (&Token::EOF, 0_usize);
    for token in significant() {
        match token {
            Token::LParen | Token::LBracket => copying.push(0),
            Token::RParen | Token::RBracket if copying.len() > 1 => drop(copying.pop()),
            _ => {}
        }
        if let Some(count) = copying.last_mut() {
            match token {
                Token::Comma => *count = 0,
                token if copies_its_left_side(token) => *count += 1,
                _ => {}
            }
            if *count > COPYING_MAX {
                refuse!(
                    "more than {COPYING_MAX} of DIV, shifts, LIKE ANY and IS DISTINCT FROM follow one another; put a part of them into a column of a step before"
                );
            }
        }
        // Each holds the one before it.
        pivots += usize::from(matches!(
            token,
            Token::Word(word) if matches!(word.keyword, Keyword::PIVOT | Keyword::UNPIVOT)
        ));
        if pivots > JOINED_MAX {
            refuse!("a text has more than {JOINED_MAX} PIVOTs and UNPIVOTs; write steps");
        }
        let is_not = matches!(token, Token::Word(word) if word.keyword == Keyword::NOT);
        nots = if is_not { nots + 1 } else { 0 };
        match token {
            Token::LParen => parentheses += 1,
            Token::RParen => parentheses = parentheses.saturating_sub(1),
            _ => {}
        }
        if nots.max(parentheses) > NESTING_MAX {
            refuse!(
                "more than {NESTING_MAX} parentheses, calls, queries or NOTs are within one another"
            );
        }
        types.take(before, token, parentheses);
        match (before, token) {
            (Token::LBracket, Token::RBracket) => brackets += 1,
            (Token::RBracket, Token::LBracket) => {}
            _ => brackets = 0,
        }
        if types.open.len().max(brackets) > TYPE_NESTING_MAX {
            refuse!("a type has more than {TYPE_NESTING_MAX} types within one another");
        }
        before = token;
    }
    Ok(())
}

/// Types within one another, as far as the parser goes into them. It tries whether `map < b` begins a
/// type, as a column may have that name, and gives up at the first word that cannot go on with one.
#[derive(Default)]
struct Types {
    open: Vec<OpenType>,
}

struct OpenType {
    /// How many types or fields follow the first one, at most.
    commas_left: usize,
    /// Those around it.
    parentheses: usize,
}

impl Types {
    fn take(&mut self, before: &Token, token: &Token, parentheses: usize) {
        match (before, token) {
            (Token::Word(word), Token::Lt) => {
                if let Some(commas_left) = commas_of(&word.value) {
                    self.open.push(OpenType { commas_left, parentheses });
                }
            }
            (_, Token::Gt) => drop(self.open.pop()),
            (_, Token::ShiftRight) => self.open.truncate(self.open.len().saturating_sub(2)),
            (_, Token::Comma) => {
                if let Some(innermost) = self.open.last_mut()
                    && innermost.parentheses == parentheses
                {
                    match innermost.commas_left.checked_sub(1) {
                        Some(left) => innermost.commas_left = left,
                        None => self.open.clear(),
                    }
                }
            }
            (_, Token::RParen)
                if self.open.last().is_some_and(|inner| inner.parentheses > parentheses) =>
            {
                self.open.clear();
            }
            // As a field's name any word goes.
            (Token::Lt | Token::Comma, Token::Word(_)) => {}
            (_, Token::Word(word)) if ends_a_type(word.keyword) => self.open.clear(),
            (Token::Lt, Token::Number(..)) => self.open.clear(),
            (
                _,
                Token::Eq
                | Token::DoubleEq
                | Token::Neq
                | Token::Lt
                | Token::LtEq
                | Token::GtEq
                | Token::Plus
                | Token::Minus
                | Token::Mul
                | Token::Div
                | Token::SemiColon,
            ) => self.open.clear(),
            _ => {}
        }
    }
}

/// How many commas a type that has others in it has, of that name.
fn commas_of(word: &str) -> Option<usize> {
    [("ARRAY", 0), ("MAP", 1), ("STRUCT", usize::MAX)]
        .into_iter()
        .find_map(|(name, commas)| word.eq_ignore_ascii_case(name).then_some(commas))
}

/// Whether a token is one of an operator for which the dialect copies what is before it.
fn copies_its_left_side(token: &Token) -> bool {
    match token {
        Token::ShiftLeft | Token::ShiftRight => true,
        Token::Word(word) if word.quote_style.is_none() => {
            matches!(word.keyword, Keyword::DIV | Keyword::DISTINCT | Keyword::ANY | Keyword::SOME)
        }
        _ => false,
    }
}

fn ends_a_type(keyword: Keyword) -> bool {
    use Keyword::{AND, AS, ELSE, END, FROM, OR, THEN, WHEN, WHERE};
    matches!(keyword, AND | AS | ELSE | END | FROM | OR | THEN | WHEN | WHERE)
}

/// Measures a query that reads tables of these sizes, and refuses what is too large.
pub(super) fn measure(
    query: &Query,
    size_of: &dyn Fn(&str) -> Option<QuerySize>,
) -> Result<QuerySize> {
    let mut measure = Measure {
        size_of,
        known: Vec::new(),
        scopes: Vec::new(),
        named: Vec::new(),
        open: vec![QuerySize { selects: 0, depth: 0 }],
        around: Vec::new(),
        depth: 0,
        terms: 0,
    };
    match query.visit(&mut measure) {
        ControlFlow::Continue(()) => Ok(measure.open[0]),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Measure<'a> {
    size_of: &'a dyn Fn(&str) -> Option<QuerySize>,
    /// The sizes of WITH's tables, by their names in lower case: of the queries around the place that is
    /// looked at, the innermost last.
    known: Vec<(String, QuerySize)>,
    /// How many of them there were where each query began, with which its own go.
    scopes: Vec<usize>,
    /// Queries that WITH gives a name, known by their places in memory.
    named: Vec<(*const Query, String)>,
    /// What was found so far in each query around the place that is looked at.
    open: Vec<QuerySize>,
    /// Whether each expression around it is an AND or an OR.
    around: Vec<Option<bool>>,
    /// How many of them count.
    depth: usize,
    /// How many operators of one AND or OR they are.
    terms: usize,
}

/// Whether an expression is an AND (or an OR, which is false).
fn conjunction(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::BinaryOp { op: BinaryOperator::And, .. } => Some(true),
        Expr::BinaryOp { op: BinaryOperator::Or, .. } => Some(false),
        _ => None,
    }
}

/// How many expressions the parser's one is: `a[0].b` holds `a[0]`, which holds `a`.
fn count_of(expr: &Expr) -> usize {
    match expr {
        Expr::CompoundFieldAccess { access_chain, .. } => 1 + access_chain.len(),
        _ => 1,
    }
}

/// How many VALUES stand between UNION and the like.
fn values_in(body: &SetExpr) -> usize {
    let (mut count, mut rest) = (0, body);
    while let SetExpr::SetOperation { left, right, .. } = rest {
        count += values_in(right);
        rest = left;
    }
    count + usize::from(matches!(rest, SetExpr::Values(_)))
}

/// How many queries the operators of a pipe are: SET is one for each of its columns.
fn piped_in(query: &Query) -> usize {
    let each = query.pipe_operators.iter().map(|operator| match operator {
        PipeOperator::Set { assignments } => assignments.len().max(1),
        _ => 1,
    });
    each.sum()
}

fn refused<T>(reason: String) -> ControlFlow<Error, T> {
    ControlFlow::Break(Error::new(reason, None))
}

impl Measure<'_> {
    /// Whether an expression goes on with the AND or OR that it is in.
    fn goes_on(&self, kind: Option<bool>) -> bool {
        kind.is_some() && self.around.last() == Some(&kind)
    }

    fn add(&mut self, size: QuerySize) -> ControlFlow<Error> {
        if let Some(open) = self.open.last_mut() {
            open.selects = open.selects.saturating_add(size.selects);
            open.depth = open.depth.max(size.depth);
            if let Err(error) = open.check() {
                return ControlFlow::Break(error);
            }
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for Measure<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = table.alias.name.value.to_lowercase();
            self.named.push((std::ptr::from_ref(table.query.as_ref()), name));
        }
        if self.open.len() > QUERY_DEPTH_MAX {
            return refused(format!("more than {QUERY_DEPTH_MAX} queries are within one another"));
        }
        // Each operator of a pipe reads those before it, as a query reads one in its FROM.
        let piped = piped_in(query);
        if piped > QUERY_DEPTH_MAX {
            return refused(format!(
                "more than {QUERY_DEPTH_MAX} operators of a pipe are within one another"
            ));
        }
        self.open.push(QuerySize { selects: 0, depth: 0 });
        self.scopes.push(self.known.len());
        self.add(QuerySize { selects: values_in(&query.body), depth: 0 })
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        let Some(size) = self.open.pop() else { return ControlFlow::Continue(()) };
        let size = QuerySize { depth: size.depth.saturating_add(1 + piped_in(query)), ..size };
        self.known.truncate(self.scopes.pop().unwrap_or(0));
        match self.named.iter().rposition(|(named, _)| std::ptr::eq(*named, query)) {
            Some(place) => {
                let (_, name) = self.named.swap_remove(place);
                self.known.push((name, size));
                match size.check() {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => ControlFlow::Break(error),
                }
            }
            None => self.add(size),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Error> {
        let columns = select.projection.len();
        if columns > NAMES_MAX {
            return refused(format!(
                "a SELECT names {columns} columns, and may name {NAMES_MAX}; make an array or a map of what belongs together"
            ));
        }
        let joins = select.from.iter().map(|table| 1 + table.joins.len()).sum::<usize>();
        let joined = joins + select.lateral_views.len();
        if joined > JOINED_MAX {
            return refused(format!(
                "a SELECT reads {joined} tables and views, and may read {JOINED_MAX}; join a part of them in a step before"
            ));
        }
        self.add(QuerySize { selects: 1, depth: 0 })
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Error> {
        let Some(name) = relation.0.last().and_then(|part| part.as_ident()) else {
            return ControlFlow::Continue(());
        };
        let lower = name.value.to_lowercase();
        let known =
            self.known.iter().rev().find_map(|(name, size)| (*name == lower).then_some(*size));
        match known.or_else(|| (self.size_of)(&name.value)) {
            Some(size) => self.add(size),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        let kind = conjunction(expr);
        if self.goes_on(kind) {
            self.terms += 1;
        } else {
            self.depth += count_of(expr);
        }
        self.around.push(kind);
        if self.depth > DEPTH_MAX {
            return refused(format!(
                "more than {DEPTH_MAX} expressions are within one another (each operator holds what is before it); put a part of them into a column of a step before"
            ));
        }
        if self.terms > TERMS_MAX {
            return refused(format!(
                "an AND or OR has more than {TERMS_MAX} terms; write IN (…), or join a table of the values"
            ));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        self.around.pop();
        if self.goes_on(conjunction(expr)) {
            self.terms -= 1;
        } else {
            self.depth -= count_of(expr);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    #[test]
    fn a_with_hides_a_table_in_its_own_query_alone() {
        let measured = |text: &str| {
            let query = super::super::parse::query_of(text).unwrap();
            let large = QuerySize { selects: 600, depth: 1 };
            measure(&query, &|name| name.eq_ignore_ascii_case("large").then_some(large))
        };
        let small = "(WITH large AS (SELECT 1 AS i) SELECT max(i) FROM large)";
        let once = format!("SELECT {small} AS i FROM large");
        assert_eq!(measured(&once).unwrap().selects, 603);
        let twice = format!("{once} UNION ALL SELECT i FROM large");
        assert!(measured(&twice).is_err());
        assert_eq!(measured(&format!("SELECT i FROM {small}")).unwrap().selects, 3);
        let inner = "WITH q AS (SELECT 1 AS i) SELECT (WITH q AS (SELECT i FROM large) SELECT max(i) FROM q) AS i FROM q";
        assert_eq!(measured(inner).unwrap().selects, 604);
    }

    #[test]
    fn types_are_told_from_comparisons() {
        use super::super::dialect::Spark;
        use datafusion::sql::sqlparser::tokenizer::Tokenizer;
        let tokens =
            |text: &str| Tokenizer::new(&Spark::default(), text).tokenize_with_location().unwrap();
        let comparisons = vec!["a < b"; 1_000].join(" AND ");
        check_tokens(&tokens(&comparisons)).unwrap();
        for (column, between) in [
            ("map < b AS c", ", "),
            ("array < b", ", "),
            ("f(struct < b)", ", "),
            ("struct < b", " AND "),
            ("CASE WHEN map < 1 THEN array < 2 END", ", "),
        ] {
            let columns = vec![column; 1_000].join(between);
            assert!(check_tokens(&tokens(&columns)).is_ok(), "{column}");
        }
        // These could be types within one another, as far as the parser can tell.
        check_tokens(&tokens(&vec!["map < b"; 90].join(", "))).unwrap();
        for (open, close) in
            [("STRUCT<a INT, and ", ">"), ("MAP<DECIMAL(10, 2), ", ">"), ("array<", ">")]
        {
            let deep = format!("x::{}INT{}", open.repeat(101), close.repeat(101));
            assert!(check_tokens(&tokens(&deep)).is_err(), "{open}");
            let fits = format!("x::{}INT{}", open.repeat(100), close.repeat(100));
            check_tokens(&tokens(&fits)).unwrap();
        }
        let deep = format!("CAST(x AS {}INT{})", "ARRAY<".repeat(101), ">".repeat(101));
        assert!(check_tokens(&tokens(&deep)).is_err());
        let deep = format!("x::INT{}", "[]".repeat(101));
        assert!(check_tokens(&tokens(&deep)).is_err());
    }
}
