//! Calls of functions that Spark writes otherwise than DataFusion, and casts.

use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, Ident, NullTreatment,
    ObjectName, OrderByExpr, TimezoneInfo, TypedString, Value,
};

use super::cast::{CAST, TRY_CAST, is_of_type};
use super::grouping::window_function;
use super::patterns::to_chrono;
use super::times::PARSED_TIME;
use super::tree::{
    self, arguments, as_boolean, as_text, boolean, call, case_when, cast, is_not_null, joined,
    nested, not, quoted_call, set_arguments, text, whole,
};

/// Other names of functions.
const NAMES: [(&str, &str); 24] = [
    ("any", "bool_or"),
    ("any_value", "first_value"),
    ("array_agg", "collect_list"),
    ("every", "bool_and"),
    ("endswith", "ends_with"),
    ("first", "first_value"),
    ("ifnull", "coalesce"),
    ("last", "last_value"),
    ("lcase", "lower"),
    ("mean", "avg"),
    ("mod", "remainder"),
    ("nvl", "coalesce"),
    ("percentile_approx", "approx_percentile"),
    ("pmod", "positive_remainder"),
    ("some", "bool_or"),
    ("startswith", "starts_with"),
    ("std", "stddev"),
    ("stddev_samp", "stddev"),
    ("string_agg", "listagg"),
    ("try_mod", "try_remainder"),
    ("ucase", "upper"),
    ("var_samp", "var"),
    ("variance", "var"),
    ("approx_distinct", "approx_count_distinct"),
];

/// Functions that are casts, and the type that each casts to.
const CASTS: [(&str, &str); 14] = [
    ("bigint", "BIGINT"),
    ("binary", "BINARY"),
    ("boolean", "BOOLEAN"),
    ("double", "DOUBLE"),
    ("float", "FLOAT"),
    ("int", "INT"),
    ("smallint", "SMALLINT"),
    ("string", "STRING"),
    ("timestamp", "TIMESTAMP"),
    ("timestamp_seconds", "TIMESTAMP"),
    ("tinyint", "TINYINT"),
    ("to_date", "DATE"),
    ("to_timestamp", "TIMESTAMP"),
    ("unix_seconds", "BIGINT"),
];

/// Arithmetic that is called as a function.
const ARITHMETIC: [&str; 7] = [
    "positive_remainder",
    "remainder",
    "try_add",
    "try_divide",
    "try_multiply",
    "try_remainder",
    "try_subtract",
];

/// What a function of Spark is called here.
pub(super) fn name_here(name: &str) -> &str {
    listed(&NAMES, name).unwrap_or(name)
}

fn listed(list: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    list.iter().find(|(listed, _)| *listed == name).map(|(_, other)| *other)
}

