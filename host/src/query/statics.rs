//! Static tables: what a source would give if it were read to its end once.

use std::sync::Arc;

use tidemill_connectors::PlannedSource;
use tidemill_core::{ConnectorError, ReadLimit, RowStream, Slice, TableReader};

/// Reads all that the place of a source holds.
pub(super) struct StaticReader(pub(super) PlannedSource);

impl TableReader for StaticReader {
    fn read(&self, projection: &[usize]) -> Result<RowStream, ConnectorError> {
        let mut source = self.0.open(Arc::new(|| 0))?;
        let Some(range) = source.next_range(ReadLimit::Unlimited)? else {
            return Ok(Box::new(std::iter::empty()));
        };
        source.reader().read(&range, Slice { index: 0, count: 1 }, projection)
    }
}
