//! Joins: `USING` and `NATURAL` as Spark means them, and short names of kinds.
//!
//! A key of USING is one column above the join: that of the left side, of the right side in a right
//! outer join, and whichever is there in a full outer one. `*` has the keys first.

use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExceptSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    OrderBy, Select, SelectItem, SelectItemQualifiedWildcardKind, TableAlias, TableFactor,
    TableWithJoins, WildcardAdditionalOptions,
};

use super::names::Names;
use super::substitute::substitute;
use super::tree::{binary, call, joined, nested};

/// Rewrites the joins of a SELECT, and what reads their keys.
pub(super) fn rewrite_joins(
    select: &mut Select,
    order_by: Option<&mut OrderBy>,
    names: &Names,
) -> Result<()> {
    let mut merges = false;
    for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
        write_out(&mut join.join_operator);
        merges |= matches!(
            constraint(&mut join.join_operator),
            Some(JoinConstraint::Using(_) | JoinConstraint::Natural)
        );
    }
    if !merges {
        return Ok(());
    }
    let mut columns = Vec::new();
    for from in &mut select.from {
        columns.extend(merged(from, names)?);
    }
    read_keys(select, order_by, &columns)
}

/// `SEMI JOIN` is `LEFT SEMI JOIN`, and so is ANTI.
fn write_out(operator: &mut JoinOperator) {
    match operator {
        JoinOperator::Semi(on) => *operator = JoinOperator::LeftSemi(on.clone()),
        JoinOperator::Anti(on) => *operator = JoinOperator::LeftAnti(on.clone()),
        _ => {}
    }
}

fn constraint(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on)
        | JoinOperator::LeftSemi(on)
        | JoinOperator::RightSemi(on)
        | JoinOperator::LeftAnti(on)
        | JoinOperator::RightAnti(on)
        | JoinOperator::CrossJoin(on) => Some(on),
        _ => None,
    }
}

/// Part of what `*` stands for.
enum Columns {
    /// A key that is one column for both sides.
    Key { name: Ident, value: Box<Expr> },
    /// A table's columns, but for its keys.
    Of(Table),
}

struct Table {
    name: Ident,
    /// Where they are known.
    columns: Option<Vec<String>>,
    keys: Vec<Ident>,
}

fn same(one: &Ident, other: &Ident) -> bool {
    one.value.eq_ignore_ascii_case(&other.value)
}

impl Table {
    fn of(relation: &mut TableFactor, place: usize, names: &Names) -> Result<Table> {
        let columns = names.columns_in(relation);
        let name = match relation {
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. } => Some(alias.name.clone()),
            TableFactor::Table { name, .. } => {
                name.0.last().and_then(|name| name.as_ident()).cloned()
            }
            TableFactor::Derived { alias, .. } => {
                let name = Ident::new(format!("__joined_{place}"));
                let of = TableAlias {
                    explicit: true,
                    name: name.clone(),
                    columns: Vec::new(),
                    at: None,
                };
                *alias = Some(of);
                Some(name)
            }
            _ => None,
        };
        match name {
            Some(name) => Ok(Table { name, columns, keys: Vec::new() }),
            None => plan_err!("USING and NATURAL join tables and subqueries; write ON"),
        }
    }

    fn column(&self, name: &Ident) -> Expr {
        Expr::CompoundIdentifier(vec![self.name.clone(), name.clone()])
    }

    /// Whether it has such a column, where that is known.
    fn has(&self, name: &Ident) -> Option<bool> {
        let columns = self.columns.as_ref()?;
        Some(columns.iter().any(|column| column.eq_ignore_ascii_case(&name.value)))
    }

    /// Its columns in a SELECT, if any are left.
    fn item(&self) -> Option<SelectItem> {
        let is_key =
            |column: &String| self.keys.iter().any(|key| key.value.eq_ignore_ascii_case(column));
        if self.columns.as_ref().is_some_and(|columns| columns.iter().all(is_key)) {
            return None;
        }
        let except = self.keys.split_first().map(|(first, rest)| ExceptSelectItem {
            first_element: first.clone(),
            additional_elements: rest.to_vec(),
        });
        let name = ObjectName::from(vec![self.name.clone()]);
        Some(SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(name),
            WildcardAdditionalOptions { opt_except: except, ..Default::default() },
        ))
    }
}

