//! Stateful functions: rows for the rows and the timers of keys, whose state the host keeps.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidemill_core::{
    BatchContext, FunctionKind, FunctionSignature, KeyedState, PluginError, PluginFailure,
    PluginRows, Shape, StatefulInstance, Variable,
};

use wasmtime::component::{ComponentNamedList, Lower};

use super::Kind;
use crate::abi::{Failure, RowError};
use crate::instance::{Instance, apart, checked, lent, unusable};
use crate::keyed::Keyed;
use crate::module::Inner;
use crate::schema::Arguments;

pub(crate) static KIND: Kind = Kind {
    kind: FunctionKind::Stateful,
    interface: "tidemill:plugin/stateful@0.2.0",
    exports: &["rows", "timers", "initial", "migrate"],
    arguments: Arguments::ByName,
    check,
    for_rows: None,
};

/// Places in the kind's exports.
const ROWS: usize = 0;
const TIMERS: usize = 1;
const INITIAL: usize = 2;
const MIGRATE: usize = 3;

fn check(signature: &FunctionSignature) -> Result<(), String> {
    if signature.key.as_ref().is_none_or(|key| key.fields().is_empty()) {
        return Err("it does not declare the columns of its keys".to_owned());
    }
    if signature.input.is_none() || signature.output.is_none() {
        return Err("it does not declare its input and its output".to_owned());
    }
    match signature.deterministic {
        true => Ok(()),
        false => Err("it is not deterministic, and a batch that runs again has to leave the same \
                      state behind"
            .to_owned()),
    }
}

/// A fresh instance for keys of one shard.
pub(crate) fn open(
    module: &Arc<Inner>,
    function: &str,
    context: &BatchContext,
    input: &SchemaRef,
    shape: &Shape,
) -> Result<Stateful, PluginFailure> {
    let is_wanted = |kind| kind == FunctionKind::Stateful;
    let (kind, signature) = module.function_where(function, is_wanted)?;
    let Some(key) = &signature.key else {
        return Err(unusable("it declares no columns of keys"));
    };
    let instance = Instance::open(module, kind, signature, Some(context), input)?;
    instance.check_shape(shape)?;
    let types =
        |schema: &Schema| schema.fields().iter().map(|field| field.data_type().clone()).collect();
    Ok(Stateful {
        keys: types(key),
        initial: signature.initial.as_deref().map(types).unwrap_or_default(),
        earlier: signature.migrations.iter().map(|form| types(form)).collect(),
        variables: signature.state.clone().into(),
        instance,
    })
}

/// A stateful function in an instance of its own.
pub(crate) struct Stateful {
    instance: Instance,
    /// Types of the columns of a key.
    keys: Vec<DataType>,
    /// Types of the columns of the initial state.
    initial: Vec<DataType>,
    /// The same of earlier forms of the state.
    earlier: Vec<Vec<DataType>>,
    variables: Arc<[Variable]>,
}

type Refused = (Result<Vec<RowError>, Failure>,);
type Done = (Result<(), Failure>,);

/// The columns of keys, and how many keys they are of.
fn keys_apart(
    types: &[DataType],
    keys: &[ArrayRef],
) -> Result<(Vec<tidemill_block::Column>, usize), PluginFailure> {
    let columns = apart(types, keys).map_err(PluginFailure::Signature)?;
    Ok((columns, keys.first().map_or(0, |column| column.len())))
}

/// A call that refuses no row.
fn done<P>(
    instance: &mut Instance,
    export: usize,
    parameters: P,
    state: Keyed,
) -> Result<PluginRows, PluginFailure>
where
    P: ComponentNamedList + Lower,
{
    let (done, giving) = instance.call_with_state::<_, Done>(export, parameters, state)?;
    done.0?;
    Ok(PluginRows { given: giving.given(), refused: Vec::new() })
}

impl StatefulInstance for Stateful {
    fn rows(
        &mut self,
        keys: &[ArrayRef],
        counts: &[u32],
        rows: &RecordBatch,
        state: Box<dyn KeyedState>,
    ) -> Result<PluginRows, PluginError> {
        let (types, variables) = (&self.keys, &self.variables);
        self.instance.measured(rows.num_rows(), |instance| {
            let (keys, count) = keys_apart(types, keys)?;
            let input = instance.input_apart(rows)?;
            let parameters =
                (instance.id(), lent(&keys, count)?, counts, lent(&input, rows.num_rows())?);
            let keyed = Keyed::new(state, variables, count);
            let (answer, giving) =
                instance.call_with_state::<_, Refused>(ROWS, parameters, keyed)?;
            let refused = checked(answer.0?, rows.num_rows())?;
            Ok(PluginRows { given: giving.given(), refused })
        })
    }

    fn timers(
        &mut self,
        keys: &[ArrayRef],
        owners: &[u32],
        times: &[i64],
        state: Box<dyn KeyedState>,
    ) -> Result<PluginRows, PluginError> {
        let (types, variables) = (&self.keys, &self.variables);
        self.instance.measured(times.len(), |instance| {
            let (keys, count) = keys_apart(types, keys)?;
            let parameters = (instance.id(), lent(&keys, count)?, owners, times);
            done(instance, TIMERS, parameters, Keyed::new(state, variables, count))
        })
    }

    fn initial(
        &mut self,
        keys: &[ArrayRef],
        rows: &RecordBatch,
        state: Box<dyn KeyedState>,
    ) -> Result<PluginRows, PluginError> {
        let (types, initial, variables) = (&self.keys, &self.initial, &self.variables);
        self.instance.measured(rows.num_rows(), |instance| {
            let (keys, count) = keys_apart(types, keys)?;
            let columns = apart(initial, rows.columns()).map_err(PluginFailure::Signature)?;
            let parameters = (instance.id(), lent(&keys, count)?, lent(&columns, rows.num_rows())?);
            done(instance, INITIAL, parameters, Keyed::new(state, variables, count))
        })
    }

    fn migrate(
        &mut self,
        migration: u32,
        keys: &[ArrayRef],
        kept: &RecordBatch,
        state: Box<dyn KeyedState>,
    ) -> Result<PluginRows, PluginError> {
        let (types, variables) = (&self.keys, &self.variables);
        let none: &[DataType] = &[];
        let earlier = self.earlier.get(migration as usize).map_or(none, Vec::as_slice);
        self.instance.measured(kept.num_rows(), |instance| {
            let (keys, count) = keys_apart(types, keys)?;
            let columns = apart(earlier, kept.columns()).map_err(PluginFailure::Signature)?;
            let parameters =
                (instance.id(), migration, lent(&keys, count)?, lent(&columns, kept.num_rows())?);
            done(instance, MIGRATE, parameters, Keyed::new(state, variables, count))
        })
    }
}
