//! Expressions in the place of names that stand for them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, VisitMut, VisitorMut,
};

use super::names::Names;

/// Puts an expression in the place of each bare name that has one. Nested queries have names of
/// their own, and are left alone.
pub(super) fn substitute(clause: &mut impl VisitMut, of: &dyn Fn(&Ident) -> Option<Expr>) {
    substitute_outside(clause, of, &|_| false);
}

/// The same outside of the expressions that are `closed`.
fn substitute_outside(
    clause: &mut impl VisitMut,
    of: &dyn Fn(&Ident) -> Option<Expr>,
    closed: &dyn Fn(&Expr) -> bool,
) {
    let _ = clause.visit(&mut Substitute { of, closed, depth: 0 });
}

struct Substitute<'a> {
    of: &'a dyn Fn(&Ident) -> Option<Expr>,
    closed: &'a dyn Fn(&Expr) -> bool,
    /// Queries and closed expressions around the place that is looked at.
    depth: usize,
}

impl VisitorMut for Substitute<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.depth += usize::from((self.closed)(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.depth -= usize::from((self.closed)(expr));
        if let (0, Expr::Identifier(ident)) = (self.depth, &*expr)
            && let Some(other) = (self.of)(ident)
        {
            *expr = other;
        }
        ControlFlow::Continue(())
    }
}

/// `SELECT k, sum(v) AS v … HAVING v > 1`: HAVING means the item, also where a column has its name.
/// Within an aggregate it means the column.
pub(super) fn substitute_in_having(select: &mut Select, is_aggregate: &dyn Fn(&str) -> bool) {
    let items = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } => Some((alias.value.clone(), expr.clone())),
        _ => None,
    });
    let items: Vec<(String, Expr)> = items.collect();
    let of = |ident: &Ident| {
        let named = |(name, _): &&(String, Expr)| name.eq_ignore_ascii_case(&ident.value);
        items.iter().find(named).map(|(_, expr)| Expr::Nested(Box::new(expr.clone())))
    };
    let is_aggregate_call = |expr: &Expr| matches!(expr, Expr::Function(call) if is_aggregate(&call.name.to_string().to_lowercase()));
    substitute_outside(&mut select.having, &of, &is_aggregate_call);
}

/// `SELECT v * 2 AS d, d + 1`: the alias of an item before stands for it, unless there is a column
/// of that name.
pub(super) fn substitute_aliases(select: &mut Select, names: &Names) {
    let from = select.from.iter();
    let tables =
        from.flat_map(|from| from.joins.iter().map(|j| &j.relation).chain([&from.relation]));
    // Where not all columns are known, the name may be one of them.
    let Some(columns) = tables.map(|table| names.columns_in(table)).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let columns = columns.concat();
    let mut before: Vec<(String, Expr)> = Vec::new();
    for item in &mut select.projection {
        let SelectItem::ExprWithAlias { expr, alias } = item else {
            continue;
        };
        substitute(expr, &|ident| {
            let named = |name: &String| name.eq_ignore_ascii_case(&ident.value);
            if columns.iter().any(named) {
                return None;
            }
            let (_, expr) = before.iter().rev().find(|(name, _)| named(name))?;
            Some(Expr::Nested(Box::new(expr.clone())))
        });
        before.push((alias.value.clone(), expr.clone()));
    }
}
