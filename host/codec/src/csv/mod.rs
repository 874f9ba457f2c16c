//! CSV text to Arrow columns, as Spark reads it.
//!
//! There are two doors. A *line* is a record by itself, whatever its quotes say: so a file can be
//! cut at its lines. With `multiLine` a quoted cell may hold ends of lines, and a file is read
//! from its front, record by record. What takes records apart is `record.rs`, with univocity's
//! rules; what makes values of cells is `values.rs`, with Java's.
//!
//! What is malformed depends on the columns, as for JSON: where not all of them are asked for, a
//! record with too few or too many cells is none (Spark prunes columns and has the same rule).

mod infer;
mod options;
mod record;
#[cfg(test)]
mod tests;
mod values;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};

pub use infer::{CsvInference, csv_columns};
pub use options::{CsvOptionError, CsvOptions};

use crate::decode::columns::{Column, Values};
use crate::decode::{ParseMode, shown};
use crate::malformed::{Malformed, RowError};
use record::{Cell, Cells, LineEnd, Stop};
use tidemill_types::format_type;
pub(crate) use values::{cell_value, is_double, is_plain_date};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why CSV could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// The schema has a type that CSV is not read as.
    #[error("CSV has no {data_type} columns, as \"{column}\" is one; read it as STRING")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// The corrupt column cannot take text.
    #[error("the column of corrupt records \"{column}\" is {data_type}, and must be string")]
    CorruptColumn {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// Which records are malformed depends on the columns that are read, and none is.
    #[error(
        "[UNSUPPORTED_FEATURE.QUERY_ONLY_CORRUPT_RECORD_COLUMN] The feature is not supported: queries from raw CSV files are disallowed when the referenced columns only include the internal corrupt record column \"{0}\"; select another column beside it"
    )]
    OnlyCorruptColumn(String),
    /// A malformed record in mode FAILFAST.
    #[error(
        "[MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION] Malformed records are detected in record parsing: {0}. Parse Mode: FAILFAST. Use mode PERMISSIVE to read such rows as nulls"
    )]
    Malformed(String),
    /// More cells than a record may have.
    #[error(
        "the record has more than {0} cells; raise maxColumns, or is the separator another one?"
    )]
    TooManyCells(usize),
    /// A cell is longer than the job allows.
    #[error("a cell has more than {0} characters (maxCharsPerColumn)")]
    LongCell(usize),
    /// The header is not the schema's, and has to be.
    #[error("{0}; set enforceSchema = true to read columns by position whatever the header says")]
    Header(String),
}

/// Decodes CSV into columns, record by record.
///
/// After an error the decoder has lost the record that caused it and can be used on.
pub struct CsvDecoder {
    schema: SchemaRef,
    options: CsvOptions,
    /// Names of all columns of a file, in the order of its cells.
    names: Vec<String>,
    /// Which cells are read, in the order of the columns.
    cells_read: Vec<usize>,
    columns: Vec<Column>,
    /// The corrupt column and its place in the schema.
    corrupt: Option<(usize, Column)>,
    rows: usize,
    cells: Cells,
    awaits_header: bool,
    header_problem: Option<String>,
    line_end: Option<LineEnd>,
}

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Malformed,
}

