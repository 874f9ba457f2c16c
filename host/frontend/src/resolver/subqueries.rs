//! Queries within expressions. They may read columns of the queries around them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::functions::core::named_struct;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery as Node, col, lit,
};
use tidemill_functions::{first_value, only_row};

use super::attached::unsupported_place;
use super::clause::Clause;
use super::expressions::{Context, tuple};
use super::peeled::reads_around;
use super::scope::Scope;
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
        if let Subquery::In(values) = kind {
            return self.within_rows(values, query, context);
        }
        let Resolved { plan, scope } = self.within_query(query, context)?;
        let count = scope.columns.len();
        match kind {
            Subquery::Scalar if count != 1 => refuse!(
                "[INVALID_SUBQUERY_EXPRESSION.SCALAR_SUBQUERY_RETURN_MORE_THAN_ONE_OUTPUT_COLUMN] Invalid subquery: Scalar subquery must return only one column, but found {count}"
            ),
            Subquery::Scalar => one_row(plan),
            _ if filters(context) || reads_around(&plan) => {
                check_place(context)?;
                Ok(Expr::Exists(Exists { subquery: node(plan), negated: false }))
            }
            _ => {
                check_place(context)?;
                let rows = LogicalPlanBuilder::from(plan)
                    .aggregate(Vec::<Expr>::new(), [count_rows().alias("rows")])?
                    .project([col("rows").gt(lit(0_i64)).alias("exists")])?;
                Ok(Expr::ScalarSubquery(node(rows.build()?)))
            }
        }
    }

    /// IN of a query.
    fn within_rows(
        &mut self,
        values: &[Expression],
        query: &Relation,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        if values.len() > 1 && [Clause::Where, Clause::On].contains(&context.clause) {
            return self.tuple_in(values, query, false, context);
        }
        self.row_in(values, query, context)
    }

    /// NOT IN of a query.
    pub(super) fn not_in(
        &mut self,
        values: &[Expression],
        query: &Relation,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let is_conjunct = std::mem::take(&mut context.is_conjunct);
        if context.clause == Clause::On && (values.len() > 1 || !is_conjunct) {
            return Ok(!self.tuple_in(values, query, true, context)?);
        }
        if context.clause == Clause::Where && is_conjunct && values.len() > 1 {
            return Ok(!self.tuple_in(values, query, true, context)?);
        }
        let within = self.row_in(values, query, context)?;
        Ok(match within {
            Expr::InSubquery(within) => Expr::InSubquery(InSubquery { negated: true, ..within }),
            other => !other,
        })
    }

    fn row_in(
        &mut self,
        values: &[Expression],
        query: &Relation,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        check_place(context)?;
        let Resolved { plan, scope } = self.within_query(query, context)?;
        check_length(values, scope.columns.len())?;
        let mut resolved = self.expressions(values, context)?;
        let mut commons = Vec::with_capacity(values.len());
        for (place, value) in resolved.iter_mut().enumerate() {
            let kinds = [context.type_of(value)?, plan.schema().field(place).data_type().clone()];
            let common = coercion::compared_as(&kinds)?;
            if let Some(common) = &common
                && kinds[0] != *common
            {
                *value = tidemill_functions::cast_to(value.clone(), common);
            }
            commons.push(common);
        }
        let plan = coercion::with_types(plan, &commons)?;
        let expr = match resolved.pop() {
            Some(only) if resolved.is_empty() => only,
            last => {
                resolved.extend(last);
                tuple(resolved)
            }
        };
        let expr = Box::new(expr);
        Ok(Expr::InSubquery(InSubquery { expr, subquery: node(plan), negated: false }))
    }
}

/// Where rows are chosen.
fn filters(context: &Context<'_>) -> bool {
    [Clause::Where, Clause::Having, Clause::On].contains(&context.clause)
}

