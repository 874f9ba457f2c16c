//! Calls of aggregates.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::functions::core::named_struct;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable, Operator, lit, when};
use tidemill_functions::{Function, Reads, as_condition, cast_to, extreme_of};

use super::calls::{as_declared, in_order};
use super::clause::Clause;
use super::expressions::Context;
use super::grouping::check_grouped;
use super::items::written_out;
use super::scope::quoted;
use super::{Resolver, coercion, naming, operators};
use crate::error::{Result, refuse};
use crate::spec::{Call, Expression, Literal, SortOrder};

/// A call of an aggregate whose arguments are resolved.
pub(super) struct Folded {
    pub(super) function: Arc<AggregateUDF>,
    reads: Reads,
    pub(super) arguments: Vec<Expr>,
    pub(super) filter: Option<Expr>,
    pub(super) nulls: Option<NullTreatment>,
}

/// The same aggregate, or one for the largest and smallest of values that DataFusion compares
/// otherwise than Spark.
pub(super) fn as_spark_compares(folded: Folded, context: &Context<'_>) -> Result<Folded> {
    let (Reads::Extreme { is_max }, [argument]) = (folded.reads, folded.arguments.as_slice())
    else {
        return Ok(folded);
    };
    let kind = context.type_of(argument)?;
    if tidemill_functions::contains_map(&kind) {
        refuse!(
            "[DATATYPE_MISMATCH.INVALID_ORDERING_TYPE] Cannot resolve {}(): it does not support ordering on type \"{}\"",
            folded.function.name(),
            coercion::spelled(&kind)
        );
    }
    Ok(match extreme_of(is_max, argument, &kind) {
        Some((function, arguments)) => Folded { function, arguments, ..folded },
        None => folded,
    })
}

