//! What goes into a function, and what comes back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::{FilterBuilder, take_arrays};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;

/// How a function stands to the columns of its input: what it does not read does not reach it.
#[derive(Clone, PartialEq, Debug)]
pub struct Shape {
    /// Columns that it gives.
    pub output: SchemaRef,
    /// Columns of the input that it is given, in this order.
    pub reads: Vec<usize>,
    /// For each column of the output, where it comes from.
    pub origins: Vec<Origin>,
}

/// Where a column of the output comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The function makes it.
    Made,
    /// It is this column of the input, for the rows that the function selects.
    Passed(usize),
}

/// What a call gave back.
#[derive(Debug, Default)]
pub struct PluginRows {
    /// Its rows, one part after the other.
    pub given: Vec<Given>,
    /// Input rows that the function would not take.
    pub refused: Vec<RefusedRow>,
}

/// Rows of a function's output.
#[derive(Clone, PartialEq, Debug)]
pub struct Given {
    /// Which rows they are.
    pub selection: Selection,
    /// The columns that are made, in the output's order, with a value for each selected row.
    pub made: Vec<ArrayRef>,
}

/// How rows of the output stand to the rows of the call's input.
#[derive(Clone, PartialEq, Debug)]
pub enum Selection {
    /// So many new ones: no column is passed to them.
    Fresh(usize),
    /// They are those of the input.
    All,
    /// Those of the input that are marked. Nothing is null in here.
    Kept(BooleanArray),
    /// Row i is row n of the input. Nothing is null in here.
    Taken(UInt32Array),
}

/// An input row that could not be processed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedRow {
    /// Index into the call's rows.
    pub row: u32,
    /// The plugin's words.
    pub reason: String,
}

impl Shape {
    /// Of a function that reads all columns of its input and makes all that it gives.
    #[must_use]
    pub fn of_all(input: &Schema, output: SchemaRef) -> Shape {
        let origins = vec![Origin::Made; output.fields().len()];
        Shape { output, reads: (0..input.fields().len()).collect(), origins }
    }

    /// How all columns of the output come together, for rows of all columns of the input.
    #[must_use]
    pub fn assembly(&self) -> Assembly {
        let all: Vec<usize> = (0..self.origins.len()).collect();
        Assembly::new(self, &all, Arc::clone(&self.output), Some)
    }
}

/// How the columns of an output, or of a part of it, come together.
#[derive(Clone, PartialEq, Debug)]
pub struct Assembly {
    schema: SchemaRef,
    columns: Vec<From>,
}

/// Where a column comes from.
#[derive(Clone, Copy, PartialEq, Debug)]
enum From {
    /// It is this one of those that are made.
    Made(usize),
    /// It is this one of those that were there.
    Passed(usize),
}

impl Assembly {
    /// The columns `kept` (their numbers, in order) of a shape's output, under `schema`. `place` says where a column of the input
    /// is among the columns that are there; columns that are passed and not there are left out.
    #[must_use]
    pub fn new(
        shape: &Shape,
        kept: &[usize],
        schema: SchemaRef,
        place: impl Fn(usize) -> Option<usize>,
    ) -> Assembly {
        let mut made = 0;
        let mut columns = Vec::with_capacity(kept.len());
        for (number, origin) in shape.origins.iter().enumerate() {
            let from = match origin {
                Origin::Made => Some(From::Made(made)),
                Origin::Passed(index) => place(*index).map(From::Passed),
            };
            made += usize::from(*origin == Origin::Made);
            columns.extend(from.filter(|_| kept.binary_search(&number).is_ok()));
        }
        Assembly { schema, columns }
    }

