//! A reader for plans that are made before their sources are opened.

use std::sync::{Arc, OnceLock};

use tidemill_core::{ConnectorError, PayloadDecoder, RangeReader, RowStream, Slice, SourceRange};

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

impl LateReader {
    fn opened(&self) -> Result<&dyn RangeReader, ConnectorError> {
        match self.reader.get() {
            Some(reader) => Ok(reader.as_ref()),
            None => Err(ConnectorError::fatal("the source was read before it was opened")),
        }
    }
}

impl RangeReader for LateReader {
    fn may_wait(&self) -> bool {
        self.reader.get().is_none_or(|reader| reader.may_wait())
    }

    fn read(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
    ) -> Result<RowStream, ConnectorError> {
        self.opened()?.read(range, slice, projection)
    }

    fn read_decoded(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
        payload: usize,
        decoder: Box<dyn PayloadDecoder>,
    ) -> Result<RowStream, ConnectorError> {
        self.opened()?.read_decoded(range, slice, projection, payload, decoder)
    }
}
