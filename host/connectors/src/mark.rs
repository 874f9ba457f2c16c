//! What a place remembers of the last delivery that it holds.

use tidemill_core::{ConnectorError, Delivery};

/// The last delivery that landed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub(crate) batch: u64,
    /// Calls of `batch` that landed; they land in order.
    pub(crate) calls: u32,
}

impl Mark {
    pub(crate) fn of(delivery: Delivery) -> Mark {
        Mark { batch: delivery.batch.0, calls: delivery.call }
    }

    /// Whether a place with `mark` holds a delivery, by whatever attempt.
    pub(crate) fn has(mark: Option<Mark>, delivery: Delivery) -> bool {
        mark.is_some_and(|mark| {
            mark.batch > delivery.batch.0
                || (mark.batch == delivery.batch.0 && mark.calls >= delivery.call)
        })
    }
}

/// The caller's mistake: rows or a commit without a delivery.
pub(crate) fn not_begun() -> ConnectorError {
    ConnectorError::fatal("no delivery was begun; call begin first")
}