    /// The rows of a part of what a call gave, of which `there` is the input.
    ///
    /// # Errors
    /// The part has too few columns, or they are of other rows.
    pub fn rows(&self, given: &Given, there: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let passed = self.columns.iter().filter_map(|from| match from {
            From::Passed(place) => there.columns().get(*place).cloned(),
            From::Made(_) => None,
        });
        let passed: Vec<ArrayRef> = passed.collect();
        let mut passed = given.selection.of(&passed)?.into_iter();
        let columns = self.columns.iter().map(|from| {
            let column = match from {
                From::Made(number) => given.made.get(*number).cloned(),
                From::Passed(_) => passed.next(),
            };
            column.ok_or_else(|| ArrowError::SchemaError("too few columns were given".to_owned()))
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new();
        let options = options.with_row_count(Some(given.selection.rows(there.num_rows())));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

impl PluginRows {
    /// Of a function that makes all columns for rows of its own.
    #[must_use]
    pub fn fresh(rows: &RecordBatch) -> PluginRows {
        let given =
            Given { selection: Selection::Fresh(rows.num_rows()), made: rows.columns().to_vec() };
        PluginRows { given: vec![given], refused: Vec::new() }
    }
}

impl Selection {
    /// How many rows there are, for an input of so many.
    #[must_use]
    pub fn rows(&self, input_rows: usize) -> usize {
        match self {
            Selection::Fresh(rows) => *rows,
            Selection::All => input_rows,
            Selection::Kept(marks) => marks.true_count(),
            Selection::Taken(rows) => rows.len(),
        }
    }

    /// The values of columns of the input for these rows.
    ///
    /// # Errors
    /// The columns are not those of the call's input.
    pub fn of(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>, ArrowError> {
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Selection::Fresh(_) => Err(ArrowError::InvalidArgumentError(
                "columns are passed to rows that are none of the input".to_owned(),
            )),
            Selection::All => Ok(columns.to_vec()),
            Selection::Kept(marks) => {
                // For several columns it pays to look for the marked rows once.
                let filter = FilterBuilder::new(marks).optimize().build();
                columns.iter().map(|column| filter.filter(column)).collect()
            }
            Selection::Taken(rows) => {
                let bytes = columns.iter().map(|column| taken_bytes(column, rows));
                let bytes = bytes.fold(0, usize::saturating_add);
                if bytes > TAKEN_BYTES_MAX {
                    return Err(ArrowError::InvalidArgumentError(format!(
                        "{} rows that were taken have {bytes} bytes together; the limit is \
                         {TAKEN_BYTES_MAX}",
                        rows.len()
                    )));
                }
                take_arrays(columns, rows, None)
            }
        }
    }
}

/// Bytes of texts and lists that are taken at a time. One long text can be taken any number of times.
const TAKEN_BYTES_MAX: usize = 256 << 20;

/// Bytes that a copy of these rows takes, of columns whose values are of any size.
fn taken_bytes(column: &ArrayRef, rows: &UInt32Array) -> usize {
    match column.data_type().primitive_width() {
        // As many bytes as rows that were given ask for: their number has a bound of its own.
        Some(_) => 0,
        None => {
            let rows = rows.values().iter().map(|row| *row as usize);
            rows.map(|row| bytes_of(column, row, row + 1)).fold(0, usize::saturating_add)
        }
    }
}

/// Bytes of the values of a part of a column. Each step goes by offsets, and looks at no value.
fn bytes_of(column: &ArrayRef, from: usize, to: usize) -> usize {
    let inner = |offsets: &[i32], items: &ArrayRef| {
        bytes_of(items, offsets[from] as usize, offsets[to] as usize)
    };
    match column.data_type() {
        DataType::Utf8 => {
            let offsets = column.as_string::<i32>().value_offsets();
            (offsets[to] - offsets[from]) as usize
        }
        DataType::Binary => {
            let offsets = column.as_binary::<i32>().value_offsets();
            (offsets[to] - offsets[from]) as usize
        }
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            inner(lists.value_offsets(), lists.values())
        }
        DataType::Map(_, _) => {
            let maps = column.as_map();
            let members = maps.entries().columns().iter();
            members.map(|member| inner(maps.value_offsets(), member)).sum()
        }
        DataType::Struct(_) => {
            let members = column.as_struct().columns().iter();
            members.map(|member| bytes_of(member, from, to)).fold(0, usize::saturating_add)
        }
        other => other.primitive_width().unwrap_or(1).saturating_mul(to - from),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use arrow::array::StringArray;

    use super::*;

    fn lists() -> ArrayRef {
        let mut lists = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
        lists.values().append_value("x".repeat(1 << 20));
        lists.append(true);
        for _ in 0..999 {
            lists.values().append_value("y");
            lists.append(true);
        }
        Arc::new(lists.finish())
    }

    #[test]
    fn a_long_value_is_not_taken_without_end() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20), String::new()]));
        let members = vec![Arc::new(arrow::datatypes::Field::new("t", DataType::Utf8, true))];
        let structs = arrow::array::StructArray::new(members.into(), vec![texts.clone()], None);
        for column in [texts, Arc::new(structs) as ArrayRef, lists()] {
            let take = |row: u32, times: usize| {
                Selection::Taken(UInt32Array::from(vec![row; times])).of(&[Arc::clone(&column)])
            };
            let told = take(0, 300).unwrap_err().to_string();
            assert!(told.contains("the limit is 268435456"), "{told}");
            assert_eq!(take(0, 3).unwrap()[0].len(), 3);
            assert_eq!(take(1, 8_192).unwrap()[0].len(), 8_192);
        }
    }
}
