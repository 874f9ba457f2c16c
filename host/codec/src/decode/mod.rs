//! JSON text to Arrow columns, as Spark reads it.
//!
//! There are two doors, because Spark has two: a *value* (`from_json`) is always one row, maybe
//! null; a *line* of a file is no row, one or many. Behind them are two paths. The fast one takes
//! clean rows and decodes only the columns that are asked for. What it does not take goes to the
//! slow one, which knows all of Spark's rules for malformed text. Rows are the same by either.
//!
//! What is malformed depends on the columns: a field of the wrong type does no harm to a decoder
//! that does not read it (Spark prunes columns and has the same rule).

#[cfg(test)]
mod agreement;
pub(crate) mod columns;
mod fast;
mod infer;
mod number;
mod options;
mod plain;
mod scan;
mod slow;
mod tokens;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, NullBufferBuilder, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

pub use infer::{JsonInference, json_type};
pub use number::parse_decimal;
pub use options::{EMPTY_SEPARATOR, JsonOptionError, JsonOptions, ParseMode};
pub(crate) use options::{boolean, is_english, is_utf8, only, parse_mode, sampling};

use crate::malformed::{Malformed, RowError};
use columns::{Column, check_type, struct_array};
use fast::FastPath;
use slow::{Root, Rows, Value};
use tidemill_types::format_type;
use tokens::Text;

/// Bytes that a decoder takes between two calls of `finish`. A column holds at most a few times as
/// much (text that is written anew grows), which an offset of 32 bits can address.
pub const PENDING_BYTES_MAX: usize = 256 << 20;

/// Bytes of a malformed row that an error shows.
const SHOWN_BYTES_MAX: usize = 200;

/// Why JSON could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The schema has a type that JSON is not read as.
    #[error("column \"{column}\" is to be read from JSON as {data_type}, which is not supported")]
    Type {
        /// The column.
        column: String,
        /// The type, or the part of it that is the trouble.
        data_type: String,
    },
    /// Two columns have one name.
    #[error("the schema for JSON names the column \"{0}\" twice")]
    DuplicateColumn(String),
    /// The corrupt column cannot take text.
    #[error("the column of corrupt records \"{column}\" is {data_type}, and must be string")]
    CorruptColumn {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// A value is always one row, so that none can be left out.
    #[error(
        "[PARSE_MODE_UNSUPPORTED] The function `from_json` doesn't support the DROPMALFORMED mode. Acceptable modes are PERMISSIVE and FAILFAST."
    )]
    DropMalformed,
    /// Which rows are malformed depends on the columns that are read, and none is.
    #[error(
        "[UNSUPPORTED_FEATURE.QUERY_ONLY_CORRUPT_RECORD_COLUMN] The feature is not supported: queries from raw JSON files are disallowed when the referenced columns only include the internal corrupt record column \"{0}\"; select another column beside it"
    )]
    OnlyCorruptColumn(String),
    /// Malformed text in mode FAILFAST.
    #[error(
        "[MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION] Malformed records are detected in record parsing: {0}. Parse Mode: FAILFAST. Use mode PERMISSIVE to read such rows as nulls"
    )]
    Malformed(String),
    /// Too much text at once.
    #[error(
        "{wanted} bytes of JSON were to be decoded into one record batch, and at most {PENDING_BYTES_MAX} can be"
    )]
    TooLarge {
        /// Bytes since the last `finish`.
        wanted: usize,
    },
    /// The array holds no text.
    #[error("JSON was to be decoded from an array of {0}; it must hold strings or binaries")]
    NoText(String),
}

/// Decodes JSON into columns, row by row.
///
/// After an error the decoder has lost the row that caused it and can be used on.
pub struct JsonDecoder {
    schema: SchemaRef,
    options: JsonOptions,
    root: Root,
    /// The schema's fields without the corrupt column.
    fields: Fields,
    columns: Vec<Column>,
    /// The corrupt column and its place in the schema.
    corrupt: Option<(usize, Column)>,
    /// Which rows are there at all (a null value is a null row).
    present: NullBufferBuilder,
    pending_bytes: usize,
    fast: FastPath,
}

