//! A SELECT: its items, and what groups, filters and orders by them.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, SortExpr};
use tidemill_functions::Generated;

use super::attached::{Which, beside_queries, check_generated};
use super::clause::Clause;
use super::expressions::{Aliases, Context};
use super::grouping::Groups;
use super::items::{
    Item, as_columns, by_place, item_column, item_of, item_place, items_in, level_of, with_item,
    written_out,
};
use super::scope::{Scope, Visible};
use super::{Resolved, Resolver, coercion, generators, naming, windows};
use crate::catalog::CatalogFunction;
use crate::error::{Result, refuse};
use crate::generate::Generate;
use crate::spec::{Expression, Relation, SortOrder};

/// Columns of one SELECT, with those that its stars stand for, or of a PIVOT.
pub(super) const COLUMNS_MAX: usize = 10_000;
/// Fields that the type of a column has, with those within them.
const FIELDS_MAX: usize = 10_000;

/// A SELECT that is not planned yet.
pub(super) struct Select {
    pub(super) input: LogicalPlan,
    pub(super) scope: Scope,
    pub(super) items: Vec<Item>,
    pub(super) groups: Option<Groups>,
    /// HAVING, of groups.
    having: Option<Expr>,
    /// HAVING that reads items: the place of the hidden item that it is.
    pub(super) filter: Option<usize>,
    pub(super) is_distinct: bool,
    generator: Option<Generated>,
    order: Vec<SortExpr>,
    /// Items that are there to filter and to order by, after those that are shown.
    hidden: Vec<Item>,
}

impl Select {
    pub(super) fn over(input: Resolved) -> Select {
        Select {
            input: input.plan,
            scope: input.scope,
            items: Vec::new(),
            groups: None,
            having: None,
            filter: None,
            is_distinct: false,
            generator: None,
            order: Vec::new(),
            hidden: Vec::new(),
        }
    }

    /// `SELECT *`.
    pub(super) fn take_all(&mut self) {
        let items: Vec<Item> = self.scope.shown().map(item_of).collect();
        self.items.extend(items);
    }

    /// Refuses maps, which are not compared.
    fn check_distinct(&self) -> Result<()> {
        let mut schema = Arc::clone(self.input.schema());
        if let Some(generated) = &self.generator {
            schema = generators::seen(&schema, generated)?;
        }
        for (place, item) in self.items.iter().enumerate() {
            schema = with_item(&schema, &self.items, place)?;
            let kind = Expr::Column(item_column(place)).get_type(&schema)?;
            if tidemill_functions::contains_map(&kind) {
                refuse!(
                    "[UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE] The feature is not supported: Cannot have MAP type columns in DISTINCT, but the type of column `{}` is \"{}\".",
                    item.name,
                    coercion::spelled(&kind)
                );
            }
        }
        Ok(())
    }

    /// What is grouped by, where that is sets.
    fn sets(&self) -> Result<Option<Vec<Expr>>> {
        match &self.groups {
            Some(groups) => groups.sets(),
            None => Ok(None),
        }
    }

    /// What its generator gives.
    pub(super) fn generated(&self) -> Option<&Generated> {
        self.generator.as_ref()
    }

    pub(super) fn is_ordered(&self) -> bool {
        !self.order.is_empty()
    }
}

