//! A plugin's stateful function as a step.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, internal_datafusion_err};
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use tidemill_core::{FunctionKind, FunctionSignature, PluginModule, Shape, Variable};
use tidemill_frontend::spec::TimeMode;
use tidemill_types::sql_name;

use super::{PluginKind, PluginUse, told_apart, without_notes};
use crate::PlanError;
use crate::logical::is_event_time;
use crate::physical::{KeyedExec, KeyedFunction};

/// Stateful functions: steps of their own.
pub(super) struct StatefulSteps;

impl PluginKind for StatefulSteps {
    fn uses(&self, node: &LogicalPlan) -> Vec<PluginUse> {
        let LogicalPlan::Extension(Extension { node }) = node else { return Vec::new() };
        let step = node.as_any().downcast_ref::<PluginStateful>();
        step.map(|step| step.called.as_used()).into_iter().collect()
    }

    fn plan(
        &self,
        node: &dyn UserDefinedLogicalNode,
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(step) = node.as_any().downcast_ref::<PluginStateful>() else {
            return Ok(None);
        };
        let [input, rest @ ..] = inputs else {
            return Err(internal_datafusion_err!("a stateful step has no input"));
        };
        let called = &step.called;
        let function = KeyedFunction {
            module: Arc::clone(&called.module),
            step: called.step.clone(),
            number: called.number,
            function: called.function.clone(),
            given: Arc::clone(&called.given),
            shape: called.shape.clone(),
            mode: called.mode,
            variables: called.variables.clone(),
            migrations: called.migrations.clone(),
            reads: step.places(0, called.shape.reads.iter().copied())?,
            key: step.places(0, called.key.iter().copied())?,
            initial: match &called.initial {
                None => None,
                Some(Initial { reads, key, .. }) => Some((
                    step.places(1, reads.iter().copied())?,
                    step.places(1, key.iter().copied())?,
                )),
            },
        };
        let output = Arc::new(step.schema.as_arrow().clone());
        let plan = KeyedExec::try_new(Arc::clone(input), rest.first().cloned(), function, output)?;
        Ok(Some(Arc::new(plan)))
    }
}

/// What a step asks of a stateful function.
pub(crate) struct StatefulStep<'a> {
    pub(crate) name: &'a str,
    /// Which one it is of the job's stateful steps, from 1 on.
    pub(crate) number: usize,
    pub(crate) function: &'a str,
    /// The columns that make the key.
    pub(crate) key: &'a [String],
    pub(crate) mode: TimeMode,
}

/// A function, for the columns that its step has.
struct Called {
    module: Arc<dyn PluginModule>,
    step: String,
    number: usize,
    function: String,
    /// The columns of the step's input, as it was when the plugin was asked.
    given: SchemaRef,
    shape: Shape,
    mode: TimeMode,
    variables: Vec<Variable>,
    /// Of earlier forms of these.
    migrations: Vec<SchemaRef>,
    /// Where the key's columns are in `given`.
    key: Vec<usize>,
    initial: Option<Initial>,
    /// By which the inputs' columns are found when others of them are gone.
    columns: Vec<Vec<Column>>,
}

/// Where the columns of the initial state are in its table.
struct Initial {
    reads: Vec<usize>,
    key: Vec<usize>,
}

impl Called {
    fn as_used(&self) -> PluginUse {
        PluginUse {
            plugin: self.module.name().to_owned(),
            function: self.function.clone(),
            kind: FunctionKind::Stateful,
            input: Arc::clone(&self.given),
            output: Arc::clone(&self.shape.output),
        }
    }
}

/// Rows through a stateful function. Nothing is pushed below it.
pub(crate) struct PluginStateful {
    /// The rows, and those of the initial state where there is one.
    inputs: Vec<LogicalPlan>,
    called: Arc<Called>,
    schema: DFSchemaRef,
}

