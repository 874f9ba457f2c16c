//! `explode` and its relatives, in a SELECT and in LATERAL VIEW.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use tidemill_functions::{Function, Generated, Shape, find, struct_field};

use super::Resolver;
use super::calls::in_order;
use super::clause::Clause;
use super::expressions::Context;
use super::items::items_in;
use super::scope::Scope;
use super::select::Select;
use crate::error::{Result, refuse};
use crate::generate::{Generate, generated_fields, position_column, value_column};
use crate::spec::{Call, Expression, LateralView};

impl Resolver<'_> {
    /// What a call of a generator comes to; nothing, if it is no such call.
    pub(super) fn generator(
        &mut self,
        value: &Expression,
        context: &mut Context<'_>,
    ) -> Result<Option<Generated>> {
        let Expression::Call(call) = value else { return Ok(None) };
        match find(&call.name) {
            Some(function) if matches!(function.shape, Shape::Generator(_)) => {
                self.generated(call, function, context).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Puts a generator of a SELECT below the next one: each of its rows meets each row of that.
    ///
    /// # Errors
    /// It is of groups, or of other items.
    pub(super) fn generate_below(&mut self, select: &mut Select, first: Generated) -> Result<()> {
        if select.groups.is_some() || !items_in(&first.values).is_empty() {
            refuse!(
                "[UNSUPPORTED_GENERATOR.MULTI_GENERATOR] a SELECT has several generators, and one of them reads groups or other items; use LATERAL VIEW, or a step for each"
            );
        }
        self.count_joined(1)?;
        let input = std::mem::take(&mut select.input);
        let mut kept: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let qualifier = self.qualifier();
        let mut moved = Vec::new();
        for (name, column) in [("value", value_column()), ("position", position_column())] {
            if name == "value" || first.has_position {
                kept.push(column.clone().alias_qualified(Some(qualifier.clone()), name));
                moved.push((column, Expr::Column(Column::new(Some(qualifier.clone()), name))));
            }
        }
        let values = first.values;
        let plan = Generate::over(input, values, first.is_outer, first.has_position)?;
        select.input = LogicalPlanBuilder::from(plan).project(kept)?.build()?;
        for item in &mut select.items {
            let before = std::mem::replace(&mut item.value, lit(false));
            let value = before.transform_down(|e| {
                Ok(match moved.iter().find(|(column, _)| *column == e) {
                    Some((_, column)) => {
                        Transformed::new(column.clone(), true, TreeNodeRecursion::Jump)
                    }
                    None => Transformed::no(e),
                })
            })?;
            item.value = value.data;
        }
        Ok(())
    }

    pub(super) fn generated(
        &mut self,
        call: &Call,
        function: &'static Function,
        context: &mut Context<'_>,
    ) -> Result<Generated> {
        let mut typed = Vec::with_capacity(call.arguments.len());
        for argument in &in_order(call, function)? {
            let value = self.argument(argument, context)?;
            typed.push(context.typed(value)?);
        }
        let generated = tidemill_functions::generate(function, typed);
        generated.map_err(|error| crate::Error::from(error).or_at(call.at))
    }

    /// The columns that a generator over a relation is, with the names that a query gives them, or its
    /// own.
    ///
    /// # Errors
    /// There are more names, or fewer.
    pub(super) fn generated_columns(
        &self,
        generated: &Generated,
        names: &[String],
        over: &Arc<DFSchema>,
    ) -> Result<Vec<(Expr, String)>> {
        let names = match names {
            [] => generated.fields().iter().map(|field| field.name().clone()).collect(),
            names => names.to_vec(),
        };
        check_names(generated, &names)?;
        let columns = columns(generated).into_iter();
        let columns = columns.map(|column| self.with_fields_of(column, generated, over));
        Ok(columns.collect::<Result<Vec<_>>>()?.into_iter().zip(names).collect())
    }

    pub(super) fn lateral_generator(
        &mut self,
        view: &LateralView,
        input: &LogicalPlan,
        scope: &Scope,
    ) -> Result<Generated> {
        let mut context = Context::new(scope, Arc::clone(input.schema()), Clause::LateralView);
        let written = match &view.generator {
            Expression::Call(call) => call,
            _ => refuse!("LATERAL VIEW {} needs a generator, such as explode()", view.name),
        };
        let found = find(&written.name);
        if found.is_some_and(Function::is_left_out) {
            return Err(super::calls::missing(&written.name, found));
        }
        let found = found.filter(|f| matches!(f.shape, Shape::Generator(_)));
        let Some(found) = found else {
            refuse!(
                "[UNSUPPORTED_GENERATOR.NOT_GENERATOR] LATERAL VIEW needs a generator, such as explode(), and {}() is none",
                written.name
            );
        };
        let mut generated = self.generated(written, found, &mut context)?;
        generated.is_outer |= view.is_outer;
        Ok(generated)
    }
}

/// The columns that a generator is, over the node that generates.
fn columns(generated: &Generated) -> Vec<Expr> {
    let mut all = Vec::new();
    if generated.has_position {
        all.push(position_column());
    }
    let count = generated.fields().len() - all.len();
    match generated.is_expanded {
        true => all.extend((0..count).map(|number| struct_field(value_column(), number))),
        false => all.push(value_column()),
    }
    all
}

/// A schema that has what a generator gives, too.
pub(super) fn seen(schema: &Arc<DFSchema>, generated: &Generated) -> Result<Arc<DFSchema>> {
    let own = schema.iter().map(|(table, field)| (table.cloned(), Arc::clone(field)));
    let added = generated_fields(generated.kind.clone(), generated.has_position);
    let metadata = schema.metadata().clone();
    Ok(Arc::new(DFSchema::new_with_metadata(own.chain(added).collect(), metadata)?))
}

fn check_names(generated: &Generated, names: &[String]) -> Result<()> {
    let fields = generated.fields();
    if names.len() == fields.len() {
        return Ok(());
    }
    refuse!(
        "[UDTF_ALIAS_NUMBER_MISMATCH] The number of aliases supplied in the AS clause does not match the number of columns output by the UDTF: a generator of {} columns has {} names; name them all, as in AS ({})",
        fields.len(),
        names.len(),
        fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
    )
}
