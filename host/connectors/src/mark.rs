//! What sinks with a mark have in common.

use tidemill_core::ConnectorError;

/// The caller's mistake: rows or a commit without a delivery.
pub(crate) fn not_begun() -> ConnectorError {
    ConnectorError::fatal("no delivery was begun; call begin first")
}
