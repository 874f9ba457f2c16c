//! What identifies a row of the result over batches.

use datafusion::logical_expr::LogicalPlan;

/// Columns of the result that hold what the topmost aggregation groups by.
pub(crate) fn grouping_columns(plan: &LogicalPlan) -> Vec<String> {
    let mut groups: Option<Vec<String>> = None;
    let mut node = plan;
    loop {
        if let LogicalPlan::Aggregate(aggregate) = node {
            let count = aggregate.group_expr_len().unwrap_or(aggregate.group_expr.len());
            let names = aggregate.schema.fields().iter().take(count);
            groups = Some(names.map(|field| field.name().clone()).collect());
            break;
        }
        if let LogicalPlan::Distinct(distinct) = node {
            let names = distinct.input().schema().fields().iter();
            groups = Some(names.map(|field| field.name().clone()).collect());
            break;
        }
        match node.inputs().as_slice() {
            [input] => node = input,
            _ => break,
        }
    }
    let Some(groups) = groups else {
        return Vec::new();
    };
    // A column of the result stands for a group where it is computed from nothing but groups. A
    // window counts by its start.
    let mut found = Vec::new();
    let mut covered = Vec::new();
    for (column, field) in plan.schema().fields().iter().enumerate() {
        let origins = origins_of(plan, column);
        if !origins.is_empty() && origins.iter().all(|origin| groups.contains(origin)) {
            covered.extend(origins);
            found.push(field.name().clone());
        }
    }
    if groups.iter().all(|group| covered.contains(group)) { found } else { Vec::new() }
}

/// Names of the columns of the topmost aggregation that a column is computed from.
fn origins_of(plan: &LogicalPlan, column: usize) -> Vec<String> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            vec![aggregate.schema.field(column).name().clone()]
        }
        LogicalPlan::Distinct(distinct) => {
            vec![distinct.input().schema().field(column).name().clone()]
        }
        LogicalPlan::Projection(projection) => projection.expr[column]
            .column_refs()
            .into_iter()
            .filter_map(|origin| projection.input.schema().maybe_index_of_column(origin))
            .flat_map(|origin| origins_of(&projection.input, origin))
            .collect(),
        other => match other.inputs().as_slice() {
            [input] if input.schema().fields().len() == other.schema().fields().len() => {
                origins_of(input, column)
            }
            _ => Vec::new(),
        },
    }
}
