//! Expressions. Operators are calls, whose name is their sign.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType,
    DateTimeField, Expr, LambdaFunction, Map, OneOrManyWithParens, Subscript, UnaryOperator,
    ValueWithSpan,
};

use super::Conversion;
use super::literal;
use super::parse::ALL_COLUMNS;
use super::position::{all_plain, of_expression, of_name, of_query, of_span, parts, plain};
use crate::error::refuse;
use crate::spec::{Branch, Call, Expression, Literal, Sign, Subquery};
use crate::{Error, Result};

impl Conversion<'_> {
    /// All of them, in their order.
    pub(super) fn expressions(&mut self, all: Vec<Expr>) -> Result<Vec<Expression>> {
        all.into_iter().map(|expr| self.expression(expr)).collect()
    }

    /// One expression. It only finds out what it is, so that little stands on the stack for each
    /// that is around another one.
    pub(super) fn expression(&mut self, expr: Expr) -> Result<Expression> {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => Ok(attribute(expr)),
            Expr::Nested(inner) => self.expression(*inner),
            Expr::Value(value) => literal::value(value.value),
            Expr::TypedString(typed) => literal::typed(typed),
            Expr::Interval(interval) => literal::interval(interval),
            Expr::Function(function) => self.function(function),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::UnaryOp { op, expr } => self.unary(op, *expr),
            Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..) => self.is(expr),
            Expr::InList { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::RLike { .. } => self.predicate(expr),
            Expr::InSubquery { .. } | Expr::Exists { .. } | Expr::Subquery(_) => {
                self.subquery(expr)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand, conditions, else_result)
            }
            Expr::Cast { .. } => self.cast(expr),
            Expr::Lambda(lambda) => self.lambda(lambda),
            Expr::CompoundFieldAccess { root, access_chain } => self.access(*root, access_chain),
            Expr::Tuple(values) => Ok(Expression::Tuple(self.expressions(values)?)),
            Expr::Named { expr, name } => {
                let value = Box::new(self.expression(*expr)?);
                Ok(Expression::Alias { value, names: vec![plain(name)] })
            }
            Expr::Array(array) => self.call_of("array", array.elem),
            Expr::Wildcard(token) => {
                let at = of_span(token.0.span);
                Ok(Expression::Star { qualifier: Vec::new(), except: Vec::new(), at })
            }
            Expr::QualifiedWildcard(name, _) => {
                let at = of_name(&name);
                Ok(Expression::Star { qualifier: parts(name)?, except: Vec::new(), at })
            }
            other => self.call_of_words(other),
        }
    }

    /// Calls that are written with words between their arguments.
    fn call_of_words(&mut self, expr: Expr) -> Result<Expression> {
        let (name, operands) = match expr {
            Expr::Extract { field, expr, .. } => {
                let at = of_expression(&expr);
                let field = Expression::Literal(Literal::String(field.to_string()));
                let operands = vec![field, self.expression(*expr)?];
                return Ok(Expression::Call(Box::new(Call::new("extract", operands, at))));
            }
            Expr::Position { expr, r#in } => ("locate", vec![*expr, *r#in]),
            Expr::Substring { expr, substring_from, substring_for, shorthand, .. } => {
                let bounds = [substring_from, substring_for];
                let bounds = bounds.into_iter().flatten().map(|bound| *bound);
                let name = if shorthand { "substr" } else { "substring" };
                (name, std::iter::once(*expr).chain(bounds).collect())
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let others = [Some(overlay_what), Some(overlay_from), overlay_for];
                let others = others.into_iter().flatten().map(|other| *other);
                ("overlay", std::iter::once(*expr).chain(others).collect())
            }
            Expr::Ceil { expr, field } => ("ceil", rounded(*expr, field)?),
            Expr::Floor { expr, field } => ("floor", rounded(*expr, field)?),
            Expr::Struct { values, fields } => {
                if !fields.is_empty() {
                    refuse!("struct<…>(…) is no Spark SQL; write struct(value AS name, …)");
                }
                ("struct", values.into_iter().map(or_all_columns).collect())
            }
            Expr::Map(Map { entries }) => {
                let pairs = entries.into_iter().flat_map(|entry| [*entry.key, *entry.value]);
                ("map", pairs.collect())
            }
            other => return unknown(&other),
        };
        self.call_of(name, operands)
    }

    fn binary(
        &mut self,
        left: Box<Expr>,
        op: BinaryOperator,
        right: Box<Expr>,
    ) -> Result<Expression> {
        let sign = match op {
            BinaryOperator::And | BinaryOperator::Or => return self.chain(left, op, right),
            BinaryOperator::Plus => Sign::Plus,
            BinaryOperator::Minus => Sign::Minus,
            BinaryOperator::Multiply => Sign::Times,
            BinaryOperator::Divide => Sign::Divide,
            BinaryOperator::MyIntegerDivide => Sign::DivideWhole,
            BinaryOperator::Modulo => Sign::Remainder,
            BinaryOperator::StringConcat => Sign::Concat,
            BinaryOperator::Eq => Sign::Equal,
            BinaryOperator::NotEq => Sign::NotEqual,
            BinaryOperator::Lt => Sign::Less,
            BinaryOperator::LtEq => Sign::LessOrEqual,
            BinaryOperator::Gt => Sign::Greater,
            BinaryOperator::GtEq => Sign::GreaterOrEqual,
            BinaryOperator::Spaceship => Sign::Same,
            BinaryOperator::BitwiseAnd => Sign::BitAnd,
            BinaryOperator::BitwiseOr => Sign::BitOr,
            BinaryOperator::BitwiseXor => Sign::BitXor,
            other => refuse!("the operator {other} is not supported"),
        };
        self.call_of(sign.name(), vec![*left, *right])
    }

    /// `a AND b AND c` is one call. The parser's tree goes deep on its left side, along which this
    /// goes in a loop.
    fn chain(
        &mut self,
        left: Box<Expr>,
        op: BinaryOperator,
        right: Box<Expr>,
    ) -> Result<Expression> {
        let sign = if op == BinaryOperator::And { Sign::And } else { Sign::Or };
        let mut terms = vec![*right];
        let mut rest = *left;
        loop {
            match rest {
                Expr::BinaryOp { left, op: other, right } if other == op => {
                    terms.push(*right);
                    rest = *left;
                }
                Expr::Nested(inner) => rest = *inner,
                first => {
                    terms.push(first);
                    break;
                }
            }
        }
        terms.reverse();
        self.call_of(sign.name(), terms)
    }

    fn unary(&mut self, op: UnaryOperator, operand: Expr) -> Result<Expression> {
        let sign = match op {
            UnaryOperator::Minus => Sign::Minus,
            UnaryOperator::Plus => Sign::Plus,
            UnaryOperator::BitwiseNot => Sign::BitNot,
            UnaryOperator::Not | UnaryOperator::BangNot => Sign::Not,
            other => refuse!("the operator {other} is not supported"),
        };
        self.call_of(sign.name(), vec![operand])
    }

    /// IS and its words.
    fn is(&mut self, expr: Expr) -> Result<Expression> {
        let truth = |value| Expr::value(datafusion::sql::sqlparser::ast::Value::Boolean(value));
        let (name, operands, is_negated) = match expr {
            Expr::IsNull(value) | Expr::IsUnknown(value) => ("isnull", vec![*value], false),
            Expr::IsNotNull(value) | Expr::IsNotUnknown(value) => {
                ("isnotnull", vec![*value], false)
            }
            Expr::IsTrue(value) => (Sign::Same.name(), vec![*value, truth(true)], false),
            Expr::IsNotTrue(value) => (Sign::Same.name(), vec![*value, truth(true)], true),
            Expr::IsFalse(value) => (Sign::Same.name(), vec![*value, truth(false)], false),
            Expr::IsNotFalse(value) => (Sign::Same.name(), vec![*value, truth(false)], true),
            Expr::IsDistinctFrom(left, right) => (Sign::Same.name(), vec![*left, *right], true),
            Expr::IsNotDistinctFrom(left, right) => (Sign::Same.name(), vec![*left, *right], false),
            other => return unknown(&other),
        };
        Ok(negated(is_negated, self.call_of(name, operands)?))
    }

    /// IN a list, BETWEEN, and the likes of LIKE.
    fn predicate(&mut self, expr: Expr) -> Result<Expression> {
        let (name, operands, is_negated) = match expr {
            Expr::InList { expr, list, negated } => {
                (Sign::In.name(), std::iter::once(*expr).chain(list).collect(), negated)
            }
            Expr::Between { expr, negated, low, high } => {
                (Sign::Between.name(), vec![*expr, *low, *high], negated)
            }
            Expr::RLike { negated, expr, pattern, .. } => ("rlike", vec![*expr, *pattern], negated),
            Expr::Like { any: false, negated, expr, pattern, escape_char } => {
                (Sign::Like.name(), like(*expr, *pattern, escape_char), negated)
            }
            Expr::ILike { any: false, negated, expr, pattern, escape_char } => {
                (Sign::ILike.name(), like(*expr, *pattern, escape_char), negated)
            }
            other => return unknown(&other),
        };
        Ok(negated(is_negated, self.call_of(name, operands)?))
    }

    fn subquery(&mut self, expr: Expr) -> Result<Expression> {
        let (kind, query, is_negated) = match expr {
            Expr::Subquery(query) => (Subquery::Scalar, query, false),
            Expr::Exists { subquery, negated } => (Subquery::Exists, subquery, negated),
            Expr::InSubquery { expr, subquery, negated } => {
                let values = match *expr {
                    Expr::Tuple(values) => self.expressions(values)?,
                    one => vec![self.expression(one)?],
                };
                (Subquery::In(values), subquery, negated)
            }
            other => return unknown(&other),
        };
        let at = of_query(&query);
        let query = Box::new(self.query(*query)?);
        Ok(negated(is_negated, Expression::Subquery { kind, query, at }))
    }

    fn case(
        &mut self,
        operand: Option<Box<Expr>>,
        conditions: Vec<CaseWhen>,
        otherwise: Option<Box<Expr>>,
    ) -> Result<Expression> {
        let operand = self.optional(operand)?;
        let mut branches = Vec::with_capacity(conditions.len());
        for CaseWhen { condition, result } in conditions {
            let condition = self.expression(condition)?;
            branches.push(Branch { condition, result: self.expression(result)? });
        }
        Ok(Expression::Case { operand, branches, otherwise: self.optional(otherwise)? })
    }

    fn optional(&mut self, expr: Option<Box<Expr>>) -> Result<Option<Box<Expression>>> {
        expr.map(|expr| self.expression(*expr).map(Box::new)).transpose()
    }

    fn cast(&mut self, expr: Expr) -> Result<Expression> {
        let Expr::Cast { kind, expr, data_type, array, format } = expr else {
            return unknown(&expr);
        };
        if array || format.is_some() {
            refuse!("CAST with FORMAT or ARRAY is not supported; write to_date() or date_format()");
        }
        let at = of_expression(&expr);
        Ok(Expression::Cast {
            kind: known_type(&data_type).map_err(|error| error.or_at(at))?,
            value: Box::new(self.expression(*expr)?),
            is_try: matches!(kind, CastKind::TryCast | CastKind::SafeCast),
            at,
        })
    }

    fn lambda(&mut self, lambda: LambdaFunction) -> Result<Expression> {
        let parameters = match lambda.params {
            OneOrManyWithParens::One(parameter) => vec![parameter],
            OneOrManyWithParens::Many(parameters) => parameters,
        };
        if parameters.iter().any(|parameter| parameter.data_type.is_some()) {
            refuse!("a variable of a lambda has no type; leave the type out");
        }
        let parameters = parameters.into_iter().map(|parameter| plain(parameter.name)).collect();
        Ok(Expression::Lambda { parameters, body: Box::new(self.expression(*lambda.body)?) })
    }

    /// `a.b[0].c`: the names at its beginning are one attribute.
    fn access(&mut self, root: Expr, chain: Vec<AccessExpr>) -> Result<Expression> {
        let mut chain = chain.into_iter().peekable();
        let mut value = match root {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                let mut idents = match root {
                    Expr::Identifier(ident) => vec![ident],
                    Expr::CompoundIdentifier(idents) => idents,
                    _ => Vec::new(),
                };
                let is_name =
                    |access: &AccessExpr| matches!(access, AccessExpr::Dot(Expr::Identifier(_)));
                while let Some(AccessExpr::Dot(Expr::Identifier(ident))) = chain.next_if(is_name) {
                    idents.push(ident);
                }
                attribute(Expr::CompoundIdentifier(idents))
            }
            other => self.expression(other)?,
        };
        for access in chain {
            let (key, is_field) = match access {
                AccessExpr::Dot(Expr::Identifier(field)) => {
                    (Expression::Literal(Literal::String(plain(field))), true)
                }
                AccessExpr::Dot(other) => refuse!("{other} after a point is no name of a field"),
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    (self.expression(index)?, false)
                }
                AccessExpr::Subscript(Subscript::Slice { .. }) => {
                    refuse!("[from:to] is not supported; write slice(array, start, length)")
                }
            };
            value = Expression::Extract { value: Box::new(value), key: Box::new(key), is_field };
        }
        Ok(value)
    }
}

