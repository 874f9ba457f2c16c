//! The names that Spark gives to columns without an alias: the text of their expressions.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Subscript, UnaryOperator, Value,
};

use tidemill_functions::{Shape, find};

use super::grouping::window_function;
use super::lambdas;
use super::names::Names;

/// How Spark spells a variable of a lambda.
const VARIABLE: &str = "namedlambdavariable()";

/// The text by which Spark names an expression; where it is not known, the text as it was written.
pub(super) fn text(expr: &Expr, names: &Names) -> String {
    let all =
        |exprs: &[Expr]| exprs.iter().map(|expr| text(expr, names)).collect::<Vec<_>>().join(", ");
    let negated =
        |negated: bool, text: String| if negated { format!("(NOT {text})") } else { text };
    let of = |expr: &Expr| text(expr, names);
    match expr {
        Expr::Identifier(ident) if lambdas::is_variable(&ident.value) => VARIABLE.to_owned(),
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::Lambda(lambda) => {
            let variables = lambda.params.iter().map(|_| VARIABLE).collect::<Vec<_>>().join(", ");
            format!("lambdafunction({}, {variables})", of(&lambda.body))
        }
        Expr::CompoundIdentifier(idents) => {
            let is_table = idents.first().is_some_and(|first| !names.has_column(&first.value));
            let parts: Vec<&str> =
                idents.iter().skip(usize::from(is_table)).map(|i| i.value.as_str()).collect();
            parts.join(".")
        }
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            Value::Null => "NULL".to_owned(),
            other => other.to_string(),
        },
        Expr::TypedString(typed) if is_number(&typed.data_type) => {
            typed.value.value.clone().into_string().unwrap_or_default()
        }
        Expr::Nested(inner) => of(inner),
        Expr::BinaryOp { left, op, right } => {
            let (left, right) = (of(left), of(right));
            match op {
                BinaryOperator::NotEq => format!("(NOT ({left} = {right}))"),
                BinaryOperator::StringConcat => format!("concat({left}, {right})"),
                BinaryOperator::Spaceship => format!("({left} <=> {right})"),
                BinaryOperator::MyIntegerDivide => format!("({left} div {right})"),
                other => format!("({left} {other} {right})"),
            }
        }
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match of(expr) {
            number if matches!(expr.as_ref(), Expr::Value(_)) => format!("-{number}"),
            other => format!("(- {other})"),
        },
        Expr::UnaryOp { op: UnaryOperator::Not | UnaryOperator::BangNot, expr } => {
            format!("(NOT {})", of(expr))
        }
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => format!("~{}", of(expr)),
        Expr::IsNull(inner) => format!("({} IS NULL)", of(inner)),
        Expr::IsNotNull(inner) => format!("({} IS NOT NULL)", of(inner)),
        Expr::Between { expr, negated: not, low, high } => {
            negated(*not, format!("between({}, {}, {})", of(expr), of(low), of(high)))
        }
        Expr::InList { expr, list, negated: not } => {
            negated(*not, format!("({} IN ({}))", of(expr), all(list)))
        }
        Expr::Like { negated: not, any: false, expr, pattern, escape_char: None } => {
            negated(*not, format!("{} LIKE {}", of(expr), of(pattern)))
        }
        Expr::RLike { negated: not, expr, pattern, .. } => {
            negated(*not, format!("RLIKE({}, {})", of(expr), of(pattern)))
        }
        Expr::ILike { negated: not, any: false, expr, pattern, escape_char: None } => {
            negated(*not, format!("ilike({}, {})", of(expr), of(pattern)))
        }
        Expr::Case { operand, conditions, else_result, .. } => {
            let mut text = "CASE".to_owned();
            for when in conditions {
                let condition = match operand {
                    Some(operand) => format!("({} = {})", of(operand), of(&when.condition)),
                    None => of(&when.condition),
                };
                text += &format!(" WHEN {condition} THEN {}", of(&when.result));
            }
            if let Some(otherwise) = else_result {
                text += &format!(" ELSE {}", of(otherwise));
            }
            text + " END"
        }
        Expr::Cast { kind, expr, data_type, .. } => {
            let function = if *kind == CastKind::TryCast { "TRY_CAST" } else { "CAST" };
            format!("{function}({} AS {data_type})", of(expr))
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            // A field of a window is named like one of the column that the window becomes.
            let mut text = window_function(root).map_or_else(|| of(root), str::to_owned);
            for access in access_chain {
                match access {
                    AccessExpr::Dot(field) => text += &format!(".{}", of(field)),
                    AccessExpr::Subscript(Subscript::Index { index }) => {
                        text += &format!("[{}]", of(index));
                    }
                    AccessExpr::Subscript(_) => return expr.to_string(),
                }
            }
            text
        }
        Expr::Function(function) => call(function, names),
        other => other.to_string(),
    }
}