impl Resolver<'_> {
    /// A call of an aggregate in a SELECT that groups, or whose rows are one group.
    pub(super) fn aggregate(
        &mut self,
        call: &Call,
        function: &'static Function,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        check_place(call, context)?;
        if matches!(function.reads, Reads::Grouping | Reads::GroupingId) {
            return self.grouping(call, function, context);
        }
        let folded = self.folded(call, function, context, true)?;
        let Folded { function: folded, arguments, filter, nulls, .. } =
            as_spark_compares(folded, context)?;
        Ok(Expr::AggregateFunction(AggregateFunction::new_udf(
            folded,
            arguments,
            call.is_distinct,
            filter.map(Box::new),
            Vec::new(),
            nulls,
        )))
    }

    /// A call of a plugin's aggregate.
    pub(super) fn plugin_aggregate(
        &mut self,
        call: &Call,
        function: &Arc<AggregateUDF>,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        check_place(call, context)?;
        let name = function.name();
        let clause = if call.is_distinct {
            "DISTINCT; group by the values in a step before"
        } else if !call.within_group.is_empty() {
            "WITHIN GROUP"
        } else if call.ignores_nulls.is_some() {
            "IGNORE NULLS; it says itself what it does with nulls"
        } else {
            ""
        };
        if !clause.is_empty() {
            refuse!("{name}() of a plugin takes no {clause}");
        }
        let before = context.inside_aggregate.replace(call.name.clone());
        let parts = self.parts_of_aggregate(call, context);
        context.inside_aggregate = before;
        let (arguments, filter) = parts?;
        let arguments = as_declared(name, function.signature(), arguments, context)?;
        Ok(Expr::AggregateFunction(AggregateFunction::new_udf(
            Arc::clone(function),
            arguments,
            false,
            filter.map(Box::new),
            Vec::new(),
            None,
        )))
    }

    fn parts_of_aggregate(
        &mut self,
        call: &Call,
        context: &mut Context<'_>,
    ) -> Result<(Vec<Expr>, Option<Expr>)> {
        let values = call.arguments.iter().map(|argument| &argument.value);
        let arguments = self.expressions(values, context)?;
        let filter = call.filter.as_ref().map(|filter| self.filter_of(filter, context));
        Ok((arguments, filter.transpose()?))
    }

    /// A call with its arguments. Those of an aggregate over groups read rows; over a window of
    /// rows they may read groups.
    pub(super) fn folded(
        &mut self,
        call: &Call,
        function: &'static Function,
        context: &mut Context<'_>,
        reads_rows: bool,
    ) -> Result<Folded> {
        let before = context.inside_aggregate.clone();
        if reads_rows {
            context.inside_aggregate = Some(call.name.clone());
        }
        let folded = self.folded_inside(call, function, context);
        context.inside_aggregate = before;
        folded
    }

    fn folded_inside(
        &mut self,
        call: &Call,
        function: &'static Function,
        context: &mut Context<'_>,
    ) -> Result<Folded> {
        let Function { name, reads, .. } = *function;
        let mut nulls = null_treatment(call);
        let filter = match &call.filter {
            None => None,
            Some(filter) => Some(self.filter_of(filter, context)?),
        };
        let mut values = in_order(call, function)?;
        match (reads, values.as_slice()) {
            (Reads::NullTreatment, [_, Expression::Literal(Literal::Boolean(ignores))]) => {
                if *ignores {
                    nulls = Some(NullTreatment::IgnoreNulls);
                }
                values.truncate(1);
            }
            (Reads::NullTreatment, [_, _]) => {
                refuse!("The second argument in {name} should be a boolean literal.")
            }
            // Of the most frequent values, the smallest: which is what `true` asks for.
            (Reads::MostFrequent, [_, Expression::Literal(Literal::Boolean(_))]) => {
                values.truncate(1);
            }
            (Reads::Grouping | Reads::GroupingId, _) => refuse!("{name}() is no aggregate"),
            _ => {}
        }
        let has_star = values.iter().any(|value| matches!(value, Expression::Star { .. }));
        if has_star && reads != Reads::Rows {
            refuse!(
                "[INVALID_USAGE_OF_STAR_OR_REGEX] Invalid usage of '*' in {name}(); count(*) counts rows"
            );
        }
        let mut arguments = self.counted(&values, context)?;
        if !call.within_group.is_empty() {
            arguments = self.within_group(function, arguments, &call.within_group, context)?;
        }
        if reads == Reads::Rows {
            arguments = match arguments.len() {
                0 => refuse!(
                    "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] The `{name}` requires >= 1 parameters; write {name}(*)"
                ),
                1 => arguments,
                _ => vec![all_present(arguments, call.is_distinct)?],
            };
        }
        let typed = arguments.into_iter().map(|argument| context.typed(argument));
        let typed = typed.collect::<Result<_>>()?;
        let type_of = |value: &Expr| value.get_type(&context.schema);
        let (function, arguments) = tidemill_functions::aggregate(function, typed, type_of)?;
        Ok(Folded { function, reads, arguments, filter, nulls })
    }

    /// The condition of FILTER.
    fn filter_of(&mut self, filter: &Expression, context: &mut Context<'_>) -> Result<Expr> {
        let resolved = self.expression(filter, context)?;
        let kind = context.type_of(&resolved)?;
        match as_condition(resolved, &kind) {
            Some(condition) => Ok(condition),
            None => refuse!(
                "[INVALID_AGGREGATE_FILTER.NOT_BOOLEAN] The FILTER expression \"{}\" in an aggregate function is invalid. Expected the FILTER expression to be a boolean, and it has the type \"{}\"",
                naming::text(filter),
                coercion::spelled(&kind)
            ),
        }
    }

    /// The arguments of an aggregate; a star counts rows.
    fn counted(&mut self, values: &[&Expression], context: &mut Context<'_>) -> Result<Vec<Expr>> {
        let mut arguments = Vec::with_capacity(values.len());
        for value in values {
            match value {
                Expression::Star { qualifier, .. } if qualifier.is_empty() => {
                    // The number of rows, as DataFusion counts them.
                    arguments.push(lit(1_i32));
                }
                Expression::Star { qualifier, .. }
                    if qualifier.last().is_some_and(|name| context.scope.has_relation(name)) =>
                {
                    refuse!(
                        "[INVALID_USAGE_OF_STAR_WITH_TABLE_IDENTIFIER_IN_COUNT] count({}.*) is not allowed. Use count(*) or expand the columns manually, e.g. count(col1, col2)",
                        quoted(qualifier)
                    )
                }
                Expression::Star { qualifier, except, .. } => {
                    let columns = self.star(qualifier, except, context)?;
                    arguments.extend(columns.into_iter().map(|column| column.value));
                }
                other => arguments.push(self.expression(other, context)?),
            }
        }
        Ok(arguments)
    }

    /// `WITHIN GROUP (ORDER BY …)` as arguments. Nulls are first, or last where the order descends.
    fn within_group(
        &mut self,
        function: &Function,
        mut arguments: Vec<Expr>,
        order: &[SortOrder],
        context: &mut Context<'_>,
    ) -> Result<Vec<Expr>> {
        let Function { name, reads, .. } = *function;
        if !matches!(reads, Reads::Ordered | Reads::MostFrequent | Reads::Listed) {
            refuse!(
                "[INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX] The function `{name}` does not support WITHIN GROUP"
            );
        }
        let [order] = order else {
            refuse!("{name}(): WITHIN GROUP takes one ORDER BY expression");
        };
        let descends = order.is_descending;
        if order.nulls_first.is_some_and(|first| first == descends) {
            refuse!(
                "{name}(): NULLS FIRST and NULLS LAST are as Spark has them by default, and others are not supported yet"
            );
        }
        let value = self.expression(&order.value, context)?;
        if reads != Reads::Listed {
            arguments.insert(0, value);
            arguments.push(lit(descends));
            return Ok(arguments);
        }
        if arguments.len() == 1 {
            arguments.push(lit(""));
        }
        arguments.extend([value, lit(descends)]);
        Ok(arguments)
    }

    /// `grouping_id()` is the number that `grouping(…)` makes of all that is grouped by. Both ask
    /// for sets.
    fn grouping(
        &mut self,
        call: &Call,
        function: &'static Function,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let Some(groups) = context.sets.clone() else {
            refuse!(
                "[UNSUPPORTED_GROUPING_EXPRESSION] grouping()/grouping_id() can only be used with GroupingSets/Cube/Rollup"
            );
        };
        let is_of_all = function.reads == Reads::GroupingId;
        let values = in_order(call, function)?;
        let arguments = match values.as_slice() {
            [] if is_of_all => groups.clone(),
            values => {
                let read = self.expressions(values.iter().copied(), context)?.into_iter();
                let items = context.aliases.items();
                read.map(|value| written_out(value, items, context.clause))
                    .collect::<Result<_>>()?
            }
        };
        if is_of_all && arguments != groups {
            refuse!(
                "[GROUPING_ID_COLUMN_MISMATCH] Columns of grouping_id() do not match grouping columns; name all that is grouped by, in order, or none"
            );
        }
        check_grouped(&arguments, &groups, function.name)?;
        let kind = if is_of_all { DataType::Int64 } else { DataType::Int8 };
        let grouping = datafusion::functions_aggregate::grouping::grouping_udaf();
        let call = AggregateFunction::new_udf(grouping, arguments, false, None, Vec::new(), None);
        Ok(cast_to(Expr::AggregateFunction(call), &kind))
    }
}

