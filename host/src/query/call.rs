//! One function of a plugin on the rows of a file, without a job: as a query of one batch calls it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use serde_json::{Map, Value};
use tidemill_codec::{EncodeOptions, JsonEncoder};
use tidemill_connectors::{OptionText, SourceConfig, plan_source};
use tidemill_core::{
    AggregateInstance, Attempt, BatchContext, BatchId, ConnectorError, FunctionInstance,
    FunctionKind, FunctionSignature, PluginModule, QueryId, RefusedRow, RowStream, Shape,
    TableReader, nearest,
};
use tidemill_engine::{Clock, SystemClock};
use tidemill_types::format_schema;

use super::error::PrepareError;
use super::statics::StaticReader;

/// The name of the query that a function sees in its context.
const QUERY: &str = "call";

/// A function that was opened for the rows of a file.
pub struct Call {
    called: Called,
    kind: FunctionKind,
    rows: RowStream,
    /// Which columns of the rows the function is asked with.
    given: Vec<usize>,
    output: SchemaRef,
}

/// What is called with them.
enum Called {
    /// It gives rows for rows.
    Rows { instance: Box<dyn FunctionInstance>, shape: Shape },
    /// It folds all of them into one group.
    Group { instance: Box<dyn AggregateInstance>, arguments: SchemaRef },
}

/// A row that the function would not take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedInput {
    /// Its number among the rows, from 1.
    pub number: u64,
    /// The plugin's words.
    pub reason: String,
    /// The row as JSON, where its types have any.
    pub row: Option<String>,
}

/// Who is told what came of the rows.
pub trait CallOutput {
    /// Rows of [`Call::output`].
    fn rows(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError>;
    /// A row that the function refused.
    fn refused(&mut self, row: RefusedInput);
}

impl Call {
    /// Checks function and rows, and opens the one for the others. `input` is a file of JSON lines.
    pub fn open(
        module: &dyn PluginModule,
        function: &str,
        input: &Path,
        batch: BatchId,
    ) -> Result<Call, PrepareError> {
        let signature = callable(module, function)?;
        let Rows { schema, arguments, rows } = rows_for(signature, input)?;
        let columns = match signature.kind {
            FunctionKind::Scalar | FunctionKind::Aggregate => arguments,
            _ => (0..schema.fields().len()).collect(),
        };
        let given = project(&schema, &columns);
        let context = BatchContext {
            query: QUERY.to_owned(),
            query_id: QueryId(QUERY.to_owned()),
            batch,
            attempt: Attempt::FIRST,
            partition: 0,
            batch_time_ms: SystemClock.now_ms(),
            watermark: None,
        };
        let declared = (&signature.input, &signature.output);
        let (called, output) = match (signature.kind, declared) {
            (FunctionKind::Aggregate, (Some(arguments), Some(output))) => {
                let instance = module.open_aggregate(function, &context)?;
                let called = Called::Group { instance, arguments: Arc::clone(arguments) };
                (called, Arc::clone(output))
            }
            (kind, _) => {
                let shape = module.shape(function, Arc::clone(&given))?;
                let instance = module.open(function, &context, given, &shape)?;
                let output = match kind {
                    FunctionKind::Scalar => beside_result(&schema, signature, &shape.output),
                    _ => Arc::clone(&shape.output),
                };
                (Called::Rows { instance, shape }, output)
            }
        };
        Ok(Call { called, kind: signature.kind, rows, given: columns, output })
    }

    /// Columns of the rows to come: a transform's own; for a scalar those of the input, and the
    /// result under the function's name; of an aggregate the result of all rows.
    #[must_use]
    pub fn output(&self) -> SchemaRef {
        Arc::clone(&self.output)
    }

    /// Calls the function for all rows, a record batch after the other.
    pub fn run(mut self, to: &mut dyn CallOutput) -> Result<(), CallError> {
        let mut before = 0;
        while let Some(rows) = self.rows.next() {
            let rows = rows.map_err(CallError::Input)?;
            let given = rows.project(&self.given).map_err(misfit)?;
            for refused in self.call(&rows, &given, to)? {
                let place = refused.row as usize;
                let row = (place < rows.num_rows()).then(|| as_json(&rows.slice(place, 1)));
                let number = before + u64::from(refused.row) + 1;
                to.refused(RefusedInput { number, reason: refused.reason, row: row.flatten() });
            }
            before += rows.num_rows() as u64;
        }
        if let Called::Group { instance, .. } = &mut self.called {
            let result = vec![instance.results(1)?];
            let result = RecordBatch::try_new(Arc::clone(&self.output), result).map_err(misfit)?;
            to.rows(&result).map_err(CallError::Output)?;
        }
        Ok(())
    }

