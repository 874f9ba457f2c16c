//! The path of clean rows: one pass over the bytes, values go straight into the columns.
//!
//! It takes a row only if it is plain JSON from its opening to its closing brace, and every wanted
//! field is there at most once and of its type. Then the slow path would give the very same row.
//! In doubt it takes nothing, and the caller undoes the columns. No malformed text is tolerated:
//! fields that nobody wants are checked as closely as the others. (What follows the closing brace
//! is not looked at, which is Spark's rule and the slow path's too.)
//!
//! Rows of one source tend to have the same fields in the same order. So the field names of the
//! last row are kept, and the next row's are first compared with those at their place.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Fields};

use super::columns::{Column, Values};
use super::options::JsonOptions;
use super::plain;
use super::scan;
use super::slow;
use super::tokens::Text;

/// Fields of a row whose names are remembered. Rows may have more; those are looked up by name.
const REMEMBERED_FIELDS_MAX: usize = 256;
/// Longest name that is remembered.
const REMEMBERED_NAME_MAX: usize = 256;

pub(super) struct FastPath {
    by_name: HashMap<Vec<u8>, usize>,
    last_row: Vec<Field>,
    days: plain::DayCache,
}

/// A field of the last row.
struct Field {
    /// The name as it is written, with quotes and colon.
    written: Vec<u8>,
    /// The column that wants it.
    column: Option<usize>,
}

impl FastPath {
    pub(super) fn new(fields: &Fields) -> FastPath {
        let names = fields.iter().map(|field| field.name().as_bytes().to_vec());
        FastPath {
            by_name: names.zip(0..).collect(),
            last_row: Vec::new(),
            days: plain::DayCache::default(),
        }
    }

    /// Reads the object at the start of `bytes`, which is valid UTF-8, into row `row` of the
    /// columns. Columns whose field is absent are left without a value. `None`: not taken; the
    /// columns may have values in this row.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        text: Text,
        row: usize,
        columns: &mut [Column],
        options: &JsonOptions,
    ) -> Option<()> {
        let mut at = scan::space(bytes, 0);
        if bytes.get(at) != Some(&b'{') {
            return None;
        }
        at = scan::space(bytes, at + 1);
        if bytes.get(at) == Some(&b'}') {
            return Some(());
        }
        for place in 0.. {
            let column = match self.last_row.get(place) {
                Some(field) if starts_with(&bytes[at..], &field.written) => {
                    at += field.written.len();
                    field.column
                }
                _ => {
                    let column;
                    (column, at) = self.name(bytes, at, place)?;
                    column
                }
            };
            at = scan::space(bytes, at);
            at = match column {
                None => scan::value(bytes, at)?,
                Some(index) => {
                    let column = &mut columns[index];
                    if column.len() != row {
                        return None;
                    }
                    match self.plain_value(bytes, at, column, options) {
                        Some(end) => end,
                        None => other_value(bytes, at, text, column, options)?,
                    }
                }
            };
            at = scan::space(bytes, at);
            match bytes.get(at)? {
                b',' => at = scan::space(bytes, at + 1),
                b'}' => break,
                _ => return None,
            }
        }
        Some(())
    }

    /// Reads a name and its colon, and remembers it at its place.
    fn name(&mut self, bytes: &[u8], at: usize, place: usize) -> Option<(Option<usize>, usize)> {
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        let end = scan::plain_string(bytes, at)?;
        let name = &bytes[at + 1..end];
        let colon = scan::space(bytes, end + 1);
        if bytes.get(colon) != Some(&b':') {
            return None;
        }
        let column = self.by_name.get(name).copied();
        if place < REMEMBERED_FIELDS_MAX && name.len() <= REMEMBERED_NAME_MAX {
            if place == self.last_row.len() {
                self.last_row.push(Field { written: Vec::new(), column });
            }
            if let Some(field) = self.last_row.get_mut(place) {
                field.column = column;
                field.written.clear();
                field.written.extend_from_slice(&bytes[at..=end]);
                field.written.push(b':');
            }
        }
        Some((column, colon + 1))
    }

    /// Adds a value that is written in the usual way. `None`: it is not, and nothing was added.
    #[inline]
    fn plain_value(
        &mut self,
        bytes: &[u8],
        at: usize,
        column: &mut Column,
        options: &JsonOptions,
    ) -> Option<usize> {
        let has_zone = matches!(column.data_type(), DataType::Timestamp(_, Some(_)));
        let end = match &mut column.values {
            Values::Text(values) => {
                if *bytes.get(at)? != b'"' {
                    return None;
                }
                let end = scan::plain_string(bytes, at)?;
                values.push(&bytes[at + 1..end]);
                end + 1
            }
            Values::Float64(values) => {
                let (value, end) = plain::double(bytes, at)?;
                values.push(value);
                end
            }
            Values::Timestamp(values) => {
                if options.times.has_timestamp_pattern() || !has_zone {
                    return None;
                }
                let (value, end) = self.days.timestamp(bytes, at, options.times.zone())?;
                values.push(value);
                end
            }
            Values::Int64(values) => {
                let (value, end) = plain::integer(bytes, at)?;
                values.push(value);
                end
            }
            Values::Int32(values) => {
                let (value, end) = plain::integer(bytes, at)?;
                values.push(i32::try_from(value).ok()?);
                end
            }
            Values::Boolean(bits) => {
                let is_true = bytes.get(at) == Some(&b't');
                let word: &[u8] = if is_true { b"true" } else { b"false" };
                let end = scan::literal(bytes, at, word)?;
                bits.append(is_true);
                end
            }
            _ => return None,
        };
        column.set_valid();
        Some(end)
    }
}

/// Adds a value that is well-formed JSON by the slow path's rules for values. `None`: it does not
/// fit the column, so that the row is malformed.
fn other_value(
    bytes: &[u8],
    at: usize,
    text: Text,
    column: &mut Column,
    options: &JsonOptions,
) -> Option<usize> {
    if let Some(end) = scan::literal(bytes, at, b"null") {
        column.push_null();
        return Some(end);
    }
    let end = scan::value(bytes, at)?;
    let value = slow::read_value(&bytes[at..end], text, column.data_type(), options).ok()?;
    column.push(value);
    Some(end)
}

/// `bytes.starts_with(prefix)`, eight bytes at a time: names are short, and a call costs more.
#[inline]
fn starts_with(bytes: &[u8], prefix: &[u8]) -> bool {
    let Some(bytes) = bytes.get(..prefix.len()) else { return false };
    let word = |slice: &[u8], at: usize| {
        slice.get(at..).and_then(<[u8]>::first_chunk::<8>).map(|chunk| u64::from_le_bytes(*chunk))
    };
    match prefix.len() {
        0..8 => bytes == prefix,
        len @ 8..=16 => {
            word(bytes, 0) == word(prefix, 0) && word(bytes, len - 8) == word(prefix, len - 8)
        }
        _ => bytes == prefix,
    }
}
