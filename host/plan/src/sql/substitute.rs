//! Expressions in the place of names that stand for them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, VisitMut, VisitorMut,
};

use super::names::Names;

/// Puts an expression in the place of each bare name that has one. Nested queries have names of
/// their own, and are left alone.
pub(super) fn substitute(clause: &mut impl VisitMut, of: &dyn Fn(&Ident) -> Option<Expr>) {
    let _ = clause.visit(&mut Substitute { of, depth: 0 });
}

struct Substitute<'a> {
    of: &'a dyn Fn(&Ident) -> Option<Expr>,
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

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let (0, Expr::Identifier(ident)) = (self.depth, &*expr)
            && let Some(other) = (self.of)(ident)
        {
            *expr = other;
        }
        ControlFlow::Continue(())
    }
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
