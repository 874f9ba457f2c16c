//! Named places that a foreach_batch handler may write to.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_core::{Abandoned, ConnectorError, Sink};

/// Opens a target. A handler decides what rows it sends, so the columns are known only then.
pub trait TargetFactory: Send + Sync {
    /// The target as a sink for rows of this schema: a new one, or one that was kept.
    fn open(&self, schema: SchemaRef) -> Result<Box<dyn Sink>, ConnectorError>;

    /// Takes back a sink of [`TargetFactory::open`] whose delivery ended well, for the next one
    /// with rows of this schema: connecting can cost more than a delivery.
    fn keep(&self, schema: SchemaRef, sink: Box<dyn Sink>);

    /// Runs a statement of the handler's own, once for each row of `parameters`, with no guarantee
    /// beyond what the target gives. Gives the rows that it changed; `None`: the target takes no
    /// statements. Where it is abandoned, it ends soon and has changed nothing.
    fn execute(
        &self,
        statement: &str,
        parameters: Option<&RecordBatch>,
        abandoned: &Abandoned,
    ) -> Result<Option<u64>, ConnectorError>;
}
