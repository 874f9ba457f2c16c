//! The projections of a SELECT's items: one that reads another is above it.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};

use super::Resolver;
use super::items::{Item, Names, as_columns, item_place};
use crate::error::Result;

impl Resolver<'_> {
    /// Projects the items; those that read others, above them.
    pub(super) fn projected(
        &mut self,
        plan: LogicalPlan,
        items: &[Item],
    ) -> Result<(LogicalPlan, Vec<Column>)> {
        let deepest = items.iter().map(|item| item.level).max().unwrap_or(0);
        let mut plan = plan;
        // Where each item is, in the projections that have it.
        let mut places: Vec<Column> = Vec::new();
        let own = match deepest {
            0 => None,
            _ => Some(self.qualifier()),
        };
        for level in 0..deepest {
            let mut expressions: Vec<Expr> = Vec::new();
            let mut columns: Vec<&Column> = Vec::new();
            for item in items.iter().filter(|item| item.level > level) {
                let read = item.value.column_refs();
                columns.extend(read.into_iter().filter(|column| item_place(column).is_none()));
            }
            columns.sort_unstable();
            columns.dedup();
            expressions.extend(columns.into_iter().cloned().map(Expr::Column));
            for (place, item) in items.iter().enumerate().filter(|(_, item)| item.level <= level) {
                let name = place.to_string();
                expressions.push(match item.level == level {
                    true => {
                        as_columns(item.value.clone(), &places)?.alias_qualified(own.clone(), name)
                    }
                    false => Expr::Column(Column::new(own.clone(), name)),
                });
            }
            plan = projection(plan, expressions)?;
            places =
                (0..items.len()).map(|place| Column::new(own.clone(), place.to_string())).collect();
        }
        let mut names = Names::default();
        let mut expressions = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            let value = match item.level == deepest {
                true => as_columns(item.value.clone(), &places)?,
                false => Expr::Column(places[place].clone()),
            };
            expressions.push(names.named(value, &item.name));
        }
        let plan = projection(plan, expressions)?;
        let columns = plan.schema().columns();
        Ok((plan, columns))
    }
}

fn projection(plan: LogicalPlan, expressions: Vec<Expr>) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Projection(Projection::try_new(expressions, Arc::new(plan))?))
}
