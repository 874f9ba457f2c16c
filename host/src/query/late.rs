//! A reader for plans that are made before their sources are opened.

use std::sync::{Arc, OnceLock};

use tidemill_core::{ConnectorError, RangeReader, RowStream, Slice, SourceRange};

/// Stands in the plan; filled when the query starts.
#[derive(Default)]
pub(super) struct LateReader {
    reader: OnceLock<Arc<dyn RangeReader>>,
}

impl LateReader {
    pub(super) fn fill(&self, reader: Arc<dyn RangeReader>) {
        // A query starts once, so nothing can be there yet.
        let _ = self.reader.set(reader);
    }
}

impl RangeReader for LateReader {
    fn read(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
    ) -> Result<RowStream, ConnectorError> {
        match self.reader.get() {
            Some(reader) => reader.read(range, slice, projection),
            None => Err(ConnectorError::fatal("the source was read before it was opened")),
        }
    }
}
