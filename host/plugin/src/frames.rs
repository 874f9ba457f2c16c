//! The rows of a handler's tables, on their way to it and from it.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use tidemill_block::{Bounds, put_together, read_schema, take_apart};

use crate::abi::{Block, Column, Parameters};
use crate::limits::{ARRAYS_MAX, BLOCK_ROWS, VALUES_MAX};
use crate::schema::as_plain;

/// Rows that a guest has made, in blocks of a size that the host reckons with.
pub(crate) fn rows_of(
    schema: &str,
    blocks: Vec<Block<Vec<u8>>>,
) -> Result<(SchemaRef, Vec<RecordBatch>), String> {
    let schema = read_schema(schema).map_err(|error| error.to_string())?;
    let mut bounds = Bounds { values: VALUES_MAX, arrays: ARRAYS_MAX };
    let mut batches = Vec::with_capacity(blocks.len());
    for block in blocks {
        let rows = record_batch(&schema, block, &mut bounds)?;
        let mut from = 0;
        while rows.num_rows() - from > BLOCK_ROWS {
            batches.push(rows.slice(from, BLOCK_ROWS));
            from += BLOCK_ROWS;
        }
        batches.push(rows.slice(from, rows.num_rows() - from));
    }
    Ok((schema, batches))
}

/// The parameters of a statement.
pub(crate) fn parameters(parameters: Parameters) -> Result<RecordBatch, String> {
    let schema = read_schema(&parameters.schema).map_err(|error| error.to_string())?;
    let mut bounds = Bounds { values: VALUES_MAX, arrays: ARRAYS_MAX };
    record_batch(&schema, parameters.rows, &mut bounds)
}

fn record_batch(
    schema: &SchemaRef,
    block: Block<Vec<u8>>,
    bounds: &mut Bounds,
) -> Result<RecordBatch, String> {
    let (columns, fields) = (block.columns.len(), schema.fields().len());
    if columns != fields {
        return Err(format!("{columns} columns, and the schema has {fields}"));
    }
    // A block without columns is an entry in the host's lists, too, and its rows are cut.
    let too_many = || "more rows than one call may give".to_owned();
    bounds.values = bounds.values.checked_sub(u64::from(block.rows)).ok_or_else(too_many)?;
    bounds.arrays = bounds.arrays.checked_sub(1).ok_or_else(too_many)?;
    let columns = schema.fields().iter().zip(block.columns).map(|(field, column)| {
        let column = put_together(field.data_type(), column.into(), bounds);
        column.map_err(|error| format!("column \"{}\": {error}", field.name()))
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(block.rows as usize));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| error.to_string())
}

/// Rows for a guest, under the schema that it is shown.
pub(crate) fn blocks(
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<Vec<Block<Vec<u8>>>, String> {
    let types: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
    let block = |rows: &RecordBatch| {
        let columns = rows.columns().iter().zip(&types).map(|(column, data_type)| {
            let apart = take_apart(&*as_plain(column, data_type)?);
            Ok(Column::owned(&apart.map_err(|error| error.to_string())?))
        });
        let columns = columns.collect::<Result<Vec<_>, String>>()?;
        let count = u32::try_from(rows.num_rows());
        Ok(Block { rows: count.map_err(|_| "too many rows in a block".to_owned())?, columns })
    };
    batches.iter().map(block).collect()
}
