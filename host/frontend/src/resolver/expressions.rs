//! Expressions, from the inside out.

use std::sync::Arc;

use arrow::datatypes::{DataType, Fields};
use datafusion::common::DFSchema;
use datafusion::functions::core::named_struct;
use datafusion::logical_expr::{Case, Expr, ExprSchemable, lit};
use tidemill_functions::{Access, cast_by, element, struct_field};

use super::clause::Clause;
use super::items::Item;
use super::scope::{Scope, same};
use super::{Resolver, coercion, literals, naming, operators, position};
use crate::error::{Result, refuse};
use crate::spec::{Branch, Expression, Literal, Sign};
use crate::types;

/// What an expression is looked at in.
pub(super) struct Context<'s> {
    /// The columns that names can mean.
    pub(super) scope: &'s Scope,
    /// Their types.
    pub(super) schema: Arc<DFSchema>,
    /// Names that the items of the SELECT give.
    pub(super) aliases: Aliases,
    /// The window that is grouped by, which goes before everything else of that name but an item.
    pub(super) window: Option<(String, Expr)>,
    /// What is grouped by, where that is sets.
    pub(super) sets: Option<Vec<Expr>>,
    /// Where this is, in errors.
    pub(super) clause: Clause,
    /// Whether there are groups that a value can be computed for.
    pub(super) allows_aggregates: bool,
    /// Whether rows can be looked at in windows.
    pub(super) allows_windows: bool,
    /// Whether this is in a function over a window of rows.
    pub(super) is_in_window: bool,
    /// The aggregate around this, which reads rows and not groups.
    pub(super) inside_aggregate: Option<String>,
    /// Whether rows are chosen by this, and by nothing around it but AND.
    pub(super) is_conjunct: bool,
}

/// When the names of items are looked up.
pub(super) enum Aliases {
    /// Never.
    None,
    /// When no column has the name: in an item.
    After(Vec<Item>),
    /// Before the columns: in HAVING and ORDER BY.
    Before(Vec<Item>),
}

impl Aliases {
    pub(super) fn items(&self) -> &[Item] {
        match self {
            Aliases::None => &[],
            Aliases::After(items) | Aliases::Before(items) => items,
        }
    }

    /// Gives the items back.
    pub(super) fn take(&mut self) -> Vec<Item> {
        match std::mem::replace(self, Aliases::None) {
            Aliases::None => Vec::new(),
            Aliases::After(items) | Aliases::Before(items) => items,
        }
    }
}

impl<'s> Context<'s> {
    pub(super) fn new(scope: &'s Scope, schema: Arc<DFSchema>, clause: Clause) -> Context<'s> {
        Context {
            scope,
            schema,
            aliases: Aliases::None,
            window: None,
            sets: None,
            clause,
            allows_aggregates: false,
            allows_windows: false,
            is_in_window: false,
            inside_aggregate: None,
            is_conjunct: false,
        }
    }

    pub(super) fn type_of(&self, value: &Expr) -> Result<DataType> {
        Ok(value.get_type(&self.schema)?)
    }

    /// A value with its type.
    pub(super) fn typed(&self, value: Expr) -> Result<(Expr, DataType)> {
        let kind = self.type_of(&value)?;
        Ok((value, kind))
    }
}

impl Resolver<'_> {
    /// What an expression is in the plan.
    pub(super) fn expression(
        &mut self,
        expression: &Expression,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let is_conjunct = std::mem::take(&mut context.is_conjunct);
        let resolved = self
            .resolved(expression, is_conjunct, context)
            .and_then(|value| self.with_its_fields(value, context));
        resolved.map_err(|error| error.or_at(position(expression)))
    }

