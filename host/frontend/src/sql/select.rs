//! One SELECT.

use datafusion::sql::sqlparser::ast::{
    Distinct, LateralView as ParsedView, Select, SelectItem, SelectItemQualifiedWildcardKind,
    WildcardAdditionalOptions,
};

use super::Conversion;
use super::position::{all_plain, joined, of_name, of_span, parts, plain};
use crate::Result;
use crate::error::refuse;
use crate::spec::{Expression, Grouping, LateralView, Position, Relation, SortOrder};

impl Conversion<'_> {
    /// FROM, LATERAL VIEW, WHERE, then the items by group or by row, HAVING and DISTINCT.
    pub(super) fn select(&mut self, select: Select) -> Result<Relation> {
        check(&select)?;
        let Select {
            distinct,
            projection,
            from,
            lateral_views,
            selection,
            group_by,
            having,
            named_window,
            qualify,
            cluster_by,
            distribute_by,
            sort_by,
            ..
        } = select;
        let is_distinct = match distinct {
            None | Some(Distinct::All) => false,
            Some(Distinct::Distinct) => true,
            Some(Distinct::On(_)) => {
                refuse!("DISTINCT ON is not supported; write GROUP BY, and first() or max_by()")
            }
        };
        let mut relation = self.from(from)?;
        for view in lateral_views {
            relation = self.lateral_view(relation, view)?;
        }
        self.name_windows(named_window)?;
        if let Some(condition) = selection {
            let condition = self.expression(condition)?;
            relation = Relation::Filter { input: Box::new(relation), condition };
        }
        let grouping = self.grouping(group_by)?;
        let items = match projection.is_empty() {
            // `FROM t`, and nothing else.
            true => vec![star(Vec::new(), WildcardAdditionalOptions::default(), None)?],
            false => self.items(projection)?,
        };
        let having = match having {
            Some(condition) => Some(self.expression(condition)?),
            None => None,
        };
        let input = Box::new(relation);
        let mut relation = match grouping {
            Some(grouping) => Relation::Aggregate { input, grouping, items },
            None if having.is_some() || items.iter().any(|item| self.has_aggregate(item)) => {
                Relation::Aggregate { input, grouping: Grouping::By(Vec::new()), items }
            }
            None => Relation::Project { input, items },
        };
        if let Some(condition) = having {
            relation = Relation::Having { input: Box::new(relation), condition };
        }
        if let Some(condition) = qualify {
            let condition = self.expression(condition)?;
            if self.has_aggregate(&condition) {
                refuse!(
                    "[QUALIFY_AGGREGATE_NOT_ALLOWED] QUALIFY takes no aggregates but those over windows of rows; name them in the SELECT"
                );
            }
            relation = Relation::Qualify { input: Box::new(relation), condition };
        }
        if is_distinct {
            relation = Relation::Distinct(Box::new(relation));
        }
        let together = if cluster_by.is_empty() { distribute_by } else { cluster_by.clone() };
        if !together.is_empty() {
            let by = self.expressions(together)?;
            relation = Relation::RepartitionByExpression { input: Box::new(relation), by };
        }
        let mut order = self.order(sort_by)?;
        for value in cluster_by {
            let value = self.expression(value)?;
            order.push(SortOrder { value, is_descending: false, nulls_first: None });
        }
        if !order.is_empty() {
            // All rows in order are in order wherever they are computed.
            relation = Relation::Sort { input: Box::new(relation), order };
        }
        Ok(relation)
    }

    fn lateral_view(&mut self, input: Relation, view: ParsedView) -> Result<Relation> {
        let ParsedView { lateral_view, lateral_view_name, lateral_col_alias, outer } = view;
        Ok(Relation::LateralView(Box::new(LateralView {
            input,
            generator: self.expression(lateral_view)?,
            is_outer: outer,
            name: joined(lateral_view_name)?,
            columns: all_plain(lateral_col_alias),
        })))
    }

    /// What stands after SELECT.
    pub(super) fn items(&mut self, items: Vec<SelectItem>) -> Result<Vec<Expression>> {
        items.into_iter().map(|item| self.item(item)).collect()
    }

    fn item(&mut self, item: SelectItem) -> Result<Expression> {
        match item {
            SelectItem::UnnamedExpr(expr) => self.expression(expr),
            SelectItem::ExprWithAlias { expr, alias } => Ok(Expression::Alias {
                value: Box::new(self.expression(expr)?),
                names: vec![plain(alias)],
            }),
            SelectItem::ExprWithAliases { expr, aliases } => Ok(Expression::Alias {
                value: Box::new(self.expression(expr)?),
                names: all_plain(aliases),
            }),
            SelectItem::QualifiedWildcard(kind, options) => match kind {
                SelectItemQualifiedWildcardKind::ObjectName(name) => {
                    let at = of_name(&name);
                    star(parts(name)?, options, at)
                }
                SelectItemQualifiedWildcardKind::Expr(expr) => refuse!(
                    "({expr}).* is not supported; name the value in a subquery, and select its fields from there"
                ),
            },
            SelectItem::Wildcard(options) => {
                let at = of_span(options.wildcard_token.0.span);
                star(Vec::new(), options, at)
            }
        }
    }
}

/// `*`, with what stands before it and after it.
pub(super) fn star(
    qualifier: Vec<String>,
    options: WildcardAdditionalOptions,
    at: Option<Position>,
) -> Result<Expression> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let others = [
        ("ILIKE", opt_ilike.is_some()),
        ("EXCLUDE", opt_exclude.is_some()),
        ("REPLACE", opt_replace.is_some()),
        ("RENAME", opt_rename.is_some()),
        ("AS", opt_alias.is_some()),
    ];
    if let Some((word, _)) = others.iter().find(|(_, is_there)| *is_there) {
        refuse!("{word} after * is not supported; write * EXCEPT (…), and name the other columns");
    }
    let except = opt_except.map_or_else(Vec::new, |except| {
        let first = plain(except.first_element);
        std::iter::once(first).chain(all_plain(except.additional_elements)).collect()
    });
    Ok(Expression::Star { qualifier, except, at })
}

/// Refuses what there is no plan for.
fn check(select: &Select) -> Result<()> {
    let clauses = [
        ("TOP", select.top.is_some(), "write LIMIT"),
        ("EXCLUDE", select.exclude.is_some(), "write * EXCEPT (…)"),
        ("INTO", select.into.is_some(), "a sink says where rows go"),
        ("PREWHERE", select.prewhere.is_some(), "write WHERE"),
        ("CONNECT BY", !select.connect_by.is_empty(), "write joins"),
        ("SELECT AS", select.value_table_mode.is_some(), "write struct(…)"),
        (
            "a modifier of SELECT",
            select.select_modifiers.as_ref().is_some_and(|modifiers| modifiers.is_any_set()),
            "leave it out",
        ),
    ];
    match clauses.into_iter().find(|(_, is_there, _)| *is_there) {
        Some((name, _, instead)) => refuse!("{name} is not supported; {instead}"),
        None => Ok(()),
    }
}
