//! Calls of functions that Spark writes otherwise than DataFusion, and casts.

use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DataType, Expr, Function, Ident,
    NullTreatment, ObjectName, OrderByExpr, TimezoneInfo, TypedString, UnaryOperator, Value,
    ValueWithSpan,
};

use tidemill_functions::{CAST, SORTED_BY, TRY_CAST, find, is_of_type};

use super::grouping::window_function;
use super::tree::{
    self, arguments, as_boolean, as_text, boolean, call, case_when, cast, is_not_null, joined,
    nested, not, quoted_call, set_arguments, text, whole,
};

/// Rewrites one expression, and not what is in it.
pub(super) fn rewrite(expr: &mut Expr) -> ControlFlow<DataFusionError> {
    let rewritten = match expr {
        Expr::Cast { .. } => rewritten_cast(expr),
        Expr::Function(function) => rewritten_call(function),
        Expr::CompoundFieldAccess { root, access_chain } => rewritten_access(root, access_chain),
        Expr::RLike { negated, expr, pattern, .. } => {
            let operands = vec![expr.as_ref().clone(), pattern.as_ref().clone()];
            let matches = Expr::Function(call("rlike", operands));
            Ok(Some(if *negated { not(matches) } else { matches }))
        }
        Expr::Like { any: true, expr, pattern, negated, escape_char: None } => {
            like_any(expr, pattern, *negated)
        }
        Expr::Like { any: false, expr, pattern, negated, escape_char: Some(escape) } => {
            Ok(Some(escaped("like", expr, pattern, escape, *negated)))
        }
        Expr::ILike { any: false, expr, pattern, negated, escape_char: Some(escape) } => {
            Ok(Some(escaped("ilike", expr, pattern, escape, *negated)))
        }
        Expr::Ceil { expr, field: CeilFloorKind::Scale(digits) } => {
            let operands = vec![expr.as_ref().clone(), Expr::Value(digits.clone())];
            Ok(Some(Expr::Function(call("ceil", operands))))
        }
        Expr::Floor { expr, field: CeilFloorKind::Scale(digits) } => {
            let operands = vec![expr.as_ref().clone(), Expr::Value(digits.clone())];
            Ok(Some(Expr::Function(call("floor", operands))))
        }
        Expr::TypedString(typed) => typed_literal(typed).map(Some),
        Expr::UnaryOp { op: UnaryOperator::BangNot, expr } => Ok(Some(not(expr.as_ref().clone()))),
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => {
            Ok(Some(quoted_call("~", vec![expr.as_ref().clone()])))
        }
        // Such a number is a DOUBLE; without an exponent it is a DECIMAL.
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) if number.contains(['e', 'E']) => {
                Ok(Some(cast(text(number), "DOUBLE")))
            }
            _ => Ok(None),
        },
        _ => Ok(None),
    };
    match rewritten {
        Ok(None) => ControlFlow::Continue(()),
        Ok(Some(rewritten)) => {
            *expr = rewritten;
            ControlFlow::Continue(())
        }
        Err(error) => ControlFlow::Break(error),
    }
}

/// `DATE'…'` and `TIMESTAMP'…'`, which have a type of the zone that columns have.
fn typed_literal(typed: &TypedString) -> Result<Expr> {
    let Some(value) = as_text(&Expr::Value(typed.value.clone())).map(str::to_owned) else {
        return plan_err!("a literal of a type is a text");
    };
    let name = match &typed.data_type {
        DataType::Date => "DATE",
        DataType::Timestamp(None, TimezoneInfo::None) => "TIMESTAMP",
        DataType::TimestampNtz(None) => "TIMESTAMP_NTZ",
        DataType::TinyInt(None)
        | DataType::SmallInt(None)
        | DataType::BigInt(None)
        | DataType::Float(_)
        | DataType::Double(_)
        | DataType::Decimal(_) => return typed_number(&value, &typed.data_type.to_string()),
        _ => return Ok(Expr::TypedString(typed.clone())),
    };
    if !is_of_type(&value, name) {
        return plan_err!(
            "[INVALID_TYPED_LITERAL] The value of the typed literal \"{name}\" is invalid: '{value}'"
        );
    }
    Ok(cast(text(&value), name))
}

/// A number with the letter of its type.
fn typed_number(value: &str, name: &str) -> Result<Expr> {
    if !is_of_type(value, name) {
        return plan_err!(
            "[INVALID_NUMERIC_LITERAL_RANGE] Numeric literal {value} is outside the valid range for {}; write it without its letter, or cast it",
            name.to_lowercase()
        );
    }
    Ok(cast(text(value), name))
}

/// `CAST(x AS T)` is a call, so that two casts of a column have two names, and fail as in Spark.
fn rewritten_cast(expr: &Expr) -> Result<Option<Expr>> {
    let Expr::Cast { kind, expr, data_type, format: None, .. } = expr else {
        return Ok(None);
    };
    let type_name = data_type.to_string();
    if tidemill_types::parse_type(&type_name).is_err() {
        return Ok(None);
    }
    let function = match kind {
        CastKind::TryCast | CastKind::SafeCast => TRY_CAST,
        _ => CAST,
    };
    let arguments = vec![expr.as_ref().clone(), text(&type_name)];
    Ok(Some(Expr::Function(call(function, arguments))))
}

/// `value LIKE pattern ESCAPE 'c'`
fn escaped(
    name: &str,
    value: &Expr,
    pattern: &Expr,
    escape: &ValueWithSpan,
    negated: bool,
) -> Expr {
    let operands = vec![value.clone(), pattern.clone(), Expr::Value(escape.clone())];
    let matches = Expr::Function(call(name, operands));
    if negated { not(matches) } else { matches }
}

