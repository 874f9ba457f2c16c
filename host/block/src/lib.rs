//! Rows as they cross between the host and a plugin.
//!
//! The contract (`schemas/wit/plugin.wit`) knows a column as its nodes and buffers, in the order and
//! the layout of Arrow's IPC format, and its type as Spark's DDL. Both sides take columns apart and put
//! them together with what is here. Types are those that the DDL can write; what the plan has beside
//! them (views, dictionaries, large offsets) is cast to [`plain_type`] before.

#![warn(missing_docs)]

mod apart;
mod schema;
mod together;

use arrow::buffer::Buffer;

pub use apart::take_apart;
pub use schema::{fits, plain_type, read_schema, same_layout, write_schema};
pub use together::{Bounds, put_together, put_together_trusted};

/// Length and nulls of one array of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// Values, the nulls among them.
    pub length: u32,
    /// How many of them are null.
    pub nulls: u32,
}

/// A column taken apart: the contract's `column`. Nodes and buffers are depth first.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Column {
    /// One for the column, and one for each array in it.
    pub nodes: Vec<Node>,
    /// For each node but those of nulls: where it is null, empty where nowhere; then its values.
    pub buffers: Vec<Buffer>,
}

/// A column or a schema that cannot cross, or that is not what it should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BlockError(String);

impl BlockError {
    fn new(text: impl Into<String>) -> BlockError {
        BlockError(text.into())
    }
}
