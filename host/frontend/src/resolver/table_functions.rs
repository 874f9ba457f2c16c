//! Functions in FROM: generators, and those that give whole numbers.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::{
    EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, Projection, lit, when,
};
use tidemill_functions::{Function, Generated, SEQUENCE, Shape, cast_to, find, suggestion};

use super::clause::Clause;
use super::expressions::Context;
use super::scope::{Scope, Visible};
use super::{Resolved, Resolver, coercion, literals};
use crate::error::{Result, refuse};
use crate::generate::{Generate, value_column};
use crate::spec::Call;

impl Resolver<'_> {
    /// The rows that a call in FROM gives.
    pub(super) fn table_function(&mut self, call: &Call) -> Result<Resolved> {
        let found = find(&call.name);
        if found.is_some_and(Function::is_left_out) {
            return Err(super::calls::missing(&call.name, found));
        }
        let Some(function) = found else {
            let like = suggestion(&call.name).map(|name| format!("; did you mean {name}()?"));
            refuse!(
                "[UNRESOLVABLE_TABLE_VALUED_FUNCTION] Could not resolve `{}` to a table-valued function{}",
                call.name,
                like.unwrap_or_default()
            );
        };
        let scope = Scope::default();
        let mut context = Context::new(&scope, Arc::new(DFSchema::empty()), Clause::From);
        let schema = Arc::new(DFSchema::empty());
        let mut row = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema });
        let generated = match function.shape {
            Shape::Generator(_) => self.generated(call, function, &mut context)?,
            Shape::Numbers => {
                let numbers = self.numbers(call, function, &mut context)?;
                let (below, values) = self.listed(numbers, row)?;
                row = below;
                Generated {
                    values,
                    kind: DataType::Int64,
                    name: "id",
                    is_outer: false,
                    has_position: false,
                    is_expanded: false,
                }
            }
            _ => refuse!(
                "[NOT_A_TABLE_FUNCTION] {}() appears as a table function in FROM, but the function was defined as a scalar one; write SELECT {}(…)",
                function.name,
                function.name
            ),
        };
        let named = self.generated_columns(&generated, &[], &context.schema)?;
        let Generated { values, is_outer, has_position, .. } = generated;
        let node = Generate::over(row, values, is_outer, has_position)?;
        let qualifier = self.qualifier();
        let mut scope = Scope::default();
        let mut items = Vec::with_capacity(named.len());
        for (place, (value, name)) in named.into_iter().enumerate() {
            let column = format!("c{place}");
            items.push(value.alias_qualified(Some(qualifier.clone()), column.clone()));
            let value = Expr::Column(Column::new(Some(qualifier.clone()), column));
            scope.columns.push(Visible { relation: None, name, value, is_hidden: false });
        }
        let plan = LogicalPlan::Projection(Projection::try_new(items, Arc::new(node))?);
        Ok(Resolved { plan: LogicalPlanBuilder::from(plan).build()?, scope })
    }

    /// The numbers that a call asks for.
    fn numbers(
        &mut self,
        call: &Call,
        function: &'static Function,
        context: &mut Context<'_>,
    ) -> Result<Numbers> {
        let name = function.name;
        if !(1..=4).contains(&call.arguments.len()) {
            refuse!(
                "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] The `{name}` requires 1 to 4 parameters but the actual number is {}.",
                call.arguments.len()
            );
        }
        let mut given = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            let value = self.expression(&argument.value, context)?;
            let known = literals::constant(&value)?;
            let Some(known) = known.filter(|_| argument.name.is_none()) else {
                refuse!(
                    "[NON_FOLDABLE_ARGUMENT] The function `{name}` requires its parameters to be the same for all rows, and by their places"
                );
            };
            given.push(whole(name, &known)?);
        }
        let (start, end, step) = match given.as_slice() {
            [end] => (0, *end, 1),
            [start, end] => (*start, *end, 1),
            [start, end, step, ..] => (*start, *end, *step),
            [] => (0, 0, 1),
        };
        if step == 0 {
            refuse!("[FAILED_FUNCTION_CALL] {name}() has a step of 0, and goes nowhere");
        }
        if given.get(3).is_some_and(|slices| *slices <= 0) {
            refuse!("{name}() has a number of slices that is not positive");
        }
        let Some(far) = end.checked_sub(start) else {
            refuse!("{name}() goes further than a BIGINT counts, which is not supported");
        };
        let count = match (far > 0) == (step > 0) {
            true => far.unsigned_abs().div_ceil(step.unsigned_abs()),
            false => 0,
        };
        if count > BLOCK * BLOCKS_MAX {
            refuse!(
                "{name}() of {count} rows is not supported; it may give {}",
                BLOCK * BLOCKS_MAX
            );
        }
        Ok(Numbers { start, step, count })
    }

    /// Numbers as arrays in rows; several rows, where one array would be large.
    fn listed(&mut self, numbers: Numbers, row: LogicalPlan) -> Result<(LogicalPlan, Expr)> {
        let Numbers { start, step, count } = numbers;
        let Some(more) = count.checked_sub(1) else {
            let none = ScalarValue::new_null_list(DataType::Int64, true, 1);
            return Ok((row, Expr::Literal(none, None)));
        };
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let last = start.wrapping_add(step.wrapping_mul(whole(more)));
        if count <= BLOCK {
            return Ok((row, sequence(lit(start), lit(last), step)?));
        }
        let blocks = sequence(lit(0_i64), lit(whole(more / BLOCK)), 1)?;
        let qualifier = self.qualifier();
        let place = value_column().alias_qualified(Some(qualifier.clone()), "block");
        let rows = Generate::over(row, blocks, false, false)?;
        let rows = LogicalPlanBuilder::from(rows).project([place])?.build()?;
        let block = Expr::Column(Column::new(Some(qualifier), "block"));
        // Products may pass the ends of a BIGINT, and the sums are in it again.
        let first = lit(start) + block.clone() * lit(step.wrapping_mul(whole(BLOCK)));
        let end = first.clone() + lit(step.wrapping_mul(whole(BLOCK - 1)));
        let is_last = block.eq(lit(whole(more / BLOCK)));
        let end = when(is_last, lit(last)).otherwise(end)?;
        Ok((rows, sequence(first, end, step)?))
    }
}

/// Numbers that are as far from each other.
struct Numbers {
    start: i64,
    step: i64,
    count: u64,
}

/// Numbers that are an array, and arrays that are beside each other.
const BLOCK: u64 = 8_000;
const BLOCKS_MAX: u64 = 8_000;

fn sequence(first: Expr, last: Expr, step: i64) -> Result<Expr> {
    let bounds = [first, last, lit(step)].map(|bound| (bound, DataType::Int64));
    Ok(tidemill_functions::build(&SEQUENCE, bounds.to_vec())?)
}

/// An argument as a BIGINT.
fn whole(name: &str, given: &ScalarValue) -> Result<i64> {
    let kind = given.data_type();
    let is_number = kind.is_numeric() || kind.is_string();
    if given.is_null() || !is_number {
        refuse!(
            "[UNEXPECTED_INPUT_TYPE] A parameter of the function `{name}` requires the \"BIGINT\" type, however it has the type \"{}\"",
            coercion::spelled(&kind)
        );
    }
    let cast = cast_to(Expr::Literal(given.clone(), None), &DataType::Int64);
    match literals::constant(&cast)? {
        Some(ScalarValue::Int64(Some(number))) => Ok(number),
        _ => refuse!(
            "[CAST_INVALID_INPUT] A parameter of the function `{name}` is no BIGINT, and cannot be cast to one"
        ),
    }
}
