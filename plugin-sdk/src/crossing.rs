//! Rows as they cross the boundary: each column as its nodes and buffers, none of which is copied here.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, SchemaRef};
use tidemill_block::{BlockError, Column, Node};

use crate::bindings::tidemill::plugin::types::{self as host, BlockResult, ColumnParam};
use crate::{Error, Result};

/// The rows of a block of the host's.
pub(crate) fn arrived(schema: &SchemaRef, block: BlockResult) -> Result<RecordBatch> {
    let (found, wanted) = (block.columns.len(), schema.fields().len());
    if found != wanted {
        return Err(Error::fatal(format!("the host sent {found} columns, and not {wanted}")));
    }
    let columns = schema.fields().iter().zip(block.columns);
    let columns = columns.map(|(field, column)| array(field.data_type(), column));
    let columns = columns.collect::<Result<Vec<_>, BlockError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(block.rows as usize));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// A column of the host's.
pub(crate) fn array(
    data_type: &DataType,
    column: host::ColumnResult,
) -> Result<ArrayRef, BlockError> {
    let nodes = column.nodes.into_iter();
    let column = Column {
        nodes: nodes.map(|node| Node { length: node.length, nulls: node.nulls }).collect(),
        buffers: column.buffers.into_iter().map(Buffer::from_vec).collect(),
    };
    put_together(data_type, column)
}

/// A plugin takes what the host sends on trust: it is laid out as Arrow says, every text is UTF-8, and
/// every offset is within its buffer.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "what the host sends is not checked again; see the argument below")]
fn put_together(data_type: &DataType, column: Column) -> Result<ArrayRef, BlockError> {
    // SAFETY: the host takes columns apart that it holds as Arrow's arrays, which are checked where they
    // come from, and nothing but the host calls this code. A host that lies breaks the plugin's own
    // memory, which it can read and write as it likes anyway.
    unsafe { tidemill_block::put_together_trusted(data_type, column) }
}

/// In the author's own tests there is no host, and everything is checked.
#[cfg(not(target_arch = "wasm32"))]
fn put_together(data_type: &DataType, column: Column) -> Result<ArrayRef, BlockError> {
    tidemill_block::put_together(data_type, column, &mut tidemill_block::Bounds::default())
}

/// Calls an import that reads columns where they are.
pub(crate) fn lend<'a, T>(
    columns: impl IntoIterator<Item = &'a ArrayRef>,
    call: impl FnOnce(&[ColumnParam<'_>]) -> T,
) -> Result<T> {
    let parts: Vec<(Vec<host::Node>, Vec<Buffer>)> = columns
        .into_iter()
        .map(|column| {
            let Column { nodes, buffers } = tidemill_block::take_apart(column)?;
            let nodes = nodes.into_iter();
            let node = |node: Node| host::Node { length: node.length, nulls: node.nulls };
            Ok((nodes.map(node).collect(), buffers))
        })
        .collect::<Result<_, BlockError>>()?;
    let buffers: Vec<Vec<&[u8]>> = parts
        .iter()
        .map(|(_, buffers)| buffers.iter().map(|buffer| buffer.as_slice()).collect())
        .collect();
    let columns: Vec<ColumnParam<'_>> = parts
        .iter()
        .zip(&buffers)
        .map(|((nodes, _), buffers)| ColumnParam { nodes, buffers })
        .collect();
    Ok(call(&columns))
}
