//! `SELECT v * 2 AS d, d + 1 AS e`: the alias of an item before stands for it, unless there is a
//! column of that name.
//!
//! An alias that stands for little is replaced by what it stands for. Copied again and again,
//! expressions would double with each item. So what is large, and what may give another value when
//! it is computed twice, is computed once, in a query below (as Spark does it,
//! ResolveLateralColumnAliasReference).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, GroupByExpr, Ident, Join, JoinOperator, OrderBy, OrderByKind, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins,
    Visit, VisitMut, Visitor, VisitorMut, WildcardAdditionalOptions,
};

use super::names::Names;
use super::substitute::substitute;
use tidemill_functions::is_aggregate;

/// Expressions in what an alias stands for, up to which it is copied. A chain of aliases becomes a
/// query below for about seven of them.
const COPIED_MAX: usize = 128;
/// The same where there can be no query below, in SELECTs that group.
const COPIED_IN_GROUPS_MAX: usize = 4_096;

/// Puts what they stand for in the place of aliases.
pub(super) fn resolve_aliases(
    select: &mut Select,
    order_by: Option<&OrderBy>,
    names: &Names,
) -> Result<()> {
    let from = select.from.iter();
    let tables =
        from.flat_map(|from| from.joins.iter().map(|j| &j.relation).chain([&from.relation]));
    // Where not all columns are known, the name may be one of them.
    let Some(columns) = tables.map(|table| names.columns_in(table)).collect::<Option<Vec<_>>>()
    else {
        return Ok(());
    };
    let is_column =
        |name: &str| columns.iter().flatten().any(|column| column.eq_ignore_ascii_case(name));
    let mut items = resolved(&select.projection, &is_column, names, COPIED_MAX);
    let deepest = items.iter().filter_map(|item| Some(item.as_ref()?.level)).max().unwrap_or(0);
    if deepest > 0 {
        if let Some(nested) = Levels::of(select, order_by, names, &items) {
            *select = nested.build(deepest);
            return Ok(());
        }
        items = resolved(&select.projection, &is_column, names, usize::MAX);
    }
    for (item, resolved) in select.projection.iter_mut().zip(items) {
        let (SelectItem::ExprWithAlias { expr, alias }, Some(resolved)) = (item, resolved) else {
            continue;
        };
        if resolved.size > COPIED_IN_GROUPS_MAX {
            return plan_err!(
                "`{alias}` comes to more than {COPIED_IN_GROUPS_MAX} expressions, with those of the aliases that it reads, which are copied in a SELECT that groups; compute them in a step of their own"
            );
        }
        if deepest > 0 && resolved.repeats_call {
            return plan_err!(
                "`{alias}` reads an alias for the call of a plugin's function that is not deterministic, and would call it again; call it in a step of its own"
            );
        }
        *expr = resolved.expr;
    }
    Ok(())
}

/// An item with what its aliases stand for in their places.
struct Resolved {
    expr: Expr,
    /// Expressions in it.
    size: usize,
    /// Queries that have to be below.
    level: usize,
    /// Whether a call in it gives another value each time.
    varies: bool,
    /// Whether such a call is in an item before, too.
    repeats_call: bool,
}

/// What the items are, but for those without an alias. Larger ones than `copied` are named where
/// they are read (see [`item_name`]).
fn resolved(
    items: &[SelectItem],
    is_column: &dyn Fn(&str) -> bool,
    names: &Names,
    copied: usize,
) -> Vec<Option<Resolved>> {
    let mut all: Vec<Option<Resolved>> = Vec::with_capacity(items.len());
    let mut before: BTreeMap<String, usize> = BTreeMap::new();
    // What is refused need not grow any more.
    let copies = Cell::new(0_usize);
    let is_too_large = || copies.get() > COPIED_IN_GROUPS_MAX * 4;
    for (place, item) in items.iter().enumerate() {
        let SelectItem::ExprWithAlias { expr, alias } = item else {
            all.push(None);
            continue;
        };
        let mut expr = expr.clone();
        let (level, repeats_call) = (Cell::new(0), Cell::new(false));
        substitute(&mut expr, &|ident| {
            let place = *before.get(&ident.value.to_ascii_lowercase())?;
            let known: &Resolved = all[place].as_ref()?;
            if is_column(&ident.value) || is_too_large() {
                return None;
            }
            if known.size > copied || (known.varies && copied < usize::MAX) {
                level.set(level.get().max(known.level + 1));
                return Some(Expr::Identifier(Ident::new(item_name(place))));
            }
            if copied == usize::MAX {
                copies.set(copies.get() + known.size);
            }
            level.set(level.get().max(known.level));
            repeats_call.set(repeats_call.get() || known.varies);
            Some(Expr::Nested(Box::new(known.expr.clone())))
        });
        let size = if is_too_large() { usize::MAX } else { count(&expr) };
        let varies = varies(&expr, names);
        let (level, repeats_call) = (level.get(), repeats_call.get());
        all.push(Some(Resolved { expr, size, level, varies, repeats_call }));
        before.insert(alias.value.to_ascii_lowercase(), place);
    }
    all
}

