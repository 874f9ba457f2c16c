//! GROUP BY: what is grouped by, and what the items read of the groups.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::utils::{enumerate_grouping_sets, grouping_set_to_exprlist};
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, lit};

use super::Resolver;
use super::clause::Clause;
use super::expressions::Context;
use super::items::{by_place, item_place, written_out};
use super::scope::quoted;
use super::select::{Select, holds_aggregate};
use crate::catalog::CatalogFunction;
use crate::error::{Result, refuse};
use crate::generate::is_generated;
use crate::spec::{Expression, Grouping};

/// What rows are grouped by.
#[derive(Default)]
pub(super) struct Groups {
    /// As DataFusion has them: expressions, or one with grouping sets.
    by: Vec<Expr>,
    /// The window among them, by its name.
    window: Option<(String, Expr)>,
}

impl Groups {
    /// The window that is grouped by, by the name that it can be read with.
    pub(super) fn window(&self) -> Option<(String, Expr)> {
        self.window.clone()
    }

    /// All of them, where there are sets.
    pub(super) fn sets(&self) -> Result<Option<Vec<Expr>>> {
        match self.by.iter().any(|by| matches!(by, Expr::GroupingSet(_))) {
            true => all_of(&self.by).map(Some),
            false => Ok(None),
        }
    }

    /// Groups by these; by none, one group.
    pub(super) fn by(by: Vec<Expr>) -> Groups {
        Groups { by, window: None }
    }

    /// What is grouped by.
    pub(super) fn expressions(&self) -> Result<Vec<Expr>> {
        all_of(&self.by)
    }

    /// Makes other expressions of what is grouped by.
    pub(super) fn replace(&mut self, by: impl Fn(Expr) -> Result<Expr>) -> Result<()> {
        for value in &mut self.by {
            let before = std::mem::replace(value, lit(false));
            *value = by(before)?;
        }
        Ok(())
    }