/// What a call says of nulls.
pub(super) fn null_treatment(call: &Call) -> Option<NullTreatment> {
    call.ignores_nulls.map(|ignores| match ignores {
        true => NullTreatment::IgnoreNulls,
        false => NullTreatment::RespectNulls,
    })
}

fn check_place(call: &Call, context: &Context<'_>) -> Result<()> {
    let name = &call.name;
    if let Some(around) = &context.inside_aggregate {
        refuse!(
            "[NESTED_AGGREGATE_FUNCTION] It is not allowed to use an aggregate function in the argument of another aggregate function: {name}() in {around}(). Use the inner one in a step before"
        );
    }
    if context.allows_aggregates {
        return Ok(());
    }
    match context.clause {
        Clause::Where => refuse!(
            "[INVALID_WHERE_CONDITION] The WHERE condition contains the aggregate function {name}(): it chooses rows, before there are groups; write HAVING"
        ),
        Clause::GroupBy => refuse!(
            "[GROUP_BY_AGGREGATE] Aggregate functions are not allowed in GROUP BY, but found {name}()"
        ),
        clause => refuse!(
            "[UNSUPPORTED_EXPR_FOR_OPERATOR] the aggregate function {name}() stands in {clause}, where there are no groups; use it in a SELECT, and its column here"
        ),
    }
}

/// What is counted of rows whose arguments are all there.
fn all_present(arguments: Vec<Expr>, is_distinct: bool) -> Result<Expr> {
    let present: Vec<Expr> = arguments.iter().cloned().map(Expr::is_not_null).collect();
    let present = operators::joined(present, Operator::And);
    let counted = match is_distinct {
        true => {
            let fields = arguments.into_iter().enumerate();
            let fields = fields.flat_map(|(place, value)| [lit(format!("c{place}")), value]);
            named_struct().call(fields.collect())
        }
        false => lit(1_i32),
    };
    Ok(when(present, counted).end()?)
}
