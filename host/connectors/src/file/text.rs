//! Text files: one row a line, in one column.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidemill_core::ConnectorError;

use super::lines::LineBlocks;
use super::parts::FileSpan;
use crate::ConfigError;
use crate::rows::{BATCH_ROWS, record_batch};

/// Text files have one column, which is a string.
pub(crate) fn check_schema(schema: &Schema, place: &str) -> Result<(), ConfigError> {
    match schema.fields().as_ref() {
        [field] if *field.data_type() == DataType::Utf8 => Ok(()),
        _ => Err(ConfigError::Schema {
            place: place.to_owned(),
            reason: "text files have one STRING column; write schema = \"value STRING\", or leave the schema out".to_owned(),
        }),
    }
}

/// The lines of some spans.
pub(crate) struct TextRows {
    blocks: LineBlocks,
    schema: SchemaRef,
    /// The rest of a `\n` line that has bare `\r` in it, which end lines too (as in Spark).
    pending: Vec<String>,
}

impl TextRows {
    pub(crate) fn new(spans: Vec<FileSpan>, schema: SchemaRef) -> TextRows {
        TextRows { blocks: LineBlocks::new(spans), schema, pending: Vec::new() }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        let mut values = StringBuilder::new();
        let mut rows = 0;
        while rows < BATCH_ROWS {
            if let Some(line) = self.pending.pop() {
                values.append_value(line);
                rows += 1;
                continue;
            }
            if !self.blocks.fill()? {
                break;
            }
            let lines = self.blocks.lines();
            let end = memchr::memchr(b'\n', lines);
            let taken = end.map_or(lines.len(), |end| end + 1);
            let line = &lines[..end.unwrap_or(lines.len())];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.contains(&b'\r') {
                let pieces = line.split(|byte| *byte == b'\r');
                self.pending =
                    pieces.rev().map(|piece| String::from_utf8_lossy(piece).into()).collect();
            } else {
                values.append_value(String::from_utf8_lossy(line));
                rows += 1;
            }
            self.blocks.take(taken);
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = match self.schema.fields().len() {
            0 => Vec::new(),
            _ => vec![Arc::new(values.finish())],
        };
        record_batch(&self.schema, columns, rows).map(Some)
    }
}

impl Iterator for TextRows {
    type Item = Result<RecordBatch, ConnectorError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}
