//! GROUP BY: what stands for the window that is grouped by, and ROLLUP, CUBE and GROUPING SETS in
//! Spark's older spelling.

use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    GroupByWithModifier, Ident, OrderBy, Select, SelectItem, Value, VisitMut, VisitorMut,
};
use tidemill_types::Interval;

use super::tree::{arguments, cast, field, quoted_call};
use super::{SESSION_WINDOW, WINDOW};

/// Rewrites the GROUP BY of a SELECT, and what reads it: the SELECT's items, HAVING and ORDER BY.
pub(super) fn rewrite_grouping(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
    as_grouping_sets(&mut select.group_by)?;
    let GroupByExpr::Expressions(groups, _) = &mut select.group_by else {
        return Ok(());
    };
    for group in sets_of(groups).into_iter().flatten() {
        by_place(group, &select.projection);
    }
    let grouped = grouped_by(groups);
    let window = grouped.iter().find_map(|group| Some((group.clone(), window_function(group)?)));
    let has_sets = !sets_of(groups).is_empty();
    let mut ids = GroupingIds { grouped: has_sets.then_some(grouped) };
    let is_item = |item: &SelectItem| match (item, &window) {
        (SelectItem::ExprWithAlias { alias, .. }, Some((_, name))) => {
            alias.value.eq_ignore_ascii_case(name)
        }
        _ => false,
    };
    // Where there is a column of that name, ORDER BY means the column.
    let in_order = !select.projection.iter().any(is_item);
    let mut outcome = select.projection.visit(&mut ids);
    if outcome.is_continue() {
        outcome = select.having.visit(&mut ids);
    }
    if let Some((window, name)) = window {
        let mut window = WindowNames { window: &window, name };
        if outcome.is_continue() {
            outcome = window.put_into(&mut select.projection);
        }
        if outcome.is_continue() {
            outcome = window.put_into(&mut select.having);
        }
        if let (ControlFlow::Continue(()), true, Some(order_by)) = (&outcome, in_order, order_by) {
            outcome = window.put_into(order_by);
        }
    }
    match outcome {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// `GROUP BY a, b WITH ROLLUP` is `GROUP BY ROLLUP (a, b)`; the same with CUBE, and with GROUPING
/// SETS, which are some of the expressions before them.
fn as_grouping_sets(group_by: &mut GroupByExpr) -> Result<()> {
    let (groups, modifiers) = match group_by {
        GroupByExpr::Expressions(groups, modifiers) => (groups, modifiers),
        GroupByExpr::All(modifiers) if modifiers.is_empty() => return Ok(()),
        GroupByExpr::All(_) => return plan_err!("GROUP BY ALL takes nothing after it"),
    };
    let each =
        |groups: &mut Vec<Expr>| std::mem::take(groups).into_iter().map(|e| vec![e]).collect();
    let sets = match std::mem::take(modifiers).as_slice() {
        [] => return Ok(()),
        [GroupByWithModifier::Rollup] => Expr::Rollup(each(groups)),
        [GroupByWithModifier::Cube] => Expr::Cube(each(groups)),
        [GroupByWithModifier::GroupingSets(sets)] => sets.clone(),
        _ => return plan_err!("GROUP BY takes one of WITH ROLLUP, WITH CUBE and GROUPING SETS"),
    };
    *groups = vec![sets];
    Ok(())
}

/// The expressions in ROLLUP, CUBE and GROUPING SETS.
fn sets_of(groups: &mut [Expr]) -> Vec<Vec<&mut Expr>> {
    let mut found = Vec::new();
    for group in groups {
        if let Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) = group {
            found.push(sets.iter_mut().flatten().collect());
        }
    }
    found
}

/// What is grouped by, once each, in and out of sets.
fn grouped_by(groups: &[Expr]) -> Vec<Expr> {
    let mut all = Vec::new();
    for group in groups {
        match group {
            Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) => {
                all.extend(sets.iter().flatten());
            }
            other => all.push(other),
        }
    }
    let mut once: Vec<Expr> = Vec::new();
    for group in all {
        if !once.contains(group) {
            once.push(group.clone());
        }
    }
    once
}

/// A number in a set is that item of the SELECT; outside of sets the planner knows it.
fn by_place(group: &mut Expr, items: &[SelectItem]) {
    let Expr::Value(value) = &*group else { return };
    let Value::Number(number, _) = &value.value else { return };
    let place = number.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
    if let Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) =
        place.and_then(|place| items.get(place))
    {
        *group = expr.clone();
    }
}

