//! Expressions that mean something else in Spark than in DataFusion.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, TryCast, lit};

use crate::sql::{
    Operation, calculated, cast_to, check_aggregate, computes_with_doubles, extreme_of,
};

/// Makes a plan's expressions mean what they mean in Spark. Columns keep their names.
pub(crate) fn as_spark(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        let names = NamePreserver::new(&node);
        node.map_expressions(|expression| {
            let name = names.save(&expression);
            let spark = expression.transform_up(|e| rewritten(e, &schema))?;
            Ok(spark.update_data(|e| name.restore(e)))
        })
    })
    .map(|transformed| transformed.data)
}

fn is_no_condition(kind: Option<DataType>) -> bool {
    kind.is_some_and(|kind| !matches!(kind, DataType::Boolean | DataType::Null))
}

fn rewritten(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let type_of = |e: &Expr| e.get_type(schema).ok();
    let is_text = |e: &Expr| type_of(e).is_some_and(|kind| kind.is_string());
    if let Expr::AggregateFunction(AggregateFunction { func, params }) = &expression {
        check_aggregate(func.name(), &params.args)?;
        if let Some(filter) = &params.filter
            && is_no_condition(type_of(filter))
        {
            return plan_err!(
                "[INVALID_AGGREGATE_FILTER.NOT_BOOLEAN] The FILTER expression {filter} in an aggregate function is invalid. Expected the FILTER expression to be a boolean"
            );
        }
    }
    if let Expr::Case(case) = &expression
        && case.expr.is_none()
        && let Some((when, _)) =
            case.when_then_expr.iter().find(|(w, _)| is_no_condition(type_of(w)))
    {
        return plan_err!(
            "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {when} is a condition of CASE, if() or count_if() and has to be a BOOLEAN; write a comparison"
        );
    }
    Ok(match expression {
        Expr::Cast(Cast { expr, ref field }) | Expr::TryCast(TryCast { expr, ref field })
            if field.data_type().is_string()
                && type_of(&expr).is_some_and(|kind| kind.is_binary()) =>
        {
            Transformed::yes(cast_to(*expr, &DataType::Utf8))
        }
        // The least number has no positive counterpart.
        Expr::Negative(inner)
            if matches!(type_of(&inner), Some(DataType::Int32 | DataType::Int64)) =>
        {
            let from = type_of(&inner).unwrap_or(DataType::Int64);
            let zero = (lit(0_i64), DataType::Int64);
            match calculated(Operation::Subtract, zero, (inner.as_ref().clone(), from))? {
                Some(difference) => Transformed::yes(difference),
                None => Transformed::no(Expr::Negative(inner)),
            }
        }
        Expr::AggregateFunction(AggregateFunction { func, mut params })
            if computes_with_doubles(func.name()) && params.args.iter().any(is_text) =>
        {
            for argument in params.args.iter_mut().filter(|argument| is_text(argument)) {
                *argument = cast_to(argument.clone(), &DataType::Float64);
            }
            Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params }))
        }
        Expr::AggregateFunction(AggregateFunction { func, mut params })
            if ["min", "max"].contains(&func.name()) && params.args.len() == 1 =>
        {
            let kind = type_of(&params.args[0]).unwrap_or(DataType::Null);
            let other = extreme_of(func.name() == "max", &params.args[0], &kind);
            let is_other = other.is_some();
            let (func, args) = other.unwrap_or((func, std::mem::take(&mut params.args)));
            params.args = args;
            let call = Expr::AggregateFunction(AggregateFunction { func, params });
            if is_other { Transformed::yes(call) } else { Transformed::no(call) }
        }
        other => Transformed::no(other),
    })
}
