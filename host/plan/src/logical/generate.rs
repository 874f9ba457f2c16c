//! `explode` and its relatives: several rows for one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::sql::WHOLE;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, TableReference, plan_err};
use datafusion::functions::core::named_struct;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore, lit,
};
use tidemill_functions::{Generated, Shape, cast_to, find, generated, struct_field};

/// The column of arrays that goes into the node, and is not one of its own.
pub(crate) const VALUES: &str = "__values";
/// Columns of the node: what a value is, and its place.
const VALUE: &str = "__generated";
const POSITION: &str = "__generated_pos";

/// A row for each value of an array, beside the columns of the row that it is of.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Generate {
    pub(crate) input: LogicalPlan,
    pub(crate) values: Expr,
    pub(crate) is_outer: bool,
    pub(crate) has_position: bool,
    schema: DFSchemaRef,
}

impl Generate {
    /// The values are a column of their own below, which ends here: so the one that they come from
    /// need not be repeated for each of them.
    fn over(
        input: LogicalPlan,
        values: Expr,
        is_outer: bool,
        has_position: bool,
    ) -> Result<Generate> {
        let mut columns: Vec<Expr> =
            input.schema().columns().into_iter().map(Expr::Column).collect();
        columns.push(values.alias(VALUES));
        let input = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?);
        let values = Expr::Column(Column::new_unqualified(VALUES));
        Generate::try_new(input, values, is_outer, has_position)
    }

    fn try_new(
        input: LogicalPlan,
        values: Expr,
        is_outer: bool,
        has_position: bool,
    ) -> Result<Generate> {
        let kind = match values.get_type(input.schema())? {
            DataType::List(item) => item.data_type().clone(),
            other => return plan_err!("a generator needs an array, found {other}"),
        };
        let own = input.schema().iter().filter(|(_, field)| field.name() != VALUES);
        let mut fields: Vec<(Option<TableReference>, FieldRef)> =
            own.map(|(table, field)| (table.cloned(), Arc::clone(field))).collect();
        if has_position {
            fields.push((None, Arc::new(Field::new(POSITION, DataType::Int32, true))));
        }
        fields.push((None, Arc::new(Field::new(VALUE, kind, true))));
        let metadata: HashMap<String, String> = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(Generate { input, values, is_outer, has_position, schema })
    }
}

/// Takes generators out of SELECTs. What is several columns is a struct in a query within another
/// one, and its columns in the outermost SELECT.
///
/// # Errors
/// A generator stands where no rows can be given, or beside another one.
pub(crate) fn expand_generators(plan: LogicalPlan) -> Result<LogicalPlan> {
    let below = |plan: LogicalPlan| plan.transform_up_with_subqueries(|node| expanded(node, false));
    let plan = plan.map_children(below)?.data;
    Ok(expanded(plan, true)?.data)
}

fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call)
        if find(call.func.name()).is_some_and(|found| matches!(found.shape, Shape::Generator(_))))
}

fn holds_call(expr: &Expr) -> bool {
    // The closure never fails.
    expr.exists(|e| Ok(is_call(e))).unwrap_or(true)
}

