//! Calls of functions: a plugin's, and Spark's by their descriptors.

use std::borrow::Cow;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::functions::core::named_struct;
use datafusion::logical_expr::{Expr, Signature, TypeSignature, lit};
use tidemill_functions::{Chooses, Function, MAP, Shape, Written, find};
use tidemill_types::Interval;

use super::Resolver;
use super::clause::Clause;
use super::expressions::Context;
use crate::catalog::CatalogFunction;
use crate::error::{Error, Result, refuse};
use crate::spec::{Argument, Call, Expression, Literal};

impl Resolver<'_> {
    pub(super) fn call(&mut self, call: &Call, context: &mut Context<'_>) -> Result<Expr> {
        if let Some(operator) = self.operator(call, context)? {
            return Ok(operator);
        }
        let function = match find(&call.name) {
            Some(function) if !function.is_left_out() => function,
            found => {
                return match self.catalog.function(&call.name) {
                    Some(known) => self.catalog_call(call, &known, context),
                    None => Err(missing(&call.name, found)),
                };
            }
        };
        if function.is_aggregate() {
            return self.aggregate(call, function, context);
        }
        self.check_plain(call)?;
        match function.shape {
            Shape::Scalar(_) => self.scalar(call, function, context),
            Shape::HigherOrder(make) => {
                self.higher_order(make, &in_order(call, function)?, context)
            }
            Shape::Struct => {
                self.structure(call.arguments.iter().map(|argument| &argument.value), context)
            }
            Shape::Aggregate(_) | Shape::Rewritten(_) | Shape::LeftOut(_) => {
                refuse!("{}() stands where it has no meaning", call.name)
            }
            Shape::Window(..) => refuse!(
                "[WINDOW_FUNCTION_WITHOUT_OVER_CLAUSE] Window function {}() requires an OVER clause; write {}() OVER (…)",
                function.name,
                function.name
            ),
            Shape::Generator(_) => Err(misplaced_generator(context.clause)),
            Shape::Numbers => refuse!(
                "[NOT_A_SCALAR_FUNCTION] {}() appears as a scalar expression, but the function was defined as a table function; write it in FROM",
                function.name
            ),
            Shape::Streaming { .. } => match self.catalog.function(function.name) {
                Some(known) => self.catalog_call(call, &known, context),
                None => refuse!(
                    "{}() is for streaming queries, and this is none; group by date_trunc(…) of the time",
                    function.name
                ),
            },
        }
    }

    /// A value of each row.
    fn scalar(
        &mut self,
        call: &Call,
        function: &'static Function,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let arguments = in_order(call, function)?;
        if let Some(make) = function.with_lambda
            && matches!(arguments.as_slice(), [_, Expression::Lambda { .. }])
        {
            return self.higher_order(make, &arguments, context);
        }
        let arguments = as_written(function, arguments);
        let mut typed = Vec::with_capacity(arguments.len());
        for argument in &arguments {
            match argument.as_ref() {
                Expression::Star { qualifier, except, .. } => {
                    for column in self.star(qualifier, except, context)? {
                        typed.push(context.typed(column.value)?);
                    }
                }
                argument => {
                    let value = self.argument(argument, context)?;
                    typed.push(context.typed(value)?);
                }
            }
        }
        if let [left, right] = arguments.as_slice() {
            self.learn_intervals([left, right], &typed);
        }
        built(function, typed, context)
    }

    /// Refuses what aggregates alone have.
    fn check_plain(&self, call: &Call) -> Result<()> {
        let clause = if call.is_distinct {
            "DISTINCT"
        } else if call.filter.is_some() {
            "FILTER"
        } else if !call.within_group.is_empty() {
            "WITHIN GROUP"
        } else if call.ignores_nulls.is_some() {
            "IGNORE NULLS"
        } else {
            return Ok(());
        };
        refuse!(
            "[INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX] The function `{}` does not support {clause}: it is no aggregate",
            call.name
        )
    }

    fn catalog_call(
        &mut self,
        call: &Call,
        known: &CatalogFunction,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        if let Some(named) = call.arguments.iter().find_map(|argument| argument.name.as_ref()) {
            refuse!("{}() takes no arguments by name, and {named} is one", call.name);
        }
        if let CatalogFunction::Aggregate(function) = known {
            return self.plugin_aggregate(call, function, context);
        }
        self.check_plain(call)?;
        let values = call.arguments.iter().map(|argument| &argument.value);
        let arguments = self.expressions(values, context)?;
        match known {
            CatalogFunction::Scalar { function, .. } => {
                if self.variables.is_in_lambda() {
                    refuse!(
                        "{}() of a plugin is called in a lambda, which is not supported yet; let a transform of the plugin take the whole array",
                        function.name()
                    );
                }
                let signature = function.signature();
                let arguments = as_declared(function.name(), signature, arguments, context)?;
                Ok(function.call(arguments))
            }
            CatalogFunction::Window(function) => Ok(function.call(spelled_one_way(arguments))),
            CatalogFunction::Plain(function) => Ok(function.call(arguments)),
            CatalogFunction::Aggregate(function) => {
                refuse!("{}() stands where it has no meaning", function.name())
            }
        }
    }

    /// `struct(…)`: fields are named after the columns that they come from, else by their places.
    pub(super) fn structure<'e>(
        &mut self,
        values: impl Iterator<Item = &'e Expression>,
        context: &mut Context<'_>,
    ) -> Result<Expr> {
        let mut fields: Vec<(String, Expr)> = Vec::new();
        for value in values {
            let place = fields.len() + 1;
            match value {
                Expression::Star { qualifier, except, .. } => {
                    let columns = self.star(qualifier, except, context)?;
                    fields.extend(columns.into_iter().map(|column| (column.name, column.value)));
                }
                Expression::Alias { value, names } => {
                    let name = names.first().cloned().unwrap_or_default();
                    fields.push((name, self.expression(value, context)?));
                }
                value @ Expression::Attribute { name, .. } => {
                    let name = name.last().cloned().unwrap_or_default();
                    fields.push((name, self.expression(value, context)?));
                }
                other => fields.push((format!("col{place}"), self.expression(other, context)?)),
            }
        }
        if fields.is_empty() {
            refuse!("[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] The `struct` requires > 0 parameters");
        }
        let pairs = fields.into_iter().flat_map(|(name, value)| [lit(name), value]);
        Ok(named_struct().call(pairs.collect()))
    }
}

