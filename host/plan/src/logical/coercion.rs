//! Values of several types that meet: they are cast to the type that is wide enough for all, by
//! Spark's rules in ANSI mode.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{
    Between, BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator,
    Union, Values,
};
use tidemill_functions::cast_to;
use tidemill_types::{format_type, wider_of};

/// Casts what an expression compares, or chooses among.
///
/// # Errors
/// There is no type for all.
pub(super) fn compared(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expression {
        Expr::BinaryExpr(BinaryExpr { mut left, op, mut right }) if is_comparison(op) => {
            let changed = meet(&mut [&mut left, &mut right], schema)?;
            let compared = Expr::BinaryExpr(BinaryExpr { left, op, right });
            Ok(transformed(compared, changed))
        }
        Expr::Between(Between { mut expr, negated, mut low, mut high }) => {
            let changed = meet(&mut [&mut expr, &mut low, &mut high], schema)?;
            let between = Expr::Between(Between { expr, negated, low, high });
            Ok(transformed(between, changed))
        }
        Expr::InList(InList { mut expr, mut list, negated }) => {
            let mut values: Vec<&mut Expr> = vec![&mut expr];
            values.extend(&mut list);
            let changed = meet(&mut values, schema)?;
            Ok(transformed(Expr::InList(InList { expr, list, negated }), changed))
        }
        Expr::Case(mut case) => {
            let changed = meet_in(&mut case, schema)?;
            Ok(transformed(Expr::Case(case), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn transformed(expression: Expr, changed: bool) -> Transformed<Expr> {
    Transformed::new_transformed(expression, changed)
}

fn meet_in(case: &mut Case, schema: &DFSchema) -> Result<bool> {
    let mut changed = false;
    if let Some(value) = &mut case.expr {
        let mut values: Vec<&mut Expr> = vec![value];
        values.extend(case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut()));
        changed |= meet(&mut values, schema)?;
    }
    let mut results: Vec<&mut Expr> =
        case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut()).collect();
    results.extend(case.else_expr.as_deref_mut());
    changed |= meet(&mut results, schema)?;
    Ok(changed)
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Casts values to one type. Whether any was cast.
fn meet(values: &mut [&mut Expr], schema: &DFSchema) -> Result<bool> {
    let kinds: Vec<DataType> =
        values.iter().map(|value| value.get_type(schema)).collect::<Result<_>>()?;
    let Some(common) = common_of(&kinds)? else { return Ok(false) };
    let mut changed = false;
    for (value, kind) in values.iter_mut().zip(&kinds) {
        if *kind != common && !kind.is_null() {
            let inner = std::mem::replace(*value, Expr::Literal(ScalarValue::Null, None));
            **value = widened(inner, &common);
            changed = true;
        }
    }
    Ok(changed)
}

/// A value cast to a type that is wide enough for it.
fn widened(value: Expr, to: &DataType) -> Expr {
    match &value {
        Expr::Literal(number, metadata) if number.data_type().is_integer() && to.is_integer() => {
            match number.cast_to(to) {
                Ok(number) => Expr::Literal(number, metadata.clone()),
                Err(_) => cast_to(value, to),
            }
        }
        _ => cast_to(value, to),
    }
}

/// The type for all; none where they need none, or are of types that Spark's schemas have no name
/// for.
pub(crate) fn common_of(kinds: &[DataType]) -> Result<Option<DataType>> {
    let mut others = kinds.iter().filter(|kind| !kind.is_null());
    let Some(first) = others.next() else { return Ok(None) };
    if others.all(|kind| kind == first) {
        return Ok(None);
    }
    if let Some(common) = wider_of(kinds) {
        return Ok(Some(common));
    }
    if !kinds.iter().all(is_plain) {
        return Ok(None);
    }
    let mut names: Vec<String> = kinds
        .iter()
        .filter(|kind| !kind.is_null())
        .map(|kind| format!("\"{}\"", format_type(kind).to_uppercase()))
        .collect();
    names.dedup();
    plan_err!(
        "[DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES] values are compared, or stand for each other, that have the types {}; cast them to one",
        names.join(" and ")
    )
}

fn is_plain(kind: &DataType) -> bool {
    use DataType::{Binary, Boolean, Date32, Null, Timestamp, Utf8};
    kind.is_numeric() || matches!(kind, Binary | Boolean | Date32 | Null | Timestamp(..) | Utf8)
}

/// Casts the columns of a union's inputs, or of VALUES, to one type each.
///
/// # Errors
/// There is no type for all.
pub(super) fn united(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let inputs = match &node {
        LogicalPlan::Union(Union { inputs, .. }) => inputs,
        LogicalPlan::Values(_) => return listed(node),
        _ => return Ok(Transformed::no(node)),
    };
    let count = inputs.iter().map(|input| input.schema().fields().len()).min().unwrap_or(0);
    let kind = |input: &LogicalPlan, place: usize| input.schema().field(place).data_type().clone();
    let mut commons = Vec::with_capacity(count);
    for place in 0..count {
        let kinds: Vec<DataType> = inputs.iter().map(|input| kind(input, place)).collect();
        commons.push(common_of(&kinds)?);
    }
    if commons.iter().all(Option::is_none) {
        return Ok(Transformed::no(node));
    }
    let cast = |input: &Arc<LogicalPlan>| -> Result<Arc<LogicalPlan>> {
        let columns = input.schema().columns().into_iter().enumerate();
        let columns = columns.map(|(place, column)| {
            let name = column.name.clone();
            match commons.get(place).and_then(Option::as_ref) {
                Some(common) if kind(input, place) != *common => {
                    cast_to(Expr::Column(column), common).alias(name)
                }
                _ => Expr::Column(column),
            }
        });
        let columns: Vec<Expr> = columns.collect();
        Ok(Arc::new(LogicalPlanBuilder::from(input.as_ref().clone()).project(columns)?.build()?))
    };
    let inputs = inputs.iter().map(cast).collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}

fn listed(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Values(Values { schema, mut values }) = node else {
        return Ok(Transformed::no(node));
    };
    let none = DFSchema::empty();
    let mut fields = Vec::with_capacity(schema.fields().len());
    for (place, (qualifier, field)) in schema.iter().enumerate() {
        let mut column: Vec<&mut Expr> =
            values.iter_mut().filter_map(|row| row.get_mut(place)).collect();
        // A null that was given a type before the others had theirs.
        for value in &mut column {
            if matches!(value, Expr::Literal(literal, _) if literal.is_null()) {
                **value = Expr::Literal(ScalarValue::Null, None);
            }
        }
        meet(&mut column, &none)?;
        let kinds = column.iter().map(|value| value.get_type(&none)).collect::<Result<Vec<_>>>()?;
        let kind = kinds.iter().find(|kind| !kind.is_null()).unwrap_or(field.data_type());
        for value in &mut column {
            if matches!(value, Expr::Literal(literal, _) if literal.is_null()) {
                **value = Expr::Literal(ScalarValue::try_from(kind)?, None);
            }
        }
        let field = field.as_ref().clone().with_data_type(kind.clone());
        fields.push((qualifier.cloned(), Arc::new(field)));
    }
    let schema = DFSchema::new_with_metadata(fields, schema.metadata().clone())?;
    Ok(Transformed::yes(LogicalPlan::Values(Values { schema: Arc::new(schema), values })))
}
