//! Runs a job with the transform `normalise` compiled in instead of loaded as WebAssembly: what a
//! benchmark compares the plugin with.
//!
//! ```sh
//! cargo run --release --example native -- job.toml
//! ```

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringBuilder};
use arrow::datatypes::{Float64Type, SchemaRef};
use arrow::error::ArrowError;
use tidemill::job::Job;
use tidemill::query::{Prepared, Shared};
use tidemill_core::{
    BatchContext, Digest, FunctionInstance, FunctionKind, FunctionSignature, Given, Origin,
    PluginError, PluginFailure, PluginModule, PluginRows, Selection, Shape,
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

/// The same work as the plugin's function of this name, over `amount` and `category`: which orders
/// are kept, and their categories.
fn normalise(orders: &RecordBatch) -> Result<Given, ArrowError> {
    let amounts = orders.column(0).as_primitive::<Float64Type>();
    let usable: BooleanArray =
        amounts.iter().map(|amount| Some(amount.is_some_and(|amount| amount >= 0.0))).collect();
    let categories = orders.column(1).as_string::<i32>();
    let mut written =
        StringBuilder::with_capacity(orders.num_rows(), categories.value_data().len());
    let mut text = String::new();
    for row in usable.values().set_indices() {
        if categories.is_null(row) {
            written.append_null();
            continue;
        }
        text.clear();
        text.push_str(categories.value(row).trim());
        if text.is_ascii() {
            text.make_ascii_lowercase()
        } else {
            text = text.to_lowercase()
        }
        written.append_value(&text);
    }
    Ok(Given { selection: Selection::Kept(usable), made: vec![Arc::new(written.finish())] })
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

    /// It reads two columns and makes one of them anew.
    fn shape(&self, function: &str, input: SchemaRef) -> Result<Shape, PluginError> {
        let place =
            |name: &str| input.index_of(name).map_err(|error| failed(function, error.to_string()));
        let (amount, category) = (place("amount")?, place("category")?);
        let mut origins: Vec<Origin> = (0..input.fields().len()).map(Origin::Passed).collect();
        origins[category] = Origin::Made;
        Ok(Shape { output: input, reads: vec![amount, category], origins })
    }

    fn open(
        &self,
        _: &str,
        _: &BatchContext,
        _: SchemaRef,
        _: &Shape,
    ) -> Result<Box<dyn FunctionInstance>, PluginError> {
        Ok(Box::new(Normalise))
    }
}

struct Normalise;

impl FunctionInstance for Normalise {
    fn call(&mut self, rows: &RecordBatch) -> Result<PluginRows, PluginError> {
        let given = normalise(rows).map_err(|error| failed(FUNCTION, error.to_string()))?;
        Ok(PluginRows { given: vec![given], refused: Vec::new() })
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
        passes_others: true,
        ..FunctionSignature::new(FUNCTION, FunctionKind::Transform)
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
