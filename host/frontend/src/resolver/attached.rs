//! Queries within expressions whose value is a column of a join: those that stand where rows are not
//! chosen, and those that read the query around them otherwise than by `=`.
//!
//! As in Spark, IN and EXISTS as values have two values: whether a row is met. NOT IN is the
//! opposite of whether a row is met or may be, for all that nulls tell.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit,
};

use super::Resolver;
use super::clause::Clause;
use super::grouping::Groups;
use super::items::{Item, written_out};
use super::operators::joined;
use super::peeled::{holds_query, is_by_conditions, is_by_equality, query_of, reads_around};
use super::subqueries::{count_rows, outside};
use crate::error::{Result, refuse};

/// The column of a join that says whether a row met one.
const MARK: &str = "mark";

/// Joins that the queries within expressions of one text become.
const JOINED_MAX: usize = 250;

/// Which queries become columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All but single values that DataFusion joins.
    Values,
    /// All, for what DataFusion joins no single values in.
    All,
    /// Those that DataFusion does not know how to filter by, or filters by otherwise than Spark.
    Filters,
}

impl Resolver<'_> {
    /// A plan that has what values ask of queries; the values read its columns then.
    pub(super) fn attached<'v>(
        &mut self,
        plan: LogicalPlan,
        values: impl IntoIterator<Item = &'v mut Expr>,
        which: Which,
    ) -> Result<LogicalPlan> {
        let mut plan = plan;
        for value in values {
            let mut asked = Vec::new();
            value.apply(|e| {
                Ok(match query_of(e) {
                    Some(_) => {
                        asked.push(e.clone());
                        TreeNodeRecursion::Jump
                    }
                    None => TreeNodeRecursion::Continue,
                })
            })?;
            for query in asked {
                if !is_attached(&query, which) {
                    continue;
                }
                self.count_joined(1)?;
                let column;
                (plan, column) = self.asked(plan, query.clone())?;
                let before = std::mem::replace(value, lit(false));
                *value = with(before, &query, &column)?;
            }
        }
        Ok(plan)
    }

    /// Counts joins that queries become, each of which holds those before it.
    ///
    /// # Errors
    /// They are more than a plan may have.
    pub(super) fn count_joined(&mut self, joins: usize) -> Result<()> {
        self.joined_queries += joins;
        match self.joined_queries > JOINED_MAX {
            false => Ok(()),
            true => refuse!(
                "queries within expressions, LATERAL ones and generators come to more than {JOINED_MAX} joins; write steps"
            ),
        }
    }

    /// A plan that has what aggregates ask of queries, and what is grouped by; the values and the
    /// groups read its columns then.
    ///
    /// # Errors
    /// One of the first `shown` values asks something else for each row.
    pub(super) fn attached_in_groups(
        &mut self,
        plan: LogicalPlan,
        groups: &mut Groups,
        values: &mut [&mut Expr],
        shown: usize,
    ) -> Result<LogicalPlan> {
        let mut parts: Vec<Expr> = groups.expressions()?;
        for value in values.iter() {
            value.apply(|e| {
                if matches!(e, Expr::AggregateFunction(_)) && !parts.contains(e) {
                    parts.push(e.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        parts.retain(holds_query);
        let mut plan = plan;
        for part in parts {
            let mut attached = part.clone();
            plan = self.attached(plan, [&mut attached], Which::All)?;
            groups.replace(|by| with(by, &part, &attached))?;
            for value in values.iter_mut() {
                let before = std::mem::replace(*value, lit(false));
                **value = with(before, &part, &attached)?;
            }
        }
        for value in values.iter().take(shown) {
            let reads = value.exists(|e| {
                Ok(matches!(e, Expr::ScalarSubquery(query) if reads_around(&query.subquery)))
            });
            if reads? {
                refuse!(
                    "[SCALAR_SUBQUERY_IS_IN_GROUP_BY_OR_AGGREGATE_FUNCTION] The correlated scalar subquery is neither present in GROUP BY, nor in an aggregate function. Add it to GROUP BY using ordinal position or wrap it in first() (or first_value) if you do not care which value you get."
                );
            }
        }
        Ok(plan)
    }

    /// A plan with what is asked of a query, and the value.
    fn asked(&mut self, plan: LogicalPlan, query: Expr) -> Result<(LogicalPlan, Expr)> {
        match query {
            Expr::Exists(Exists { subquery, negated }) => {
                let (plan, met) = self.met(plan, &subquery.subquery)?;
                Ok((plan, if negated { !met } else { met }))
            }
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let mut value = *expr;
                let plan = self.attached(plan, [&mut value], Which::Values)?;
                let query = equal_rows(&subquery, value, negated, plan.schema())?;
                let (plan, met) = self.met(plan, &query)?;
                Ok((plan, if negated { !met } else { met }))
            }
            Expr::ScalarSubquery(ref known)
                if !reads_around(&known.subquery) || is_by_equality(&known.subquery) =>
            {
                let qualifier = self.qualifier();
                let own = plan.schema().columns().into_iter().map(Expr::Column);
                let value = query.alias_qualified(Some(qualifier.clone()), "c0");
                let values: Vec<Expr> = own.chain([value]).collect();
                let plan = LogicalPlanBuilder::from(plan).project(values)?.build()?;
                Ok((plan, Expr::Column(Column::new(Some(qualifier), "c0"))))
            }
            Expr::ScalarSubquery(Subquery { subquery, .. }) => {
                let dependent = self.dependent(plan, &subquery)?;
                let qualifier = self.qualifier();
                let plan = dependent.shown(&subquery, &qualifier)?;
                Ok((plan, Expr::Column(Column::new(Some(qualifier), "c0"))))
            }
            other => Ok((plan, other)),
        }
    }

    /// A plan with a column that says whether a query has a row.
    fn met(&mut self, plan: LogicalPlan, query: &LogicalPlan) -> Result<(LogicalPlan, Expr)> {
        let query = without_order(query);
        if let Some(peeled) = self.peeled(query)? {
            let qualifier = match &peeled.met {
                Expr::Column(column) => column.relation.clone(),
                _ => None,
            };
            let on = joined(peeled.conditions, Operator::And);
            let plan = LogicalPlanBuilder::from(plan);
            let plan = plan.join_on(peeled.rows, JoinType::LeftMark, [on])?.build()?;
            return Ok((plan, Expr::Column(Column::new(qualifier, MARK))));
        }
        let rows = LogicalPlanBuilder::from(query.clone())
            .aggregate(Vec::<Expr>::new(), [count_rows().alias("rows")])?
            .build()?;
        let dependent = self.dependent(plan, &rows)?;
        let qualifier = self.qualifier();
        let plan = dependent.shown(&rows, &qualifier)?;
        Ok((plan, Expr::Column(Column::new(Some(qualifier), "c0")).gt(lit(0_i64))))
    }

    /// A plan of the rows for which a condition is true, whatever queries are in it.
    pub(super) fn filtered(&mut self, plan: LogicalPlan, condition: Expr) -> Result<LogicalPlan> {
        let own: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let mut conjuncts = split_conjunction_owned(condition);
        let queries = conjuncts.iter_mut().filter(|one| holds_query(one) && !is_plain_not_in(one));
        let input = self.attached(plan.clone(), queries, Which::Filters)?;
        let has_more = input.schema().fields().len() > own.len();
        let Some(condition) = conjunction(conjuncts) else { return Ok(plan) };
        let filtered = LogicalPlanBuilder::from(input).filter(condition)?;
        Ok(match has_more {
            true => filtered.project(own)?.build()?,
            false => filtered.build()?,
        })
    }
}

/// A value with another one in the place of a part of it, wherever that stands.
fn with(value: Expr, part: &Expr, other: &Expr) -> Result<Expr> {
    let with = value.transform_down(|e| match e == *part {
        true => Ok(Transformed::new(other.clone(), true, TreeNodeRecursion::Jump)),
        false => Ok(Transformed::no(e)),
    })?;
    Ok(with.data)
}

/// Whether a query is to become a column.
fn is_attached(query: &Expr, which: Which) -> bool {
    let is_within = matches!(query, Expr::InSubquery(_));
    let (plan, is_negated) = match query {
        Expr::Exists(exists) => (&exists.subquery.subquery, false),
        Expr::InSubquery(within) => (&within.subquery.subquery, within.negated),
        Expr::ScalarSubquery(scalar) => {
            let is_known = !reads_around(&scalar.subquery) || is_by_equality(&scalar.subquery);
            return which == Which::All || !is_known;
        }
        _ => return false,
    };
    which != Which::Filters
        || is_negated
        || (is_within && plan.schema().fields().len() > 1)
        || (reads_around(plan) && !is_by_equality(plan) && !is_by_conditions(plan))
}

/// NOT IN that rows are chosen by, of rows that read nothing around them, which DataFusion knows.
fn is_plain_not_in(condition: &Expr) -> bool {
    match condition {
        Expr::InSubquery(within) => {
            let query = &within.subquery.subquery;
            within.negated && query.schema().fields().len() == 1 && !reads_around(query)
        }
        _ => false,
    }
}

/// The rows of a query that are equal to values around it, or may be.
fn equal_rows(
    subquery: &Subquery,
    value: Expr,
    is_negated: bool,
    around: &DFSchema,
) -> Result<LogicalPlan> {
    let query = without_order(&subquery.subquery).clone();
    let columns = query.schema().columns();
    let values = match (columns.len(), value) {
        (1, value) => vec![value],
        // The parts of a tuple, each after its name.
        (_, Expr::ScalarFunction(tuple)) => tuple.args.into_iter().skip(1).step_by(2).collect(),
        _ => Vec::new(),
    };
    if values.len() != columns.len() {
        refuse!("IN has other values than the query has columns");
    }
    let mut equal = Vec::with_capacity(columns.len());
    for (value, column) in values.into_iter().zip(columns) {
        let is_equal = Expr::Column(column).eq(outside(value, around)?);
        equal.push(if is_negated { is_equal.is_not_false() } else { is_equal });
    }
    Ok(LogicalPlanBuilder::from(query).filter(joined(equal, Operator::And))?.build()?)
}

/// Refuses queries that Spark knows no join for in what a generator takes.
pub(super) fn check_generated(values: &Expr) -> Result<()> {
    let asks = |e: &Expr| matches!(e, Expr::Exists(_) | Expr::InSubquery(_));
    if values.exists(|e| Ok(asks(e)))? {
        return unsupported_place("a generator");
    }
    let reads = |e: &Expr| matches!(e, Expr::ScalarSubquery(one) if reads_around(&one.subquery));
    match values.exists(|e| Ok(reads(e)))? {
        true => refuse!(
            "[UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.UNSUPPORTED_CORRELATED_SCALAR_SUBQUERY] Unsupported subquery expression: Correlated scalar subqueries can only be used in filters, aggregations, projections, and UPDATE/MERGE/DELETE commands, and this one stands in a generator"
        ),
        false => Ok(()),
    }
}

/// Refuses IN and EXISTS where Spark knows no join for them.
pub(super) fn unsupported_place<T>(place: impl std::fmt::Display) -> Result<T> {
    refuse!(
        "[UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.UNSUPPORTED_IN_EXISTS_SUBQUERY] Unsupported subquery expression: IN/EXISTS predicate subqueries can only be used in filters, joins, aggregations, window functions, projections, and UPDATE/MERGE/DELETE commands, and it stands in {place}; compute it in a SELECT before"
    )
}

/// Writes out the items that others with queries in them read: what a query meets is a column below.
pub(super) fn beside_queries(items: &mut [Item]) -> Result<()> {
    for place in 0..items.len() {
        if items[place].level > 0 && holds_query(&items[place].value) {
            let value = std::mem::replace(&mut items[place].value, lit(false));
            items[place].value = written_out(value, items, Clause::Select)?;
            items[place].level = 0;
        }
    }
    Ok(())
}

/// A query without what changes none of its rows but their order and number.
fn without_order(query: &LogicalPlan) -> &LogicalPlan {
    match query {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => without_order(&sort.input),
        LogicalPlan::Distinct(Distinct::All(input)) => without_order(input),
        other => other,
    }
}