    pub(super) fn expressions<'e>(
        &mut self,
        expressions: impl IntoIterator<Item = &'e Expression>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Expr>> {
        expressions.into_iter().map(|expression| self.expression(expression, context)).collect()
    }

    fn resolved(
        &mut self,
        expression: &Expression,
        is_conjunct: bool,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        match expression {
            Expression::Literal(literal) => literals::value(literal),
            Expression::Attribute { name, .. } => self.attribute(name, context),
            Expression::Star { .. } => refuse!(
                "[INVALID_USAGE_OF_STAR_OR_REGEX] Invalid usage of '*' in {}; it is an item of SELECT, and an argument of count() and struct()",
                context.clause
            ),
            Expression::Call(call) => {
                context.is_conjunct =
                    is_conjunct && matches!(call.sign(), Some(Sign::And | Sign::Not));
                let resolved = self.call(call, context);
                context.is_conjunct = false;
                resolved
            }
            Expression::Lambda { .. } => refuse!(
                "[INVALID_LAMBDA_FUNCTION_CALL] a lambda is an argument of a higher order function, such as transform(), and stands elsewhere"
            ),
            Expression::Alias { value, .. } => self.expression(value, context),
            Expression::Cast { value, kind, is_try, .. } => {
                let value = self.argument(value, context)?;
                let (kind, fields) = types::named(kind)?;
                if types::is_time(&kind) {
                    return Ok(match is_try {
                        true => datafusion::logical_expr::try_cast(value, kind),
                        false => datafusion::logical_expr::cast(value, kind),
                    });
                }
                let cast = cast_by(value, &kind, fields, *is_try);
                context.type_of(&cast)?;
                Ok(cast)
            }
            Expression::Extract { value, key, .. } => {
                let of = self.expression(value, context)?;
                let is_name = matches!(key.as_ref(), Expression::Literal(Literal::String(_)));
                if is_name && of_structs(&context.type_of(&of)?).is_some() {
                    self.learnt.structs.insert(std::ptr::from_ref(value.as_ref()));
                }
                let key = self.expression(key, context)?;
                self.extracted(of, key, context)
            }
            Expression::Case { operand, branches, otherwise } => {
                self.case(operand.as_deref(), branches, otherwise.as_deref(), context)
            }
            Expression::Over { call, window } => self.over(call, window, context),
            Expression::Subquery { kind, query, .. } => {
                context.is_conjunct = is_conjunct;
                let resolved = self.subquery(kind, query, context);
                context.is_conjunct = false;
                resolved
            }
            Expression::Tuple(values) => self.structure(values.iter(), context),
        }
    }

    fn extracted(&self, of: Expr, key: Expr, context: &Context<'_>) -> Result<Expr> {
        match (context.type_of(&of)?, &key) {
            (kind, Expr::Literal(name, _))
                if of_structs(&kind).is_some() && name.data_type().is_string() =>
            {
                let name = name.try_as_str().flatten().unwrap_or_default().to_owned();
                field(of, &name, context)
            }
            (DataType::List(_), _) if !is_index(&context.type_of(&key)?) => refuse!(
                "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] Cannot resolve \"{}[{}]\": the place in an array is a whole number, and has the type \"{}\"",
                naming::resolved(&of),
                naming::resolved(&key),
                coercion::spelled(&context.type_of(&key)?)
            ),
            (DataType::List(_) | DataType::Map(..), _) => Ok(element(Access::Subscript, of, key)),
            (other, _) => refuse!(
                "[INVALID_EXTRACT_BASE_FIELD_TYPE] Can't extract a value from \"{}\". Need a complex type [STRUCT, ARRAY, MAP] but got \"{}\".",
                naming::resolved(&of),
                coercion::spelled(&other)
            ),
        }
    }

    fn case(
        &mut self,
        operand: Option<&Expression>,
        branches: &[Branch],
        otherwise: Option<&Expression>,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let operand = operand.map(|operand| self.expression(operand, context)).transpose()?;
        let mut when_then = Vec::with_capacity(branches.len());
        for Branch { condition, result } in branches {
            let mut resolved = self.expression(condition, context)?;
            if operand.is_none() {
                let kind = context.type_of(&resolved)?;
                let Some(condition) = tidemill_functions::as_condition(resolved, &kind) else {
                    refuse!(
                        "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] \"{}\" is a condition of CASE and has to be a BOOLEAN; write a comparison",
                        naming::text(condition)
                    );
                };
                resolved = condition;
            }
            let result = self.expression(result, context)?;
            when_then.push((Box::new(resolved), Box::new(result)));
        }
        let otherwise =
            otherwise.map(|value| self.expression(value, context)).transpose()?.map(Box::new);
        let mut case =
            Case { expr: operand.map(Box::new), when_then_expr: when_then, else_expr: otherwise };
        coercion::meet_in_case(&mut case, &context.schema)?;
        let case = Expr::Case(case);
        if context.type_of(&case)? == DataType::Boolean {
            operators::check_choices("CASE", &case)?;
        }
        Ok(case)
    }
}

fn is_index(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_null()
}

/// The fields of a struct, or of the structs of an array.
fn of_structs(kind: &DataType) -> Option<&Fields> {
    match kind {
        DataType::Struct(fields) => Some(fields),
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => Some(fields),
            _ => None,
        },
        _ => None,
    }
}

/// A field of a struct, whatever the case of its name; of an array of structs, all of theirs.
///
/// # Errors
/// There is none, or it is no struct and no map.
pub(super) fn field(of: Expr, name: &str, context: &Context<'_>) -> Result<Expr> {
    let kind = context.type_of(&of)?;
    if let Some(fields) = of_structs(&kind) {
        let mut alike = fields.iter().enumerate().filter(|(_, field)| same(field.name(), name));
        return match (alike.next(), alike.next()) {
            (Some((number, _)), None) if matches!(kind, DataType::List(_)) => {
                Ok(struct_field(of, number))
            }
            (Some((_, field)), None) => {
                let get = datafusion::functions::core::get_field();
                Ok(get.call(vec![of, lit(field.name().as_str())]))
            }
            (Some(_), Some(_)) => refuse!(
                "[AMBIGUOUS_REFERENCE_TO_FIELDS] Ambiguous reference to the field `{name}`. It appears more than once in the schema."
            ),
            _ => {
                let known: Vec<String> =
                    fields.iter().map(|field| format!("`{}`", field.name())).collect();
                refuse!("[FIELD_NOT_FOUND] No such struct field `{name}` in {}.", known.join(", "))
            }
        };
    }
    match &kind {
        // What is taken out of an array by a text is no place.
        DataType::List(_) => refuse!(
            "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] Cannot resolve \"{}.{name}\": the place in an array is a whole number, and the array has no structs",
            naming::resolved(&of)
        ),
        DataType::Map(..) => Ok(element(Access::Subscript, of, lit(name))),
        other => refuse!(
            "[INVALID_EXTRACT_BASE_FIELD_TYPE] Can't extract a value from \"{}\". Need a complex type [STRUCT, ARRAY, MAP] but got \"{}\".",
            naming::resolved(&of),
            coercion::spelled(other)
        ),
    }
}

/// `(a, b)`: a struct of `col1`, `col2`.
pub(super) fn tuple(values: Vec<Expr>) -> Expr {
    let named = values.into_iter().enumerate();
    let fields = named.flat_map(|(place, value)| [lit(format!("col{}", place + 1)), value]);
    named_struct().call(fields.collect())
}