/// Refuses IN and EXISTS where Spark knows no join for them.
fn check_place(context: &Context<'_>) -> Result<()> {
    match context.clause {
        clause @ (Clause::OrderBy | Clause::LateralView | Clause::DistributeBy | Clause::From) => {
            unsupported_place(clause)
        }
        _ => Ok(()),
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
        let around = match context.clause {
            // As in Spark, what orders rows reads none of their columns in a query.
            Clause::OrderBy => (Scope::default(), Arc::new(DFSchema::empty())),
            _ => (context.scope.clone(), Arc::clone(&context.schema)),
        };
        self.outer.push(around);
        let resolved = self.relation(query).and_then(|resolved| self.shown(resolved));
        self.outer.pop();
        let resolved = resolved?;
        check_reads(&resolved.plan)?;
        self.learnt.reads.insert(std::ptr::from_ref(query), reads(&resolved.plan));
        Ok(resolved)
    }

    /// `(a, b) IN (SELECT …)`: whether there is a row whose columns are equal to all of them, or, for
    /// NOT IN, may be equal for all that nulls tell.
    fn tuple_in(
        &mut self,
        values: &[Expression],
        query: &Relation,
        is_negated: bool,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
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
pub(super) fn outside(value: Expr, schema: &DFSchema) -> Result<Expr> {
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
    let has_one = match reads_around(&plan) {
        true => is_one_group(&plan),
        false => !is_union && plan.max_rows().is_some_and(|rows| rows <= 1),
    };
    if has_one {
        return Ok(Expr::ScalarSubquery(node(plan)));
    }
    let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let aggregates =
        vec![first_value().call(vec![value]).alias("value"), count(lit(1_i64)).alias("rows")];
    let plan = LogicalPlanBuilder::from(plan).aggregate(Vec::<Expr>::new(), aggregates)?;
    let fields = vec![lit("value"), col("value"), lit("rows"), col("rows")];
    let plan = plan.project([named_struct().call(fields).alias("value")])?.build()?;
    Ok(only_row().call(vec![Expr::ScalarSubquery(node(plan))]))
}

/// Refuses what reads the query around one above its aggregates, or in them, as Spark does.
pub(super) fn check_reads(plan: &LogicalPlan) -> Result<()> {
    let mut reads = false;
    plan.apply_expressions(|e| {
        reads |= e.contains_outer();
        Ok(TreeNodeRecursion::Continue)
    })?;
    let is_above = || plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(_))));
    if reads && !matches!(plan, LogicalPlan::Filter(_)) && is_above()? {
        let is_mixed = |e: &Expr| match e {
            Expr::AggregateFunction(_) => e.contains_outer() && !e.column_refs().is_empty(),
            _ => false,
        };
        if plan.expressions().iter().any(|e| e.exists(|e| Ok(is_mixed(e))).unwrap_or(true)) {
            refuse!(
                "[UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.AGGREGATE_FUNCTION_MIXED_OUTER_LOCAL_REFERENCES] Unsupported subquery expression: Found an aggregate function in a correlated predicate that has both outer and local references, which is not supported; compute it in the query around"
            );
        }
        refuse!(
            "[UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.CORRELATED_REFERENCE] Unsupported subquery expression: Expressions referencing the outer query are not supported outside of WHERE/HAVING clauses, where the query has aggregates"
        );
    }
    plan.inputs().into_iter().try_for_each(check_reads)
}

/// The names of the columns around a query that it reads, once for each time.
fn reads(plan: &LogicalPlan) -> Vec<String> {
    let mut names = Vec::new();
    // The closures never fail.
    let _ = plan.apply(|node| {
        node.apply_expressions(|value| {
            value.apply(|e| {
                if let Expr::OuterReferenceColumn(_, column) = e {
                    names.push(column.name.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    names
}

/// Whether a plan gives one row at most, for all that its nodes tell.
fn is_one_group(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => {
            plan.inputs().into_iter().all(is_one_group)
        }
        _ => false,
    }
}

pub(super) fn count_rows() -> Expr {
    count(lit(1_i64))
}

fn node(plan: LogicalPlan) -> Node {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Node { subquery: Arc::new(plan), outer_ref_columns, spans: Default::default() }
}
