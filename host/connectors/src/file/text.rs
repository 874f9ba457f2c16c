//! Text files: one row a line, in one column.
//!
//! Every text is a row, so nothing in it is malformed but bytes that are no UTF-8 (they become
//! U+FFFD), and a line that is too long to be read (it becomes null).

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidemill_core::{ConnectorError, PayloadDecoder, beside};

use super::form::TextForm;
use super::lines::{Filled, LineBlocks, LongLine};
use super::parts::FileSpan;
use crate::ConfigError;
use crate::malformed::{Tally, failed_at};
use crate::rows::{BATCH_BYTES_MAX, BATCH_ROWS, record_batch};

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
    /// The column, if it is asked for.
    schema: SchemaRef,
    values: StringBuilder,
    /// What takes lines apart, if somebody asks for what is in them.
    decoder: Option<Box<dyn PayloadDecoder>>,
    tally: Arc<Tally>,
}

impl TextRows {
    pub(crate) fn new(
        spans: Vec<FileSpan>,
        form: TextForm,
        schema: SchemaRef,
        decoder: Option<Box<dyn PayloadDecoder>>,
        tally: Arc<Tally>,
    ) -> TextRows {
        let values = StringBuilder::new();
        TextRows { blocks: LineBlocks::new(spans, form), schema, values, decoder, tally }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        let (mut rows, mut bytes) = (0, 0);
        while rows < BATCH_ROWS && bytes < BATCH_BYTES_MAX {
            match self.blocks.fill()? {
                Filled::End => break,
                Filled::TooLong(line) => self.pass_over(line)?,
                Filled::Lines => bytes += self.line()?,
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = match self.schema.fields().len() {
            0 => Vec::new(),
            _ => vec![Arc::new(self.values.finish())],
        };
        let lines = record_batch(&self.schema, columns, rows)?;
        match &mut self.decoder {
            None => Ok(Some(lines)),
            Some(decoder) => beside(&decoder.finish(), &lines).map(Some),
        }
    }

    /// Takes one line. Gives the bytes that it had.
    fn line(&mut self) -> Result<usize, ConnectorError> {
        let (line, taken) = self.blocks.first_line();
        let line = String::from_utf8_lossy(line);
        let mut is_malformed = matches!(line, std::borrow::Cow::Owned(_));
        if let Some(decoder) = &mut self.decoder {
            is_malformed |= decoder
                .decode(Some(line.as_bytes()))
                .map_err(|error| failed_at(&self.blocks.place(0), &error))?;
        }
        if !self.schema.fields().is_empty() {
            self.values.append_value(line);
        }
        self.tally.add(u64::from(is_malformed), || self.blocks.place(0));
        self.blocks.take(taken);
        Ok(taken)
    }

    fn pass_over(&mut self, line: LongLine) -> Result<(), ConnectorError> {
        let place = self.blocks.place_of(line);
        if let Some(decoder) = &mut self.decoder {
            decoder.decode(None).map_err(|error| failed_at(&place, &error))?;
        }
        if !self.schema.fields().is_empty() {
            self.values.append_null();
        }
        self.tally.add(1, || place);
        Ok(())
    }
}

impl Iterator for TextRows {
    type Item = Result<RecordBatch, ConnectorError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}