/// Whether a call in an expression gives another value each time.
pub(super) fn varies(expr: &Expr, names: &Names) -> bool {
    contains(expr, |e| match e {
        Expr::Function(call) => {
            let name = call.name.0.last().and_then(|part| part.as_ident());
            name.is_some_and(|name| names.varies(&name.value))
        }
        _ => false,
    })
}

fn item_name(place: usize) -> String {
    format!("__item_{place}")
}

fn count(expr: &Expr) -> usize {
    let mut count = 0;
    let _ = contains(expr, |_| {
        count += 1;
        false
    });
    count
}

/// Whether there is such an expression in one, or it is one.
fn contains(clause: &impl Visit, is_it: impl FnMut(&Expr) -> bool) -> bool {
    struct Look<F>(F);
    impl<F: FnMut(&Expr) -> bool> Visitor for Look<F> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match (self.0)(expr) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    clause.visit(&mut Look(is_it)).is_break()
}

/// Queries within one another that compute the items of a SELECT.
struct Levels<'a> {
    select: &'a Select,
    /// The items, each by its level and its name in the queries below.
    items: Vec<Item>,
    /// Columns that items above the first level read, by their names there.
    columns: Vec<(String, Expr)>,
}

struct Item {
    level: usize,
    name: String,
    expr: Expr,
    alias: Ident,
}

impl<'a> Levels<'a> {
    /// Nothing, where the SELECT does more than to compute: then what it reads is not there any more
    /// one query higher.
    fn of(
        select: &'a Select,
        order_by: Option<&OrderBy>,
        names: &Names,
        resolved: &[Option<Resolved>],
    ) -> Option<Levels<'a>> {
        if !only_computes(select) || !orders_by_items(order_by, select) {
            return None;
        }
        let mut levels = Levels { select, items: Vec::new(), columns: Vec::new() };
        for (place, (item, resolved)) in select.projection.iter().zip(resolved).enumerate() {
            match (item, resolved) {
                (SelectItem::ExprWithAlias { alias, .. }, Some(resolved)) => {
                    let mut expr = resolved.expr.clone();
                    if resolved.level > 0 {
                        levels.take_columns(&mut expr)?;
                    }
                    levels.add(resolved.level, item_name(place), expr, alias.clone());
                }
                (SelectItem::UnnamedExpr(Expr::Identifier(ident)), _) => {
                    let expr = Expr::Identifier(ident.clone());
                    levels.add(0, item_name(place), expr, ident.clone());
                }
                (SelectItem::Wildcard(options), _) => {
                    let tables = tables_of(&select.from);
                    for (at, table) in tables.into_iter().enumerate() {
                        levels.add_all((place, at), table, options, names)?;
                    }
                }
                (
                    SelectItem::QualifiedWildcard(
                        SelectItemQualifiedWildcardKind::ObjectName(name),
                        options,
                    ),
                    _,
                ) => {
                    let name = name.0.last()?.as_ident()?;
                    let mut tables = tables_of(&select.from).into_iter();
                    let table = tables.find(|table| {
                        name_of(table).is_some_and(|n| n.value.eq_ignore_ascii_case(&name.value))
                    })?;
                    levels.add_all((place, 0), table, options, names)?;
                }
                _ => return None,
            }
        }
        Some(levels)
    }

    fn add(&mut self, level: usize, name: String, expr: Expr, alias: Ident) {
        self.items.push(Item { level, name, expr, alias });
    }

    /// All columns of a table.
    fn add_all(
        &mut self,
        (place, at): (usize, usize),
        table: &TableFactor,
        options: &WildcardAdditionalOptions,
        names: &Names,
    ) -> Option<()> {
        let except: Vec<&Ident> = match &options.opt_except {
            Some(except) => {
                std::iter::once(&except.first_element).chain(&except.additional_elements).collect()
            }
            None => Vec::new(),
        };
        let plain = WildcardAdditionalOptions { opt_except: None, ..options.clone() };
        if plain != WildcardAdditionalOptions::default() {
            return None;
        }
        let of = name_of(table);
        for (number, column) in names.columns_in(table)?.into_iter().enumerate() {
            if except.iter().any(|except| except.value.eq_ignore_ascii_case(&column)) {
                continue;
            }
            let column = Ident::with_quote('`', column);
            let expr = match of {
                Some(table) => Expr::CompoundIdentifier(vec![table.clone(), column.clone()]),
                None => Expr::Identifier(column.clone()),
            };
            self.add(0, format!("__item_{place}_{at}_{number}"), expr, column);
        }
        Some(())
    }

    /// Puts a name in the place of each column, which is taken along from the first level; nothing,
    /// where it is not clear what is a column.
    fn take_columns(&mut self, expr: &mut Expr) -> Option<()> {
        let is_unclear = |e: &Expr| match e {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } | Expr::Lambda(_) => {
                true
            }
            Expr::CompoundFieldAccess { access_chain, .. } => {
                access_chain.iter().any(|access| matches!(access, AccessExpr::Dot(_)))
            }
            _ => false,
        };
        if contains(&*expr, is_unclear) {
            return None;
        }
        let _ = expr.visit(&mut TakeColumns(&mut self.columns));
        Some(())
    }

    fn build(self, deepest: usize) -> Select {
        let named =
            |expr: Expr, name: &str| SelectItem::ExprWithAlias { expr, alias: Ident::new(name) };
        let taken = |name: &str| Expr::Identifier(Ident::new(name));
        let mut below = self.select.clone();
        below.distinct = None;
        below.projection = self
            .columns
            .iter()
            .map(|(name, column)| named(column.clone(), name))
            .chain(
                self.items.iter().filter(|i| i.level == 0).map(|i| named(i.expr.clone(), &i.name)),
            )
            .collect();
        for level in 1..=deepest {
            let mut select = over(self.select, below, level);
            let is_last = level == deepest;
            let columns = self.columns.iter().filter(|_| !is_last);
            select.projection = columns.map(|(name, _)| named(taken(name), name)).collect();
            for item in self.items.iter().filter(|item| item.level <= level) {
                let expr = match item.level == level {
                    true => item.expr.clone(),
                    false => taken(&item.name),
                };
                let alias = if is_last { item.alias.clone() } else { Ident::new(&item.name) };
                select.projection.push(SelectItem::ExprWithAlias { expr, alias });
            }
            below = select;
        }
        below.distinct.clone_from(&self.select.distinct);
        below
    }
}