impl CsvDecoder {
    /// A decoder for files with the columns of `schema`, of which those at `projection` are read.
    ///
    /// # Errors
    /// A column has a type that CSV is not read as, or the corrupt column is no text.
    pub fn new(
        schema: &SchemaRef,
        projection: &[usize],
        options: CsvOptions,
    ) -> Result<CsvDecoder, CsvError> {
        let is_corrupt = |index: &usize| *schema.field(*index).name() == options.corrupt_column;
        let all: Vec<usize> = (0..schema.fields().len()).filter(|i| !is_corrupt(i)).collect();
        let mut corrupt = None;
        let (mut cells_read, mut columns) = (Vec::new(), Vec::new());
        for (place, index) in projection.iter().enumerate() {
            let field = schema.field(*index);
            check(field.name(), field.data_type(), is_corrupt(index))?;
            let column = Column::new(field.data_type());
            if is_corrupt(index) {
                corrupt = Some((place, column));
            } else {
                cells_read.extend(all.iter().position(|of_file| of_file == index));
                columns.push(column);
            }
        }
        if corrupt.is_some() && columns.is_empty() {
            return Err(CsvError::OnlyCorruptColumn(options.corrupt_column));
        }
        let fields = projection.iter().map(|index| Arc::clone(&schema.fields()[*index]));
        Ok(CsvDecoder {
            schema: Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>())),
            names: all.iter().map(|index| schema.field(*index).name().clone()).collect(),
            options,
            cells_read,
            columns,
            corrupt,
            rows: 0,
            cells: Cells::default(),
            awaits_header: false,
            header_problem: None,
            line_end: None,
        })
    }

    /// The columns.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows since the last `finish`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows since the last `finish`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// What comes next is the beginning of a file.
    pub fn begin_file(&mut self) {
        self.awaits_header = self.options.header;
        self.line_end = None;
    }

    /// What was wrong with the last header, where it does no harm. Once.
    pub fn take_header_problem(&mut self) -> Option<String> {
        self.header_problem.take()
    }

    /// Adds the rows of lines, each of which is a record: a blank line is none. A line ends with
    /// `\n`, `\r\n`, `\r` or the block.
    ///
    /// # Errors
    /// A record is malformed in mode FAILFAST, or larger than the options allow; or the header is
    /// another one.
    pub fn decode_lines(&mut self, block: &[u8]) -> Result<Malformed, RowError<CsvError>> {
        // Once for all lines. Where it fails, each line is looked at by itself.
        let text = std::str::from_utf8(block).ok();
        let mut malformed = Malformed::default();
        let mut at = 0;
        while at < block.len() {
            let end = memchr::memchr2(b'\n', b'\r', &block[at..]).map(|end| at + end);
            let line = at..end.unwrap_or(block.len());
            let verdict = match text {
                Some(text) => self.decode_line(&text[line]),
                None => self.decode_bytes(&block[line]),
            };
            match verdict {
                Ok(Verdict::Good) => {}
                Ok(Verdict::Malformed) => malformed.note(at),
                Err(error) => return Err(RowError { at, error }),
            }
            at = end.map_or(block.len(), |end| end + 1);
        }
        Ok(malformed)
    }

    /// Adds the row of one line, whatever is in it.
    ///
    /// # Errors
    /// As [`CsvDecoder::decode_lines`].
    pub fn decode_text(&mut self, line: &[u8]) -> Result<Malformed, RowError<CsvError>> {
        let mut malformed = Malformed::default();
        match self.decode_bytes(line) {
            Ok(Verdict::Good) => {}
            Ok(Verdict::Malformed) => malformed.note(0),
            Err(error) => return Err(RowError { at: 0, error }),
        }
        Ok(malformed)
    }

    /// A line of which it is not known whether it is UTF-8. Java puts a replacement character where
    /// it is not.
    fn decode_bytes(&mut self, line: &[u8]) -> Result<Verdict, CsvError> {
        let text = String::from_utf8_lossy(line);
        let verdict = self.decode_line(&text)?;
        Ok(if matches!(text, Cow::Borrowed(_)) { verdict } else { Verdict::Malformed })
    }

    fn decode_line(&mut self, line: &str) -> Result<Verdict, CsvError> {
        if line.bytes().all(|byte| byte <= b' ') || self.is_comment(line.as_bytes()) {
            return Ok(Verdict::Good);
        }
        if self.columns.is_empty() && self.prunes() && !self.awaits_header {
            self.rows += 1;
            return Ok(Verdict::Good);
        }
        let mut is_open = false;
        let read = self.read_line(line.as_bytes(), &mut is_open);
        let verdict = self.take_record(line, read)?;
        Ok(if is_open { Verdict::Malformed } else { verdict })
    }

    /// A comment is told from a record by its first character; before a header, blanks may stand
    /// before it.
    fn is_comment(&self, line: &[u8]) -> bool {
        let line = if self.awaits_header { line.trim_ascii_start() } else { line };
        self.options.rules.comment.is_some_and(|comment| line.first() == Some(&comment))
    }

    fn read_line(&mut self, line: &[u8], is_open: &mut bool) -> Result<(), Stop> {
        let rules = &self.options.rules;
        let most = self.options.columns_max;
        if rules.is_plain(line) {
            return record::split(rules.delimiter[0], line, most, &mut self.cells);
        }
        let line_end = self.options.line_separator.unwrap_or(LineEnd::NEWLINE);
        let taken = record::read(rules, line, true, line_end, most, &mut self.cells)?;
        *is_open = taken.is_open;
        Ok(())
    }

    /// Adds the rows of the records at the front of `bytes`, at most `rows_max`, and gives how
    /// many bytes they took. Where `is_last` is not set, more bytes follow that are not there yet,
    /// and a record that does not end here is left.
    ///
    /// # Errors
    /// As [`CsvDecoder::decode_lines`].
    pub fn decode_records(
        &mut self,
        bytes: &[u8],
        is_last: bool,
        rows_max: usize,
    ) -> Result<(usize, Malformed), RowError<CsvError>> {
        let line_end = self.line_end.unwrap_or_else(|| self.options.line_end_of(bytes));
        let mut at = 0;
        if self.line_end.is_none() && bytes.starts_with(BYTE_ORDER_MARK) {
            at = BYTE_ORDER_MARK.len();
        }
        self.line_end = Some(line_end);
        let mut malformed = Malformed::default();
        while at < bytes.len() && self.rows < rows_max {
            match self.decode_record(&bytes[at..], is_last, line_end) {
                Ok(None) => break,
                Ok(Some((len, verdict))) => {
                    if verdict == Verdict::Malformed {
                        malformed.note(at);
                    }
                    at += len;
                }
                Err(error) => return Err(RowError { at, error }),
            }
        }
        Ok((at, malformed))
    }

    /// The record at the front, and its length with what ends it. `None`: it does not end here.
    fn decode_record(
        &mut self,
        bytes: &[u8],
        is_last: bool,
        line_end: LineEnd,
    ) -> Result<Option<(usize, Verdict)>, CsvError> {
        let rules = &self.options.rules;
        if rules.comment == bytes.first().copied() {
            let end = line_end.find(bytes).or(is_last.then_some(bytes.len()));
            return Ok(end.map(|end| (end, Verdict::Good)));
        }
        let most = self.options.columns_max;
        let read = record::read(rules, bytes, is_last, line_end, most, &mut self.cells);
        let (len, is_open, read) = match read {
            Ok(taken) => (taken.len, taken.is_open, Ok(())),
            Err(Stop::End) => return Ok(None),
            Err(stop) => {
                // Nothing says where such a record ends but the end of its line.
                let end = line_end.find(bytes).or(is_last.then_some(bytes.len()));
                let Some(end) = end else { return Ok(None) };
                (end, false, Err(stop))
            }
        };
        if read.is_ok() && self.cells.cells.is_empty() {
            return Ok(Some((len, Verdict::Good)));
        }
        let text = String::from_utf8_lossy(&bytes[..len]);
        if let Cow::Borrowed(text) = text {
            let verdict = self.take_record(text, read)?;
            let verdict = if is_open { Verdict::Malformed } else { verdict };
            return Ok(Some((len, verdict)));
        }
        // Its text has other lengths, so that its cells are found anew.
        let rules = &self.options.rules;
        let read = record::read(rules, text.as_bytes(), true, line_end, most, &mut self.cells);
        self.take_record(&text, read.map(|_| ()))?;
        Ok(Some((len, Verdict::Malformed)))
    }

    /// What was read of a record becomes a row, or a header.
    fn take_record(&mut self, text: &str, read: Result<(), Stop>) -> Result<Verdict, CsvError> {
        match read {
            Err(Stop::Columns) => Err(CsvError::TooManyCells(self.options.columns_max)),
            Err(Stop::End | Stop::Quotes) => self.close_row(text, true),
            Ok(()) if self.awaits_header => {
                self.awaits_header = false;
                self.take_header(text).map(|()| Verdict::Good)
            }
            Ok(()) => {
                let is_malformed = self.push_cells(text)?;
                self.close_row(text, is_malformed)
            }
        }
    }

    /// Whether records are held against the columns that are read alone.
    fn prunes(&self) -> bool {
        self.options.prunes && !self.options.multi_line && self.columns.len() < self.names.len()
    }

    /// Adds the values of a record. Gives whether it is malformed; a bad cell is null.
    fn push_cells(&mut self, text: &str) -> Result<bool, CsvError> {
        let found = &self.cells.cells;
        let mut is_malformed = !self.prunes() && found.len() != self.names.len();
        let values = &self.options.values;
        for (column, index) in self.columns.iter_mut().zip(&self.cells_read) {
            let cell = found.get(*index).unwrap_or(&Cell::Absent);
            let value = match cell {
                Cell::Absent => {
                    column.push_null();
                    continue;
                }
                Cell::Empty => Cow::Borrowed(values.empty.as_str()),
                cell => self.cells.value(text, cell),
            };
            if self.options.cell_chars_max.is_some_and(|most| value.encode_utf16().count() > most) {
                let most = self.options.cell_chars_max.unwrap_or_default();
                self.columns.iter_mut().for_each(|column| truncate(column, self.rows));
                return Err(CsvError::LongCell(most));
            }
            if value == values.null {
                column.push_null();
            } else {
                is_malformed |= !values::push(column, &value, values);
            }
        }
        Ok(is_malformed)
    }

    /// Ends a row by the mode's rules.
    fn close_row(&mut self, text: &str, is_malformed: bool) -> Result<Verdict, CsvError> {
        let text = text.trim_end_matches(['\n', '\r']);
        let mode = self.options.mode;
        if is_malformed && mode != ParseMode::Permissive {
            self.columns.iter_mut().for_each(|column| truncate(column, self.rows));
            return match mode {
                ParseMode::FailFast => Err(CsvError::Malformed(shown(text))),
                _ => Ok(Verdict::Malformed),
            };
        }
        for column in self.columns.iter_mut().filter(|column| column.len() == self.rows) {
            column.push_null();
        }
        if let Some((_, column)) = &mut self.corrupt {
            match (&mut column.values, is_malformed) {
                (Values::Text(bytes), true) => {
                    bytes.push(text.as_bytes());
                    column.set_valid();
                }
                _ => column.push_null(),
            }
        }
        self.rows += 1;
        Ok(if is_malformed { Verdict::Malformed } else { Verdict::Good })
    }

    fn take_header(&mut self, text: &str) -> Result<(), CsvError> {
        let found = &self.cells.cells;
        let name = |index: usize| match found.get(index) {
            Some(cell) => self.cells.value(text, cell),
            None => Cow::Borrowed(""),
        };
        let compared: Vec<usize> =
            if self.prunes() { self.cells_read.clone() } else { (0..self.names.len()).collect() };
        let differs =
            |index: &&usize| name(**index).to_lowercase() != self.names[**index].to_lowercase();
        let problem = if !self.prunes() && found.len() != self.names.len() {
            format!(
                "the header has {} columns, and the schema has {}",
                found.len(),
                self.names.len()
            )
        } else if let Some(index) = compared.iter().find(differs) {
            format!(
                "the header does not conform to the schema: column {} is \"{}\" there, and \"{}\" in the schema; columns go by position",
                index + 1,
                name(*index),
                self.names[*index]
            )
        } else {
            return Ok(());
        };
        if !self.options.enforce_schema {
            return Err(CsvError::Header(problem));
        }
        self.header_problem = Some(problem);
        Ok(())
    }

    /// Adds a malformed record that is too large to be kept.
    ///
    /// # Errors
    /// In mode FAILFAST.
    pub fn push_unreadable(&mut self, why: &str) -> Result<(), CsvError> {
        self.close_row(why, true).map(|_| ())
    }

    /// The rows since the last call, as a batch.
    pub fn finish(&mut self) -> RecordBatch {
        let rows = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        let mut arrays: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
        if let Some((index, column)) = &mut self.corrupt {
            arrays.insert(*index, column.finish());
        }
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &rows)
            .expect("the columns were made from the schema")
    }
}

fn truncate(column: &mut Column, rows: usize) {
    if column.len() > rows {
        column.truncate(rows);
    }
}

/// Whether CSV can be read as this type.
fn check(column: &str, data_type: &DataType, is_corrupt: bool) -> Result<(), CsvError> {
    let (column, name) = (column.to_owned(), || format_type(data_type));
    if is_corrupt {
        return match data_type {
            DataType::Utf8 => Ok(()),
            _ => Err(CsvError::CorruptColumn { column, data_type: name() }),
        };
    }
    let is_scalar = !data_type.is_nested() && crate::decode::columns::check_type(data_type).is_ok();
    if is_scalar { Ok(()) } else { Err(CsvError::Type { column, data_type: name() }) }
}