    /// Calls it for a record batch, and gives the rows that it would not take.
    fn call(
        &mut self,
        rows: &RecordBatch,
        given: &RecordBatch,
        to: &mut dyn CallOutput,
    ) -> Result<Vec<RefusedRow>, CallError> {
        match &mut self.called {
            Called::Rows { instance, shape } => {
                let read = given.project(&shape.reads).map_err(misfit)?;
                let (answer, assembly) = (instance.call(&read)?, shape.assembly());
                for part in &answer.given {
                    let result = assembly.rows(part, given).map_err(misfit)?;
                    to.rows(&self.shown(rows, &result)?).map_err(CallError::Output)?;
                }
                Ok(answer.refused)
            }
            Called::Group { instance, arguments } => {
                let columns = given.columns().to_vec();
                let rows = RecordBatch::try_new(Arc::clone(arguments), columns).map_err(misfit)?;
                Ok(instance.update(&vec![0; rows.num_rows()], 1, &rows)?)
            }
        }
    }

    fn shown(&self, rows: &RecordBatch, given: &RecordBatch) -> Result<RecordBatch, CallError> {
        let mut columns = match self.kind {
            FunctionKind::Scalar => rows.columns().to_vec(),
            _ => Vec::new(),
        };
        columns.extend(given.columns().iter().cloned());
        RecordBatch::try_new(Arc::clone(&self.output), columns).map_err(misfit)
    }
}

/// Why a call ended early.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The input cannot be read.
    #[error("{}", with_cause(.0))]
    Input(ConnectorError),
    /// The function failed.
    #[error(transparent)]
    Plugin(#[from] tidemill_core::PluginError),
    /// The result cannot be shown.
    #[error("{}", with_cause(.0))]
    Output(ConnectorError),
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn misfit(error: arrow::error::ArrowError) -> CallError {
    let problem = "what the function gave does not fit its columns";
    CallError::Output(ConnectorError::fatal(problem).caused_by(error))
}

/// The function, if it can be called with rows alone.
fn callable<'a>(
    module: &'a dyn PluginModule,
    function: &str,
) -> Result<&'a FunctionSignature, PrepareError> {
    let plugin = module.name();
    let names = || module.functions().iter().map(|known| known.name.as_str());
    let Some(signature) = module.functions().iter().find(|known| known.name == function) else {
        let advice = match nearest(function, names()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Err(PrepareError::Invalid(format!(
            "plugin \"{plugin}\" has no function \"{function}\"; {advice}"
        )));
    };
    let reason = match signature.kind {
        FunctionKind::Scalar | FunctionKind::Transform | FunctionKind::Aggregate => {
            return Ok(signature);
        }
        FunctionKind::ForeachBatch => format!(
            "it delivers a batch to the targets of a job, and there is no job here; name it in the \
             job's sink (format = \"foreach_batch\", plugin = \"{plugin}\", function = \
             \"{function}\") and start `tidemill run job.toml --trigger available-now`"
        ),
        FunctionKind::Stateful => format!(
            "it keeps something for each key of a query, and there is no query here; name it in a step \
             of a job (plugin = \"{plugin}\", function = \"{function}\", key = […]), and give the job a \
             case for `tidemill test`"
        ),
    };
    let kind = signature.kind.name();
    Err(PrepareError::Invalid(format!("\"{function}\" is a {kind} function: {reason}")))
}

/// The rows of the input, and which of their columns a scalar takes.
struct Rows {
    schema: SchemaRef,
    arguments: Vec<usize>,
    rows: RowStream,
}

/// Columns that the function names have the types that it says, the others those that the rows
/// show.
fn rows_for(signature: &FunctionSignature, input: &Path) -> Result<Rows, PrepareError> {
    let first = first_row(input)?;
    let found = plan_source(config(input, None))?.schema();
    let (schema, arguments) = match (&signature.input, signature.kind) {
        (Some(wanted), FunctionKind::Scalar | FunctionKind::Aggregate) => {
            let found = in_order(&found, &first);
            let places = places(signature, wanted, &found)?;
            let mut fields: Vec<FieldRef> = found.fields().to_vec();
            for (wanted, &place) in wanted.fields().iter().zip(&places) {
                fields[place] = with_type(&fields[place], wanted);
            }
            (Schema::new(fields), places)
        }
        (Some(wanted), _) => {
            let typed = |field: &FieldRef| match wanted.column_with_name(field.name()) {
                Some((_, wanted)) => with_type(field, wanted),
                None => Arc::clone(field),
            };
            (Schema::new(found.fields().iter().map(typed).collect::<Vec<_>>()), Vec::new())
        }
        (None, FunctionKind::Scalar) => {
            let found = in_order(&found, &first);
            let all = (0..found.fields().len()).collect();
            (found, all)
        }
        (None, _) => (found.as_ref().clone(), Vec::new()),
    };
    let planned = plan_source(config(input, Some(Arc::new(schema))))?;
    let schema = planned.schema();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let rows = StaticReader::open(&planned)?.read(&all)?;
    Ok(Rows { schema, arguments, rows })
}

fn config(input: &Path, schema: Option<SchemaRef>) -> SourceConfig {
    // A value that is not what the function wants is an error: as a null it would be passed over.
    let mode = OptionText::from("FAILFAST");
    SourceConfig {
        name: "input".to_owned(),
        format: "json".to_owned(),
        path: Some(input.to_owned()),
        infers: schema.is_none(),
        schema,
        options: BTreeMap::from([("mode".to_owned(), mode)]),
        ..SourceConfig::default()
    }
}

fn with_type(field: &FieldRef, wanted: &Field) -> FieldRef {
    Arc::new(wanted.clone().with_name(field.name()).with_nullable(true))
}

/// For each parameter of a scalar or an aggregate its column: the one of its name, or the next that no parameter
/// has the name of.
fn places(
    signature: &FunctionSignature,
    wanted: &Schema,
    found: &Schema,
) -> Result<Vec<usize>, PrepareError> {
    let named = |wanted: &FieldRef| found.index_of(wanted.name()).ok();
    let mut others = (0..found.fields().len())
        .filter(|&place| wanted.column_with_name(found.field(place).name()).is_none());
    let places = wanted.fields().iter().map(|wanted| named(wanted).or_else(|| others.next()));
    places.collect::<Option<Vec<usize>>>().ok_or_else(|| {
        let (count, takes) = (wanted.fields().len(), format_schema(wanted));
        PrepareError::Invalid(format!(
            "\"{}\" takes {count} arguments ({takes}), and the rows have the columns ({}); give \
             each row a column for each argument",
            signature.name,
            format_schema(found)
        ))
    })
}

/// The columns in the order that the first row has them in; those that it lacks come last.
fn in_order(found: &Schema, first: &Map<String, Value>) -> Schema {
    let mut fields: Vec<FieldRef> = found.fields().to_vec();
    let place = |field: &FieldRef| first.keys().position(|key| key == field.name());
    fields.sort_by_key(|field| place(field).unwrap_or(usize::MAX));
    Schema::new(fields)
}

/// The first row of the file: the order of its columns, which are sorted where they are inferred.
fn first_row(input: &Path) -> Result<Map<String, Value>, PrepareError> {
    /// A longer line is malformed for the reader, too.
    const LINE_BYTES_MAX: u64 = 64 << 20;
    let wrong = |reason: String| PrepareError::Invalid(format!("{}: {reason}", input.display()));
    let advice = "write a JSON object a line, like {\"amount\": 2.5, \"category\": \"books\"}";
    let failed = |error: std::io::Error| wrong(format!("it cannot be read: {error}; {advice}"));
    if !std::fs::metadata(input).map_err(failed)?.is_file() {
        return Err(wrong(format!("it is no file; {advice}, into a file, or pipe them to `-`")));
    }
    let mut reader = BufReader::new(File::open(input).map_err(failed)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = std::io::Read::take(&mut reader, LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Err(wrong(format!("there are no rows in it; {advice}")));
        }
        if !line.trim_ascii().is_empty() {
            break;
        }
    }
    match serde_json::from_slice(&line) {
        Ok(Value::Object(row)) => Ok(row),
        Ok(_) => Err(wrong(format!("its first row is no JSON object; {advice}"))),
        Err(error) => Err(wrong(format!("its first row is no JSON ({error}); {advice}"))),
    }
}

fn project(schema: &Schema, places: &[usize]) -> SchemaRef {
    let fields = places.iter().map(|&place| schema.field(place).clone());
    Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
}

fn beside_result(rows: &Schema, signature: &FunctionSignature, result: &Schema) -> SchemaRef {
    let mut fields: Vec<FieldRef> = rows.fields().to_vec();
    let named = |field: &FieldRef| field.as_ref().clone().with_name(&signature.name);
    fields.extend(result.fields().iter().map(|field| Arc::new(named(field))));
    Arc::new(Schema::new(fields))
}

fn as_json(row: &RecordBatch) -> Option<String> {
    let encoder = JsonEncoder::new(&row.schema(), EncodeOptions::default()).ok()?;
    let mut text = Vec::new();
    encoder.rows(row).ok()?.write(0, &mut text);
    String::from_utf8(text).ok()
}
