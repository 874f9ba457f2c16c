//! What is above the items of a SELECT and is neither HAVING nor ORDER BY: QUALIFY, DISTRIBUTE BY, and
//! a column that gets another value.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;

use super::clause::Clause;
use super::expressions::{Aliases, Context};
use super::items::{item_of, written_out};
use super::scope::{quoted, same};
use super::select::{Resolution, Select, holds_window};
use super::{Resolved, Resolver, generators};
use crate::error::{Result, refuse};
use crate::spec::{Expression, Relation};

impl Resolver<'_> {
    /// QUALIFY, a condition that may read functions over windows of rows.
    pub(super) fn qualified_by(
        &mut self,
        input: &Relation,
        condition: &Expression,
    ) -> Result<Select> {
        let select = self.select(input)?;
        let mut has_window = select.items.iter().any(|item| holds_window(&item.value));
        let mut select = match select.groups.is_some() || select.is_distinct {
            // It sees the items alone.
            true => {
                let planned = self.planned(select)?;
                let mut above = Select::over(planned);
                above.take_all();
                above
            }
            false => select,
        };
        let scope = select.scope.clone();
        let mut context = Context::new(&scope, Arc::clone(select.input.schema()), Clause::Qualify);
        context.allows_windows = true;
        if let Some(generated) = select.generated() {
            context.schema = generators::seen(&context.schema, generated)?;
        }
        context.aliases = Aliases::Before(std::mem::take(&mut select.items));
        let resolved = self.condition(condition, &mut context);
        select.items = context.aliases.take();
        let mut resolved = resolved?;
        has_window |= holds_window(&resolved);
        // What is computed over windows is computed beside the items, and not above them.
        let (items, mut wrong) = (&select.items, None);
        let below = resolved.transform_down(|e| {
            if !matches!(e, Expr::WindowFunction(_)) {
                return Ok(Transformed::no(e));
            }
            let e = match written_out(e.clone(), items, Clause::Qualify) {
                Ok(written) => written,
                Err(error) => {
                    wrong.get_or_insert(error);
                    e
                }
            };
            Ok(Transformed::new(e, true, TreeNodeRecursion::Jump))
        })?;
        if let Some(error) = wrong {
            return Err(error);
        }
        resolved = below.data;
        let mut is_nested = false;
        resolved.apply(|e| {
            if let Expr::WindowFunction(window) = e {
                let params = &window.params;
                let order = params.order_by.iter().map(|by| &by.expr);
                let mut parts = params.args.iter().chain(&params.partition_by).chain(order);
                is_nested |= parts.any(holds_window);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        if is_nested {
            refuse!(
                "QUALIFY reads an item over a window of rows within another window, which is not supported yet; use two SELECTs"
            );
        }
        if !has_window {
            refuse!(
                "[QUALIFY_REQUIRES_WINDOW_FUNCTION] QUALIFY needs a function over a window of rows, in it or in the SELECT; write WHERE"
            );
        }
        select.filter = Some(select.hide(resolved));
        Ok(select)
    }

    /// DISTRIBUTE BY, which has to mean something and changes nothing.
    pub(super) fn distributed(&mut self, input: &Relation, by: &[Expression]) -> Result<Select> {
        let mut select = self.select(input)?;
        let scope = select.scope.clone();
        let clause = Clause::DistributeBy;
        let mut context = Context::new(&scope, Arc::clone(select.input.schema()), clause);
        if let Some(generated) = select.generated() {
            context.schema = generators::seen(&context.schema, generated)?;
        }
        context.aliases = Aliases::Before(std::mem::take(&mut select.items));
        let resolved = self.expressions(by, &mut context);
        select.items = context.aliases.take();
        resolved?;
        Ok(select)
    }

    /// A column with another value.
    pub(super) fn with_column(
        &mut self,
        input: &Relation,
        name: &str,
        value: &Expression,
    ) -> Result<Resolved> {
        let input = self.relation(input)?;
        let mut select = Select::over(input);
        let scope = select.scope.clone();
        let name = [name.to_owned()];
        if scope.find(&name)?.is_none() {
            refuse!(
                "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column, variable, or function parameter with name {} cannot be resolved. Did you mean one of the following? [{}].",
                quoted(&name),
                scope.like(&name).join(", ")
            );
        }
        let mut context = Context::new(&scope, Arc::clone(select.input.schema()), Clause::Select);
        context.allows_windows = true;
        let value = Expression::Alias { value: Box::new(value.clone()), names: name.to_vec() };
        // What is learnt of a part is known by where the part is, and this one goes when it is done.
        let learnt = std::mem::take(&mut self.learnt);
        for column in scope.shown() {
            if !same(&column.name, &name[0]) {
                select.items.push(item_of(column));
                continue;
            }
            match self.item(&value, &mut context)? {
                Resolution::Items(items) => select.items.extend(items),
                Resolution::Generator(..) => refuse!(
                    "[UNSUPPORTED_GENERATOR.OUTSIDE_SELECT] |> SET takes no generator; write |> SELECT"
                ),
            }
        }
        self.learnt = learnt;
        self.planned(select)
    }
}
