//! Spark's `struct(…)`: fields are named after the columns that they come from, and `struct(*)`
//! has all columns of the table.

use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Select, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};

use super::parse::{Names, parse_expr};

/// Rewrites every `struct(…)` of a SELECT to `named_struct`.
pub(super) fn name_fields(select: &mut Select, names: &Names) -> Result<()> {
    let columns = single_table(&select.from).and_then(|table| names.columns_of(&table));
    let mut fields = NameFields { columns };
    let mut outcome = select.projection.visit(&mut fields);
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
}

impl NameFields<'_> {
    fn named(&self, expr: &Expr) -> Result<Option<Expr>> {
        let fields: Vec<(String, String)> = match expr {
            Expr::Struct { values, fields } if fields.is_empty() => {
                values.iter().enumerate().map(|(index, value)| field(index, value)).collect()
            }
            Expr::Function(function)
                if function.name.to_string().eq_ignore_ascii_case("struct")
                    && has_wildcard(&function.args) =>
            {
                let Some(columns) = self.columns else {
                    return plan_err!(
                        "struct(*) stands for all columns of one table, and this SELECT does not read just one; name the columns, or make a step of the inner query"
                    );
                };
                columns.iter().map(|name| (name.clone(), quoted(name))).collect()
            }
            _ => return Ok(None),
        };
        let fields: Vec<String> = fields
            .into_iter()
            .map(|(name, value)| format!("'{}', {value}", name.replace('\'', "''")))
            .collect();
        parse_expr(&format!("named_struct({})", fields.join(", "))).map(Some)
    }
}

/// A field's name and value; what is no column is called by its place, as in Spark.
fn field(index: usize, value: &Expr) -> (String, String) {
    match value {
        Expr::Identifier(ident) => (ident.value.clone(), value.to_string()),
        Expr::CompoundIdentifier(idents) => {
            let last = idents.last().map(|ident| ident.value.clone());
            (last.unwrap_or_default(), value.to_string())
        }
        Expr::Named { expr, name } => (name.value.clone(), expr.to_string()),
        other => (format!("col{}", index + 1), other.to_string()),
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn has_wildcard(arguments: &FunctionArguments) -> bool {
    matches!(arguments, FunctionArguments::List(list)
        if matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]))
}

impl VisitorMut for NameFields<'_> {
    type Break = DataFusionError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
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
