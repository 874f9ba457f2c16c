//! `FROM t |> WHERE … |> SELECT …`: each operator reads what is before it.

use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, Expr, ExprWithAlias, ExprWithAliasAndOrderBy, OrderByExpr, PipeOperator,
    Query, SetQuantifier,
};

use super::Conversion;
use super::from::SAMPLING;
use super::position::{all_plain, joined, of_span, plain};
use super::query::{by_all, combined, cut};
use crate::Result;
use crate::error::refuse;
use crate::spec::{Expression, Grouping, Literal, Relation, SetKind};

impl Conversion<'_> {
    /// What an operator makes of what is piped into it.
    pub(super) fn piped(&mut self, input: Relation, operator: PipeOperator) -> Result<Relation> {
        let boxed = Box::<Relation>::new;
        Ok(match operator {
            PipeOperator::Select { exprs } => {
                let items = self.items(exprs)?;
                self.check_items(&items, "SELECT")?;
                Relation::Project { input: boxed(input), items }
            }
            PipeOperator::Extend { exprs } => {
                let mut items = vec![all_but(Vec::new())];
                items.extend(self.items(exprs)?);
                self.check_items(&items, "EXTEND")?;
                Relation::Project { input: boxed(input), items }
            }
            PipeOperator::Drop { columns } => {
                let items = vec![all_but(all_plain(columns))];
                Relation::Project { input: boxed(input), items }
            }
            PipeOperator::Where { expr } => {
                let condition = self.expression(expr)?;
                Relation::Filter { input: boxed(input), condition }
            }
            PipeOperator::Limit { expr, offset } => {
                let offset = offset.map(|offset| self.expression(offset)).transpose()?;
                cut(input, offset, Some(self.expression(expr)?))
            }
            PipeOperator::OrderBy { exprs } => {
                let order = match exprs.as_slice() {
                    [OrderByExpr { expr: Expr::Identifier(all), options, .. }]
                        if all.quote_style.is_none() && all.value.eq_ignore_ascii_case("all") =>
                    {
                        vec![by_all(*options)]
                    }
                    _ => self.order(exprs)?,
                };
                Relation::Sort { input: boxed(input), order }
            }
            PipeOperator::As { alias } => Relation::SubqueryAlias {
                input: boxed(input),
                at: of_span(alias.span),
                name: plain(alias),
                columns: Vec::new(),
            },
            PipeOperator::Aggregate { full_table_exprs, group_by_expr } => {
                self.aggregated(input, group_by_expr, full_table_exprs)?
            }
            PipeOperator::Union { set_quantifier, queries } => {
                self.combined_with(input, SetKind::Union, set_quantifier, queries)?
            }
            PipeOperator::Intersect { set_quantifier, queries } => {
                self.combined_with(input, SetKind::Intersect, set_quantifier, queries)?
            }
            PipeOperator::Except { set_quantifier, queries } => {
                self.combined_with(input, SetKind::Except, set_quantifier, queries)?
            }
            PipeOperator::Join(join) => self.join(input, join)?,
            PipeOperator::TableSample { .. } => refuse!("{SAMPLING}"),
            PipeOperator::Set { assignments } => {
                assignments.into_iter().try_fold(input, |input, assignment| {
                    let name = match assignment.target {
                        AssignmentTarget::ColumnName(name) => joined(name)?,
                        AssignmentTarget::Tuple(_) => refuse!("|> SET takes columns one by one"),
                    };
                    let value = self.expression(assignment.value)?;
                    self.check_items(std::slice::from_ref(&value), "SET")?;
                    Ok(Relation::WithColumn { input: boxed(input), name, value })
                })?
            }
            PipeOperator::Rename { .. } => {
                refuse!("|> RENAME is not supported; write |> SELECT with AS")
            }
            PipeOperator::Call { .. } => refuse!("|> CALL is not supported"),
            PipeOperator::Pivot {
                aggregate_functions,
                value_column,
                value_source,
                alias: None,
            } => {
                let columns = value_column.into_iter().map(Expr::Identifier).collect();
                self.pivot(input, aggregate_functions, columns, value_source)?
            }
            PipeOperator::Unpivot { value_column, name_column, unpivot_columns, alias: None } => {
                let columns = unpivot_columns.into_iter().map(Expr::Identifier);
                let columns = columns.map(|expr| ExprWithAlias { expr, alias: None }).collect();
                let value = Expr::Identifier(value_column);
                self.unpivot(input, (value, name_column), columns, None)?
            }
            PipeOperator::Pivot { .. } | PipeOperator::Unpivot { .. } => {
                refuse!("AS after |> PIVOT and |> UNPIVOT is not supported; write |> AS")
            }
        })
    }

    /// AGGREGATE: the columns are what is grouped by, and then the aggregates.
    fn aggregated(
        &mut self,
        input: Relation,
        groups: Vec<ExprWithAliasAndOrderBy>,
        aggregates: Vec<ExprWithAliasAndOrderBy>,
    ) -> Result<Relation> {
        let mut by = Vec::with_capacity(groups.len());
        let mut items = Vec::with_capacity(groups.len() + aggregates.len());
        for group in groups {
            let item = self.aliased(group)?;
            if matches!(item, Expression::Literal(Literal::Number(_))) {
                refuse!(
                    "|> AGGREGATE … GROUP BY takes no numbers of columns yet; write their names"
                );
            }
            by.push(match &item {
                Expression::Alias { value, .. } => value.as_ref().clone(),
                other => other.clone(),
            });
            items.push(item);
        }
        for aggregate in aggregates {
            items.push(self.aliased(aggregate)?);
        }
        Ok(Relation::Aggregate { input: Box::new(input), grouping: Grouping::By(by), items })
    }

    fn aliased(&mut self, item: ExprWithAliasAndOrderBy) -> Result<Expression> {
        let ExprWithAliasAndOrderBy { expr: ExprWithAlias { expr, alias }, order_by } = item;
        if order_by.asc.is_some() || order_by.nulls_first.is_some() {
            refuse!("|> AGGREGATE takes no order; write |> ORDER BY after it");
        }
        let value = self.expression(expr)?;
        Ok(match alias {
            Some(alias) => Expression::Alias { value: Box::new(value), names: vec![plain(alias)] },
            None => value,
        })
    }

    fn combined_with(
        &mut self,
        input: Relation,
        kind: SetKind,
        quantifier: SetQuantifier,
        queries: Vec<Query>,
    ) -> Result<Relation> {
        queries.into_iter().try_fold(input, |left, right| {
            let right = self.query(right)?;
            combined(left, right, kind, quantifier)
        })
    }

    fn check_items(&self, items: &[Expression], word: &str) -> Result<()> {
        if items.iter().any(|item| self.has_aggregate(item)) {
            refuse!(
                "[PIPE_OPERATOR_CONTAINS_AGGREGATE_FUNCTION] Non-grouping aggregate functions are not allowed in the pipe operator |> {word} clause; write |> AGGREGATE"
            );
        }
        Ok(())
    }
}

fn all_but(except: Vec<String>) -> Expression {
    Expression::Star { qualifier: Vec::new(), except, at: None }
}
