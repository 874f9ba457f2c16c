//! An opened scalar or transform: rows in, rows out, on the caller's thread.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_core::{
    BatchContext, BatchId, FunctionInstance, FunctionKind, FunctionSignature, PluginError,
    PluginFailure, PluginRows, RefusedRow,
};

use crate::abi::{Context, Rows};
use crate::guest::{Guest, RowsCall};
use crate::ipc;
use crate::module::Inner;
use crate::schema::{Input, ddl, same_columns};
use crate::state::GuestLog;
use crate::text::shortened_row;

pub(crate) struct Opened {
    module: Arc<Inner>,
    function: String,
    kind: FunctionKind,
    batch: Option<BatchId>,
    context: Arc<Context>,
    input: Input,
    encoder: ipc::Encoder,
    output: SchemaRef,
    guest: Guest,
    call: RowsCall,
    instance: u32,
    /// A trap has left the guest's memory half written.
    broken: bool,
}

impl Opened {
    /// A fresh instance. Without a context it is only asked for its schema.
    pub(crate) fn open(
        module: &Arc<Inner>,
        signature: &FunctionSignature,
        context: Option<&BatchContext>,
        input: Input,
    ) -> Result<Opened, PluginFailure> {
        let batch = context.map(|context| context.batch);
        let encoder = ipc::Encoder::new(&input.schema);
        let encoder = encoder.map_err(|error| PluginFailure::Signature(error.to_string()))?;
        let log = GuestLog::new(&module.name, &signature.name, batch);
        let exports = &module.prepared.exports;
        let mut guest = Guest::start(&module.prepared, module.limits, log)?;
        let message = encoder.schema_message();
        let opened = guest.open(exports, &signature.name, &module.config_json, message)?;
        let output = check_output(signature, &opened.output)?;
        let call = guest.rows_call(match signature.kind {
            FunctionKind::Scalar => &exports.scalar,
            _ => &exports.transform,
        })?;
        Ok(Opened {
            module: Arc::clone(module),
            function: signature.name.clone(),
            kind: signature.kind,
            batch,
            context: Arc::new(context.map_or_else(Context::default, Context::from)),
            input,
            encoder,
            output,
            guest,
            call,
            instance: opened.instance,
            broken: false,
        })
    }

    pub(crate) fn output(&self) -> SchemaRef {
        Arc::clone(&self.output)
    }

    fn call_guest(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginFailure> {
        if self.broken {
            return Err(PluginFailure::Host(
                "the instance failed in an earlier call; open a new one".to_owned(),
            ));
        }
        let input = self.input.rows(rows).map_err(PluginFailure::Signature)?;
        let message = self.encoder.encode(&input);
        let message = message.map_err(|error| PluginFailure::Host(error.to_string()))?;
        let parameters = (self.instance, Arc::clone(&self.context), message);
        self.broken = true;
        let (answer,) = self.guest.call(&self.call, parameters)?;
        self.broken = false;
        self.check(answer?, rows.num_rows()).map_err(PluginFailure::BadOutput)
    }

    fn check(&self, answer: Rows, rows: usize) -> Result<PluginRows, String> {
        let mut decoder = ipc::Decoder::new(&self.output);
        let batches = match self.kind {
            // As many rows as it was given, which are a block.
            FunctionKind::Scalar => {
                let batches = answer.batches.into_iter().map(|message| decoder.decode(message));
                let batches = batches.collect::<Result<Vec<_>, _>>()?;
                let found: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
                if found != [rows] {
                    return Err(format!("record batches of {found:?} rows for {rows} rows"));
                }
                batches
            }
            _ => decoder.blocks(answer.batches)?,
        };
        if answer.refused.len() > rows {
            return Err(format!("it refused {} rows of {rows}", answer.refused.len()));
        }
        let refused = answer.refused.into_iter().map(|row| shortened_row(row.into()));
        let refused: Vec<RefusedRow> = refused.collect();
        match refused.iter().find(|refused| refused.row as usize >= rows) {
            Some(beyond) => Err(format!("it refused row {}, and there were {rows}", beyond.row)),
            None => Ok(PluginRows { batches, refused }),
        }
    }
}

impl FunctionInstance for Opened {
    fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginError> {
        let started = Instant::now();
        let result = self.call_guest(rows);
        self.module.count_call(&self.function, rows.num_rows() as u64, started.elapsed());
        result.map_err(|failure| self.module.error(&self.function, self.batch, failure))
    }
}

/// The schema that the guest opened with, if it is the declared one.
fn check_output(signature: &FunctionSignature, message: &[u8]) -> Result<SchemaRef, PluginFailure> {
    let output = ipc::decode_schema(message).map_err(PluginFailure::BadOutput)?;
    if let Some(declared) = signature.output.as_ref().filter(|d| !same_columns(d, &output)) {
        return Err(PluginFailure::BadOutput(format!(
            "it declares the columns ({}), and opened with ({})",
            ddl(declared),
            ddl(&output)
        )));
    }
    if signature.kind == FunctionKind::Scalar && output.fields().len() != 1 {
        return Err(PluginFailure::BadOutput(format!(
            "a scalar gives one column, and it gives ({})",
            ddl(&output)
        )));
    }
    Ok(output)
}
