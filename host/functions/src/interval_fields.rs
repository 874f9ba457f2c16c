//! The fields of an expression's intervals: INTERVAL DAY and INTERVAL DAY TO SECOND are the same
//! numbers, and a type of Arrow does not tell them apart. A literal, a column and a cast say them in
//! their metadata; what is made of these has the fields of all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ExprSchema, Result, ScalarValue};
use datafusion::logical_expr::{Case, Cast, Expr, ExprSchemable};
use tidemill_types::{FieldRange, IntervalFields, WrittenInterval};

use crate::find;
use crate::kernels::cast::CAST;

/// An interval that is written out; none where it is of months and of days, or does not fit.
#[must_use]
pub fn interval_literal(written: &WrittenInterval) -> Option<Expr> {
    let value = match (written.fields.months, written.fields.micros) {
        (Some(_), None) => ScalarValue::IntervalYearMonth(Some(written.months)),
        (None, Some(_)) => ScalarValue::DurationMicrosecond(Some(written.day_time_micros()?)),
        _ => return None,
    };
    let said = BTreeMap::from([(IntervalFields::KEY.to_owned(), written.fields.to_string())]);
    Some(Expr::Literal(value, Some(FieldMetadata::new(said))))
}

/// A value of a type, whose intervals have these fields.
#[must_use]
pub fn with_interval_fields(value: Expr, kind: &DataType, fields: IntervalFields) -> Expr {
    let field = fields.said_by(Field::new("", kind.clone(), true));
    Expr::Cast(Cast { expr: Box::new(value), field: Arc::new(field) })
}

/// The fields that an expression says itself; none where it says nothing.
#[must_use]
pub fn interval_fields_said(value: &Expr) -> Option<IntervalFields> {
    let text = match value {
        Expr::Literal(_, Some(metadata)) => metadata.inner().get(IntervalFields::KEY)?.as_str(),
        Expr::Cast(cast) => cast.field.metadata().get(IntervalFields::KEY)?,
        Expr::Alias(alias) => return interval_fields_said(&alias.expr),
        _ => return None,
    };
    IntervalFields::named(text)
}

/// The fields of a value that has no column in it, or of a column that says them itself.
pub(crate) fn fields_here(value: &Expr, kind: &DataType) -> IntervalFields {
    interval_fields_said(value).unwrap_or_else(|| IntervalFields::all_of(kind))
}

/// The fields of the intervals that an expression gives; nothing where it gives none.
///
/// # Errors
/// It reads a column that the schema does not have.
pub fn interval_fields_of(value: &Expr, schema: &dyn ExprSchema) -> Result<IntervalFields> {
    if let Some(said) = interval_fields_said(value) {
        return Ok(said);
    }
    match value {
        Expr::Lambda(lambda) => return interval_fields_of(&lambda.body, schema),
        Expr::Literal(value, _) if value.is_null() => return Ok(IntervalFields::default()),
        Expr::ScalarFunction(cast) if cast.func.name() == CAST && is_null(cast.args.first()) => {
            return Ok(IntervalFields::default());
        }
        _ => {}
    }
    // The type of a lambda's body is known where its variables are, and not here.
    let kind = value.get_type(schema).ok();
    let all = kind.as_ref().map(IntervalFields::all_of);
    if all.is_some_and(IntervalFields::is_empty) {
        return Ok(IntervalFields::default());
    }
    let fields = match value {
        Expr::Column(_) | Expr::ScalarSubquery(_) => {
            IntervalFields::of_column(&value.to_field(schema)?.1)
        }
        Expr::Alias(alias) => return interval_fields_of(&alias.expr, schema),
        Expr::Case(case) => of_each(results(case), schema)?,
        Expr::ScalarFunction(call) if has_all(call.func.name()) => IntervalFields::default(),
        Expr::AggregateFunction(call) if has_all(call.func.name()) => IntervalFields::default(),
        Expr::AggregateFunction(call) => of_each(&call.params.args, schema)?,
        Expr::WindowFunction(call) if has_all(call.fun.name()) => IntervalFields::default(),
        Expr::WindowFunction(call) => of_each(&call.params.args, schema)?,
        other => {
            let mut fields = IntervalFields::default();
            other.apply_children(|child| {
                fields = fields.and(interval_fields_of(child, schema)?);
                Ok(TreeNodeRecursion::Continue)
            })?;
            fields
        }
    };
    let (all, fields) = (all.unwrap_or(fields), fields);
    Ok(IntervalFields {
        months: all.months.map(|all| fields.months.unwrap_or(all)),
        micros: all.micros.map(|all| fields.micros.unwrap_or(all)),
    })
}

fn is_null(value: Option<&Expr>) -> bool {
    matches!(value, Some(Expr::Literal(value, _)) if value.is_null())
}

fn results(case: &Case) -> impl Iterator<Item = &Expr> {
    let branches = case.when_then_expr.iter().map(|(_, result)| result.as_ref());
    branches.chain(case.else_expr.as_deref())
}

fn of_each<'e>(
    values: impl IntoIterator<Item = &'e Expr>,
    schema: &dyn ExprSchema,
) -> Result<IntervalFields> {
    let mut fields = IntervalFields::default();
    for value in values {
        fields = fields.and(interval_fields_of(value, schema)?);
    }
    Ok(fields)
}

/// Whether a function gives intervals with all fields, whichever those of its arguments are.
fn has_all(name: &str) -> bool {
    crate::kernels::interval_arithmetic::gives_all_fields(name)
        || find(name).is_some_and(|function| function.gives_all_interval_fields)
}

/// The fields of a value that is an interval itself; none of another.
#[must_use]
pub fn interval_range(value: &Expr, kind: &DataType) -> Option<FieldRange> {
    let is_interval = matches!(
        kind,
        DataType::Interval(IntervalUnit::YearMonth) | DataType::Duration(TimeUnit::Microsecond)
    );
    is_interval.then(|| range_of(fields_here(value, kind), kind))
}

/// The one kind of intervals that a plain value is.
pub(crate) fn range_of(fields: IntervalFields, kind: &DataType) -> FieldRange {
    match kind {
        DataType::Interval(_) => fields.of_months(),
        _ => fields.of_micros(),
    }
}