/// `LIKE ANY (…)` is a LIKE for each pattern.
fn like_any(value: &Expr, patterns: &Expr, negated: bool) -> Result<Option<Expr>> {
    let patterns = match patterns {
        Expr::Tuple(patterns) => patterns.as_slice(),
        Expr::Nested(pattern) => std::slice::from_ref(pattern.as_ref()),
        _ => return Ok(None),
    };
    let like = |pattern: &Expr| Expr::Like {
        negated,
        any: false,
        expr: Box::new(value.clone()),
        pattern: Box::new(pattern.clone()),
        escape_char: None,
    };
    let each = patterns.iter().map(like).collect();
    Ok(joined(each, &BinaryOperator::Or).map(|any| *nested(any)))
}

/// Fields of what a function gives, such as `window(…).start`.
fn rewritten_access(root: &Expr, access_chain: &[AccessExpr]) -> Result<Option<Expr>> {
    if !matches!(root, Expr::Function(_)) {
        return Ok(None);
    }
    let mut value = root.clone();
    for access in access_chain {
        let AccessExpr::Dot(Expr::Identifier(field)) = access else {
            return Ok(None);
        };
        value = match window_function(root) {
            Some(_) => tree::field(value, &field.value.to_ascii_lowercase()),
            None => tree::field(value, &field.value),
        };
    }
    Ok(Some(value))
}

fn rewritten_call(function: &mut Function) -> Result<Option<Expr>> {
    let written = function.name.to_string().to_ascii_lowercase();
    let name = find(&written).filter(|f| f.is_aggregate()).map_or(written.as_str(), |f| f.name);
    if name != written {
        function.name = ObjectName::from(vec![Ident::new(name)]);
    }
    let Some(mut args) = arguments(function) else {
        return Ok(None);
    };
    match (name, args.as_slice()) {
        (
            "timestampadd" | "timestampdiff" | "date_add" | "dateadd" | "date_diff" | "datediff",
            [Expr::Identifier(unit), from, to],
        ) => args = vec![text(&unit.value), from.clone(), to.clone()],
        ("array_sort", [_, Expr::Lambda(_)]) => {
            function.name = ObjectName::from(vec![Ident::new(SORTED_BY)]);
        }
        ("first_value" | "last_value", [_, ignores_nulls]) => {
            let Some(ignores_nulls) = as_boolean(ignores_nulls) else {
                return plan_err!("The second argument in {name} should be a boolean literal.");
            };
            if ignores_nulls {
                function.null_treatment = Some(NullTreatment::IgnoreNulls);
            }
            args.truncate(1);
        }
        ("count_if", [condition]) => {
            args = vec![case_when(condition.clone(), whole(1))];
            function.name = ObjectName::from(vec![Ident::new("count")]);
        }
        ("count", []) => {
            return plan_err!(
                "[WRONG_NUM_ARGS] The `count` requires >= 1 parameters; write count(*)"
            );
        }
        ("count" | "regr_count", [_, _, ..]) => {
            let present = args.into_iter().map(is_not_null).collect();
            args = joined(present, &BinaryOperator::And)
                .map(|present| case_when(present, whole(1)))
                .into_iter()
                .collect();
            function.name = ObjectName::from(vec![Ident::new("count")]);
        }
        ("regr_avgx", [other, value]) | ("regr_avgy", [value, other]) => {
            args = vec![case_when(is_not_null(other.clone()), value.clone())];
            function.name = ObjectName::from(vec![Ident::new("avg")]);
        }
        // Of the most frequent values, the smallest: which is what `true` asks for.
        ("mode", [_, deterministic]) if as_boolean(deterministic).is_some() => args.truncate(1),
        ("mode" | "percentile_cont" | "percentile_disc" | "listagg", _)
            if !function.within_group.is_empty() =>
        {
            let order = std::mem::take(&mut function.within_group);
            args = within_group(name, args, &order)?;
        }
        ("from_json", [_, _, options]) => match flat_map(options) {
            Some(options) => {
                args.truncate(2);
                args.extend(options);
            }
            None => return Ok(None),
        },
        _ => return Ok(None),
    }
    set_arguments(function, args);
    Ok(None)
}

/// The keys and values of `map('key', 'value', …)`.
fn flat_map(options: &Expr) -> Option<Vec<Expr>> {
    match options {
        Expr::Function(map) if map.name.to_string().eq_ignore_ascii_case("map") => arguments(map),
        _ => None,
    }
}

/// `WITHIN GROUP (ORDER BY …)` as arguments. Nulls are first, or last where the order descends.
fn within_group(name: &str, mut args: Vec<Expr>, order: &[OrderByExpr]) -> Result<Vec<Expr>> {
    let [order] = order else {
        return plan_err!("{name}(): WITHIN GROUP takes one ORDER BY expression");
    };
    let descending = order.options.asc == Some(false);
    if order.options.nulls_first.is_some_and(|first| first == descending) {
        return plan_err!(
            "{name}(): NULLS FIRST and NULLS LAST are as Spark has them by default, and others are not supported yet"
        );
    }
    let value = order.expr.clone();
    if name != "listagg" {
        args.insert(0, value);
        args.push(boolean(descending));
        return Ok(args);
    }
    if args.len() == 1 {
        args.push(text(""));
    }
    args.extend([value, boolean(descending)]);
    Ok(args)
}