impl Resolver<'_> {
    /// Collects a SELECT with what is around it.
    pub(super) fn select(&mut self, relation: &Relation) -> Result<Select> {
        match relation {
            Relation::Project { input, items } => {
                let input = self.relation(input)?;
                let mut select = Select::over(input);
                self.items(&mut select, items)?;
                Ok(select)
            }
            Relation::Aggregate { input, grouping, items } => {
                let input = self.relation(input)?;
                let mut select = Select::over(input);
                self.grouped(&mut select, grouping, items)?;
                Ok(select)
            }
            Relation::Having { input, condition } => {
                let mut select = self.select(input)?;
                self.having(&mut select, condition)?;
                Ok(select)
            }
            Relation::Qualify { input, condition } => self.qualified_by(input, condition),
            Relation::RepartitionByExpression { input, by } => self.distributed(input, by),
            Relation::Distinct(input) => {
                let mut select = self
                    .select_of_its_own(input, |select| select.is_ordered() || select.is_distinct)?;
                select.is_distinct = true;
                select.check_distinct()?;
                Ok(select)
            }
            Relation::Sort { input, order } => {
                let mut select = self
                    .select_of_its_own(input, |select| select.is_ordered() || select.is_distinct)?;
                self.order_by(&mut select, order)?;
                Ok(select)
            }
            other => {
                let resolved = self.relation(other)?;
                let mut select = Select::over(resolved);
                select.take_all();
                Ok(select)
            }
        }
    }

    /// The SELECT itself, or one of all its columns where it has something already that it would
    /// have once more.
    fn select_of_its_own(
        &mut self,
        relation: &Relation,
        has_it: impl Fn(&Select) -> bool,
    ) -> Result<Select> {
        let select = self.select(relation)?;
        if !has_it(&select) {
            return Ok(select);
        }
        let planned = self.planned(select)?;
        let mut select = Select::over(planned);
        select.take_all();
        Ok(select)
    }

    /// Resolves the items; each sees the names of those before it.
    pub(super) fn items(&mut self, select: &mut Select, items: &[Expression]) -> Result<()> {
        let scope = select.scope.clone();
        let mut context = Context::new(&scope, Arc::clone(select.input.schema()), Clause::Select);
        // Without a GROUP BY, aggregates make one group of all rows.
        context.allows_aggregates = true;
        context.allows_windows = true;
        context.sets = select.sets()?;
        for item in items {
            context.aliases = Aliases::After(std::mem::take(&mut select.items));
            let resolved = self.item(item, &mut context);
            select.items = context.aliases.take();
            match resolved? {
                Resolution::Items(resolved) => select.items.extend(resolved),
                Resolution::Generator(generated, resolved) => {
                    if let Some(before) = select.generator.take() {
                        self.generate_below(select, before)?;
                        context.schema = Arc::clone(select.input.schema());
                    }
                    context.schema = generators::seen(&context.schema, &generated)?;
                    select.items.extend(resolved);
                    select.generator = Some(generated);
                }
            }
        }
        let generated = select.generator.iter().map(|generated| &generated.values);
        let mut values = select.items.iter().map(|item| &item.value).chain(generated);
        let has_aggregates = values.any(holds_aggregate);
        if select.items.len() > COLUMNS_MAX {
            refuse!(
                "a SELECT comes to {} columns, with those that its stars stand for, and may have {COLUMNS_MAX}; name those that are needed",
                select.items.len()
            );
        }
        if select.groups.is_none() && has_aggregates {
            select.groups = Some(Groups::default());
        }
        Ok(())
    }

    pub(super) fn item(
        &mut self,
        item: &Expression,
        context: &mut Context<'_>,
    ) -> Result<Resolution> {
        let (value, names) = match item {
            Expression::Star { qualifier, except, at } => {
                let columns = self.star(qualifier, except, context);
                let columns = columns.map_err(|error| error.or_at(*at))?;
                return Ok(Resolution::Items(columns.iter().map(item_of).collect()));
            }
            Expression::Alias { value, names } => (value.as_ref(), names.as_slice()),
            other => (other, [].as_slice()),
        };
        if let Some(generated) = self.generator(value, context)? {
            let named = self.generated_columns(&generated, names, &context.schema)?;
            let items = named.into_iter().map(|(value, name)| Item {
                name,
                is_named: true,
                value,
                relation: None,
                level: 0,
            });
            let items = items.collect();
            return Ok(Resolution::Generator(generated, items));
        }
        let name = match names {
            [] => None,
            [name] => Some(name.clone()),
            several => refuse!(
                "[MULTI_ALIAS_WITHOUT_GENERATOR] Multi part aliasing ({}) is not supported with {} as it is not a generator function",
                several.join(", "),
                naming::text(value)
            ),
        };
        let resolved = self.expression(value, context)?;
        let mut left = FIELDS_MAX;
        if !has_fields_left(&context.type_of(&resolved)?, &mut left) {
            refuse!(
                "the type of {} has more than {FIELDS_MAX} fields, with those within them",
                naming::text(value)
            );
        }
        let level = level_of(&resolved, context.aliases.items());
        let is_named = name.is_some();
        let relation = match value {
            Expression::Attribute { .. } if !is_named => context.scope.relation_of(&resolved),
            _ => None,
        };
        let name = name.unwrap_or_else(|| {
            naming::column(value, context.scope, context.aliases.items(), &self.learnt)
        });
        Ok(Resolution::Items(vec![Item { name, is_named, value: resolved, relation, level }]))
    }

    fn having(&mut self, select: &mut Select, condition: &Expression) -> Result<()> {
        let scope = select.scope.clone();
        let mut context = Context::new(&scope, Arc::clone(select.input.schema()), Clause::Having);
        context.allows_aggregates = true;
        context.window = select.groups.as_ref().and_then(Groups::window);
        context.sets = select.sets()?;
        context.aliases = Aliases::Before(std::mem::take(&mut select.items));
        let condition = self.condition(condition, &mut context);
        select.items = context.aliases.take();
        let condition = condition?;
        let read = items_in(&condition);
        let items = || read.iter().filter_map(|place| select.items.get(*place));
        if items().any(|item| holds_window(&item.value)) {
            refuse!(
                "[UNSUPPORTED_EXPR_FOR_OPERATOR] HAVING reads a function over a window of rows, which is computed after it; filter in the next SELECT"
            );
        }
        let over_windows = select.items.iter().any(|item| holds_window(&item.value));
        if over_windows && items().any(|item| item.level > 0) {
            refuse!(
                "[UNSUPPORTED_FEATURE.LATERAL_COLUMN_ALIAS_IN_AGGREGATE_WITH_WINDOW_AND_HAVING] The feature is not supported: Referencing a lateral column alias in the aggregate query with window expressions and with having clause. Please rewrite the aggregate query by removing the having clause or removing lateral alias reference in the SELECT list."
            );
        }
        if items().any(|item| item.level > 0 || self.varies(&item.value)) {
            // It reads what an item gives, and not what the item is made of once more.
            select.filter = Some(select.hide(condition));
            return Ok(());
        }
        select.having = Some(written_out(condition, &select.items, Clause::Having)?);
        Ok(())
    }

    fn order_by(&mut self, select: &mut Select, order: &[SortOrder]) -> Result<()> {
        if let [by @ SortOrder { value: Expression::Star { .. }, .. }] = order {
            let all = (0..select.items.len()).map(item_column).map(Expr::Column);
            let sort = |item| Sort::new(item, !by.is_descending, by.has_nulls_first());
            select.order = all.map(sort).collect();
            return Ok(());
        }
        let scope = select.scope.clone();
        let mut context = Context::new(&scope, Arc::clone(select.input.schema()), Clause::OrderBy);
        context.allows_aggregates = select.groups.is_some();
        context.window = select.groups.as_ref().and_then(Groups::window);
        context.sets = select.sets()?;
        if let Some(generated) = &select.generator {
            context.schema = generators::seen(&context.schema, generated)?;
        }
        for by in order {
            let value = match by_place(&by.value, select.items.len(), Clause::OrderBy)? {
                Some(place) => {
                    context.schema = with_item(&context.schema, &select.items, place)?;
                    Expr::Column(item_column(place))
                }
                None => {
                    context.aliases = Aliases::Before(std::mem::take(&mut select.items));
                    let value = self.expression(&by.value, &mut context);
                    select.items = context.aliases.take();
                    value?
                }
            };
            let kind = context.type_of(&value)?;
            if tidemill_functions::contains_map(&kind) {
                refuse!(
                    "[DATATYPE_MISMATCH.INVALID_ORDERING_TYPE] Cannot resolve ORDER BY {}: it does not support ordering on type \"{}\"",
                    naming::text(&by.value),
                    coercion::spelled(&kind)
                );
            }
            let value = select.ordered_by(value)?;
            let nulls_first = by.has_nulls_first();
            select.order.push(Sort::new(value, !by.is_descending, nulls_first));
        }
        Ok(())
    }

    /// The plan of a SELECT.
    pub(super) fn planned(&mut self, select: Select) -> Result<Resolved> {
        let Select {
            input,
            items,
            groups,
            having,
            filter,
            is_distinct,
            generator,
            order,
            hidden,
            ..
        } = select;
        let shown = items.len();
        let mut all: Vec<Item> = items;
        all.extend(hidden);
        let (mut having, mut generator) = (having, generator);
        let mut plan = input;
        beside_queries(&mut all)?;
        if let Some(mut groups) = groups {
            let mut values: Vec<&mut Expr> = all.iter_mut().map(|item| &mut item.value).collect();
            values.extend(having.as_mut());
            values.extend(generator.as_mut().map(|generated| &mut generated.values));
            plan = self.attached_in_groups(plan, &mut groups, &mut values, shown)?;
            plan = groups.planned(plan, &mut values)?;
        }
        if let Some(condition) = having {
            plan = self.filtered(plan, condition)?;
        }
        if let Some(Generated { mut values, is_outer, has_position, .. }) = generator {
            check_generated(&values)?;
            plan = self.attached(plan, [&mut values], Which::All)?;
            plan = Generate::over(plan, values, is_outer, has_position)?;
        }
        for item in &mut all {
            let which = if holds_window(&item.value) { Which::All } else { Which::Values };
            plan = self.attached(plan, [&mut item.value], which)?;
        }
        plan = windows::planned(plan, all.iter_mut().map(|item| &mut item.value))?;
        let (plan, columns) = self.projected(plan, &all)?;
        let resolved = |plan, columns: &[Column]| {
            let visible = all.iter().zip(columns).take(shown).map(|(item, column)| Visible {
                relation: item.relation.clone(),
                name: item.name.clone(),
                value: Expr::Column(column.clone()),
                is_hidden: false,
            });
            Resolved { plan, scope: Scope { columns: visible.collect() } }
        };
        let mut builder = LogicalPlanBuilder::from(plan);
        if let Some(place) = filter {
            builder = builder.filter(Expr::Column(columns[place].clone()))?;
            if order.is_empty() {
                let shown = columns.iter().take(shown).cloned().map(Expr::Column);
                builder = builder.project(shown)?;
            }
        }
        if is_distinct {
            builder = builder.distinct()?;
        }
        if order.is_empty() {
            return Ok(resolved(builder.build()?, &columns));
        }
        let order = order.into_iter().map(|by| {
            let expr = as_columns(by.expr, &columns)?;
            Ok(Sort { expr, ..by })
        });
        let order: Vec<SortExpr> = order.collect::<Result<_>>()?;
        builder = builder.sort(order)?;
        if all.len() > shown {
            builder = builder.project(columns.iter().take(shown).cloned().map(Expr::Column))?;
        }
        Ok(resolved(builder.build()?, &columns))
    }

    /// Whether an expression calls a plugin's function that may give another value each time. What
    /// an aggregate reads is computed once, however often the aggregate is written.
    fn varies(&self, value: &Expr) -> bool {
        let mut varies = false;
        // The closure never fails.
        let _ = value.apply(|e| {
            Ok(match e {
                Expr::AggregateFunction(_) => TreeNodeRecursion::Jump,
                Expr::ScalarFunction(call) => {
                    let known = self.catalog.function(call.func.name());
                    varies |= matches!(known, Some(CatalogFunction::Scalar { varies: true, .. }));
                    TreeNodeRecursion::Continue
                }
                _ => TreeNodeRecursion::Continue,
            })
        });
        varies
    }
}

