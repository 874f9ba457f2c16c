//! Where rows go.

use arrow::array::RecordBatch;

use crate::{Attempt, BatchId, ConnectorError};

/// Which rows are being delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The micro-batch.
    pub batch: BatchId,
    /// The try at it.
    pub attempt: Attempt,
    /// 1 for the query's sink; for a target, the number of this `write` within the handler's call.
    pub call: u32,
}

/// Whether the rows of a delivery are still wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// Write them.
    Wanted,
    /// The place holds them already, from a run that ended before its commit was logged.
    /// Nothing more is called for this delivery.
    Landed,
}

/// A place that takes micro-batches, each exactly once where the place allows it.
///
/// ```text
/// begin -> write* -> prepare -> commit
///    \________\_________\-----> abort
/// ```
///
/// 1. `begin` compares the delivery with the place's mark. A delivery at or before the mark has
///    landed.
/// 2. `write` takes rows, in the query's order. Nothing is visible to readers yet.
/// 3. `prepare` makes the rows durable as far as the place can without showing them.
/// 4. `commit` shows rows and mark at once. A crash before it leaves the old batch, after it the
///    new one; a crash within is finished or undone when the place is next opened.
/// 5. `abort` drops what was written since `begin`. The next call is `begin`, maybe of the same
///    batch.
///
/// One delivery at a time. Implementations may block; the engine calls them on a thread that may.
pub trait Sink: Send {
    /// How the sink is named in progress records.
    fn description(&self) -> String;

    /// Starts a delivery.
    fn begin(&mut self, delivery: Delivery) -> Result<Begin, ConnectorError>;

    /// Takes rows of the delivery in progress.
    fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError>;

    /// Makes everything ready, so that `commit` can hardly fail.
    fn prepare(&mut self) -> Result<(), ConnectorError>;

    /// Makes the delivery visible, once.
    fn commit(&mut self) -> Result<(), ConnectorError>;

    /// Drops the delivery in progress.
    fn abort(&mut self) -> Result<(), ConnectorError>;
}
