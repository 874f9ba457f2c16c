//! UNION, INTERSECT and EXCEPT. Columns meet by place, or by name.

use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder};

use tidemill_functions::contains_map;

use super::scope::{Scope, same};
use super::{Resolved, Resolver, coercion, intervals, renamed};
use crate::error::{Result, refuse};
use crate::spec::{SetKind, SetOperation};

impl Resolver<'_> {
    pub(super) fn set_operation(&mut self, operation: &SetOperation) -> Result<Resolved> {
        let left = self.relation(&operation.left)?;
        let left = self.shown(left)?;
        let right = self.relation(&operation.right)?;
        let mut right = self.shown(right)?;
        if operation.by_name {
            right = in_order_of(&left.scope, right)?;
        }
        let (name, counts) = match operation.kind {
            SetKind::Union => ("UNION", "unioned"),
            SetKind::Intersect => ("INTERSECT", "intersected"),
            SetKind::Except => ("EXCEPT", "subtracted"),
        };
        let (first, second) = (left.scope.columns.len(), right.scope.columns.len());
        if first != second {
            refuse!(
                "[NUM_COLUMNS_MISMATCH] {name} can only be performed on inputs with the same number of columns, but the first input has {first} columns and the second input has {second} columns, which cannot be {counts}."
            );
        }
        let is_union_all = operation.kind == SetKind::Union && operation.is_all;
        let fields = left.plan.schema().fields().iter().chain(right.plan.schema().fields());
        if let Some(map) = fields.into_iter().find(|field| contains_map(field.data_type()))
            && !is_union_all
        {
            refuse!(
                "[UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE] The feature is not supported: Cannot have MAP type columns in a set operation, but the type of column `{}` is \"{}\".",
                map.name(),
                coercion::spelled(map.data_type())
            );
        }
        self.catalog.check_set_operation(operation, &left.plan, &right.plan)?;
        let names: Vec<String> = left.scope.columns.iter().map(|c| c.name.clone()).collect();
        let inputs = vec![uniquely_named(left.plan)?, uniquely_named(right.plan)?];
        let inputs = intervals::with_fields_of_all(inputs)?;
        let plan = match operation.kind {
            SetKind::Union => {
                let union = coercion::united(inputs)?;
                match operation.is_all {
                    true => union,
                    false => LogicalPlanBuilder::from(union).distinct()?.build()?,
                }
            }
            kind => {
                let commons = coercion::commons(&inputs)?;
                let cast = inputs.into_iter().map(|i| coercion::with_types(i, &commons));
                let mut cast = cast.collect::<Result<Vec<LogicalPlan>>>()?.into_iter();
                let (Some(left), Some(right)) = (cast.next(), cast.next()) else {
                    refuse!("{name} needs two inputs");
                };
                // Of rows that are counted, each has its number among those that are like it.
                let (left, right) = match operation.is_all {
                    true => (numbered(left)?, numbered(right)?),
                    false => (left, right),
                };
                let right = self.qualified(Resolved { scope: Scope::of(&right), plan: right })?;
                let plan = match kind {
                    SetKind::Intersect => {
                        LogicalPlanBuilder::intersect(left, right.plan, operation.is_all)?
                    }
                    _ => LogicalPlanBuilder::except(left, right.plan, operation.is_all)?,
                };
                let columns = plan.schema().columns().into_iter().take(first).map(Expr::Column);
                let columns: Vec<Expr> = columns.collect();
                match operation.is_all {
                    true => LogicalPlanBuilder::from(plan).project(columns)?.build()?,
                    false => plan,
                }
            }
        };
        let mut scope = Scope::of(&plan);
        for (column, name) in scope.columns.iter_mut().zip(names) {
            column.name = name;
        }
        Ok(Resolved { plan, scope })
    }
}

/// A plan that numbers the rows that are like one another, in a column more.
fn numbered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let number = row_number().partition_by(columns).build()?;
    Ok(LogicalPlanBuilder::from(plan).window([number])?.build()?)
}

/// A plan with a name of its own for each column, whatever table it is of.
fn uniquely_named(plan: LogicalPlan) -> Result<LogicalPlan> {
    let fields = plan.schema().fields();
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    for field in fields {
        let mut name = field.name().clone();
        while names.contains(&name) {
            name.push('#');
        }
        names.push(name);
    }
    renamed(plan, names)
}

/// A relation with its columns in the order of another one's.
fn in_order_of(left: &Scope, right: Resolved) -> Result<Resolved> {
    let Resolved { plan, scope } = right;
    let mut columns = Vec::with_capacity(scope.columns.len());
    for wanted in left.shown() {
        match scope.columns.iter().find(|column| same(&column.name, &wanted.name)) {
            Some(column) => columns.push(column.clone()),
            None => refuse!(
                "[UNRESOLVED_COLUMN_AMONG_FIELD_NAMES] Cannot resolve column name \"{}\" among ({}).",
                wanted.name,
                scope.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        }
    }
    if columns.len() != scope.columns.len() {
        let (first, second) = (left.columns.len(), scope.columns.len());
        refuse!(
            "[NUM_COLUMNS_MISMATCH] UNION can only be performed on inputs with the same number of columns, but the first input has {first} columns and the second input has {second} columns."
        );
    }
    let values: Vec<Expr> = columns.iter().map(|column| column.value.clone()).collect();
    let plan = LogicalPlanBuilder::from(plan).project(values)?.build()?;
    Ok(Resolved { plan, scope: Scope { columns } })
}