/// A column by its name.
fn attribute(expr: Expr) -> Expression {
    let at = of_expression(&expr);
    let name = match expr {
        Expr::Identifier(ident) => vec![plain(ident)],
        Expr::CompoundIdentifier(idents) => all_plain(idents),
        _ => Vec::new(),
    };
    Expression::Attribute { name, at }
}

/// A type as it is written in DDL, if it is one.
pub(super) fn known_type(kind: &DataType) -> Result<String> {
    let kind = in_ddl(kind);
    crate::types::named(&kind)?;
    Ok(kind)
}

/// The text of a type, which sqlparser writes in another dialect where it is of maps.
fn in_ddl(kind: &DataType) -> String {
    match kind {
        DataType::Map(key, value) => format!("MAP<{}, {}>", in_ddl(key), in_ddl(value)),
        DataType::Array(ArrayElemTypeDef::AngleBracket(item)) => format!("ARRAY<{}>", in_ddl(item)),
        other => other.to_string(),
    }
}

fn negated(is_negated: bool, expression: Expression) -> Expression {
    if !is_negated {
        return expression;
    }
    let at = match &expression {
        Expression::Call(call) => call.at,
        Expression::Subquery { at, .. } => *at,
        _ => None,
    };
    Expression::Call(Box::new(Call::new(Sign::Not, vec![expression], at)))
}