impl PluginStateful {
    /// Asks the plugin what it gives for these rows.
    pub(crate) fn try_new(
        input: LogicalPlan,
        initial: Option<LogicalPlan>,
        module: Arc<dyn PluginModule>,
        step: &StatefulStep<'_>,
    ) -> Result<PluginStateful, PlanError> {
        let given = input.schema().as_arrow().clone();
        let refused = |reason: String| {
            let (plugin, function) = (module.name(), step.function);
            PlanError::Invalid(format!("plugin \"{plugin}\", function \"{function}\": {reason}"))
        };
        let signature = stateful(module.as_ref(), step.function).map_err(refused)?;
        check_mode(signature, step.mode, &given).map_err(refused)?;
        let key = key_of(signature, step.key, &given).map_err(refused)?;
        let table = initial.as_ref().map(|plan| plan.schema().as_arrow().clone());
        let initial_columns = match (&signature.initial, table) {
            (_, None) => None,
            (None, Some(_)) => {
                return Err(refused(
                    "it takes no initial state; leave out `initial_state`".to_owned(),
                ));
            }
            (Some(wanted), Some(table)) => {
                Some(initial_of(signature, wanted, step.key, &table).map_err(refused)?)
            }
        };
        let given = without_notes(&given);
        let shape = module.shape(step.function, Arc::clone(&given))?;
        let (variables, migrations) = (signature.state.clone(), signature.migrations.clone());
        let function = signature.name.clone();
        let fields = shape.output.fields().iter().map(|field| (None, Arc::clone(field)));
        let schema = DFSchema::new_with_metadata(fields.collect(), HashMap::new())?;
        let inputs: Vec<LogicalPlan> = std::iter::once(input).chain(initial).collect();
        let called = Called {
            columns: inputs.iter().map(|input| input.schema().columns()).collect(),
            step: step.name.to_owned(),
            number: step.number,
            mode: step.mode,
            initial: initial_columns,
            module,
            function,
            given,
            shape,
            variables,
            migrations,
            key,
        };
        Ok(PluginStateful { inputs, called: Arc::new(called), schema: Arc::new(schema) })
    }

    /// Where a column of an input that the plugin was asked with is now.
    fn place(&self, input: usize, column: usize) -> Option<usize> {
        let column = self.called.columns.get(input)?.get(column)?;
        self.inputs.get(input)?.schema().maybe_index_of_column(column)
    }

    fn places(&self, input: usize, columns: impl Iterator<Item = usize>) -> Result<Vec<usize>> {
        let place = |column| {
            self.place(input, column).ok_or_else(|| {
                internal_datafusion_err!("a column that {} reads is gone", self.called.function)
            })
        };
        columns.map(place).collect()
    }

    fn identity(&self) -> (&str, tidemill_core::Digest, &str, &[usize], &str) {
        let called = &self.called;
        let (module, mode) = (&called.module, called.mode.name());
        (module.name(), module.digest(), &called.function, &called.key, mode)
    }
}

/// The function, if it is a stateful one.
fn stateful<'m>(module: &'m dyn PluginModule, name: &str) -> Result<&'m FunctionSignature, String> {
    let all = module.functions();
    let function = all.iter().find(|function| function.name == name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|function| function.name.as_str()).collect();
        format!("there is no such function; the module has {}", names.join(", "))
    })?;
    match function.kind {
        FunctionKind::Stateful => Ok(function),
        other => Err(format!(
            "it is a {}, and the step has `key`, which is for stateful functions; leave it out",
            other.name()
        )),
    }
}

/// Refuses a function that goes by a time which its step does not have.
fn check_mode(signature: &FunctionSignature, mode: TimeMode, given: &Schema) -> Result<(), String> {
    let has_event_time = given.fields().iter().any(|field| is_event_time(field));
    if mode == TimeMode::EventTime && !has_event_time {
        return Err(
            "time_mode = \"event_time\" goes by a watermark, and the step's rows have none; \
                    set a watermark on the source or on an earlier step"
                .to_owned(),
        );
    }
    let forgotten = signature.state.iter().find(|variable| variable.ttl.is_some());
    match forgotten {
        // Spark's STATEFUL_PROCESSOR_INCORRECT_TIME_MODE_TO_ASSIGN_TTL.
        Some(variable) if mode != TimeMode::ProcessingTime => Err(format!(
            "the state \"{}\" has a time to live, which is counted in time_mode = \
             \"processing_time\" alone, and the step has \"{}\"",
            variable.field.name(),
            mode.name()
        )),
        _ => Ok(()),
    }
}