/// The name of a column: that of a column under a cast, or the text.
pub(super) fn column(expr: &Expr, names: &Names) -> String {
    match expr {
        Expr::Cast { expr: inner, .. } => match inner.as_ref() {
            Expr::Identifier(ident) => ident.value.clone(),
            Expr::CompoundIdentifier(idents) => {
                idents.last().map(|ident| ident.value.clone()).unwrap_or_default()
            }
            _ => text(expr, names),
        },
        Expr::Function(call) => match generator(call) {
            Some(name) => name.to_owned(),
            None => text(expr, names),
        },
        _ => text(expr, names),
    }
}

/// Whether a text of that type is how a number with a letter is read.
fn is_number(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::TinyInt(None)
            | DataType::SmallInt(None)
            | DataType::BigInt(None)
            | DataType::Float(_)
            | DataType::Double(_)
            | DataType::Decimal(_)
    )
}

/// The name of a generator's column, or of its columns until they are taken apart.
fn generator(call: &Function) -> Option<&'static str> {
    let function = find(&call.name.to_string())?;
    matches!(function.shape, Shape::Generator(_)).then(|| match function.name {
        "explode" | "explode_outer" => "col",
        other => other,
    })
}

fn call(function: &Function, names: &Names) -> String {
    let name = function.name.to_string().to_ascii_lowercase();
    let FunctionArguments::List(list) = &function.args else {
        return function.to_string();
    };
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => text(expr, names),
        // That is what `count(*)` counts.
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => "1".to_owned(),
        other => other.to_string(),
    };
    let mut arguments: Vec<String> = list.args.iter().map(argument).collect();
    let distinct = list.duplicate_treatment.map(|d| format!("{d} ")).unwrap_or_default();
    if let Some(first) = arguments.first_mut() {
        *first = format!("{distinct}{first}");
    }
    let mut call = match find(&name).and_then(|function| function.spelled) {
        Some(spelled) => spelled(&name, arguments),
        None => format!("{name}({})", arguments.join(", ")),
    };
    if let [order] = function.within_group.as_slice() {
        let direction = if order.options.asc == Some(false) { " DESC" } else { "" };
        call += &format!(" WITHIN GROUP (ORDER BY {}{direction})", text(&order.expr, names));
    }
    if let Some(filter) = &function.filter {
        call += &format!(" FILTER (WHERE {})", text(filter, names));
    }
    call
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::super::parse::parse_expr;
    use super::*;

    #[test]
    fn columns_are_named_as_spark_names_them() {
        for (sql, name) in [
            ("v + 1", "(v + 1)"),
            ("v * 2 - 1", "((v * 2) - 1)"),
            ("v > 1 and not b", "((v > 1) AND (NOT b))"),
            ("v between 1 and 2", "between(v, 1, 2)"),
            ("case v when 1 then 'a' else 'b' end", "CASE WHEN (v = 1) THEN a ELSE b END"),
            ("cast(v as string)", "v"),
            ("cast(v + 1 as bigint)", "CAST((v + 1) AS BIGINT)"),
            ("arr[0]", "arr[0]"),
            ("COUNT(*) filter (where t.v > 1)", "count(1) FILTER (WHERE (v > 1))"),
            ("avg(cast(v as double))", "avg(CAST(v AS DOUBLE))"),
            ("first(v, true)", "first(v)"),
            ("percentile(v, 0.5)", "percentile(v, 0.5, 1)"),
            ("array_agg(v)", "collect_list(v)"),
            ("v div 2 + 1", "((v div 2) + 1)"),
        ] {
            let expr = parse_expr(sql).unwrap();
            assert_eq!(column(&expr, &Names::default()), name, "{sql}");
        }
    }
}
