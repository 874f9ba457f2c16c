//! The items of a SELECT. One that reads another reads a column that stands for it.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::clause::Clause;
use super::scope::{Visible, same};
use crate::error::{Error, Result, refuse};
use crate::spec::{Argument, Expression, Literal, Sign};

/// Expressions that an item comes to, with those of the items that it reads, where it has to be
/// written out.
const WRITTEN_OUT_MAX: usize = 4_096;

/// The qualifier of a column that stands for an item of the SELECT, whose number is the column's
/// name, until it is planned.
const ITEMS: &str = "\u{e000}items";

/// One item of a SELECT.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The column's name.
    pub(super) name: String,
    /// Whether the query gave it the name.
    pub(super) is_named: bool,
    /// What it is; items before it that it reads stand as [`item_column`]s.
    pub(super) value: Expr,
    /// The relation that it is a column of.
    pub(super) relation: Option<String>,
    /// How many projections have to be below the one that it is in.
    pub(super) level: usize,
}

pub(super) fn item_of(column: &Visible) -> Item {
    Item {
        name: column.name.clone(),
        is_named: false,
        value: column.value.clone(),
        relation: column.relation.clone(),
        level: 0,
    }
}

/// The place of an item that a number says, from 0.
///
/// # Errors
/// There is no such item.
pub(super) fn by_place(by: &Expression, count: usize, clause: Clause) -> Result<Option<usize>> {
    let number = match by {
        Expression::Literal(Literal::Number(digits)) => digits.parse::<i32>().ok(),
        Expression::Call(call) if call.sign() == Some(Sign::Minus) => {
            match call.arguments.as_slice() {
                [Argument { value: Expression::Literal(Literal::Number(digits)), .. }] => {
                    digits.parse::<i32>().ok().map(|number| -number)
                }
                _ => None,
            }
        }
        _ => None,
    };
    // A BIGINT is a value.
    let Some(number) = number else { return Ok(None) };
    let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    match place.filter(|place| *place < count) {
        Some(place) => Ok(Some(place)),
        None => refuse!(
            "[{}_POS_OUT_OF_RANGE] {clause} position {number} is not in the select list (valid range is [1, {count}])",
            clause.to_string().replace(' ', "_")
        ),
    }
}

/// The column that stands for an item.
pub(super) fn item_column(place: usize) -> Column {
    Column::new(Some(TableReference::bare(ITEMS)), place.to_string())
}

/// The number of the item that a column stands for.
pub(super) fn item_place(column: &Column) -> Option<usize> {
    match &column.relation {
        Some(TableReference::Bare { table }) if table.as_ref() == ITEMS => column.name.parse().ok(),
        _ => None,
    }
}

/// The items that an expression reads.
pub(super) fn items_in(value: &Expr) -> Vec<usize> {
    value.column_refs().into_iter().filter_map(item_place).collect()
}

pub(super) fn level_of(value: &Expr, before: &[Item]) -> usize {
    let levels = items_in(value).into_iter().map(|place| before[place].level + 1);
    levels.max().unwrap_or(0)
}

/// An expression with the columns of items for what stands for them.
pub(super) fn as_columns(value: Expr, columns: &[Column]) -> Result<Expr> {
    replaced(value, &|place| columns.get(place).cloned().map(Expr::Column))
}

/// An expression with what items are for what stands for them.
///
/// # Errors
/// It comes to more than can be meant: each item may read the one before it twice.
pub(super) fn written_out(value: Expr, items: &[Item], clause: Clause) -> Result<Expr> {
    let mut value = value;
    // What an item is may read items before it.
    loop {
        // What is put into it, beside what was written.
        let (mut size, mut reads_items) = (0, false);
        value.apply(|e| {
            if let Expr::Column(column) = e
                && let Some(item) = item_place(column).and_then(|place| items.get(place))
            {
                reads_items = true;
                size += count(&item.value)?;
            }
            Ok(match size > WRITTEN_OUT_MAX {
                true => TreeNodeRecursion::Stop,
                false => TreeNodeRecursion::Continue,
            })
        })?;
        if size > WRITTEN_OUT_MAX {
            refuse!(
                "{clause} comes to more than {WRITTEN_OUT_MAX} expressions, with those of the aliases that it reads; compute them in a step of their own"
            );
        }
        if !reads_items {
            return Ok(value);
        }
        value = replaced(value, &|place| items.get(place).map(|item| item.value.clone()))?;
    }
}