impl JsonDecoder {
    /// A decoder for rows with these columns. Leave out columns that nobody reads.
    pub fn new(schema: SchemaRef, options: JsonOptions) -> Result<JsonDecoder, DecodeError> {
        JsonDecoder::with_root(schema, options, Root::Object)
    }

    /// A decoder for `from_json` with a schema of any type: a struct, an array or a map. Its rows
    /// are got by [`JsonDecoder::finish_array`].
    pub fn of_type(data_type: &DataType, options: JsonOptions) -> Result<JsonDecoder, DecodeError> {
        if options.mode == ParseMode::DropMalformed {
            return Err(DecodeError::DropMalformed);
        }
        let unsupported =
            || DecodeError::Type { column: "value".to_owned(), data_type: format_type(data_type) };
        match data_type {
            DataType::Struct(fields) => {
                JsonDecoder::with_root(Arc::new(Schema::new(fields.clone())), options, Root::Object)
            }
            DataType::List(_) | DataType::Map(..) => {
                let schema = Schema::new(vec![Field::new("value", data_type.clone(), true)]);
                JsonDecoder::with_root(Arc::new(schema), options, Root::Value)
            }
            _ => Err(unsupported()),
        }
    }

    fn with_root(
        schema: SchemaRef,
        options: JsonOptions,
        root: Root,
    ) -> Result<JsonDecoder, DecodeError> {
        let mut corrupt = None;
        let mut fields = Vec::new();
        for (i, field) in schema.fields().iter().enumerate() {
            let (name, data_type) = (field.name().clone(), field.data_type());
            if schema.fields()[..i].iter().any(|other| *other.name() == name) {
                return Err(DecodeError::DuplicateColumn(name));
            }
            if root == Root::Object && name == options.corrupt_column {
                if data_type != &DataType::Utf8 {
                    let data_type = format_type(data_type);
                    return Err(DecodeError::CorruptColumn { column: name, data_type });
                }
                corrupt = Some((i, Column::new(data_type)));
                continue;
            }
            check_type(data_type).map_err(|part| DecodeError::Type {
                column: name,
                data_type: format_type(&part),
            })?;
            fields.push(field.clone());
        }
        let fields = Fields::from(fields);
        Ok(JsonDecoder {
            columns: fields.iter().map(|field| Column::new(field.data_type())).collect(),
            fast: FastPath::new(&fields),
            schema,
            options,
            root,
            fields,
            corrupt,
            present: NullBufferBuilder::new(0),
            pending_bytes: 0,
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
        self.present.len()
    }

    /// Whether there are no rows since the last `finish`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one row by the rules of `from_json`: null or blank text is a null row, malformed text
    /// a row of nulls (or of what could be read). Gives whether the text is malformed, or has bytes
    /// that are no UTF-8 and were replaced.
    pub fn decode_value(&mut self, value: Option<&[u8]>) -> Result<bool, DecodeError> {
        if self.options.mode == ParseMode::DropMalformed {
            return Err(DecodeError::DropMalformed);
        }
        let Some(bytes) = value else {
            self.push_absent();
            return Ok(false);
        };
        self.count_bytes(bytes.len())?;
        // Java puts a replacement character where bytes are not UTF-8.
        let Ok(text) = std::str::from_utf8(bytes) else {
            return self.decode_value_slowly(&String::from_utf8_lossy(bytes)).map(|_| true);
        };
        if self.root != Root::Value && self.take_fast(bytes, Text::Value) {
            return Ok(false);
        }
        self.decode_value_slowly(text)
    }

    fn decode_value_slowly(&mut self, text: &str) -> Result<bool, DecodeError> {
        let bytes = text.as_bytes();
        match slow::read(bytes, Text::Value, self.root, &self.fields, &self.options) {
            Rows::None => self.push_absent(),
            Rows::Good(rows) => self.push_row(rows.into_iter().next(), None),
            Rows::Bad(rows) => {
                self.refuse_if_failing(text)?;
                if self.root == Root::Value && rows.is_empty() {
                    self.push_absent();
                } else {
                    self.push_row(rows.into_iter().next(), Some(text));
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds one row for every value of an array of strings or binaries.
    pub fn decode_array(&mut self, values: &dyn Array) -> Result<(), DecodeError> {
        let mut decode = |value: Option<&[u8]>| self.decode_value(value).map(|_| ());
        match values.data_type() {
            DataType::Utf8 => {
                values.as_string::<i32>().iter().try_for_each(|v| decode(v.map(str::as_bytes)))
            }
            DataType::LargeUtf8 => {
                values.as_string::<i64>().iter().try_for_each(|v| decode(v.map(str::as_bytes)))
            }
            DataType::Utf8View => {
                values.as_string_view().iter().try_for_each(|v| decode(v.map(str::as_bytes)))
            }
            DataType::Binary => values.as_binary::<i32>().iter().try_for_each(decode),
            DataType::LargeBinary => values.as_binary::<i64>().iter().try_for_each(decode),
            DataType::BinaryView => values.as_binary_view().iter().try_for_each(decode),
            DataType::Null => (0..values.len()).try_for_each(|_| decode(None)),
            other => Err(DecodeError::NoText(format_type(other))),
        }
    }

    /// Adds the rows of lines of a file: a blank line is none, an array of objects is several. A
    /// line ends with `\n`, `\r\n`, `\r` or the block.
    ///
    /// # Errors
    /// As [`JsonDecoder::decode_value`]; and the only column is that of corrupt records, which
    /// Spark refuses for files.
    pub fn decode_lines(&mut self, block: &[u8]) -> Result<Malformed, RowError<DecodeError>> {
        let at_front = |error| RowError { at: 0, error };
        self.begin_block(block.len()).map_err(at_front)?;
        // Once for all lines. Where it fails, each line is looked at by itself.
        let is_utf8 = std::str::from_utf8(block).is_ok();
        let mut malformed = Malformed::default();
        let mut rest = block;
        while !rest.is_empty() {
            let end = memchr::memchr2(b'\n', b'\r', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            let at = block.len() - rest.len();
            rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
            match self.decode_line(line, is_utf8) {
                Ok(false) => {}
                Ok(true) => malformed.note(at),
                Err(error) => return Err(RowError { at, error }),
            }
        }
        Ok(malformed)
    }

    /// Adds the rows of one line of a file, whatever is in it, or of the whole of a file that is one
    /// text: as [`JsonDecoder::decode_lines`].
    ///
    /// # Errors
    /// As [`JsonDecoder::decode_lines`].
    pub fn decode_text(&mut self, text: &[u8]) -> Result<Malformed, RowError<DecodeError>> {
        let at_front = |error| RowError { at: 0, error };
        self.begin_block(text.len()).map_err(at_front)?;
        let mut malformed = Malformed::default();
        if self.decode_line(text, false).map_err(at_front)? {
            malformed.note(0);
        }
        Ok(malformed)
    }

    fn begin_block(&mut self, len: usize) -> Result<(), DecodeError> {
        if self.columns.is_empty() && self.corrupt.is_some() {
            return Err(DecodeError::OnlyCorruptColumn(self.options.corrupt_column.clone()));
        }
        self.count_bytes(len)
    }

    /// Adds the row of a line that is too long to be read; `text` stands for it in the corrupt
    /// column.
    ///
    /// # Errors
    /// In mode FAILFAST.
    pub fn push_unreadable(&mut self, text: &str) -> Result<(), DecodeError> {
        self.refuse_if_failing(text)?;
        if self.options.mode != ParseMode::DropMalformed {
            self.push_row(None, Some(text));
        }
        Ok(())
    }

    /// Gives whether the line is malformed.
    fn decode_line(&mut self, line: &[u8], is_utf8: bool) -> Result<bool, DecodeError> {
        let is_utf8 = is_utf8 || std::str::from_utf8(line).is_ok();
        if line.is_empty() || (is_utf8 && self.take_fast(line, Text::Line)) {
            return Ok(false);
        }
        Ok(self.decode_line_slowly(line)? || !is_utf8)
    }

    fn decode_line_slowly(&mut self, line: &[u8]) -> Result<bool, DecodeError> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let text = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        let root = Root::ObjectOrArray;
        match slow::read(text, Text::Line, root, &self.fields, &self.options) {
            Rows::None => {}
            Rows::Good(rows) => rows.into_iter().for_each(|row| self.push_row(Some(row), None)),
            Rows::Bad(rows) => {
                let line = String::from_utf8_lossy(text);
                self.refuse_if_failing(&line)?;
                if self.options.mode == ParseMode::DropMalformed {
                    return Ok(true);
                }
                if rows.is_empty() {
                    self.push_row(None, Some(&line));
                }
                rows.into_iter().for_each(|row| self.push_row(Some(row), Some(&line)));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The rows since the last call, as a batch. A null row is a row of nulls.
    pub fn finish(&mut self) -> RecordBatch {
        let rows = RecordBatchOptions::new().with_row_count(Some(self.len()));
        let (arrays, _) = self.take_columns();
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &rows)
            .expect("the columns were made from the schema")
    }

    /// The rows since the last call, as structs: what `from_json` gives.
    pub fn finish_struct(&mut self) -> StructArray {
        let len = self.len();
        let (arrays, mut present) = self.take_columns();
        struct_array(self.schema.fields(), arrays, len, present.finish())
    }

    /// The rows since the last call, as an array of the type that the decoder was made for.
    pub fn finish_array(&mut self) -> ArrayRef {
        if self.root == Root::Value {
            return self.take_columns().0.swap_remove(0);
        }
        Arc::new(self.finish_struct())
    }

    fn take_columns(&mut self) -> (Vec<ArrayRef>, NullBufferBuilder) {
        self.pending_bytes = 0;
        let mut arrays: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
        if let Some((index, column)) = &mut self.corrupt {
            arrays.insert(*index, column.finish());
        }
        (arrays, std::mem::replace(&mut self.present, NullBufferBuilder::new(0)))
    }

    /// Tries the fast path. If it does not take the row, nothing has changed.
    #[inline]
    fn take_fast(&mut self, bytes: &[u8], text: Text) -> bool {
        let row = self.present.len();
        let taken = self.fast.read(bytes, text, row, &mut self.columns, &self.options).is_some();
        for column in &mut self.columns {
            match (taken, column.len() > row) {
                (true, false) => column.push_null(),
                (false, true) => column.truncate(row),
                _ => {}
            }
        }
        if taken {
            if let Some((_, corrupt)) = &mut self.corrupt {
                corrupt.push_null();
            }
            self.present.append_non_null();
        }
        taken
    }

    /// Adds a row by its values; `None` is a row of nulls. `corrupt` is its text, if malformed.
    fn push_row(&mut self, row: Option<Vec<Value>>, corrupt: Option<&str>) {
        match row {
            Some(row) => {
                self.columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            }
            None => self.columns.iter_mut().for_each(Column::push_null),
        }
        if let Some((_, column)) = &mut self.corrupt {
            column.push(corrupt.map_or(Value::Null, |text| Value::Text(text.to_owned())));
        }
        self.present.append_non_null();
    }

    fn push_absent(&mut self) {
        self.columns.iter_mut().for_each(Column::push_null);
        if let Some((_, column)) = &mut self.corrupt {
            column.push_null();
        }
        self.present.append_null();
    }

    fn count_bytes(&mut self, len: usize) -> Result<(), DecodeError> {
        let wanted = self.pending_bytes.saturating_add(len);
        if wanted > PENDING_BYTES_MAX {
            return Err(DecodeError::TooLarge { wanted });
        }
        self.pending_bytes = wanted;
        Ok(())
    }

    fn refuse_if_failing(&self, text: &str) -> Result<(), DecodeError> {
        if self.options.mode != ParseMode::FailFast {
            return Ok(());
        }
        Err(DecodeError::Malformed(shown(text)))
    }
}

/// What an error shows of a malformed row.
pub(crate) fn shown(text: &str) -> String {
    let cut = (0..=SHOWN_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    let shown = &text[..cut.unwrap_or(0)];
    let dots = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown}{dots}")
}

/// Spark's `from_json` over an array of strings or binaries.
pub fn from_json(
    values: &dyn Array,
    data_type: &DataType,
    options: &JsonOptions,
) -> Result<ArrayRef, DecodeError> {
    let mut decoder = JsonDecoder::of_type(data_type, options.clone())?;
    decoder.decode_array(values)?;
    Ok(decoder.finish_array())
}
