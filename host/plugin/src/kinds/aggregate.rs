//! Aggregates: a value for each group of rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Fields};
use tidemill_core::{
    AggregateInstance, BatchContext, FunctionKind, FunctionSignature, Given, PluginError,
    PluginFailure, RefusedRow, Selection, Variable, VariableShape, variable_columns,
};

use super::{Kind, check_call};
use crate::abi::{Failure, RowError};
use crate::giving::{Expected, Giving};
use crate::instance::{Instance, apart, checked, lent, unusable};
use crate::limits::OUTPUT_BYTES_MAX;
use crate::module::Inner;
use crate::schema::Arguments;

pub(crate) static KIND: Kind = Kind {
    kind: FunctionKind::Aggregate,
    interface: "tidemill:plugin/aggregates@0.2.0",
    exports: &["update", "merge", "states", "results", "migrate"],
    arguments: Arguments::ByPosition,
    check,
    for_rows: None,
};

/// Places in the kind's exports.
const UPDATE: usize = 0;
const MERGE: usize = 1;
const STATES: usize = 2;
const RESULTS: usize = 3;
const MIGRATE: usize = 4;

fn check(signature: &FunctionSignature) -> Result<(), String> {
    check_call(signature)?;
    if signature.state.is_empty() {
        return Err("it does not declare its state, which the host keeps".to_owned());
    }
    let is_plain =
        |variable: &&Variable| variable.shape == VariableShape::Value && variable.ttl.is_none();
    if let Some(other) = signature.state.iter().find(|variable| !is_plain(variable)) {
        return Err(format!(
            "the state of a group is values that are kept, and \"{}\" is a list or a map or has a \
             time to live",
            other.field.name()
        ));
    }
    if signature.input.as_ref().is_some_and(|input| input.fields().is_empty()) {
        // Rows without a column have no number where DataFusion folds them.
        return Err("it takes no argument; give it one, and call it with a literal".to_owned());
    }
    match signature.deterministic {
        true => Ok(()),
        false => {
            Err("it is not deterministic, and groups are folded as often as it suits".to_owned())
        }
    }
}

/// Groups whose states or results are asked for at a time.
const TAKEN_GROUPS: u32 = 1 << 16;

/// A fresh instance for one partition of one batch.
pub(crate) fn open(
    module: &Arc<Inner>,
    function: &str,
    context: &BatchContext,
) -> Result<Aggregate, PluginFailure> {
    let is_wanted = |kind| kind == FunctionKind::Aggregate;
    let (kind, signature) = module.function_where(function, is_wanted)?;
    let Some(input) = &signature.input else {
        return Err(unusable("it declares no arguments"));
    };
    let instance = Instance::open(module, kind, signature, Some(context), input)?;
    let types = |fields: &Fields| fields.iter().map(|f| f.data_type().clone()).collect();
    Ok(Aggregate {
        arguments: types(input.fields()),
        earlier: signature.migrations.iter().map(|form| types(form.fields())).collect(),
        states: Columns::of(variable_columns(&signature.state).fields()),
        results: Columns::of(instance.shape().output.fields()),
        instance,
        groups: 0,
    })
}

/// Columns that the guest gives.
struct Columns {
    expected: Expected,
    types: Vec<DataType>,
}

impl Columns {
    fn of(fields: &Fields) -> Columns {
        let types = fields.iter().map(|field| field.data_type().clone()).collect();
        let made = fields.iter().cloned().collect();
        Columns { types, expected: Expected { made, is_passing: false } }
    }
}

/// Groups of one partition of one batch, in an instance of their own.
pub(crate) struct Aggregate {
    instance: Instance,
    arguments: Vec<DataType>,
    /// Types of the columns of earlier forms of the state.
    earlier: Vec<Vec<DataType>>,
    states: Columns,
    results: Columns,
    /// How many the guest was told of.
    groups: u32,
}

type Refused = (Result<Vec<RowError>, Failure>,);
type Done = (Result<(), Failure>,);

impl Aggregate {
    /// Rows that nobody expects: an update and a merge give none.
    fn no_rows() -> Giving {
        Giving::new(Expected { made: Vec::new(), is_passing: false }, 0)
    }

    /// The columns of the first groups, in pieces that a call may give.
    fn take(
        &mut self,
        export: usize,
        count: u32,
        columns: fn(&Aggregate) -> &Columns,
    ) -> Result<Vec<ArrayRef>, PluginError> {
        let Columns { expected, types } = columns(self);
        let (expected, types) = (expected.clone(), types.clone());
        if count > self.groups {
            let told = format!("{count} of {} groups", self.groups);
            return Err(self.instance.error(PluginFailure::Host(told)));
        }
        self.groups -= count;
        self.instance.measured(0, |instance| {
            let mut given = Vec::new();
            let mut left = count;
            // Groups lie in the guest's memory, so that what they come to is about that.
            let memory = usize::try_from(instance.memory()).unwrap_or(usize::MAX);
            let mut bytes_left = OUTPUT_BYTES_MAX.max(memory);
            while left > 0 {
                let some = left.min(TAKEN_GROUPS);
                let giving = Giving::within(bytes_left, expected.clone(), 0);
                let parameters = (instance.id(), some);
                let (done, giving) = instance.call::<_, Done>(export, parameters, giving)?;
                done.0?;
                bytes_left -= giving.bytes();
                let part = giving.given();
                check_fresh(&part, some as usize)?;
                given.extend(part);
                left -= some;
            }
            all_of(&given, &types)
        })
    }
}

