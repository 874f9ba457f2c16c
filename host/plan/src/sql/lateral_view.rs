//! `LATERAL VIEW`, and a generator with names for several columns, as queries within the query.
//!
//! ```text
//! SELECT id, v.x FROM t LATERAL VIEW posexplode(list) v AS p, x
//! ─▶ SELECT id, t.x FROM (SELECT t.* EXCEPT (g), struct_field(g, 0) AS p, struct_field(g, 1) AS x
//!                         FROM (SELECT t.*, posexplode(list) AS g FROM t) t) t
//! ```

use std::ops::ControlFlow;

use datafusion::common::{Result, internal_err, plan_err};
use datafusion::sql::sqlparser::ast::{
    ExceptSelectItem, Expr, Function, Ident, LateralView, ObjectName, OrderBy, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, VisitMut,
    VisitorMut, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::parser::Parser;
use tidemill_functions::{STRUCT_FIELD, Shape, find};

use super::dialect::Spark;
use super::tree::{call, whole};

/// The column of a generator until it is taken apart.
pub(crate) const WHOLE: &str = "__lateral";

/// Puts the views of a SELECT into its FROM.
///
/// # Errors
/// What is selected from is no single table, or a view is none of a generator.
pub(super) fn into_queries(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
    named_apart(select)?;
    let views = std::mem::take(&mut select.lateral_views);
    if views.is_empty() {
        return Ok(());
    }
    let [TableWithJoins { relation, joins }] = select.from.as_mut_slice() else {
        return plan_err!("LATERAL VIEW needs one table to select from");
    };
    if !joins.is_empty() {
        return plan_err!(
            "LATERAL VIEW over a join is not supported yet; join in a step before, and select from that"
        );
    }
    let table = match &*relation {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => alias.name.clone(),
        TableFactor::Table { name, .. } => match name.0.last().and_then(|part| part.as_ident()) {
            Some(name) => name.clone(),
            None => return plan_err!("LATERAL VIEW needs a table with a name"),
        },
        _ => return plan_err!("LATERAL VIEW needs a table with a name; give it one by AS"),
    };
    let mut names = Vec::new();
    for view in views {
        names.push(view.lateral_view_name.to_string().trim_matches('`').to_owned());
        let inner = std::mem::replace(relation, placeholder());
        *relation = with_view(inner, &table, view)?;
    }
    // The columns of the views are the table's now.
    let mut rename = OfTable { views: names, table };
    let _ = select.projection.visit(&mut rename);
    let _ = select.selection.visit(&mut rename);
    let _ = select.group_by.visit(&mut rename);
    let _ = select.having.visit(&mut rename);
    let _ = order_by.map(|order_by| order_by.visit(&mut rename));
    Ok(())
}

/// `SELECT posexplode(list) AS (p, x)` is a view, too.
fn named_apart(select: &mut Select) -> Result<()> {
    for item in &select.projection {
        let SelectItem::ExprWithAliases { expr, aliases } = item else { continue };
        let Expr::Function(call) = expr else {
            return plan_err!("several names are given to what is no generator");
        };
        // The table may have columns of these names.
        let columns = (0..aliases.len()).map(|number| Ident::new(format!("{WHOLE}_{number}")));
        let view = LateralView {
            lateral_view: Expr::Function(call.clone()),
            lateral_view_name: ObjectName::from(vec![Ident::new(WHOLE)]),
            lateral_col_alias: columns.collect(),
            outer: false,
        };
        select.lateral_views.push(view);
    }
    let items = std::mem::take(&mut select.projection);
    select.projection = items
        .into_iter()
        .flat_map(|item| match item {
            SelectItem::ExprWithAliases { aliases, .. } => {
                let named = |(number, alias)| SelectItem::ExprWithAlias {
                    expr: Expr::Identifier(Ident::new(format!("{WHOLE}_{number}"))),
                    alias,
                };
                aliases.into_iter().enumerate().map(named).collect()
            }
            other => vec![other],
        })
        .collect();
    Ok(())
}

fn placeholder() -> TableFactor {
    TableFactor::Table {
        name: ObjectName::from(vec![Ident::new("")]),
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

fn with_view(inner: TableFactor, table: &Ident, view: LateralView) -> Result<TableFactor> {
    let LateralView { lateral_view, lateral_view_name, lateral_col_alias, outer } = view;
    let Expr::Function(mut generator) = lateral_view else {
        return plan_err!("LATERAL VIEW {lateral_view_name} needs a generator, such as explode()");
    };
    let name = generator_name(&generator, outer)?;
    generator.name = ObjectName::from(vec![Ident::new(name)]);
    let aliases = match (lateral_col_alias.as_slice(), name.trim_end_matches("_outer")) {
        ([], "explode") => vec![Ident::new("col")],
        ([], "posexplode") => vec![Ident::new("pos"), Ident::new("col")],
        ([], other) => {
            return plan_err!(
                "LATERAL VIEW {lateral_view_name}: name the columns of {other}(), as in AS a, b"
            );
        }
        (aliases, _) => aliases.to_vec(),
    };
    let is_one = aliases.len() == 1 && name.starts_with("explode");
    let column = if is_one { aliases[0].clone() } else { Ident::new(WHOLE) };
    let generated = SelectItem::ExprWithAlias { expr: Expr::Function(generator), alias: column };
    let with = derived(inner, None, vec![generated], table)?;
    if is_one {
        return Ok(with);
    }
    let field = |(number, alias): (usize, &Ident)| {
        let count = whole(aliases.len() as i32);
        let arguments = vec![Expr::Identifier(Ident::new(WHOLE)), whole(number as i32), count];
        let expr = Expr::Function(call(STRUCT_FIELD, arguments));
        SelectItem::ExprWithAlias { expr, alias: alias.clone() }
    };
    let fields = aliases.iter().enumerate().map(field).collect();
    derived(with, Some(WHOLE), fields, table)
}

fn generator_name(call: &Function, outer: bool) -> Result<&'static str> {
    let written = call.name.to_string();
    let found = find(&written).filter(|function| matches!(function.shape, Shape::Generator(_)));
    let Some(found) = found else {
        return plan_err!(
            "[UNSUPPORTED_GENERATOR.NOT_GENERATOR] LATERAL VIEW needs a generator, such as explode(), and {written}() is none"
        );
    };
    if !outer || found.name.ends_with("_outer") {
        return Ok(found.name);
    }
    match find(&format!("{}_outer", found.name)) {
        Some(outer) => Ok(outer.name),
        None => plan_err!("LATERAL VIEW OUTER of {}() is not supported yet", found.name),
    }
}

/// `(SELECT table.* EXCEPT (left_out), items FROM inner) AS table`
fn derived(
    inner: TableFactor,
    left_out: Option<&str>,
    items: Vec<SelectItem>,
    table: &Ident,
) -> Result<TableFactor> {
    let dialect = Spark::default();
    let parsed = Parser::new(&dialect)
        .try_with_sql("SELECT * FROM t")
        .and_then(|mut parser| parser.parse_query());
    let Ok(mut query) = parsed else {
        return internal_err!("a SELECT could not be made");
    };
    let except = left_out.map(|name| ExceptSelectItem {
        first_element: Ident::new(name),
        additional_elements: Vec::new(),
    });
    let options = WildcardAdditionalOptions { opt_except: except, ..Default::default() };
    let all = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![table.clone()]));
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::QualifiedWildcard(all, options)];
        select.projection.extend(items);
        select.from = vec![TableWithJoins { relation: inner, joins: Vec::new() }];
    }
    let alias = TableAlias { explicit: true, name: table.clone(), columns: Vec::new(), at: None };
    Ok(TableFactor::Derived { lateral: false, subquery: query, alias: Some(alias), sample: None })
}

/// Columns of views become the table's.
struct OfTable {
    views: Vec<String>,
    table: Ident,
}

impl VisitorMut for OfTable {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(idents) = expr
            && let Some(first) = idents.first_mut()
            && self.views.iter().any(|view| view.eq_ignore_ascii_case(&first.value))
        {
            *first = self.table.clone();
        }
        ControlFlow::Continue(())
    }
}