pub(super) enum Resolution {
    Items(Vec<Item>),
    Generator(Generated, Vec<Item>),
}

impl Select {
    /// What the rows are ordered by: a column of the result, or an item more.
    fn ordered_by(&mut self, value: Expr) -> Result<Expr> {
        let reads: Vec<usize> = items_in(&value);
        if let Expr::Column(column) = &value
            && item_place(column).is_some()
        {
            return Ok(value);
        }
        if let Some(place) = self.items.iter().position(|item| item.value == value) {
            return Ok(Expr::Column(item_column(place)));
        }
        let reads_rows = holds_aggregate(&value) || holds_window(&value);
        let of_items_alone = value.column_refs().len() == reads.len() && !reads_rows;
        if of_items_alone && !reads.is_empty() {
            return Ok(value);
        }
        let place = self.hide(value);
        Ok(Expr::Column(item_column(place)))
    }

    /// Takes an item that is not shown, and gives its place.
    pub(super) fn hide(&mut self, value: Expr) -> usize {
        let level = level_of(&value, &self.items);
        let place = self.items.len() + self.hidden.len();
        self.hidden.push(Item {
            name: format!("#hidden{place}"),
            is_named: false,
            value,
            relation: None,
            level,
        });
        place
    }
}

/// Whether a type has no more fields than are left.
fn has_fields_left(kind: &DataType, left: &mut usize) -> bool {
    *left = left.saturating_sub(1);
    let mut within = |field: &FieldRef| has_fields_left(field.data_type(), left);
    let fits = match kind {
        DataType::Struct(fields) => fields.iter().all(within),
        DataType::List(field) | DataType::Map(field, _) => within(field),
        _ => true,
    };
    fits && *left > 0
}

pub(super) fn holds_aggregate(value: &Expr) -> bool {
    // The closure never fails.
    value.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_)))).unwrap_or(true)
}

pub(super) fn holds_window(value: &Expr) -> bool {
    // The closure never fails.
    value.exists(|e| Ok(matches!(e, Expr::WindowFunction(_)))).unwrap_or(true)
}
