//! JSON lines files.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_codec::{JsonDecoder, JsonOptions};
use tidemill_core::ConnectorError;

use super::lines::{Filled, LineBlocks, LongLine};
use super::parts::FileSpan;
use crate::malformed::{Tally, failed_at};
use crate::options::{refused_value, revealed};
use crate::rows::{BATCH_BYTES_MAX, BATCH_ROWS};
use crate::{ConfigError, OptionText};

/// The decoder's options out of all options of a source; the names were checked already.
pub(crate) fn options(
    given: &BTreeMap<String, OptionText>,
    place: &str,
) -> Result<JsonOptions, ConfigError> {
    let of_json = revealed(given, JsonOptions::has_key);
    JsonOptions::parse(&of_json)
        .map_err(|error| refused_value(given, place, error.key, error.reason))
}

/// Refuses columns that JSON cannot be read as.
pub(crate) fn check_schema(
    schema: &SchemaRef,
    options: &JsonOptions,
    place: &str,
) -> Result<(), ConfigError> {
    match JsonDecoder::new(schema.clone(), options.clone()) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(ConfigError::Schema { place: place.to_owned(), reason: error.to_string() })
        }
    }
}

/// The rows of some spans.
pub(crate) struct JsonRows {
    blocks: LineBlocks,
    decoder: JsonDecoder,
    tally: Arc<Tally>,
    /// Bytes that the decoder took for the batch in progress.
    pending_bytes: usize,
}

impl JsonRows {
    pub(crate) fn new(
        spans: Vec<FileSpan>,
        schema: SchemaRef,
        options: &JsonOptions,
        tally: Arc<Tally>,
    ) -> Result<JsonRows, ConnectorError> {
        let decoder = JsonDecoder::new(schema, options.clone())
            .map_err(|error| ConnectorError::fatal(error.to_string()))?;
        Ok(JsonRows { blocks: LineBlocks::new(spans), decoder, tally, pending_bytes: 0 })
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        while self.decoder.len() < BATCH_ROWS && self.pending_bytes < BATCH_BYTES_MAX {
            match self.blocks.fill()? {
                Filled::End => break,
                Filled::TooLong(line) => self.pass_over(line)?,
                Filled::Lines => self.decode()?,
            }
        }
        self.pending_bytes = 0;
        Ok((!self.decoder.is_empty()).then(|| self.decoder.finish()))
    }

    fn decode(&mut self) -> Result<(), ConnectorError> {
        let lines = self.blocks.lines();
        let rows_max = BATCH_ROWS - self.decoder.len();
        let taken = first_lines(lines, rows_max, BATCH_BYTES_MAX - self.pending_bytes);
        let malformed = self
            .decoder
            .decode_lines(&lines[..taken])
            .map_err(|error| failed_at(&self.blocks.place(error.at), &error))?;
        self.tally.add(malformed.rows, || self.blocks.place(malformed.first.unwrap_or_default()));
        self.pending_bytes += taken;
        self.blocks.take(taken);
        Ok(())
    }

    fn pass_over(&mut self, line: LongLine) -> Result<(), ConnectorError> {
        let place = self.blocks.place_of(line);
        self.decoder
            .push_unreadable(&line.to_string())
            .map_err(|error| failed_at(&place, &error))?;
        self.tally.add(1, || place);
        Ok(())
    }
}

impl Iterator for JsonRows {
    type Item = Result<RecordBatch, ConnectorError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// Length of the first `count` lines, or of fewer once `bytes` are reached. At least one line.
pub(super) fn first_lines(lines: &[u8], count: usize, bytes: usize) -> usize {
    memchr::memchr_iter(b'\n', lines)
        .enumerate()
        .find(|(before, newline)| before + 1 == count || newline + 1 >= bytes)
        .map_or(lines.len(), |(_, newline)| newline + 1)
}
