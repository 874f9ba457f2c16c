//! Operators: comparisons and connectives are DataFusion's, whose optimiser knows them; the others
//! are functions that have their signs as names.

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, Expr, Like, Operator, binary_expr};
use tidemill_functions::{CONCAT, Function, NEGATIVE, POSITIVE, as_condition, cast_to};

use super::calls::built;
use super::expressions::{Context, tuple};
use super::{Resolver, coercion, literals, naming};
use crate::error::{Result, refuse};
use crate::spec::{Call, Expression, Literal, Sign, Subquery};

impl Resolver<'_> {
    /// A call of an operator; nothing, if it is a call of a function.
    pub(super) fn operator(
        &mut self,
        call: &Call,
        context: &mut Context<'_>,
    ) -> Result<Option<Expr>> {
        let operands: Vec<&Expression> = call.arguments.iter().map(|a| &a.value).collect();
        let Some(sign) = call.sign() else { return Ok(None) };
        let resolved = match (sign, operands.as_slice()) {
            (Sign::And, _) => self.connected(&operands, Operator::And, context)?,
            (Sign::Or, _) => self.connected(&operands, Operator::Or, context)?,
            (Sign::Not, [operand]) if asks_in(operand) => self.denied(operand, context)?,
            (
                Sign::Equal | Sign::NotEqual,
                [operand, Expression::Literal(Literal::Boolean(truth))],
            )
            | (
                Sign::Equal | Sign::NotEqual,
                [Expression::Literal(Literal::Boolean(truth)), operand],
            ) if asks_in(operand) => {
                // What Spark makes of it, before it looks at nulls.
                match *truth == (sign == Sign::Equal) {
                    true => self.expression(operand, context)?,
                    false => self.denied(operand, context)?,
                }
            }
            (Sign::Not, [operand]) => !self.connective_operand(operand, "NOT", context)?,
            (sign, [left, right]) if let Some(operator) = between_two(sign) => {
                self.compared(left, operator, right, context)?
            }
            (Sign::In, [value, list @ ..]) => self.within(value, list, context)?,
            (Sign::Between, [value, low, high]) => self.between(value, low, high, context)?,
            (Sign::Like | Sign::ILike, [value, pattern]) => {
                let value = self.text(value, context)?;
                let pattern = self.text(pattern, context)?;
                like(value, pattern, sign == Sign::ILike)
            }
            (Sign::LikeAny | Sign::ILikeAny, [value, patterns @ ..]) => {
                let by = (Operator::Or, sign == Sign::ILikeAny);
                self.like_each(value, patterns, by, context)?
            }
            (Sign::LikeAll | Sign::ILikeAll, [value, patterns @ ..]) => {
                let by = (Operator::And, sign == Sign::ILikeAll);
                self.like_each(value, patterns, by, context)?
            }
            (Sign::Minus, [Expression::Literal(literal)])
                if literals::negative(literal)?.is_some() =>
            {
                return literals::negative(literal);
            }
            (Sign::Minus, [_]) => self.of_descriptor(&NEGATIVE, &operands, context)?,
            (Sign::Plus, [_]) => self.of_descriptor(&POSITIVE, &operands, context)?,
            (Sign::Concat, _) => {
                let all = concatenated(call);
                self.of_descriptor(&CONCAT, &all, context)?
            }
            _ => return Ok(None),
        };
        Ok(Some(resolved))
    }

    fn between(
        &mut self,
        value: &Expression,
        low: &Expression,
        high: &Expression,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let mut expr = self.expression(value, context)?;
        let mut low = self.expression(low, context)?;
        let mut high = self.expression(high, context)?;
        check_choices("BETWEEN", &expr)?;
        if context.type_of(&low)? != context.type_of(&high)? {
            // Each bound meets the value on its own.
            let mut upper = expr.clone();
            coercion::meet(&mut [&mut expr, &mut low], &context.schema)?;
            coercion::meet(&mut [&mut upper, &mut high], &context.schema)?;
            return Ok(expr.gt_eq(low).and(upper.lt_eq(high)));
        }
        coercion::meet(&mut [&mut expr, &mut low, &mut high], &context.schema)?;
        let (expr, low, high) = (Box::new(expr), Box::new(low), Box::new(high));
        Ok(Expr::Between(Between { expr, negated: false, low, high }))
    }

    fn of_descriptor(
        &mut self,
        function: &'static Function,
        operands: &[&Expression],
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let mut arguments = Vec::with_capacity(operands.len());
        for operand in operands {
            let value = self.argument(operand, context)?;
            arguments.push(context.typed(value)?);
        }
        built(function, arguments, context)
    }

    /// AND or OR of all, as flat as it can be: who goes down in it does not go deep.
    fn connected(
        &mut self,
        operands: &[&Expression],
        operator: Operator,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let name = if operator == Operator::And { "AND" } else { "OR" };
        let mut level = Vec::with_capacity(operands.len());
        let is_conjunct = context.is_conjunct;
        for operand in operands {
            context.is_conjunct = is_conjunct;
            level.push(self.connective_operand(operand, name, context)?);
        }
        Ok(joined(level, operator))
    }

    /// The opposite of what has IN of a query in it: NOT goes down to it, as in Spark, where nulls
    /// count otherwise in NOT IN than in IN.
    fn denied(&mut self, operand: &Expression, context: &mut Context<'_>) -> Result<Expr> {
        match operand {
            Expression::Subquery { kind: Subquery::In(values), query, .. } => {
                return self.not_in(values, query, context);
            }
            Expression::Call(call) => {
                let operands: Vec<&Expression> = call.arguments.iter().map(|a| &a.value).collect();
                match (call.sign(), operands.as_slice()) {
                    (Some(Sign::Not), [inner]) => {
                        return self.connective_operand(inner, "NOT", context);
                    }
                    (Some(sign @ (Sign::And | Sign::Or)), _) => {
                        context.is_conjunct &= sign == Sign::Or;
                        let is_conjunct = context.is_conjunct;
                        let mut level = Vec::with_capacity(operands.len());
                        for operand in operands {
                            context.is_conjunct = is_conjunct;
                            level.push(match asks_in(operand) {
                                true => self.denied(operand, context)?,
                                false => !self.connective_operand(operand, "NOT", context)?,
                            });
                        }
                        let other = if sign == Sign::And { Operator::Or } else { Operator::And };
                        return Ok(joined(level, other));
                    }
                    (
                        Some(Sign::Equal | Sign::NotEqual),
                        [inner, Expression::Literal(Literal::Boolean(truth))],
                    )
                    | (
                        Some(Sign::Equal | Sign::NotEqual),
                        [Expression::Literal(Literal::Boolean(truth)), inner],
                    ) => {
                        return match *truth == (call.sign() == Some(Sign::Equal)) {
                            true => self.denied(inner, context),
                            false => self.connective_operand(inner, "NOT", context),
                        };
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(!self.connective_operand(operand, "NOT", context)?)
    }

    fn connective_operand(
        &mut self,
        operand: &Expression,
        name: &str,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let resolved = self.expression(operand, context)?;
        let kind = context.type_of(&resolved)?;
        if kind.is_string() {
            return Ok(cast_to(resolved, &DataType::Boolean));
        }
        match as_condition(resolved, &kind) {
            Some(condition) => Ok(condition),
            None => refuse!(
                "[DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE] Cannot resolve \"{}\" due to data type mismatch: {name} requires the \"BOOLEAN\" type, not \"{}\"",
                naming::text(operand),
                coercion::spelled(&kind)
            ),
        }
    }

    fn compared(
        &mut self,
        left: &Expression,
        operator: Operator,
        right: &Expression,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let mut left = self.expression(left, context)?;
        let mut right = self.expression(right, context)?;
        coercion::meet_to_compare(&mut [&mut left, &mut right], &context.schema)?;
        let kind = context.type_of(&left)?;
        if matches!(kind, DataType::Map(..) | DataType::Interval(IntervalUnit::MonthDayNano)) {
            refuse!(
                "[DATATYPE_MISMATCH.INVALID_ORDERING_TYPE] Cannot resolve {operator}: it does not support ordering on type \"{}\"",
                coercion::spelled(&kind)
            );
        }
        Ok(binary_expr(left, operator, right))
    }

    fn within(
        &mut self,
        value: &Expression,
        list: &[&Expression],
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let has_tuples = list.iter().any(|item| matches!(item, Expression::Tuple(_)));
        let mut expr = match value {
            Expression::Tuple(items) if has_tuples => tuple(self.expressions(items, context)?),
            value => self.expression(value, context)?,
        };
        let mut values = Vec::with_capacity(list.len());
        for item in list {
            values.push(match item {
                Expression::Tuple(items) => tuple(self.expressions(items, context)?),
                other => self.expression(other, context)?,
            });
        }
        let mut all: Vec<&mut Expr> = vec![&mut expr];
        all.extend(&mut values);
        coercion::meet_to_compare(&mut all, &context.schema)?;
        Ok(Expr::InList(InList { expr: Box::new(expr), list: values, negated: false }))
    }

    /// A value as a text.
    fn text(&mut self, value: &Expression, context: &mut Context<'_>) -> Result<Expr> {
        let resolved = self.expression(value, context)?;
        Ok(match context.type_of(&resolved)? {
            DataType::Utf8 => resolved,
            DataType::Null => Expr::Literal(ScalarValue::Utf8(None), None),
            _ => cast_to(resolved, &DataType::Utf8),
        })
    }

    fn like_each(
        &mut self,
        value: &Expression,
        patterns: &[&Expression],
        (operator, ignores_case): (Operator, bool),
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let value = self.text(value, context)?;
        let mut each = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            each.push(like(value.clone(), self.text(pattern, context)?, ignores_case));
        }
        Ok(joined(each, operator))
    }
}

/// What compares two values, or puts their bits together, in DataFusion.
fn between_two(sign: Sign) -> Option<Operator> {
    Some(match sign {
        Sign::Equal => Operator::Eq,
        Sign::NotEqual => Operator::NotEq,
        Sign::Same => Operator::IsNotDistinctFrom,
        Sign::Less => Operator::Lt,
        Sign::LessOrEqual => Operator::LtEq,
        Sign::Greater => Operator::Gt,
        Sign::GreaterOrEqual => Operator::GtEq,
        Sign::BitAnd => Operator::BitwiseAnd,
        Sign::BitOr => Operator::BitwiseOr,
        Sign::BitXor => Operator::BitwiseXor,
        _ => return None,
    })
}

/// Whether IN of a query is in an expression, with nothing around it that NOT does not pass.
fn asks_in(expression: &Expression) -> bool {
    match expression {
        Expression::Subquery { kind: Subquery::In(_), .. } => true,
        Expression::Call(call) => {
            let mut operands = call.arguments.iter().map(|argument| &argument.value);
            match call.sign() {
                Some(Sign::Not | Sign::And | Sign::Or) => operands.any(asks_in),
                Some(Sign::Equal | Sign::NotEqual) => {
                    let is_truth = |operand: &Expression| {
                        matches!(operand, Expression::Literal(Literal::Boolean(_)))
                    };
                    operands.clone().any(is_truth) && operands.any(asks_in)
                }
                _ => false,
            }
        }
        _ => false,
    }
}

fn like(value: Expr, pattern: Expr, ignores_case: bool) -> Expr {
    Expr::Like(Like::new(false, Box::new(value), Box::new(pattern), None, ignores_case))
}

/// Conditions within one another that DataFusion writes out, each reading what is in it twice.
const CHOICES_MAX: usize = 12;

/// Refuses a BETWEEN or a CASE of conditions that has many others in it.
pub(super) fn check_choices(name: &str, value: &Expr) -> Result<()> {
    let mut count = 0;
    value.apply(|e| {
        count += usize::from(matches!(e, Expr::Between(_) | Expr::Case(_)));
        Ok(TreeNodeRecursion::Continue)
    })?;
    match count > CHOICES_MAX {
        false => Ok(()),
        true => refuse!(
            "{name} has {count} BETWEENs and CASEs within it, and may have {CHOICES_MAX}; compute them in columns of a step before"
        ),
    }
}

/// The operands of `a || b || c`: several are one call, which knows how long the result will be.
fn concatenated(call: &Call) -> Vec<&Expression> {
    let mut operands = Vec::new();
    let mut rest = call;
    loop {
        let mut own: Vec<&Expression> = rest.arguments.iter().map(|a| &a.value).collect();
        own.reverse();
        match own.pop() {
            Some(Expression::Call(left)) if left.sign() == Some(Sign::Concat) => {
                operands.extend(own);
                rest = left.as_ref();
            }
            Some(first) => {
                operands.extend(own);
                operands.push(first);
                break;
            }
            None => break,
        }
    }
    operands.reverse();
    operands
}

/// All of them by one operator, in their order.
pub(super) fn joined(operands: Vec<Expr>, operator: Operator) -> Expr {
    let mut level = operands;
    while level.len() > 1 {
        let mut pairs = Vec::with_capacity(level.len().div_ceil(2));
        let mut operands = level.into_iter();
        while let Some(left) = operands.next() {
            pairs.push(match operands.next() {
                Some(right) => binary_expr(left, operator, right),
                None => left,
            });
        }
        level = pairs;
    }
    // Of nothing, what changes no other condition.
    let neutral = ScalarValue::Boolean(Some(operator == Operator::And));
    level.pop().unwrap_or(Expr::Literal(neutral, None))
}
