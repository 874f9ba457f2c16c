//! The fields of intervals: every expression of the plan that gives intervals says them, where they
//! are not all that its type may have.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use tidemill_functions::{
    Generated, interval_fields_of, interval_fields_said, interval_range, with_interval_fields,
};
use tidemill_types::{FieldRange, IntervalFields};

use super::expressions::Context;
use super::{Resolver, generators};
use crate::error::Result;
use crate::spec::Expression;

impl Resolver<'_> {
    /// Looks whether a table has intervals with fields of their own. Where nothing has, nobody looks
    /// for them in expressions.
    pub(super) fn notice_intervals(&mut self, table: &LogicalPlan) {
        let mut fields = table.schema().fields().iter();
        self.has_interval_fields |=
            fields.any(|field| field.metadata().contains_key(IntervalFields::KEY));
    }

    /// An expression that was resolved, which says the fields of its intervals. A column says them
    /// where it stands alone.
    pub(super) fn with_its_fields(&mut self, value: Expr, context: &Context<'_>) -> Result<Expr> {
        if interval_fields_said(&value).is_some() {
            self.has_interval_fields = true;
            return Ok(value);
        }
        match value {
            Expr::Column(_) | Expr::Literal(..) | Expr::OuterReferenceColumn(..) => Ok(value),
            other => self.saying_fields(other, context),
        }
    }

    /// An argument of a function, which says the fields of its intervals, as columns do not by
    /// themselves.
    pub(super) fn argument(
        &mut self,
        argument: &Expression,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let value = self.expression(argument, context)?;
        match value {
            Expr::Column(_) => self.saying_fields(value, context),
            other => Ok(other),
        }
    }

    /// Learns which of two operands are intervals, for the name of a column that is their sum.
    pub(super) fn learn_intervals(
        &mut self,
        operands: [&Expression; 2],
        typed: &[(Expr, DataType)],
    ) {
        let [(left, of_left), (right, of_right)] = typed else { return };
        let [first, second] = operands.map(std::ptr::from_ref);
        for (operand, value, kind, other) in
            [(first, left, of_left, of_right), (second, right, of_right, of_left)]
        {
            if !matches!(kind, DataType::Interval(_) | DataType::Duration(_)) {
                continue;
            }
            self.learnt.intervals.insert(operand);
            let are_days = interval_range(value, kind).is_some_and(FieldRange::is_days);
            if *other == DataType::Date32 && are_days {
                self.learnt.days.insert(operand);
            }
        }
    }

    /// A column of a generator, which says the fields of the intervals in what it generates from.
    pub(super) fn with_fields_of(
        &self,
        column: Expr,
        generated: &Generated,
        over: &Arc<DFSchema>,
    ) -> Result<Expr> {
        if !self.has_interval_fields {
            return Ok(column);
        }
        let kind = column.get_type(&generators::seen(over, generated)?)?;
        let fields = interval_fields_of(&generated.values, over.as_ref())?;
        let all = IntervalFields::all_of(&kind);
        Ok(match all.is_empty() || fields == all {
            true => column,
            false => with_interval_fields(column, fields),
        })
    }

    /// The variables of lambdas over some values, which say the fields of the intervals in these.
    pub(super) fn with_fields_of_values<'e>(
        &self,
        variables: Vec<FieldRef>,
        values: impl Iterator<Item = &'e Expr>,
        context: &Context<'_>,
    ) -> Result<Vec<FieldRef>> {
        if !self.has_interval_fields {
            return Ok(variables);
        }
        let mut fields = IntervalFields::default();
        for value in values {
            fields = fields.and(interval_fields_of(value, context.schema.as_ref())?);
        }
        let with_fields = |variable: FieldRef| match fields.is_empty()
            || IntervalFields::all_of(variable.data_type()).is_empty()
        {
            true => variable,
            false => Arc::new(fields.said_by(variable.as_ref().clone())),
        };
        Ok(variables.into_iter().map(with_fields).collect())
    }

    fn saying_fields(&self, value: Expr, context: &Context<'_>) -> Result<Expr> {
        if !self.has_interval_fields {
            return Ok(value);
        }
        let kind = context.type_of(&value)?;
        if IntervalFields::all_of(&kind).is_empty() {
            return Ok(value);
        }
        let fields = interval_fields_of(&value, context.schema.as_ref())?;
        Ok(match fields == IntervalFields::all_of(&kind) {
            true => value,
            false => with_interval_fields(value, fields),
        })
    }
}

/// Relations whose columns at one place have the same fields: those of all.
pub(super) fn with_fields_of_all(inputs: Vec<LogicalPlan>) -> Result<Vec<LogicalPlan>> {
    let count = inputs.iter().map(|input| input.schema().fields().len()).min().unwrap_or(0);
    let of = |input: &LogicalPlan, place| IntervalFields::of_column(input.schema().field(place));
    let common = |place| {
        let each = inputs.iter().map(|input| of(input, place));
        each.fold(IntervalFields::default(), IntervalFields::and)
    };
    let commons: Vec<IntervalFields> = (0..count).map(common).collect();
    let with_commons = |input: LogicalPlan| {
        if commons.iter().enumerate().all(|(place, fields)| of(&input, place) == *fields) {
            return Ok(input);
        }
        let columns = input.schema().columns().into_iter().zip(&commons).enumerate();
        let columns = columns.map(|(place, (column, fields))| {
            let name = column.name.clone();
            match of(&input, place) == *fields {
                true => Expr::Column(column),
                false => with_interval_fields(Expr::Column(column), *fields).alias(name),
            }
        });
        let columns: Vec<Expr> = columns.collect();
        Ok(LogicalPlanBuilder::from(input).project(columns)?.build()?)
    };
    inputs.into_iter().map(with_commons).collect()
}
