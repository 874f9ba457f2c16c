//! Spark's `struct(…)`: fields are named after the columns that they come from, and `struct(*)`
//! has all columns of the table.

use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use super::lambdas;
use super::names::Names;
use super::parse::ALL_COLUMNS;
use super::tree::{call, text};

/// Rewrites every `struct(…)` of a SELECT to `named_struct`.
pub(super) fn name_fields(select: &mut Select, names: &Names) -> Result<()> {
    let columns = single_table(&select.from).and_then(|table| names.columns_of(&table));
    let mut fields = NameFields { columns, lambdas: 0, depth: 0 };
    let mut outcome = select.projection.visit(&mut fields);
    if outcome.is_continue() {
        outcome = select.group_by.visit(&mut fields);
    }
    for clause in [&mut select.selection, &mut select.having] {
        if let (ControlFlow::Continue(()), Some(clause)) = (&outcome, clause) {
            outcome = clause.visit(&mut fields);
        }
    }
    match outcome {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn single_table(from: &[TableWithJoins]) -> Option<String> {
    match from {
        [TableWithJoins { relation: TableFactor::Table { name, args: None, .. }, joins }]
            if joins.is_empty() =>
        {
            name.0.last()?.as_ident().map(|ident| ident.value.clone())
        }
        _ => None,
    }
}

struct NameFields<'a> {
    /// Of the table that is selected from, where there is one.
    columns: Option<&'a [String]>,
    /// Lambdas around the place that is looked at: `(a, b)` is a struct there. Elsewhere it may be a
    /// list of IN or of LIKE ANY, or a grouping set.
    lambdas: usize,
    /// Queries around the place that is looked at. Those inside the SELECT are rewritten by
    /// themselves.
    depth: usize,
}

impl NameFields<'_> {
    fn named(&self, expr: &Expr) -> Result<Option<Expr>> {
        let (values, fields) = match expr {
            Expr::Struct { values, fields } => (values, fields.as_slice()),
            Expr::Tuple(values) if self.lambdas > 0 => (values, [].as_slice()),
            _ => return Ok(None),
        };
        if !fields.is_empty() {
            return plan_err!("struct<…>(…) is no Spark SQL; write struct(value AS name, …)");
        }
        let fields = match values.as_slice() {
            [Expr::Identifier(all)] if all.value == ALL_COLUMNS => {
                let Some(columns) = self.columns else {
                    return plan_err!(
                        "struct(*) stands for all columns of one table, and this SELECT does not read just one that is no WITH or subquery; name the columns, or make a step of the inner query"
                    );
                };
                let quoted = |name: &String| Expr::Identifier(Ident::with_quote('`', name));
                columns.iter().map(|name| (name.clone(), quoted(name))).collect()
            }
            values => values.iter().enumerate().map(field).collect::<Vec<_>>(),
        };
        let pairs = fields.into_iter().flat_map(|(name, value)| [text(&name), value]).collect();
        Ok(Some(Expr::Function(call("named_struct", pairs))))
    }
}

/// A field's name and value; what is no column is called by its place, as in Spark.
fn field((index, value): (usize, &Expr)) -> (String, Expr) {
    match value {
        Expr::Identifier(ident) => (lambdas::written(&ident.value).to_owned(), value.clone()),
        Expr::CompoundIdentifier(idents) => {
            let last = idents.last().map(|ident| ident.value.clone());
            (last.unwrap_or_default(), value.clone())
        }
        Expr::Named { expr, name } => (name.value.clone(), expr.as_ref().clone()),
        other => (format!("col{}", index + 1), other.clone()),
    }
}

impl VisitorMut for NameFields<'_> {
    type Break = DataFusionError;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<DataFusionError> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<DataFusionError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        self.lambdas += usize::from(matches!(expr, Expr::Lambda(_)));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        self.lambdas -= usize::from(matches!(expr, Expr::Lambda(_)));
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match self.named(expr) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(named)) => {
                *expr = named;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}
