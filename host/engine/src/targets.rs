//! Named places that a foreach_batch handler may write to.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_core::{ConnectorError, Sink};

/// Opens a target. A handler decides what rows it sends, so the columns are known only then.
pub trait TargetFactory: Send + Sync {
    /// The target as a sink for rows of this schema.
    fn open(&self, schema: SchemaRef) -> Result<Box<dyn Sink>, ConnectorError>;

    /// The target for raw statements, if it takes any.
    fn raw(&self) -> Option<Arc<dyn RawTarget>>;
}

/// Raw use of a target, with no guarantee beyond what the target gives.
pub trait RawTarget: Send + Sync {
    /// Runs a statement, once for each row of `parameters`. Gives the rows that it changed.
    fn execute(
        &self,
        statement: &str,
        parameters: Option<&RecordBatch>,
    ) -> Result<u64, ConnectorError>;
}