/// The columns of a schema by their names in any case.
fn columns_named(schema: &Schema, names: &[String]) -> Result<Vec<usize>, String> {
    let place = |name: &String| {
        let fields = schema.fields().iter().enumerate();
        let mut named = fields.filter(|(_, field)| field.name().eq_ignore_ascii_case(name));
        match (named.next(), named.next()) {
            (Some((place, _)), None) => Ok(place),
            (Some(_), Some(_)) => Err(format!("the column \"{name}\" is ambiguous")),
            (None, _) => {
                let known: Vec<&str> =
                    schema.fields().iter().map(|field| field.name().as_str()).collect();
                Err(format!("there is no column \"{name}\" among {}", known.join(", ")))
            }
        }
    };
    names.iter().map(place).collect()
}

/// Where the columns of the key are.
fn key_of(
    signature: &FunctionSignature,
    names: &[String],
    given: &Schema,
) -> Result<Vec<usize>, String> {
    let declared = signature.key.as_ref().ok_or("it declares no columns of keys")?;
    let found = columns_named(given, names).map_err(|reason| format!("key: {reason}"))?;
    if found.len() != declared.fields().len() {
        return Err(format!(
            "its key has {} columns ({}), and the step's `key` names {}",
            declared.fields().len(),
            ddl(declared),
            found.len()
        ));
    }
    for (place, wanted) in found.iter().zip(declared.fields()) {
        let column = given.field(*place);
        if tidemill_functions::contains_map(column.data_type()) {
            return Err(format!(
                "key: the column \"{}\" is a MAP, and maps cannot be compared",
                column.name()
            ));
        }
        check_type("key", column.name(), column.data_type(), wanted.data_type())?;
    }
    Ok(found)
}

/// Where the columns of the initial state are in its table.
fn initial_of(
    signature: &FunctionSignature,
    wanted: &Schema,
    key: &[String],
    table: &Schema,
) -> Result<Initial, String> {
    let named = |reason: String| format!("initial_state: {reason}");
    let names: Vec<String> = wanted.fields().iter().map(|field| field.name().clone()).collect();
    let reads = columns_named(table, &names).map_err(named)?;
    for (place, wanted) in reads.iter().zip(wanted.fields()) {
        let column = table.field(*place);
        check_type("initial_state", column.name(), column.data_type(), wanted.data_type())?;
    }
    let key = key_of(signature, key, table).map_err(named)?;
    Ok(Initial { reads, key })
}

fn check_type(what: &str, name: &str, found: &DataType, wanted: &DataType) -> Result<(), String> {
    // Types of one name cross in one layout.
    let (wanted, found) = (sql_name(wanted), sql_name(found));
    match wanted == found {
        true => Ok(()),
        false => Err(format!(
            "{what}: it takes {wanted} there, and the column \"{name}\" is {found}; cast it in a step \
             before"
        )),
    }
}

fn ddl(schema: &Schema) -> String {
    let column = |field: &arrow::datatypes::FieldRef| {
        format!("{} {}", field.name(), sql_name(field.data_type()))
    };
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}

told_apart!(PluginStateful, inputs);

impl UserDefinedLogicalNodeCore for PluginStateful {
    fn name(&self) -> &str {
        "PluginStateful"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.inputs.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let called = &self.called;
        write!(f, "PluginStateful: {}.{}", called.module.name(), called.function)
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> Result<PluginStateful> {
        let (called, schema) = (Arc::clone(&self.called), Arc::clone(&self.schema));
        Ok(PluginStateful { inputs, called, schema })
    }

    /// What it reads, its key, and the time by which rows are late.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let called = &self.called;
        let times = self.inputs.first()?.schema().fields().iter().enumerate();
        let times = times.filter(|(_, field)| is_event_time(field)).map(|(place, _)| place);
        let read = called.shape.reads.iter().chain(&called.key);
        let read = read.filter_map(|column| self.place(0, *column)).chain(times);
        let mut needed = vec![read.collect::<Vec<usize>>()];
        if let Some(Initial { reads, key, .. }) = &called.initial {
            let read = reads.iter().chain(key);
            needed.push(read.filter_map(|column| self.place(1, *column)).collect());
        }
        for columns in &mut needed {
            columns.sort_unstable();
            columns.dedup();
        }
        Some(needed)
    }
}