/// A SELECT from another one.
fn over(like: &Select, below: Select, level: usize) -> Select {
    let query = Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(below))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    };
    let alias = TableAlias {
        explicit: true,
        name: Ident::new(format!("__level_{level}")),
        columns: Vec::new(),
        at: None,
    };
    let relation = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query),
        alias: Some(alias),
        sample: None,
    };
    Select {
        distinct: None,
        projection: Vec::new(),
        from: vec![TableWithJoins { relation, joins: Vec::new() }],
        selection: None,
        ..like.clone()
    }
}

/// Whether a SELECT has nothing but items, FROM and WHERE.
fn only_computes(select: &Select) -> bool {
    let plain = Select {
        distinct: None,
        projection: Vec::new(),
        from: Vec::new(),
        selection: None,
        ..select.clone()
    };
    let is_plain = plain.top.is_none()
        && plain.exclude.is_none()
        && plain.into.is_none()
        && plain.lateral_views.is_empty()
        && plain.prewhere.is_none()
        && plain.connect_by.is_empty()
        && matches!(&plain.group_by, GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty())
        && plain.cluster_by.is_empty()
        && plain.distribute_by.is_empty()
        && plain.sort_by.is_empty()
        && plain.having.is_none()
        && plain.named_window.is_empty()
        && plain.qualify.is_none()
        && plain.value_table_mode.is_none();
    let looks_at_rows = |e: &Expr| match e {
        Expr::Function(call) => {
            let name = call.name.to_string().to_ascii_lowercase();
            call.over.is_some()
                || is_aggregate(&name)
                || ["unnest", "explode"].contains(&name.as_str())
        }
        _ => false,
    };
    is_plain && !contains(&select.projection, looks_at_rows)
}

/// Whether a query is ordered by its columns alone.
fn orders_by_items(order_by: Option<&OrderBy>, select: &Select) -> bool {
    let is_item = |ident: &Ident| {
        select.projection.iter().any(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => {
                alias.value.eq_ignore_ascii_case(&ident.value)
            }
            _ => false,
        })
    };
    let Some(order_by) = order_by else { return true };
    match &order_by.kind {
        OrderByKind::All(_) => true,
        OrderByKind::Expressions(by) => by.iter().all(|by| match &by.expr {
            Expr::Identifier(ident) => is_item(ident),
            Expr::Value(_) => true,
            _ => false,
        }),
    }
}

/// The tables whose columns are in `*`.
fn tables_of(from: &[TableWithJoins]) -> Vec<&TableFactor> {
    let gives = |join: &&Join| {
        !matches!(join.join_operator, JoinOperator::LeftSemi(_) | JoinOperator::LeftAnti(_))
    };
    from.iter()
        .flat_map(|from| {
            let joined = from.joins.iter().filter(gives).map(|join| &join.relation);
            std::iter::once(&from.relation).chain(joined)
        })
        .collect()
}

fn name_of(table: &TableFactor) -> Option<&Ident> {
    match table {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => Some(&alias.name),
        TableFactor::Table { name, .. } => name.0.last()?.as_ident(),
        _ => None,
    }
}

struct TakeColumns<'a>(&'a mut Vec<(String, Expr)>);

impl VisitorMut for TakeColumns<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let is_column = match expr {
            Expr::Identifier(ident) => !ident.value.starts_with("__item_"),
            Expr::CompoundIdentifier(_) => true,
            _ => false,
        };
        if is_column {
            let known = self.0.iter().find(|(_, column)| column == expr);
            let name = match known {
                Some((name, _)) => name.clone(),
                None => {
                    let name = format!("__column_{}", self.0.len());
                    self.0.push((name.clone(), expr.clone()));
                    name
                }
            };
            *expr = Expr::Identifier(Ident::new(name));
        }
        ControlFlow::Continue(())
    }
}