/// Expressions that a call comes to, where arguments are copied into it.
const EXPRESSIONS_MAX: usize = 20_000;

/// What a call is, of the types that its function takes.
pub(super) fn built(
    function: &'static Function,
    arguments: Vec<(Expr, DataType)>,
    context: &Context<'_>,
) -> Result<Expr> {
    let spelled = |kinds: &[DataType]| {
        let kinds: Vec<String> = kinds.iter().map(super::coercion::spelled).collect();
        format!("\"{}\"", kinds.join("\", \""))
    };
    let kinds: Vec<DataType> = arguments.iter().map(|(_, kind)| kind.clone()).collect();
    let built = tidemill_functions::build(function, arguments);
    let built = built.map_err(Error::from).and_then(|built| {
        context.type_of(&built)?;
        Ok(built)
    });
    let built = built.map_err(|error| match error.reason().starts_with('[') {
        true => error,
        // DataFusion's words.
        false => Error::new(
            format!(
                "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {}() does not take arguments of the types {}; cast them",
                function.name,
                spelled(&kinds)
            ),
            None,
        ),
    })?;
    let mut size = 0;
    built.apply(|e| {
        // DataFusion makes two comparisons of it.
        size += if matches!(e, Expr::Between(_)) { 2 } else { 1 };
        Ok(match size > EXPRESSIONS_MAX {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    let is_looked_at_again = match function.chooses {
        Chooses::Never => false,
        Chooses::Conditions => context.type_of(&built)? == DataType::Boolean,
        Chooses::Always => true,
    };
    if is_looked_at_again {
        super::operators::check_choices(function.name, &built)?;
    }
    if size > EXPRESSIONS_MAX {
        refuse!(
            "{}() comes to more than {EXPRESSIONS_MAX} expressions, as it reads an argument more than once that is such a call itself; compute the argument in a step before",
            function.name
        );
    }
    Ok(built)
}

/// What is wrong with a name that is none of a function, or of one that is left out.
pub(super) fn missing(name: &str, found: Option<&Function>) -> Error {
    if let Some(Function { shape: Shape::LeftOut(reason), .. }) = found {
        let reason = format!("[UNSUPPORTED_FEATURE] {name}() is not supported: {reason}");
        return Error::new(reason, None);
    }
    let advice = match tidemill_functions::suggestion(name) {
        Some(nearest) => format!("Did you mean `{nearest}`?"),
        None => "`tidemill functions` lists those there are".to_owned(),
    };
    Error::new(format!("[UNRESOLVED_ROUTINE] Cannot resolve routine `{name}`. {advice}"), None)
}

/// Why a generator cannot stand where it does.
pub(super) fn misplaced_generator(clause: Clause) -> Error {
    let reason = match clause {
        Clause::Select | Clause::LateralView => {
            "[UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS] a generator such as explode() is within another expression; call it alone, and use its column in the next step"
        }
        _ => {
            "[UNSUPPORTED_GENERATOR.OUTSIDE_SELECT] a generator such as explode() stands outside of the SELECT clause; call it in a SELECT, and use its column in the next step"
        }
    };
    Error::new(reason, None)
}

/// The values of a call's arguments, in the order of the function's parameters.
///
/// # Errors
/// A name is none of a parameter, is there twice, or leaves one out before it.
pub(super) fn in_order<'c>(call: &'c Call, function: &Function) -> Result<Vec<&'c Expression>> {
    let named = call.arguments.iter().any(|argument| argument.name.is_some());
    if !named {
        return Ok(call.arguments.iter().map(|argument| &argument.value).collect());
    }
    let name = &call.name;
    let count = function.parameters.len().max(call.arguments.len());
    let mut places: Vec<Option<&Expression>> = vec![None; count];
    for (number, Argument { name: parameter, value }) in call.arguments.iter().enumerate() {
        let place = match parameter {
            None => number,
            Some(parameter) => {
                let mut known = function.parameters.iter();
                let Some(place) = known.position(|k| k.name.eq_ignore_ascii_case(parameter)) else {
                    refuse!(
                        "[UNRECOGNIZED_PARAMETER_NAME] Cannot invoke routine `{name}` because the routine call included a named argument reference for the argument named `{parameter}`; write {}",
                        function.synopsis()
                    );
                };
                place
            }
        };
        if places[place].replace(value).is_some() {
            refuse!(
                "[DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT.DOUBLE_NAMED_ARGUMENT_REFERENCE] Call to routine `{name}` is invalid because it includes multiple values for one parameter"
            );
        }
    }
    let last = places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    places.truncate(last);
    let values: Vec<&Expression> = places.into_iter().flatten().collect();
    if values.len() < last {
        refuse!(
            "[REQUIRED_PARAMETER_NOT_FOUND] Cannot invoke routine `{name}`: a parameter before the last one that is named has no value; write {}",
            function.synopsis()
        );
    }
    Ok(values)
}

/// The arguments of a call, with what is no value as the values that it stands for: a unit as in
/// `timestampadd(DAY, …)`, options as in `from_json(…, map('key', 'value'))`.
fn as_written<'e>(function: &Function, arguments: Vec<&'e Expression>) -> Vec<Cow<'e, Expression>> {
    let (count, parameters) = (arguments.len(), function.parameters);
    let mut values = Vec::with_capacity(count);
    for (place, argument) in arguments.into_iter().enumerate() {
        let is_whole = count == parameters.len();
        let written = parameters.get(place).map(|parameter| parameter.written);
        match (written.filter(|_| is_whole), argument) {
            (Some(Written::Word), Expression::Attribute { name, .. }) if name.len() == 1 => {
                let word = Literal::String(name.concat());
                values.push(Cow::Owned(Expression::Literal(word)));
            }
            (Some(Written::Options), Expression::Call(map)) if find(&map.name) == Some(&MAP) => {
                let options = map.arguments.iter().map(|option| &option.value);
                values.extend(options.map(Cow::Borrowed));
            }
            (_, argument) => values.push(Cow::Borrowed(argument)),
        }
    }
    values
}