/// Expressions in one, as far as they matter.
fn count(value: &Expr) -> datafusion::common::Result<usize> {
    let mut size = 0;
    value.apply(|_| {
        size += 1;
        Ok(match size > WRITTEN_OUT_MAX {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(size)
}

fn replaced(value: Expr, by: &dyn Fn(usize) -> Option<Expr>) -> Result<Expr> {
    let replaced = value.transform_down(|e| match &e {
        Expr::Column(column) => match item_place(column).and_then(by) {
            Some(other) => Ok(Transformed::new(other, true, TreeNodeRecursion::Jump)),
            None => Ok(Transformed::no(e)),
        },
        _ => Ok(Transformed::no(e)),
    })?;
    Ok(replaced.data)
}

/// Names that a projection has given, each of which it can give once.
#[derive(Default)]
pub(super) struct Names {
    given: HashMap<String, Vec<Option<TableReference>>>,
    /// How often a name was asked for that was given already.
    again: HashMap<String, usize>,
}

impl Names {
    pub(super) fn named(&mut self, value: Expr, name: &str) -> Expr {
        // A name without a table is like that of any table.
        if let Expr::Column(column) = &value
            && column.name == name
        {
            let tables = self.given.entry(name.to_owned()).or_default();
            let is_other = |table: &Option<TableReference>| {
                table.is_some() && column.relation.is_some() && *table != column.relation
            };
            if tables.iter().all(is_other) {
                tables.push(column.relation.clone());
                return value;
            }
        }
        let mut given = name.to_owned();
        while self.given.contains_key(&given) {
            let count = self.again.entry(name.to_owned()).or_insert(1);
            *count += 1;
            given = format!("{name}#{count}");
        }
        self.given.insert(given.clone(), vec![None]);
        value.alias(given)
    }
}

/// Refuses a name that several items have.
pub(super) fn check_alias(items: &[Item], name: &str) -> Result<()> {
    let matches = items.iter().filter(|item| item.is_named && same(&item.name, name)).count();
    if matches > 1 {
        refuse!(
            "[AMBIGUOUS_LATERAL_COLUMN_ALIAS] Lateral column alias `{name}` is ambiguous and has {matches} matches."
        );
    }
    Ok(())
}

/// The item of that name, if there is one; the last of several.
pub(super) fn alias_named(items: &[Item], name: &str, given_alone: bool) -> Option<usize> {
    items.iter().rposition(|item| (item.is_named || !given_alone) && same(&item.name, name))
}

/// A schema that has an item's column, too.
pub(super) fn with_item(
    schema: &Arc<DFSchema>,
    items: &[Item],
    place: usize,
) -> Result<Arc<DFSchema>> {
    let column = item_column(place);
    if schema.maybe_index_of_column(&column).is_some() {
        return Ok(Arc::clone(schema));
    }
    let item = items.get(place).ok_or_else(|| Error::new("an item was lost", None))?;
    let mut known = Arc::clone(schema);
    for before in items_in(&item.value) {
        known = with_item(&known, items, before)?;
    }
    let schema = &known;
    let (_, field) = item.value.to_field(schema)?;
    let field = field.as_ref().clone().with_name(&column.name);
    let mut fields: Vec<_> =
        schema.iter().map(|(table, field)| (table.cloned(), Arc::clone(field))).collect();
    fields.push((column.relation, Arc::new(field)));
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}
