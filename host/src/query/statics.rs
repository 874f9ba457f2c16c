//! Static tables: what a source would give if it were read to its end once.

use std::sync::{Arc, Mutex, PoisonError};

use tidemill_connectors::PlannedSource;
use tidemill_core::{
    ConnectorError, Digest, RangeReader, ReadLimit, RowStream, Slice, Source, SourceRange,
    TableReader,
};

/// All that the place of a source held when it was opened: what comes later is never read.
pub(super) struct StaticReader {
    /// `None`: nothing was there.
    range: Option<SourceRange>,
    source: Arc<Mutex<Box<dyn Source>>>,
    reader: Arc<dyn RangeReader>,
}

impl StaticReader {
    pub(super) fn open(planned: &PlannedSource) -> Result<StaticReader, ConnectorError> {
        let mut source = planned.open(Arc::new(|| 0))?;
        let range = source.next_range(ReadLimit::Unlimited)?;
        let reader = source.reader();
        Ok(StaticReader { range, source: Arc::new(Mutex::new(source)), reader })
    }

    /// Of what is read.
    pub(super) fn digest(&self) -> Digest {
        let range = serde_json::to_vec(&self.range).expect("a range is JSON");
        Digest::of(&range)
    }
}

impl TableReader for StaticReader {
    fn read(&self, projection: &[usize]) -> Result<RowStream, ConnectorError> {
        let Some(range) = &self.range else {
            return Ok(Box::new(std::iter::empty()));
        };
        let rows = self.reader.read(range, Slice { index: 0, count: 1 }, projection)?;
        let (source, end) = (Arc::clone(&self.source), range.end.clone());
        // No batch ends here, so that the source is asked at the end of the table. It warns of
        // malformed rows by itself.
        let told = std::iter::from_fn(move || {
            drop(source.lock().unwrap_or_else(PoisonError::into_inner).metrics(&end));
            None
        });
        Ok(Box::new(rows.chain(told)))
    }
}
