//! The fields of an expression's intervals: INTERVAL DAY and INTERVAL DAY TO SECOND are the same
//! numbers, and a type of Arrow does not tell them apart. A literal, a column say them in
//! their metadata, and any other expression by a function that computes nothing; what is made of these
//! has the fields of all of them.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ExprSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Case, Expr, ExprSchemable, ScalarUDF};
use tidemill_types::{FieldRange, IntervalFields, WrittenInterval};

use crate::find;
use crate::kernels::cast::CAST;
use crate::kernels::interval_arithmetic::is_of_one_kind;
use crate::kernels::saying::Saying;

/// An interval that is written out; none where it is of months and of days, or does not fit.
#[must_use]
pub fn interval_literal(written: &WrittenInterval) -> Option<Expr> {
    let (range, count) = written.count()?;
    let value = match range.is_of_months() {
        true => ScalarValue::IntervalYearMonth(Some(i32::try_from(count).ok()?)),
        false => ScalarValue::DurationMicrosecond(Some(count)),
    };
    let said = BTreeMap::from([(IntervalFields::KEY.to_owned(), written.fields.to_string())]);
    Some(Expr::Literal(value, Some(FieldMetadata::new(said))))
}

/// A value of a type, whose intervals have these fields.
#[must_use]
pub fn with_interval_fields(value: Expr, fields: IntervalFields) -> Expr {
    ScalarUDF::new_from_impl(Saying::new(fields)).call(vec![value])
}

/// The value whose fields an expression says; the expression itself, where it is none that says some.
#[must_use]
pub fn without_interval_fields(value: &Expr) -> &Expr {
    match value {
        Expr::ScalarFunction(call) if call.func.inner().is::<Saying>() => {
            call.args.first().map_or(value, without_interval_fields)
        }
        _ => value,
    }
}

/// The fields that an expression says itself; none where it says nothing.
#[must_use]
pub fn interval_fields_said(value: &Expr) -> Option<IntervalFields> {
    match value {
        Expr::Literal(_, Some(metadata)) => {
            IntervalFields::named(metadata.inner().get(IntervalFields::KEY)?)
        }
        Expr::ScalarFunction(call) => {
            call.func.inner().downcast_ref::<Saying>().map(|saying| saying.fields)
        }
        Expr::Alias(alias) => interval_fields_said(&alias.expr),
        _ => None,
    }
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
        // The others say which value it is, and are none.
        Expr::AggregateFunction(call) => of_each(call.params.args.first(), schema)?,
        Expr::WindowFunction(call) if has_all(call.fun.name()) => IntervalFields::default(),
        Expr::WindowFunction(call) => of_each(call.params.args.first(), schema)?,
        other => {
            // Values that meet have the fields of all; in a struct and in a map each keeps its own, and
            // what a lambda gives may be one or the other.
            let keeps_own = matches!(other, Expr::HigherOrderFunction(_))
                || kind.as_ref().is_some_and(has_several);
            let mut fields = IntervalFields::default();
            other.apply_children(|child| {
                let more = interval_fields_of(child, schema)?;
                fields = if keeps_own { fields.beside(more) } else { fields.and(more) };
                Ok(TreeNodeRecursion::Continue)
            })?;
            fields
        }
    };
    let (all, fields) = (all.unwrap_or(fields), fields);
    Ok(IntervalFields {
        is_mixed: fields.is_mixed,
        months: all.months.map(|all| fields.months.unwrap_or(all)),
        micros: all.micros.map(|all| fields.micros.unwrap_or(all)),
    })
}

/// Whether values of a type may hold several intervals that are not of one type.
fn has_several(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(_) | DataType::Map(..) => true,
        DataType::List(item) => has_several(item.data_type()),
        _ => false,
    }
}

/// Refuses a value whose intervals have other fields each, where it matters which.
///
/// # Errors
/// They have.
pub(crate) fn check_alike(fields: IntervalFields) -> Result<()> {
    match fields.is_mixed {
        false => Ok(()),
        true => plan_err!(
            "[UNSUPPORTED_FEATURE] the intervals of a struct or a map have other fields each, from the first of {fields} to the last, and which of them are this one's is not kept; cast them to one type, such as INTERVAL DAY TO SECOND, before they go into it"
        ),
    }
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
    is_of_one_kind(kind).then(|| range_of(fields_here(value, kind), kind))
}

/// The one kind of intervals that a plain value is.
pub(crate) fn range_of(fields: IntervalFields, kind: &DataType) -> FieldRange {
    match kind {
        DataType::Interval(_) => fields.of_months(),
        _ => fields.of_micros(),
    }
}
