//! A transform for once.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use crate::bindings::tidemill::plugin::types::Origin;
use crate::kinds::transform::OpenedTransform;
use crate::kinds::{Exported, Opened};
use crate::rows::{Given, Selection};
use crate::{BatchContext, Error, Result};

/// The rows that a transform gives for these, as the next step of a job gets them.
///
/// ```
/// use tidemill_plugin::prelude::*;
/// use tidemill_plugin::testing;
///
/// /// Drops what has no name.
/// #[transform(reads = "name STRING")]
/// fn named(rows: RecordBatch, _ctx: &BatchContext) -> Result<Selected> {
///     let names = rows["name"].as_string::<i32>();
///     Ok(Selected::kept(names.iter().map(|name| Some(name.is_some())).collect()))
/// }
///
/// #[derive(Row, PartialEq, Debug)]
/// struct User {
///     id: i64,
///     name: Option<String>,
/// }
///
/// let ann = || User { id: 1, name: Some("Ann".to_owned()) };
/// let users = User::to_batch(&[ann(), User { id: 2, name: None }])?;
/// let given = testing::transform::<named>(&users, &BatchContext::default())?;
/// assert_eq!(User::from_batch(&given)?, [ann()]);
/// # Ok::<(), Error>(())
/// ```
pub fn transform<F: Exported>(rows: &RecordBatch, context: &BatchContext) -> Result<RecordBatch> {
    let Opened { output, reads, origins, call } = F::function().body.open(&rows.schema())?;
    let Ok(transform) = call.downcast::<OpenedTransform>() else {
        return Err(Error::fatal(format!("{} is not a transform", F::NAME)));
    };
    let reads = reads.iter().map(|place| Arc::clone(rows.column(*place as usize))).collect();
    let crossing = batch(&transform.crossing, reads, rows.num_rows())?;
    let mut batches = Vec::new();
    (transform.call)(crossing, context, &mut |given| {
        batches.push(with_passed(given, rows, &output, &origins)?);
        Ok(())
    })?;
    Ok(concat_batches(&output, &batches)?)
}

/// The given rows, and of the input the columns that were let through.
fn with_passed(
    given: Given,
    input: &RecordBatch,
    output: &SchemaRef,
    origins: &[Origin],
) -> Result<RecordBatch> {
    let selected = match given.selection {
        Selection::Fresh(rows) => batch(&Arc::new(Schema::empty()), Vec::new(), rows as usize)?,
        Selection::All => input.clone(),
        Selection::Kept(bits) => {
            let mask = BooleanBuffer::new(bits, 0, input.num_rows());
            filter_record_batch(input, &BooleanArray::new(mask, None))?
        }
        Selection::Taken(rows) => take_record_batch(input, &rows)?,
    };
    let mut made = given.columns.iter();
    let mut columns = Vec::new();
    for (origin, field) in origins.iter().zip(output.fields()) {
        columns.push(match origin {
            Origin::Passed(place) => Arc::clone(selected.column(*place as usize)),
            Origin::Made => crossed(made.next(), field.data_type())?,
        });
    }
    batch(output, columns, selected.num_rows())
}

/// The column as it is on the other side.
fn crossed(column: Option<&ArrayRef>, data_type: &DataType) -> Result<ArrayRef> {
    let column = column.ok_or_else(|| Error::fatal("a column was declared and not given"))?;
    let parts = tidemill_block::take_apart(column)?;
    let bounds = &mut tidemill_block::Bounds::default();
    Ok(tidemill_block::put_together(data_type, parts, bounds)?)
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
