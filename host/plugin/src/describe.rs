//! What a plugin says of its functions, checked.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use tidemill_block::read_schema;
use tidemill_core::{FunctionKind, FunctionSignature, Variable, VariableShape};
use tidemill_types::sql_name;

use crate::abi::{self, Function, Kind};
use crate::error::LoadProblem;
use crate::guest::{Exports, Guest, Prepared};
use crate::kinds;
use crate::limits::{
    LISTED_BYTES_MAX, LISTED_COLUMNS_MAX, LISTED_FUNCTIONS_MAX, Limits, MIGRATIONS_MAX,
    NAME_BYTES_MAX, VARIABLES_MAX,
};
use crate::state::GuestLog;
use crate::text::shortened;

/// Properties of stateful functions.
const KEY: &str = "key";
const INITIAL_STATE: &str = "initial-state";
/// Of aggregates, too; a function may have several.
const MIGRATION: &str = "migration";

/// Asks a fresh instance for its functions.
pub(crate) fn describe(
    name: &Arc<str>,
    prepared: &Prepared,
    limits: Limits,
) -> Result<Vec<FunctionSignature>, LoadProblem> {
    let log = GuestLog::new(name, "describe", None);
    let functions = Guest::start(prepared, limits, log)
        .and_then(|mut guest| guest.describe(&prepared.exports))
        .map_err(LoadProblem::Describe)?;
    if functions.len() > LISTED_FUNCTIONS_MAX {
        return Err(LoadProblem::TooLarge(format!(
            "it lists {} functions, and the limit is {LISTED_FUNCTIONS_MAX}; make several plugins \
             of it",
            functions.len()
        )));
    }
    let mut names = BTreeSet::new();
    for function in &functions {
        let name = &function.name;
        check_name("a function", name).map_err(|reason| LoadProblem::NoPlugin { reason })?;
        if !names.insert(name.as_str()) {
            let reason = format!("it has two functions with the name \"{name}\"");
            return Err(LoadProblem::NoPlugin { reason });
        }
    }
    let bytes = functions.iter().map(bytes_of).fold(0, usize::saturating_add);
    if bytes > LISTED_BYTES_MAX {
        return Err(LoadProblem::TooLarge(format!(
            "it lists its functions in {bytes} bytes, and the limit is {LISTED_BYTES_MAX}; make several \
             plugins of it"
        )));
    }
    let mut columns = 0;
    let functions = functions.into_iter().map(|function| {
        let function = signature(function)?;
        columns += columns_of(&function);
        // Before the next one is read: a few bytes are a column.
        match columns <= LISTED_COLUMNS_MAX {
            true => Ok(function),
            false => Err(LoadProblem::TooLarge(format!(
                "the schemas of its functions have more than {LISTED_COLUMNS_MAX} columns together, which \
                 is the limit; make several plugins of it"
            ))),
        }
    });
    let functions = functions.collect::<Result<Vec<_>, _>>()?;
    functions.iter().try_for_each(|function| check_kind(function, &prepared.exports))?;
    Ok(functions)
}

/// Bytes of the texts that a function is listed by.
fn bytes_of(function: &Function) -> usize {
    let properties = function.properties.iter().map(|(name, value)| name.len() + value.len());
    let state = function.state.iter().map(|variable| variable.name.len() + variable.schema.len());
    let schemas =
        [&function.input, &function.output].map(|text| text.as_ref().map_or(0, String::len));
    let own = [function.name.len(), function.documentation.len()];
    own.into_iter().chain(schemas).chain(properties).chain(state).fold(0, usize::saturating_add)
}

/// Columns of a function's schemas, with those inside others.
fn columns_of(function: &FunctionSignature) -> usize {
    let schemas = [&function.input, &function.output, &function.key, &function.initial];
    let schemas = schemas.into_iter().flatten().chain(&function.migrations);
    let schemas = schemas.map(|schema| schema.flattened_fields().len());
    let state = function
        .state
        .iter()
        .map(|variable| Schema::new(vec![Arc::clone(&variable.field)]).flattened_fields().len());
    schemas.chain(state).sum()
}

