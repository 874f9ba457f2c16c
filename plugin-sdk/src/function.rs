//! What the attributes make of the author's functions, and how they are called.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_types::sql_name;

use crate::bindings::tidemill::plugin::types::{self, FunctionKind, RowError, Rows};
use crate::value::{FromColumn, IntoColumn, ScalarResult};
use crate::{BatchContext, Error, Result, ipc};

/// A function with one of the attributes, as [`plugin!`](crate::plugin) takes it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of a plugin",
    note = "give the function one of the attributes #[scalar], #[transform], #[foreach_batch]"
)]
pub trait Exported {
    /// What the host is told, and what it calls.
    fn function() -> Function;
}

/// A function of the plugin.
pub struct Function {
    /// Name in the plugin.
    pub name: &'static str,
    /// Text of the doc comment.
    pub documentation: &'static str,
    /// Columns that it wants, if it says so.
    pub input: Option<Schema>,
    /// Columns that it gives, if it says so.
    pub output: Option<Schema>,
    /// Whether it gives the same value for the same arguments.
    pub deterministic: bool,
    /// The function itself.
    pub body: Body,
}

/// The function itself.
#[derive(Clone, Copy)]
pub enum Body {
    /// A column for the arguments' columns.
    Scalar(fn(&RecordBatch, &BatchContext) -> Result<Evaluated>),
    /// Rows for rows.
    Transform(fn(RecordBatch, &BatchContext) -> Result<RecordBatch>),
    /// Delivers the batch with this handle.
    ForeachBatch(fn(u64, &BatchContext) -> Result<()>),
}

/// The result column of a scalar, and the rows that it refused.
pub type Evaluated = (ArrayRef, Vec<RowError>);

impl Function {
    /// As `describe` tells it to the host.
    pub(crate) fn describe(&self) -> types::Function {
        let encode = |schema: &Schema| {
            ipc::encode_schema(schema).expect("the attributes make schemas of plain types only")
        };
        types::Function {
            name: self.name.to_owned(),
            kind: match self.body {
                Body::Scalar(_) => FunctionKind::Scalar,
                Body::Transform(_) => FunctionKind::Transform,
                Body::ForeachBatch(_) => FunctionKind::ForeachBatch,
            },
            input: self.input.as_ref().map(encode),
            output: self.output.as_ref().map(encode),
            state: None,
            deterministic: self.deterministic,
            documentation: self.documentation.to_owned(),
        }
    }
}

/// A function with the schemas of one instance.
pub(crate) struct Opened {
    name: &'static str,
    body: Body,
    input: SchemaRef,
    output: Option<(SchemaRef, ipc::Encoder)>,
}

impl Opened {
    pub(crate) fn new(function: Function, input: SchemaRef) -> Result<Opened> {
        let output = match (&function.body, function.output) {
            (Body::ForeachBatch(_), _) => None,
            (_, Some(output)) => Some(Arc::new(output)),
            (Body::Scalar(_), None) => None,
            (Body::Transform(call), None) => {
                let empty = RecordBatch::new_empty(Arc::clone(&input));
                Some(call(empty, &BatchContext::default())?.schema())
            }
        };
        let output = output
            .map(|schema| Ok::<_, Error>((Arc::clone(&schema), ipc::Encoder::new(&schema)?)))
            .transpose()?;
        Ok(Opened { name: function.name, body: function.body, input, output })
    }

    pub(crate) fn output(&self) -> Vec<u8> {
        self.output.as_ref().map_or_else(Vec::new, |(_, encoder)| encoder.schema_message())
    }

    pub(crate) fn scalar(&mut self, context: &BatchContext, arguments: Vec<u8>) -> Result<Rows> {
        let (Body::Scalar(call), Some((schema, encoder))) = (self.body, &mut self.output) else {
            return Err(Error::fatal(format!("\"{}\" is not a scalar", self.name)));
        };
        let arguments = ipc::decode(&self.input, arguments)?;
        let (column, refused) = call(&arguments, context)?;
        let result = RecordBatch::try_new(Arc::clone(schema), vec![column])?;
        Ok(Rows { batches: vec![encoder.encode(&result)?], refused })
    }

