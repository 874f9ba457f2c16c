//! Names in the parser's tree, and where things stand in the text.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Query, SetExpr,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::Result;
use crate::error::refuse;
use crate::spec::Position;

/// Where a span begins; the parser gives what it made up itself a span of zeros.
pub(super) fn of_span(span: Span) -> Option<Position> {
    let start = span.start;
    (start.line > 0).then_some(Position { line: start.line, column: start.column })
}

/// Where a name stands.
pub(super) fn of_name(name: &ObjectName) -> Option<Position> {
    name.0.first().and_then(ObjectNamePart::as_ident).and_then(|ident| of_span(ident.span))
}

/// Where a query begins.
pub(super) fn of_query(query: &Query) -> Option<Position> {
    let mut body = query.body.as_ref();
    loop {
        match body {
            SetExpr::Select(select) => return of_span(select.select_token.0.span),
            SetExpr::Query(query) => body = &query.body,
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return None,
        }
    }
}

/// Where an expression begins, where that is known.
pub(super) fn of_expression(expression: &Expr) -> Option<Position> {
    let mut rest = expression;
    loop {
        rest = match rest {
            Expr::Identifier(ident) => return of_span(ident.span),
            Expr::CompoundIdentifier(idents) => return of_span(idents.first()?.span),
            Expr::Value(value) => return of_span(value.span),
            Expr::TypedString(typed) => return of_span(typed.value.span),
            Expr::Case { case_token, .. } => return of_span(case_token.0.span),
            Expr::Exists { subquery, .. } | Expr::Subquery(subquery) => return of_query(subquery),
            Expr::Function(call) => match (of_name(&call.name), &call.args) {
                (None, FunctionArguments::List(list)) => match list.args.first()? {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(first)) => first,
                    _ => return None,
                },
                (at, _) => return at,
            },
            Expr::Tuple(values) | Expr::Struct { values, .. } => values.first()?,
            Expr::Array(array) => array.elem.first()?,
            Expr::Nested(inner)
            | Expr::UnaryOp { expr: inner, .. }
            | Expr::BinaryOp { left: inner, .. }
            | Expr::CompoundFieldAccess { root: inner, .. }
            | Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner)
            | Expr::IsDistinctFrom(inner, _)
            | Expr::IsNotDistinctFrom(inner, _)
            | Expr::InList { expr: inner, .. }
            | Expr::InSubquery { expr: inner, .. }
            | Expr::Between { expr: inner, .. }
            | Expr::Like { expr: inner, .. }
            | Expr::ILike { expr: inner, .. }
            | Expr::RLike { expr: inner, .. }
            | Expr::Cast { expr: inner, .. }
            | Expr::Extract { expr: inner, .. }
            | Expr::Position { expr: inner, .. }
            | Expr::Substring { expr: inner, .. }
            | Expr::Overlay { expr: inner, .. }
            | Expr::Named { expr: inner, .. } => inner,
            _ => return None,
        };
    }
}

/// A name without its quotes. Two of them in it are one.
pub(super) fn plain(ident: Ident) -> String {
    match ident.quote_style {
        Some('`') if ident.value.contains("``") => ident.value.replace("``", "`"),
        _ => ident.value,
    }
}

/// Names without their quotes.
pub(super) fn all_plain(idents: Vec<Ident>) -> Vec<String> {
    idents.into_iter().map(plain).collect()
}

/// The parts of a name without their quotes.
pub(super) fn parts(name: ObjectName) -> Result<Vec<String>> {
    let mut parts = Vec::with_capacity(name.0.len());
    for part in name.0 {
        match part {
            ObjectNamePart::Identifier(ident) => parts.push(plain(ident)),
            ObjectNamePart::Function(_) => refuse!("{part} is no name, and not supported as one"),
        }
    }
    Ok(parts)
}

/// A name as one text, its parts joined by points.
pub(super) fn joined(name: ObjectName) -> Result<String> {
    Ok(parts(name)?.join("."))
}
