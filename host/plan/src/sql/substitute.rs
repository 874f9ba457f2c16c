//! Expressions in the place of names that stand for them.

use std::cell::Cell;
use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, VisitMut, VisitorMut,
};

use super::lateral::varies;
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
///
/// # Errors
/// The item calls what gives another value each time: the rows would be chosen by a value that
/// nobody sees.
pub(super) fn substitute_in_having(
    select: &mut Select,
    names: &Names,
    is_aggregate: &dyn Fn(&str) -> bool,
) -> Result<()> {
    if select.having.is_none() {
        return Ok(());
    }
    let calls_again = Cell::new(false);
    let items = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } => Some((alias.value.clone(), expr.clone())),
        _ => None,
    });
    let items: Vec<(String, Expr)> = items.collect();
    let of = |ident: &Ident| {
        let named = |(name, _): &&(String, Expr)| name.eq_ignore_ascii_case(&ident.value);
        let (_, expr) = items.iter().find(named)?;
        calls_again.set(calls_again.get() || varies(expr, names));
        Some(Expr::Nested(Box::new(expr.clone())))
    };
    let is_aggregate_call = |expr: &Expr| matches!(expr, Expr::Function(call) if is_aggregate(&call.name.to_string().to_lowercase()));
    substitute_outside(&mut select.having, &of, &is_aggregate_call);
    match calls_again.get() {
        true => plan_err!(
            "HAVING reads an alias for the call of a plugin's function that is not deterministic, and would call it again; call it in a step of its own, and filter in the next"
        ),
        false => Ok(()),
    }
}
