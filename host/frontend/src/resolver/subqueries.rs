//! Queries within expressions. They may read columns of the queries around them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::functions::core::named_struct;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery as Node, col, lit,
};
use tidemill_functions::{Function, Shape, find, only_row};

use super::expressions::Context;
use super::{Resolved, Resolver, coercion, operators};
use crate::error::{Result, refuse};
use crate::spec::{Expression, Relation, Subquery};

/// Queries within expressions that are within one another.
const WITHIN_MAX: usize = 8;

impl Resolver<'_> {
    pub(super) fn subquery(
        &mut self,
        kind: &Subquery,
        query: &Relation,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        if self.variables.is_in_lambda() {
            refuse!(
                "[UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.HIGHER_ORDER_FUNCTION] Unsupported subquery expression: Subquery expressions are not supported within higher-order functions. Please remove all subquery expressions from higher-order functions and then try the query again."
            );
        }
        if let Subquery::In(values) = kind
            && values.len() > 1
        {
            return self.tuple_in(values, query, false, context);
        }
        let Resolved { plan, scope } = self.within_query(query, context)?;
        let count = scope.columns.len();
        let filters = ["WHERE", "HAVING", "ON"].contains(&context.clause);
        match kind {
            Subquery::Scalar if count != 1 => refuse!(
                "[INVALID_SUBQUERY_EXPRESSION.SCALAR_SUBQUERY_RETURN_MORE_THAN_ONE_OUTPUT_COLUMN] Invalid subquery: Scalar subquery must return only one column, but found {count}"
            ),
            Subquery::Scalar => one_row(plan),
            Subquery::Exists if !filters => {
                let rows = LogicalPlanBuilder::from(plan)
                    .aggregate(Vec::<Expr>::new(), [count_rows().alias("rows")])?
                    .project([col("rows").gt(lit(0_i64)).alias("exists")])?;
                Ok(Expr::ScalarSubquery(node(rows.build()?)))
            }
            Subquery::Exists => Ok(Expr::Exists(Exists { subquery: node(plan), negated: false })),
            Subquery::In(_) if !filters => refuse!(
                "IN of a query stands in {}, which is not supported yet; it may in WHERE, HAVING and ON",
                context.clause
            ),
            Subquery::In(values) => {
                check_length(values, count)?;
                let mut value = self.expression(&values[0], context)?;
                let kinds = [context.type_of(&value)?, plan.schema().field(0).data_type().clone()];
                let plan = match coercion::common_of(&kinds)? {
                    Some(common) => {
                        if kinds[0] != common {
                            value = tidemill_functions::cast_to(value, &common);
                        }
                        coercion::with_types(plan, &[Some(common)])?
                    }
                    None => plan,
                };
                let expr = Box::new(value);
                Ok(Expr::InSubquery(InSubquery { expr, subquery: node(plan), negated: false }))
            }
        }
    }
}

impl Resolver<'_> {
    /// A query that may read what is around it, with the columns that it shows alone.
    fn within_query(&mut self, query: &Relation, context: &Context<'_>) -> Result<Resolved> {
        if self.outer.len() == WITHIN_MAX {
            refuse!(
                "more than {WITHIN_MAX} queries within expressions are within one another; write joins, or steps"
            );
        }
        self.outer.push((context.scope.clone(), Arc::clone(&context.schema)));
        let resolved = self.relation(query).and_then(|resolved| self.shown(resolved));
        self.outer.pop();
        resolved
    }

    /// `(a, b) IN (SELECT …)`: whether there is a row whose columns are equal to all of them, or, for
    /// NOT IN, may be equal for all that nulls tell.
    pub(super) fn tuple_in(
        &mut self,
        values: &[Expression],
        query: &Relation,
        is_negated: bool,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        if !["WHERE", "ON"].contains(&context.clause) {
            refuse!(
                "IN of a query for several values stands in {}, which is not supported yet; it may in WHERE and ON",
                context.clause
            );
        }
        let Resolved { plan, scope } = self.within_query(query, context)?;
        check_length(values, scope.columns.len())?;
        let mut equal = Vec::with_capacity(values.len());
        for (value, column) in values.iter().zip(plan.schema().columns()) {
            let value = self.expression(value, context)?;
            let mut value = outside(value, &context.schema)?;
            let mut column = Expr::Column(column);
            coercion::meet(&mut [&mut value, &mut column], plan.schema())?;
            equal.push(column.eq(value));
        }
        let equal = operators::joined(equal, Operator::And);
        let met = if is_negated { equal.is_not_false() } else { equal };
        let plan = LogicalPlanBuilder::from(plan).filter(met)?.build()?;
        Ok(Expr::Exists(Exists { subquery: node(plan), negated: false }))
    }
}

/// Refuses values that are more or fewer than the columns that they are compared with.
fn check_length(values: &[Expression], count: usize) -> Result<()> {
    match values.len() == count {
        true => Ok(()),
        false => refuse!(
            "[DATATYPE_MISMATCH.IN_SUBQUERY_LENGTH_MISMATCH] The number of columns in the left hand side of an IN subquery does not match the number of columns in the output of subquery: {} and {count}",
            values.len()
        ),
    }
}

/// A value of the query around one.
fn outside(value: Expr, schema: &DFSchema) -> Result<Expr> {
    let outside = value.transform_up(|e| match &e {
        Expr::Column(column) => {
            let (_, field) = e.to_field(schema)?;
            let outer = Expr::OuterReferenceColumn(field, column.clone());
            Ok(Transformed::yes(outer))
        }
        _ => Ok(Transformed::no(e)),
    })?;
    Ok(outside.data)
}

/// The value of a plan of one column, of whose rows there has to be one at most where it is read.
fn one_row(plan: LogicalPlan) -> Result<Expr> {
    // DataFusion counts no row of a SELECT without FROM.
    let is_union = plan.exists(|node| Ok(matches!(node, LogicalPlan::Union(_))))?;
    if !is_union && plan.max_rows().is_some_and(|rows| rows <= 1) {
        return Ok(Expr::ScalarSubquery(node(plan)));
    }
    let Some(Function { shape: Shape::Aggregate(first), .. }) = find("first_value") else {
        refuse!("first_value() is no aggregate");
    };
    let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let aggregates =
        vec![first().call(vec![value]).alias("value"), count(lit(1_i64)).alias("rows")];
    let plan = LogicalPlanBuilder::from(plan).aggregate(Vec::<Expr>::new(), aggregates)?;
    let fields = vec![lit("value"), col("value"), lit("rows"), col("rows")];
    let plan = plan.project([named_struct().call(fields).alias("value")])?.build()?;
    Ok(only_row().call(vec![Expr::ScalarSubquery(node(plan))]))
}

fn count_rows() -> Expr {
    count(lit(1_i64))
}

fn node(plan: LogicalPlan) -> Node {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Node { subquery: Arc::new(plan), outer_ref_columns, spans: Default::default() }
}
