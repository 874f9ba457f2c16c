//! The columns that names can mean.

use std::collections::HashSet;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::error::{Error, Result};

/// A column that a name can mean.
#[derive(Clone, Debug)]
pub(super) struct Visible {
    /// The relation that it is of, as the query calls it.
    pub(super) relation: Option<String>,
    /// Its name, as it is written where it is defined.
    pub(super) name: String,
    /// What it is in the plan below.
    pub(super) value: Expr,
    /// Whether it is found with its relation's name alone: a key of USING, which stands beside the
    /// one of both sides.
    pub(super) is_hidden: bool,
}

/// All columns in sight, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) columns: Vec<Visible>,
}

/// What a name means: a column, and the fields in it that the rest of the name is.
pub(super) struct Found<'n> {
    pub(super) value: Expr,
    pub(super) fields: &'n [String],
}

pub(super) fn same(one: &str, other: &str) -> bool {
    let is_plain = one.is_ascii() && other.is_ascii();
    one.eq_ignore_ascii_case(other) || (!is_plain && one.to_lowercase() == other.to_lowercase())
}

/// A name that is there twice, whatever its case.
pub(super) fn twice<'n>(names: impl IntoIterator<Item = &'n String>) -> Option<&'n String> {
    let mut seen = HashSet::new();
    names.into_iter().find(|name| !seen.insert(name.to_lowercase()))
}

impl Scope {
    /// All columns of a plan under their own names.
    pub(super) fn of(plan: &LogicalPlan) -> Scope {
        let columns = plan.schema().iter().map(|(qualifier, field)| Visible {
            relation: None,
            name: field.name().clone(),
            value: Expr::Column(Column::new(qualifier.cloned(), field.name())),
            is_hidden: false,
        });
        Scope { columns: columns.collect() }
    }

    /// Those that `*` stands for.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Visible> {
        self.columns.iter().filter(|column| !column.is_hidden)
    }

    /// What a name means here; nothing, if nothing. A relation's name goes before a column's.
    ///
    /// # Errors
    /// It means several columns.
    pub(super) fn find<'n>(&self, name: &'n [String]) -> Result<Option<Found<'n>>> {
        if let [relation, column, fields @ ..] = name {
            let of_relation = self.columns.iter().filter(|visible| {
                same(&visible.name, column)
                    && visible.relation.as_deref().is_some_and(|known| same(known, relation))
            });
            if let Some(value) = only(name, of_relation)? {
                return Ok(Some(Found { value, fields }));
            }
        }
        let Some((column, fields)) = name.split_first() else { return Ok(None) };
        let named = self.shown().filter(|visible| same(&visible.name, column));
        Ok(only(name, named)?.map(|value| Found { value, fields }))
    }

    /// Whether there is a relation of that name.
    pub(super) fn has_relation(&self, name: &str) -> bool {
        let mut relations = self.columns.iter().filter_map(|column| column.relation.as_deref());
        relations.any(|relation| same(relation, name))
    }

    /// The relation that a value is a column of.
    pub(super) fn relation_of(&self, value: &Expr) -> Option<String> {
        let column = self.columns.iter().find(|visible| visible.value == *value);
        column.and_then(|column| column.relation.clone())
    }

    /// The names that are most like one that is none.
    pub(super) fn like(&self, name: &[String]) -> Vec<String> {
        let wanted = name.last().map(|name| name.to_lowercase()).unwrap_or_default();
        let distance = |known: &str| {
            let known = known.to_lowercase();
            datafusion::common::utils::datafusion_strsim::levenshtein(&wanted, &known)
        };
        let mut all: Vec<&Visible> = self.shown().collect();
        all.sort_by_key(|visible| distance(&visible.name));
        let several = all.iter().any(|one| one.relation != all[0].relation);
        let spelled = |visible: &&Visible| match &visible.relation {
            Some(relation) if several => format!("`{relation}`.`{}`", visible.name),
            _ => format!("`{}`", visible.name),
        };
        all.iter().take(5).map(spelled).collect()
    }
}

fn only<'a>(name: &[String], mut all: impl Iterator<Item = &'a Visible>) -> Result<Option<Expr>> {
    let Some(first) = all.next() else { return Ok(None) };
    let others: Vec<&Visible> = all.filter(|other| other.value != first.value).collect();
    if others.is_empty() {
        return Ok(Some(first.value.clone()));
    }
    let spelled = |visible: &Visible| match &visible.relation {
        Some(relation) => format!("`{relation}`.`{}`", visible.name),
        None => format!("`{}`", visible.name),
    };
    let all: Vec<String> = std::iter::once(first).chain(others).map(spelled).collect();
    Err(Error::new(
        format!(
            "[AMBIGUOUS_REFERENCE] Reference {} is ambiguous, could be: [{}]. Write the table before it",
            quoted(name),
            all.join(", ")
        ),
        None,
    ))
}

/// A name as errors spell it.
pub(super) fn quoted(name: &[String]) -> String {
    name.iter().map(|part| format!("`{part}`")).collect::<Vec<_>>().join(".")
}