/// The durations of a window in one spelling, so that `60 seconds` and `1 minute` are the same
/// window; a slide that is as long as the window is none.
fn spelled_one_way(mut arguments: Vec<Expr>) -> Vec<Expr> {
    for argument in arguments.iter_mut().skip(1) {
        if let Expr::Literal(value, _) = &*argument
            && let Some(text) = value.try_as_str().flatten()
            && let Ok(interval) = text.parse::<Interval>()
        {
            *argument = lit(interval.to_string());
        }
    }
    if let [_, size, slide] = arguments.as_slice()
        && size == slide
    {
        arguments.truncate(2);
    }
    arguments
}

/// The arguments of a plugin's function, cast to the types that it declares.
pub(super) fn as_declared(
    name: &str,
    signature: &Signature,
    arguments: Vec<Expr>,
    context: &Context<'_>,
) -> Result<Vec<Expr>> {
    let wanted = match &signature.type_signature {
        TypeSignature::Exact(kinds) => kinds.as_slice(),
        _ => &[],
    };
    if wanted.len() != arguments.len() {
        refuse!(
            "[WRONG_NUM_ARGS.WITHOUT_SUGGESTION] The `{name}` requires {} parameters but the actual number is {}.",
            wanted.len(),
            arguments.len()
        );
    }
    let mut cast = Vec::with_capacity(arguments.len());
    for (place, (argument, wanted)) in arguments.into_iter().zip(wanted).enumerate() {
        let kind = context.type_of(&argument)?;
        cast.push(match tidemill_functions::assigned(argument, &kind, wanted) {
            Some(argument) => argument,
            None => refuse!(
                "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {name}(): argument {} has the type \"{}\", and the plugin takes \"{}\"; cast it",
                place + 1,
                super::coercion::spelled(&kind),
                super::coercion::spelled(wanted)
            ),
        });
    }
    Ok(cast)
}