/// Rewrites one expression, and not what is in it.
pub(super) fn rewrite(expr: &mut Expr) -> ControlFlow<DataFusionError> {
    let rewritten = match expr {
        Expr::Cast { .. } => rewritten_cast(expr),
        Expr::Function(function) => rewritten_call(function),
        Expr::CompoundFieldAccess { root, access_chain } => rewritten_access(root, access_chain),
        Expr::RLike { negated, expr, pattern, .. } => {
            let operands = vec![expr.as_ref().clone(), pattern.as_ref().clone()];
            let matches = Expr::Function(call("regexp_like", operands));
            Ok(Some(if *negated { not(matches) } else { matches }))
        }
        Expr::Like { any: true, expr, pattern, negated, escape_char: None } => {
            like_any(expr, pattern, *negated)
        }
        Expr::TypedString(typed) => typed_literal(typed).map(Some),
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

/// Fields of times that are functions of their own, and how `date_part` calls them.
const TIME_PARTS: [(&str, &str); 8] = [
    ("day", "day"),
    ("dayofmonth", "day"),
    ("dayofweek", "dow"),
    ("dayofyear", "doy"),
    ("month", "month"),
    ("quarter", "quarter"),
    ("weekofyear", "week"),
    ("year", "year"),
];

/// `DATE'…'` and `TIMESTAMP'…'`, which have a type of the zone that columns have.
fn typed_literal(typed: &TypedString) -> Result<Expr> {
    let Some(value) = as_text(&Expr::Value(typed.value.clone())).map(str::to_owned) else {
        return plan_err!("a literal of a type is a text");
    };
    let name = match &typed.data_type {
        DataType::Date => "DATE",
        DataType::Timestamp(None, TimezoneInfo::None) => "TIMESTAMP",
        _ => return Ok(Expr::TypedString(typed.clone())),
    };
    if !is_of_type(&value, name) {
        return plan_err!(
            "[INVALID_TYPED_LITERAL] The value of the typed literal \"{name}\" is invalid: '{value}'"
        );
    }
    Ok(cast(text(&value), name))
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

/// The literal pattern of a function, as DataFusion has it.
fn chrono_pattern(function: &str, pattern: &Expr) -> Result<Expr> {
    let Some(pattern) = as_text(pattern) else {
        return plan_err!("{function}(): the pattern has to be a text literal");
    };
    match to_chrono(pattern) {
        Ok(pattern) => Ok(text(&pattern)),
        Err(reason) => plan_err!("{function}(): the pattern: {reason}"),
    }
}

/// A whole number that is written out is an INT where it fits.
fn as_int(expr: Expr) -> Expr {
    let is_int = match &expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse::<i32>().is_ok(),
            _ => false,
        },
        _ => false,
    };
    if is_int { cast(expr, "INT") } else { expr }
}

fn rewritten_call(function: &mut Function) -> Result<Option<Expr>> {
    let mut name = function.name.to_string().to_ascii_lowercase();
    if let Some(other) = listed(&NAMES, &name) {
        other.clone_into(&mut name);
        function.name = ObjectName::from(vec![Ident::new(other)]);
    }
    let Some(mut args) = arguments(function) else {
        return Ok(None);
    };
    match (name.as_str(), args.as_slice()) {
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
        ("date_format", [time, pattern]) => {
            args = vec![cast(time.clone(), "TIMESTAMP"), chrono_pattern(&name, pattern)?];
            function.name = ObjectName::from(vec![Ident::new("to_char")]);
        }
        ("to_timestamp" | "to_date", [time, pattern]) => {
            let pattern = chrono_pattern(&name, pattern)?;
            let parsed = quoted_call(PARSED_TIME, vec![time.clone(), pattern]);
            return Ok(Some(if name == "to_date" { cast(parsed, "DATE") } else { parsed }));
        }
        ("size", [_]) => {
            let size = quoted_call("size", args);
            let absent = cast(whole(-1), "INT");
            return Ok(Some(Expr::Function(call("nullif", vec![size, absent]))));
        }
        ("regexp_replace", [_, _, _]) => args.push(text("g")),
        ("date_add" | "date_sub" | "add_months", [date, days]) => {
            let date = cast(date.clone(), "DATE");
            let days = as_int(days.clone());
            return Ok(Some(quoted_call(&name, vec![date, days])));
        }
        ("space", [count]) => {
            return Ok(Some(quoted_call("space", vec![cast(count.clone(), "INT")])));
        }
        ("sort_array", [_] | [_, _]) => {
            let descends =
                args.get(1).is_some_and(|ascending| as_boolean(ascending) == Some(false));
            let (order, nulls) =
                if descends { ("DESC", "NULLS LAST") } else { ("ASC", "NULLS FIRST") };
            args.truncate(1);
            args.extend([text(order), text(nulls)]);
            function.name = ObjectName::from(vec![Ident::new("array_sort")]);
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
            args = within_group(&name, args, &order)?;
        }
        ("from_json", [_, _, options]) => match flat_map(options) {
            Some(options) => {
                args.truncate(2);
                args.extend(options);
            }
            None => return Ok(None),
        },
        (arithmetic, [_, _]) if ARITHMETIC.contains(&arithmetic) => {
            args = args.into_iter().map(as_int).collect();
        }
        ("isnull", [value]) => return Ok(Some(Expr::IsNull(Box::new(value.clone())))),
        ("isnotnull", [value]) => return Ok(Some(Expr::IsNotNull(Box::new(value.clone())))),
        (other, [value]) => match (listed(&CASTS, other), listed(&TIME_PARTS, other)) {
            (Some(kind), _) => return Ok(Some(cast(value.clone(), kind))),
            (None, Some(part)) => {
                let parts = vec![text(part), cast(value.clone(), "DATE")];
                return Ok(Some(Expr::Function(call("date_part", parts))));
            }
            (None, None) => return Ok(None),
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
