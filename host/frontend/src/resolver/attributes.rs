//! What names mean.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, ExprSchemable};

use super::Resolver;
use super::clause::Clause;
use super::expressions::{Aliases, Context, field};
use super::items::{alias_named, check_alias, item_column, with_item};
use super::scope::{Scope, Visible, quoted, same};
use crate::error::{Error, Result, refuse};

impl Resolver<'_> {
    /// A name: a variable of a lambda, a column here, an item of the SELECT, a column of a query
    /// around this one; and fields in it.
    pub(super) fn attribute(&mut self, name: &[String], context: &mut Context<'_>) -> Result<Expr> {
        if let Some(first) = name.first()
            && let Some(variable) = self.variables.find(first)
        {
            return fields(variable, &name[1..], context);
        }
        let aliases_first =
            matches!(context.aliases, Aliases::Before(_)) && context.inside_aggregate.is_none();
        if aliases_first && let Some(item) = alias(name, context)? {
            return fields(item, &name[1..], context);
        }
        if let Some((window, value)) = &context.window
            && name.first().is_some_and(|first| same(first, window))
        {
            return fields(value.clone(), &name[1..], context);
        }
        if let Some(found) = context.scope.find(name)? {
            return fields(found.value, found.fields, context);
        }
        if matches!(context.aliases, Aliases::After(_))
            && let Some(item) = alias(name, context)?
        {
            if context.inside_aggregate.is_some() {
                refuse!(
                    "[UNSUPPORTED_FEATURE.LATERAL_COLUMN_ALIAS_IN_AGGREGATE_FUNC] The feature is not supported: Referencing a lateral column alias {} in an aggregate function; write what it stands for",
                    quoted(name)
                );
            }
            if context.is_in_window {
                refuse!(
                    "[UNSUPPORTED_FEATURE.LATERAL_COLUMN_ALIAS_IN_WINDOW] The feature is not supported: Referencing a lateral column alias {} in a window expression; write what it stands for",
                    quoted(name)
                );
            }
            return fields(item, &name[1..], context);
        }
        // As in Spark, a query sees the one around it, and none that is around that one.
        if let Some((scope, schema)) = self.outer.last()
            && let Some(found) = scope.find(name)?
        {
            let Expr::Column(column) = found.value else {
                refuse!(
                    "{} is a key of USING that both sides have, and is read in a query within the query, which is not supported yet; write the table before it",
                    quoted(name)
                );
            };
            let (_, of) = Expr::Column(column.clone()).to_field(schema)?;
            let outer = Expr::OuterReferenceColumn(of, column);
            return fields(outer, found.fields, context);
        }
        let outer = self.outer.last().into_iter().map(|(scope, _)| scope);
        Err(unresolved(name, context.scope, outer))
    }

    /// The columns that a star stands for.
    pub(super) fn star(
        &mut self,
        qualifier: &[String],
        except: &[String],
        context: &mut Context<'_>,
    ) -> Result<Vec<Visible>> {
        let scope = context.scope;
        let all: Vec<Visible> = match qualifier {
            [] => scope.shown().cloned().collect(),
            name => match name.last() {
                Some(relation) if scope.has_relation(relation) => {
                    let is_its = |column: &&Visible| {
                        column.relation.as_deref().is_some_and(|of| same(of, relation))
                    };
                    scope.columns.iter().filter(is_its).cloned().collect()
                }
                _ if context.scope.find(name)?.is_none() => refuse!(
                    "[CANNOT_RESOLVE_STAR_EXPAND] Cannot resolve {}.* given input columns {}. Please check that the specified table or struct exists and is accessible in the input columns.",
                    quoted(name),
                    context.scope.like(name).join(", ")
                ),
                _ => self.fields_of(name, context)?,
            },
        };
        for name in except {
            if !all.iter().any(|column| same(&column.name, name)) {
                refuse!(
                    "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column with name `{name}` cannot be resolved in * EXCEPT. Did you mean one of the following? [{}].",
                    scope.like(std::slice::from_ref(name)).join(", ")
                );
            }
        }
        let is_left = |column: &Visible| !except.iter().any(|name| same(name, &column.name));
        Ok(all.into_iter().filter(is_left).collect())
    }

    /// `s.*`: the fields of a struct.
    fn fields_of(&mut self, name: &[String], context: &mut Context<'_>) -> Result<Vec<Visible>> {
        let of = self.attribute(name, context)?;
        let kind = context.type_of(&of)?;
        let arrow::datatypes::DataType::Struct(inner) = &kind else {
            refuse!(
                "[CANNOT_RESOLVE_STAR_EXPAND] Cannot resolve {}.* given input columns {}. Please check that the specified table or struct exists and is accessible in the input columns.",
                quoted(name),
                context.scope.like(name).join(", ")
            );
        };
        let column = |of: &Expr, name: &str| -> Result<Visible> {
            Ok(Visible {
                relation: None,
                name: name.to_owned(),
                value: field(of.clone(), name, context)?,
                is_hidden: false,
            })
        };
        inner.iter().map(|inner| column(&of, inner.name())).collect()
    }
}

/// The item of that name, and its type.
fn alias(name: &[String], context: &mut Context<'_>) -> Result<Option<Expr>> {
    let given_alone = matches!(context.aliases, Aliases::After(_));
    let [first, ..] = name else { return Ok(None) };
    // `t.x` is no item `t`, where there is a table of that name.
    if name.len() > 1 && context.scope.find(name)?.is_some() {
        return Ok(None);
    }
    let Some(place) = alias_named(context.aliases.items(), first, given_alone) else {
        return Ok(None);
    };
    if given_alone {
        check_alias(context.aliases.items(), first)?;
    } else if context.aliases.items().iter().filter(|item| same(&item.name, first)).count() > 1 {
        if context.clause == Clause::Qualify {
            refuse!(
                "[AMBIGUOUS_REFERENCE] Reference {} is ambiguous: several items of the SELECT are called so",
                quoted(name)
            );
        }
        // Of several, none is meant, but the column below them.
        return Ok(None);
    }
    context.schema = with_item(&context.schema, context.aliases.items(), place)?;
    Ok(Some(Expr::Column(item_column(place))))
}

fn fields(of: Expr, names: &[String], context: &Context<'_>) -> Result<Expr> {
    names.iter().try_fold(of, |of, name| field(of, name, context))
}

fn unresolved<'s>(name: &[String], scope: &Scope, outer: impl Iterator<Item = &'s Scope>) -> Error {
    let mut like = scope.like(name);
    for scope in outer {
        like.extend(scope.like(name));
    }
    like.truncate(5);
    let reason = match like.is_empty() {
        true => format!(
            "[UNRESOLVED_COLUMN.WITHOUT_SUGGESTION] A column, variable, or function parameter with name {} cannot be resolved.",
            quoted(name)
        ),
        false => format!(
            "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column, variable, or function parameter with name {} cannot be resolved. Did you mean one of the following? [{}].",
            quoted(name),
            like.join(", ")
        ),
    };
    Error::new(reason, None)
}

/// The schema of both, one beside the other.
pub(super) fn of_both(
    left: &Arc<datafusion::common::DFSchema>,
    right: &Arc<datafusion::common::DFSchema>,
) -> Result<Arc<datafusion::common::DFSchema>> {
    Ok(Arc::new(left.join(right)?))
}
