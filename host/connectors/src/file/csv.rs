//! CSV files, read as Spark reads them in PERMISSIVE mode.
//!
//! A cell that is no value of its column's type is null, missing cells are null and surplus cells
//! are dropped. Columns go by position; a header line is passed over. Quoted cells may span
//! lines, which is why files are never split. An empty cell is null, quoted or not (Spark tells
//! the two apart in string columns).

use std::fs::File;
use std::io::{Read, Take};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidemill_core::ConnectorError;

use super::parts::{FilePart, open};
use crate::ConfigError;
use crate::options::{Known, Options};
use crate::rows::{BATCH_ROWS, cast_column, record_batch};

pub(crate) const OPTIONS: Known = Known {
    built: &[
        "header",
        "sep",
        "delimiter",
        "quote",
        "escape",
        "nullValue",
        "mode",
        "multiLine",
        "comment",
    ],
    later: &[
        "encoding",
        "charset",
        "inferSchema",
        "enforceSchema",
        "ignoreLeadingWhiteSpace",
        "ignoreTrailingWhiteSpace",
        "emptyValue",
        "nanValue",
        "positiveInf",
        "negativeInf",
        "dateFormat",
        "timestampFormat",
        "timestampNTZFormat",
        "enableDateTimeParsingFallback",
        "maxColumns",
        "maxCharsPerColumn",
        "columnNameOfCorruptRecord",
        "charToEscapeQuoteEscaping",
        "samplingRatio",
        "unescapedQuoteHandling",
        "locale",
        "lineSep",
        "preferDate",
        "timeZone",
        "columnPruning",
    ],
};

/// How CSV is read.
#[derive(Clone, Debug)]
pub(crate) struct CsvOptions {
    header: bool,
    delimiter: u8,
    quote: u8,
    escape: u8,
    comment: Option<u8>,
    null_value: String,
}

impl CsvOptions {
    pub(crate) fn plan(options: &Options, schema: &Schema) -> Result<CsvOptions, ConfigError> {
        options.only("mode", "PERMISSIVE")?;
        // Quoted cells may span lines in any case; Spark's false would cut them.
        options.only("multiLine", "true")?;
        if options.text("sep").is_some() && options.text("delimiter").is_some() {
            return Err(options.bad("delimiter", "sep sets the same option: keep one"));
        }
        for field in schema.fields() {
            if field.data_type().is_nested() || matches!(field.data_type(), DataType::Binary) {
                return Err(ConfigError::Schema {
                    place: options.place().to_owned(),
                    reason: format!(
                        "CSV has no {} columns, as \"{}\" is one; read it as STRING",
                        field.data_type(),
                        field.name()
                    ),
                });
            }
            if field.name() == "_corrupt_record" {
                return Err(ConfigError::Schema {
                    place: options.place().to_owned(),
                    reason: "a _corrupt_record column is not supported yet for CSV".to_owned(),
                });
            }
        }
        let comment = match options.text("comment") {
            None => None,
            Some(_) => Some(options.byte("comment", 0)?),
        };
        let delimiter = options.byte("sep", b',')?;
        Ok(CsvOptions {
            header: options.bool("header", false)?,
            delimiter: options.byte("delimiter", delimiter)?,
            quote: options.byte("quote", b'"')?,
            escape: options.byte("escape", b'\\')?,
            comment,
            null_value: options.text("nullValue").unwrap_or_default().to_owned(),
        })
    }
}

/// The rows of some files.
pub(crate) struct CsvRows {
    files: std::vec::IntoIter<FilePart>,
    current: Option<(FilePart, csv::Reader<Take<File>>)>,
    options: CsvOptions,
    schema: SchemaRef,
    /// Which cells of a row are asked for.
    projection: Vec<usize>,
}

impl CsvRows {
    pub(crate) fn new(
        files: Vec<FilePart>,
        options: CsvOptions,
        schema: SchemaRef,
        projection: Vec<usize>,
    ) -> CsvRows {
        CsvRows { files: files.into_iter(), current: None, options, schema, projection }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        let mut cells: Vec<StringBuilder> =
            self.projection.iter().map(|_| StringBuilder::new()).collect();
        let mut row = csv::ByteRecord::new();
        let mut rows = 0;
        while rows < BATCH_ROWS && self.read_row(&mut row)? {
            for (cells, &column) in cells.iter_mut().zip(&self.projection) {
                match row.get(column) {
                    Some(cell)
                        if !cell.is_empty() && cell != self.options.null_value.as_bytes() =>
                    {
                        cells.append_value(String::from_utf8_lossy(cell));
                    }
                    _ => cells.append_null(),
                }
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns = cells
            .iter_mut()
            .zip(self.schema.fields())
            .map(|(cells, field)| parse_column(cells.finish(), field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        record_batch(&self.schema, columns, rows).map(Some)
    }

    /// The next row of the current file or of the ones after it.
    fn read_row(&mut self, row: &mut csv::ByteRecord) -> Result<bool, ConnectorError> {
        loop {
            if let Some((part, reader)) = &mut self.current {
                let found = reader.read_byte_record(row).map_err(|error| {
                    ConnectorError::retryable(format!("could not read the file {}", part.path))
                        .caused_by(error)
                })?;
                if found {
                    return Ok(true);
                }
            }
            let Some(part) = self.files.next() else {
                return Ok(false);
            };
            let file = open(&part)?.take(part.size);
            let reader = csv::ReaderBuilder::new()
                .has_headers(self.options.header)
                .flexible(true)
                .delimiter(self.options.delimiter)
                .quote(self.options.quote)
                .escape(Some(self.options.escape).filter(|escape| *escape != self.options.quote))
                .comment(self.options.comment)
                .from_reader(file);
            self.current = Some((part, reader));
        }
    }
}

impl Iterator for CsvRows {
    type Item = Result<RecordBatch, ConnectorError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// Cells as values; null where a cell is none.
fn parse_column(cells: StringArray, wanted: &DataType) -> Result<ArrayRef, ConnectorError> {
    match wanted {
        DataType::Utf8 => Ok(Arc::new(cells)),
        // Arrow would take "yes" and "1" too, Spark does not.
        DataType::Boolean => Ok(Arc::new(
            cells
                .iter()
                .map(|cell| match cell?.to_ascii_lowercase().as_str() {
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => None,
                })
                .collect::<BooleanArray>(),
        )),
        // Arrow would pass over blanks, Java does not.
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Decimal128(..) => {
            let exact = cells.iter().map(|cell| cell.filter(|cell| cell.trim() == *cell));
            parsed(&exact.collect::<StringArray>(), wanted)
        }
        _ => parsed(&cells, wanted),
    }
}

fn parsed(cells: &StringArray, wanted: &DataType) -> Result<ArrayRef, ConnectorError> {
    cast_column(cells, wanted, false).map_err(|error| {
        ConnectorError::fatal(format!("CSV cells cannot be read as {wanted}")).caused_by(error)
    })
}
