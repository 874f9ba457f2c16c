//! Scalars: a function of one row gives a value. It is called for each row of a batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_block::same_layout;
use tidemill_types::sql_name;

use crate::bindings::exports::tidemill::plugin::scalars::{BlockResult, Guest};
use crate::bindings::tidemill::plugin::types::{Failure, FunctionKind, RowError};
use crate::exports::{Exports, Functions, with};
use crate::kinds::{Body, Called, Declared, Opened, all_of};
use crate::rows::{self, Given, Selection};
use crate::value::{FromColumn, IntoColumn, ScalarResult};
use crate::{BatchContext, Error, Result, crossing};

/// A function with `#[scalar]`.
pub struct Scalar {
    /// The arguments.
    pub input: Vec<Field>,
    /// The result.
    pub output: Field,
    /// The function, for all rows of a batch.
    pub call: fn(&RecordBatch, &BatchContext) -> Result<Evaluated>,
}

/// The result column of a scalar, and the rows that it refused.
pub(crate) type Evaluated = (ArrayRef, Vec<RowError>);

impl Body for Scalar {
    fn declared(&self) -> Declared {
        Declared {
            kind: FunctionKind::Scalar,
            input: Some(Arc::new(Schema::new(self.input.clone()))),
            output: Some(Arc::new(Schema::new(vec![self.output.clone()]))),
            passes_others: false,
        }
    }

    fn open(self: Box<Scalar>, input: &SchemaRef) -> Result<Opened> {
        check_arguments(&self.input, input)?;
        let output = Arc::new(Schema::new(vec![self.output]));
        let scalar = OpenedScalar { input: Arc::clone(input), call: self.call };
        Ok(Opened::making(output, all_of(input), scalar))
    }
}

/// Refuses arguments of other types than the function takes.
pub(crate) fn check_arguments(wanted: &[Field], found: &Schema) -> Result<()> {
    let types = |fields: &mut dyn Iterator<Item = &Field>| {
        fields.map(|field| sql_name(field.data_type())).collect::<Vec<_>>().join(", ")
    };
    let fits = wanted.len() == found.fields().len()
        && wanted
            .iter()
            .zip(found.fields())
            .all(|(wanted, found)| same_layout(wanted.data_type(), found.data_type()));
    if fits {
        return Ok(());
    }
    let found = types(&mut found.fields().iter().map(AsRef::as_ref));
    let wanted = types(&mut wanted.iter());
    Err(Error::bad_input(format!(
        "the arguments are ({found}), and the function takes ({wanted}); cast them in SQL"
    )))
}

/// A scalar for arguments of these types.
struct OpenedScalar {
    input: SchemaRef,
    call: fn(&RecordBatch, &BatchContext) -> Result<Evaluated>,
}

impl Called for OpenedScalar {
    const KIND: &'static str = "a scalar";
}

impl<P: Functions> Guest for Exports<P> {
    fn call(opened: u32, arguments: BlockResult) -> Result<Vec<RowError>, Failure> {
        with(opened, |scalar: &mut OpenedScalar, context| {
            let arguments = crossing::arrived(&scalar.input, arguments)?;
            let (column, refused) = (scalar.call)(&arguments, context)?;
            rows::give(Given { selection: Selection::All, columns: vec![column] })?;
            Ok(refused)
        })
    }
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
pub fn result<R: ScalarResult>(name: &str) -> Field {
    Field::new(name, R::Value::data_type(), true)
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
            Err(Error::BadRow(reason)) => {
                refused.push(RowError { row: row as u32, reason });
                R::Value::append(&mut builder, None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((R::Value::finish(builder), refused))
}