impl AggregateInstance for Aggregate {
    fn update(
        &mut self,
        groups: &[u32],
        total: u32,
        arguments: &RecordBatch,
    ) -> Result<Vec<RefusedRow>, PluginError> {
        self.groups = self.groups.max(total);
        let types = &self.arguments;
        self.instance.measured(arguments.num_rows(), |instance| {
            let columns = apart(types, arguments.columns()).map_err(PluginFailure::Signature)?;
            let block = lent(&columns, arguments.num_rows())?;
            let parameters = (instance.id(), groups, total, block);
            let (answer, giving) =
                instance.call::<_, Refused>(UPDATE, parameters, Self::no_rows())?;
            check_silent(giving)?;
            checked(answer.0?, arguments.num_rows())
        })
    }

    fn merge(
        &mut self,
        groups: &[u32],
        total: u32,
        states: &[ArrayRef],
    ) -> Result<(), PluginError> {
        self.groups = self.groups.max(total);
        let types = &self.states.types;
        self.instance.measured(groups.len(), |instance| {
            let columns = apart(types, states).map_err(PluginFailure::Signature)?;
            let parameters = (instance.id(), groups, total, lent(&columns, groups.len())?);
            let (done, giving) = instance.call::<_, Done>(MERGE, parameters, Self::no_rows())?;
            done.0?;
            check_silent(giving)
        })
    }

    fn states(&mut self, count: u32) -> Result<Vec<ArrayRef>, PluginError> {
        self.take(STATES, count, |aggregate| &aggregate.states)
    }

    fn results(&mut self, count: u32) -> Result<ArrayRef, PluginError> {
        let column = self.take(RESULTS, count, |aggregate| &aggregate.results)?;
        let none = || self.instance.error(unusable("it gave no column of results"));
        column.into_iter().next().ok_or_else(none)
    }

    fn migrate(
        &mut self,
        migration: u32,
        states: &[ArrayRef],
    ) -> Result<Vec<ArrayRef>, PluginError> {
        let rows = states.first().map_or(0, |column| column.len());
        let none: &[DataType] = &[];
        let types = self.earlier.get(migration as usize).map_or(none, Vec::as_slice);
        let count = self.instance.measured(rows, |instance| {
            let columns = apart(types, states).map_err(PluginFailure::Signature)?;
            let parameters = (instance.id(), migration, lent(&columns, rows)?);
            let (done, giving) = instance.call::<_, Done>(MIGRATE, parameters, Self::no_rows())?;
            done.0?;
            check_silent(giving)?;
            u32::try_from(rows).map_err(|_| PluginFailure::Host(format!("{rows} groups")))
        })?;
        self.groups = count;
        self.states(count)
    }

    fn memory(&self) -> u64 {
        self.instance.memory()
    }
}

fn check_silent(giving: Giving) -> Result<(), PluginFailure> {
    match giving.given().is_empty() {
        true => Ok(()),
        false => Err(unusable("it gave rows where none are taken")),
    }
}

/// Rows of so many groups, which are none of an input's.
fn check_fresh(given: &[Given], groups: usize) -> Result<(), PluginFailure> {
    if given.iter().any(|part| !matches!(part.selection, Selection::Fresh(_))) {
        return Err(unusable("it selects rows, and gives states and results of groups"));
    }
    let found: usize = given.iter().map(|part| part.selection.rows(0)).sum();
    match found == groups {
        true => Ok(()),
        false => Err(unusable(format!("it gave {found} rows for {groups} groups"))),
    }
}

/// The columns of all parts.
fn all_of(given: &[Given], types: &[DataType]) -> Result<Vec<ArrayRef>, PluginFailure> {
    let column = |(number, data_type): (usize, &DataType)| {
        let parts: Vec<&ArrayRef> = given.iter().filter_map(|part| part.made.get(number)).collect();
        match parts.as_slice() {
            [] => Ok(new_empty_array(data_type)),
            [one] => Ok(Arc::clone(one)),
            parts => {
                let parts: Vec<&dyn Array> = parts.iter().map(|part| part.as_ref()).collect();
                concat(&parts).map_err(|error| PluginFailure::Host(error.to_string()))
            }
        }
    };
    types.iter().enumerate().map(column).collect()
}