/// Writes the joins of a table with ON, and says what columns come of them.
fn merged(from: &mut TableWithJoins, names: &Names) -> Result<Vec<Columns>> {
    let mut columns = vec![Columns::Of(Table::of(&mut from.relation, 0, names)?)];
    for (place, Join { relation, join_operator, .. }) in from.joins.iter_mut().enumerate() {
        let mut right = Table::of(relation, place + 1, names)?;
        let keys = match constraint(join_operator) {
            Some(JoinConstraint::Using(keys)) => {
                let key = |key: &ObjectName| key.0.last().and_then(|k| k.as_ident()).cloned();
                keys.iter().filter_map(key).collect()
            }
            Some(JoinConstraint::Natural) => common(&columns, &right)?,
            _ => Vec::new(),
        };
        let mut merged = Vec::new();
        let mut on = Vec::new();
        for mut name in keys {
            names.spell_column(&mut name);
            let left = take_key(&mut columns, &name)?;
            let right_key = right.column(&name);
            on.push(binary(*nested(left.clone()), BinaryOperator::Eq, right_key.clone()));
            let value = match join_operator {
                JoinOperator::FullOuter(_) => {
                    Expr::Function(call("coalesce", vec![left, right_key]))
                }
                JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right_key,
                _ => left,
            };
            right.keys.push(name.clone());
            merged.push(Columns::Key { name, value: Box::new(value) });
        }
        merged.append(&mut columns);
        columns = merged;
        let gives_right =
            !matches!(join_operator, JoinOperator::LeftSemi(_) | JoinOperator::LeftAnti(_));
        if let (Some(constraint), Some(on)) =
            (constraint(join_operator), joined(on, &BinaryOperator::And))
        {
            *constraint = JoinConstraint::On(on);
        }
        if gives_right {
            columns.push(Columns::Of(right));
        }
    }
    Ok(columns)
}

/// The columns that both sides of a NATURAL join have.
fn common(left: &[Columns], right: &Table) -> Result<Vec<Ident>> {
    let mut found = Vec::new();
    for columns in left {
        match columns {
            Columns::Key { name, .. } => found.push(name.clone()),
            Columns::Of(Table { columns: Some(columns), keys, .. }) => {
                let names = columns.iter().map(Ident::new);
                found.extend(names.filter(|name| !keys.iter().any(|key| same(key, name))));
            }
            Columns::Of(table) => return unknown(table),
        }
    }
    if right.columns.is_none() {
        return unknown(right);
    }
    found.retain(|name| right.has(name) == Some(true));
    Ok(found)
}

fn unknown<T>(table: &Table) -> Result<T> {
    plan_err!(
        "NATURAL JOIN: the columns of {} are not known here; name the common ones with USING",
        table.name
    )
}

/// The value of a key on the left side, which from here on is no column of its own.
fn take_key(columns: &mut Vec<Columns>, key: &Ident) -> Result<Expr> {
    let merged = |columns: &Columns| match columns {
        Columns::Key { name, .. } => same(name, key),
        Columns::Of(_) => false,
    };
    if let Some(place) = columns.iter().position(merged)
        && let Columns::Key { value, .. } = columns.remove(place)
    {
        return Ok(*value);
    }
    let mut tables: Vec<&mut Table> = columns
        .iter_mut()
        .filter_map(|columns| match columns {
            Columns::Of(table) if table.has(key) != Some(false) => Some(table),
            _ => None,
        })
        .collect();
    let [table] = tables.as_mut_slice() else {
        return plan_err!(
            "USING: {key} has to be a column of one table on the left side; name it in an ON"
        );
    };
    table.keys.push(key.clone());
    Ok(table.column(key))
}

/// Puts the keys in the place of their bare names, and all columns in that of `*`.
fn read_keys(
    select: &mut Select,
    order_by: Option<&mut OrderBy>,
    columns: &[Columns],
) -> Result<()> {
    let key = |ident: &Ident| {
        columns.iter().find_map(|columns| match columns {
            Columns::Key { name, value } if same(name, ident) => Some(value.as_ref().clone()),
            _ => None,
        })
    };
    let mut items = Vec::new();
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(options) if options.opt_except.is_some() => {
                return plan_err!(
                    "* EXCEPT over a join with USING is not supported; name the columns"
                );
            }
            SelectItem::Wildcard(_) => items.extend(columns.iter().filter_map(|c| match c {
                Columns::Key { name, value } => Some(SelectItem::ExprWithAlias {
                    expr: value.as_ref().clone(),
                    alias: name.clone(),
                }),
                Columns::Of(table) => table.item(),
            })),
            SelectItem::UnnamedExpr(Expr::Identifier(alias)) if key(&alias).is_some() => {
                items.extend(key(&alias).map(|expr| SelectItem::ExprWithAlias { expr, alias }));
            }
            other => items.push(other),
        }
    }
    let is_item = |ident: &Ident| {
        items.iter().any(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => same(alias, ident),
            _ => false,
        })
    };
    if let Some(order_by) = order_by {
        substitute(order_by, &|ident| if is_item(ident) { None } else { key(ident) });
    }
    select.projection = items;
    substitute(&mut select.projection, &key);
    substitute(&mut select.selection, &key);
    substitute(&mut select.group_by, &key);
    substitute(&mut select.having, &key);
    Ok(())
}