/// `grouping_id()` is the number that `grouping(…)` makes of all that is grouped by. Both ask for
/// sets.
struct GroupingIds {
    /// Nothing, where there are no sets.
    grouped: Option<Vec<Expr>>,
}

impl VisitorMut for GroupingIds {
    type Break = DataFusionError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        let FunctionArguments::List(list) = &function.args else {
            return ControlFlow::Continue(());
        };
        let name = function.name.to_string().to_ascii_lowercase();
        if !["grouping", "grouping_id"].contains(&name.as_str()) {
            return ControlFlow::Continue(());
        }
        let Some(grouped) = &self.grouped else {
            return ControlFlow::Break(DataFusionError::Plan(
                "[UNSUPPORTED_GROUPING_EXPRESSION] grouping()/grouping_id() can only be used with GroupingSets/Cube/Rollup".to_owned(),
            ));
        };
        let arguments = match list.args.as_slice() {
            [] => Some(grouped.clone()),
            _ => arguments(function),
        };
        let Some(arguments) = arguments else {
            return ControlFlow::Break(DataFusionError::Plan(format!(
                "{name}() takes expressions that are grouped by"
            )));
        };
        let kind = if name == "grouping" { "TINYINT" } else { "BIGINT" };
        *expr = cast(quoted_call("grouping", arguments), kind);
        ControlFlow::Continue(())
    }
}

/// Spells the windows of calls in one way, so that `60 seconds` and `1 minute` are the same window.
pub(super) struct SameSpelling;

impl VisitorMut for SameSpelling {
    type Break = DataFusionError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        let is_window = window_function(expr).is_some();
        let (true, Expr::Function(Function { args: FunctionArguments::List(list), .. })) =
            (is_window, expr)
        else {
            return ControlFlow::Continue(());
        };
        for argument in list.args.iter_mut().skip(1) {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) = argument
                && let Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) =
                    &mut value.value
                && let Ok(interval) = text.parse::<Interval>()
            {
                *text = interval.to_string();
            }
        }
        if let [_, size, slide] = list.args.as_slice()
            && size == slide
        {
            list.args.truncate(2);
        }
        ControlFlow::Continue(())
    }
}

pub(super) fn window_named(ident: &str) -> Option<&'static str> {
    [WINDOW, SESSION_WINDOW].into_iter().find(|window| ident.eq_ignore_ascii_case(window))
}

/// Which of the functions of windows an expression calls.
pub(super) fn window_function(expression: &Expr) -> Option<&'static str> {
    let Expr::Function(Function { name, .. }) = expression else {
        return None;
    };
    window_named(&name.to_string())
}

/// Replaces `window`, `window.start` and `window.end` (or the same of `session_window`).
struct WindowNames<'a> {
    window: &'a Expr,
    name: &'static str,
}

impl WindowNames<'_> {
    fn put_into(&mut self, clause: &mut impl VisitMut) -> ControlFlow<DataFusionError> {
        clause.visit(&mut Hide(self.window))?;
        clause.visit(self)
    }
}

/// Puts a name in the place of the call itself, so that a column `window` among its arguments is
/// left alone.
struct Hide<'a>(&'a Expr);

/// The name that stands for the call meanwhile.
const HIDDEN: &str = "__grouping_window";

impl VisitorMut for Hide<'_> {
    type Break = DataFusionError;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        if expr == self.0 {
            *expr = Expr::Identifier(Ident::new(HIDDEN));
        }
        ControlFlow::Continue(())
    }
}

impl VisitorMut for WindowNames<'_> {
    type Break = DataFusionError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        let is_window = |ident: &Ident| ident.value.eq_ignore_ascii_case(self.name);
        let replacement = match expr {
            Expr::Identifier(ident) if is_window(ident) || ident.value == HIDDEN => {
                self.window.clone()
            }
            Expr::CompoundIdentifier(idents) if idents.len() == 2 && is_window(&idents[0]) => {
                field(self.window.clone(), &idents[1].value.to_ascii_lowercase())
            }
            _ => return ControlFlow::Continue(()),
        };
        *expr = replacement;
        ControlFlow::Continue(())
    }
}