    pub(crate) fn transform(&mut self, context: &BatchContext, input: Vec<u8>) -> Result<Rows> {
        let (Body::Transform(call), Some((schema, encoder))) = (self.body, &mut self.output) else {
            return Err(Error::fatal(format!("\"{}\" is not a transform", self.name)));
        };
        let input = ipc::decode(&self.input, input)?;
        let output = with_schema(call(input, context)?, schema)?;
        Ok(Rows { batches: vec![encoder.encode(&output)?], refused: context.take_refused() })
    }

    pub(crate) fn foreach_batch(&self, context: &BatchContext, batch: u64) -> Result<()> {
        match self.body {
            Body::ForeachBatch(call) => call(batch, context),
            _ => Err(Error::fatal(format!("\"{}\" is not a foreach_batch handler", self.name))),
        }
    }
}

/// The rows under the declared names; the types have to be the declared ones.
fn with_schema(rows: RecordBatch, declared: &SchemaRef) -> Result<RecordBatch> {
    let found = rows.schema();
    if found == *declared {
        return Ok(rows);
    }
    let same = found.fields().len() == declared.fields().len()
        && found.fields().iter().zip(declared.fields()).all(|(found, declared)| {
            found.name() == declared.name() && found.data_type() == declared.data_type()
        });
    if !same {
        return Err(Error::fatal(format!(
            "the result has the columns ({}), and not the declared ({})",
            columns(&found),
            columns(declared)
        )));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = rows.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(Arc::clone(declared), columns, &options)?)
}

fn columns(schema: &Schema) -> String {
    let columns = schema.fields().iter();
    let columns = columns.map(|field| format!("{} {}", field.name(), sql_name(field.data_type())));
    columns.collect::<Vec<_>>().join(", ")
}

/// The column of an argument, as the host has checked it.
pub fn argument<'a, T: FromColumn<'a>>(
    arguments: &'a RecordBatch,
    index: usize,
) -> Result<&'a T::Column> {
    let column = arguments.columns().get(index).and_then(|array| array.as_any().downcast_ref());
    column.ok_or_else(|| {
        Error::bad_input(format!("argument {} has to be {}", index + 1, sql_name(&T::data_type())))
    })
}

/// An argument as the signature tells it.
pub fn parameter<'a, T: FromColumn<'a>>(name: &str) -> Field {
    Field::new(name, T::data_type(), true)
}

/// A scalar's result as the signature tells it.
pub fn result<R: ScalarResult>(name: &str) -> Schema {
    Schema::new(vec![Field::new(name, R::Value::data_type(), true)])
}

/// Where an argument that takes no nulls is null.
pub fn nulls<'a, T: FromColumn<'a>>(
    arguments: &RecordBatch,
    index: usize,
    others: Option<NullBuffer>,
) -> Option<NullBuffer> {
    let column = arguments.column(index);
    if T::NULLABLE || column.null_count() == 0 {
        return others;
    }
    NullBuffer::union(others.as_ref(), column.nulls())
}

/// Calls a function for every row but those with a null that it has no place for: they give null.
pub fn evaluate<R: ScalarResult>(
    rows: usize,
    skip: Option<&NullBuffer>,
    mut call: impl FnMut(usize) -> R,
) -> Result<Evaluated> {
    if skip.is_none()
        && let Some(column) = R::column(rows, &mut call)
    {
        return Ok((column, Vec::new()));
    }
    let mut builder = R::Value::builder(rows);
    let mut refused = Vec::new();
    for row in 0..rows {
        if skip.is_some_and(|nulls| nulls.is_null(row)) {
            R::Value::append(&mut builder, None);
            continue;
        }
        match call(row).into_value() {
            Ok(value) => R::Value::append(&mut builder, value.as_ref()),
            Err(Error::BadInput(reason)) => {
                refused.push(RowError { row: row as u32, reason });
                R::Value::append(&mut builder, None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((R::Value::finish(builder), refused))
}
