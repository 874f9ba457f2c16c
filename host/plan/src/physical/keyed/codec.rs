//! What a stateful function keeps, as bytes of the state.
//!
//! Checkpoints depend on it. The key of an entry begins with the variable's name (its length in bytes,
//! 2 bytes, big endian, then the name), and then has the bytes of the function's key:
//!
//! | variable | entries | value |
//! |---|---|---|
//! | a value | one | the value |
//! | a list | one a batch that added to it, with the batch's number as member | the items of that batch |
//! | a map | one an entry, with [`member_of`](tidemill_core::member_of) of the entry's key as member | keys and values, in turn: several only where members agree |
//!
//! One entry of shard 0 says that the initial state has been taken; its key is two bytes 0xFF.
//!
//! Of a variable with a time to live each value begins with the time after which it is forgotten: 8 bytes,
//! big endian, microseconds of the batch's time. Values, items and entries are of Arrow's row format; those
//! of lists and maps have their lengths before them, 4 bytes, big endian.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, MapArray, StructArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, Rows};
use datafusion::common::{exec_datafusion_err, internal_datafusion_err, plan_datafusion_err};
use datafusion::error::Result;
use tidemill_core::{Variable, VariableShape, split_member};
use tidemill_types::sql_name;

use super::super::encoding::encoding;

/// In shard 0, once the initial state has been taken. No variable has a name of that length.
pub(super) const INITIAL_TAKEN: &[u8] = &[0xff, 0xff];

/// A variable, and how it is written.
pub(super) struct Stored {
    pub(super) variable: Variable,
    /// What the keys of its entries begin with.
    prefix: Vec<u8>,
    /// Of the value, the item, or the value of an entry.
    value: Encoding,
    /// Of the key of an entry.
    entry: Option<Encoding>,
}

/// How the values of one type are written.
pub(super) struct Encoding {
    converter: RowConverter,
    null: OwnedRow,
}

impl Encoding {
    fn of(name: &str, data_type: &DataType) -> Result<Encoding> {
        let unfit = |_| {
            plan_datafusion_err!(
                "the state \"{name}\" holds {}, which cannot be kept: a MAP is kept as a map of its own, \
                 or as an array of its entries",
                sql_name(data_type)
            )
        };
        let converter = encoding([data_type]).map_err(unfit)?;
        let null = converter.convert_columns(&[new_null_array(data_type, 1)])?;
        Ok(Encoding { null: null.row(0).owned(), converter })
    }

    /// The values as rows.
    pub(super) fn rows(&self, values: &ArrayRef) -> Result<Rows> {
        Ok(self.converter.convert_columns(std::slice::from_ref(values))?)
    }

    /// The column of values that are these parts of `bytes`, or null.
    pub(super) fn column(&self, bytes: &[u8], parts: &[Option<Range<usize>>]) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let mut rows = self.converter.empty_rows(parts.len(), bytes.len());
        for part in parts {
            match part {
                Some(part) => {
                    let part = bytes.get(part.clone()).ok_or_else(broken)?;
                    rows.push(parser.parse(part));
                }
                None => rows.push(self.null.row()),
            }
        }
        let column = self.converter.convert_rows(&rows)?.pop();
        column.ok_or_else(|| internal_datafusion_err!("a value has no column"))
    }
}

impl Stored {
    pub(super) fn of(variable: &Variable) -> Result<Stored> {
        let name = variable.field.name();
        let (value, entry) = match variable.shape {
            VariableShape::Value => (Some(variable.field.data_type()), None),
            VariableShape::Items => (variable.item(), None),
            VariableShape::Entries => {
                variable.entry().map_or((None, None), |(k, v)| (Some(v), Some(k)))
            }
        };
        let value =
            value.ok_or_else(|| internal_datafusion_err!("\"{name}\" is of another shape"))?;
        // The host of plugins has bounded it.
        let length = u16::try_from(name.len()).map_err(|_| exec_datafusion_err!("a long name"))?;
        Ok(Stored {
            variable: variable.clone(),
            prefix: [&length.to_be_bytes(), name.as_bytes()].concat(),
            value: Encoding::of(name, value)?,
            entry: entry.map(|entry| Encoding::of(name, entry)).transpose()?,
        })
    }

