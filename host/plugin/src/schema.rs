//! Which columns a function gets, of those that the plan has.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use tidemill_core::{FunctionKind, FunctionSignature};
use tidemill_types::sql_name;

use crate::ipc;

/// The way from the plan's rows to a function's.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// What the function is shown.
    pub(crate) schema: SchemaRef,
    /// For each of its columns, the plan's.
    columns: Vec<usize>,
    /// The plan's rows are the function's as they are.
    unchanged: bool,
}

impl Input {
    /// Finds the columns that `signature` wants in `given`: by position for a scalar, by name
    /// elsewhere, all of them where it takes any.
    pub(crate) fn new(signature: &FunctionSignature, given: &Schema) -> Result<Input, String> {
        let (columns, fields) = match (&signature.input, signature.kind) {
            (None, _) => {
                ((0..given.fields().len()).collect(), given.fields().iter().map(plain).collect())
            }
            (Some(wanted), FunctionKind::Scalar) => (by_position(wanted, given)?, fields(wanted)),
            (Some(wanted), _) => (by_name(wanted, given)?, fields(wanted)),
        };
        let fields: Vec<FieldRef> = fields;
        let nested = Schema::new(fields.clone());
        let encoded =
            nested.flattened_fields().into_iter().find(|f| ipc::is_encoded(f.data_type()));
        if let Some(field) = encoded {
            return Err(format!(
                "column \"{}\" is {}; cast it to a plain type before the plugin",
                field.name(),
                field.data_type()
            ));
        }
        let unchanged = columns.iter().copied().eq(0..given.fields().len())
            && fields.iter().zip(given.fields()).all(|(f, g)| f.data_type() == g.data_type());
        Ok(Input { schema: Arc::new(nested), columns, unchanged })
    }

    /// All columns as they are, for a table that a handler sees.
    pub(crate) fn any(given: &Schema) -> Result<Input, String> {
        let any = FunctionSignature {
            name: String::new(),
            kind: FunctionKind::ForeachBatch,
            input: None,
            output: None,
            deterministic: true,
            documentation: String::new(),
        };
        Input::new(&any, given)
    }

    /// The function's rows of the plan's.
    pub(crate) fn rows(&self, given: &RecordBatch) -> Result<RecordBatch, String> {
        let column = |(&index, field): (&usize, &FieldRef)| -> Result<ArrayRef, String> {
            let column =
                given.columns().get(index).ok_or("rows with fewer columns than planned")?;
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            cast(column, field.data_type()).map_err(|error| error.to_string())
        };
        let columns = if self.unchanged {
            given.columns().to_vec()
        } else {
            self.columns.iter().zip(self.schema.fields()).map(column).collect::<Result<_, _>>()?
        };
        let options = RecordBatchOptions::new().with_row_count(Some(given.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| error.to_string())
    }
}

/// Spark's DDL of a schema.
pub(crate) fn ddl(schema: &Schema) -> String {
    let column = |field: &FieldRef| format!("{} {}", field.name(), sql_name(field.data_type()));
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}

/// Whether two schemas have the same columns. Notes on them and nullability are left out.
pub(crate) fn same_columns(left: &Schema, right: &Schema) -> bool {
    left.fields().len() == right.fields().len()
        && left.fields().iter().zip(right.fields()).all(|(left, right)| {
            left.name() == right.name() && left.data_type() == right.data_type()
        })
}

fn by_position(wanted: &Schema, given: &Schema) -> Result<Vec<usize>, String> {
    let (asked, found) = (wanted.fields().len(), given.fields().len());
    if asked != found {
        return Err(format!("takes {asked} arguments ({}), and got {found}", ddl(wanted)));
    }
    for (position, (wanted, given)) in wanted.fields().iter().zip(given.fields()).enumerate() {
        if !fits(wanted.data_type(), given.data_type()) {
            return Err(format!(
                "argument {} (\"{}\") is {}, and got {}; cast it in SQL",
                position + 1,
                wanted.name(),
                sql_name(wanted.data_type()),
                sql_name(given.data_type())
            ));
        }
    }
    Ok((0..asked).collect())
}

fn by_name(wanted: &Schema, given: &Schema) -> Result<Vec<usize>, String> {
    let column = |wanted: &FieldRef| {
        let (index, found) = given.column_with_name(wanted.name()).ok_or_else(|| {
            let (name, given) = (wanted.name(), ddl(given));
            format!("wants a column \"{name}\", and the rows have ({given})")
        })?;
        if fits(wanted.data_type(), found.data_type()) {
            return Ok(index);
        }
        Err(format!(
            "wants column \"{}\" as {}, and it is {}; cast it in a step before",
            wanted.name(),
            sql_name(wanted.data_type()),
            sql_name(found.data_type())
        ))
    };
    wanted.fields().iter().map(column).collect()
}

/// Whether a column can be handed over as `wanted` without changing a value.
fn fits(wanted: &DataType, given: &DataType) -> bool {
    match (wanted, &plain_type(given)) {
        (DataType::Timestamp(wanted, a), DataType::Timestamp(given, b)) => {
            wanted == given && a.is_some() == b.is_some()
        }
        (wanted, given) => wanted == given,
    }
}

fn fields(schema: &Schema) -> Vec<FieldRef> {
    schema.fields().iter().cloned().collect()
}

/// The column without notes, and without the layouts that the contract does not have.
fn plain(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), plain_type(field.data_type()), field.is_nullable()))
}

/// Views become plain strings: their buffers would be shared, and cross whole.
fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}
