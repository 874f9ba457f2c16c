//! CSV files: options, and with `multiLine` their records.
//!
//! What a record is and what its cells mean is the decoder's. Here whole files become bytes for it,
//! since where a quoted cell ends only who began at the front of the file can know.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_codec::{CsvDecoder, CsvInference, CsvOptions};
use tidemill_core::ConnectorError;
use tidemill_time::Zone;

use super::content::Content;
use super::form::{FileEncoding, TextForm};
use super::parts::FilePart;
use crate::malformed::{Place, Tally, failed_at};
use crate::options::{refused_value, revealed};
use crate::rows::{BATCH_BYTES_MAX, BATCH_ROWS};
use crate::{ConfigError, OptionText};

/// Bytes asked of a file at once.
const BLOCK_BYTES: usize = 1 << 20;

/// The longest record with `multiLine`. A longer one has a quote that is never closed.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// The decoder's options out of all options of a source; the names were checked already.
pub(crate) fn options(
    given: &BTreeMap<String, OptionText>,
    session: Zone,
    place: &str,
) -> Result<CsvOptions, ConfigError> {
    let of_csv =
        revealed(given, |key| CsvOptions::has_key(key) && !TextForm::has_encoding_key(key));
    CsvOptions::parse(&of_csv, session)
        .map_err(|error| refused_value(given, place, error.key, error.reason))
}

/// Refuses columns that CSV cannot be read as.
pub(crate) fn check_schema(
    schema: &SchemaRef,
    options: &CsvOptions,
    place: &str,
) -> Result<(), ConfigError> {
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    match CsvDecoder::new(schema, &all, options.clone()) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(ConfigError::Schema { place: place.to_owned(), reason: error.to_string() })
        }
    }
}

/// A decoder for some columns of a source.
pub(crate) fn decoder(
    schema: &SchemaRef,
    projection: &[usize],
    options: &CsvOptions,
) -> Result<CsvDecoder, ConnectorError> {
    CsvDecoder::new(schema, projection, options.clone())
        .map_err(|error| ConnectorError::fatal(error.to_string()))
}

/// The rows of some files, whose records may span lines.
pub(crate) struct CsvRecords {
    files: std::vec::IntoIter<FilePart>,
    encoding: FileEncoding,
    current: Option<Window>,
    decoder: CsvDecoder,
    tally: Arc<Tally>,
}

/// The part of a file that is in memory.
struct Window {
    part: FilePart,
    content: Content,
    buffer: Vec<u8>,
    /// Place in the file of the buffer's first byte.
    offset: u64,
    /// `buffer[taken..]` was not taken yet.
    taken: usize,
    is_last: bool,
}

impl CsvRecords {
    pub(crate) fn new(
        files: Vec<FilePart>,
        form: &TextForm,
        decoder: CsvDecoder,
        tally: Arc<Tally>,
    ) -> CsvRecords {
        let (files, encoding) = (files.into_iter(), form.encoding);
        CsvRecords { files, encoding, current: None, decoder, tally }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        let mut bytes = 0;
        while self.decoder.len() < BATCH_ROWS && bytes < BATCH_BYTES_MAX {
            let Some(window) = &mut self.current else {
                let Some(part) = self.files.next() else { break };
                self.current = Some(Window::open(part, self.encoding)?);
                self.decoder.begin_file();
                continue;
            };
            let taken = decode(window, &mut self.decoder, &self.tally)?;
            bytes += taken;
            if taken > 0 {
                continue;
            }
            if window.is_last {
                self.current = None;
            } else if !window.read_on()? {
                let why = format!(
                    "(a record of more than {RECORD_BYTES_MAX} bytes: a quote is never closed)"
                );
                let place = window.place(0);
                self.decoder.push_unreadable(&why).map_err(|error| failed_at(&place, &error))?;
                self.tally.add(1, || place);
                self.current = None;
            }
        }
        Ok((!self.decoder.is_empty()).then(|| self.decoder.finish()))
    }
}

/// Looks at the records of some files, to infer their columns.
pub(super) fn look_at_records(
    files: Vec<FilePart>,
    form: &TextForm,
    inference: &mut CsvInference,
) -> Result<(), ConnectorError> {
    for part in files {
        let mut window = Window::open(part, form.encoding)?;
        inference.begin_file();
        loop {
            let bytes = &window.buffer[window.taken..];
            let taken = inference.look_at_records(bytes, window.is_last);
            let taken = taken.map_err(|error| failed_at(&window.place(0), &error))?;
            window.taken += taken;
            // What is left of a file with a quote that is never closed says nothing more.
            if taken == 0 && (window.is_last || !window.read_on()?) {
                break;
            }
        }
    }
    Ok(())
}

/// Decodes the records that are in memory, and gives the bytes that they took.
fn decode(
    window: &mut Window,
    decoder: &mut CsvDecoder,
    tally: &Tally,
) -> Result<usize, ConnectorError> {
    let bytes = &window.buffer[window.taken..];
    let (taken, malformed) = decoder
        .decode_records(bytes, window.is_last, BATCH_ROWS)
        .map_err(|error| failed_at(&window.place(error.at), &error))?;
    tally.add(malformed.rows, || window.place(malformed.first.unwrap_or_default()));
    if let Some(problem) = decoder.take_header_problem() {
        tally.add_header(&window.part.path, &problem);
    }
    window.taken += taken;
    Ok(taken)
}

impl Window {
    fn open(part: FilePart, encoding: FileEncoding) -> Result<Window, ConnectorError> {
        let content = Content::open(&part, 0, encoding)?;
        let mut window =
            Window { part, content, buffer: Vec::new(), offset: 0, taken: 0, is_last: false };
        window.read_on()?;
        Ok(window)
    }

    fn place(&self, at: usize) -> Place {
        let offset = self.offset + (self.taken + at) as u64;
        Place::Line { path: self.part.path.clone(), offset }
    }

    /// Reads another block, or as much as is there already where a record needs more. `false`: it
    /// would need more than is read.
    fn read_on(&mut self) -> Result<bool, ConnectorError> {
        self.buffer.drain(..self.taken);
        self.offset += self.taken as u64;
        self.taken = 0;
        let filled = self.buffer.len();
        let wanted = BLOCK_BYTES.max(filled).min(RECORD_BYTES_MAX.saturating_sub(filled));
        if wanted == 0 {
            return Ok(false);
        }
        self.buffer.resize(filled + wanted, 0);
        let (more, is_last) = self.content.fill(&mut self.buffer[filled..])?;
        self.buffer.truncate(filled + more);
        self.is_last = is_last;
        Ok(true)
    }
}

impl Iterator for CsvRecords {
    type Item = Result<RecordBatch, ConnectorError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}