    /// The plan that groups; the values read its columns then.
    ///
    /// # Errors
    /// A value reads a column that is not grouped by.
    pub(super) fn planned(
        self,
        input: LogicalPlan,
        values: &mut [&mut Expr],
    ) -> Result<LogicalPlan> {
        let groups = all_of(&self.by)?;
        let grouped: HashSet<&Expr> = groups.iter().collect();
        let mut aggregates: Vec<Expr> = Vec::new();
        let mut seen: HashSet<Expr> = HashSet::new();
        for value in values.iter() {
            value.apply(|e| {
                if grouped.contains(e) {
                    return Ok(TreeNodeRecursion::Jump);
                }
                if matches!(e, Expr::AggregateFunction(_)) {
                    if seen.insert(e.clone()) {
                        aggregates.push(e.clone());
                    }
                    return Ok(TreeNodeRecursion::Jump);
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        let has_groups = !groups.is_empty();
        if aggregates.is_empty() && !has_groups {
            // There is one group, whatever is read of it.
            aggregates.push(datafusion::functions_aggregate::expr_fn::count(lit(1_i64)));
        }
        let aggregate = Aggregate::try_new(Arc::new(input), self.by, aggregates.clone())?;
        let columns = aggregate.schema.columns();
        let of_groups = columns.iter().take(groups.len());
        let of_aggregates = columns.iter().skip(columns.len() - aggregates.len());
        let known: HashMap<Expr, Column> = groups
            .into_iter()
            .zip(of_groups.cloned())
            .chain(aggregates.into_iter().zip(of_aggregates.cloned()))
            .collect();
        for value in values {
            let before = std::mem::replace(*value, Expr::Literal(ScalarValue::Null, None));
            **value = of_groups_alone(before, &known, has_groups)?;
        }
        Ok(LogicalPlan::Aggregate(aggregate))
    }
}

/// All that is grouped by, once each, in and out of sets.
fn all_of(by: &[Expr]) -> Result<Vec<Expr>> {
    let by = enumerate_grouping_sets(by.to_vec())?;
    Ok(grouping_set_to_exprlist(&by)?.into_iter().cloned().collect())
}

/// A value over the columns of an aggregation.
fn of_groups_alone(value: Expr, known: &HashMap<Expr, Column>, has_groups: bool) -> Result<Expr> {
    let mut missing: Option<Column> = None;
    let read = value.transform_down(|e| {
        if let Some(column) = known.get(&e) {
            let column = Expr::Column(column.clone());
            return Ok(Transformed::new(column, true, TreeNodeRecursion::Jump));
        }
        if let Expr::Column(column) = &e
            && item_place(column).is_none()
            && !is_generated(column)
        {
            missing.get_or_insert_with(|| column.clone());
        }
        Ok(Transformed::no(e))
    })?;
    match missing {
        None => Ok(read.data),
        Some(column) if !has_groups => refuse!(
            "[MISSING_GROUP_BY] The query does not include a GROUP BY clause. Add GROUP BY or turn \"{}\" into a window function using OVER clauses.",
            column.name
        ),
        Some(column) => refuse!(
            "[MISSING_AGGREGATION] The non-aggregating expression \"{0}\" is based on columns which are not participating in the GROUP BY clause. Add the columns or the expression to the GROUP BY, aggregate the expression, or use \"any_value({0})\" if you do not care which of the values within a group is returned.",
            column.name
        ),
    }
}

impl Resolver<'_> {
    /// A SELECT that groups. GROUP BY sees the columns, the names of items and their numbers.
    pub(super) fn grouped(
        &mut self,
        select: &mut Select,
        grouping: &Grouping,
        items: &[Expression],
    ) -> Result<()> {
        if matches!(grouping, Grouping::All) {
            return self.grouped_by_all(select, items);
        }
        let by = self.groups(select, grouping, items)?;
        let groups = Groups { window: self.window_of(&by)?, by };
        if let Some((name, window)) = &groups.window {
            // The window is a column of that name, whatever other columns there are.
            self.windows_shown(select, name, window);
        }
        select.groups = Some(groups);
        self.items(select, items)
    }

    fn windows_shown(&mut self, select: &mut Select, name: &str, window: &Expr) {
        use super::scope::{Visible, same};
        select.scope.columns.retain(|column| !same(&column.name, name));
        select.scope.columns.push(Visible {
            relation: None,
            name: name.to_owned(),
            value: window.clone(),
            is_hidden: false,
        });
    }

    fn grouped_by_all(&mut self, select: &mut Select, items: &[Expression]) -> Result<()> {
        select.groups = Some(Groups::default());
        self.items(select, items)?;
        let mut by: Vec<Expr> = Vec::new();
        for item in &select.items {
            let value = written_out(item.value.clone(), &select.items, Clause::GroupBy)?;
            let is_constant = value.column_refs().is_empty();
            if !holds_aggregate(&value) && !is_constant && !by.contains(&value) {
                by.push(value);
            }
        }
        select.groups = Some(Groups { window: self.window_of(&by)?, by });
        Ok(())
    }

    fn groups(
        &mut self,
        select: &Select,
        grouping: &Grouping,
        items: &[Expression],
    ) -> Result<Vec<Expr>> {
        let mut sets = |sets: &[Vec<Expression>]| -> Result<Vec<Vec<Expr>>> {
            let each = sets.iter().map(|set| {
                set.iter().map(|by| self.group(select, by, items)).collect::<Result<Vec<_>>>()
            });
            each.collect()
        };
        Ok(match grouping {
            Grouping::All => refuse!("GROUP BY ALL stands alone"),
            Grouping::By(by) => {
                let mut all: Vec<Expr> = Vec::new();
                let mut seen = HashSet::new();
                for by in by {
                    let by = self.group(select, by, items)?;
                    if seen.insert(by.clone()) {
                        all.push(by);
                    }
                }
                all
            }
            Grouping::Rollup(parts) => {
                let size: usize = parts.iter().map(Vec::len).sum();
                check_sets("ROLLUP", size, size.saturating_mul(parts.len() + 1) / 2)?;
                let parts = sets(parts)?;
                let all = (0..=parts.len()).rev().map(|count| parts[..count].concat());
                vec![Expr::GroupingSet(GroupingSet::GroupingSets(all.collect()))]
            }
            Grouping::Cube(parts) => {
                let parts = sets(parts)?;
                if parts.len() > 12 {
                    refuse!("CUBE takes at most 12 expressions, and has {}", parts.len());
                }
                let size: usize = parts.iter().map(Vec::len).sum();
                check_sets("CUBE", size, size << parts.len() >> 1)?;
                let subset = |bits: usize| {
                    let count = parts.len();
                    let is_in = |place: &usize| bits & (1 << (count - 1 - place)) != 0;
                    (0..count).filter(is_in).flat_map(|place| parts[place].clone()).collect()
                };
                let all = (0..1_usize << parts.len()).rev().map(subset).collect();
                vec![Expr::GroupingSet(GroupingSet::GroupingSets(all))]
            }
            Grouping::Sets(all) => {
                vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets(all)?))]
            }
            Grouping::Several(several) => {
                let mut all = Vec::new();
                for grouping in several {
                    all.extend(self.groups(select, grouping, items)?);
                }
                all
            }
        })
    }

