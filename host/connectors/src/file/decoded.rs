//! Lines of files, as rows of a decoder that takes whole lines.

use std::fmt::Display;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tidemill_codec::{CsvDecoder, JsonDecoder, Malformed, RowError};
use tidemill_core::ConnectorError;

use super::form::{Separator, TextForm};
use super::lines::{Filled, LineBlocks, LongLine};
use super::parts::FileSpan;
use crate::malformed::{Place, Tally, failed_at};
use crate::rows::{BATCH_BYTES_MAX, BATCH_ROWS};

/// What makes rows of lines.
pub(crate) trait LineDecoder {
    type Error: Display;

    /// Rows since the last `finish`.
    fn rows(&self) -> usize;

    /// What comes next is the beginning of a file.
    fn begin_file(&mut self) {}

    /// What was wrong with the last header, where it does no harm. Once.
    fn take_header_problem(&mut self) -> Option<String> {
        None
    }

    fn decode_lines(&mut self, lines: &[u8]) -> Result<Malformed, RowError<Self::Error>>;

    /// One line, whatever is in it.
    fn decode_text(&mut self, line: &[u8]) -> Result<Malformed, RowError<Self::Error>>;

    /// Adds a row for a line that was not read, as for a malformed one.
    fn push_unreadable(&mut self, why: &str) -> Result<(), Self::Error>;

    fn finish(&mut self) -> RecordBatch;
}

impl LineDecoder for CsvDecoder {
    type Error = tidemill_codec::CsvError;

    fn rows(&self) -> usize {
        self.len()
    }

    fn begin_file(&mut self) {
        CsvDecoder::begin_file(self);
    }

    fn take_header_problem(&mut self) -> Option<String> {
        CsvDecoder::take_header_problem(self)
    }

    fn decode_lines(&mut self, lines: &[u8]) -> Result<Malformed, RowError<Self::Error>> {
        CsvDecoder::decode_lines(self, lines)
    }

    fn decode_text(&mut self, line: &[u8]) -> Result<Malformed, RowError<Self::Error>> {
        CsvDecoder::decode_text(self, line)
    }

    fn push_unreadable(&mut self, why: &str) -> Result<(), Self::Error> {
        CsvDecoder::push_unreadable(self, why)
    }

    fn finish(&mut self) -> RecordBatch {
        CsvDecoder::finish(self)
    }
}

impl LineDecoder for JsonDecoder {
    type Error = tidemill_codec::DecodeError;

    fn rows(&self) -> usize {
        self.len()
    }

    fn decode_lines(&mut self, lines: &[u8]) -> Result<Malformed, RowError<Self::Error>> {
        JsonDecoder::decode_lines(self, lines)
    }

    fn decode_text(&mut self, line: &[u8]) -> Result<Malformed, RowError<Self::Error>> {
        JsonDecoder::decode_text(self, line)
    }

    fn push_unreadable(&mut self, why: &str) -> Result<(), Self::Error> {
        JsonDecoder::push_unreadable(self, why)
    }

    fn finish(&mut self) -> RecordBatch {
        JsonDecoder::finish(self)
    }
}

/// The rows of some spans.
pub(crate) struct DecodedLines<D> {
    blocks: LineBlocks,
    decoder: D,
    tally: Arc<Tally>,
    /// Bytes that the decoder took for the batch in progress.
    pending_bytes: usize,
}

impl<D: LineDecoder> DecodedLines<D> {
    pub(crate) fn new(
        spans: Vec<FileSpan>,
        form: TextForm,
        decoder: D,
        tally: Arc<Tally>,
    ) -> DecodedLines<D> {
        DecodedLines { blocks: LineBlocks::new(spans, form), decoder, tally, pending_bytes: 0 }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        while self.decoder.rows() < BATCH_ROWS && self.pending_bytes < BATCH_BYTES_MAX {
            match self.blocks.fill()? {
                Filled::End => break,
                Filled::TooLong(line) => self.pass_over(line)?,
                Filled::Lines => self.decode()?,
            }
        }
        self.pending_bytes = 0;
        Ok((self.decoder.rows() > 0).then(|| self.decoder.finish()))
    }

    fn decode(&mut self) -> Result<(), ConnectorError> {
        if self.blocks.begins_file() {
            self.decoder.begin_file();
        }
        let (decoded, taken) = match self.blocks.separator() {
            Separator::Newlines => {
                let lines = self.blocks.lines();
                let rows_max = BATCH_ROWS - self.decoder.rows();
                let taken = first_lines(lines, rows_max, BATCH_BYTES_MAX - self.pending_bytes);
                (self.decoder.decode_lines(&lines[..taken]), taken)
            }
            Separator::Text(_) | Separator::None => {
                let (line, taken) = self.blocks.first_line();
                (self.decoder.decode_text(line), taken)
            }
        };
        let malformed =
            decoded.map_err(|error| failed_at(&self.blocks.place(error.at), &error.error))?;
        self.tally.add(malformed.rows, || self.blocks.place(malformed.first.unwrap_or_default()));
        if let Some(problem) = self.decoder.take_header_problem()
            && let Place::Line { path, .. } = self.blocks.place(0)
        {
            self.tally.add_header(&path, &problem);
        }
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

impl<D: LineDecoder> Iterator for DecodedLines<D> {
    type Item = Result<RecordBatch, ConnectorError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// Length of the first `count` lines, or of fewer once `bytes` are reached. At least one line.
fn first_lines(lines: &[u8], count: usize, bytes: usize) -> usize {
    memchr::memchr_iter(b'\n', lines)
        .enumerate()
        .find(|(before, newline)| before + 1 == count || newline + 1 >= bytes)
        .map_or(lines.len(), |(_, newline)| newline + 1)
}
