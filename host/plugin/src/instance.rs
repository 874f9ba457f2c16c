//! An opened function, on the caller's thread.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use tidemill_block::{read_schema, take_apart, write_schema};
use tidemill_core::{
    BatchContext, BatchId, FunctionSignature, Origin, PluginError, PluginFailure, PluginRows,
    RefusedRow, Shape,
};
use wasmtime::component::{ComponentNamedList, Func, Lift, Lower};

use crate::abi::{self, Block, Column, Failure, RowError};
use crate::giving::{Expected, Giving};
use crate::guest::Guest;
use crate::keyed::Keyed;
use crate::kinds::Kind;
use crate::module::Inner;
use crate::schema::{Arguments, Input, as_plain, ddl, same_columns};
use crate::state::GuestLog;
use crate::text::shortened_row;

/// A function in an instance of its own.
pub(crate) struct Instance {
    module: Arc<Inner>,
    function: String,
    batch: Option<BatchId>,
    guest: Guest,
    id: u32,
    /// Of its kind, in the kind's order.
    exports: Vec<Func>,
    shape: Shape,
    /// For each column that is read, as what it crosses.
    reads: Vec<DataType>,
    expected: Expected,
    /// A trap has left the guest's memory half written.
    is_broken: bool,
    /// A call gave an error: what it remembers of that call is nobody's.
    has_failed: bool,
}

impl Instance {
    /// A fresh instance. Without a context it is only asked for its shape.
    pub(crate) fn open(
        module: &Arc<Inner>,
        kind: &Kind,
        signature: &FunctionSignature,
        context: Option<&BatchContext>,
        given: &SchemaRef,
    ) -> Result<Instance, PluginFailure> {
        let input = Input::new(kind.arguments, signature, given);
        let input = input.map_err(PluginFailure::Signature)?;
        let batch = context.map(|context| context.batch);
        let log = GuestLog::new(&module.name, &signature.name, batch);
        let mut guest = Guest::start(&module.prepared, module.limits, log)?;
        let schema = write_schema(&input.schema);
        let schema = schema.map_err(|error| PluginFailure::Signature(error.to_string()))?;
        let functions = &module.prepared.exports;
        let opened = guest.open(functions, &signature.name, &module.config_json, schema)?;
        let shape = shape(signature, &input, given, &opened).map_err(PluginFailure::BadOutput)?;
        if kind.arguments == Arguments::ByPosition
            && !shape.reads.iter().copied().eq(0..input.columns.len())
        {
            return Err(unusable("it does not read its arguments, all of them and in their order"));
        }
        if let Some(context) = context {
            guest.begin(functions, context)?;
        }
        let exports = guest.exports(functions, kind)?;
        let reads = opened.reads.iter().map(|read| {
            let field = input.schema.fields().get(*read as usize);
            field.map_or(DataType::Null, |field| field.data_type().clone())
        });
        Ok(Instance {
            module: Arc::clone(module),
            function: signature.name.clone(),
            batch,
            guest,
            id: opened.id,
            exports,
            reads: reads.collect(),
            expected: expected(&shape),
            shape,
            is_broken: false,
            has_failed: false,
        })
    }

    /// Tells an instance of an earlier batch which one its next calls are of.
    pub(crate) fn begin(&mut self, context: &BatchContext) -> Result<(), PluginFailure> {
        self.batch = Some(context.batch);
        self.is_broken = true;
        self.guest.begin(&self.module.prepared.exports, context)?;
        self.is_broken = false;
        Ok(())
    }

    /// Whether all of its calls ended as calls do.
    pub(crate) fn is_well(&self) -> bool {
        !self.is_broken && !self.has_failed
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Bytes of the guest's memory.
    pub(crate) fn memory(&self) -> u64 {
        self.guest.memory()
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Refuses an instance that reads or gives other columns than the one that was asked for its shape.
    pub(crate) fn check_shape(&self, planned: &Shape) -> Result<(), PluginFailure> {
        let (now, then) = (&self.shape, planned);
        let is_same = now.reads == then.reads
            && now.origins == then.origins
            && same_columns(&now.output, &then.output);
        match is_same {
            true => Ok(()),
            false => Err(unusable(format!(
                "it opened with the columns ({}), and when the query was planned with ({}), or reads or \
                 lets through others than then",
                ddl(&now.output),
                ddl(&then.output)
            ))),
        }
    }

    /// Counts a call and the time that it took, and says in an error which one it was.
    pub(crate) fn measured<T>(
        &mut self,
        rows: usize,
        call: impl FnOnce(&mut Instance) -> Result<T, PluginFailure>,
    ) -> Result<T, PluginError> {
        let started = Instant::now();
        let result = call(self);
        self.module.count_call(&self.function, rows as u64, started.elapsed());
        self.has_failed |= result.is_err();
        result.map_err(|failure| self.error(failure))
    }

    /// An error that says which call it was.
    pub(crate) fn error(&self, failure: PluginFailure) -> PluginError {
        self.module.error(&self.function, self.batch, failure)
    }

    /// Calls the first export with rows of the columns that are read.
    pub(crate) fn call_with_rows(
        &mut self,
        rows: &RecordBatch,
    ) -> Result<PluginRows, PluginFailure> {
        let input = self.input_apart(rows)?;
        let block = lent(&input, rows.num_rows())?;
        let giving = Giving::new(self.expected.clone(), rows.num_rows());
        let id = self.id;
        let (refused, giving) =
            self.call::<_, (Result<Vec<RowError>, Failure>,)>(0, (id, block), giving)?;
        let refused = checked(refused.0?, rows.num_rows())?;
        Ok(PluginRows { given: giving.given(), refused })
    }

    /// Rows of the columns that are read, as they cross.
    pub(crate) fn input_apart(
        &self,
        rows: &RecordBatch,
    ) -> Result<Vec<tidemill_block::Column>, PluginFailure> {
        apart(&self.reads, rows.columns()).map_err(PluginFailure::Signature)
    }

    /// Calls an export of the kind, and gives what it has answered and given.
    pub(crate) fn call<P, R>(
        &mut self,
        export: usize,
        parameters: P,
        giving: Giving,
    ) -> Result<(R, Giving), PluginFailure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.call_in(export, parameters, giving, None)
    }

    /// The same for an export that gives rows of its own and reaches the state of keys.
    pub(crate) fn call_with_state<P, R>(
        &mut self,
        export: usize,
        parameters: P,
        keyed: Keyed,
    ) -> Result<(R, Giving), PluginFailure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let giving = Giving::new(self.expected.clone(), 0);
        self.call_in(export, parameters, giving, Some(keyed))
    }

