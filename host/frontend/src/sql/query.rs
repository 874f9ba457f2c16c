//! Queries: WITH, set operations, ORDER BY, LIMIT.

use datafusion::sql::sqlparser::ast::{
    Cte as ParsedCte, LimitClause, OrderBy, OrderByKind, OrderByOptions, Query, SelectFlavor,
    SetExpr, SetOperator, SetQuantifier, Values, With as ParsedWith,
};

use super::Conversion;
use super::from::column_names;
use super::position::plain;
use crate::Result;
use crate::error::refuse;
use crate::spec::{Cte, Expression, Relation, SetKind, SetOperation, SortOrder, With};

impl Conversion<'_> {
    /// A query, in which only its own SELECT's windows have names.
    pub(super) fn query(&mut self, query: Query) -> Result<Relation> {
        let around = std::mem::take(&mut self.windows);
        let relation = self.query_alone(query)?;
        self.windows = around;
        Ok(relation)
    }

    fn query_alone(&mut self, query: Query) -> Result<Relation> {
        let clauses = [
            ("FETCH", query.fetch.is_some(), "write LIMIT"),
            ("FOR UPDATE", !query.locks.is_empty(), "leave it out"),
            ("FOR", query.for_clause.is_some(), "leave it out"),
            ("SETTINGS", query.settings.is_some(), "leave it out"),
            ("FORMAT", query.format_clause.is_some(), "a sink says how rows are written"),
        ];
        if let Some((name, _, instead)) = clauses.into_iter().find(|(_, is_there, _)| *is_there) {
            refuse!("{name} is not supported; {instead}");
        }
        let Query { with, body, order_by, limit_clause, pipe_operators, .. } = query;
        let tables = match with {
            Some(with) => self.tables(with)?,
            None => Vec::new(),
        };
        let mut relation = match *body {
            // What is piped has still the names of its tables.
            SetExpr::Select(select)
                if select.flavor == SelectFlavor::FromFirstNoSelect
                    && !pipe_operators.is_empty() =>
            {
                self.from(select.from)?
            }
            body => self.body(body)?,
        };
        if let Some(order_by) = order_by {
            relation = self.sorted(relation, order_by)?;
        }
        if let Some(limit) = limit_clause {
            relation = self.limited(relation, limit)?;
        }
        for operator in pipe_operators {
            relation = self.piped(relation, operator)?;
        }
        if !tables.is_empty() {
            relation = Relation::With(Box::new(With { tables, input: relation }));
        }
        Ok(relation)
    }

    fn tables(&mut self, with: ParsedWith) -> Result<Vec<Cte>> {
        if with.recursive {
            refuse!("WITH RECURSIVE is not supported");
        }
        with.cte_tables.into_iter().map(|table| self.cte(table)).collect()
    }

    fn cte(&mut self, table: ParsedCte) -> Result<Cte> {
        let ParsedCte { alias, query, from, materialized, closing_paren_token: _ } = table;
        if from.is_some() || materialized.is_some() {
            refuse!("WITH {}: write AS and a query in parentheses, and nothing else", alias.name);
        }
        Ok(Cte {
            name: plain(alias.name),
            columns: column_names(alias.columns)?,
            query: self.query(*query)?,
        })
    }

    fn sorted(&mut self, input: Relation, order_by: OrderBy) -> Result<Relation> {
        if order_by.interpolate.is_some() {
            refuse!("INTERPOLATE is not supported");
        }
        let order = match order_by.kind {
            OrderByKind::Expressions(order) => self.order(order)?,
            OrderByKind::All(options) => vec![by_all(options)],
        };
        Ok(Relation::Sort { input: Box::new(input), order })
    }

    fn limited(&mut self, input: Relation, limit: LimitClause) -> Result<Relation> {
        let (limit, offset) = match limit {
            LimitClause::LimitOffset { limit, offset, limit_by } => {
                if !limit_by.is_empty() {
                    refuse!("LIMIT … BY is not supported; write row_number() OVER (…)");
                }
                (limit, offset.map(|offset| offset.value))
            }
            LimitClause::OffsetCommaLimit { .. } => {
                refuse!("LIMIT of two numbers is not supported; write LIMIT … OFFSET …")
            }
        };
        let offset = offset.map(|offset| self.expression(offset)).transpose()?;
        let limit = limit.map(|limit| self.expression(limit)).transpose()?;
        Ok(cut(input, offset, limit))
    }

    /// What a query has without its ORDER BY and LIMIT. Set operations go deep on their left side,
    /// along which this goes in a loop.
    fn body(&mut self, body: SetExpr) -> Result<Relation> {
        let mut operations = Vec::new();
        let mut rest = body;
        while let SetExpr::SetOperation { left, op, set_quantifier, right } = rest {
            operations.push((kind_of(op), set_quantifier, *right));
            rest = *left;
        }
        let mut relation = self.operand(rest)?;
        if !operations.is_empty() {
            self.windows.clear();
        }
        for (kind, quantifier, right) in operations.into_iter().rev() {
            let right = self.body(right)?;
            self.windows.clear();
            relation = combined(relation, right, kind, quantifier)?;
        }
        Ok(relation)
    }

    fn operand(&mut self, operand: SetExpr) -> Result<Relation> {
        match operand {
            SetExpr::Select(select) => self.select(*select),
            SetExpr::Query(query) => self.query(*query),
            SetExpr::Values(values) => self.values(values),
            SetExpr::Table(_) => refuse!("TABLE is not supported here; write SELECT * FROM …"),
            _ => refuse!("a step is one SELECT, and nothing else"),
        }
    }

    fn values(&mut self, values: Values) -> Result<Relation> {
        let rows = values.rows.into_iter().map(|row| self.expressions(row.content));
        Ok(Relation::Values(rows.collect::<Result<_>>()?))
    }
}

/// ORDER BY ALL.
pub(super) fn by_all(options: OrderByOptions) -> SortOrder {
    SortOrder {
        value: Expression::Star { qualifier: Vec::new(), except: Vec::new(), at: None },
        is_descending: options.asc == Some(false),
        nulls_first: options.nulls_first,
    }
}

/// The rows after so many, and not more than so many.
pub(super) fn cut(
    input: Relation,
    offset: Option<Expression>,
    limit: Option<Expression>,
) -> Relation {
    let mut relation = input;
    if let Some(count) = offset {
        relation = Relation::Offset { input: Box::new(relation), count };
    }
    if let Some(count) = limit {
        relation = Relation::Limit { input: Box::new(relation), count };
    }
    relation
}

fn kind_of(operator: SetOperator) -> SetKind {
    match operator {
        SetOperator::Union => SetKind::Union,
        SetOperator::Intersect => SetKind::Intersect,
        SetOperator::Except | SetOperator::Minus => SetKind::Except,
    }
}

/// `left UNION right`, and the like.
pub(super) fn combined(
    left: Relation,
    right: Relation,
    kind: SetKind,
    quantifier: SetQuantifier,
) -> Result<Relation> {
    let (is_all, by_name) = match quantifier {
        SetQuantifier::All => (true, false),
        SetQuantifier::Distinct | SetQuantifier::None => (false, false),
        SetQuantifier::AllByName => (true, true),
        SetQuantifier::ByName | SetQuantifier::DistinctByName => (false, true),
    };
    if by_name && kind != SetKind::Union {
        refuse!("BY NAME is of UNION alone");
    }
    Ok(Relation::SetOperation(Box::new(SetOperation { left, right, kind, is_all, by_name })))
}