fn check_name(of: &str, name: &str) -> Result<(), String> {
    if name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let name = shortened(name).escape_debug().to_string();
    Err(format!(
        "it has {of} with the name \"{name}\"; a name has at most {NAME_BYTES_MAX} bytes, and no \
         control characters"
    ))
}

fn signature(function: Function) -> Result<FunctionSignature, LoadProblem> {
    let name = &function.name;
    let unfit = |reason: String| LoadProblem::NoPlugin { reason };
    let schema = |text: Option<String>| {
        let schema = text.map(|text| read_schema(&text)).transpose();
        schema.map_err(|reason| unfit(format!("the schema of \"{name}\": {reason}")))
    };
    let (mut key, mut initial, mut migrations) = (None, None, Vec::new());
    for (property, value) in function.properties {
        if property == MIGRATION && matches!(function.kind, Kind::Aggregate | Kind::Stateful) {
            migrations.extend(schema(Some(value))?);
            if migrations.len() > MIGRATIONS_MAX {
                return Err(unfit(format!(
                    "\"{name}\" has more than {MIGRATIONS_MAX} migrations; leave out those of forms that no \
                     checkpoint has any more"
                )));
            }
            continue;
        }
        let place = match (property.as_str(), function.kind) {
            (KEY, Kind::Stateful) => &mut key,
            (INITIAL_STATE, Kind::Stateful) => &mut initial,
            _ => {
                let property = shortened(property);
                return Err(unfit(format!(
                    "\"{name}\" has the property \"{property}\", which this host does not know; it \
                     is older than the plugin's SDK"
                )));
            }
        };
        *place = schema(Some(value))?;
    }
    let state = state(&function.state).map_err(|reason| unfit(format!("\"{name}\": {reason}")))?;
    Ok(FunctionSignature {
        input: schema(function.input)?,
        output: schema(function.output)?,
        passes_others: function.passes_others,
        state,
        key,
        initial,
        migrations,
        name: function.name.clone(),
        kind: function.kind.into(),
        deterministic: function.deterministic,
        documentation: shortened(function.documentation),
    })
}

/// The variables of its state, each of which is one column.
fn state(variables: &[abi::Variable]) -> Result<Vec<Variable>, String> {
    if variables.len() > VARIABLES_MAX {
        let count = variables.len();
        return Err(format!("it has {count} variables of state, and the limit is {VARIABLES_MAX}"));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = variables.iter().find(|variable| !names.insert(&variable.name)) {
        let name = shortened(&twice.name);
        return Err(format!("it has two variables of state with the name \"{name}\""));
    }
    let variable = |variable: &abi::Variable| {
        let name = &variable.name;
        check_name("a variable of state", name)?;
        let schema = read_schema(&variable.schema);
        let schema = schema.map_err(|reason| format!("the schema of \"{name}\": {reason}"))?;
        let [column] = &**schema.fields() else {
            return Err(format!("\"{name}\" has {} columns", schema.fields().len()));
        };
        let field = Arc::new(column.as_ref().clone().with_name(name));
        let variable = Variable { field, shape: variable.shape.into(), ttl: variable.ttl };
        let is_fit = match variable.shape {
            VariableShape::Value => true,
            VariableShape::Items => variable.item().is_some(),
            VariableShape::Entries => variable.entry().is_some(),
        };
        match is_fit {
            true => Ok(variable),
            false => Err(format!(
                "\"{name}\" is a {}, and its type is {}",
                variable.shape.name(),
                sql_name(column.data_type())
            )),
        }
    };
    variables.iter().map(variable).collect()
}

/// Refuses a function that the plugin gives no way to call.
fn check_kind(function: &FunctionSignature, exports: &Exports) -> Result<(), LoadProblem> {
    let (name, kind) = (&function.name, function.kind.name());
    let unfit = |reason: String| LoadProblem::NoPlugin { reason };
    let known = kinds::of(function.kind);
    if exports.of_kind(known.kind).is_none() {
        let interface = known.interface;
        return Err(unfit(format!("it lists the {kind} \"{name}\", and exports no `{interface}`")));
    }
    if function.passes_others && function.kind != FunctionKind::Transform {
        return Err(unfit(format!("the {kind} \"{name}\" cannot let columns through")));
    }
    (known.check)(function).map_err(|reason| unfit(format!("the {kind} \"{name}\": {reason}")))
}
