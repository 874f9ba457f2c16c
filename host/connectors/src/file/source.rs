//! The file source: which files belong to which range.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde::Deserialize;
use serde_json::{Value, json};
use tidemill_core::{
    ConnectorError, PayloadDecoder, RangeReader, ReadLimit, RowStream, Slice, Source, SourceRange,
    read_then_decode,
};

use super::parts::{FilePart, parts_of};
use super::plan::FilePlan;
use super::position::Position;
use crate::malformed::{MALFORMED_ROWS, MalformedRows, Place};

/// A running file source.
pub(crate) struct FileSource {
    plan: Arc<FilePlan>,
    position: Position,
    /// The files that were there when the input's end was fixed, in reading order.
    fixed: Option<VecDeque<FilePart>>,
    malformed: Arc<MalformedRows>,
}

impl FileSource {
    pub(crate) fn new(plan: Arc<FilePlan>) -> FileSource {
        FileSource { plan, position: Position::default(), fixed: None, malformed: Arc::default() }
    }

    /// All files that are there, in reading order: oldest first, those of one millisecond by path.
    fn list(&self) -> Result<VecDeque<FilePart>, ConnectorError> {
        let mut files = self.plan.files()?;
        if self.plan.latest_first {
            files.sort_by(|a, b| {
                (Reverse(a.modified_ms), &a.path).cmp(&(Reverse(b.modified_ms), &b.path))
            });
        } else {
            files.sort_by(|a, b| (a.modified_ms, &a.path).cmp(&(b.modified_ms, &b.path)));
        }
        Ok(files.into())
    }

    /// Takes the files of the next range from the front, and drops those that are not new.
    fn select(&self, files: &mut VecDeque<FilePart>, bound: ReadLimit) -> Vec<FilePart> {
        let (files_max, bytes_max) = match bound {
            ReadLimit::Limited => {
                (self.plan.files_max.unwrap_or(u64::MAX), self.plan.bytes_max.unwrap_or(u64::MAX))
            }
            ReadLimit::Unlimited => (u64::MAX, u64::MAX),
        };
        let mut selected: Vec<FilePart> = Vec::new();
        let mut bytes: u64 = 0;
        while let Some(file) = files.front() {
            let is_new = self.position.is_new(self.plan.memory, file);
            if is_new {
                bytes = bytes.saturating_add(file.size);
                // Spark's limit in bytes always lets one file through.
                let full = selected.len() as u64 >= files_max
                    || (bytes > bytes_max && !selected.is_empty());
                if full {
                    break;
                }
            }
            let file = files.pop_front();
            selected.extend(file.filter(|_| is_new));
        }
        selected
    }
}

impl Source for FileSource {
    fn description(&self) -> String {
        format!("FileStreamSource[file:{}]", self.plan.path().display())
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.plan.schema)
    }

    fn next_range(&mut self, bound: ReadLimit) -> Result<Option<SourceRange>, ConnectorError> {
        let parts = match self.fixed.take() {
            Some(mut fixed) => {
                let parts = self.select(&mut fixed, bound);
                self.fixed = Some(fixed);
                parts
            }
            None => self.select(&mut self.list()?, bound),
        };
        if parts.is_empty() {
            return Ok(None);
        }
        let start = offset(self.position.log_offset);
        let end = self.position.log_offset + 1;
        self.position.add_range(self.plan.memory, end, &parts);
        Ok(Some(SourceRange { start, end: offset(end), parts: json!(parts) }))
    }

    fn is_next_settled(&self) -> bool {
        self.fixed.is_some()
    }

    fn stop_at_present_end(&mut self) -> Result<(), ConnectorError> {
        self.fixed = Some(self.list()?);
        Ok(())
    }

    fn advance(&mut self, range: &SourceRange) -> Result<(), ConnectorError> {
        let Some(end) = range.end.get("logOffset").and_then(Value::as_i64) else {
            return Err(ConnectorError::fatal(format!(
                "the log has {} as a file source's offset, and it should be like {{\"logOffset\":7}}; was the source's format changed?",
                range.end
            )));
        };
        self.position.add_range(self.plan.memory, end, &parts_of(range)?);
        Ok(())
    }

    fn position(&self) -> Value {
        json!(self.position)
    }

    fn restore(&mut self, position: &Value) -> Result<(), ConnectorError> {
        self.position = Position::deserialize(position).map_err(|error| {
            ConnectorError::fatal(
                "the checkpoint's position is not that of a file source; was the source's format changed?",
            )
            .caused_by(error)
        })?;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn RangeReader> {
        Arc::new(FileReader {
            plan: Arc::clone(&self.plan),
            malformed: Arc::clone(&self.malformed),
        })
    }

    fn metrics(&self, end: &Value) -> BTreeMap<String, String> {
        let rows = self.malformed.settle(end, &self.description());
        let rows = (rows > 0).then(|| (MALFORMED_ROWS.to_owned(), rows.to_string()));
        rows.into_iter().collect()
    }
}

/// Spark's offset of a file source; null before the first range.
fn offset(log_offset: i64) -> Value {
    if log_offset < 0 { Value::Null } else { json!({ "logOffset": log_offset }) }
}

struct FileReader {
    plan: Arc<FilePlan>,
    malformed: Arc<MalformedRows>,
}

impl RangeReader for FileReader {
    /// A file's bytes come from the system, which has no way to wait for them elsewhere.
    fn may_wait(&self) -> bool {
        false
    }

    fn read(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
    ) -> Result<RowStream, ConnectorError> {
        let tally = self.malformed.begin(range, slice, projection);
        self.plan.read(parts_of(range)?, slice, projection, tally)
    }

    fn read_decoded(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
        payload: usize,
        decoder: Box<dyn PayloadDecoder>,
    ) -> Result<RowStream, ConnectorError> {
        let parts = parts_of(range)?;
        if !self.plan.are_lines(&parts) {
            // What the column holds is malformed by itself, beside what its row is.
            let reading = [projection, &[usize::MAX]].concat();
            let tally = self.malformed.begin(range, slice, &reading);
            let files = self.plan.path().display().to_string();
            let count = Box::new(move |rows| tally.add(rows, || Place::File(files.clone())));
            return read_then_decode(self, range, slice, projection, payload, decoder, count);
        }
        let tally = self.malformed.begin(range, slice, projection);
        self.plan.read_decoded(parts, slice, projection, decoder, tally)
    }
}
