//! The columns that files have, where nobody says them.
//!
//! All files that are there are read for it, as in Spark: the largest first, so that it is the same
//! file every time whose header counts.

use std::cmp::Reverse;
use std::collections::HashSet;

use arrow::datatypes::{DataType, FieldRef, Schema};
use tidemill_codec::{CsvInference, CsvOptions, JsonInference, JsonOptions};
use tidemill_core::{ConnectorError, Slice};

use super::content::text_spans;
use super::csv::look_at_records;
use super::form::TextForm;
use super::lines::{Filled, LineBlocks};
use super::parts::FilePart;
use crate::malformed::failed_at;

/// All of the files.
const WHOLE: Slice = Slice { index: 0, count: 1 };

fn largest_first(mut files: Vec<FilePart>) -> Vec<FilePart> {
    files.sort_by(|a, b| (Reverse(a.size), &a.path).cmp(&(Reverse(b.size), &b.path)));
    files
}

/// The columns of JSON files.
pub(super) fn json_columns(
    files: Vec<FilePart>,
    form: &TextForm,
    options: &JsonOptions,
) -> Result<Schema, ConnectorError> {
    let spans = text_spans(largest_first(files), WHOLE, form);
    let mut blocks = LineBlocks::new(spans, form.clone());
    let mut inference = JsonInference::new(options.clone());
    loop {
        match blocks.fill()? {
            Filled::End => return Ok(inference.finish()),
            Filled::TooLong(line) => {
                let looked = inference.look_at_unreadable(&line.to_string());
                looked.map_err(|error| failed_at(&blocks.place_of(line), &error))?;
            }
            Filled::Lines => {
                let (line, taken) = blocks.first_line();
                let looked = inference.look(line);
                looked.map_err(|error| failed_at(&blocks.place(0), &error))?;
                blocks.take(taken);
            }
        }
    }
}

/// The columns of CSV files.
pub(super) fn csv_columns(
    files: Vec<FilePart>,
    form: &TextForm,
    options: &CsvOptions,
) -> Result<Schema, ConnectorError> {
    let files = largest_first(files);
    let mut inference = CsvInference::new(options.clone());
    if options.multi_line {
        look_at_records(files, form, &mut inference)?;
        return Ok(inference.finish());
    }
    let mut blocks = LineBlocks::new(text_spans(files, WHOLE, form), form.clone());
    loop {
        let (looked, taken) = match blocks.fill()? {
            Filled::End => return Ok(inference.finish()),
            Filled::TooLong(_) => continue,
            Filled::Lines => {
                let (line, taken) = blocks.first_line();
                (inference.look(line), taken)
            }
        };
        looked.map_err(|error| failed_at(&blocks.place(0), &error))?;
        blocks.take(taken);
    }
}

/// A name that columns, or fields of one struct, have twice, in any case.
pub(super) fn name_twice(fields: &[FieldRef]) -> Option<&str> {
    let mut seen = HashSet::new();
    if let Some(field) = fields.iter().find(|field| !seen.insert(field.name().to_lowercase())) {
        return Some(field.name());
    }
    fields.iter().find_map(|field| match field.data_type() {
        DataType::Struct(fields) => name_twice(fields),
        DataType::List(item) | DataType::Map(item, _) => match item.data_type() {
            DataType::Struct(fields) => name_twice(fields),
            _ => None,
        },
        _ => None,
    })
}