fn like(value: Expr, pattern: Expr, escape: Option<ValueWithSpan>) -> Vec<Expr> {
    [value, pattern].into_iter().chain(escape.map(Expr::Value)).collect()
}

/// The arguments of CEIL and FLOOR.
fn rounded(value: Expr, field: CeilFloorKind) -> Result<Vec<Expr>> {
    match field {
        CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => Ok(vec![value]),
        CeilFloorKind::Scale(digits) => Ok(vec![value, Expr::Value(digits)]),
        CeilFloorKind::DateTimeField(unit) => {
            refuse!("CEIL and FLOOR to {unit} are not supported; write date_trunc()")
        }
    }
}

/// The star of `struct(*)`, which `parse` made a name of.
fn or_all_columns(value: Expr) -> Expr {
    match value {
        Expr::Identifier(ident) if ident.value == ALL_COLUMNS && ident.quote_style.is_some() => {
            let mut token =
                datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty();
            token.0.span = ident.span;
            Expr::Wildcard(token)
        }
        other => other,
    }
}

/// Refuses what there is no plan for.
fn unknown<T>(expr: &Expr) -> Result<T> {
    let what = match expr {
        Expr::Convert { .. } => "CONVERT is not supported; write CAST",
        Expr::AtTimeZone { .. } => {
            "AT TIME ZONE is not supported; write from_utc_timestamp() or to_utc_timestamp()"
        }
        Expr::Collate { .. } => "COLLATE is not supported",
        Expr::SimilarTo { .. } => "SIMILAR TO is not supported; write RLIKE",
        Expr::AnyOp { .. } => "ANY is not supported; write IN",
        Expr::AllOp { .. } => "ALL is not supported; write NOT EXISTS",
        Expr::InUnnest { .. } => "IN UNNEST is not supported; write array_contains()",
        Expr::IsNormalized { .. } => "IS NORMALIZED is not supported",
        Expr::Trim { .. } => "this form of TRIM is not supported; write TRIM(characters FROM text)",
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
            "GROUPING SETS, CUBE and ROLLUP are supported in GROUP BY alone, and not within one another"
        }
        Expr::Dictionary(_) => "{…} is not supported; write map(…)",
        Expr::MatchAgainst { .. } => "MATCH AGAINST is not supported",
        Expr::OuterJoin(_) => "(+) is not supported; write LEFT JOIN",
        Expr::Prior(_) => "PRIOR is not supported",
        other => refuse!("{other} is not supported"),
    };
    Err(Error::new(what, of_expression(expr)))
}