    fn group(&mut self, select: &Select, by: &Expression, items: &[Expression]) -> Result<Expr> {
        if let Some(place) = by_place(by, items.len(), Clause::GroupBy)? {
            if let Some(Expression::Star { .. }) =
                items[..=place].iter().find(|item| matches!(item, Expression::Star { .. }))
            {
                refuse!(
                    "GROUP BY {} counts items behind a *, which stands for several; name what is grouped by",
                    place + 1
                );
            }
            return match &items[place] {
                Expression::Alias { value, .. } => self.group_value(select, value),
                other => self.group_value(select, other),
            };
        }
        // A column goes before an item.
        if let Expression::Attribute { name, .. } = by
            && let [only] = name.as_slice()
            && select.scope.find(name)?.is_none()
        {
            let named = items.iter().find_map(|item| match item {
                Expression::Alias { value, names } => {
                    let is_it = matches!(names.as_slice(), [n] if super::same(n, only));
                    is_it.then_some(value.as_ref())
                }
                _ => None,
            });
            if let Some(value) = named {
                return self.group_value(select, value);
            }
        }
        self.group_value(select, by)
    }

    fn group_value(&mut self, select: &Select, by: &Expression) -> Result<Expr> {
        let mut context =
            Context::new(&select.scope, Arc::clone(select.input.schema()), Clause::GroupBy);
        let value = self.expression(by, &mut context)?;
        if let Expr::Literal(..) = &value {
            // What is the same for all rows makes no groups, and has no column.
            return Ok(value);
        }
        if matches!(by, Expression::Star { .. }) {
            refuse!("GROUP BY takes no *; write GROUP BY ALL, or name the columns");
        }
        Ok(value)
    }

    /// The window over event time among what is grouped by.
    fn window_of(&self, by: &[Expr]) -> Result<Option<(String, Expr)>> {
        for group in all_of(by)? {
            if let Expr::ScalarFunction(call) = &group
                && let Some(CatalogFunction::Window(_)) = self.catalog.function(call.func.name())
            {
                return Ok(Some((call.func.name().to_owned(), group)));
            }
        }
        Ok(None)
    }
}

/// Expressions of all grouping sets together.
const GROUPED_MAX: usize = 50_000;

/// Expressions that sets are of.
const SET_WIDTH_MAX: usize = 64;

fn check_sets(clause: &str, width: usize, size: usize) -> Result<()> {
    if width > SET_WIDTH_MAX {
        refuse!(
            "[GROUPING_SIZE_LIMIT_EXCEEDED] Grouping sets size cannot be greater than {SET_WIDTH_MAX}: {clause} has {width} expressions"
        );
    }
    match size > GROUPED_MAX {
        false => Ok(()),
        true => refuse!(
            "{clause} comes to {size} expressions in all its sets, and may come to {GROUPED_MAX}; write the GROUPING SETS that are needed"
        ),
    }
}

/// A grouping() call's arguments, all of which are grouped by.
pub(super) fn check_grouped(arguments: &[Expr], groups: &[Expr], called: &str) -> Result<()> {
    match arguments.iter().find(|argument| !groups.contains(argument)) {
        None => Ok(()),
        Some(other) => refuse!(
            "[GROUPING_COLUMN_MISMATCH] {called}: column of grouping ({}) can't be found in grouping columns",
            match other {
                Expr::Column(column) => quoted(std::slice::from_ref(&column.name)),
                other => other.to_string(),
            }
        ),
    }
}