fn expanded(node: LogicalPlan, is_outermost: bool) -> Result<Transformed<LogicalPlan>> {
    let projection = match node {
        LogicalPlan::Projection(projection) => projection,
        other if other.expressions().iter().any(holds_call) => {
            return plan_err!(
                "[UNSUPPORTED_GENERATOR.OUTSIDE_SELECT] a generator such as explode() stands outside of the SELECT clause; call it in a SELECT, and use its column in the next step"
            );
        }
        other => return Ok(Transformed::no(other)),
    };
    let calls = projection.expr.iter().filter(|expr| holds_call(expr)).count();
    if calls == 0 {
        return Ok(Transformed::no(LogicalPlan::Projection(projection)));
    }
    if calls > 1 {
        return plan_err!(
            "[UNSUPPORTED_GENERATOR.MULTI_GENERATOR] a SELECT has {calls} generators, and may have one; use LATERAL VIEW, or a step for each"
        );
    }
    let Projection { expr, input, .. } = projection;
    let input = Arc::unwrap_or_clone(input);
    let mut items = Vec::with_capacity(expr.len());
    let mut node = None;
    for item in expr {
        let (name, call) = match &item {
            Expr::Alias(alias) => (alias.name.clone(), alias.expr.as_ref()),
            other => (other.schema_name().to_string(), other),
        };
        if !holds_call(call) {
            items.push(item);
            continue;
        }
        let Some(found) = generated(call, input.schema())? else {
            return plan_err!(
                "[UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS] a generator such as explode() is within another expression; call it alone, and use its column in the next step"
            );
        };
        if holds_call(&found.values) {
            return plan_err!(
                "[UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS] a generator is within another one; call it in a step before"
            );
        }
        let is_unnamed = matches!(call, Expr::ScalarFunction(c) if name == c.func.name())
            || (name == found.name && !found.has_position);
        if found.is_several() && !is_outermost && name != WHOLE {
            return plan_err!(
                "[UDTF_ALIAS_NUMBER_MISMATCH] The number of aliases supplied in the AS clause does not match the number of columns output by the UDTF: a generator of {} columns has one name; use LATERAL VIEW with a name for each, or a step of its own",
                found.fields().len()
            );
        }
        items.extend(columns(&found, &name, is_outermost, is_unnamed)?);
        node = Some(found);
    }
    let Some(Generated { values, is_outer, has_position, .. }) = node else {
        return plan_err!("a generator was lost");
    };
    let node = Arc::new(Generate::over(input, values, is_outer, has_position)?);
    let input = Arc::new(LogicalPlan::Extension(Extension { node }));
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(items, input)?)))
}

/// The items of a SELECT that a generator is.
fn columns(
    found: &Generated,
    name: &str,
    is_outermost: bool,
    is_unnamed: bool,
) -> Result<Vec<Expr>> {
    let column = |name: &str| Expr::Column(Column::new_unqualified(name));
    let value = column(VALUE);
    if !found.is_several() {
        return Ok(vec![value.alias(name)]);
    }
    let fields = found.fields();
    let mut all = Vec::with_capacity(fields.len());
    if found.has_position {
        all.push(column(POSITION));
    }
    match found.is_expanded {
        true => {
            let count = fields.len() - all.len();
            all.extend((0..count).map(|number| struct_field(value.clone(), number)));
        }
        false => all.push(value),
    }
    if is_outermost && is_unnamed {
        return Ok(all.into_iter().zip(fields.iter()).map(|(e, f)| e.alias(f.name())).collect());
    }
    if is_outermost {
        return plan_err!(
            "[UDTF_ALIAS_NUMBER_MISMATCH] a generator of {} columns has one name, {name}; name them all, as in AS ({})",
            fields.len(),
            fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
        );
    }
    let pairs = all.into_iter().zip(fields.iter()).flat_map(|(e, f)| [lit(f.name().as_str()), e]);
    let whole = named_struct().call(pairs.collect());
    Ok(vec![cast_to(whole, &found.expression_type()).alias(name)])
}

impl fmt::Debug for Generate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl PartialOrd for Generate {
    fn partial_cmp(&self, other: &Generate) -> Option<std::cmp::Ordering> {
        self.values.partial_cmp(&other.values)
    }
}

impl UserDefinedLogicalNodeCore for Generate {
    fn name(&self) -> &str {
        "Generate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.values.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generate: {}{}", self.values, if self.is_outer { ", outer" } else { "" })
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Generate> {
        let (values, input) = (exprs.swap_remove(0), inputs.swap_remove(0));
        Generate::try_new(input, values, self.is_outer, self.has_position)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let names = self.input.schema().fields().iter();
        let kept: Vec<usize> = names
            .enumerate()
            .filter(|(_, field)| field.name() != VALUES)
            .map(|(place, _)| place)
            .collect();
        let mut wanted: Vec<usize> =
            output_columns.iter().filter_map(|column| kept.get(*column).copied()).collect();
        for column in self.values.column_refs() {
            wanted.push(self.input.schema().maybe_index_of_column(column)?);
        }
        wanted.sort_unstable();
        wanted.dedup();
        Some(vec![wanted])
    }
}