    fn call_in<P, R>(
        &mut self,
        export: usize,
        parameters: P,
        giving: Giving,
        keyed: Option<Keyed>,
    ) -> Result<(R, Giving), PluginFailure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        if self.is_broken {
            return Err(PluginFailure::Host(
                "the instance failed in an earlier call; open a new one".to_owned(),
            ));
        }
        let function = self.exports.get(export);
        let function = *function.ok_or_else(|| PluginFailure::Host("no such export".to_owned()))?;
        self.is_broken = true;
        let answer = self.guest.call_giving(function, parameters, giving, keyed)?;
        self.is_broken = false;
        Ok(answer)
    }
}

/// The columns as they cross.
pub(crate) fn apart(
    types: &[DataType],
    columns: &[ArrayRef],
) -> Result<Vec<tidemill_block::Column>, String> {
    if types.len() != columns.len() {
        return Err(format!("{} columns for the {} that it reads", columns.len(), types.len()));
    }
    let apart = types.iter().zip(columns).map(|(data_type, column)| {
        take_apart(&*as_plain(column, data_type)?).map_err(|error| error.to_string())
    });
    apart.collect()
}

/// A block of these columns, which stay where they are.
pub(crate) fn lent(
    columns: &[tidemill_block::Column],
    rows: usize,
) -> Result<Block<&[u8]>, PluginFailure> {
    let rows = u32::try_from(rows);
    let rows = rows.map_err(|_| PluginFailure::Host("more than 4,294,967,295 rows".to_owned()))?;
    Ok(Block { rows, columns: columns.iter().map(Column::lent).collect() })
}

/// The refused rows, if they are of those that were given.
pub(crate) fn checked(
    refused: Vec<RowError>,
    rows: usize,
) -> Result<Vec<RefusedRow>, PluginFailure> {
    if refused.len() > rows {
        return Err(unusable(format!("it refused {} rows of {rows}", refused.len())));
    }
    let refused = refused.into_iter().map(|row| shortened_row(row.into()));
    let refused: Vec<RefusedRow> = refused.collect();
    match refused.iter().find(|refused| refused.row as usize >= rows) {
        Some(beyond) => {
            Err(unusable(format!("it refused row {}, and there were {rows}", beyond.row)))
        }
        None => Ok(refused),
    }
}

pub(crate) fn unusable(reason: impl Into<String>) -> PluginFailure {
    PluginFailure::BadOutput(reason.into())
}

fn expected(shape: &Shape) -> Expected {
    let columns = shape.output.fields().iter().zip(&shape.origins);
    let made = columns.filter(|(_, origin)| **origin == Origin::Made);
    Expected {
        made: made.map(|(field, _)| Arc::clone(field)).collect(),
        is_passing: shape.origins.iter().any(|origin| *origin != Origin::Made),
    }
}

/// What the guest opened with, in terms of the plan's columns.
fn shape(
    signature: &FunctionSignature,
    input: &Input,
    given: &SchemaRef,
    opened: &abi::Opened,
) -> Result<Shape, String> {
    let output = read_schema(&opened.output).map_err(|error| error.to_string())?;
    let columns = input.columns.len();
    let place = |index: u32| {
        let place = input.columns.get(index as usize).copied();
        place.ok_or_else(|| format!("it wants column {index} of its input, which has {columns}"))
    };
    if opened.reads.len() > columns {
        return Err(format!("it reads {} columns of {columns}", opened.reads.len()));
    }
    let reads = opened.reads.iter().map(|index| place(*index)).collect::<Result<Vec<_>, _>>()?;
    if opened.origins.len() != output.fields().len() {
        let (told, fields) = (opened.origins.len(), output.fields().len());
        return Err(format!("it says of {told} columns where they come from, and gives {fields}"));
    }
    let origins = opened.origins.iter().map(|origin| match origin {
        abi::Origin::Made => Ok(Origin::Made),
        abi::Origin::Passed(index) if signature.passes_others => place(*index).map(Origin::Passed),
        abi::Origin::Passed(_) => {
            Err("it lets columns through, and does not say so of itself".to_owned())
        }
    });
    let origins = origins.collect::<Result<Vec<_>, String>>()?;
    let output = input.output(&output, &origins, given)?;
    let is_told = !signature.passes_others;
    if let Some(declared) = signature.output.as_ref().filter(|_| is_told)
        && !same_columns(declared, &output)
    {
        return Err(format!(
            "it declares the columns ({}), and opened with ({})",
            ddl(declared),
            ddl(&output)
        ));
    }
    Ok(Shape { output, reads, origins })
}
