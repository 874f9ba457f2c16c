//! Calls of aggregates.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::functions::core::named_struct;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::{AggregateUDF, Expr, Operator, lit, when};
use tidemill_functions::{
    Function, Shape, cast_to, check_aggregate, coerced_aggregate, extreme_of, find,
};

use super::calls::in_order;
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
    pub(super) arguments: Vec<Expr>,
    pub(super) filter: Option<Expr>,
    pub(super) nulls: Option<NullTreatment>,
}

/// The same aggregate, or one for the largest and smallest of values that DataFusion compares
/// otherwise than Spark.
pub(super) fn as_spark_compares(folded: Folded, context: &Context<'_>) -> Result<Folded> {
    let name = folded.function.name();
    let [argument] = folded.arguments.as_slice() else { return Ok(folded) };
    if !["min", "max"].contains(&name) {
        return Ok(folded);
    }
    let kind = context.type_of(argument)?;
    if tidemill_functions::contains_map(&kind) {
        refuse!(
            "[DATATYPE_MISMATCH.INVALID_ORDERING_TYPE] Cannot resolve {name}(): it does not support ordering on type \"{}\"",
            coercion::spelled(&kind)
        );
    }
    Ok(match extreme_of(name == "max", argument, &kind) {
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
        if matches!(function.name, "grouping" | "grouping_id") {
            return self.grouping(call, function, context);
        }
        let folded = self.folded(call, function, context, true)?;
        let Folded { function: folded, arguments, filter, nulls } =
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
        let mut nulls = null_treatment(call);
        let filter = match &call.filter {
            None => None,
            Some(filter) => {
                let resolved = self.expression(filter, context)?;
                let kind = context.type_of(&resolved)?;
                let Some(condition) = operators::as_condition(resolved, &kind) else {
                    refuse!(
                        "[INVALID_AGGREGATE_FILTER.NOT_BOOLEAN] The FILTER expression \"{}\" in an aggregate function is invalid. Expected the FILTER expression to be a boolean, and it has the type \"{}\"",
                        naming::text(filter),
                        coercion::spelled(&kind)
                    );
                };
                Some(condition)
            }
        };
        let mut values = in_order(call, function)?;
        let mut name = function.name;
        if matches!(name, "first_value" | "last_value")
            && let [_, ignores] = values.as_slice()
        {
            match ignores {
                Expression::Literal(Literal::Boolean(ignores)) => {
                    if *ignores {
                        nulls = Some(NullTreatment::IgnoreNulls);
                    }
                }
                _ => refuse!("The second argument in {name} should be a boolean literal."),
            }
            values.truncate(1);
        }
        // Of the most frequent values, the smallest: which is what `true` asks for.
        if name == "mode"
            && matches!(values.as_slice(), [_, Expression::Literal(Literal::Boolean(_))])
        {
            values.truncate(1);
        }
        let has_star = values.iter().any(|value| matches!(value, Expression::Star { .. }));
        if has_star && name != "count" {
            refuse!(
                "[INVALID_USAGE_OF_STAR_OR_REGEX] Invalid usage of '*' in {name}(); count(*) counts rows"
            );
        }
        let mut arguments = Vec::with_capacity(values.len());
        for value in &values {
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
        if !call.within_group.is_empty() {
            arguments = self.within_group(name, arguments, &call.within_group, context)?;
        }
        (name, arguments) = match (name, arguments.len()) {
            ("count", 0) => refuse!(
                "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] The `count` requires >= 1 parameters; write count(*)"
            ),
            ("count", 2..) => ("count", vec![all_present(arguments, call.is_distinct)?]),
            ("count_if", 1) => {
                let condition = arguments.remove(0);
                let kind = context.type_of(&condition)?;
                let Some(condition) = operators::as_condition(condition, &kind) else {
                    refuse!(
                        "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] count_if(): the first parameter requires the \"BOOLEAN\" type, and has the type \"{}\"; write a comparison",
                        coercion::spelled(&kind)
                    );
                };
                ("count", vec![when(condition, lit(1_i32)).end()?])
            }
            ("regr_count", 2) => ("count", vec![all_present(arguments, false)?]),
            ("regr_avgx", 2) => {
                let (other, value) = (arguments.remove(0), arguments.remove(0));
                ("avg", vec![when(other.is_not_null(), value).end()?])
            }
            ("regr_avgy", 2) => {
                let (value, other) = (arguments.remove(0), arguments.remove(0));
                ("avg", vec![when(other.is_not_null(), value).end()?])
            }
            (name, _) => (name, arguments),
        };
        check_aggregate(name, &arguments)?;
        let typed = arguments.iter().map(|argument| context.typed(argument.clone()));
        let typed: Vec<(Expr, DataType)> = typed.collect::<Result<_>>()?;
        if let Some(cast) = coerced_aggregate(name, typed)? {
            arguments = cast;
        }
        let Some(Function { shape: Shape::Aggregate(make), .. }) = find(name) else {
            refuse!("{name}() is no aggregate");
        };
        Ok(Folded { function: make(), arguments, filter, nulls })
    }

    /// `WITHIN GROUP (ORDER BY …)` as arguments. Nulls are first, or last where the order descends.
    fn within_group(
        &mut self,
        name: &str,
        mut arguments: Vec<Expr>,
        order: &[SortOrder],
        context: &mut Context<'_>,
    ) -> Result<Vec<Expr>> {
        if !["mode", "percentile_cont", "percentile_disc", "listagg"].contains(&name) {
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
        if name != "listagg" {
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
        let values = in_order(call, function)?;
        let arguments = match values.as_slice() {
            [] if function.name == "grouping_id" => groups.clone(),
            values => {
                let read = self.expressions(values.iter().copied(), context)?.into_iter();
                let items = context.aliases.items();
                read.map(|value| written_out(value, items, context.clause))
                    .collect::<Result<_>>()?
            }
        };
        if function.name == "grouping_id" && arguments != groups {
            refuse!(
                "[GROUPING_ID_COLUMN_MISMATCH] Columns of grouping_id() do not match grouping columns; name all that is grouped by, in order, or none"
            );
        }
        check_grouped(&arguments, &groups, function.name)?;
        let kind = if function.name == "grouping" { DataType::Int8 } else { DataType::Int64 };
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
        "WHERE" => refuse!(
            "[INVALID_WHERE_CONDITION] The WHERE condition contains the aggregate function {name}(): it chooses rows, before there are groups; write HAVING"
        ),
        "GROUP BY" => refuse!(
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