    /// Puts what the variable's entries of a key begin with into `group`, in place of what it held.
    pub(super) fn group(&self, key: &[u8], group: &mut Vec<u8>) {
        group.clear();
        group.extend(&self.prefix);
        group.extend(key);
    }

    /// The key that an entry is of, if it is one of this variable.
    pub(super) fn key_in<'k>(&self, entry: &'k [u8]) -> Option<&'k [u8]> {
        let rest = entry.strip_prefix(self.prefix.as_slice())?;
        match self.variable.shape {
            VariableShape::Value => Some(rest),
            VariableShape::Items | VariableShape::Entries => split_member(rest).map(|(key, _)| key),
        }
    }

    pub(super) fn value(&self) -> &Encoding {
        &self.value
    }

    pub(super) fn entry(&self) -> Result<&Encoding> {
        let none = || internal_datafusion_err!("\"{}\" has no entries", self.variable.field.name());
        self.entry.as_ref().ok_or_else(none)
    }

    /// The ARRAY of items, where row i has those up to `ends[i]`; none is null.
    pub(super) fn list(&self, items: ArrayRef, ends: &[usize]) -> Result<ArrayRef> {
        let DataType::List(item) = self.variable.field.data_type() else {
            return Err(internal_datafusion_err!("a list is no ARRAY"));
        };
        let (offsets, nulls) = offsets(ends)?;
        Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, nulls)?))
    }

    /// The MAP of entries, where row i has those up to `ends[i]`; none is null.
    pub(super) fn map(&self, keys: ArrayRef, values: ArrayRef, ends: &[usize]) -> Result<ArrayRef> {
        let DataType::Map(entry, ordered) = self.variable.field.data_type() else {
            return Err(internal_datafusion_err!("a map is no MAP"));
        };
        let DataType::Struct(members) = entry.data_type() else {
            return Err(internal_datafusion_err!("entries are no STRUCT"));
        };
        let entries = StructArray::try_new(members.clone(), vec![keys, values], None)?;
        let (offsets, nulls) = offsets(ends)?;
        Ok(Arc::new(MapArray::try_new(Arc::clone(entry), offsets, entries, nulls, *ordered)?))
    }
}

fn offsets(ends: &[usize]) -> Result<(OffsetBuffer<i32>, Option<NullBuffer>)> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    let mut present = Vec::with_capacity(ends.len());
    for end in ends {
        let end =
            i32::try_from(*end).map_err(|_| exec_datafusion_err!("too many items at once"))?;
        present.push(offsets.last().is_some_and(|last| *last < end));
        offsets.push(end);
    }
    Ok((OffsetBuffer::new(offsets.into()), Some(NullBuffer::from(present))))
}

/// The rows of a column of lists or maps: which of its items are of row `row`.
pub(super) fn of_row(offsets: &[i32], row: usize) -> Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}

/// Appends a part with its length before it.
pub(super) fn push_part(part: &[u8], to: &mut Vec<u8>) -> Result<()> {
    let length = u32::try_from(part.len()).map_err(|_| exec_datafusion_err!("a value of 4 GiB"))?;
    to.extend(length.to_be_bytes());
    to.extend(part);
    Ok(())
}

/// The parts of bytes that [`push_part`] wrote, by their places.
pub(super) fn parts(bytes: &[u8]) -> impl Iterator<Item = Result<Range<usize>>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == bytes.len() {
            return None;
        }
        let length = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
        let part = length.map(|length| {
            let begin = at + length.len();
            begin..begin + u32::from_be_bytes(*length) as usize
        });
        let part = part.filter(|part| part.end <= bytes.len()).ok_or_else(broken);
        at = part.as_ref().map_or(bytes.len(), |part| part.end);
        Some(part)
    })
}

fn broken() -> datafusion::error::DataFusionError {
    exec_datafusion_err!("the state of a key cannot be read")
}
