//! Runs a job with the transform `normalise` compiled in instead of loaded as WebAssembly: what a
//! benchmark compares the plugin with.
//!
//! ```sh
//! cargo run --release --example native -- job.toml
//! ```

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Float64Type, SchemaRef};
use arrow::error::ArrowError;
use tidemill::job::Job;
use tidemill::query::{Prepared, Shared};
use tidemill_core::{
    BatchContext, Digest, FunctionInstance, FunctionKind, FunctionSignature, PluginError,
    PluginFailure, PluginModule, PluginRows,
};
use tidemill_engine::{QueryEvent, StopSignal};

/// As the command has it, which this is compared with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PLUGIN: &str = "orders";
const FUNCTION: &str = "normalise";

/// `plugins/orders`, compiled in.
struct Orders {
    functions: Vec<FunctionSignature>,
}

/// The same work as the plugin's function of this name.
fn normalise(orders: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = orders.schema();
    let amounts = orders.column(schema.index_of("amount")?).as_primitive::<Float64Type>();
    let usable: BooleanArray =
        amounts.iter().map(|amount| Some(amount.is_some_and(|amount| amount >= 0.0))).collect();
    let cleaned = filter_record_batch(orders, &usable)?;
    let category = schema.index_of("category")?;
    let categories: StringArray = cleaned
        .column(category)
        .as_string::<i32>()
        .iter()
        .map(|category| Some(category?.trim().to_lowercase()))
        .collect();
    let mut columns = cleaned.columns().to_vec();
    columns[category] = Arc::new(categories);
    RecordBatch::try_new(schema, columns)
}

impl PluginModule for Orders {
    fn name(&self) -> &str {
        PLUGIN
    }

    fn digest(&self) -> Digest {
        Digest::of(PLUGIN.as_bytes())
    }

    fn functions(&self) -> &[FunctionSignature] {
        &self.functions
    }

    fn output_schema(&self, _: &str, input: SchemaRef) -> Result<SchemaRef, PluginError> {
        Ok(input)
    }

    fn open(
        &self,
        _: &str,
        _: &BatchContext,
        _: SchemaRef,
    ) -> Result<Box<dyn FunctionInstance>, PluginError> {
        Ok(Box::new(Normalise))
    }
}

struct Normalise;

impl FunctionInstance for Normalise {
    fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginError> {
        let rows = normalise(rows).map_err(|error| failed(FUNCTION, error.to_string()))?;
        Ok(PluginRows { batches: vec![rows], refused: Vec::new() })
    }
}

fn failed(function: &str, reason: String) -> PluginError {
    PluginError {
        plugin: PLUGIN.to_owned(),
        function: function.to_owned(),
        batch: None,
        failure: PluginFailure::Fatal(reason),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which job?")?;
    let signature = FunctionSignature {
        name: FUNCTION.to_owned(),
        kind: FunctionKind::Transform,
        input: None,
        output: None,
        deterministic: true,
        documentation: String::new(),
    };
    let mut shared = Shared::new(false);
    shared.native = vec![Arc::new(Orders { functions: vec![signature] })];
    let job = Job::read(path.as_ref(), &[])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let prepared = runtime.block_on(Prepared::new(job, &shared))?;
    let on_event = |event: QueryEvent<'_>| {
        if let QueryEvent::Progress(progress) = event
            && let Ok(line) = serde_json::to_string(progress)
        {
            eprintln!("{line}");
        }
    };
    prepared.start(StopSignal::new(), Box::new(on_event))?.run()?;
    Ok(())
}
